package ecs

import (
	"context"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/rollout"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

const maxDeploymentsDescribed = 20

// Statuses of a deployment's circuit breaker and alarms.
const (
	monitorDisabled  = "DISABLED"
	monitorActive    = "MONITORING"
	monitorComplete  = "MONITORING_COMPLETE"
	monitorTriggered = "TRIGGERED"
)

// DescribeServiceDeployments implements ecsapi.Service.
func (p *Provider) DescribeServiceDeployments(_ context.Context, in *ecsapi.DescribeServiceDeploymentsInput) (*ecsapi.DescribeServiceDeploymentsOutput, error) {
	if n := len(in.ServiceDeploymentArns); n == 0 || n > maxDeploymentsDescribed {
		return nil, parameterError("serviceDeploymentArns must have 1 to %d items.", maxDeploymentsDescribed)
	}
	snap := p.store.Snapshot()
	out := &ecsapi.DescribeServiceDeploymentsOutput{ServiceDeployments: []ecsapi.ServiceDeployment{}, Failures: []ecsapi.Failure{}}
	for _, ref := range in.ServiceDeploymentArns {
		s, d, err := p.serviceDeployment(snap, ref)
		if err != nil {
			return nil, err
		}
		if d == nil {
			out.Failures = append(out.Failures, missing(ref))
			continue
		}
		out.ServiceDeployments = append(out.ServiceDeployments, p.serviceDeploymentOut(snap, s, d))
	}
	return out, nil
}

// serviceDeployment finds what the ARN of a service deployment names; nil when
// there is none. A rollback is part of the deployment that it rolls back.
func (p *Provider) serviceDeployment(r store.Reader, ref string) (*model.Service, *model.Deployment, error) {
	path, err := p.resource("service-deployment", ref)
	if err != nil {
		return nil, nil, err
	}
	if len(path) != 3 {
		return nil, nil, parameterError("Invalid identifier: '%s'", ref)
	}
	for d := range records.Deployments.By(r, records.DeploymentsByServiceDeployment, path[2]) {
		s, found := records.Services.Get(r, d.ServiceID)
		if found && d.RollbackOf == "" && s.ClusterName == path[0] && s.Name == path[1] {
			return s, d, nil
		}
	}
	return nil, nil, nil
}

// ListServiceDeployments implements ecsapi.Service. The newest comes first.
func (p *Provider) ListServiceDeployments(_ context.Context, in *ecsapi.ListServiceDeploymentsInput) (*ecsapi.ListServiceDeploymentsOutput, error) {
	limit, err := pageSize(in.MaxResults, 20, 100)
	if err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	s, err := p.findService(snap, in.Cluster, value(in.Service))
	if err != nil {
		return nil, err
	}
	var found []*model.Deployment
	for _, d := range slices.Backward(deploymentsOf(snap, s.ID)) {
		switch {
		case d.RollbackOf != "" || s.Status == model.ServiceInactive:
		case len(in.Status) > 0 && !slices.Contains(in.Status, ecsapi.ServiceDeploymentStatus(d.ServiceDeploymentStatus)):
		case in.CreatedAt != nil && in.CreatedAt.Before != nil && !d.CreatedAt.Before(*in.CreatedAt.Before):
		case in.CreatedAt != nil && in.CreatedAt.After != nil && !d.CreatedAt.After(*in.CreatedAt.After):
		default:
			found = append(found, d)
		}
	}
	descending := func(key, last string) bool { return key < last }
	page, next, err := pageOf("ListServiceDeployments", found, (*model.Deployment).Key, in.NextToken, limit, descending)
	if err != nil {
		return nil, err
	}
	out := &ecsapi.ListServiceDeploymentsOutput{ServiceDeployments: []ecsapi.ServiceDeploymentBrief{}, NextToken: next}
	for _, d := range page {
		out.ServiceDeployments = append(out.ServiceDeployments, ecsapi.ServiceDeploymentBrief{
			ServiceDeploymentArn: new(p.scope.ServiceDeployment(s.ClusterName, s.Name, d.ServiceDeploymentID)),
			ServiceArn:           &s.ARN, ClusterArn: new(p.scope.Cluster(s.ClusterName)),
			CreatedAt: new(d.CreatedAt), StartedAt: d.StartedAt, FinishedAt: d.FinishedAt,
			TargetServiceRevisionArn: new(p.scope.ServiceRevision(s.ClusterName, s.Name, d.RevisionID)),
			Status:                   ecsapi.ServiceDeploymentStatus(d.ServiceDeploymentStatus), StatusReason: optional(d.StatusReason),
		})
	}
	return out, nil
}

func (p *Provider) serviceDeploymentOut(r store.Reader, s *model.Service, d *model.Deployment) ecsapi.ServiceDeployment {
	arn := p.scope.ServiceDeployment(s.ClusterName, s.Name, d.ServiceDeploymentID)
	out := ecsapi.ServiceDeployment{
		ServiceDeploymentArn: &arn, ServiceArn: &s.ARN, ClusterArn: new(p.scope.Cluster(s.ClusterName)),
		CreatedAt: new(d.CreatedAt), StartedAt: d.StartedAt, FinishedAt: d.FinishedAt, StoppedAt: d.StoppedAt, UpdatedAt: new(d.UpdatedAt),
		Status: ecsapi.ServiceDeploymentStatus(d.ServiceDeploymentStatus), StatusReason: optional(d.StatusReason),
		SourceServiceRevisions:   []ecsapi.ServiceRevisionSummary{},
		TargetServiceRevision:    new(p.revisionSummary(r, s, d.RevisionID, d)),
		DeploymentConfiguration:  new(deploymentConfigurationOut(d.Config)),
		DeploymentCircuitBreaker: new(p.breakerOut(r, s, d)),
		Alarms:                   &ecsapi.ServiceDeploymentAlarms{Status: monitorDisabled},
	}
	for _, id := range d.SourceRevisionIDs {
		out.SourceServiceRevisions = append(out.SourceServiceRevisions, p.revisionSummary(r, s, id, nil))
	}
	if d.RollbackRevisionID != "" {
		out.Rollback = &ecsapi.Rollback{
			Reason: optional(d.RollbackReason), StartedAt: d.RollbackStartedAt,
			ServiceRevisionArn: new(p.scope.ServiceRevision(s.ClusterName, s.Name, d.RollbackRevisionID)),
		}
	}
	return out
}

// revisionSummary counts the tasks of a revision. Those of a deployment's
// target stay what they were when the deployment ended.
func (p *Provider) revisionSummary(r store.Reader, s *model.Service, revisionID string, target *model.Deployment) ecsapi.ServiceRevisionSummary {
	out := ecsapi.ServiceRevisionSummary{Arn: new(p.scope.ServiceRevision(s.ClusterName, s.Name, revisionID))}
	if target != nil && target.Frozen != nil {
		f := target.Frozen
		out.RequestedTaskCount, out.RunningTaskCount, out.PendingTaskCount = new(int32(f.Requested)), new(int32(f.Running)), new(int32(f.Pending))
		return out
	}
	_, by := countsOf(r, s)
	var sum taskCounts
	for _, d := range deploymentsOf(r, s.ID) {
		n := by[d.ID]
		if d.RevisionID != revisionID || n == nil {
			continue
		}
		sum.running += n.running
		sum.pending += n.pending
		sum.wanted += n.wanted
	}
	if target != nil && target.Status == model.DeploymentPrimary {
		sum.wanted = p.desiredOf(r, s)
	}
	out.RequestedTaskCount, out.RunningTaskCount, out.PendingTaskCount = &sum.wanted, &sum.running, &sum.pending
	return out
}

func (p *Provider) breakerOut(r store.Reader, s *model.Service, d *model.Deployment) ecsapi.ServiceDeploymentCircuitBreaker {
	out := ecsapi.ServiceDeploymentCircuitBreaker{
		Status: monitorDisabled, FailureCount: new(int32(d.BreakerFailures)), Threshold: new(int32(rollout.Threshold(int(p.desiredOf(r, s))))),
	}
	switch b := d.Config.CircuitBreaker; {
	case b == nil || !b.Enable:
	case d.BreakerTriggered:
		out.Status = monitorTriggered
	case d.Status == model.DeploymentPrimary && d.RolloutState == model.RolloutInProgress:
		out.Status = monitorActive
	default:
		out.Status = monitorComplete
	}
	return out
}

// DescribeServiceRevisions implements ecsapi.Service.
func (p *Provider) DescribeServiceRevisions(_ context.Context, in *ecsapi.DescribeServiceRevisionsInput) (*ecsapi.DescribeServiceRevisionsOutput, error) {
	if n := len(in.ServiceRevisionArns); n == 0 || n > maxDeploymentsDescribed {
		return nil, parameterError("serviceRevisionArns must have 1 to %d items.", maxDeploymentsDescribed)
	}
	snap := p.store.Snapshot()
	out := &ecsapi.DescribeServiceRevisionsOutput{ServiceRevisions: []ecsapi.ServiceRevision{}, Failures: []ecsapi.Failure{}}
	for _, ref := range in.ServiceRevisionArns {
		path, err := p.resource("service-revision", ref)
		if err != nil {
			return nil, err
		}
		revision, found := records.ServiceRevisions.Get(snap, path[len(path)-1])
		if !found || revision.ARN != ref {
			out.Failures = append(out.Failures, missing(ref))
			continue
		}
		out.ServiceRevisions = append(out.ServiceRevisions, p.revisionOut(snap, revision))
	}
	return out, nil
}

func (p *Provider) revisionOut(r store.Reader, v *model.ServiceRevision) ecsapi.ServiceRevision {
	spec := v.Spec
	out := ecsapi.ServiceRevision{
		ServiceRevisionArn: &v.ARN, ServiceArn: &v.ServiceARN, ClusterArn: new(p.scope.Cluster(v.ClusterName)),
		TaskDefinition: &spec.TaskDefinitionARN, CapacityProviderStrategy: each(spec.CapacityProviderStrategy, strategyOut),
		LaunchType: ecsapi.LaunchType(spec.LaunchType), PlatformVersion: optional(spec.PlatformVersion), PlatformFamily: platformFamily(spec),
		LoadBalancers: each(spec.LoadBalancers, loadBalancerOut), ServiceRegistries: each(spec.Registries, registryOut),
		NetworkConfiguration: the(spec.Network, networkOut), VolumeConfigurations: each(spec.Volumes, serviceVolumeOut), GuardDutyEnabled: new(false), CreatedAt: new(v.CreatedAt),
		ContainerImages: every(v.Images, func(i model.RevisionImage) ecsapi.ContainerImage {
			return ecsapi.ContainerImage{ContainerName: &i.ContainerName, Image: &i.Image, ImageDigest: optional(digestOf(r, v, i))}
		}),
	}
	out.EcsManagedResources = p.managedResources(r, v)
	if len(spec.LoadBalancers) > 0 {
		out.ResolvedConfiguration = &ecsapi.ResolvedConfiguration{LoadBalancers: resolvedLoadBalancers(r, spec.LoadBalancers)}
	}
	return out
}

// digestOf is the digest that the image had in the revision's first task that
// found it.
func digestOf(r store.Reader, v *model.ServiceRevision, image model.RevisionImage) string {
	if image.ImageDigest != "" {
		return image.ImageDigest
	}
	var first *model.Task
	digest := ""
	mine := map[string]bool{}
	for _, d := range deploymentsOf(r, v.ServiceID) {
		mine[d.ID] = d.RevisionID == v.ID
	}
	for t := range records.Tasks.By(r, records.TasksByService, v.ServiceID) {
		if o, found := t.Observed.Container(image.ContainerName); found && o.ImageDigest != "" && mine[t.StartedBy] &&
			(first == nil || t.CreatedAt.Before(first.CreatedAt)) {
			first, digest = t, o.ImageDigest
		}
	}
	return digest
}

// resolvedLoadBalancers names the rule, or the listener, that leads to each
// target group.
func resolvedLoadBalancers(r store.Reader, balancers []model.ServiceLoadBalancer) []ecsapi.ServiceRevisionLoadBalancer {
	var out []ecsapi.ServiceRevisionLoadBalancer
	for _, lb := range balancers {
		entry := ecsapi.ServiceRevisionLoadBalancer{TargetGroupArn: &lb.TargetGroupARN}
		for l := range records.Listeners.By(r, records.ListenersByTargetGroup, lb.TargetGroupARN) {
			entry.ProductionListenerRule = &l.ARN
		}
		for rule := range records.ListenerRules.By(r, records.RulesByTargetGroup, lb.TargetGroupARN) {
			entry.ProductionListenerRule = &rule.ARN
		}
		out = append(out, entry)
	}
	return out
}

// StopServiceDeployment implements ecsapi.Service. It asks; the deployment
// loop brings the deployment to its end.
func (p *Provider) StopServiceDeployment(ctx context.Context, in *ecsapi.StopServiceDeploymentInput) (*ecsapi.StopServiceDeploymentOutput, error) {
	kind := strings.ToUpper(string(in.StopType))
	status := model.ServiceDeploymentRollbackRequested
	switch kind {
	case "", "ROLLBACK":
		kind = "ROLLBACK"
	case "ABORT":
		status = model.ServiceDeploymentStopRequested
	default:
		return nil, parameterError("Invalid value for stopType: '%s'. Valid values: ROLLBACK, ABORT.", in.StopType)
	}
	ref := value(in.ServiceDeploymentArn)
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		_, d, err := p.serviceDeployment(tx, ref)
		switch {
		case err != nil:
			return err
		case d == nil:
			return &ecsapi.ServiceDeploymentNotFoundException{Message: new("Service deployment not found.")}
		case d.Status != model.DeploymentPrimary || d.RolloutState != model.RolloutInProgress || d.FinishedAt != nil || d.StoppedAt != nil:
			return &ecsapi.ConflictException{Message: new("The service deployment is not running and cannot be stopped."), ResourceIds: []string{ref}}
		case d.Requested != "":
			return nil
		}
		return records.Deployments.Edit(tx, d.Key(), func(d *model.Deployment) error {
			d.Requested, d.ServiceDeploymentStatus, d.UpdatedAt = kind, status, tx.Now()
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return &ecsapi.StopServiceDeploymentOutput{ServiceDeploymentArn: &ref}, nil
}
