package ecs

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

const maxServicesDescribed = 10

var serviceTokenPattern = regexp.MustCompile(`^[!-~]{1,36}$`)

// CreateService implements ecsapi.Service. The service, its first deployment
// and the revision that this deploys are one transaction; tasks are the
// deployment loop's.
func (p *Provider) CreateService(ctx context.Context, in *ecsapi.CreateServiceInput) (*ecsapi.CreateServiceOutput, error) {
	wanted, err := p.serviceIn(in)
	if err != nil {
		return nil, err
	}
	wanted.CreatedBy = p.principal(ctx)
	var id string
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		cluster, err := p.activeCluster(tx, in.Cluster)
		if err != nil {
			return err
		}
		records.Clusters.Guard(tx, cluster.Key())
		s := *wanted
		def, err := p.placeService(tx, cluster, &s, value(in.TaskDefinition))
		if err != nil {
			return err
		}
		records.Services.GuardIndex(tx, records.ServicesByName, records.InCluster(cluster.Name, s.Name))
		if old, found := currentService(tx, cluster.Name, s.Name); found {
			id = old.ID
			return repeatedCreation(old, &s)
		}
		if err := needsTaskRole(s.EnableExecuteCommand, def.TaskRoleARN, "service couldn't be created"); err != nil {
			return err
		}
		if err := p.checkService(tx, cluster, &s, def); err != nil {
			return err
		}
		id = s.ID
		records.Services.Put(tx, &s)
		p.deploy(tx, &s, def)
		return nil
	}); err != nil {
		return nil, err
	}
	p.log.InfoContext(ctx, "service created", telemetry.ServiceARN, p.scope.Service(wanted.ClusterName, wanted.Name))
	out, err := p.shownService(id)
	return &ecsapi.CreateServiceOutput{Service: out}, err
}

// shownService is the service as the calls that change it show it.
func (p *Provider) shownService(id string) (*ecsapi.ServiceShape, error) {
	snap := p.store.Snapshot()
	s, found := records.Services.Get(snap, id)
	if !found {
		return nil, serviceNotFound()
	}
	return new(p.serviceOut(snap, s, true)), nil
}

// serviceIn reads what a CreateService call says, and checks what needs no
// state.
func (p *Provider) serviceIn(in *ecsapi.CreateServiceInput) (*model.Service, error) {
	cluster, err := p.clusterName(in.Cluster)
	if err != nil {
		return nil, err
	}
	s := &model.Service{
		ID: ident.UUID(), Name: value(in.ServiceName), ClusterName: cluster, Status: model.ServiceActive,
		SchedulingStrategy:   cmp.Or(string(in.SchedulingStrategy), model.SchedulingReplica),
		DesiredCount:         int(value(in.DesiredCount)),
		PlacementConstraints: each(in.PlacementConstraints, constraintIn), PlacementStrategy: each(in.PlacementStrategy, placementIn),
		HealthCheckGraceSeconds: in.HealthCheckGracePeriodSeconds, RoleARN: p.roleARN(value(in.Role)),
		PropagateTags: cmp.Or(string(in.PropagateTags), "NONE"), EnableECSManagedTags: value(in.EnableECSManagedTags),
		EnableExecuteCommand: value(in.EnableExecuteCommand),
		ZoneRebalancing:      string(in.AvailabilityZoneRebalancing), Tags: each(in.Tags, tagIn),
		PlatformVersion: value(in.PlatformVersion), ClientToken: value(in.ClientToken),
		Revision: model.RevisionSpec{LaunchType: string(in.LaunchType), CapacityProviderStrategy: each(in.CapacityProviderStrategy, strategyIn)},
	}
	s.ARN = p.scope.Service(cluster, s.Name)
	if in.DeploymentController != nil {
		s.DeploymentController = string(in.DeploymentController.Type) // shown only to those who said it
	}
	s.DeploymentConfiguration = model.DeploymentConfiguration{MinimumHealthyPercent: 100, MaximumPercent: 200}
	if s.SchedulingStrategy == model.SchedulingDaemon {
		s.DeploymentConfiguration = model.DeploymentConfiguration{MinimumHealthyPercent: 0, MaximumPercent: 100}
	}
	if err := checkCreation(in, s); err != nil {
		return nil, err
	}
	if err := applyDeploymentConfiguration(&s.DeploymentConfiguration, in.DeploymentConfiguration); err != nil {
		return nil, err
	}
	if s.Revision.LoadBalancers, err = loadBalancersIn(in.LoadBalancers); err != nil {
		return nil, err
	}
	if s.Revision.Registries, err = registriesIn(in.ServiceRegistries); err != nil {
		return nil, err
	}
	if s.Revision.Network, err = networkIn(in.NetworkConfiguration); err != nil {
		return nil, err
	}
	if s.Revision.Volumes, err = serviceVolumesIn(in.VolumeConfigurations); err != nil {
		return nil, err
	}
	if s.ZoneRebalancing == "" {
		s.ZoneRebalancing = zonesDisabled
		if rebalancingObstacle(s) == "" {
			s.ZoneRebalancing = zonesEnabled
		}
	}
	return s, nil
}

func checkCreation(in *ecsapi.CreateServiceInput, s *model.Service) error {
	switch {
	case !namePattern.MatchString(s.Name):
		return parameterError("Invalid service name: '%s'. Up to 255 letters (uppercase and lowercase), numbers, underscores, and hyphens are allowed.", s.Name)
	case s.ClientToken != "" && !serviceTokenPattern.MatchString(s.ClientToken):
		return parameterError("clientToken must have 1 to 36 ASCII characters in the range of 33 to 126.")
	case s.SchedulingStrategy != model.SchedulingReplica && s.SchedulingStrategy != model.SchedulingDaemon:
		return parameterError("Invalid value for schedulingStrategy: '%s'. Valid values: REPLICA, DAEMON.", s.SchedulingStrategy)
	case value(in.TaskDefinition) == "":
		return parameterError("TaskDefinition can not be blank.")
	case s.SchedulingStrategy == model.SchedulingDaemon && in.DesiredCount != nil:
		return parameterError("The daemon scheduling strategy does not support a desired count for the service. Remove the desired count value and try again")
	case s.SchedulingStrategy == model.SchedulingReplica && in.DesiredCount == nil:
		return parameterError("A desired count is required for the REPLICA scheduling strategy.")
	case s.Revision.LaunchType != "" && len(s.Revision.CapacityProviderStrategy) > 0:
		return parameterError("Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.")
	}
	if err := checkLaunchType(s.Revision.LaunchType); err != nil {
		return err
	}
	if s.Revision.LaunchType == launchExternal {
		return parameterError("Launch type EXTERNAL is not supported for services: Berth does not have external instances yet.")
	}
	if err := refuseService(in.DeploymentController, in.ServiceConnectConfiguration, len(in.VpcLatticeConfigurations)); err != nil {
		return err
	}
	return checkTags(s.Tags)
}

func (p *Provider) roleARN(role string) string {
	if role == "" || strings.HasPrefix(role, "arn:") {
		return role
	}
	return strings.TrimSuffix(p.scope.Root(), "root") + "role/" + strings.TrimPrefix(role, "/")
}

// placeService resolves what the cluster and the definition's name decide.
func (p *Provider) placeService(tx *store.Tx, cluster *model.Cluster, s *model.Service, definition string) (*model.TaskDefinition, error) {
	def, err := p.usableDefinition(tx, definition, clientError)
	if err != nil {
		return nil, err
	}
	s.CreatedAt = tx.Now()
	r := &s.Revision
	r.TaskDefinitionARN = def.ARN
	if r.LaunchType == "" && len(r.CapacityProviderStrategy) == 0 {
		r.CapacityProviderStrategy = cluster.DefaultCapacityProviderStrategy
	}
	if len(r.CapacityProviderStrategy) == 0 {
		r.LaunchType = cmp.Or(r.LaunchType, model.LaunchEC2)
	} else if err := checkStrategy(r.CapacityProviderStrategy, cluster.CapacityProviders, true); err != nil {
		return nil, err
	}
	return def, resolvePlatform(s)
}

// resolvePlatform finds the platform version that the service's tasks run on.
func resolvePlatform(s *model.Service) error {
	kind := launch.LaunchType(s.Revision)
	if err := checkPlatform(kind, s.PlatformVersion); err != nil {
		return err
	}
	s.Revision.PlatformVersion = ""
	if kind == model.LaunchFargate {
		s.PlatformVersion = cmp.Or(s.PlatformVersion, "LATEST")
		s.Revision.PlatformVersion = launch.FargateVersion
	}
	return nil
}

// repeatedCreation answers for a service whose name is taken: the same call
// again does nothing.
func repeatedCreation(old, wanted *model.Service) error {
	if old.Status == model.ServiceDraining {
		return parameterError("Unable to Start a service that is still Draining.")
	}
	if !sameService(old, wanted) {
		return parameterError("Creation of service was not idempotent.")
	}
	return nil
}

// sameService compares what a user says of a service.
func sameService(a, b *model.Service) bool {
	spec := func(s *model.Service) model.Service {
		said := *s
		said.ID, said.Status, said.CreatedAt, said.CreatedBy, said.ClientToken = "", "", b.CreatedAt, "", ""
		said.EventSeq, said.Progress = 0, model.ServiceProgress{}
		return said
	}
	return equalJSON(spec(a), spec(b))
}

// equalJSON compares records as they are stored, in which nothing and an
// empty list are the same.
func equalJSON(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

// deploy makes the service's newest deployment, which brings it to s.Revision.
// What was its newest becomes ACTIVE, and the loop brings it to its end.
func (p *Provider) deploy(tx *store.Tx, s *model.Service, def *model.TaskDefinition) *model.ServiceRevision {
	revision := &model.ServiceRevision{
		ID: ident.ServiceRevision(), ServiceID: s.ID, ServiceARN: s.ARN, ClusterName: s.ClusterName, CreatedAt: tx.Now(), Spec: s.Revision,
	}
	revision.ARN = p.scope.ServiceRevision(s.ClusterName, s.Name, revision.ID)
	for i := range def.ContainerDefinitions {
		c := &def.ContainerDefinitions[i]
		revision.Images = append(revision.Images, model.RevisionImage{ContainerName: c.Name, Image: c.Image})
	}
	records.ServiceRevisions.Put(tx, revision)

	d := &model.Deployment{
		ID: ident.Deployment(), ServiceID: s.ID, ClusterName: s.ClusterName, Number: 1, RevisionID: revision.ID,
		CreatedAt: tx.Now(), UpdatedAt: tx.Now(), Status: model.DeploymentPrimary, RolloutState: model.RolloutInProgress,
		ServiceDeploymentID: ident.ServiceDeployment(), ServiceDeploymentStatus: model.ServiceDeploymentPending,
		Config: s.DeploymentConfiguration,
	}
	d.RolloutStateReason = fmt.Sprintf("ECS deployment %s in progress.", d.ID)
	for _, old := range deploymentsOf(tx, s.ID) {
		d.Number = max(d.Number, old.Number+1)
		if old.Status == model.DeploymentInactive {
			continue
		}
		if !slices.Contains(d.SourceRevisionIDs, old.RevisionID) {
			d.SourceRevisionIDs = append(d.SourceRevisionIDs, old.RevisionID)
		}
		if old.Status == model.DeploymentPrimary {
			superseded := *old
			superseded.Status, superseded.UpdatedAt = model.DeploymentActive, tx.Now()
			records.Deployments.Put(tx, &superseded)
		}
	}
	records.Deployments.Put(tx, d)
	return revision
}

// deploymentsOf are all deployments of a service, oldest first.
func deploymentsOf(r store.Reader, serviceID string) []*model.Deployment {
	return slices.Collect(records.Deployments.Prefix(r, serviceID+"/"))
}

// currentService finds the service that has a name now: the one that is not
// INACTIVE.
func currentService(r store.Reader, cluster, name string) (*model.Service, bool) {
	s, found := anyService(r, cluster, name)
	return s, found && s.Status != model.ServiceInactive
}

// anyService finds the service that has a name, or else that had it last.
func anyService(r store.Reader, cluster, name string) (*model.Service, bool) {
	var last *model.Service
	for s := range records.Services.By(r, records.ServicesByName, records.InCluster(cluster, name)) {
		if s.Status != model.ServiceInactive {
			return s, true
		}
		if last == nil || s.CreatedAt.After(last.CreatedAt) {
			last = s
		}
	}
	return last, last != nil
}

// serviceName is the name that ref, a name or an ARN, means within a cluster.
func (p *Provider) serviceName(cluster, ref string) (string, error) {
	return p.memberID("service", cluster, ref)
}

// DeleteService implements ecsapi.Service. Its tasks end, and when they have
// it is INACTIVE.
func (p *Provider) DeleteService(ctx context.Context, in *ecsapi.DeleteServiceInput) (*ecsapi.DeleteServiceOutput, error) {
	var id string
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		s, err := p.findService(tx, in.Cluster, value(in.Service))
		if err != nil {
			return err
		}
		id = s.ID
		switch {
		case s.Status == model.ServiceInactive:
			return serviceNotFound()
		case s.Status == model.ServiceDraining:
			return nil
		case !value(in.Force) && s.DesiredCount > 0 && s.SchedulingStrategy != model.SchedulingDaemon:
			return parameterError("The service cannot be stopped while it is scaled above 0.")
		}
		return records.Services.Edit(tx, id, func(s *model.Service) error {
			s.Status, s.DesiredCount = model.ServiceDraining, 0
			return nil
		})
	}); err != nil {
		return nil, err
	}
	out, err := p.shownService(id)
	return &ecsapi.DeleteServiceOutput{Service: out}, err
}

// findService finds the service that two parameters mean, in any state.
func (p *Provider) findService(r store.Reader, clusterRef *string, ref string) (*model.Service, error) {
	cluster, err := p.cluster(r, clusterRef)
	if err != nil {
		return nil, err
	}
	name, err := p.serviceName(cluster.Name, ref)
	if err != nil {
		return nil, err
	}
	s, found := anyService(r, cluster.Name, name)
	if !found {
		return nil, serviceNotFound()
	}
	return s, nil
}

// DescribeServices implements ecsapi.Service.
func (p *Provider) DescribeServices(_ context.Context, in *ecsapi.DescribeServicesInput) (*ecsapi.DescribeServicesOutput, error) {
	switch {
	case len(in.Services) == 0:
		return nil, parameterError("Services cannot be empty.")
	case len(in.Services) > maxServicesDescribed:
		return nil, parameterError("services can have at most %d items.", maxServicesDescribed)
	}
	snap := p.store.Snapshot()
	cluster, err := p.cluster(snap, in.Cluster)
	if err != nil {
		return nil, err
	}
	withTags := slices.Contains(in.Include, ecsapi.ServiceFieldTags)
	out := &ecsapi.DescribeServicesOutput{Services: []ecsapi.ServiceShape{}, Failures: []ecsapi.Failure{}}
	for _, ref := range in.Services {
		name, err := p.serviceName(cluster.Name, ref)
		if err != nil {
			return nil, err
		}
		s, found := anyService(snap, cluster.Name, name)
		if !found {
			out.Failures = append(out.Failures, missing(p.scope.Service(cluster.Name, name)))
			continue
		}
		out.Services = append(out.Services, p.serviceOut(snap, s, withTags))
	}
	return out, nil
}

// ListServices implements ecsapi.Service. Only ACTIVE ones are listed.
func (p *Provider) ListServices(_ context.Context, in *ecsapi.ListServicesInput) (*ecsapi.ListServicesOutput, error) {
	limit, err := pageSize(in.MaxResults, 10, 100)
	if err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	cluster, err := p.activeCluster(snap, in.Cluster)
	if err != nil {
		return nil, err
	}
	arns := []string{}
	for s := range records.Services.By(snap, records.ServicesByCluster, cluster.Name) {
		switch {
		case s.Status != model.ServiceActive:
		case in.LaunchType != "" && string(in.LaunchType) != s.Revision.LaunchType:
		case in.SchedulingStrategy != "" && string(in.SchedulingStrategy) != s.SchedulingStrategy:
		case in.ResourceManagementType != "" && in.ResourceManagementType != managementOf(snap, s):
		default:
			arns = append(arns, s.ARN)
		}
	}
	slices.Sort(arns)
	page, next, err := pageOf("ListServices", arns, strings.Clone, in.NextToken, limit, ascending)
	if err != nil {
		return nil, err
	}
	return &ecsapi.ListServicesOutput{ServiceArns: page, NextToken: next}, nil
}

// ListServicesByNamespace implements ecsapi.Service. It lists the services
// that use Service Connect in a namespace; that is refused so far, so there
// are none.
func (p *Provider) ListServicesByNamespace(_ context.Context, in *ecsapi.ListServicesByNamespaceInput) (*ecsapi.ListServicesByNamespaceOutput, error) {
	if _, err := pageSize(in.MaxResults, 10, 100); err != nil {
		return nil, err
	}
	ref := value(in.Namespace)
	for n := range records.Namespaces.All(p.store.Snapshot()) {
		if n.Name == ref || n.ARN == ref {
			return &ecsapi.ListServicesByNamespaceOutput{ServiceArns: []string{}}, nil
		}
	}
	return nil, &ecsapi.NamespaceNotFoundException{Message: new("The specified namespace wasn't found.")}
}

func serviceNotFound() error {
	return &ecsapi.ServiceNotFoundException{Message: new("Service not found.")}
}

func serviceNotActive() error {
	return &ecsapi.ServiceNotActiveException{Message: new("Service was not ACTIVE.")}
}
