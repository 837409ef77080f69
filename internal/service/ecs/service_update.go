package ecs

import (
	"context"
	"slices"

	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

// UpdateService implements ecsapi.Service. A change of what tasks are made of
// starts a deployment, and so does forceNewDeployment; a change of the service
// as a whole does not.
func (p *Provider) UpdateService(ctx context.Context, in *ecsapi.UpdateServiceInput) (*ecsapi.UpdateServiceOutput, error) {
	if err := refuseService(in.DeploymentController, in.ServiceConnectConfiguration, len(in.VpcLatticeConfigurations)); err != nil {
		return nil, err
	}
	var id string
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		cluster, err := p.activeCluster(tx, in.Cluster)
		if err != nil {
			return err
		}
		records.Clusters.Guard(tx, cluster.Key())
		old, err := p.findService(tx, in.Cluster, value(in.Service))
		switch {
		case err != nil:
			return err
		case old.Status != model.ServiceActive:
			return serviceNotActive()
		}
		if err := refuseManaged(tx, old, in); err != nil {
			return err
		}
		id = old.ID
		// A rollback may have made another revision the current one.
		current := currentSpec(tx, old)
		s := *old
		s.Revision = current
		if err := p.changeService(&s, in); err != nil {
			return err
		}
		def, err := p.updatedDefinition(tx, &s, in.TaskDefinition)
		if err != nil {
			return err
		}
		if err := needsTaskRole(s.EnableExecuteCommand, def.TaskRoleARN, "service couldn't be updated"); err != nil {
			return err
		}
		if err := updatePlatform(cluster, &s, in); err != nil {
			return err
		}
		if err := p.checkService(tx, cluster, &s, def); err != nil {
			return err
		}
		records.Services.Put(tx, &s)
		if value(in.ForceNewDeployment) || !equalJSON(s.Revision, current) {
			p.deploy(tx, &s, def)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	out, err := p.shownService(id)
	return &ecsapi.UpdateServiceOutput{Service: out}, err
}

// currentSpec is what the service's newest deployment runs.
func currentSpec(r store.Reader, s *model.Service) model.RevisionSpec {
	for _, d := range slices.Backward(deploymentsOf(r, s.ID)) {
		if revision, found := records.ServiceRevisions.Get(r, d.RevisionID); found && d.Status == model.DeploymentPrimary {
			return revision.Spec
		}
	}
	return s.Revision
}

// changeService applies what a call says. What it leaves out stays; an empty
// list is not left out.
func (p *Provider) changeService(s *model.Service, in *ecsapi.UpdateServiceInput) error {
	if in.DesiredCount != nil {
		if s.SchedulingStrategy == model.SchedulingDaemon {
			return parameterError("The daemon scheduling strategy does not support a desired count for the service. Remove the desired count value and try again")
		}
		s.DesiredCount = int(*in.DesiredCount)
	}
	if err := applyDeploymentConfiguration(&s.DeploymentConfiguration, in.DeploymentConfiguration); err != nil {
		return err
	}
	if in.AvailabilityZoneRebalancing != "" {
		s.ZoneRebalancing = string(in.AvailabilityZoneRebalancing)
	}
	if in.PlacementConstraints != nil {
		s.PlacementConstraints = each(in.PlacementConstraints, constraintIn)
	}
	if in.PlacementStrategy != nil {
		s.PlacementStrategy = each(in.PlacementStrategy, placementIn)
	}
	if in.HealthCheckGracePeriodSeconds != nil {
		s.HealthCheckGraceSeconds = in.HealthCheckGracePeriodSeconds
	}
	if in.EnableECSManagedTags != nil {
		s.EnableECSManagedTags = *in.EnableECSManagedTags
	}
	if in.EnableExecuteCommand != nil {
		s.EnableExecuteCommand = *in.EnableExecuteCommand
	}
	if in.PropagateTags != "" {
		s.PropagateTags = string(in.PropagateTags)
	}
	if err := changeRevision(&s.Revision, in); err != nil {
		return err
	}
	if in.HealthCheckGracePeriodSeconds == nil && len(s.Revision.LoadBalancers) == 0 {
		s.HealthCheckGraceSeconds = nil // it was about the load balancers that are gone
	}
	return nil
}

func changeRevision(r *model.RevisionSpec, in *ecsapi.UpdateServiceInput) error {
	var err error
	if in.LoadBalancers != nil {
		if r.LoadBalancers, err = loadBalancersIn(in.LoadBalancers); err != nil {
			return err
		}
	}
	if in.ServiceRegistries != nil {
		if r.Registries, err = registriesIn(in.ServiceRegistries); err != nil {
			return err
		}
	}
	if in.VolumeConfigurations != nil {
		if r.Volumes, err = serviceVolumesIn(in.VolumeConfigurations); err != nil {
			return err
		}
	}
	if in.NetworkConfiguration != nil {
		if r.Network, err = networkIn(in.NetworkConfiguration); err != nil {
			return err
		}
	}
	return nil
}

// updatedDefinition is the definition that the service's tasks are made of. One
// that the service has already may be inactive; a new one may not.
func (p *Provider) updatedDefinition(tx *store.Tx, s *model.Service, ref *string) (*model.TaskDefinition, error) {
	def, named, err := p.definition(tx, s.Revision.TaskDefinitionARN)
	if ref != nil {
		def, named, err = p.definition(tx, *ref)
	}
	switch {
	case err != nil:
		return nil, err
	case def == nil:
		return nil, clientError("TaskDefinition not found.")
	case def.ARN == s.Revision.TaskDefinitionARN:
		return def, nil
	case named && def.Status != model.TaskDefinitionActive:
		return nil, clientError("TaskDefinition is inactive")
	}
	s.Revision.TaskDefinitionARN = def.ARN
	return def, nil
}

// updatePlatform applies capacity providers and the platform version: a
// strategy takes the place of a launch type, and an empty one gives it back.
func updatePlatform(cluster *model.Cluster, s *model.Service, in *ecsapi.UpdateServiceInput) error {
	r := &s.Revision
	if in.CapacityProviderStrategy != nil {
		was := launch.LaunchType(*r)
		r.CapacityProviderStrategy = each(in.CapacityProviderStrategy, strategyIn)
		if len(r.CapacityProviderStrategy) == 0 {
			r.LaunchType = was
		} else {
			r.LaunchType = ""
			if err := checkStrategy(r.CapacityProviderStrategy, cluster.CapacityProviders, true); err != nil {
				return err
			}
		}
		if was != launch.LaunchType(*r) {
			s.PlatformVersion = ""
		}
	}
	if in.PlatformVersion != nil {
		s.PlatformVersion = *in.PlatformVersion
	}
	return resolvePlatform(s)
}
