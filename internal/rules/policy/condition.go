package policy

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
)

// family is how an operator compares one value of the policy with one of the
// request.
type family int

const (
	stringEquals family = iota
	stringEqualsFold
	stringLike
	numeric
	dates
	boolean
	binary
	address
	arnLike
	isNull
)

// relation is what a Numeric or Date operator asks for.
type relation int

const (
	equal relation = iota
	less
	lessOrEqual
	greater
	greaterOrEqual
)

func (r relation) holds(comparison int) bool {
	switch r {
	case less:
		return comparison < 0
	case lessOrEqual:
		return comparison <= 0
	case greater:
		return comparison > 0
	case greaterOrEqual:
		return comparison >= 0
	default:
		return comparison == 0
	}
}

// quantifier is ForAnyValue: or ForAllValues:.
type quantifier int

const (
	single quantifier = iota
	forAny
	forAll
)

// operator is a condition operator in all its parts.
type operator struct {
	family   family
	relation relation
	negated  bool
	ifExists bool
	set      quantifier
}

// operatorNamed knows the operators by AWS's spelling, which must be exact.
func operatorNamed(name string) (operator, bool) {
	var op operator
	if rest, ok := strings.CutPrefix(name, "ForAnyValue:"); ok {
		op.set, name = forAny, rest
	} else if rest, ok := strings.CutPrefix(name, "ForAllValues:"); ok {
		op.set, name = forAll, rest
	}
	if rest, ok := strings.CutSuffix(name, "IfExists"); ok && rest != "Null" {
		op.ifExists, name = true, rest
	}
	switch name {
	case "StringEquals", "StringNotEquals":
		op.family = stringEquals
	case "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase":
		op.family = stringEqualsFold
	case "StringLike", "StringNotLike":
		op.family = stringLike
	case "Bool":
		op.family = boolean
	case "BinaryEquals":
		op.family = binary
	case "IpAddress", "NotIpAddress":
		op.family = address
	case "ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike":
		op.family = arnLike
	case "Null":
		op.family = isNull
	default:
		return op.compared(name)
	}
	op.negated = strings.Contains(name, "Not")
	return op, true
}

// compared is the rest of operatorNamed: operators with a relation.
func (op operator) compared(name string) (operator, bool) {
	relationName, ok := strings.CutPrefix(name, "Numeric")
	op.family = numeric
	if !ok {
		relationName, ok = strings.CutPrefix(name, "Date")
		op.family = dates
	}
	switch relationName {
	case "Equals":
		op.relation = equal
	case "NotEquals":
		op.relation, op.negated = equal, true
	case "LessThan":
		op.relation = less
	case "LessThanEquals":
		op.relation = lessOrEqual
	case "GreaterThan":
		op.relation = greater
	case "GreaterThanEquals":
		op.relation = greaterOrEqual
	default:
		return operator{}, false
	}
	return op, ok
}

// condition is one key of a condition block with its operator and values.
type condition struct {
	operator operator
	name     string // the key as written
	key      string // in lower case, as requests have it
	values   []expected
}

// expected is a value of the policy, read as its operator needs it. One that
// cannot be read so has readable false and equals nothing.
type expected struct {
	readable bool
	text     pattern
	arn      arnPattern
	number   number
	date     date
	prefix   netip.Prefix
	bytes    string
}

var errDate = errors.New("not a date")

// compileExpected reads a value. It fails where AWS refuses the document: for
// dates and for variables without an end.
func compileExpected(f family, text string, variables bool) (expected, error) {
	var v expected
	var err error
	switch f {
	case stringEquals, stringEqualsFold, boolean:
		v.text, err = compile(text, false, variables)
		v.readable = true
	case stringLike:
		v.text, err = compile(text, true, variables)
		v.readable = true
	case arnLike:
		v.arn, err = compileARN(text, variables, false)
		v.readable = true
	case numeric:
		v.number, v.readable = parseNumber(text)
	case dates:
		if v.date, v.readable = parseDate(text); !v.readable {
			err = errDate
		}
	case address:
		v.prefix, v.readable = parseRange(text)
	case binary:
		v.bytes, v.readable = decodeBinary(text)
	case isNull:
		v.text, err = compile(strings.ToLower(text), false, false)
		v.readable = true
	}
	return v, err
}

func decodeBinary(s string) (string, bool) {
	bytes, err := base64.StdEncoding.DecodeString(s)
	return string(bytes), err == nil
}

// holds decides the condition for a request.
func (c *condition) holds(ask *asking) bool {
	got := ask.values(c.key)
	if len(got) == 0 {
		ask.miss(c.name)
		return c.holdsWithout()
	}
	if c.operator.family == isNull {
		return c.equalsAny("false", ask)
	}
	switch c.operator.set {
	case forAll:
		for _, value := range got {
			if c.equalsAny(value, ask) == c.operator.negated {
				return false
			}
		}
		return true
	case forAny:
		for _, value := range got {
			if c.equalsAny(value, ask) != c.operator.negated {
				return true
			}
		}
		return false
	default:
		// A key with several values and an operator for one: they are taken
		// together, so that a negated operator refuses if one of them is named.
		for _, value := range got {
			if c.equalsAny(value, ask) {
				return !c.operator.negated
			}
		}
		return c.operator.negated
	}
}

// holdsWithout decides for a request that has no value for the key.
func (c *condition) holdsWithout() bool {
	switch {
	case c.operator.family == isNull:
		return c.equalsAny("true", nil)
	case c.operator.ifExists || c.operator.set == forAll:
		return true
	case c.operator.set == forAny:
		return false
	default:
		return c.operator.negated
	}
}

// equalsAny reports whether value stands in the operator's relation to one of
// the policy's values, before negation.
func (c *condition) equalsAny(value string, ask *asking) bool {
	switch c.operator.family {
	case stringEquals, stringLike, isNull:
		for i := range c.values {
			if c.values[i].text.match(value, ask) {
				return true
			}
		}
	case stringEqualsFold, boolean:
		for i := range c.values {
			if c.values[i].text.matchFold(value, ask) {
				return true
			}
		}
	case arnLike:
		for i := range c.values {
			if c.values[i].arn.match(value, ask) {
				return true
			}
		}
	default:
		return c.compares(value)
	}
	return false
}

// compares is equalsAny for values that are not texts. A value of the request
// that cannot be read compares with nothing.
func (c *condition) compares(value string) bool {
	test := func(expected) bool { return false }
	switch c.operator.family {
	case numeric:
		if got, ok := parseNumber(value); ok {
			test = func(v expected) bool { return c.operator.relation.holds(got.compare(v.number)) }
		}
	case dates:
		if got, ok := parseDate(value); ok {
			test = func(v expected) bool { return c.operator.relation.holds(got.compare(v.date)) }
		}
	case address:
		if got, err := netip.ParseAddr(value); err == nil {
			test = func(v expected) bool { return v.prefix.Contains(got.Unmap().WithZone("")) }
		}
	case binary:
		if got, ok := decodeBinary(value); ok {
			test = func(v expected) bool { return got == v.bytes }
		}
	default: // texts: equalsAny
	}
	for _, v := range c.values {
		if v.readable && test(v) {
			return true
		}
	}
	return false
}
