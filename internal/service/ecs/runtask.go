package ecs

import (
	"cmp"
	"context"
	"time"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/placement"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

const (
	tokenLife        = 24 * time.Hour
	tokenLifeStopped = time.Hour
	fewInstances     = 100
)

// RunTask implements ecsapi.Service. Accepting the tasks, their places, their
// network interfaces and the client token are one transaction.
func (p *Provider) RunTask(ctx context.Context, in *ecsapi.RunTaskInput) (*ecsapi.RunTaskOutput, error) {
	r, err := p.runRequest(in)
	if err != nil {
		return nil, err
	}
	r.principal = p.principal(ctx)
	hash, err := r.hash()
	if err != nil {
		return nil, err
	}
	release, err := p.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	var out *ecsapi.RunTaskOutput
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		cluster, err := p.activeCluster(tx, &r.Cluster)
		if err != nil {
			return err
		}
		if out, err = p.repeated(tx, cluster, r, hash); out != nil || err != nil {
			return err
		}
		tasks, failures, err := p.accept(tx, cluster, r)
		if err != nil {
			return err
		}
		if r.token != "" {
			records.RunTaskTokens.Put(tx, &model.RunTaskToken{
				ClusterName: cluster.Name, Token: r.token, RequestHash: hash, Failures: failures, CreatedAt: tx.Now(),
				TaskIDs: each(tasks, func(t *model.Task) string { return t.ID }),
			})
		}
		out = &ecsapi.RunTaskOutput{
			Tasks:    every(tasks, func(t *model.Task) ecsapi.Task { return p.taskOut(tx, t, true) }),
			Failures: every(failures, failureOut),
		}
		return nil
	}); err != nil {
		return nil, err
	}
	p.logRun(ctx, r, out)
	return out, nil
}

// turn waits until no other RunTask decides, where two are likely to choose the
// same instance. In a large fleet they seldom do, and there they commit side
// by side.
func (p *Provider) turn(ctx context.Context) (release func(), err error) {
	if records.Instances.Len(p.store.Snapshot()) > fewInstances {
		return func() {}, nil
	}
	select {
	case p.placing <- struct{}{}:
		return func() { <-p.placing }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *Provider) logRun(ctx context.Context, r *runRequest, out *ecsapi.RunTaskOutput) {
	for _, t := range out.Tasks {
		p.log.InfoContext(ctx, "task accepted", telemetry.TaskARN, value(t.TaskArn))
	}
	for _, f := range out.Failures {
		p.log.InfoContext(ctx, "task not placed", telemetry.ClusterARN, p.scope.Cluster(r.Cluster),
			telemetry.InstanceARN, value(f.Arn), telemetry.Reason, value(f.Reason))
	}
}

func failureOut(f model.TaskFailure) ecsapi.Failure {
	return ecsapi.Failure{Arn: optional(f.ARN), Reason: &f.Reason, Detail: optional(f.Detail)}
}

// repeated answers a call whose client token was seen before: with what the
// first call did, as it is now. Without one, or when it is too old, the result
// is nil.
func (p *Provider) repeated(tx *store.Tx, cluster *model.Cluster, r *runRequest, hash string) (*ecsapi.RunTaskOutput, error) {
	if r.token == "" {
		return nil, nil
	}
	seen, found := records.RunTaskTokens.Get(tx, (&model.RunTaskToken{ClusterName: cluster.Name, Token: r.token}).Key())
	if !found || tokenExpired(tx, seen) {
		return nil, nil
	}
	if seen.RequestHash != hash {
		return nil, &ecsapi.ConflictException{
			Message:     new("The request was already made with this client token but with different parameters."),
			ResourceIds: every(seen.TaskIDs, func(id string) string { return p.scope.Task(cluster.Name, id) }),
		}
	}
	out := &ecsapi.RunTaskOutput{Tasks: []ecsapi.Task{}, Failures: every(seen.Failures, failureOut)}
	for _, id := range seen.TaskIDs {
		t, found := records.Tasks.Get(tx, id)
		switch {
		case found && !t.Stopped():
			out.Tasks = append(out.Tasks, p.taskOut(tx, t, true))
		case found:
			out.Tasks = append(out.Tasks, ecsapi.Task{TaskArn: &t.ARN, LastStatus: &t.Observed.Status, DesiredStatus: &t.DesiredStatus})
		}
	}
	return out, nil
}

// tokenExpired: a token lives a day, or an hour longer than its last task.
func tokenExpired(tx *store.Tx, token *model.RunTaskToken) bool {
	age := tx.Now().Sub(token.CreatedAt)
	if age >= tokenLife {
		return true
	}
	if age < tokenLifeStopped {
		return false
	}
	for _, id := range token.TaskIDs {
		t, found := records.Tasks.Get(tx, id)
		if found && (!t.Stopped() || tx.Now().Sub(value(t.Observed.StoppedAt)) < tokenLifeStopped) {
			return false
		}
	}
	return true
}

// accept decides about the tasks of a call and writes those that have a place.
func (p *Provider) accept(tx *store.Tx, cluster *model.Cluster, r *runRequest) ([]*model.Task, []model.TaskFailure, error) {
	def, err := p.usableDefinition(tx, r.TaskDefinition, parameterError)
	if err != nil {
		return nil, nil, err
	}
	request := launch.Request{
		Cluster: cluster, Definition: def, Overrides: r.Overrides, Network: r.Network, Volumes: r.Volumes, Count: r.Count,
		Group: r.Group, StartedBy: r.StartedBy, Tags: tagsOfTask(cluster, r, def),
		Constraints: r.Constraints, Strategy: r.PlacementStrategy, EnableExecuteCommand: r.EnableExecuteCommand,
	}
	if err := needsTaskRole(r.EnableExecuteCommand, cmp.Or(r.Overrides.TaskRoleARN, def.TaskRoleARN), "task couldn't be started"); err != nil {
		return nil, nil, err
	}
	if request.LaunchType, request.Providers, err = chooseKind(cluster, r); err != nil {
		return nil, nil, err
	}
	if err := checkPlatform(request.LaunchType, r.PlatformVersion); err != nil {
		return nil, nil, err
	}
	if err := checkPlacement(request.LaunchType, r.Constraints, r.PlacementStrategy); err != nil {
		return nil, nil, err
	}
	out, err := p.launcher.Launch(tx, request)
	switch {
	case err != nil:
		return nil, nil, specError(err)
	case out.NoInstances:
		return nil, nil, parameterError(placement.NoInstances)
	}
	return out.Tasks, out.Failures, nil
}

// usableDefinition finds a definition that new tasks can be made of. An
// inactive one is another error for every operation.
func (p *Provider) usableDefinition(r store.Reader, ref string, inactive func(string, ...any) error) (*model.TaskDefinition, error) {
	def, named, err := p.definition(r, ref)
	switch {
	case err != nil:
		return nil, err
	case def == nil:
		return nil, clientError("TaskDefinition not found.")
	case named && def.Status != model.TaskDefinitionActive:
		return nil, inactive("TaskDefinition is inactive")
	}
	return def, nil
}

// chooseKind finds the launch type and the tasks' capacity providers: the
// call's, or by its strategy, or by the cluster's; EC2 when nobody says.
func chooseKind(cluster *model.Cluster, r *runRequest) (kind string, providers []string, err error) {
	strategy := r.Strategy
	if r.LaunchType == "" && len(strategy) == 0 {
		strategy = cluster.DefaultCapacityProviderStrategy
	}
	if len(strategy) == 0 {
		kind = cmp.Or(r.LaunchType, model.LaunchEC2)
		if kind == launchExternal {
			// Every node is a container instance of type EC2, so a cluster
			// has no external ones.
			return "", nil, parameterError(placement.NoInstances)
		}
		return kind, nil, nil
	}
	if err := checkStrategy(strategy, cluster.CapacityProviders, true); err != nil {
		return "", nil, err
	}
	// Both providers are Fargate's. FARGATE_SPOT is the same, never
	// interrupted.
	return model.LaunchFargate, placement.Distribute(strategy, r.Count), nil
}

func checkPlatform(kind, version string) error {
	switch {
	case version == "":
		return nil
	case kind != model.LaunchFargate:
		return parameterError("The platform version must be null when specifying an EC2 launch type.")
	case version != "LATEST" && version != launch.FargateVersion:
		return &ecsapi.PlatformUnknownException{Message: new("The specified platform does not exist.")}
	}
	return nil
}

// tagsOfTask: ECS's own, then the definition's when they are propagated, then
// the call's, which win.
func tagsOfTask(cluster *model.Cluster, r *runRequest, def *model.TaskDefinition) []model.Tag {
	var tags []model.Tag
	if r.ManagedTags {
		tags = append(tags, model.Tag{Key: "aws:ecs:clusterName", Value: cluster.Name})
	}
	if r.PropagateTags == "TASK_DEFINITION" {
		tags = model.MergeTags(tags, def.Tags)
	}
	return model.MergeTags(tags, r.Tags)
}
