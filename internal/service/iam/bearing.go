package iam

import (
	"fmt"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/policy"
	"berth.dev/berth/internal/wire/api/iamapi"
)

// bearing are the policies that a simulation asks, and where each is from.
type bearing struct {
	identity []policy.Source
	boundary *policy.Source
	resource *policy.Source
	origin   map[*policy.Document]origin
	// userARN is the user's whose policies they are; empty for a group's, a
	// role's and those of a request.
	userARN string
	// keys are condition keys that are the principal's own.
	keys map[string][]string
}

// origin names a policy in a simulation's answer.
type origin struct {
	id   string
	kind iamapi.PolicySourceType
}

func (b *bearing) from(doc *policy.Document, id string, kind iamapi.PolicySourceType) {
	if b.origin == nil {
		b.origin = map[*policy.Document]origin{}
	}
	b.origin[doc] = origin{id, kind}
}

// addRequested adds the policies of the request. Its boundary takes the place
// of the principal's.
func (b *bearing) addRequested(q question) error {
	for i, text := range q.identity {
		doc, err := parseGiven(policy.Identity, text)
		if err != nil {
			return err
		}
		b.from(doc, fmt.Sprintf("PolicyInputList.%d", i+1), iamapi.PolicySourceTypeNone)
		b.identity = append(b.identity, policy.Source{Document: doc})
	}
	if len(q.boundaries) > 1 {
		return invalidInput("Only one permissions boundary can be simulated.")
	}
	for _, text := range q.boundaries {
		doc, err := parseGiven(policy.Identity, text)
		if err != nil {
			return err
		}
		b.from(doc, "PermissionsBoundaryPolicyInputList.1", iamapi.PolicySourceTypeNone)
		b.boundary = &policy.Source{Document: doc}
	}
	if q.resource != nil {
		doc, err := parseGiven(policy.Resource, *q.resource)
		if err != nil {
			return err
		}
		b.from(doc, "ResourcePolicy", iamapi.PolicySourceTypeResource)
		b.resource = &policy.Source{Document: doc}
	}
	return nil
}

// policiesOf are the policies of a user, a group or a role.
func (p *Provider) policiesOf(r store.Reader, name string) (*bearing, error) {
	unclear := invalidInput("Invalid Entity Arn: %s does not clearly define entity type and name.", name)
	a, err := arn.Parse(name)
	if err != nil || a.Service != "iam" || a.Partition != p.scope.Partition {
		return nil, unclear
	}
	path := a.Path()
	if len(path) == 0 || path[len(path)-1] == "" {
		return nil, unclear
	}
	if a.AccountID != p.scope.AccountID {
		return nil, noSuch("%s is not of this account.", name)
	}
	last := path[len(path)-1]
	b := &bearing{keys: map[string][]string{"aws:principalaccount": {p.scope.AccountID}}}
	switch a.Type() {
	case kindUser:
		u, err := user(r, last)
		if err == nil && p.userARN(u) != name {
			err = noSuch("The user with name %s cannot be found.", last)
		}
		if err != nil {
			return nil, err
		}
		return b, b.addUser(p, r, u)
	case kindGroup:
		g, err := group(r, last)
		if err == nil && p.groupARN(g) != name {
			err = noSuch("The group with name %s cannot be found.", last)
		}
		if err != nil {
			return nil, err
		}
		return b, add(b, p, r, groups(), g)
	case kindRole:
		held, err := role(r, last)
		if err == nil && p.roleARN(held) != name {
			err = noSuch("The role with name %s cannot be found.", last)
		}
		if err != nil {
			return nil, err
		}
		b.own(name, "AssumedRole", held.Tags)
		return b, add(b, p, r, roles(), held)
	}
	return nil, unclear
}

// own are the condition keys that every request of a principal has.
func (b *bearing) own(name, kind string, tags []model.Tag) {
	b.keys["aws:principalarn"] = []string{name}
	b.keys["aws:principaltype"] = []string{kind}
	for _, t := range tags {
		b.keys["aws:principaltag/"+strings.ToLower(t.Key)] = []string{t.Value}
	}
}

func (b *bearing) addUser(p *Provider, r store.Reader, u *model.User) error {
	b.userARN = p.userARN(u)
	b.own(b.userARN, "User", u.Tags)
	b.keys["aws:username"], b.keys["aws:userid"] = []string{u.Name}, []string{u.ID}
	if err := add(b, p, r, users(), u); err != nil {
		return err
	}
	for _, g := range groupsOf(r, u) {
		if err := add(b, p, r, groups(), g); err != nil {
			return err
		}
	}
	return nil
}

// add adds what is on an entity. What is stored has been parsed before, so an
// error is ours.
func add[T any](b *bearing, p *Provider, r store.Reader, h holder[T], rec *T) error {
	kind := iamapi.PolicySourceType(h.noun)
	for _, inline := range *h.inline(rec) {
		doc, err := policy.Parse(policy.Identity, inline.Document)
		if err != nil {
			return fmt.Errorf("policy %s of %s %s: %w", inline.Name, h.noun, h.name(rec), err)
		}
		b.from(doc, h.noun+"_"+h.name(rec)+"_"+inline.Name, kind)
		b.identity = append(b.identity, policy.Source{Document: doc})
	}
	for _, attached := range p.attachedTo(r, *h.attached(rec)) {
		source, err := b.managed(attached)
		if err != nil {
			return err
		}
		b.identity = append(b.identity, *source)
	}
	if h.boundary == nil || *h.boundary(rec) == "" {
		return nil
	}
	for _, boundary := range p.attachedTo(r, []string{*h.boundary(rec)}) {
		source, err := b.managed(boundary)
		if err != nil {
			return err
		}
		b.boundary = source
	}
	return nil
}

// managed is the default version of a managed policy.
func (b *bearing) managed(found *model.Policy) (*policy.Source, error) {
	version := found.Default()
	if version == nil {
		return nil, fmt.Errorf("policy %s has no version %s", found.ARN, found.DefaultID)
	}
	doc, err := policy.Parse(policy.Identity, version.Document)
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", found.ARN, err)
	}
	kind := iamapi.PolicySourceTypeUserManaged
	if isAWS(found.ARN) {
		kind = iamapi.PolicySourceTypeAwsManaged
	}
	b.from(doc, found.Name, kind)
	return &policy.Source{ARN: found.ARN, Document: doc}, nil
}
