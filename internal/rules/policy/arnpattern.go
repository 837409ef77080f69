package policy

import "strings"

// arnFields is how many parts an ARN has; the last has the rest, colons
// included.
const arnFields = 6

// arnPattern matches ARNs field by field: a wildcard in one field does not
// reach into the next. Fields that the text leaves out match all, as AWS pads
// them.
type arnPattern struct {
	everything bool // "*"
	fields     [arnFields]pattern
}

// compileARN reads a resource or the value of an Arn condition.
func compileARN(text string, variables bool) (arnPattern, error) {
	if strings.Trim(text, "*") == "" && text != "" {
		return arnPattern{everything: true}, nil
	}
	var p arnPattern
	fields := splitFields(text, variables)
	for i := range p.fields {
		if i >= len(fields) {
			p.fields[i] = pattern{shape: anything}
			continue
		}
		field, err := compile(fields[i], true, variables)
		if err != nil {
			return arnPattern{}, err
		}
		p.fields[i] = field
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
	if p.everything {
		return true
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
