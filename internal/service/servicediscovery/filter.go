package servicediscovery

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"berth.dev/berth/internal/wire/api/servicediscoveryapi"
)

// Conditions that the filters of a call may have.
const (
	eq      = servicediscoveryapi.FilterConditionEq
	in      = servicediscoveryapi.FilterConditionIn
	between = servicediscoveryapi.FilterConditionBetween
	begins  = servicediscoveryapi.FilterConditionBeginsWith
)

// filter is one condition of a list call.
type filter struct {
	name      string
	condition servicediscoveryapi.FilterCondition
	values    []string
}

// checkFilters checks filters against what a call knows: for each name its
// conditions. A filter without a condition is EQ.
func checkFilters(filters []filter, known map[string][]servicediscoveryapi.FilterCondition) error {
	for i := range filters {
		f := &filters[i]
		if f.condition == "" {
			f.condition = eq
		}
		if !slices.Contains(known[f.name], f.condition) {
			return invalid("Condition %s is not supported for the filter %s.", f.condition, f.name)
		}
		want := 1
		if f.condition == between {
			want = 2
		}
		if len(f.values) != want && (f.condition != in || len(f.values) == 0) {
			return invalid("Filter %s with condition %s has an invalid number of values: %d.", f.name, f.condition, len(f.values))
		}
	}
	return nil
}

// matches reports whether the value of the filter's name is what it asks for.
func (f filter) matches(v string) bool {
	if f.condition == begins {
		return strings.HasPrefix(v, f.values[0])
	}
	return slices.Contains(f.values, v)
}

// span is the range of a BETWEEN filter, which has Unix times in seconds.
func (f filter) span() (from, to time.Time, err error) {
	var ends [2]time.Time
	for i, v := range f.values {
		seconds, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return from, to, invalid("Filter %s has an invalid date: %s.", f.name, v)
		}
		ends[i] = time.UnixMilli(int64(seconds * 1000))
	}
	return ends[0], ends[1], nil
}

// Owners that RESOURCE_OWNER can name: there is but one account.
const (
	ownerSelf   = "SELF"
	ownerOthers = "OTHER_ACCOUNTS"
)

func checkOwner(f filter) error {
	if f.values[0] != ownerSelf && f.values[0] != ownerOthers {
		return invalid("Filter %s has an invalid value: %s. Valid values: SELF, OTHER_ACCOUNTS.", f.name, f.values[0])
	}
	return nil
}
