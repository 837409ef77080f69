package node

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/agent/credentials"
	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/seal"
	"berth.dev/berth/internal/agent/secrets"
	"berth.dev/berth/internal/agent/session"
	"berth.dev/berth/internal/agent/task"
	"berth.dev/berth/internal/app/instance"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// roles asks the control plane for what tasks' roles are for.
type roles struct {
	credentials *credentials.Keeper
	secrets     *secrets.Keeper
	// client and tasks are set once, by connect.
	client *session.Client
	tasks  *task.Engine
}

var _ task.Roles = (*roles)(nil)

// tmpfsDir is where an instance's own tmpfs is, for what must be on no disk:
// tasksDir has the secrets of tasks, keysDir the keys of load balancers.
func tmpfsDir(i instance.Instance) string { return i.RunDir() + "/secrets" }
func tasksDir(i instance.Instance) string { return tmpfsDir(i) + "/tasks" }
func keysDir(i instance.Instance) string  { return tmpfsDir(i) + "/lb" }

func newRoles(cfg Config, key *seal.Key) (*roles, error) {
	r := &roles{}
	var err error
	r.credentials, err = credentials.Open(credentials.Config{
		Dir: cfg.Instance.Path("agent", "credentials"), Key: key, Fetch: r.fetchCredentials, Log: room(cfg.Log, "agent/credentials"),
	})
	if err != nil {
		return nil, err
	}
	if err := secrets.Mount(tmpfsDir(cfg.Instance)); err != nil {
		return nil, err
	}
	r.secrets, err = secrets.Open(secrets.Config{
		Dir: tasksDir(cfg.Instance), Log: room(cfg.Log, "agent/secrets"),
		Fetch: func(ctx context.Context, taskID string) (*nodeapi.TaskSecretsResponse, error) {
			return r.client.TaskSecrets(ctx, taskID)
		},
	})
	return r, err
}

// connect closes the circle.
func (r *roles) connect(client *session.Client) { r.client = client }

func (r *roles) fetchCredentials(ctx context.Context, taskID string) (credentials.Credentials, error) {
	c, err := r.client.TaskCredentials(ctx, taskID)
	if err != nil {
		return credentials.Credentials{}, err
	}
	return credentials.Credentials{
		RoleARN: c.GetRoleArn(), AccessKeyID: c.GetAccessKeyId(), SecretAccessKey: c.GetSecretAccessKey(),
		SessionToken: c.GetSessionToken(), Expires: time.UnixMilli(c.GetExpiresMs()),
	}, nil
}

// Fetch asks for both at once. When both roles fail, the task role's failure
// is said: AWS assumes roles before it fetches anything.
func (r *roles) Fetch(ctx context.Context, a *model.Assignment) error {
	var identity, fetched error
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if a.TaskDefinition.TaskRoleARN != "" {
			identity = r.credentials.Obtain(ctx, a.Task.ID)
		}
		return identity
	})
	g.Go(func() error {
		if secrets.Needed(&a.TaskDefinition) {
			fetched = r.secrets.Fetch(ctx, a)
		}
		return fetched
	})
	err := g.Wait()
	switch {
	case session.IsRefused(identity):
		return identity
	case err != nil && !session.IsRefused(err):
		return fmt.Errorf("ResourceInitializationError: %w", err)
	}
	return err
}

// Resume implements task.Roles.
func (r *roles) Resume(a *model.Assignment) bool {
	if a.TaskDefinition.TaskRoleARN != "" {
		r.credentials.Keep(a.Task.ID)
	}
	return !secrets.Needed(&a.TaskDefinition) || r.secrets.Fetched(a.Task.ID)
}

// AuthorizePull implements task.Roles.
func (r *roles) AuthorizePull(ctx context.Context, a *model.Assignment, container string) error {
	_, err := session.Insist(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, r.client.AuthorizePull(ctx, a.Task.ID, container)
	})
	return err
}

// Login implements task.Roles.
func (r *roles) Login(taskID, container string) *runtime.Auth {
	return r.secrets.Login(taskID, container)
}

// Forget implements task.Roles.
func (r *roles) Forget(taskID string) error {
	if err := r.credentials.Forget(taskID); err != nil {
		return err
	}
	return r.secrets.Forget(taskID)
}

// Sweep implements task.Roles.
func (r *roles) Sweep(known map[string]bool) error {
	if err := r.credentials.Sweep(known); err != nil {
		return err
	}
	return r.secrets.Sweep(known)
}

// applySecrets hands documents to the keeper.
func (r *roles) applySecrets(_ context.Context, docs map[string]json.RawMessage) error {
	r.secrets.Apply(docs)
	return nil
}

// followSecrets keeps secrets in files up to date, once it is known which
// tasks there are.
func (r *roles) followSecrets(ctx context.Context) error {
	select {
	case <-r.tasks.Loaded():
	case <-ctx.Done():
		return nil
	}
	return r.secrets.Run(ctx, func(taskID string) *model.Assignment {
		if v, ok := r.tasks.Task(taskID); ok {
			return v.Assignment
		}
		return nil
	})
}

// ofTask returns the credentials of a task under an id, for the metadata
// endpoint.
func (r *roles) ofTask(v task.View, id string) (c *credentials.Credentials, known bool) {
	if v.State.CredentialsID == "" || subtle.ConstantTimeCompare([]byte(v.State.CredentialsID), []byte(id)) != 1 {
		return nil, false
	}
	if c, ok := r.credentials.Get(v.Assignment.Task.ID); ok {
		return &c, true
	}
	return nil, true
}
