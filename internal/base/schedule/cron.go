package schedule

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Years that a cron expression can name.
const (
	firstYear = 1970
	lastYear  = 2199
)

// Cron is a parsed cron expression: times of day on days.
type Cron struct {
	minutes, hours, months uint64
	days                   []dayRule // one of them must match
	years                  map[int]bool
	anyYear                bool
	fields                 [6]string
}

// dayRule decides whether a day of a month matches.
type dayRule func(day time.Time) bool

// field is one of the six with its bounds and names.
type field struct {
	name     string
	min, max int
	names    []string // of min, min+1, …
}

var (
	minuteField = field{name: "minutes", max: 59}
	hourField   = field{name: "hours", max: 23}
	dayField    = field{name: "day of month", min: 1, max: 31}
	monthField  = field{"month", 1, 12, []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}}
	weekField   = field{"day of week", 1, 7, []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}}
	yearField   = field{name: "year", min: firstYear, max: lastYear}
)

// ParseCron reads the six fields of a cron expression, without "cron(" and ")".
func ParseCron(text string) (*Cron, error) {
	fields := strings.Fields(text)
	if len(fields) != 6 {
		return nil, fmt.Errorf("a cron expression has six fields, and this has %d", len(fields))
	}
	c := &Cron{fields: [6]string(fields)}
	for _, set := range []struct {
		to *uint64
		f  field
		at int
	}{{&c.minutes, minuteField, 0}, {&c.hours, hourField, 1}, {&c.months, monthField, 3}} {
		values, err := set.f.values(fields[set.at])
		if err != nil {
			return nil, err
		}
		*set.to = bitsOf(values)
	}
	if (fields[2] == "?") == (fields[4] == "?") {
		return nil, fmt.Errorf("one of day of month and day of week must be ?, and the other must not")
	}
	var err error
	if fields[4] == "?" {
		c.days, err = parseDays(fields[2])
	} else {
		c.days, err = parseWeekdays(fields[4])
	}
	if err != nil {
		return nil, err
	}
	if c.anyYear = fields[5] == "*"; !c.anyYear {
		years, err := yearField.values(fields[5])
		if err != nil {
			return nil, err
		}
		c.years = map[int]bool{}
		for _, y := range years {
			c.years[y] = true
		}
	}
	return c, nil
}

// Field returns one of the six fields as it was written, counted from 0.
func (c *Cron) Field(i int) string { return c.fields[i] }

// Hours returns the hours of a day at which it can be, sorted.
func (c *Cron) Hours() []int {
	var hours []int
	for h := range 24 {
		if c.hours&(1<<h) != 0 {
			hours = append(hours, h)
		}
	}
	return hours
}

// Next returns the first time after t; false: there is none.
func (c *Cron) Next(t time.Time) (time.Time, bool) {
	t = t.Truncate(time.Minute).Add(time.Minute)
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
	for day.Year() <= lastYear {
		switch {
		case !c.anyYear && !c.years[day.Year()]:
			day = time.Date(day.Year()+1, 1, 1, 0, 0, 0, 0, day.Location())
			continue
		case c.months&(1<<int(day.Month())) == 0:
			day = time.Date(day.Year(), day.Month()+1, 1, 0, 0, 0, 0, day.Location())
			continue
		}
		if slices.ContainsFunc(c.days, func(matches dayRule) bool { return matches(day) }) {
			if at, found := c.onDay(day, t); found {
				return at, true
			}
		}
		day = day.AddDate(0, 0, 1)
	}
	return time.Time{}, false
}

// onDay returns the first time of the day that is not before t.
func (c *Cron) onDay(day, t time.Time) (time.Time, bool) {
	for hours := c.hours; hours != 0; hours &= hours - 1 {
		for minutes := c.minutes; minutes != 0; minutes &= minutes - 1 {
			at := time.Date(day.Year(), day.Month(), day.Day(), bits.TrailingZeros64(hours), bits.TrailingZeros64(minutes), 0, 0, day.Location())
			if !at.Before(t) {
				return at, true
			}
		}
	}
	return time.Time{}, false
}

func bitsOf(values []int) (set uint64) {
	for _, v := range values {
		set |= 1 << v
	}
	return set
}

// values reads a field of lists, ranges and increments.
func (f field) values(text string) ([]int, error) {
	var all []int
	for part := range strings.SplitSeq(text, ",") {
		values, err := f.part(part)
		if err != nil {
			return nil, err
		}
		all = append(all, values...)
	}
	return all, nil
}

func (f field) part(text string) ([]int, error) {
	span, step, stepped := strings.Cut(text, "/")
	by := 1
	if stepped {
		n, err := strconv.Atoi(step)
		if err != nil || n < 1 {
			return nil, f.wrong(text)
		}
		by = min(n, f.max-f.min+1) // a longer step leads out of the field, too
	}
	from, to := f.min, f.max
	if span != "*" {
		first, last, ranged := strings.Cut(span, "-")
		var ok bool
		if from, ok = f.number(first); !ok {
			return nil, f.wrong(text)
		}
		switch {
		case ranged:
			if to, ok = f.number(last); !ok {
				return nil, f.wrong(text)
			}
		case !stepped:
			to = from
		}
	}
	var values []int
	if from > to { // a range that goes round, such as FRI-MON
		for v := from; v <= f.max; v += by {
			values = append(values, v)
		}
		from = f.min + (by-(f.max-from+1)%by)%by
	}
	for v := from; v <= to; v += by {
		values = append(values, v)
	}
	return values, nil
}

// number reads a number in bounds, or a name.
func (f field) number(text string) (int, bool) {
	if i := slices.Index(f.names, strings.ToUpper(text)); i >= 0 {
		return f.min + i, true
	}
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= f.min && n <= f.max
}

func (f field) wrong(text string) error {
	return fmt.Errorf("%q cannot stand in the field of %s", text, f.name)
}
