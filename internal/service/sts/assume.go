package sts

import (
	"context"
	"maps"
	"strconv"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/policy"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/caller"
)

const (
	roleDefault = 3600 // seconds
	chainedMost = 3600
)

// AssumeRole implements stsapi.Service.
func (p *Provider) AssumeRole(ctx context.Context, in *stsapi.AssumeRoleInput) (*stsapi.AssumeRoleOutput, error) {
	who, ok := caller.From(ctx)
	if !ok {
		return nil, errNoCaller
	}
	switch {
	case in.SerialNumber != nil || in.TokenCode != nil:
		return nil, noDevices()
	case len(in.ProvidedContexts) > 0:
		return nil, invalid("ProvidedContexts is not supported: Berth has no IAM Identity Center.")
	}
	role, ok := records.RoleByARN(p.store.Snapshot(), p.scope, *in.RoleArn)
	if !ok || isRoot(who) && !p.trustsRoot(role, who, in) {
		return nil, denied("User: %s is not authorized to perform: sts:AssumeRole on resource: %s", who.ARN, *in.RoleArn)
	}
	session := &caller.Session{}
	inherit(session, who.Session)
	lasts, err := lasting(role, in.DurationSeconds, session.Chained)
	if err != nil {
		return nil, err
	}
	packed, err := p.limit(session, in.Policy, in.PolicyArns, in.Tags)
	if err != nil {
		return nil, err
	}
	if err := passOn(session, in.TransitiveTagKeys, in.Tags); err != nil {
		return nil, err
	}
	if given := value(in.SourceIdentity); given != "" {
		if session.SourceIdentity != "" && session.SourceIdentity != given {
			return nil, denied("The source identity of the calling session is %s and cannot be changed.", session.SourceIdentity) // [GK]
		}
		session.SourceIdentity = given
	}
	assumed, err := p.assume(role, *in.RoleSessionName, lasts, session)
	if err != nil {
		return nil, err
	}
	out := &stsapi.AssumeRoleOutput{Credentials: assumed.credentials, AssumedRoleUser: assumed.user, PackedPolicySize: packed}
	if session.SourceIdentity != "" {
		out.SourceIdentity = &session.SourceIdentity
	}
	return out, nil
}

// lasting is how long a session of the role may be, in seconds.
func lasting(role *model.Role, asked *int32, chained bool) (int32, error) {
	if asked == nil {
		return roleDefault, nil
	}
	if *asked > max(role.MaxSessionDuration, roleDefault) {
		return 0, invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	if chained && *asked > chainedMost {
		return 0, invalid("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	}
	return *asked, nil
}

// assumed are a role's session and its credentials.
type assumed struct {
	credentials *stsapi.Credentials
	user        *stsapi.AssumedRoleUser
}

// assume issues credentials for a session that has its limits already.
func (p *Provider) assume(role *model.Role, name string, lasts int32, s *caller.Session) (assumed, error) {
	span := p.lasting(lasts)
	s.IssuedAt, s.Expires = span.IssuedAt, span.Expires
	s.RoleARN, s.RoleID, s.Name = p.scope.IAM("role", role.Path, role.Name), role.ID, name
	who := caller.Identity{
		AccountID: p.scope.AccountID,
		ARN:       p.scope.AssumedRole(role.Name, name),
		UserID:    role.ID + ":" + name,
		Session:   s,
	}
	c, err := p.issue(who)
	if err != nil {
		return assumed{}, err
	}
	return assumed{c, &stsapi.AssumedRoleUser{Arn: &who.ARN, AssumedRoleId: &who.UserID}}, nil
}

func isRoot(who caller.Identity) bool { return strings.HasSuffix(who.ARN, ":root") }

// trustsRoot reports whether a role trusts the account's root user. For
// everybody else the authority has asked.
func (p *Provider) trustsRoot(role *model.Role, who caller.Identity, in *stsapi.AssumeRoleInput) bool {
	keys := map[string][]string{
		"sts:rolesessionname":  {*in.RoleSessionName},
		"aws:principalarn":     {who.ARN},
		"aws:principalaccount": {who.AccountID},
		"aws:principaltype":    {"Account"},
		"aws:userid":           {who.UserID},
	}
	for name, given := range map[string]*string{"sts:externalid": in.ExternalId, "sts:sourceidentity": in.SourceIdentity} {
		if given != nil {
			keys[name] = []string{*given}
		}
	}
	if who.SourceIP != "" {
		keys["aws:sourceip"] = []string{who.SourceIP}
	}
	decision := p.asks(role, "sts:AssumeRole", policy.Principal{ARN: who.ARN, AccountID: who.AccountID, Root: true}, keys)
	return decision.decision.Outcome == policy.Allowed
}

// asked is a question to a trust policy and its answer.
type asked struct {
	request  policy.Request
	decision policy.Decision
}

// asks evaluates the role's trust policy for somebody whom the authority has
// not judged.
func (p *Provider) asks(role *model.Role, action string, who policy.Principal, keys map[string][]string) asked {
	maps.Copy(keys, roleTag(role.Tags))
	q := asked{request: policy.Request{Principal: who, Action: action, Resource: p.scope.IAM("role", role.Path, role.Name), Context: keys}}
	// A role's trust policy was checked when it was stored; one that cannot be
	// read trusts nobody.
	if document, err := policy.Parse(policy.Trust, role.Trust); err == nil {
		q.decision = policy.Evaluate(q.request, policy.Policies{
			Resource: &policy.Source{Document: document}, ResourceDecides: true, ResourceAccountID: p.scope.AccountID,
		})
	}
	return q
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func itoa(n int32) string { return itoa64(int64(n)) }

func itoa64(n int64) string { return strconv.FormatInt(n, 10) }
