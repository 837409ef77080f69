package logpattern

import (
	"strings"
	"unicode"
)

// field is one place of a space-delimited pattern.
type field struct {
	rest  bool              // "...": any number of fields, none included
	holds condition[string] // nil: anything
}

// compileFields compiles [a, b = 1, ...].
func compileFields(text string) (func(string) bool, error) {
	if !strings.HasSuffix(text, "]") {
		return nil, invalid("the bracket is not closed")
	}
	s := &scanner{text: text[:len(text)-1], pos: 1}
	var fields []field
	for {
		f, err := s.field()
		if err != nil {
			return nil, err
		}
		fields = append(fields, f)
		s.skipSpace()
		if s.end() {
			break
		}
		if !s.take(",") {
			return nil, invalid("a comma is expected at position %d", s.pos+1)
		}
	}
	return func(message string) bool { return matchFields(fields, splitFields(message)) }, nil
}

// field reads one place: a name, a condition on a name, or "...".
func (s *scanner) field() (field, error) {
	s.skipSpace()
	if s.take("...") {
		return field{rest: true}, nil
	}
	start := s.pos
	name, err := s.fieldName()
	if err == nil {
		if s.skipSpace(); s.end() || s.peek() == ',' {
			return field{}, nil
		}
	}
	s.pos = start // a condition begins with the name, or with a parenthesis
	p := &parser[string]{scanner: s}
	p.leaf = func() (condition[string], error) {
		found, err := s.fieldName()
		if err != nil {
			return nil, err
		}
		if name == "" {
			name = found
		}
		if found != name {
			return nil, invalid("the condition of field %s is about %s", name, found)
		}
		op, err := s.operator()
		if err != nil {
			return nil, err
		}
		value, err := s.value(op)
		if err != nil {
			return nil, err
		}
		return func(text string) bool { return value.holds(op, text) }, nil
	}
	holds, err := p.or()
	return field{holds: holds}, err
}

func (s *scanner) fieldName() (string, error) {
	name := s.until(func(r rune) bool {
		return r != '_' && r != '-' && r != '$' && r != '.' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	if name == "" {
		return "", invalid("the name of a field is expected at position %d", s.pos+1)
	}
	return name, nil
}

// splitFields takes a line apart at its spaces. Text in square brackets or in
// double quotes is one field, without them; an opening one that is never
// closed is an ordinary character.
func splitFields(line string) []string {
	var fields []string
	for {
		line = strings.TrimLeftFunc(line, unicode.IsSpace)
		if line == "" {
			return fields
		}
		var inner, rest string
		closed := false
		switch line[0] {
		case '[':
			inner, rest, closed = strings.Cut(line[1:], "]")
		case '"':
			inner, rest, closed = strings.Cut(line[1:], `"`)
		}
		if closed {
			fields = append(fields, inner)
			line = rest
			continue
		}
		n := strings.IndexFunc(line, unicode.IsSpace)
		if n < 0 {
			n = len(line)
		}
		fields = append(fields, line[:n])
		line = line[n:]
	}
}

// matchFields reports whether the fields of a line fill the places. It works
// through the places and keeps which numbers of fields they can have used up,
// so that several "..." cost no more than one.
func matchFields(places []field, line []string) bool {
	used := make([]bool, len(line)+1)
	used[0] = true
	for _, place := range places {
		next := make([]bool, len(line)+1)
		for n, possible := range used {
			switch {
			case place.rest:
				next[n] = possible || n > 0 && next[n-1]
			case possible && n < len(line) && (place.holds == nil || place.holds(line[n])):
				next[n+1] = true
			}
		}
		used = next
	}
	return used[len(line)]
}
