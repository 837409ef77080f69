package authority

import (
	"fmt"
	"strings"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/policy"
	"berth.dev/berth/internal/rules/policy/managed"
	"berth.dev/berth/internal/wire/caller"
)

// principal is a user or role with its policies, parsed.
type principal struct {
	identity []policy.Source
	boundary *policy.Source
	tags     []model.Tag

	// What it was made of: it counts while the store has these very records.
	user    *model.User
	role    *model.Role
	groups  []*model.Group
	managed []held
}

// held is a managed policy of the account as it was used; nil when there was
// none.
type held struct {
	arn    string
	record *model.Policy
}

// current reports whether nothing that p was made of has changed.
func (p *principal) current(r store.Reader, user *model.User, role *model.Role) bool {
	if p.user != user || p.role != role {
		return false
	}
	for _, g := range p.groups {
		if now, _ := records.Groups.Get(r, g.Key()); now != g {
			return false
		}
	}
	for _, h := range p.managed {
		if now, _ := records.Policies.Get(r, h.arn); now != h.record {
			return false
		}
	}
	return true
}

// nobody has no policies: root, and identities that only resources' policies
// speak for.
var nobody = &principal{}

// principalOf finds the caller's policies. The error of a caller that does not
// exist any more has class fault.Denied; in AWS's words that would have been the
// credential store's to say, a moment ago.
func (a *Authority) principalOf(r store.Reader, who *caller.Identity) (*principal, error) {
	role, user, ok := records.Holder(r, who)
	switch {
	case !ok:
		return nil, fault.New(fault.Denied, "User: %s is not authorized to perform this action because it does not exist", who.ARN)
	case role != nil:
		return a.principalFor(r, "role/"+role.Key(), nil, role)
	case user != nil:
		return a.principalFor(r, "user/"+user.Key(), user, nil)
	}
	return nobody, nil
}

func (a *Authority) principalFor(r store.Reader, key string, user *model.User, role *model.Role) (*principal, error) {
	if p, ok := a.principals.Get(key); ok && p.current(r, user, role) {
		return p, nil
	}
	p := &principal{user: user, role: role}
	var err error
	if user != nil {
		err = a.compileUser(r, p)
	} else {
		p.tags = role.Tags
		err = a.compile(r, p, role.Inline, role.Attached, role.BoundaryARN)
	}
	if err != nil {
		return nil, fmt.Errorf("the policies of %s: %w", key, err)
	}
	a.principals.Add(key, p)
	return p, nil
}

func (a *Authority) compileUser(r store.Reader, p *principal) error {
	p.tags = p.user.Tags
	if err := a.compile(r, p, p.user.Inline, p.user.Attached, p.user.BoundaryARN); err != nil {
		return err
	}
	for _, name := range p.user.Groups {
		g, ok := records.Groups.Get(r, model.FoldName(name))
		if !ok {
			continue
		}
		p.groups = append(p.groups, g)
		if err := a.compile(r, p, g.Inline, g.Attached, ""); err != nil {
			return err
		}
	}
	return nil
}

// compile adds policies to p.
func (a *Authority) compile(r store.Reader, p *principal, inline []model.InlinePolicy, attached []string, boundary string) error {
	for i := range inline {
		d, err := a.parse(policy.Identity, inline[i].Document)
		if err != nil {
			return fmt.Errorf("inline policy %s: %w", inline[i].Name, err)
		}
		p.identity = append(p.identity, policy.Source{Document: d})
	}
	for _, name := range attached {
		source, err := a.managedPolicy(r, p, name)
		if err != nil {
			return err
		}
		p.identity = append(p.identity, source)
	}
	if boundary == "" {
		return nil
	}
	// A boundary that is gone allows nothing: its source has no document.
	source, err := a.managedPolicy(r, p, boundary)
	if err != nil {
		return err
	}
	p.boundary = &source
	return nil
}

// managedPolicy finds a managed policy, the account's or AWS's, and notes in p
// that it depends on it. One that does not exist has no document.
func (a *Authority) managedPolicy(r store.Reader, p *principal, name string) (policy.Source, error) {
	source := policy.Source{ARN: name}
	text := ""
	if strings.HasPrefix(name, "arn:aws:iam::aws:") {
		aws, ok := managed.Find(name)
		if !ok {
			return source, nil
		}
		text = aws.Document
	} else {
		record, _ := records.Policies.Get(r, name)
		p.managed = append(p.managed, held{name, record})
		if record == nil || record.Default() == nil {
			return source, nil
		}
		text = record.Default().Document
	}
	var err error
	if source.Document, err = a.parse(policy.Identity, text); err != nil {
		return source, fmt.Errorf("policy %s: %w", name, err)
	}
	return source, nil
}

// sessionPolicies are what limits a session. Their texts came with the session
// and are not records.
func (a *Authority) sessionPolicies(r store.Reader, s *caller.Session) ([]policy.Source, error) {
	sources := make([]policy.Source, 0, len(s.Policies)+len(s.PolicyARNs))
	for _, text := range s.Policies {
		d, err := a.parse(policy.Identity, text)
		if err != nil {
			return nil, fmt.Errorf("session policy: %w", err)
		}
		sources = append(sources, policy.Source{Document: d})
	}
	for _, name := range s.PolicyARNs {
		source, err := a.managedPolicy(r, &principal{}, name)
		if err != nil {
			return nil, err
		}
		sources = append(sources, source)
	}
	return sources, nil
}

// document is a text and how it was read.
type document struct {
	kind policy.Kind
	text string
}

// parse reads a document, which has passed policy.Parse before it was stored.
func (a *Authority) parse(kind policy.Kind, text string) (*policy.Document, error) {
	key := document{kind, text}
	if d, ok := a.documents.Get(key); ok {
		return d, nil
	}
	d, err := policy.Parse(kind, text)
	if err != nil {
		return nil, err
	}
	a.documents.Add(key, d)
	return d, nil
}

// lastPart is the name in an IAM ARN.
func lastPart(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }
