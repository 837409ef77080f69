package policy

import "slices"

// asking is a request while it is decided: what its conditions and variables
// read, and what they did not find.
type asking struct {
	request *Request
	missing []string
}

// values returns the request's values of a key, given in lower case. A key with
// an empty list is as good as absent.
func (a *asking) values(key string) []string { return a.request.Context[key] }

// variable returns what a policy variable stands for. A key with several values
// has none: AWS takes variables from keys of one value only.
func (a *asking) variable(v *variable) (string, bool) {
	if values := a.values(v.key); len(values) == 1 {
		return values[0], true
	}
	if v.hasFallback {
		return v.fallback, true
	}
	a.miss(v.name)
	return "", false
}

// miss notes a key that was asked for and has no value.
func (a *asking) miss(name string) {
	if !slices.Contains(a.missing, name) {
		a.missing = append(a.missing, name)
	}
}
