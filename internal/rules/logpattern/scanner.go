package logpattern

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// scanner reads a pattern from left to right.
type scanner struct {
	text    string
	pos     int
	regexes int // seen so far
}

func (s *scanner) end() bool  { return s.pos >= len(s.text) }
func (s *scanner) peek() byte { return s.text[s.pos] } // not at the end

func (s *scanner) skipSpace() {
	for !s.end() {
		r, n := utf8.DecodeRuneInString(s.text[s.pos:])
		if !unicode.IsSpace(r) {
			return
		}
		s.pos += n
	}
}

// take moves past a word of punctuation if it comes next.
func (s *scanner) take(token string) bool {
	if !strings.HasPrefix(s.text[s.pos:], token) {
		return false
	}
	s.pos += len(token)
	return true
}

// until reads up to the first character for which stop holds.
func (s *scanner) until(stop func(rune) bool) string {
	rest := s.text[s.pos:]
	n := strings.IndexFunc(rest, stop)
	if n < 0 {
		n = len(rest)
	}
	s.pos += n
	return rest[:n]
}

// quoted reads a string in double quotes, in which a backslash makes the next
// quote or backslash an ordinary character.
func (s *scanner) quoted() (string, error) {
	start := s.pos
	var b strings.Builder
	for s.pos++; !s.end(); s.pos++ {
		c := s.peek()
		if c == '"' {
			s.pos++
			return b.String(), nil
		}
		if c == '\\' && s.pos+1 < len(s.text) && (s.text[s.pos+1] == '"' || s.text[s.pos+1] == '\\') {
			s.pos++
			c = s.peek()
		}
		b.WriteByte(c)
	}
	return "", invalid("the quotation mark at position %d is not closed", start+1)
}

// What a regular expression may contain besides letters, digits and escapes.
const regexSymbols = ":_#=@/;,-" + "^$?[]{}|*+."

// regex reads a regular expression between percent signs.
func (s *scanner) regex() (*regexp.Regexp, error) {
	s.pos++
	source, _, closed := strings.Cut(s.text[s.pos:], "%")
	if !closed {
		return nil, invalid("the regular expression at position %d is not closed with %%", s.pos)
	}
	s.pos += len(source) + 1
	if s.regexes++; s.regexes > maxRegexes {
		return nil, invalid("it has more than %d regular expressions", maxRegexes)
	}
	if source == "" {
		return nil, invalid("a regular expression is empty")
	}
	if err := checkRegex(source); err != nil {
		return nil, err
	}
	re, err := regexp.Compile(source)
	if err != nil {
		return nil, invalid("%%%s%% is not a regular expression", source)
	}
	return re, nil
}

// checkRegex admits what AWS admits, which is less than RE2.
func checkRegex(source string) error {
	for i := 0; i < len(source); i++ {
		c := source[i]
		switch {
		case c == '\\':
			i++
			if i == len(source) {
				return invalid("%%%s%% ends with a backslash", source)
			}
			if e := source[i]; isAlnum(e) && !strings.ContainsRune("dDsSwWx", rune(e)) || e >= utf8.RuneSelf {
				return invalid("%%%s%% has the unsupported escape \\%c", source, e)
			}
		case !isAlnum(c) && strings.IndexByte(regexSymbols, c) < 0:
			return invalid("character '%s' is not supported in the regular expression %%%s%%", firstRune(source[i:]), source)
		}
	}
	return nil
}

func firstRune(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return s[:n]
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
