package policy

// Kind says where a document stands, which decides what it may contain.
type Kind int

// The kinds.
const (
	// Identity is attached to a user, group or role; boundaries and session
	// policies have the same form.
	Identity Kind = iota
	// Resource belongs to a secret, a key or the like: it names principals.
	Resource
	// Trust is a role's: it names principals and no resource.
	Trust
	// Managed is Identity for managed policies, which AWS takes in version
	// 2012-10-17 only.
	Managed
	// Repository belongs to a repository of images: it names principals and,
	// like Trust, no resource.
	Repository
)

// itself reports whether documents of the kind mean what they belong to, and
// name no resource.
func (k Kind) itself() bool { return k == Trust || k == Repository }

// Principal is who asks.
type Principal struct {
	// ARN is the caller's: a user's, root's, or a role session's. A service
	// that asks for itself and a web identity have none: only the resource's
	// policy speaks for them.
	ARN       string
	AccountID string
	// RoleARN is the role of a session.
	RoleARN string
	// Root is true for the account's root user.
	Root bool
	// Service is an AWS service that asks for itself, such as
	// ecs-tasks.amazonaws.com that assumes a task's role.
	Service string
	// Federated is the provider that vouches for the caller, an OIDC provider's
	// ARN.
	Federated string
}

// Request is one question: may the principal do the action on the resource?
type Request struct {
	Principal Principal
	Action    string // "ecs:RunTask"
	Resource  string // an ARN, or "*" for an action that names none
	// Context has the condition keys of the request by their lower-case names,
	// such as "aws:sourceip" and "aws:resourcetag/team" (the part after the
	// slash keeps its case in AWS; it is compared without). A key that is absent has no
	// value; one with an empty list is there and has none.
	Context map[string][]string
}

// Source is a parsed policy and how to name it in a refusal: the ARN of a
// managed policy; empty for an inline one.
type Source struct {
	ARN      string
	Document *Document
}

// Policies are all that bear on a request.
type Policies struct {
	Identity []Source
	Boundary *Source // nil: none
	// Session policies limit together: one of them must allow. nil: none. An
	// empty list that is not nil allows nothing.
	Session  []Source
	Resource *Source // nil: the resource has none
	// ResourceDecides: without the resource policy's word nothing is allowed
	// (trust policies, key policies).
	ResourceDecides bool
	// ResourceAccountID owns the resource; empty means the principal's account.
	ResourceAccountID string
}
