package task

import (
	"context"
	"errors"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/secrets"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/imageref"
)

// Roles does what a task's roles are for: the execution role fetches what its containers start with and allows the pull of
// images, the task role gives credentials to its processes. The text of an error is what the user reads as stopped reason.
type Roles interface {
	// Fetch returns when everything is there: secrets, registry logins, the task role's first credentials. It waits for
	// a control plane that is away.
	Fetch(ctx context.Context, a *model.Assignment) error
	// Resume takes up again, in another agent's life, what Fetch began. It reports whether what was fetched is still
	// there: it is not when the host was restarted.
	Resume(a *model.Assignment) bool
	// AuthorizePull says whether the image of a container may be pulled. It waits for a control plane that is away.
	AuthorizePull(ctx context.Context, a *model.Assignment, container string) error
	// Login is what Fetch got for the container's repositoryCredentials.
	Login(taskID, container string) *runtime.Auth
	// Forget removes everything of a task, Sweep everything of tasks that are not known.
	Forget(taskID string) error
	Sweep(known map[string]bool) error
}

// noRoles is what a node without a control plane to ask has.
type noRoles struct{}

func (noRoles) Fetch(context.Context, *model.Assignment) error                 { return errNoRoles }
func (noRoles) Resume(*model.Assignment) bool                                  { return false }
func (noRoles) AuthorizePull(context.Context, *model.Assignment, string) error { return nil }
func (noRoles) Login(string, string) *runtime.Auth                             { return nil }
func (noRoles) Forget(string) error                                            { return nil }
func (noRoles) Sweep(map[string]bool) error                                    { return nil }

var errNoRoles = errors.New("ResourceInitializationError: this node runs tasks without roles and secrets only")

// needsFetch reports whether something must be fetched before the task's containers are made.
func needsFetch(a *model.Assignment) bool {
	return a.TaskDefinition.TaskRoleARN != "" || secrets.Needed(&a.TaskDefinition)
}

// fetching reports whether it is still to be fetched: not once every container has been made.
func (p *planner) fetching() bool {
	if p.s.Fetched || !needsFetch(p.a) {
		return false
	}
	for i := range p.s.Containers {
		if p.s.Containers[i].Phase < PhaseCreated {
			return true
		}
	}
	return false
}

// fetch gets what the task's roles give it.
func (j *job) fetch(ctx context.Context) *Event {
	err := j.r.e.cfg.Roles.Fetch(ctx, &j.a)
	switch {
	case ctx.Err() != nil:
		return nil // the task stops, or the agent
	case err != nil:
		return j.failed("%v", err)
	}
	return &Event{Kind: EventFetched}
}

// adoptRoles goes on with what an earlier agent fetched, or has it fetched again.
func (r *runner) adoptRoles() {
	if !r.s.Fetched || r.s.Released || !needsFetch(&r.a) || r.e.cfg.Roles.Resume(&r.a) {
		return
	}
	s := r.s.clone()
	s.Fetched = false
	r.commit(s)
}

// authorized reports whether an image is of a private ECR registry, or of the control plane's under another name, whose
// owner decides who may pull.
func (j *job) authorized(image string) bool {
	name, err := imageref.Parse(image)
	return err == nil && (name.ECR() || j.r.e.cfg.Owns(name.Host))
}
