package logdriver

import (
	"fmt"
	"strings"
)

// datetimePattern translates a strftime format to a regular expression that finds such a time. What is not a directive is
// taken as a regular expression, as Docker takes it.
func datetimePattern(format string) (string, error) {
	var pattern strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			pattern.WriteByte(format[i])
			continue
		}
		i++
		if i == len(format) {
			return "", fmt.Errorf("awslogs could not parse datetime format %q: it ends in %%", format)
		}
		part := directive(format[i])
		if part == "" {
			return "", fmt.Errorf("awslogs could not parse datetime format %q: unknown directive %%%c", format, format[i])
		}
		pattern.WriteString(part)
	}
	return pattern.String(), nil
}

// directive is the expression for one strftime directive, empty for an unknown one.
func directive(letter byte) string {
	switch letter {
	case 'a':
		return `(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)`
	case 'A':
		return `(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day`
	case 'w':
		return `[0-6]`
	case 'd':
		return `(?:0[1-9]|[12][0-9]|3[01])`
	case 'b':
		return `(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)`
	case 'B':
		return `(?:January|February|March|April|May|June|July|August|September|October|November|December)`
	case 'm':
		return `(?:0[1-9]|1[0-2])`
	case 'Y':
		return `\d{4}`
	case 'y':
		return `\d{2}`
	case 'H':
		return `(?:[01][0-9]|2[0-3])`
	case 'I':
		return `(?:0[1-9]|1[0-2])`
	case 'p':
		return `[AP]M`
	case 'M':
		return `[0-5][0-9]`
	case 'S':
		return `(?:[0-5][0-9]|60)`
	case 'f':
		return `\d{6}`
	case 'L':
		return `\.\d{3}` // the point belongs to it in Docker's table
	case 'z':
		return `[+-]\d{4}`
	case 'Z':
		return `[A-Z]{1,4}T`
	case 'j':
		return `(?:00[1-9]|0[1-9][0-9]|[12][0-9]{2}|3[0-5][0-9]|36[0-6])`
	case 'c': // the C locale's date and time: Sun Nov 22 10:46:47 2026
		return `(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 0-3][0-9] \d{2}:\d{2}:\d{2} \d{4}`
	case '%':
		return `%`
	default:
		return ""
	}
}
