package caller

import "context"

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
	// SourceIP is the client's address without a port, as the listener saw it.
	SourceIP string
	// RequestID is the id that the answer carries in x-amzn-RequestId.
	RequestID string
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
