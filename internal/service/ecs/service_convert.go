package ecs

import (
	"slices"

	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

// managementOf tells who manages what a service needs: the user, or for an
// express service ECS.
func managementOf(r store.Reader, s *model.Service) ecsapi.ResourceManagementType {
	if records.ExpressServices.Has(r, s.ID) {
		return "ECS"
	}
	return "CUSTOMER"
}

// taskCounts are the tasks of a deployment or a service as they are now.
type taskCounts struct{ running, pending, wanted int32 }

func (n *taskCounts) add(t *model.Task) {
	if t.DesiredStatus == model.TaskRunning {
		n.wanted++
	}
	switch rank := model.TaskStatusRank(t.LastStatus()); {
	case rank == model.TaskStatusRank(model.TaskRunning):
		n.running++
	case rank < model.TaskStatusRank(model.TaskRunning):
		n.pending++
	}
}

// countsOf counts the tasks of a service, in all and by deployment.
func countsOf(r store.Reader, s *model.Service) (all taskCounts, by map[string]*taskCounts) {
	by = map[string]*taskCounts{}
	for t := range records.Tasks.By(r, records.LiveTasksByGroup, records.InCluster(s.ClusterName, launch.Group(s.Name))) {
		if t.ServiceID != s.ID {
			continue
		}
		if by[t.StartedBy] == nil {
			by[t.StartedBy] = &taskCounts{}
		}
		all.add(t)
		by[t.StartedBy].add(t)
	}
	return all, by
}

// serviceOut shows a service. Counts are derived from its tasks, and what it
// runs from its newest deployment, which after a rollback is not the last
// that a user asked for.
func (p *Provider) serviceOut(r store.Reader, s *model.Service, withTags bool) ecsapi.ServiceShape {
	all, by := countsOf(r, s)
	spec := currentSpec(r, s)
	desired := p.desiredOf(r, s)
	out := ecsapi.ServiceShape{
		ServiceArn: &s.ARN, ServiceName: &s.Name, ClusterArn: new(p.scope.Cluster(s.ClusterName)), Status: &s.Status,
		DesiredCount: &desired, RunningCount: &all.running, PendingCount: &all.pending,
		LaunchType: ecsapi.LaunchType(spec.LaunchType), CapacityProviderStrategy: each(spec.CapacityProviderStrategy, strategyOut),
		PlatformVersion: optional(s.PlatformVersion), PlatformFamily: platformFamily(spec),
		TaskDefinition: &spec.TaskDefinitionARN, SchedulingStrategy: ecsapi.SchedulingStrategy(s.SchedulingStrategy),
		DeploymentConfiguration: new(deploymentConfigurationOut(s.DeploymentConfiguration)),
		LoadBalancers:           every(spec.LoadBalancers, loadBalancerOut), ServiceRegistries: every(spec.Registries, registryOut),
		NetworkConfiguration: the(spec.Network, networkOut),
		PlacementConstraints: every(s.PlacementConstraints, constraintOut), PlacementStrategy: every(s.PlacementStrategy, placementOut),
		HealthCheckGracePeriodSeconds: graceOf(s, spec), RoleArn: p.roleOf(s, spec),
		EnableECSManagedTags: &s.EnableECSManagedTags, EnableExecuteCommand: &s.EnableExecuteCommand,
		PropagateTags: ecsapi.PropagateTags(s.PropagateTags), AvailabilityZoneRebalancing: ecsapi.AvailabilityZoneRebalancing(s.ZoneRebalancing),
		ResourceManagementType: managementOf(r, s), CreatedAt: new(s.CreatedAt), CreatedBy: optional(s.CreatedBy),
		Deployments: []ecsapi.Deployment{}, Events: eventsOut(r, s), Tags: []ecsapi.Tag{},
	}
	if withTags {
		out.Tags = every(s.Tags, tagOut)
	}
	if s.DeploymentController != "" {
		out.DeploymentController = &ecsapi.DeploymentController{Type: ecsapi.DeploymentControllerType(s.DeploymentController)}
	}
	for _, d := range slices.Backward(deploymentsOf(r, s.ID)) {
		if d.Status == model.DeploymentInactive || s.Status == model.ServiceInactive {
			continue
		}
		n := by[d.ID]
		if n == nil {
			n = &taskCounts{}
		}
		shown, revision := p.deploymentOut(r, d, *n, desired)
		out.Deployments = append(out.Deployments, shown)
		out.CurrentServiceRevisions = append(out.CurrentServiceRevisions, ecsapi.ServiceCurrentRevisionSummary{
			Arn: &revision.ARN, RequestedTaskCount: shown.DesiredCount, RunningTaskCount: shown.RunningCount, PendingTaskCount: shown.PendingCount,
		})
		if d.Status == model.DeploymentPrimary && d.RolloutState == model.RolloutInProgress {
			out.CurrentServiceDeployment = new(p.scope.ServiceDeployment(s.ClusterName, s.Name, d.ServiceDeploymentID))
		}
	}
	return out
}

// desiredOf is the desired count; that of a DAEMON service is the number of
// instances on which it wants a task.
func (p *Provider) desiredOf(r store.Reader, s *model.Service) int32 {
	if s.SchedulingStrategy != model.SchedulingDaemon || s.Status != model.ServiceActive {
		return int32(s.DesiredCount)
	}
	for _, d := range slices.Backward(deploymentsOf(r, s.ID)) {
		revision, found := records.ServiceRevisions.Get(r, d.RevisionID)
		if !found || d.Status != model.DeploymentPrimary {
			continue
		}
		request, err := launch.ServiceRequest(r, s, d, revision, 1)
		if err != nil {
			break
		}
		eligible, err := p.launcher.Eligible(r, request)
		if err != nil {
			break // a subnet or group that the service needs is gone: it can run nowhere
		}
		return int32(len(eligible))
	}
	return 0
}

// deploymentOut shows a deployment. The newest one wants the desired count,
// an older one what it still has.
func (p *Provider) deploymentOut(r store.Reader, d *model.Deployment, n taskCounts, desired int32) (ecsapi.Deployment, *model.ServiceRevision) {
	revision, found := records.ServiceRevisions.Get(r, d.RevisionID)
	if !found {
		revision = &model.ServiceRevision{}
	}
	spec := revision.Spec
	if d.Status != model.DeploymentPrimary {
		desired = n.wanted
	}
	return ecsapi.Deployment{
		Id: &d.ID, Status: &d.Status, TaskDefinition: &spec.TaskDefinitionARN,
		DesiredCount: &desired, RunningCount: &n.running, PendingCount: &n.pending, FailedTasks: new(int32(d.FailedTasks)),
		CreatedAt: new(d.CreatedAt), UpdatedAt: new(d.UpdatedAt),
		LaunchType: ecsapi.LaunchType(spec.LaunchType), CapacityProviderStrategy: each(spec.CapacityProviderStrategy, strategyOut),
		PlatformVersion: optional(spec.PlatformVersion), PlatformFamily: platformFamily(spec),
		NetworkConfiguration: the(spec.Network, networkOut), VolumeConfigurations: each(spec.Volumes, serviceVolumeOut),
		RolloutState: ecsapi.DeploymentRolloutState(d.RolloutState), RolloutStateReason: optional(d.RolloutStateReason),
	}, revision
}

func platformFamily(spec model.RevisionSpec) *string {
	if launch.LaunchType(spec) != model.LaunchFargate {
		return nil
	}
	return new("Linux")
}

// graceOf is 0 when a service with load balancers does not say.
func graceOf(s *model.Service, spec model.RevisionSpec) *int32 {
	if s.HealthCheckGraceSeconds == nil && len(spec.LoadBalancers) > 0 {
		return new(int32(0))
	}
	return s.HealthCheckGraceSeconds
}

// roleOf is the role that manages load balancers, names and interfaces: ECS's
// own unless the user named another.
func (p *Provider) roleOf(s *model.Service, spec model.RevisionSpec) *string {
	switch {
	case s.RoleARN != "":
		return &s.RoleARN
	case spec.Network != nil || len(spec.LoadBalancers) > 0 || len(spec.Registries) > 0:
		return new(p.scope.ServiceLinkedRole())
	}
	return nil
}

// eventsOut shows the newest event first.
func eventsOut(r store.Reader, s *model.Service) []ecsapi.ServiceEvent {
	out := []ecsapi.ServiceEvent{}
	for e := range records.ServiceEvents.Prefix(r, s.ID+"/") {
		out = append(out, ecsapi.ServiceEvent{Id: &e.ID, CreatedAt: new(e.CreatedAt), Message: &e.Message})
	}
	slices.Reverse(out)
	return out[:min(len(out), records.ServiceEventsKept)]
}

func deploymentConfigurationOut(c model.DeploymentConfiguration) ecsapi.DeploymentConfiguration {
	out := ecsapi.DeploymentConfiguration{
		MaximumPercent: new(int32(c.MaximumPercent)), MinimumHealthyPercent: new(int32(c.MinimumHealthyPercent)),
		Strategy: "ROLLING", BakeTimeInMinutes: new(int32(0)),
		DeploymentCircuitBreaker: &ecsapi.DeploymentCircuitBreaker{Enable: new(false), Rollback: new(false)},
	}
	if b := c.CircuitBreaker; b != nil {
		out.DeploymentCircuitBreaker = &ecsapi.DeploymentCircuitBreaker{Enable: &b.Enable, Rollback: &b.Rollback}
	}
	if a := c.Alarms; a != nil {
		out.Alarms = &ecsapi.DeploymentAlarms{AlarmNames: every(a.AlarmNames, func(s string) string { return s }), Enable: &a.Enable, Rollback: &a.Rollback}
	}
	return out
}

func loadBalancerOut(l model.ServiceLoadBalancer) ecsapi.LoadBalancer {
	return ecsapi.LoadBalancer{TargetGroupArn: &l.TargetGroupARN, ContainerName: &l.ContainerName, ContainerPort: &l.ContainerPort}
}

func registryOut(r model.ServiceRegistry) ecsapi.ServiceRegistry {
	return ecsapi.ServiceRegistry{RegistryArn: &r.RegistryARN, Port: optional(r.Port), ContainerName: optional(r.ContainerName), ContainerPort: optional(r.ContainerPort)}
}

func networkOut(n model.NetworkConfiguration) ecsapi.NetworkConfiguration {
	public := ecsapi.AssignPublicIp("DISABLED")
	if n.PublicIP {
		public = "ENABLED"
	}
	clone := func(s string) string { return s }
	return ecsapi.NetworkConfiguration{AwsvpcConfiguration: &ecsapi.AwsVpcConfiguration{
		Subnets: every(n.Subnets, clone), SecurityGroups: every(n.SecurityGroups, clone), AssignPublicIp: public,
	}}
}
