package policy

import (
	"math/bits"
	"strings"
)

// arnFields is how many parts an ARN has; the last has the rest, colons
// included.
const arnFields = 6

// arnPattern matches ARNs by their fields, what stands between colons. A
// wildcard stays in its field, except in the last one, which may have colons of
// its own. Fields that the text leaves out match all, as AWS pads them.
//
// In a Resource or NotResource a * that ends a field may also run on beyond the
// colon, as AWS's reference of the element says: arn:aws:dynamodb:*:table/x is
// about table/x in all regions and accounts. Conditions compare field by field.
type arnPattern struct {
	everything bool // "*"
	runsOn     bool
	count      int // of fields in the text
	fields     [arnFields]pattern
	openEnded  [arnFields]bool // the field ends with *
}

// compileARN reads a resource, which runs on, or the value of an Arn condition.
func compileARN(text string, variables, runsOn bool) (arnPattern, error) {
	if strings.Trim(text, "*") == "" && text != "" {
		return arnPattern{everything: true}, nil
	}
	texts := splitFields(text, variables)
	p := arnPattern{runsOn: runsOn, count: len(texts)}
	for i := range p.fields {
		if i >= len(texts) {
			p.fields[i] = pattern{shape: anything}
			continue
		}
		field, err := compile(texts[i], true, variables)
		if err != nil {
			return arnPattern{}, err
		}
		p.fields[i] = field
		p.openEnded[i] = field.openEnded()
	}
	return p, nil
}

// splitFields cuts text at its first five colons. A variable's name has a colon
// that does not count.
func splitFields(text string, variables bool) []string {
	var fields []string
	start, inVariable := 0, false
	for i := 0; i < len(text) && len(fields) < arnFields-1; i++ {
		switch {
		case variables && strings.HasPrefix(text[i:], "${"):
			inVariable = true
		case inVariable && text[i] == '}':
			inVariable = false
		case text[i] == ':' && !inVariable:
			fields = append(fields, text[start:i])
			start = i + 1
		}
	}
	return append(fields, text[start:])
}

// match reports whether s is an ARN that matches. An action that names no
// resource has "*": only the pattern "*" matches that.
func (p *arnPattern) match(s string, ask *asking) bool {
	switch {
	case p.everything:
		return true
	case p.runsOn:
		return p.matchOn(s, ask)
	}
	for i := range p.fields {
		field, rest := s, ""
		if i < arnFields-1 {
			var found bool
			if field, rest, found = strings.Cut(s, ":"); !found {
				return false
			}
		}
		if !p.fields[i].match(field, ask) {
			return false
		}
		s = rest
	}
	return true
}

// maxParts is how many parts of an ARN's text are told apart; what follows the
// last is one with it. No ARN of ours comes near.
const maxParts = 64

// matchOn is match for patterns whose open ends run on. It keeps the set of
// parts of s at which a field may begin: after a field with an open end that is
// every later one, so that the work is bounded by fields times parts.
func (p *arnPattern) matchOn(s string, ask *asking) bool {
	var begins [maxParts + 1]int
	parts := 1
	for at := 0; parts < maxParts; parts++ {
		colon := strings.IndexByte(s[at:], ':')
		if colon < 0 {
			break
		}
		at += colon + 1
		begins[parts] = at
	}
	if parts < p.count {
		return false
	}
	begins[parts] = len(s) + 1

	reached := uint64(1)
	for i := range p.count - 1 {
		var next uint64
		for rest := reached; rest != 0; rest &= rest - 1 {
			j := bits.TrailingZeros64(rest)
			if !p.fields[i].match(s[begins[j]:begins[j+1]-1], ask) {
				continue
			}
			if p.openEnded[i] {
				next |= ^uint64(0) << j << 1
				break // a later begin adds nothing
			}
			next |= 1 << j << 1
		}
		if parts < maxParts {
			next &= 1<<parts - 1
		}
		if reached = next; reached == 0 {
			return false
		}
	}
	return p.matchLast(s, begins[:parts+1], reached, ask)
}

// matchLast matches the last field of the text, which takes the rest.
func (p *arnPattern) matchLast(s string, begins []int, reached uint64, ask *asking) bool {
	last, parts := p.count-1, len(begins)-1
	for ; reached != 0; reached &= reached - 1 {
		j := bits.TrailingZeros64(reached)
		rest := s[begins[j]:]
		if last < arnFields-1 {
			// Fields are left out, which is as if they were *. Where an open
			// end has run on there is nothing to fill up.
			if !p.openEnded[last] && j != last && j != parts-1 {
				continue
			}
			rest = s[begins[j] : begins[j+1]-1]
		}
		if p.fields[last].match(rest, ask) {
			return true
		}
	}
	return false
}
