package policy

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// number is the value of a Numeric condition. Whole numbers are compared
// exactly: sizes in bytes and ids do not fit a float.
type number struct {
	whole   int64
	float   float64
	isWhole bool
}

func parseNumber(s string) (number, bool) {
	if s == "" || strings.Trim(s, "0123456789+-.eE") != "" {
		return number{}, false // "inf", "0x1p" and "1_000" are not AWS's numbers
	}
	if whole, err := strconv.ParseInt(s, 10, 64); err == nil {
		return number{whole: whole, float: float64(whole), isWhole: true}, true
	}
	float, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(float, 0) {
		return number{}, false
	}
	return number{float: float}, true
}

func (n number) compare(m number) int {
	if n.isWhole && m.isWhole {
		return compareOrdered(n.whole, m.whole)
	}
	return compareOrdered(n.float, m.float)
}

func compareOrdered[T int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	default:
		return 0
	}
}

// The years that AWS's dates can have: those of Java's milliseconds.
const (
	minYear = -292275054
	maxYear = 292278993
)

// date is a moment. A time.Time cannot hold the years that the grammar allows,
// so it is seconds since 1970 and nanoseconds.
type date struct {
	seconds int64
	nanos   int64
}

func (d date) compare(e date) int {
	if c := compareOrdered(d.seconds, e.seconds); c != 0 {
		return c
	}
	return compareOrdered(d.nanos, e.nanos)
}

// parseDate reads the forms of ISO 8601 that W3C's note on dates allows, in
// either case and with what is left out as its first value, or whole seconds
// since 1970. These are the texts that IAM accepts when a policy is stored; a
// lone time of day is of year 1 [GK].
func parseDate(s string) (date, bool) {
	if s == "" {
		return date{}, false
	}
	if !strings.ContainsAny(s, "tT-") {
		seconds, err := strconv.ParseInt(s, 10, 64)
		return date{seconds: seconds}, err == nil && seconds >= 0
	}
	day, clock, hasClock := cutAny(s, "tT")
	seconds, ok := parseDay(day, hasClock)
	if !ok || clock == "" {
		return date{seconds: seconds}, ok
	}
	ofDay, nanos, ok := parseClock(clock)
	return date{seconds: seconds + ofDay, nanos: nanos}, ok
}

func cutAny(s, chars string) (before, after string, found bool) {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// parseDay returns the seconds from 1970 to the day's start.
func parseDay(s string, hasClock bool) (int64, bool) {
	rest, negative := strings.CutPrefix(s, "-")
	parts := strings.Split(rest, "-")
	fields := [3]int64{1, 1, 1}
	limits := [3][2]int64{{0, maxYear}, {1, 12}, {1, 31}}
	if len(parts) > len(fields) || rest == "" && !hasClock {
		return 0, false
	}
	for i, part := range parts {
		n, ok := digits(part)
		if negative && i == 0 {
			if n > -minYear {
				return 0, false
			}
			fields[0] = -n
			if !ok {
				return 0, false
			}
			continue
		}
		if !ok || n < limits[i][0] || n > limits[i][1] {
			return 0, false
		}
		fields[i] = n
	}
	return daysFromCivil(fields[0], fields[1], fields[2]) * int64(24*time.Hour/time.Second), true
}

// daysFromCivil counts the days from 1970-01-01 in the proleptic Gregorian
// calendar, by eras of 400 years that begin on the first of March.
func daysFromCivil(year, month, day int64) int64 {
	if month <= 2 {
		year--
	}
	era := year / 400
	if year < 0 {
		era = (year - 399) / 400
	}
	ofEra := year - era*400
	ofYear := (153*((month+9)%12)+2)/5 + day - 1
	return era*146097 + ofEra*365 + ofEra/4 - ofEra/100 + ofYear - 719468
}

// parseClock returns the seconds of the day, less the offset of the zone, and
// the fraction.
func parseClock(s string) (seconds, nanos int64, ok bool) {
	clock, offset, ok := cutZone(s)
	if !ok {
		return 0, 0, false
	}
	parts := strings.Split(clock, ":")
	if len(parts) > 3 {
		return 0, 0, false
	}
	units := [3]int64{3600, 60, 1}
	limits := [3]int64{23, 59, 59}
	for i, part := range parts {
		if i == 2 {
			var fraction string
			var found bool
			part, fraction, found = strings.Cut(part, ".")
			if found {
				if nanos, ok = digits(fraction); !ok || len(fraction) > 9 {
					return 0, 0, false
				}
				for range 9 - len(fraction) {
					nanos *= 10
				}
			}
		}
		n, ok := digits(part)
		if !ok || n > limits[i] {
			return 0, 0, false
		}
		seconds += n * units[i]
	}
	return seconds - offset, nanos, true
}

// cutZone takes the zone off a time of day: Z, ±hh, ±hhmm or ±hh:mm. Without
// one the time is UTC.
func cutZone(s string) (clock string, offset int64, ok bool) {
	if clock, ok := strings.CutSuffix(strings.ToUpper(s), "Z"); ok {
		return clock, 0, true
	}
	i := strings.LastIndexAny(s, "+-")
	if i < 0 {
		return s, 0, true
	}
	zone := strings.Replace(s[i+1:], ":", "", 1)
	if len(zone) == 2 {
		zone += "00"
	}
	if len(zone) != 4 || len(s[i+1:]) == 3 {
		return "", 0, false
	}
	hours, ok1 := digits(zone[:2])
	minutes, ok2 := digits(zone[2:])
	if !ok1 || !ok2 || hours > 23 || minutes > 59 {
		return "", 0, false
	}
	offset = hours*3600 + minutes*60
	if s[i] == '-' {
		offset = -offset
	}
	return s[:i], offset, true
}

// digits reads a number without a sign.
func digits(s string) (int64, bool) {
	if s == "" || len(s) > 18 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// parseRange reads an address or a range of addresses.
func parseRange(s string) (netip.Prefix, bool) {
	if prefix, err := netip.ParsePrefix(s); err == nil {
		return prefix, true
	}
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr, addr.BitLen()), true
}
