package schedule

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Expression is a parsed schedule expression: either a rate or a cron
// expression.
type Expression struct {
	Rate *Rate
	Cron *Cron
}

// Rate is an interval in whole units.
type Rate struct {
	Count int
	Unit  time.Duration // a minute, an hour or a day
}

// Interval is how long one is after the other.
func (r Rate) Interval() time.Duration { return time.Duration(r.Count) * r.Unit }

// Parse reads "rate(2 days)" or "cron(0 8 1 * ? *)".
func Parse(text string) (Expression, error) {
	body, isRate := within(text, "rate")
	if isRate {
		rate, err := parseRate(body)
		return Expression{Rate: rate}, err
	}
	body, isCron := within(text, "cron")
	if isCron {
		cron, err := ParseCron(body)
		return Expression{Cron: cron}, err
	}
	return Expression{}, fmt.Errorf("%q is neither rate(…) nor cron(…)", text)
}

func within(text, word string) (string, bool) {
	rest, ok := strings.CutPrefix(text, word+"(")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, ")")
}

// maxRate keeps an interval within a time.Duration.
const maxRate = 100_000

func parseRate(text string) (*Rate, error) {
	number, unit, _ := strings.Cut(strings.TrimSpace(text), " ")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > maxRate {
		return nil, fmt.Errorf("%q is no rate", text)
	}
	units := map[string]time.Duration{"minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}
	singular, plural := strings.CutSuffix(strings.TrimSpace(unit), "s")
	of, known := units[singular]
	if !known || plural != (n > 1) { // AWS insists on the grammar
		return nil, fmt.Errorf("%q is no rate", text)
	}
	return &Rate{Count: n, Unit: of}, nil
}
