package ecs

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

// expressGrace is how long a task's failed health checks do not count, in
// seconds [DG].
const expressGrace = 300

// CreateExpressGatewayService implements ecsapi.Service. The cluster if it is
// missing, the task definition, the service with its deployment and what is
// wanted around it are one transaction. No task starts until control/express
// has made the load balancer and the rest.
func (p *Provider) CreateExpressGatewayService(ctx context.Context, in *ecsapi.CreateExpressGatewayServiceInput) (*ecsapi.CreateExpressGatewayServiceOutput, error) {
	wanted, err := p.expressIn(in)
	if err != nil {
		return nil, err
	}
	var id string
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		cluster, err := p.expressCluster(tx, wanted.cluster)
		if err != nil {
			return err
		}
		name, err := freeName(tx, cluster.Name, wanted.name, wanted.derived)
		if err != nil {
			return err
		}
		network, place, err := expressNetwork(tx, wanted.subnets, wanted.groups)
		if err != nil {
			return err
		}
		def, err := p.expressDefinition(ctx, tx, cluster.Name, name, wanted.task)
		if err != nil {
			return err
		}
		s := p.expressService(ctx, tx, cluster, name, wanted)
		s.Revision.TaskDefinitionARN, s.Revision.Network = def.ARN, network
		if err := resolvePlatform(s); err != nil {
			return err
		}
		if err := p.checkExpress(tx, cluster, s, def); err != nil {
			return err
		}
		id = s.ID
		records.Services.Put(tx, s)
		revision := p.deploy(tx, s, def)
		records.ExpressServices.Put(tx, &model.ExpressService{
			ServiceID: s.ID, ServiceARN: s.ARN, InfrastructureRoleARN: wanted.infrastructureRole,
			Endpoint: expressHost(name, p.scope.Region), Access: place.access, VPCID: place.vpcID, SubnetIDs: network.Subnets,
			LogGroup: logGroupOf(def), UpdatedAt: tx.Now(),
			Settings: []model.ExpressSettings{{RevisionID: revision.ID, HealthCheckPath: wanted.healthPath}},
		})
		return nil
	}); err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	s, e, err := p.expressOf(snap, id)
	if err != nil {
		return nil, err
	}
	p.log.InfoContext(ctx, "express service created", telemetry.ServiceARN, s.ARN)
	return &ecsapi.CreateExpressGatewayServiceOutput{Service: p.expressOut(snap, s, e, true)}, nil
}

// DescribeExpressGatewayService implements ecsapi.Service.
func (p *Provider) DescribeExpressGatewayService(_ context.Context, in *ecsapi.DescribeExpressGatewayServiceInput) (*ecsapi.DescribeExpressGatewayServiceOutput, error) {
	for _, field := range in.Include {
		if field != ecsapi.ExpressGatewayServiceIncludeTags {
			return nil, parameterError("Invalid value for include: '%s'. Valid values: TAGS.", field)
		}
	}
	snap := p.store.Snapshot()
	s, e, err := p.findExpress(snap, value(in.ServiceArn))
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return nil, &ecsapi.ResourceNotFoundException{Message: new("The specified Express service wasn't found.")}
	}
	return &ecsapi.DescribeExpressGatewayServiceOutput{Service: p.expressOut(snap, s, e, len(in.Include) > 0)}, nil
}

// UpdateExpressGatewayService implements ecsapi.Service. What is left out stays
// as it is, within primaryContainer too (uncertain). A change of anything but
// the number of tasks starts a deployment.
func (p *Provider) UpdateExpressGatewayService(ctx context.Context, in *ecsapi.UpdateExpressGatewayServiceInput) (*ecsapi.UpdateExpressGatewayServiceOutput, error) {
	change, err := expressChange(in)
	if err != nil {
		return nil, err
	}
	var id, target string
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		old, express, err := p.activeExpress(tx, value(in.ServiceArn))
		if err != nil {
			return err
		}
		cluster, err := p.activeCluster(tx, &old.ClusterName)
		if err != nil {
			return err
		}
		records.Clusters.Guard(tx, cluster.Key())
		id = old.ID
		s, e := *old, *express
		s.Revision = currentSpec(tx, old)
		if change.count != nil {
			s.DesiredCount = *change.count
		}
		def, changed, err := p.changedDefinition(ctx, tx, &s, change)
		if err != nil {
			return err
		}
		moved, err := changeNetwork(tx, &s, &e, change)
		if err != nil {
			return err
		}
		if err := p.checkExpress(tx, cluster, &s, def); err != nil {
			return err
		}
		moved = changePort(&s, def) || moved
		current := newestRevision(tx, s.ID)
		path := cmp.Or(change.healthPath, e.SettingsOf(current).HealthCheckPath)
		target = current
		if changed || moved || path != e.SettingsOf(current).HealthCheckPath {
			s.Revision.TaskDefinitionARN = def.ARN
			target = p.deploy(tx, &s, def).ID
			e.Settle(model.ExpressSettings{RevisionID: target, HealthCheckPath: path})
		}
		e.UpdatedAt, e.LogGroup = tx.Now(), logGroupOf(def)
		records.Services.Put(tx, &s)
		records.ExpressServices.Put(tx, &e)
		return nil
	}); err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	s, e, err := p.expressOf(snap, id)
	if err != nil {
		return nil, err
	}
	out := &ecsapi.UpdatedExpressGatewayService{
		ServiceArn: &s.ARN, Cluster: &s.ClusterName, ServiceName: &s.Name, Status: expressStatus(s, e),
		CreatedAt: new(s.CreatedAt), UpdatedAt: new(e.UpdatedAt),
	}
	if revision, found := records.ServiceRevisions.Get(snap, target); found {
		out.TargetConfiguration = new(p.expressConfiguration(snap, s, e, revision))
	}
	return &ecsapi.UpdateExpressGatewayServiceOutput{Service: out}, nil
}

// DeleteExpressGatewayService implements ecsapi.Service. Tasks drain first;
// then control/express takes away what was made for the service, and when that
// is done it is INACTIVE.
func (p *Provider) DeleteExpressGatewayService(ctx context.Context, in *ecsapi.DeleteExpressGatewayServiceInput) (*ecsapi.DeleteExpressGatewayServiceOutput, error) {
	var id string
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		s, e, err := p.findExpress(tx, value(in.ServiceArn))
		switch {
		case err != nil:
			return err
		case s == nil:
			return serviceNotFound()
		case s.Status == model.ServiceInactive:
			return serviceNotActive()
		}
		id = s.ID
		if s.Status == model.ServiceDraining {
			return nil
		}
		if err := records.ExpressServices.Edit(tx, e.Key(), func(e *model.ExpressService) error {
			e.UpdatedAt = tx.Now()
			return nil
		}); err != nil {
			return err
		}
		return records.Services.Edit(tx, id, func(s *model.Service) error {
			s.Status, s.DesiredCount = model.ServiceDraining, 0
			return nil
		})
	}); err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	s, e, err := p.expressOf(snap, id)
	if err != nil {
		return nil, err
	}
	p.log.InfoContext(ctx, "express service is to go", telemetry.ServiceARN, s.ARN)
	return &ecsapi.DeleteExpressGatewayServiceOutput{Service: p.expressOut(snap, s, e, true)}, nil
}

// findExpress finds the express service that an ARN names, in any state; none
// and no error when there is none.
func (p *Provider) findExpress(r store.Reader, ref string) (*model.Service, *model.ExpressService, error) {
	if !arn.Is(ref) {
		return nil, nil, parameterError("Invalid identifier: '%s' is not the ARN of a service.", ref)
	}
	path, err := p.resource("service", ref)
	if err != nil {
		return nil, nil, err
	}
	if len(path) != 2 {
		return nil, nil, parameterError("Invalid identifier: '%s'", ref)
	}
	s, found := anyService(r, path[0], path[1])
	if !found {
		return nil, nil, nil
	}
	e, found := records.ExpressServices.Get(r, s.ID)
	if !found {
		return nil, nil, parameterError("The specified service is not an Express service.")
	}
	return s, e, nil
}

// activeExpress is findExpress for what can be changed.
func (p *Provider) activeExpress(r store.Reader, ref string) (*model.Service, *model.ExpressService, error) {
	s, e, err := p.findExpress(r, ref)
	switch {
	case err != nil:
		return nil, nil, err
	case s == nil:
		return nil, nil, serviceNotFound()
	case s.Status != model.ServiceActive:
		return nil, nil, serviceNotActive()
	}
	return s, e, nil
}

func (p *Provider) expressOf(r store.Reader, id string) (*model.Service, *model.ExpressService, error) {
	s, found := records.Services.Get(r, id)
	e, managed := records.ExpressServices.Get(r, id)
	if !found || !managed {
		return nil, nil, serviceNotFound()
	}
	return s, e, nil
}

// expressCluster finds the cluster; the default one is made when it is missing.
func (p *Provider) expressCluster(tx *store.Tx, name string) (*model.Cluster, error) {
	c, found := records.Clusters.Get(tx, name)
	switch {
	case found && c.Status == model.ClusterActive:
		records.Clusters.Guard(tx, name)
		return c, nil
	case name == DefaultCluster:
		made := p.newCluster(tx, name)
		made.CapacityProviders = []string{model.LaunchFargate}
		records.Clusters.Put(tx, made)
		return made, nil
	case found:
		return nil, clusterInactive()
	}
	return nil, clusterNotFound()
}

// freeName takes a name in a cluster. One that was derived from the image gets
// an end of its own when it is taken.
func freeName(tx *store.Tx, cluster, name string, derived bool) (string, error) {
	for {
		records.Services.GuardIndex(tx, records.ServicesByName, records.InCluster(cluster, name))
		old, taken := currentService(tx, cluster, name)
		switch {
		case !taken:
			return name, nil
		case derived:
			name = name[:min(len(name), maxDerivedName)] + "-" + ident.Hex(4)
		case old.Status == model.ServiceDraining:
			return "", parameterError("Unable to Start a service that is still Draining.")
		default:
			return "", parameterError("Creation of service was not idempotent.")
		}
	}
}

// expressService is the service without what depends on its definition.
func (p *Provider) expressService(ctx context.Context, tx *store.Tx, cluster *model.Cluster, name string, wanted *expressWanted) *model.Service {
	return &model.Service{
		ID: ident.UUID(), Name: name, ARN: p.scope.Service(cluster.Name, name), ClusterName: cluster.Name,
		Status: model.ServiceActive, CreatedAt: tx.Now(), CreatedBy: p.principal(ctx),
		Resources: model.ResourcesProvisioning, SchedulingStrategy: model.SchedulingReplica, DesiredCount: wanted.count,
		// AWS rolls back by alarms on the share of errors; the circuit breaker is
		// what there is for that here.
		DeploymentConfiguration: model.DeploymentConfiguration{
			MinimumHealthyPercent: 100, MaximumPercent: 200, CircuitBreaker: &model.CircuitBreaker{Enable: true, Rollback: true},
		},
		HealthCheckGraceSeconds: new(int32(expressGrace)), PropagateTags: "SERVICE", EnableECSManagedTags: true,
		ZoneRebalancing: zonesEnabled, Tags: wanted.tags,
		Revision: model.RevisionSpec{CapacityProviderStrategy: []model.CapacityProviderStrategyItem{{CapacityProvider: model.LaunchFargate, Base: 1, Weight: 1}}},
	}
}

// checkExpress checks a service against all that it refers to.
func (p *Provider) checkExpress(tx *store.Tx, cluster *model.Cluster, s *model.Service, def *model.TaskDefinition) error {
	if s.DesiredCount > maxTasksPerService {
		return parameterError("minTaskCount must be at most %d.", maxTasksPerService)
	}
	return specError(p.launcher.Check(tx, launch.Request{
		Cluster: cluster, Definition: def, LaunchType: launch.LaunchType(s.Revision), Network: s.Revision.Network, Count: 1,
	}))
}

// newestRevision is the id of what the service's newest deployment runs.
func newestRevision(r store.Reader, serviceID string) string {
	for _, d := range slices.Backward(deploymentsOf(r, serviceID)) {
		if d.Status == model.DeploymentPrimary {
			return d.RevisionID
		}
	}
	return ""
}

// expressHost is a new endpoint's name: the first two characters of the
// service's and 32 random digits [OBS].
func expressHost(name, region string) string {
	first := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return 'x'
	}, strings.ToLower(name + "xx")[:2])
	return first + "-" + ident.Hex(32) + ".ecs." + region + ".on.aws"
}
