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
}

// AllowRoot allows everything to an account's root and nothing to anybody else.
type AllowRoot struct{}

// Authorize implements Authorizer.
func (AllowRoot) Authorize(_ context.Context, access Access) error {
	if strings.HasSuffix(access.Caller.ARN, ":root") {
		return nil
	}
	return fault.New(fault.Denied, "User: %s is not authorized to perform: %s on resource: * because no identity-based policy allows the %[2]s action",
		access.Caller.ARN, access.Action())
}

// authorize asks the authorizer and names a refusal as the service does
// (behaviour/iam-credentials-metadata.md §7).
func (c *call) authorize(ctx context.Context, access Access) error {
	err := c.g.authorizer.Authorize(ctx, access)
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, fault.Denied):
		return fmt.Errorf("authorize: %w", err)
	}
	switch c.route.family {
	case sigv4.JSON:
		return smithy.NewError(http.StatusBadRequest, "AccessDeniedException", err.Error())
	case sigv4.EC2:
		return smithy.NewError(http.StatusForbidden, "UnauthorizedOperation", "You are not authorized to perform this operation. "+err.Error())
	default:
		return smithy.NewError(http.StatusForbidden, "AccessDenied", err.Error())
	}
}
