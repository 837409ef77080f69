package logpattern

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// compileJSON compiles { expression }.
func compileJSON(text string) (func(string) bool, error) {
	if !strings.HasSuffix(text, "}") {
		return nil, invalid("the brace is not closed")
	}
	s := &scanner{text: text[:len(text)-1], pos: 1}
	wildcards := 0
	p := &parser[any]{scanner: s, leaf: func() (condition[any], error) { return s.comparison(&wildcards) }}
	holds, err := p.or()
	if err != nil {
		return nil, err
	}
	if s.skipSpace(); !s.end() {
		return nil, invalid("unexpected text at position %d", s.pos+1)
	}
	return func(message string) bool {
		document, ok := parseDocument(message)
		return ok && holds(document)
	}, nil
}

// parseDocument reads a message that is one JSON object or array.
func parseDocument(message string) (any, bool) {
	trimmed := strings.TrimLeft(message, " \t\r\n")
	if trimmed == "" || trimmed[0] != '{' && trimmed[0] != '[' {
		return nil, false
	}
	decoder := json.NewDecoder(strings.NewReader(trimmed))
	decoder.UseNumber()
	var document any
	if decoder.Decode(&document) != nil {
		return nil, false
	}
	_, err := decoder.Token()
	return document, err == io.EOF
}

// comparison reads one test of a selector.
func (s *scanner) comparison(wildcards *int) (condition[any], error) {
	path, err := s.selector(wildcards)
	if err != nil {
		return nil, err
	}
	s.skipSpace()
	switch word := s.keyword(); word {
	case "":
	case "IS":
		s.skipSpace()
		return isLiteral(path, s.keyword())
	case "NOT":
		s.skipSpace()
		if s.keyword() != "EXISTS" {
			return nil, invalid("NOT must be followed by EXISTS")
		}
		return func(document any) bool { return !path.any(document, func(any) bool { return true }) }, nil
	default:
		return nil, invalid("%s is not an operator", word)
	}
	op, err := s.operator()
	if err != nil {
		return nil, err
	}
	value, err := s.value(op)
	if err != nil {
		return nil, err
	}
	return func(document any) bool {
		return path.any(document, func(v any) bool {
			switch v := v.(type) {
			case string:
				// Order is among numbers; a text that looks like one is a text.
				return (op == "=" || op == "!=") && value.holds(op, v)
			case json.Number:
				return value.holds(op, v.String())
			}
			return false // objects, arrays, booleans and null are not compared
		})
	}, nil
}

func isLiteral(path selector, word string) (condition[any], error) {
	var want any
	switch word {
	case "NULL":
		want = nil
	case "TRUE":
		want = true
	case "FALSE":
		want = false
	default:
		return nil, invalid("IS must be followed by NULL, TRUE or FALSE")
	}
	return func(document any) bool {
		return path.any(document, func(v any) bool {
			switch v.(type) {
			case nil, bool:
				return v == want
			}
			return false
		})
	}, nil
}

// keyword reads a word of letters, in upper case.
func (s *scanner) keyword() string {
	return strings.ToUpper(s.until(func(r rune) bool { return !unicode.IsLetter(r) }))
}

// selector names values in a document.
type selector []step

// step is one step into a document: a member, an element, or all of them.
type step struct {
	name  string
	index int // of an element; -1 for a member, -2 for all
}

const (
	memberStep = -1
	everyStep  = -2
)

// selector reads $.a.b[0].['c d'].* and its like.
func (s *scanner) selector(wildcards *int) (selector, error) {
	if s.end() || !s.take("$") {
		return nil, invalid("a selector beginning with $ is expected at position %d", s.pos+1)
	}
	var path selector
	stars := 0
	for !s.end() && (s.peek() == '.' || s.peek() == '[') {
		next, err := s.step()
		if err != nil {
			return nil, err
		}
		if next.index == everyStep {
			stars++
			*wildcards++
		}
		path = append(path, next)
	}
	switch {
	case len(path) == 0:
		return nil, invalid("a selector has no property")
	case stars > 1:
		return nil, invalid("a selector has more than one wildcard")
	case *wildcards > maxWildcardSelectors:
		return nil, invalid("it has more than %d wildcard selectors", maxWildcardSelectors)
	}
	return path, nil
}

func (s *scanner) step() (step, error) {
	dot := s.take(".")
	if !s.end() && s.peek() == '[' {
		return s.bracket()
	}
	if dot && s.take("*") {
		return step{index: everyStep}, nil
	}
	name := s.until(func(r rune) bool {
		return unicode.IsSpace(r) || strings.ContainsRune(".[]()=!<>&|,{}\"'*%", r)
	})
	if name == "" {
		return step{}, invalid("the name of a property is expected at position %d", s.pos+1)
	}
	return step{name: name, index: memberStep}, nil
}

// bracket reads [0], [*] or ['name'].
func (s *scanner) bracket() (step, error) {
	start := s.pos
	s.take("[")
	var found step
	switch {
	case s.take("*"):
		found = step{index: everyStep}
	case s.take("'"):
		found = step{name: s.until(func(r rune) bool { return r == '\'' }), index: memberStep}
		if !s.take("'") {
			return step{}, invalid("the quotation mark at position %d is not closed", start+2)
		}
	default:
		digits := s.until(func(r rune) bool { return r < '0' || r > '9' })
		index, err := strconv.Atoi(digits)
		if err != nil {
			return step{}, invalid("an index is expected at position %d", start+2)
		}
		found = step{index: index}
	}
	if !s.take("]") {
		return step{}, invalid("the bracket at position %d is not closed", start+1)
	}
	return found, nil
}

// any reports whether test holds for a value that the selector names.
func (path selector) any(v any, test func(any) bool) bool {
	if len(path) == 0 {
		return test(v)
	}
	next, rest := path[0], path[1:]
	switch v := v.(type) {
	case map[string]any:
		if next.index == everyStep {
			for _, member := range v {
				if rest.any(member, test) {
					return true
				}
			}
		}
		if next.index == memberStep {
			member, there := v[next.name]
			return there && rest.any(member, test)
		}
	case []any:
		if next.index == everyStep {
			for _, element := range v {
				if rest.any(element, test) {
					return true
				}
			}
		}
		if next.index >= 0 && next.index < len(v) {
			return rest.any(v[next.index], test)
		}
	}
	return false
}
