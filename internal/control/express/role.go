package express

import (
	"errors"
	"fmt"
	"time"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/policy"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/smithy"
)

// Principal is the service that assumes infrastructure roles.
const Principal = "ecs.amazonaws.com"

// sessionLife is that of a session of the infrastructure role; each step has
// one of its own.
const sessionLife = time.Hour

// denied is that the role may not do what ECS does in its name.
type denied struct{ err error }

// Error is AWS's code and sentence.
func (d *denied) Error() string { return "AccessDeniedException: " + d.err.Error() }

// Unwrap returns the refusal.
func (d *denied) Unwrap() error { return d.err }

// unassumable is that the role does not exist or does not trust ECS.
type unassumable struct{ role string }

// Error is for the record (uncertain).
func (u *unassumable) Error() string {
	return fmt.Sprintf("ECS was unable to assume the role '%s' that was provided for this service. Please verify that the role being passed has the proper trust relationship and permissions and that your IAM user has permissions to pass this role.", u.role)
}

// obstacle is what a user reads of an error, and whether it stays until the
// user does something.
func obstacle(err error) (text string, final bool) {
	if d, ok := errors.AsType[*denied](err); ok {
		return d.Error(), errors.Is(err, fault.Denied)
	}
	if u, ok := errors.AsType[*unassumable](err); ok {
		return u.Error(), true
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode() + ": " + api.ErrorMessage(), api.Fault() != smithy.FaultServer
	}
	return "", false
}

// itself is ECS, which needs no permission of the account's.
func (l *Loop) itself() caller.Identity {
	scope := l.cfg.Scope
	return caller.Identity{AccountID: scope.AccountID, ARN: scope.Root(), UserID: scope.AccountID, Region: scope.Region, Secure: true, Service: Principal}
}

// assume makes the identity that the infrastructure role's session has.
func (l *Loop) assume(e *model.ExpressService) (caller.Identity, error) {
	scope := l.cfg.Scope
	role, found := records.RoleByARN(l.cfg.Store.Snapshot(), scope, e.InfrastructureRoleARN)
	if !found || !l.trusts(role, e.ServiceARN) {
		return caller.Identity{}, &unassumable{e.InfrastructureRoleARN}
	}
	name := "ecs-express-" + e.ServiceID
	now := l.cfg.Now().UTC().Truncate(time.Second)
	return caller.Identity{
		AccountID: scope.AccountID, ARN: scope.AssumedRole(role.Name, name), UserID: role.ID + ":" + name, Region: scope.Region, Secure: true,
		Service: Principal,
		Session: &caller.Session{
			RoleARN: scope.IAM("role", role.Path, role.Name), RoleID: role.ID, Name: name, IssuedAt: now, Expires: now.Add(sessionLife),
		},
	}, nil
}

// trusts evaluates the role's trust policy for ECS.
func (l *Loop) trusts(role *model.Role, serviceARN string) bool {
	scope := l.cfg.Scope
	return policy.TrustsService(role.Trust, scope.IAM("role", role.Path, role.Name), scope.AccountID, Principal, serviceARN)
}
