package logpattern

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// condition is a test of a message that was taken apart: a JSON document or
// one field of a line.
type condition[T any] func(T) bool

// parser reads conditions joined by && and ||, with parentheses; leaf reads one
// comparison.
type parser[T any] struct {
	*scanner
	leaf func() (condition[T], error)
}

// or reads a disjunction, which binds weakest.
func (p *parser[T]) or() (condition[T], error) {
	left, err := p.and()
	if err != nil {
		return nil, err
	}
	for p.skipSpace(); p.take("||"); p.skipSpace() {
		first := left
		second, err := p.and()
		if err != nil {
			return nil, err
		}
		left = func(v T) bool { return first(v) || second(v) }
	}
	return left, nil
}

func (p *parser[T]) and() (condition[T], error) {
	left, err := p.operand()
	if err != nil {
		return nil, err
	}
	for p.skipSpace(); p.take("&&"); p.skipSpace() {
		first := left
		second, err := p.operand()
		if err != nil {
			return nil, err
		}
		left = func(v T) bool { return first(v) && second(v) }
	}
	return left, nil
}

func (p *parser[T]) operand() (condition[T], error) {
	p.skipSpace()
	if !p.take("(") {
		return p.leaf()
	}
	inner, err := p.or()
	if err != nil {
		return nil, err
	}
	p.skipSpace()
	if !p.take(")") {
		return nil, invalid("a parenthesis is not closed")
	}
	return inner, nil
}

// operator reads a comparison operator.
func (s *scanner) operator() (string, error) {
	s.skipSpace()
	for _, op := range []string{"!=", "<=", ">=", "=", "<", ">"} {
		if s.take(op) {
			return op, nil
		}
	}
	return "", invalid("a comparison operator is expected at position %d", s.pos+1)
}

// operand is the right side of a comparison.
type operand struct {
	text   string         // what a text is compared with, * standing for anything
	parts  []string       // text between the asterisks
	number *float64       // the number it denotes, nil when quoted or not a number
	regex  *regexp.Regexp // nil unless it is one
}

// value reads the right side of a comparison for op.
func (s *scanner) value(op string) (operand, error) {
	s.skipSpace()
	var v operand
	var err error
	switch {
	case s.end():
		return v, invalid("a value is missing at its end")
	case s.peek() == '"':
		v.text, err = s.quoted()
	case s.peek() == '%':
		v.regex, err = s.regex()
	default:
		v.text, err = s.bare()
		if n, ok := number(v.text); ok {
			v.number = &n
		}
	}
	if err != nil {
		return v, err
	}
	if op != "=" && op != "!=" && v.number == nil {
		return v, invalid("operator %s needs a number", op)
	}
	v.parts = strings.Split(v.text, "*")
	return v, nil
}

// bare reads a value without quotes.
func (s *scanner) bare() (string, error) {
	word := s.until(func(r rune) bool {
		return unicode.IsSpace(r) || strings.ContainsRune("()&|,{}[]=<>!\"%", r)
	})
	if word == "" {
		return "", invalid("a value is expected at position %d", s.pos+1)
	}
	return word, nil
}

// number reads a decimal number, scientific notation included.
func number(s string) (float64, bool) {
	// ParseFloat also knows names and hexadecimal, which patterns do not.
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune("0123456789+-.eE", r) }) {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil
}

// holds compares a text with the operand. Numbers are compared as numbers when
// both sides are.
func (v operand) holds(op, text string) bool {
	n, isNumber := 0.0, false
	if v.number != nil {
		n, isNumber = number(text)
	}
	switch op {
	case "=":
		return v.equals(text, n, isNumber)
	case "!=":
		return !v.equals(text, n, isNumber)
	}
	if !isNumber {
		return false
	}
	switch op {
	case "<":
		return n < *v.number
	case "<=":
		return n <= *v.number
	case ">":
		return n > *v.number
	default:
		return n >= *v.number
	}
}

func (v operand) equals(text string, n float64, isNumber bool) bool {
	switch {
	case v.regex != nil:
		return v.regex.MatchString(text)
	case isNumber:
		return n == *v.number
	}
	return glob(v.parts, text)
}

// glob reports whether text consists of the parts in order with anything
// between them. A single part is the whole text.
func glob(parts []string, text string) bool {
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return text == first
	}
	if len(text) < len(first)+len(last) || !strings.HasPrefix(text, first) || !strings.HasSuffix(text, last) {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return true
}
