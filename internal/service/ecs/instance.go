package ecs

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

const maxInstancesDescribed = 100

// reservedPorts are those that ECS never gives to tasks of an instance.
var reservedPorts = []string{"22", "2375", "2376", "51678", "51679", "51680"}

// ListContainerInstances implements ecsapi.Service. Nodes that name no cluster
// give Fargate capacity only and are not shown, as AWS shows none of Fargate's.
func (p *Provider) ListContainerInstances(_ context.Context, in *ecsapi.ListContainerInstancesInput) (*ecsapi.ListContainerInstancesOutput, error) {
	limit, err := pageSize(in.MaxResults, 100, 100)
	if err != nil {
		return nil, err
	}
	filter, err := expressionIn(value(in.Filter))
	if value(in.Filter) != "" && err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	cluster, err := p.activeCluster(snap, in.Cluster)
	if err != nil {
		return nil, err
	}
	matches := launch.Matcher(snap, cluster.Name, filter)
	arns := []string{}
	for i := range records.Instances.By(snap, records.InstancesByCluster, cluster.Name) {
		if i.Status != model.InstanceInactive && (in.Status == "" || i.Status == string(in.Status)) && matches(i) {
			arns = append(arns, p.scope.ContainerInstance(cluster.Name, i.ID))
		}
	}
	page, next, err := pageOf("ListContainerInstances", arns, strings.Clone, in.NextToken, limit, ascending)
	if err != nil {
		return nil, err
	}
	return &ecsapi.ListContainerInstancesOutput{ContainerInstanceArns: page, NextToken: next}, nil
}

// DescribeContainerInstances implements ecsapi.Service.
func (p *Provider) DescribeContainerInstances(_ context.Context, in *ecsapi.DescribeContainerInstancesInput) (*ecsapi.DescribeContainerInstancesOutput, error) {
	if len(in.ContainerInstances) == 0 {
		return nil, parameterError("Container instances cannot be empty.")
	}
	if len(in.ContainerInstances) > maxInstancesDescribed {
		return nil, parameterError("containerInstances can have at most %d items.", maxInstancesDescribed)
	}
	snap := p.store.Snapshot()
	cluster, err := p.cluster(snap, in.Cluster)
	if err != nil {
		return nil, err
	}
	out := &ecsapi.DescribeContainerInstancesOutput{ContainerInstances: []ecsapi.ContainerInstance{}, Failures: []ecsapi.Failure{}}
	for _, ref := range in.ContainerInstances {
		id, err := p.memberID("container-instance", cluster.Name, ref)
		if err != nil {
			return nil, err
		}
		i, found := records.Instances.Get(snap, id)
		if !found || i.ClusterName != cluster.Name {
			out.Failures = append(out.Failures, missing(p.scope.ContainerInstance(cluster.Name, id)))
			continue
		}
		out.ContainerInstances = append(out.ContainerInstances, p.instanceOut(snap, i, in.Include))
	}
	return out, nil
}

func (p *Provider) instanceOut(r store.Reader, i *model.Instance, include []ecsapi.ContainerInstanceField) ecsapi.ContainerInstance {
	// Fargate's tasks take room, but are none of the cluster's instance.
	held := records.Tasks.Sum(r, records.TasksOnInstance, i.ID)
	cpu, memory, running, pending := held[0], held[1], int32(held[2]), int32(held[3])
	registered := i.RegisteredAt
	out := ecsapi.ContainerInstance{
		ContainerInstanceArn: new(p.scope.ContainerInstance(i.ClusterName, i.ID)), Ec2InstanceId: new(hostID(i.ID)),
		Version: new(int64(1 + i.Placements)), Status: &i.Status, AgentConnected: &i.Connected,
		VersionInfo:       &ecsapi.VersionInfo{AgentVersion: optional(i.Version), DockerVersion: optional(i.Runtime)},
		RunningTasksCount: &running, PendingTasksCount: &pending, RegisteredAt: &registered,
		RegisteredResources: resources(i.CPU, i.Memory, nil), RemainingResources: resources(i.CPU-cpu, i.Memory-memory, portsHeld(r, i.ID)),
		Attributes: instanceAttributes(i), Attachments: []ecsapi.Attachment{}, Tags: []ecsapi.Tag{},
	}
	if slices.Contains(include, ecsapi.ContainerInstanceFieldTags) {
		out.Tags = every(i.Tags, tagOut)
	}
	if slices.Contains(include, ecsapi.ContainerInstanceFieldContainerInstanceHealth) {
		out.HealthStatus = instanceHealth(i)
	}
	return out
}

// hostID gives a node an EC2 instance id, which clients expect it to have.
func hostID(id string) string { return "i-" + id[:min(17, len(id))] }

// instanceHealth knows no more than the connection: a node without a container
// runtime does not register.
func instanceHealth(i *model.Instance) *ecsapi.ContainerInstanceHealthStatus {
	status := ecsapi.InstanceHealthCheckState("OK")
	if !i.Connected {
		status = "INSUFFICIENT_DATA"
	}
	changed := i.RegisteredAt
	if i.DisconnectedAt != nil {
		changed = *i.DisconnectedAt
	}
	return &ecsapi.ContainerInstanceHealthStatus{OverallStatus: status, Details: []ecsapi.InstanceHealthCheckResult{
		{Type: "CONTAINER_RUNTIME", Status: status, LastStatusChange: &changed},
	}}
}

func instanceAttributes(i *model.Instance) []ecsapi.Attribute {
	attributes := slices.Clone(i.Attributes)
	add := func(name, v string) {
		if v != "" && !slices.ContainsFunc(attributes, func(a model.Attribute) bool { return a.Name == name }) {
			attributes = append(attributes, model.Attribute{Name: name, Value: v})
		}
	}
	add("ecs.os-type", "linux")
	add("ecs.os-family", "LINUX")
	add("ecs.availability-zone", i.Zone)
	slices.SortFunc(attributes, func(a, b model.Attribute) int { return cmp.Compare(a.Name, b.Name) })
	return every(attributes, attributeOut)
}

// portsHeld are the fixed ports that tasks hold of an instance.
func portsHeld(r store.Reader, id string) []string {
	var ports []string
	for t := range records.Tasks.By(r, records.LiveTasksByInstance, id) {
		ports = append(ports, t.HostPorts...)
	}
	return ports
}

// resources shows what an instance has or has left; of ports those that cannot
// be had, which are ECS's own and the ones that are held.
func resources(cpu, memory int64, held []string) []ecsapi.Resource {
	tcp, udp := slices.Clone(reservedPorts), []string{}
	for _, p := range held {
		if port, protocol, _ := strings.Cut(p, "/"); protocol == "udp" {
			udp = append(udp, port)
		} else {
			tcp = append(tcp, port)
		}
	}
	number := func(name string, n int64) ecsapi.Resource {
		return ecsapi.Resource{Name: &name, Type: new("INTEGER"), DoubleValue: new(0.0), LongValue: new(int64(0)), IntegerValue: new(int32(n))}
	}
	set := func(name string, values []string) ecsapi.Resource {
		return ecsapi.Resource{Name: &name, Type: new("STRINGSET"), DoubleValue: new(0.0), LongValue: new(int64(0)), IntegerValue: new(int32(0)), StringSetValue: values}
	}
	return []ecsapi.Resource{number("CPU", cpu), number("MEMORY", memory), set("PORTS", tcp), set("PORTS_UDP", udp)}
}
