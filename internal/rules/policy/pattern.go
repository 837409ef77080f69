package policy

import (
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Tokens of a pattern that are not characters.
const (
	anyRun  rune = -1 // *
	anyChar rune = -2 // ?
)

// shape lets the common patterns skip the general matcher.
type shape int

const (
	exactly  shape = iota // no wildcard: text
	anything              // *
	leading               // text*
	general
)

// pattern is a compiled text of a policy: characters, wildcards and variables.
// The zero pattern matches the empty string only.
type pattern struct {
	shape  shape
	text   string // of exactly and leading
	tokens []rune // of general
	// parts is set when the text has variables; then the other fields are not.
	parts []part
}

// part is a stretch of tokens or a variable.
type part struct {
	tokens   []rune
	variable *variable
}

// variable is ${name} or ${name, 'fallback'}.
type variable struct {
	name        string // as written
	key         string // in lower case, as requests have it
	fallback    string
	hasFallback bool
}

var errPattern = errors.New("a policy variable has no end")

// compile reads text. Wildcards count where wild is set, variables and escapes
// (${*}, ${?}, ${$}) where variables is: in documents of version 2012-10-17.
func compile(text string, wild, variables bool) (pattern, error) {
	var parts []part
	tokens := make([]rune, 0, len(text))
	dynamic := false
	for rest := text; rest != ""; {
		if variables && strings.HasPrefix(rest, "${") {
			inner, after, found := strings.Cut(rest[2:], "}")
			if !found {
				return pattern{}, errPattern
			}
			rest = after
			if inner == "*" || inner == "?" || inner == "$" {
				tokens = append(tokens, rune(inner[0]))
				continue
			}
			v, err := parseVariable(inner)
			if err != nil {
				return pattern{}, err
			}
			dynamic = true
			parts = append(parts, part{tokens: tokens}, part{variable: v})
			tokens = nil
			continue
		}
		r, size := utf8.DecodeRuneInString(rest)
		switch {
		case wild && r == '*':
			if n := len(tokens); n == 0 || tokens[n-1] != anyRun {
				tokens = append(tokens, anyRun)
			}
		case wild && r == '?':
			tokens = append(tokens, anyChar)
		default:
			tokens = append(tokens, r)
		}
		rest = rest[size:]
	}
	if dynamic {
		return pattern{parts: append(parts, part{tokens: tokens})}, nil
	}
	return fromTokens(tokens), nil
}

// parseVariable reads what stands between ${ and }.
func parseVariable(inner string) (*variable, error) {
	name, fallback, hasFallback := strings.Cut(inner, ",")
	v := &variable{name: strings.TrimSpace(name), hasFallback: hasFallback}
	v.key = strings.ToLower(v.name)
	if hasFallback {
		fallback = strings.TrimSpace(fallback)
		if len(fallback) < 2 || fallback[0] != '\'' || fallback[len(fallback)-1] != '\'' {
			return nil, errPattern
		}
		v.fallback = fallback[1 : len(fallback)-1]
	}
	if v.name == "" {
		return nil, errPattern
	}
	return v, nil
}

// fromTokens chooses the cheapest shape.
func fromTokens(tokens []rune) pattern {
	first := slices.IndexFunc(tokens, func(r rune) bool { return r < 0 })
	switch {
	case first < 0:
		return pattern{shape: exactly, text: string(tokens)}
	case len(tokens) == 1 && tokens[0] == anyRun:
		return pattern{shape: anything}
	case first == len(tokens)-1 && tokens[first] == anyRun:
		return pattern{shape: leading, text: string(tokens[:first])}
	default:
		return pattern{shape: general, tokens: tokens}
	}
}

// openEnded reports whether the pattern ends with *.
func (p *pattern) openEnded() bool {
	if p.parts == nil {
		return p.shape == anything || p.shape == leading || p.shape == general && p.tokens[len(p.tokens)-1] == anyRun
	}
	last := p.parts[len(p.parts)-1].tokens
	return len(last) > 0 && last[len(last)-1] == anyRun
}

// match reports whether the whole of s matches. A variable without a value
// matches nothing: ask records its name.
func (p *pattern) match(s string, ask *asking) bool {
	if p.parts != nil {
		resolved, ok := p.resolve(ask)
		return ok && resolved.match(s, nil)
	}
	switch p.shape {
	case exactly:
		return s == p.text
	case anything:
		return true
	case leading:
		return strings.HasPrefix(s, p.text)
	default:
		return matchTokens(p.tokens, s, false)
	}
}

// matchFold is match without regard to case.
func (p *pattern) matchFold(s string, ask *asking) bool {
	if p.parts != nil {
		resolved, ok := p.resolve(ask)
		return ok && resolved.matchFold(s, nil)
	}
	switch p.shape {
	case exactly:
		return strings.EqualFold(s, p.text)
	case anything:
		return true
	case leading:
		if len(s) >= len(p.text) && strings.EqualFold(s[:len(p.text)], p.text) {
			return true
		}
		// Letters whose cases have encodings of different lengths.
		return !ascii(s) && matchTokens(append([]rune(p.text), anyRun), s, true)
	default:
		return matchTokens(p.tokens, s, true)
	}
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// resolve puts the values of variables in place. Their characters stand for
// themselves, wildcards too: a user named "*" is no wildcard.
func (p *pattern) resolve(ask *asking) (pattern, bool) {
	var tokens []rune
	for _, part := range p.parts {
		if part.variable == nil {
			tokens = append(tokens, part.tokens...)
			continue
		}
		value, ok := ask.variable(part.variable)
		if !ok {
			return pattern{}, false
		}
		for _, r := range value {
			tokens = append(tokens, r)
		}
	}
	return fromTokens(tokens), true
}

// matchTokens matches greedily: on a mismatch it goes back to the last * only,
// because what an earlier * could take instead, the last one can take as well.
// That bounds the work by the product of both lengths.
func matchTokens(tokens []rune, s string, fold bool) bool {
	at, star, retry := 0, -1, 0 // in tokens; of the last *; in s, to continue from
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if at < len(tokens) {
			switch t := tokens[at]; {
			case t == anyRun:
				star, retry = at, i
				at++
				continue
			case t == anyChar || t == r || fold && equalFold(t, r):
				at++
				i += size
				continue
			}
		}
		if star < 0 {
			return false
		}
		_, skip := utf8.DecodeRuneInString(s[retry:])
		retry += skip
		at, i = star+1, retry
	}
	for at < len(tokens) && tokens[at] == anyRun {
		at++
	}
	return at == len(tokens)
}

func equalFold(a, b rune) bool {
	if a < utf8.RuneSelf && b < utf8.RuneSelf {
		return lower(a) == lower(b)
	}
	return unicode.SimpleFold(a) == b || unicode.SimpleFold(b) == a || unicode.ToLower(a) == unicode.ToLower(b)
}

func lower(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		return r + ('a' - 'A')
	}
	return r
}
