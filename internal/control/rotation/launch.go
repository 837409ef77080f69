package rotation

import (
	"errors"
	"fmt"
	"slices"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/rotation"
	"berth.dev/berth/internal/rules/taskspec"
)

// startedBy is what the tasks say of who started them.
const startedBy = "secretsmanager"

// launch makes the task of a rotation. When there can be none now, the plan is
// to try again, and says why.
func (l *Loop) launch(tx *store.Tx, s *model.Secret, plan rotation.Plan) (rotation.Plan, string, error) {
	if plan.Version == "" {
		plan.Version = ident.UUID()
	}
	later := func(format string, args ...any) (rotation.Plan, string, error) { //nolint:unparam // its form is that of its siblings
		return rotation.Plan{Act: rotation.Retry, Version: plan.Version, Reason: fmt.Sprintf(format, args...)}, "", nil
	}
	unplaced := func(format string, args ...any) (rotation.Plan, string, error) {
		retry, none, err := later(format, args...)
		retry.Unplaced = true
		return retry, none, err
	}
	request, reason := l.request(tx, s, plan.Version)
	if reason != "" {
		return later("%s", reason)
	}
	outcome, err := l.cfg.Launcher.Launch(tx, request)
	if wrong, ok := errors.AsType[*taskspec.Error](err); ok {
		return later("the task cannot be run: %s", wrong.Message)
	}
	switch {
	case err != nil:
		return plan, "", err
	case len(outcome.Tasks) == 1:
		return plan, outcome.Tasks[0].ID, nil
	case outcome.NoInstances:
		return unplaced("cluster %s has no container instance", request.Cluster.Name)
	}
	reason = "no place"
	for _, f := range outcome.Failures {
		if reason = f.Reason; f.Detail != "" {
			reason += ": " + f.Detail
		}
	}
	return unplaced("the task was not placed: %s", reason)
}

// request is what is asked of the launcher, or why nothing is.
func (l *Loop) request(r store.Reader, s *model.Secret, version string) (request launch.Request, reason string) {
	family, revision, ok := rotation.ParseTask(s.Rotation.TaskDefinitionARN, l.cfg.Scope)
	if !ok {
		return request, fmt.Sprintf("%s is no task definition of this account and region", s.Rotation.TaskDefinitionARN)
	}
	def, found := records.UsableDefinition(r, family, revision)
	if !found {
		return request, fmt.Sprintf("%s does not exist, or is not active", s.Rotation.TaskDefinitionARN)
	}
	place := rotation.PlaceOf(s)
	cluster, found := records.Clusters.Get(r, place.Cluster)
	if !found || cluster.Status != model.ClusterActive {
		return request, fmt.Sprintf("cluster %s does not exist, or is not active", place.Cluster)
	}
	request = launch.Request{
		Cluster: cluster, Definition: def, Overrides: rotation.Environment(def, s.ARN, version), LaunchType: model.LaunchEC2, Count: 1, StartedBy: startedBy,
	}
	if slices.Contains(def.RequiresCompatibilities, taskspec.CompatibleFargate) {
		request.LaunchType = model.LaunchFargate
	}
	if def.NetworkMode == taskspec.NetworkAwsvpc {
		request.Network = l.network(r, place, request.LaunchType)
	}
	return request, ""
}

// network is where the interface of a task goes. A task of Fargate gets a
// public address where every subnet gives one, as in the default VPC: without
// one it would not reach anything outside.
func (l *Loop) network(r store.Reader, place rotation.Place, launchType string) *model.NetworkConfiguration {
	network := &model.NetworkConfiguration{Subnets: place.Subnets, SecurityGroups: place.SecurityGroups}
	if len(network.Subnets) == 0 {
		network.Subnets = defaultSubnets(r)
	}
	network.PublicIP = l.cfg.PublicAddresses && launchType == model.LaunchFargate && !slices.ContainsFunc(network.Subnets, func(id string) bool {
		s, found := records.Subnets.Get(r, id)
		return !found || !s.MapPublicIP
	})
	return network
}

func defaultSubnets(r store.Reader) []string {
	var ids []string
	for vpc := range records.VPCs.All(r) {
		if !vpc.IsDefault {
			continue
		}
		for s := range records.Subnets.By(r, records.SubnetsByVPC, vpc.ID) {
			if s.DefaultForAZ {
				ids = append(ids, s.ID)
			}
		}
	}
	return ids
}
