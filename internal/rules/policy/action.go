package policy

import (
	"slices"
	"strings"
)

// actions are the actions that a statement names, indexed by their service: a
// document such as ReadOnlyAccess has more than a thousand.
type actions struct {
	all       bool             // "*"
	anyPrefix []pattern        // "*:Name"
	services  []serviceActions // sorted by name
}

type serviceActions struct {
	name  string // in lower case
	all   bool
	names []string // in lower case, sorted
	globs []pattern
}

// compileActions indexes the texts, which have passed checkActions.
func compileActions(texts []string) actions {
	var a actions
	byService := map[string]*serviceActions{}
	for _, text := range texts {
		service, name, found := strings.Cut(strings.ToLower(text), ":")
		p, _ := compile(name, true, false) // without variables nothing fails
		switch {
		case !found || service == "*" && p.shape == anything:
			a.all = true
			continue
		case service == "*":
			a.anyPrefix = append(a.anyPrefix, p)
			continue
		}
		s := byService[service]
		if s == nil {
			s = &serviceActions{name: service}
			byService[service] = s
		}
		switch p.shape {
		case anything:
			s.all = true
		case exactly:
			s.names = append(s.names, p.text)
		default:
			s.globs = append(s.globs, p)
		}
	}
	for _, s := range byService {
		slices.Sort(s.names)
		a.services = append(a.services, *s)
	}
	slices.SortFunc(a.services, func(x, y serviceActions) int { return strings.Compare(x.name, y.name) })
	return a
}

// match reports whether action, such as "ecs:RunTask", is among them. Case does
// not count.
func (a *actions) match(action string) bool {
	if a.all {
		return true
	}
	service, name, found := strings.Cut(action, ":")
	if !found {
		return false
	}
	if i, ok := slices.BinarySearchFunc(a.services, service, func(s serviceActions, service string) int {
		return compareFold(s.name, service)
	}); ok && a.services[i].match(name) {
		return true
	}
	for i := range a.anyPrefix {
		if a.anyPrefix[i].matchFold(name, nil) {
			return true
		}
	}
	return false
}

func (s *serviceActions) match(name string) bool {
	if s.all {
		return true
	}
	if _, ok := slices.BinarySearchFunc(s.names, name, compareFold); ok {
		return true
	}
	for i := range s.globs {
		if s.globs[i].matchFold(name, nil) {
			return true
		}
	}
	return false
}

// compareFold compares a, which is in lower case, with b's lower case. It makes
// no copy of b.
func compareFold(a, b string) int {
	for i := range min(len(a), len(b)) {
		if x, y := a[i], byte(lower(rune(b[i]))); x != y {
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}
