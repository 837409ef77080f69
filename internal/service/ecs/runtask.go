package ecs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/placement"
	"berth.dev/berth/internal/rules/taskspec"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

const (
	tokenLife        = 24 * time.Hour
	tokenLifeStopped = time.Hour
	defaultStorage   = 20 // GiB of a Fargate task that asks for none
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
	if records.Instances.Len(p.store.Snapshot()) > enoughCandidates {
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

// launch is how the tasks of a call run.
type launch struct {
	def       *model.TaskDefinition // as registered
	effective model.TaskDefinition  // with the overrides
	kind      string                // FARGATE or EC2
	providers []string              // of each task; empty without a strategy
	network   *network
}

// accept decides about the tasks of a call and writes those that have a place.
func (p *Provider) accept(tx *store.Tx, cluster *model.Cluster, r *runRequest) ([]*model.Task, []model.TaskFailure, error) {
	// A cluster that is deleted, or a definition that is deregistered, before
	// this commits must not get the tasks.
	records.Clusters.Guard(tx, cluster.Key())
	l, err := p.launch(tx, cluster, r)
	if err != nil {
		return nil, nil, err
	}
	records.TaskDefinitions.Guard(tx, l.def.Key())

	need := taskspec.Size(l.effective)
	request := placement.Request{
		Count: r.Count, CPU: need.CPU, Memory: need.Memory, Architecture: taskspec.Architecture(l.effective), Zones: l.network.zones(tx, p),
	}
	instances := p.candidates(tx, cluster, l.kind, request)
	if l.kind == model.LaunchEC2 && len(instances) == 0 {
		return nil, nil, parameterError("No Container Instances were found in your cluster.")
	}
	decision := placement.Place(p.seed(), instances, request)
	var tasks []*model.Task
	failures := p.failures(cluster, l, decision, r.Count)
	for n, place := range decision.Placements {
		task := p.newTask(tx, cluster, r, l, n, place, need)
		eni, ok := l.network.attach(tx, p, task, place.Zone)
		if !ok {
			failures = append(failures, model.TaskFailure{Reason: "RESOURCE:ENI", Detail: "The subnets have no free addresses."})
			continue
		}
		task.ENIID, task.NetworkInterface = eni.ID, eni
		task.AvailabilityZone = eni.AvailabilityZone
		records.Tasks.Put(tx, task)
		tasks = append(tasks, task)
		if err := records.Instances.Edit(tx, place.InstanceID, func(i *model.Instance) error { i.Placements++; return nil }); err != nil {
			return nil, nil, err
		}
	}
	return tasks, failures, nil
}

func (p *Provider) launch(tx *store.Tx, cluster *model.Cluster, r *runRequest) (*launch, error) {
	def, named, err := p.definition(tx, r.TaskDefinition)
	switch {
	case err != nil:
		return nil, err
	case def == nil:
		return nil, clientError("TaskDefinition not found.")
	case named && def.Status != model.TaskDefinitionActive:
		return nil, parameterError("TaskDefinition is inactive")
	}
	l := &launch{def: def}
	if l.effective, err = taskspec.Apply(*def, r.Overrides); err != nil {
		return nil, specError(err)
	}
	if err := l.chooseKind(cluster, r); err != nil {
		return nil, err
	}
	if !slices.Contains(taskspec.Compatibilities(l.effective), l.kind) {
		return nil, parameterError("Task definition does not support launch_type %s.", l.kind)
	}
	if err := checkPlatform(l.kind, r.PlatformVersion); err != nil {
		return nil, err
	}
	if l.kind == model.LaunchEC2 && len(def.PlacementConstraints) > 0 {
		return nil, parameterError("Berth does not have placement constraints yet, and the task definition has some.")
	}
	l.network, err = networkOf(tx, l, r)
	return l, err
}

// chooseKind finds the launch type: the call's, or by its strategy, or by the
// cluster's; EC2 when nobody says.
func (l *launch) chooseKind(cluster *model.Cluster, r *runRequest) error {
	strategy := r.Strategy
	if r.LaunchType == "" && len(strategy) == 0 {
		strategy = cluster.DefaultCapacityProviderStrategy
	}
	if len(strategy) == 0 {
		l.kind = r.LaunchType
		switch l.kind {
		case "":
			l.kind = model.LaunchEC2
		case "EXTERNAL":
			// Every node is a container instance of type EC2, so a cluster
			// has no external ones.
			return parameterError("No Container Instances were found in your cluster.")
		}
		return nil
	}
	if err := checkStrategy(strategy, cluster.CapacityProviders, true); err != nil {
		return err
	}
	// Both providers are Fargate's. FARGATE_SPOT is the same, never
	// interrupted.
	l.kind, l.providers = model.LaunchFargate, placement.Distribute(strategy, r.Count)
	return nil
}

func checkPlatform(kind, version string) error {
	switch {
	case version == "":
		return nil
	case kind != model.LaunchFargate:
		return parameterError("The platform version must be null when specifying an EC2 launch type.")
	case version != "LATEST" && version != fargateVersion:
		return &ecsapi.PlatformUnknownException{Message: new("The specified platform does not exist.")}
	}
	return nil
}

// enoughCandidates is how many instances with room are compared. In a larger
// fleet they are chosen by lot: looking at more improves the spread little and
// costs time with every task of every instance. Each has room for a task, so
// they have room for all of a call, and when fewer have room, all were looked
// at, so that every failure is explained.
const enoughCandidates = 10 * maxTasksPerCall

// candidates are the instances that may run the tasks: every node for
// Fargate, the cluster's container instances for EC2. What is free is counted
// from the tasks that have not stopped.
//
// It reads the newest snapshot rather than the transaction, whose iterations
// must be safe against its own writes and cost more. The snapshot is not older
// than the transaction's; where it is newer, because somebody else placed a
// task there, the instance's record is newer too and the transaction conflicts.
func (p *Provider) candidates(tx *store.Tx, cluster *model.Cluster, kind string, request placement.Request) []placement.Instance {
	snap := p.store.Snapshot()
	nodes := slices.Collect(records.Instances.All(snap))
	if kind == model.LaunchEC2 {
		nodes = slices.Collect(records.Instances.By(snap, records.InstancesByCluster, cluster.Name))
	}
	if len(nodes) > enoughCandidates {
		rand.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	}
	candidates := make([]placement.Instance, 0, min(len(nodes), enoughCandidates))
	withRoom := 0
	for _, n := range nodes {
		if n.Status == model.InstanceInactive || !records.Instances.Has(tx, n.ID) {
			continue // deregistered, or registered since the transaction began
		}
		c := placement.Instance{
			ID: n.ID, Zone: n.Zone, Architecture: architectureOf(n), Active: n.Status == model.InstanceActive, Connected: n.Connected,
			CPU: n.CPU, Memory: n.Memory, FreeCPU: n.CPU, FreeMemory: n.Memory,
		}
		for t := range records.Tasks.By(snap, records.LiveTasksByInstance, n.ID) {
			c.FreeCPU -= t.ReservedCPU
			c.FreeMemory -= t.ReservedMemory
		}
		candidates = append(candidates, c)
		if _, ok := placement.Fits(c, request); ok {
			withRoom++
		}
		if withRoom == enoughCandidates {
			break
		}
	}
	return candidates
}

// architectureOf is the instance's processor, empty when it does not say.
func architectureOf(i *model.Instance) string {
	for _, a := range i.Attributes {
		if a.Name == "ecs.cpu-architecture" {
			return a.Value
		}
	}
	return ""
}

// failures explains the tasks that have no place: for EC2 by instance; Fargate
// has none that a user knows, so the instances are the detail.
func (p *Provider) failures(cluster *model.Cluster, l *launch, d placement.Decision, count int) []model.TaskFailure {
	if len(d.Placements) == count {
		return nil
	}
	if l.kind == model.LaunchFargate {
		detail := "no node is registered"
		if len(d.Rejections) > 0 {
			detail = ""
			for i, r := range d.Rejections {
				if i == 10 {
					detail += fmt.Sprintf("; and %d more", len(d.Rejections)-i)
					break
				}
				if i > 0 {
					detail += "; "
				}
				detail += "node " + r.InstanceID + ": " + r.Reason
			}
		}
		return []model.TaskFailure{{Reason: placement.FargateUnavailable, Detail: detail}}
	}
	var failures []model.TaskFailure
	for _, r := range d.Rejections {
		failures = append(failures, model.TaskFailure{ARN: p.scope.ContainerInstance(cluster.Name, r.InstanceID), Reason: r.Reason})
	}
	return failures
}

func (p *Provider) newTask(tx *store.Tx, cluster *model.Cluster, r *runRequest, l *launch, n int, place placement.Placement, need taskspec.Need) *model.Task {
	id := ident.Task()
	task := &model.Task{
		ID: id, ARN: p.scope.Task(cluster.Name, id), ClusterName: cluster.Name, CreatedAt: tx.Now(),
		TaskDefinitionARN: l.def.ARN, Family: l.def.Family, Revision: l.def.Revision, LaunchType: l.kind,
		CPU: strconv.FormatInt(need.CPU, 10), Memory: strconv.FormatInt(need.Memory, 10),
		Group: r.Group, StartedBy: r.StartedBy, Overrides: r.Overrides, Tags: tagsOfTask(cluster, r, l.def),
		InstanceID: place.InstanceID, AvailabilityZone: place.Zone, ReservedCPU: need.CPU, ReservedMemory: need.Memory,
		CPUArchitecture: taskspec.Architecture(l.effective),
		DesiredStatus:   model.TaskRunning, Version: 1,
		Observed: model.TaskObserved{Status: model.TaskProvisioning},
	}
	if task.Group == "" {
		task.Group = "family:" + l.def.Family
	}
	if n < len(l.providers) {
		task.CapacityProviderName = l.providers[n]
	}
	if l.kind == model.LaunchFargate {
		task.PlatformVersion, task.EphemeralStorageGiB = fargateVersion, defaultStorage
		if s := l.effective.EphemeralStorage; s != nil {
			task.EphemeralStorageGiB = s.SizeInGiB
		}
	}
	for i := range l.effective.ContainerDefinitions {
		c := &l.effective.ContainerDefinitions[i]
		task.Containers = append(task.Containers, model.TaskContainer{
			Name: c.Name, ID: ident.UUID(), Image: c.Image, Essential: c.IsEssential(),
			RuntimeID: fmt.Sprintf("%s-%010d", id, rand.Uint64N(1e10)),
			CPU:       c.CPU, Memory: c.Memory, MemoryReservation: c.MemoryReservation,
		})
		task.Observed.Containers = append(task.Observed.Containers, model.ContainerObserved{Name: c.Name, Status: model.ContainerPending})
	}
	return task
}

// tagsOfTask: ECS's own, then the definition's when they are propagated, then
// the call's, which win.
func tagsOfTask(cluster *model.Cluster, r *runRequest, def *model.TaskDefinition) []model.Tag {
	var tags []model.Tag
	if r.ManagedTags {
		tags = append(tags, model.Tag{Key: "aws:ecs:clusterName", Value: cluster.Name})
	}
	if r.PropagateTags == "TASK_DEFINITION" {
		tags = mergeTags(tags, def.Tags)
	}
	return mergeTags(tags, r.Tags)
}
