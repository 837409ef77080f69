package smithy

import (
	"slices"
	"strconv"
	"strings"
)

// constraint is one rule of a schema in words.
type constraint struct {
	text string // "Member must …"
	ec2  string // what follows "Value (x) for parameter y is invalid.", maybe nothing
}

func (s *Schema) scalar() bool {
	return s.Kind != KindStructure && s.Kind != KindList && s.Kind != KindMap
}

func (s *Schema) constrained() bool {
	return s.Enum != nil || s.Pattern != nil || s.Bounds.HasMin || s.Bounds.HasMax
}

func (s *Schema) allows(value string) bool { return slices.Contains(s.Enum, value) }

// measure is what a schema's bounds limit.
func (s *Schema) measure() string {
	switch s.Kind {
	case KindInteger, KindLong, KindFloat, KindDouble:
		return "value"
	}
	return "length"
}

func (s *Schema) bound(f float64) string {
	if s.Kind == KindFloat || s.Kind == KindDouble {
		return javaDouble(f)
	}
	return strconv.FormatInt(int64(f), 10)
}

func maxConstraint(s *Schema) constraint {
	bound := s.bound(s.Bounds.Max)
	return constraint{
		text: "Member must have " + s.measure() + " less than or equal to " + bound,
		ec2:  " Expecting a " + s.measure() + " smaller than " + bound + ".",
	}
}

func minConstraint(s *Schema) constraint {
	bound := s.bound(s.Bounds.Min)
	return constraint{
		text: "Member must have " + s.measure() + " greater than or equal to " + bound,
		ec2:  " Expecting a " + s.measure() + " greater than " + bound + ".",
	}
}

const memberPattern = "Member must satisfy regular expression pattern: "

func patternConstraint(s *Schema) constraint {
	return constraint{text: memberPattern + s.Pattern.Source}
}

func enumConstraint(s *Schema) constraint {
	return constraint{text: "Member must satisfy enum value set: [" + strings.Join(s.Enum, ", ") + "]"}
}

// containerConstraint is how a list or map tells of its scalars: all rules of
// their shape, not only the broken one.
func containerConstraint(who string, s *Schema) constraint {
	var rules []string
	if s.Bounds.HasMax {
		rules = append(rules, maxConstraint(s).text)
	}
	if s.Bounds.HasMin {
		rules = append(rules, minConstraint(s).text)
	}
	if s.Pattern != nil {
		rules = append(rules, patternConstraint(s).text)
	}
	if s.Enum != nil {
		rules = append(rules, enumConstraint(s).text)
	}
	return constraint{text: who + " must satisfy constraint: [" + strings.Join(rules, ", ") + "]"}
}

// javaDouble writes a float as Java does: always with a fraction.
func javaDouble(f float64) string {
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if strings.ContainsAny(s, ".NI") {
		return s
	}
	return s + ".0"
}
