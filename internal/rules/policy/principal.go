package policy

import (
	"slices"
	"strings"
)

// grade is how closely a statement of a resource's policy names who asks. It
// decides what else must allow (behaviour §6, step 5).
type grade int

const (
	// unnamed: the statement is not about the caller.
	unnamed grade = iota
	// byAccount: it names the caller's account, which leaves the decision to
	// the account's identity policies.
	byAccount
	// byRole: it names the caller's role or everybody. That is as good as an
	// identity policy's word, but boundary and session policies still limit it.
	// Documents say it of roles; for everybody it is the safer reading [GK].
	byRole
	// byName: it names the user, the session or the service itself. Nothing but
	// an explicit deny limits it.
	byName
)

// principals are those that a statement names.
type principals struct {
	everybody bool // "*" or {"AWS": "*"}
	aws       []string
	accounts  []string // by id or by the ARN of root
	services  []string
	federated []string
}

// grade returns how closely the list names p.
func (l *principals) grade(p *Principal) grade {
	switch {
	case p.ARN != "" && slices.Contains(l.aws, p.ARN),
		p.ARN == "" && p.Service != "" && slices.Contains(l.services, p.Service),
		p.Federated != "" && slices.Contains(l.federated, p.Federated):
		return byName
	case l.everybody, p.RoleARN != "" && slices.Contains(l.aws, p.RoleARN):
		return byRole
	case p.ARN != "" && p.AccountID != "" && slices.Contains(l.accounts, p.AccountID):
		if p.Root {
			return byName
		}
		return byAccount
	default:
		return unnamed
	}
}

// spares reports whether a NotPrincipal list exempts p from a Deny. It must
// name all that p is: AWS checks the account, the role and the session one
// after the other, so that a list without one of them still denies.
func (l *principals) spares(p *Principal) bool {
	if l.everybody {
		return true
	}
	if p.ARN == "" {
		return l.grade(p) == byName
	}
	if !slices.Contains(l.accounts, p.AccountID) {
		return false
	}
	if p.RoleARN != "" && !slices.Contains(l.aws, p.RoleARN) {
		return false
	}
	return p.Root || slices.Contains(l.aws, p.ARN)
}

// compilePrincipals reads the element. It returns the offending value in the
// form of AWS's error, "AWS":"x", if there is one.
func compilePrincipals(n *node) (l principals, offender string, ok bool) {
	if n.kind == stringNode {
		if n.text != "*" {
			return l, quoted("AWS", n.text), false
		}
		l.everybody = true
		return l, "", true
	}
	for _, m := range n.members {
		texts, isList := m.value.strings()
		if !isList {
			return l, `"` + m.name + `"`, false
		}
		for _, text := range texts {
			if !l.add(m.name, text) {
				return l, quoted(m.name, text), false
			}
		}
	}
	return l, "", true
}

func quoted(kind, text string) string { return `"` + strings.ToUpper(kind) + `":"` + text + `"` }

// add takes one principal into the list and reports whether it is one.
func (l *principals) add(kind, text string) bool {
	switch kind {
	case "AWS":
		return l.addAWS(text)
	case "Service":
		// AWS knows its services; here a name must look like one.
		if !strings.Contains(text, ".") || strings.ContainsAny(text, "*/: ") {
			return false
		}
		l.services = append(l.services, text)
	case "Federated":
		if text == "" || text == "*" {
			return false
		}
		l.federated = append(l.federated, text)
	default:
		return false // CanonicalUser is of S3 only
	}
	return true
}

func (l *principals) addAWS(text string) bool {
	if text == "*" {
		l.everybody = true
		return true
	}
	if isAccountID(text) {
		l.accounts = append(l.accounts, text)
		return true
	}
	if isUniqueID(text) {
		// What AWS shows in place of a principal that was deleted: it is
		// nobody any more, even if one of the same name is made again.
		return true
	}
	fields := strings.SplitN(text, ":", arnFields)
	if len(fields) != arnFields || fields[0] != "arn" || fields[1] != "aws" || fields[3] != "" ||
		!isAccountID(fields[4]) || strings.ContainsAny(text, "*?") {
		return false
	}
	kind, name, _ := strings.Cut(fields[5], "/")
	switch {
	case fields[2] == "iam" && fields[5] == "root":
		l.accounts = append(l.accounts, fields[4])
	case name == "", fields[2] == "iam" && kind != "user" && kind != "role",
		fields[2] == "sts" && kind != "assumed-role" && kind != "federated-user",
		fields[2] != "iam" && fields[2] != "sts":
		return false
	default:
		l.aws = append(l.aws, text)
	}
	return true
}

func isAccountID(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}

func isUniqueID(s string) bool {
	if len(s) < 16 || len(s) > 128 || !strings.HasPrefix(s, "AIDA") && !strings.HasPrefix(s, "AROA") {
		return false
	}
	return strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}
