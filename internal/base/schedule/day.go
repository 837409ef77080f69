package schedule

import (
	"strings"
	"time"
)

// parseDays reads the field of the day of month: L is the last, LW the last
// weekday, 3W the weekday nearest to the third.
func parseDays(text string) ([]dayRule, error) {
	var rules []dayRule
	for part := range strings.SplitSeq(text, ",") {
		near, isNear := strings.CutSuffix(part, "W")
		switch {
		case part == "L":
			rules = append(rules, func(day time.Time) bool { return day.Day() == lastDay(day) })
		case part == "LW":
			rules = append(rules, func(day time.Time) bool { return day.Day() == nearestWeekday(day, lastDay(day)) })
		case isNear:
			n, ok := dayField.number(near)
			if !ok {
				return nil, dayField.wrong(part)
			}
			rules = append(rules, func(day time.Time) bool { return n <= lastDay(day) && day.Day() == nearestWeekday(day, n) })
		default:
			values, err := dayField.part(part)
			if err != nil {
				return nil, err
			}
			set := bitsOf(values)
			rules = append(rules, func(day time.Time) bool { return set&(1<<day.Day()) != 0 })
		}
	}
	return rules, nil
}

// parseWeekdays reads the field of the day of week: L alone is Saturday, 6L the
// month's last Friday, 3#2 its second Tuesday.
func parseWeekdays(text string) ([]dayRule, error) {
	var rules []dayRule
	for part := range strings.SplitSeq(text, ",") {
		last, isLast := strings.CutSuffix(part, "L")
		which, nth, isNth := strings.Cut(part, "#")
		switch {
		case part == "L":
			rules = append(rules, func(day time.Time) bool { return day.Weekday() == time.Saturday })
		case isLast:
			n, ok := weekField.number(last)
			if !ok {
				return nil, weekField.wrong(part)
			}
			rules = append(rules, func(day time.Time) bool { return weekday(day) == n && day.Day()+7 > lastDay(day) })
		case isNth:
			n, ok := weekField.number(which)
			count, valid := (field{min: 1, max: 5}).number(nth)
			if !ok || !valid {
				return nil, weekField.wrong(part)
			}
			rules = append(rules, func(day time.Time) bool { return weekday(day) == n && (day.Day()+6)/7 == count })
		default:
			values, err := weekField.part(part)
			if err != nil {
				return nil, err
			}
			set := bitsOf(values)
			rules = append(rules, func(day time.Time) bool { return set&(1<<weekday(day)) != 0 })
		}
	}
	return rules, nil
}

// weekday counts from 1, Sunday.
func weekday(day time.Time) int { return int(day.Weekday()) + 1 }

func lastDay(day time.Time) int {
	return time.Date(day.Year(), day.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// nearestWeekday returns the day of the month, Monday to Friday, that is
// nearest to n and in the same month.
func nearestWeekday(day time.Time, n int) int {
	last := lastDay(day)
	switch time.Date(day.Year(), day.Month(), n, 0, 0, 0, 0, time.UTC).Weekday() {
	case time.Saturday:
		if n == 1 {
			return 3
		}
		return n - 1
	case time.Sunday:
		if n == last {
			return n - 2
		}
		return n + 1
	}
	return n
}
