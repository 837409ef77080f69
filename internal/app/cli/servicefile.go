package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// add reads one file of an order: a service when it has a serviceName, else a
// task definition.
func (o *order) add(e *environment, name string) error {
	file, err := e.open(name)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(file)
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return fmt.Errorf("%s is not a JSON object: %w", name, atLine(data, err))
	}
	if _, isService := members["serviceName"]; !isService {
		if o.def != nil {
			return misuse("%s is a second task definition; a service runs one", name)
		}
		o.def, err = readDefinition(bytes.NewReader(data), name)
		return err
	}
	if o.spec != nil {
		return misuse("%s is a second service; deploy one at a time", name)
	}
	o.spec, err = readService(data, name)
	return err
}

// readService reads a service as `aws ecs create-service --cli-input-json`
// takes it. A member that ECS does not have is an error.
func readService(data []byte, name string) (*ecs.CreateServiceInput, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var in ecs.CreateServiceInput
	if err := decoder.Decode(&in); err != nil {
		return nil, fmt.Errorf("%s is not a service: %w", name, memberError(err))
	}
	if aws.ToString(in.ServiceName) == "" {
		return nil, fmt.Errorf("%s is not a service: it needs serviceName", name)
	}
	return &in, nil
}

// updateOf turns what would create a service into what updates it. What an
// update cannot change must be as it is.
func updateOf(in *ecs.CreateServiceInput, s *types.Service) (*ecs.UpdateServiceInput, error) {
	fixed := func(member, want, have string) error {
		if want != "" && want != have {
			return fmt.Errorf("service %s has %s %s, which an update cannot change to %s: delete it first (aws ecs delete-service --force --service %s)",
				serviceName(s), member, have, want, serviceName(s))
		}
		return nil
	}
	for _, err := range []error{
		fixed("launchType", string(in.LaunchType), string(s.LaunchType)),
		fixed("schedulingStrategy", string(in.SchedulingStrategy), string(s.SchedulingStrategy)),
		fixed("role", aws.ToString(in.Role), aws.ToString(s.RoleArn)),
	} {
		if err != nil {
			return nil, err
		}
	}
	if len(in.Tags) > 0 && !sameTags(in.Tags, s.Tags) {
		return nil, fmt.Errorf("the file has other tags than service %s, and an update does not change tags: use aws ecs tag-resource", serviceName(s))
	}
	out := &ecs.UpdateServiceInput{
		AvailabilityZoneRebalancing: in.AvailabilityZoneRebalancing, CapacityProviderStrategy: in.CapacityProviderStrategy,
		DeploymentConfiguration: in.DeploymentConfiguration, DeploymentController: in.DeploymentController, DesiredCount: in.DesiredCount,
		GatewayConnectors: in.GatewayConnectors, HealthCheckGracePeriodSeconds: in.HealthCheckGracePeriodSeconds, LoadBalancers: in.LoadBalancers,
		Monitoring: in.Monitoring, NetworkConfiguration: in.NetworkConfiguration, PlacementConstraints: in.PlacementConstraints,
		PlacementStrategy: in.PlacementStrategy, PlatformVersion: in.PlatformVersion, PropagateTags: in.PropagateTags,
		ServiceConnectConfiguration: in.ServiceConnectConfiguration, ServiceRegistries: in.ServiceRegistries,
		VolumeConfigurations: in.VolumeConfigurations, VpcLatticeConfigurations: in.VpcLatticeConfigurations,
	}
	if in.EnableECSManagedTags {
		out.EnableECSManagedTags = &in.EnableECSManagedTags
	}
	if in.EnableExecuteCommand {
		out.EnableExecuteCommand = &in.EnableExecuteCommand
	}
	return out, nil
}

func sameTags(a, b []types.Tag) bool {
	as := func(tags []types.Tag) map[string]string {
		m := map[string]string{}
		for _, t := range tags {
			m[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
		return m
	}
	return maps.Equal(as(a), as(b))
}

// registration is what registers a task definition once more.
func (c *clients) registration(ctx context.Context, name string) (*ecs.RegisterTaskDefinitionInput, error) {
	out, err := c.ecs.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{
		TaskDefinition: &name, Include: []types.TaskDefinitionField{types.TaskDefinitionFieldTags},
	})
	if err != nil {
		return nil, fmt.Errorf("task definition %s: %w", name, explained(err))
	}
	described := map[string]any{"taskDefinition": awsShape(out.TaskDefinition)}
	if len(out.Tags) > 0 {
		described["tags"] = awsShape(out.Tags)
	}
	data, err := json.Marshal(described)
	if err != nil {
		return nil, err
	}
	return readDefinition(bytes.NewReader(data), name)
}

// setEnvironment applies --env [CONTAINER:]NAME=VALUE. Without a container it
// is for the only essential one.
func setEnvironment(in *ecs.RegisterTaskDefinitionInput, settings []string) error {
	for _, setting := range settings {
		key, value, ok := strings.Cut(setting, "=")
		if !ok || key == "" {
			return misuse("--env %q is not [CONTAINER:]NAME=VALUE", setting)
		}
		name, key := "", key
		if container, rest, named := strings.Cut(key, ":"); named {
			name, key = container, rest
		}
		var candidates []*types.ContainerDefinition
		for i := range in.ContainerDefinitions {
			c := &in.ContainerDefinitions[i]
			if name == aws.ToString(c.Name) || name == "" && (c.Essential == nil || *c.Essential) {
				candidates = append(candidates, c)
			}
		}
		switch {
		case len(candidates) == 1:
		case name != "":
			return misuse("--env %s: the task definition has no container %q", setting, name)
		default:
			return misuse("--env %s does not say for which container: write --env CONTAINER:%s", setting, setting)
		}
		c := candidates[0]
		c.Environment = slices.DeleteFunc(slices.Clone(c.Environment), func(kv types.KeyValuePair) bool { return aws.ToString(kv.Name) == key })
		c.Environment = append(c.Environment, types.KeyValuePair{Name: &key, Value: &value})
	}
	return nil
}

// differences says in a few words how two task definitions differ in what
// people change most. Values of the environment may be secret and are not
// told.
func differences(old, next *types.TaskDefinition) string {
	var all []string
	differ := func(what, a, b string) {
		if a != b {
			all = append(all, what+" "+dash(a)+" → "+dash(b))
		}
	}
	differ("cpu", aws.ToString(old.Cpu), aws.ToString(next.Cpu))
	differ("memory", aws.ToString(old.Memory), aws.ToString(next.Memory))
	before := map[string]types.ContainerDefinition{}
	for _, c := range old.ContainerDefinitions {
		before[aws.ToString(c.Name)] = c
	}
	for _, c := range next.ContainerDefinitions {
		name := aws.ToString(c.Name)
		was, ok := before[name]
		delete(before, name)
		if !ok {
			all = append(all, "+container "+name)
			continue
		}
		differ("image", aws.ToString(was.Image), aws.ToString(c.Image))
		all = append(all, environmentDifferences(was.Environment, c.Environment)...)
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		all = append(all, "-container "+name)
	}
	return strings.Join(all, ", ")
}

func environmentDifferences(old, next []types.KeyValuePair) []string {
	before := map[string]string{}
	for _, kv := range old {
		before[aws.ToString(kv.Name)] = aws.ToString(kv.Value)
	}
	var all []string
	for _, kv := range next {
		name := aws.ToString(kv.Name)
		was, ok := before[name]
		delete(before, name)
		switch {
		case !ok:
			all = append(all, "env +"+name)
		case was != aws.ToString(kv.Value):
			all = append(all, "env ~"+name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		all = append(all, "env -"+name)
	}
	return all
}
