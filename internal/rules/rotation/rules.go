package rotation

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"berth.dev/berth/internal/base/schedule"
	"berth.dev/berth/internal/model"
)

const day = 24 * time.Hour

// Limits of AWS.
const (
	minHours = 4
	maxDays  = 999
)

// Validate says what is wrong with the schedule of a rotation, in a sentence;
// empty: nothing. The sentences but the first are [GK].
func Validate(r *model.SecretRotation) string {
	if r.AfterDays > 0 && r.Schedule != "" {
		return "You cannot specify both rotation frequency and schedule expression together."
	}
	longest := day
	if r.Schedule != "" {
		e, err := schedule.Parse(r.Schedule)
		if err != nil {
			return "Invalid ScheduleExpression: " + err.Error() + "."
		}
		var wrong string
		if longest, wrong = limits(e); wrong != "" {
			return "Invalid ScheduleExpression: " + wrong
		}
	}
	if r.Duration == "" {
		return ""
	}
	if r.AfterDays == 0 && r.Schedule == "" {
		return "Duration needs a ScheduleExpression or AutomaticallyAfterDays."
	}
	if length, ok := duration(r.Duration); !ok || length > longest {
		return fmt.Sprintf("Invalid Duration: a rotation window of %s extends into the next window or the next UTC day.", r.Duration)
	}
	return ""
}

// limits says how long a window can be, or what is wrong with an expression.
func limits(e schedule.Expression) (longest time.Duration, wrong string) {
	if e.Rate != nil {
		switch {
		case e.Rate.Unit == time.Minute:
			return 0, "the rate is in hours or days."
		case e.Rate.Interval() < minHours*time.Hour:
			return 0, "a secret is rotated every four hours at most."
		case e.Rate.Interval() > maxDays*day:
			return 0, "a secret is rotated every 999 days at least."
		}
		return min(day, e.Rate.Interval()), ""
	}
	if e.Cron.Field(0) != "0" {
		return 0, "the field of minutes must be 0, because rotation windows open on the hour."
	}
	if e.Cron.Field(5) != "*" {
		return 0, "the field of years must be *."
	}
	hours := e.Cron.Hours()
	longest = day - time.Duration(hours[len(hours)-1])*time.Hour
	for i, h := range hours {
		gap := hours[0] + 24 - h // to the first of the next day
		if i+1 < len(hours) {
			gap = hours[i+1] - h
		}
		if gap < minHours {
			return 0, "a secret is rotated every four hours at most."
		}
		longest = min(longest, time.Duration(gap)*time.Hour)
	}
	return longest, ""
}

// duration reads such as "3h".
func duration(text string) (time.Duration, bool) {
	n, err := strconv.Atoi(strings.TrimSuffix(text, "h"))
	return time.Duration(n) * time.Hour, err == nil && n > 0 && strings.HasSuffix(text, "h")
}

// Next returns when the next window opens after a rotation at last; nil: the
// secret is rotated only when somebody asks. A window of days opens at midnight.
// One of hours opens at midnight and every so many hours after it when the day
// divides into them, else that many hours after the hour of last (uncertain).
func Next(r *model.SecretRotation, last time.Time) *time.Time {
	last = last.UTC()
	midnight := last.Truncate(day)
	if r.AfterDays > 0 {
		return new(midnight.AddDate(0, 0, int(r.AfterDays)))
	}
	if r.Schedule == "" {
		return nil
	}
	e, err := schedule.Parse(r.Schedule)
	if err != nil {
		return nil // it was valid when it was stored
	}
	if e.Cron != nil {
		if next, found := e.Cron.Next(last); found {
			return &next
		}
		return nil
	}
	interval := e.Rate.Interval()
	switch {
	case e.Rate.Unit == day:
		return new(midnight.Add(interval))
	case day%interval == 0:
		return new(last.Truncate(interval).Add(interval))
	}
	return new(last.Truncate(time.Hour).Add(interval))
}

// WindowEnd returns when the window that opens at start closes, which is what
// NextRotationDate shows: the latest time of the next rotation.
func WindowEnd(r *model.SecretRotation, start time.Time) time.Time {
	if length, ok := duration(r.Duration); ok {
		return start.Add(length)
	}
	if e, err := schedule.Parse(r.Schedule); err == nil {
		if e.Rate != nil && e.Rate.Unit == time.Hour || e.Cron != nil && len(e.Cron.Hours()) > 1 {
			return start.Add(time.Hour)
		}
	}
	return start.UTC().Truncate(day).Add(day - time.Second)
}
