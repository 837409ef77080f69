package logpattern

import (
	"fmt"
	"strings"
	"unicode"

	"berth.dev/berth/internal/base/fault"
)

// MaxLength is the longest pattern, in bytes.
const MaxLength = 1024

// AWS's limits on what costs time in one pattern.
const (
	maxRegexes           = 2
	maxWildcardSelectors = 3
)

// Pattern is a compiled filter pattern. It is immutable and may be shared.
type Pattern struct {
	match func(message string) bool
}

// Match reports whether the message of an event matches.
func (p *Pattern) Match(message string) bool { return p.match(message) }

// Compile reads a filter pattern. Its errors are of class fault.Invalid, and
// their text is for the user.
func Compile(pattern string) (*Pattern, error) {
	if len(pattern) > MaxLength {
		return nil, invalid("it is longer than %d characters", MaxLength)
	}
	text := strings.TrimSpace(pattern)
	var match func(string) bool
	var err error
	switch {
	case text == "":
		match = func(string) bool { return true }
	case text[0] == '{':
		match, err = compileJSON(text)
	case text[0] == '[':
		match, err = compileFields(text)
	default:
		match, err = compileTerms(text)
	}
	if err != nil {
		return nil, err
	}
	return &Pattern{match}, nil
}

func invalid(format string, args ...any) error {
	return fault.New(fault.Invalid, "Invalid filter pattern: %s", fmt.Sprintf(format, args...))
}

// compileTerms compiles an unstructured pattern: terms that must all be there,
// -terms that must not, or ?terms of which one must be there. The ?terms are
// ignored beside any other, as AWS documents.
func compileTerms(text string) (func(string) bool, error) {
	s := &scanner{text: text}
	var required, excluded, optional []func(string) bool
	for s.skipSpace(); !s.end(); s.skipSpace() {
		list := &required
		switch s.peek() {
		case '?':
			list = &optional
			s.pos++
		case '-':
			list = &excluded
			s.pos++
		}
		term, err := s.term()
		if err != nil {
			return nil, err
		}
		*list = append(*list, term)
	}
	if len(required)+len(excluded) == 0 {
		return func(message string) bool { return anyOf(optional, message) }, nil
	}
	return func(message string) bool {
		for _, term := range required {
			if !term(message) {
				return false
			}
		}
		return !anyOf(excluded, message)
	}, nil
}

func anyOf(terms []func(string) bool, message string) bool {
	for _, term := range terms {
		if term(message) {
			return true
		}
	}
	return false
}

// term reads one term of an unstructured pattern, after its ? or -.
func (s *scanner) term() (func(string) bool, error) {
	if s.end() {
		return nil, invalid("a term is missing at its end")
	}
	switch s.peek() {
	case '"':
		phrase, err := s.quoted()
		if err != nil {
			return nil, err
		}
		return func(message string) bool { return strings.Contains(message, phrase) }, nil
	case '%':
		re, err := s.regex()
		if err != nil {
			return nil, err
		}
		return re.MatchString, nil
	}
	word := s.until(unicode.IsSpace)
	for _, r := range word {
		if r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return nil, invalid("invalid character(s) in term '%s', put it in double quotes", word)
		}
	}
	if word == "" {
		return nil, invalid("a term is empty")
	}
	return func(message string) bool { return strings.Contains(message, word) }, nil
}
