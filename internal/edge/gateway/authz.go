package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
	"berth.dev/berth/internal/wire/smithy"
)

// Access is what somebody asks to do.
type Access struct {
	Caller    caller.Identity
	Service   *smithy.Service
	Operation *smithy.Operation
	// Input is decoded but not yet checked against the model's constraints, so
	// that one who may not call learns nothing from validation either.
	Input smithy.Shape
}

// Action is the IAM action: "ecs:RunTask".
func (a Access) Action() string { return a.Service.SigningName + ":" + a.Operation.Name }

// Authorizer decides what a verified caller may do.
type Authorizer interface {
	// Authorize returns nil to allow. An error of class fault.Denied refuses,
	// and its text is shown to the client, AWS's sentence beginning with
	// "User: …"; any other error means that no decision could be made.
	Authorize(ctx context.Context, access Access) error
	// Guard answers providers, about the caller that their context carries.
	caller.Guard
}

// AllowRoot allows everything to an account's root and nothing to anybody else.
type AllowRoot struct{}

// Authorize implements Authorizer.
func (AllowRoot) Authorize(_ context.Context, access Access) error {
	return allowRoot(access.Caller, access.Action(), "*")
}

// Check implements caller.Guard.
func (AllowRoot) Check(ctx context.Context, action, resource string, _ map[string][]string) error {
	who, _ := caller.From(ctx)
	return allowRoot(who, action, resource)
}

func allowRoot(who caller.Identity, action, resource string) error {
	if strings.HasSuffix(who.ARN, ":root") {
		return nil
	}
	return fault.New(fault.Denied, "User: %s is not authorized to perform: %s on resource: %s because no identity-based policy allows the %[2]s action",
		who.ARN, action, resource)
}

// authorize asks the authorizer.
func (g *Gateway) authorize(ctx context.Context, access Access) error {
	err := g.authorizer.Authorize(ctx, access)
	if err == nil || errors.Is(err, fault.Denied) {
		return err
	}
	return fmt.Errorf("authorize: %w", err)
}

// denied words a refusal as the services of a family do
// (behaviour/iam-credentials-metadata.md §7). EC2's encoded authorization
// message is left out: nobody could decode it here.
func denied(family sigv4.Family, err error) smithy.APIError {
	sentence := innermost(err).Error()
	switch family {
	case sigv4.JSON:
		return smithy.NewError(http.StatusBadRequest, "AccessDeniedException", sentence)
	case sigv4.EC2:
		return smithy.NewError(http.StatusForbidden, "UnauthorizedOperation", "You are not authorized to perform this operation. "+sentence)
	default:
		return smithy.NewError(http.StatusForbidden, "AccessDenied", sentence)
	}
}

// innermost is the refusal itself, without what was wrapped around it on its
// way: the client is to read AWS's sentence and nothing of ours.
func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil || !errors.Is(inner, fault.Denied) {
			return err
		}
		err = inner
	}
}
