package launch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/placement"
)

// ServiceRequest asks for count more tasks of a service, made of a revision
// and belonging to a deployment. The caller may narrow it by Zones or
// InstanceIDs. It fails with store.ErrNotFound when the cluster or the task
// definition is gone.
func ServiceRequest(r store.Reader, s *model.Service, d *model.Deployment, revision *model.ServiceRevision, count int) (Request, error) {
	cluster, found := records.Clusters.Get(r, s.ClusterName)
	if !found {
		return Request{}, fmt.Errorf("launch: cluster %s of service %s: %w", s.ClusterName, s.ARN, store.ErrNotFound)
	}
	def, found := definition(r, revision.Spec.TaskDefinitionARN)
	if !found {
		return Request{}, fmt.Errorf("launch: task definition %s of service %s: %w", revision.Spec.TaskDefinitionARN, s.ARN, store.ErrNotFound)
	}
	req := Request{
		Cluster: cluster, Definition: def, LaunchType: LaunchType(revision.Spec), Network: revision.Spec.Network, Volumes: revision.Spec.Volumes, Count: count,
		Group: Group(s.Name), StartedBy: d.ID, Tags: serviceTags(s, def), EnableExecuteCommand: s.EnableExecuteCommand,
		Constraints: s.PlacementConstraints, Strategy: s.PlacementStrategy,
		Service: s, Revision: revision,
	}
	if strategy := revision.Spec.CapacityProviderStrategy; len(strategy) > 0 {
		req.Providers = moreProviders(r, s, d, strategy, count)
	}
	return req, nil
}

// Group is the task group of a service's tasks.
func Group(serviceName string) string { return "service:" + serviceName }

// LaunchType is what a revision's tasks run on.
func LaunchType(spec model.RevisionSpec) string {
	switch {
	case len(spec.CapacityProviderStrategy) > 0:
		return model.LaunchFargate // FARGATE and FARGATE_SPOT are the only providers there are
	case spec.LaunchType == "":
		return model.LaunchEC2
	}
	return spec.LaunchType
}

// definition finds a task definition by its ARN, which ends in family:revision.
func definition(r store.Reader, arn string) (*model.TaskDefinition, bool) {
	name := arn[strings.LastIndexByte(arn, '/')+1:]
	family, number, _ := strings.Cut(name, ":")
	revision, err := strconv.Atoi(number)
	if err != nil {
		return nil, false
	}
	return records.TaskDefinitions.Get(r, model.TaskDefinitionKey(family, revision))
}

// serviceTags are ECS's own, if it manages tags, and what is propagated from
// the definition or the service.
func serviceTags(s *model.Service, def *model.TaskDefinition) []model.Tag {
	var tags []model.Tag
	if s.EnableECSManagedTags {
		tags = []model.Tag{{Key: "aws:ecs:clusterName", Value: s.ClusterName}, {Key: "aws:ecs:serviceName", Value: s.Name}}
	}
	switch s.PropagateTags {
	case "SERVICE":
		tags = model.MergeTags(tags, s.Tags)
	case "TASK_DEFINITION":
		tags = model.MergeTags(tags, def.Tags)
	}
	return tags
}

// moreProviders are the capacity providers of the next tasks, so that with
// those that the deployment has they follow the strategy.
func moreProviders(r store.Reader, s *model.Service, d *model.Deployment, strategy []model.CapacityProviderStrategyItem, count int) []string {
	have := map[string]int{}
	total := 0
	for t := range records.Tasks.By(r, records.LiveTasksByGroup, records.InCluster(s.ClusterName, Group(s.Name))) {
		if t.StartedBy == d.ID && t.DesiredStatus == model.TaskRunning {
			have[t.CapacityProviderName]++
			total++
		}
	}
	var next []string
	for _, name := range placement.Distribute(strategy, total+count) {
		if have[name] > 0 {
			have[name]--
			continue
		}
		next = append(next, name)
	}
	return slices.Clone(next[:min(count, len(next))])
}
