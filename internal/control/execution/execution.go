package execution

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/sessions"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/policy"
	"berth.dev/berth/internal/rules/taskspec"
	"berth.dev/berth/internal/wire/caller"
)

// Principal is the service that assumes the roles of tasks.
const Principal = "ecs-tasks.amazonaws.com"

// credentialsLife is how long a task role's credentials are valid, whatever
// the role's MaxSessionDuration says (behaviour §3).
const credentialsLife = 6 * time.Hour

// SecretValue is a secret of Secrets Manager.
type SecretValue struct {
	Text string
	// Binary is true of a secret that has bytes and no text.
	Binary bool
}

// Parameter is a parameter of Parameter Store, decrypted.
type Parameter struct{ Name, ARN, Value string }

// API is what an execution role's session calls. Errors that the service
// answers with are smithy.APIError; others mean that trying again may help.
type API interface {
	// GetSecretValue reads a secret; stage and versionID may be empty.
	GetSecretValue(ctx context.Context, who caller.Identity, secretID, stage, versionID string) (SecretValue, error)
	// GetParameters reads at most ten parameters by name or ARN, decrypted, and
	// names those that it does not find.
	GetParameters(ctx context.Context, who caller.Identity, names []string) (found []Parameter, invalid []string, err error)
}

// Access answers what a session may do where Berth has no API to call.
type Access interface {
	// Check returns nil when who may. A refusal has class fault.Denied and is
	// AWS's sentence, "User: … is not authorized to perform: …".
	Check(ctx context.Context, who caller.Identity, action, resource string) error
}

// Config is what an Execution is made of.
type Config struct {
	Store    *store.Store
	Sessions *sessions.Sessions
	Scope    arn.Scope
	API      API
	Access   Access
	// RegistryHosts are hosts of image names that mean the registry of Scope,
	// besides ECR's own.
	RegistryHosts []string
	Log           *slog.Logger
	// Now is the clock that sessions begin and end by; nil means time.Now.
	Now func() time.Time
}

// Execution acts for tasks. It is safe for concurrent use.
type Execution struct {
	cfg Config
	// deliveries remembers decisions about log deliveries, which come several
	// times a second.
	deliveries *lru.Cache[delivery, decision]
}

// New returns an Execution.
func New(cfg Config) (*Execution, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	deliveries, err := lru.New[delivery, decision](rememberedDeliveries)
	if err != nil {
		return nil, fmt.Errorf("execution: %w", err)
	}
	return &Execution{cfg: cfg, deliveries: deliveries}, nil
}

// Refused is a failure that trying again does not heal. Its text is for the
// task's stoppedReason.
type Refused struct{ Text string }

// Error returns the text.
func (r *Refused) Error() string { return r.Text }

func refused(format string, args ...any) error { return &Refused{fmt.Sprintf(format, args...)} }

// split makes a refusal a value: only what may be tried again stays an error.
func split(err error) (text string, again error) {
	if r, ok := errors.AsType[*Refused](err); ok {
		return r.Text, nil
	}
	return "", err
}

// definition is what the task runs, overrides applied.
func (e *Execution) definition(t *model.Task) (*model.TaskDefinition, error) {
	def, ok := records.TaskDefinitions.Get(e.cfg.Store.Snapshot(), model.TaskDefinitionKey(t.Family, t.Revision))
	if !ok {
		return nil, fault.New(fault.NotFound, "the task definition %s is gone", t.TaskDefinitionARN)
	}
	effective, err := taskspec.Apply(*def, t.Overrides)
	if err != nil {
		return nil, fmt.Errorf("applying the overrides of task %s: %w", t.ID, err)
	}
	return &effective, nil
}

// assume makes the identity that the role's session has for the task, or a
// *Refused when the role does not exist or does not trust ECS.
func (e *Execution) assume(t *model.Task, name string) (caller.Identity, error) {
	role, ok := e.role(name)
	if !ok || !e.trusts(role) {
		return caller.Identity{}, refused("ECS was unable to assume the role '%s' that was provided for this task. Please verify that the role being passed has the proper trust relationship and permissions and that your IAM user has permissions to pass this role.", e.roleName(name))
	}
	now := e.cfg.Now().UTC().Truncate(time.Second)
	who := caller.Identity{
		AccountID: e.cfg.Scope.AccountID, ARN: e.cfg.Scope.AssumedRole(role.Name, t.ID), UserID: role.ID + ":" + t.ID,
		Region: e.cfg.Scope.Region, Secure: true,
		Session: &caller.Session{
			RoleARN: e.cfg.Scope.IAM("role", role.Path, role.Name), RoleID: role.ID, Name: t.ID, IssuedAt: now, Expires: now.Add(credentialsLife),
		},
	}
	return who, nil
}

// acting is a session of the execution role that the platform uses itself: its
// calls come from the task's network interface, as on Fargate.
func (e *Execution) acting(t *model.Task, executionRole string) (caller.Identity, error) {
	who, err := e.assume(t, executionRole)
	if err != nil {
		return who, err
	}
	who.Service = Principal
	if eni := t.NetworkInterface; eni != nil {
		who.SourceIP, who.SourceVPC = eni.Address, eni.VPCID
	}
	return who, nil
}

// trusts evaluates the role's trust policy for ECS. aws:SourceArn cannot name
// a cluster there, so it has the one form that works (behaviour §1).
func (e *Execution) trusts(role *model.Role) bool {
	scope := e.cfg.Scope
	return policy.TrustsService(role.Trust, scope.IAM("role", role.Path, role.Name), scope.AccountID, Principal, scope.Regional("ecs", "*"))
}

// role finds a role by ARN, or by name with or without its path.
func (e *Execution) role(name string) (*model.Role, bool) {
	snap := e.cfg.Store.Snapshot()
	if arn.Is(name) {
		return records.RoleByARN(snap, e.cfg.Scope, name)
	}
	last := name[strings.LastIndexByte(name, '/')+1:]
	role, ok := records.Roles.Get(snap, model.FoldName(last))
	path := strings.TrimSuffix(name, last)
	return role, ok && (path == "" || "/"+strings.TrimPrefix(path, "/") == role.Path)
}

// roleName is how a refusal names a role: by ARN.
func (e *Execution) roleName(name string) string {
	if arn.Is(name) {
		return name
	}
	return e.cfg.Scope.IAM("role", "/", strings.TrimPrefix(name, "/"))
}
