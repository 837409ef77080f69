package caller

import (
	"context"
	"strings"
	"time"
)

// Identity is the verified sender of a request.
type Identity struct {
	// AccountID is the account that owns the credentials, 12 digits.
	AccountID string
	// ARN is the principal: arn:aws:iam::<account>:root, …:user/<path/name> or
	// arn:aws:sts::<account>:assumed-role/<role>/<session>.
	ARN string
	// UserID is the unique id that sts:GetCallerIdentity shows: the account id
	// for root, AIDA… for a user, AROA…:<session> for a role session.
	UserID string
	// AccessKeyID is the key that signed the request.
	AccessKeyID string
	// UserName is the user's name; empty for root and for role sessions.
	UserName string
	// Session is what temporary credentials were given with; nil for a
	// long-lived key.
	Session *Session
	// SourceIP is the client's address without a port, as the listener saw it;
	// for a request from inside a task, the task's own.
	SourceIP string
	// SourceVPC is the VPC that a request from inside a task came from.
	SourceVPC string
	// Secure is true when the request came over TLS.
	Secure bool
	// Host is the address that the client called, as it wrote it: "127.0.0.1:8577".
	Host string
	// UserAgent is what the client calls itself.
	UserAgent string
	// Region is the region of the request's credential scope.
	Region string
	// Service is the AWS service that makes the call for somebody, such as
	// "ecs-tasks.amazonaws.com" for an execution role's; empty for a client's.
	Service string
	// RequestID is the id that the answer carries in x-amzn-RequestId.
	RequestID string
}

// Federated reports whether this is a federated user (sts:GetFederationToken),
// who acts within the policies of the user that made it and of its session.
func (i *Identity) Federated() bool { return strings.Contains(i.ARN, ":federated-user/") }

// Session describes temporary credentials. It is part of the session token,
// sealed: nothing of it is stored.
type Session struct {
	// RoleARN and RoleID are those of the assumed role; empty for a user's or
	// root's session token (GetSessionToken).
	RoleARN string `json:"roleArn,omitempty"`
	RoleID  string `json:"roleId,omitempty"`
	// Name is the role session name.
	Name     string    `json:"name,omitempty"`
	IssuedAt time.Time `json:"issuedAt"`
	Expires  time.Time `json:"expires"`
	// Policies are inline session policies and PolicyARNs managed ones: the
	// session may do only what they allow too. Both empty: no limit.
	Policies   []string `json:"policies,omitempty"`
	PolicyARNs []string `json:"policyArns,omitempty"`
	// Tags are the session tags, of which TransitiveTags are passed on when
	// another role is assumed. They override the role's own.
	Tags           map[string]string `json:"tags,omitempty"`
	TransitiveTags []string          `json:"transitiveTags,omitempty"`
	SourceIdentity string            `json:"sourceIdentity,omitempty"`
	// Chained is true when a role session assumed this role: at most an hour.
	Chained bool `json:"chained,omitempty"`
	// FederatedProvider and Subject are of a web identity session.
	FederatedProvider string `json:"federatedProvider,omitempty"`
	Subject           string `json:"subject,omitempty"`
	Audience          string `json:"audience,omitempty"`
}

type key struct{}

// With returns a context that carries id.
func With(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, key{}, id)
}

// From returns the identity of the request that ctx belongs to. It reports
// false outside a request, such as in a control loop.
func From(ctx context.Context) (Identity, bool) {
	id, ok := ctx.Value(key{}).(Identity)
	return id, ok
}

// Guard answers what the sender of a request may do beyond the operation
// itself, such as use the key of the secret that it reads.
type Guard interface {
	// Check returns nil when the caller may. A refusal has class fault.Denied
	// and AWS's sentence; a provider returns it as it is, and the gateway words
	// it as the service does. keys are condition keys of the request, such as
	// kms:ViaService; the guard adds the global ones.
	Check(ctx context.Context, action, resource string, keys map[string][]string) error
}

type guardKey struct{}

// WithGuard returns a context whose Check asks g.
func WithGuard(ctx context.Context, g Guard) context.Context {
	return context.WithValue(ctx, guardKey{}, g)
}

// Check asks the guard of ctx. Outside a request it allows: control loops act
// for Berth itself.
func Check(ctx context.Context, action, resource string, keys map[string][]string) error {
	g, ok := ctx.Value(guardKey{}).(Guard)
	if !ok {
		return nil
	}
	return g.Check(ctx, action, resource, keys)
}
