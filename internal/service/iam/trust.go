package iam

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// A role's trust names users and roles by ARN but means them and not whoever
// has the name later. AWS keeps their unique ids and shows ARNs as long as they
// exist. Here the text is kept, because Terraform compares it, and it changes
// when they do: a rename brings the new ARN, a deletion leaves the unique id.

// mention is a principal of the kind "AWS" and where its string stands in a
// document.
type mention struct {
	value      string
	start, end int
}

// mentions finds the principals of the kind "AWS" in a document that has passed
// policy.Parse.
func mentions(text string) []mention {
	var found []mention
	d := &scanner{text: text, dec: json.NewDecoder(strings.NewReader(text)), visit: func(path []string, m mention) {
		if n := len(path); n >= 2 && path[n-1] == "AWS" && (path[n-2] == "Principal" || path[n-2] == "NotPrincipal") {
			found = append(found, m)
		}
	}}
	d.value(nil)
	return found
}

// scanner walks over the strings of a JSON text. It stops at what is no JSON.
type scanner struct {
	text  string
	dec   *json.Decoder
	visit func(path []string, m mention)
}

func (s *scanner) value(path []string) bool {
	from := int(s.dec.InputOffset())
	token, err := s.dec.Token()
	if err != nil {
		return false
	}
	switch token := token.(type) {
	case string:
		end := int(s.dec.InputOffset())
		start := from + strings.IndexByte(s.text[from:end], '"')
		s.visit(path, mention{value: token, start: start, end: end})
	case json.Delim:
		for s.dec.More() {
			inner := path
			if token == '{' {
				key, err := s.dec.Token()
				if err != nil {
					return false
				}
				inner = append(slices.Clip(path), fmt.Sprint(key))
			}
			if !s.value(inner) {
				return false
			}
		}
		if _, err := s.dec.Token(); err != nil {
			return false
		}
	}
	return true
}

// replaced is text with other principals in the places of those that change
// knows.
func replaced(text string, change map[string]string) string {
	all := mentions(text)
	for _, m := range slices.Backward(all) {
		other, ok := change[m.value]
		if !ok {
			continue
		}
		quoted, err := json.Marshal(other)
		if err != nil {
			continue // a string always has an encoding
		}
		text = text[:m.start] + string(quoted) + text[m.end:]
	}
	return text
}

// trust checks that the principals a trust names exist, and returns the text to
// store and the users and roles of this account in it. The transaction then
// depends on them.
func (p *Provider) trust(tx *store.Tx, text string) (string, []string, error) {
	var trusted []string
	ids := map[string]string{}
	for _, m := range mentions(text) {
		name, known := p.principal(tx, m.value)
		if !known {
			return "", nil, malformed(fmt.Sprintf("Invalid principal in policy: \"AWS\":%q", m.value))
		}
		if name == "" {
			continue
		}
		if name != m.value {
			ids[m.value] = name
		}
		if !slices.Contains(trusted, name) {
			trusted = append(trusted, name)
		}
	}
	if len(ids) > 0 {
		text = replaced(text, ids)
	}
	return text, trusted, nil
}

// principal reports whether a principal can be named: everybody, an account, or
// a user, a role or a session of one that exists. Of a user or role of this
// account it returns the ARN. Other accounts' principals are taken on trust:
// nobody here can look.
func (p *Provider) principal(tx *store.Tx, value string) (name string, known bool) {
	if value == "*" || isAccountID(value) {
		return "", true
	}
	if !arn.Is(value) {
		return p.byUniqueID(tx, value)
	}
	a, err := arn.Parse(value)
	if err != nil || a.Partition != p.scope.Partition || a.Region != "" || a.Service != "iam" && a.Service != "sts" || !isAccountID(a.AccountID) {
		return "", false
	}
	path := a.Path()
	if a.AccountID != p.scope.AccountID {
		return "", a.Resource == "root" || len(path) > 0 && (a.Type() == kindUser || a.Type() == kindRole || a.Service == "sts")
	}
	switch a.Service + ":" + a.Type() {
	case "iam:root":
		return "", len(path) == 0
	case "iam:user":
		return value, isARNOf(value, path, func(folded string) (string, bool) {
			u, ok := records.Users.Get(tx, folded)
			if ok {
				records.Users.Guard(tx, folded)
				return p.userARN(u), true
			}
			return "", false
		})
	case "iam:role":
		return value, isARNOf(value, path, func(folded string) (string, bool) {
			r, ok := records.Roles.Get(tx, folded)
			if ok {
				records.Roles.Guard(tx, folded)
				return p.roleARN(r), true
			}
			return "", false
		})
	case "sts:assumed-role":
		if len(path) != 2 {
			return "", false
		}
		r, ok := records.Roles.Get(tx, model.FoldName(path[0]))
		return "", ok && r.Name == path[0]
	case "sts:federated-user":
		return "", len(path) == 1
	}
	return "", false
}

// isARNOf reports whether value is the ARN of the record with the name at the
// path's end: the path counts, and so does case.
func isARNOf(value string, path []string, find func(folded string) (string, bool)) bool {
	if len(path) == 0 || path[len(path)-1] == "" {
		return false
	}
	name, ok := find(model.FoldName(path[len(path)-1]))
	return ok && name == value
}

// byUniqueID finds who has an id such as AIDA…, which AWS takes in a trust and
// shows as an ARN.
func (p *Provider) byUniqueID(tx *store.Tx, id string) (name string, known bool) {
	switch {
	case strings.HasPrefix(id, prefixUser):
		for u := range records.Users.All(tx) {
			if u.ID == id {
				records.Users.Guard(tx, u.Key())
				return p.userARN(u), true
			}
		}
	case strings.HasPrefix(id, prefixRole):
		for r := range records.Roles.All(tx) {
			if r.ID == id {
				records.Roles.Guard(tx, r.Key())
				return p.roleARN(r), true
			}
		}
	}
	return "", false
}

// follow changes the trusts that name a user or role, which from now on is
// called other: its new ARN, or the unique id of one that is gone. The role
// with the key except is going too.
func (p *Provider) follow(tx *store.Tx, name, other, except string) error {
	records.Roles.GuardIndex(tx, records.RolesByTrusted, name)
	for r := range records.Roles.By(tx, records.RolesByTrusted, name) {
		if r.Key() == except {
			continue
		}
		if err := records.Roles.Edit(tx, r.Key(), func(r *model.Role) error {
			r.Trust = replaced(r.Trust, map[string]string{name: other})
			r.TrustedARNs = slices.DeleteFunc(r.TrustedARNs, func(trusted string) bool { return trusted == name })
			if arn.Is(other) {
				r.TrustedARNs = append(r.TrustedARNs, other)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

func isAccountID(s string) bool {
	if len(s) != 12 {
		return false
	}
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
