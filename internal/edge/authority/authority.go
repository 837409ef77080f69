package authority

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/access"
	"berth.dev/berth/internal/rules/policy"
	"berth.dev/berth/internal/wire/caller"
)

// LogGroups tells about log groups, whose tags are not in the store.
type LogGroups interface {
	// Group returns the group with the name.
	Group(name string) (logstore.Group, error)
}

// Config is what an Authority is made of.
type Config struct {
	Store *store.Store
	Scope arn.Scope
	// Logs gives log groups' tags; nil means that none has any.
	Logs LogGroups
	// Now is the clock of aws:CurrentTime; nil means time.Now.
	Now func() time.Time
}

// Sizes of the caches: well above what one account has in use at a time. An
// entry takes a few KiB.
const (
	maxDocuments  = 4096
	maxPrincipals = 1024
)

// Authority is a gateway.Authorizer. It is safe for concurrent use.
type Authority struct {
	store      *store.Store
	scope      arn.Scope
	logs       LogGroups
	now        func() time.Time
	documents  *lru.Cache[document, *policy.Document]
	principals *lru.Cache[string, *principal]
}

var _ gateway.Authorizer = (*Authority)(nil)

// New returns an Authority.
func New(cfg Config) (*Authority, error) {
	if cfg.Store == nil || cfg.Scope.AccountID == "" {
		return nil, errors.New("authority: store and scope are required")
	}
	a := &Authority{store: cfg.Store, scope: cfg.Scope, logs: cfg.Logs, now: cfg.Now}
	if a.scope.Partition == "" {
		a.scope.Partition = "aws"
	}
	if a.now == nil {
		a.now = time.Now
	}
	var err error
	if a.documents, err = lru.New[document, *policy.Document](maxDocuments); err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	if a.principals, err = lru.New[string, *principal](maxPrincipals); err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	return a, nil
}

// Authorize implements gateway.Authorizer.
func (a *Authority) Authorize(_ context.Context, asked gateway.Access) error {
	who := &asked.Caller
	service := asked.Service.SigningName
	if unlimited(who) && !hasResourcePolicies(service) {
		return nil
	}
	q := a.question(who)
	checks, err := access.Checks(access.Query{
		Scope: a.scope, Service: service, Operation: asked.Operation.Name, Input: asked.Input, Caller: who.ARN,
	}, lookup{a, q.snapshot})
	if err != nil {
		return err
	}
	for i := range checks {
		if err := q.ask(&checks[i]); err != nil {
			return err
		}
	}
	return nil
}

// Check implements caller.Guard, for the caller of the request that ctx belongs
// to.
func (a *Authority) Check(ctx context.Context, action, resource string, keys map[string][]string) error {
	who, ok := caller.From(ctx)
	if !ok {
		return errors.New("authority: the context has no caller")
	}
	service, _, _ := strings.Cut(action, ":")
	if unlimited(&who) && !hasResourcePolicies(service) {
		return nil
	}
	q := a.question(&who)
	check := access.Check{Action: action, Resource: resource, Tags: lookup{a, q.snapshot}.Tags(resource)}
	for name, values := range keys {
		check.Keys = append(check.Keys, access.Key{Name: strings.ToLower(name), Values: values})
	}
	return q.ask(&check)
}

// unlimited reports whether who is root, without the limits of a session.
func unlimited(who *caller.Identity) bool {
	return isRoot(who) && (who.Session == nil || len(who.Session.Policies)+len(who.Session.PolicyARNs) == 0)
}

func isRoot(who *caller.Identity) bool {
	return who.AccountID != "" && strings.HasPrefix(who.ARN, "arn:") && strings.HasSuffix(who.ARN, ":iam::"+who.AccountID+":root")
}

// hasResourcePolicies reports whether resources of a service can have policies
// of their own, which bind root too.
func hasResourcePolicies(service string) bool {
	return service == "secretsmanager" || service == "kms" || service == "sts" || service == "ecr"
}

// question is one request while it is decided.
type question struct {
	*Authority
	who       *caller.Identity
	snapshot  *store.Snapshot
	request   policy.Request
	principal *principal // nil until a check needs it
	session   []policy.Source
	direct    []string // the value of aws:ViaAWSService for the client's own request
}

func (a *Authority) question(who *caller.Identity) *question {
	q := &question{Authority: a, who: who, snapshot: a.store.Snapshot()}
	q.request.Principal = policy.Principal{ARN: who.ARN, AccountID: who.AccountID, Root: isRoot(who)}
	if who.Session != nil {
		q.request.Principal.RoleARN = who.Session.RoleARN
	}
	return q
}

// ask returns nil if the check passes, and AWS's sentence if it does not.
func (q *question) ask(c *access.Check) error {
	if q.principal == nil {
		if err := q.prepare(); err != nil {
			return err
		}
	}
	q.request.Action, q.request.Resource = c.Action, c.Resource
	owner := accountOf(c.Resource)
	defer q.forget(q.own(c, owner))

	policies := policy.Policies{
		Identity: q.principal.identity, Boundary: q.principal.boundary, Session: q.session, ResourceAccountID: owner,
	}
	r, err := q.resourcePolicy(c)
	if err != nil {
		return err
	}
	policies.Resource, policies.ResourceDecides = r.source, r.decides
	decision := policy.Evaluate(q.request, policies)
	if r.also != nil && decision.Outcome != policy.ExplicitDeny {
		policies.Resource = r.also
		if second := policy.Evaluate(q.request, policies); second.Outcome == policy.ExplicitDeny || decision.Outcome != policy.Allowed {
			decision = second
		}
	}
	switch {
	case decision.Outcome == policy.Allowed:
		return nil
	case decision.Outcome == policy.ImplicitDeny && r.key != nil && q.granted(r.key, c):
		return nil
	case r.missingTrust:
		// AWS says the same of a role that is not there as of one that does not
		// trust the caller.
		decision.Layer = policy.LayerTrust
	}
	return fault.New(fault.Denied, "%s", decision.Sentence(q.request))
}

// prepare finds the caller's policies and the condition keys of the request.
func (q *question) prepare() error {
	var err error
	if q.principal, err = q.principalOf(q.snapshot, q.who); err != nil {
		return err
	}
	if s := q.who.Session; s != nil && len(s.Policies)+len(s.PolicyARNs) > 0 {
		if q.session, err = q.sessionPolicies(q.snapshot, s); err != nil {
			return err
		}
	}
	q.request.Context = q.globalKeys()
	return nil
}

// accountOf is the account that owns a resource; "" where an ARN does not tell.
func accountOf(resource string) string {
	if !arn.Is(resource) {
		return ""
	}
	parsed, err := arn.Parse(resource)
	if err != nil || len(parsed.AccountID) != 12 {
		return ""
	}
	return parsed.AccountID
}

// resourcePolicy is what a resource itself says.
type resourcePolicy struct {
	source       *policy.Source
	also         *policy.Source // a second one: either may allow, and either may deny
	decides      bool
	missingTrust bool
	key          *model.KMSKey // whose grants count
}
