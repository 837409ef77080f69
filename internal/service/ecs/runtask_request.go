package ecs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strings"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

const (
	maxTasksPerCall   = 10
	maxSubnets        = 16
	maxSecurityGroups = 5

	launchExternal = "EXTERNAL"
	launchManaged  = "MANAGED_INSTANCES"
)

var (
	startedByPattern   = regexp.MustCompile(`^[A-Za-z0-9_/-]{0,128}$`)
	clientTokenPattern = regexp.MustCompile(`^[!-~]{1,64}$`)
)

// runRequest is what a call of RunTask asks for, in records and checked as far
// as that needs no state. Its JSON is what makes two calls the same.
type runRequest struct {
	Cluster           string
	TaskDefinition    string
	Count             int
	LaunchType        string
	Strategy          []model.CapacityProviderStrategyItem
	PlatformVersion   string
	Group             string
	StartedBy         string
	Overrides         model.TaskOverride
	Network           *model.NetworkConfiguration
	Constraints       []model.PlacementConstraint `json:",omitempty"`
	PlacementStrategy []model.PlacementStrategy   `json:",omitempty"`
	Tags              []model.Tag
	ManagedTags       bool
	PropagateTags     string
	ReferenceID       string
	Volumes           []model.VolumeConfiguration `json:",omitempty"`

	EnableExecuteCommand bool `json:",omitempty"`

	token     string
	principal string
}

// hash identifies the parameters of the request.
func (r *runRequest) hash() (string, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

func (p *Provider) runRequest(in *ecsapi.RunTaskInput) (*runRequest, error) {
	cluster, err := p.clusterName(in.Cluster)
	if err != nil {
		return nil, err
	}
	r := &runRequest{
		Cluster: cluster, TaskDefinition: value(in.TaskDefinition), Count: 1,
		LaunchType: string(in.LaunchType), Strategy: each(in.CapacityProviderStrategy, strategyIn),
		PlatformVersion: value(in.PlatformVersion), Group: value(in.Group), StartedBy: value(in.StartedBy),
		Tags: each(in.Tags, tagIn), ManagedTags: value(in.EnableECSManagedTags), PropagateTags: string(in.PropagateTags),
		ReferenceID: value(in.ReferenceId), token: value(in.ClientToken),
		Constraints: each(in.PlacementConstraints, constraintIn), PlacementStrategy: each(in.PlacementStrategy, placementIn),
		EnableExecuteCommand: value(in.EnableExecuteCommand),
	}
	if in.Count != nil {
		r.Count = int(*in.Count)
	}
	if in.Overrides != nil {
		r.Overrides = overrideIn(*in.Overrides)
	}
	if err := checkRun(in, r); err != nil {
		return nil, err
	}
	if r.Volumes, err = taskVolumesIn(in.VolumeConfigurations); err != nil {
		return nil, err
	}
	r.Network, err = networkIn(in.NetworkConfiguration)
	return r, err
}

func checkRun(in *ecsapi.RunTaskInput, r *runRequest) error {
	switch {
	case r.Count < 1 || r.Count > maxTasksPerCall:
		return parameterError("count must be between 1 and %d.", maxTasksPerCall)
	case r.LaunchType != "" && len(r.Strategy) > 0:
		return parameterError("Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.")
	case !startedByPattern.MatchString(r.StartedBy):
		return parameterError("startedBy contains invalid characters or is longer than 128 characters.")
	case strings.HasPrefix(r.Group, "service:"):
		return parameterError("Group name '%s' is reserved for services.", r.Group)
	case len(r.Group) > 255:
		return parameterError("Group name is longer than 255 characters.")
	case r.token != "" && !clientTokenPattern.MatchString(r.token):
		return parameterError("clientToken must have 1 to 64 ASCII characters in the range of 33 to 126.")
	case r.PropagateTags != "" && r.PropagateTags != "TASK_DEFINITION" && r.PropagateTags != "NONE":
		return parameterError("Invalid value for propagateTags: '%s'. Valid values for RunTask: TASK_DEFINITION, NONE.", r.PropagateTags)
	case in.Overrides != nil && len(in.Overrides.InferenceAcceleratorOverrides) > 0:
		return parameterError("inferenceAcceleratorOverrides is not supported: Berth does not have Elastic Inference, which AWS has retired.")
	}
	if err := checkLaunchType(r.LaunchType); err != nil {
		return err
	}
	return checkTags(r.Tags)
}

func checkLaunchType(kind string) error {
	switch kind {
	case "", model.LaunchEC2, model.LaunchFargate, launchExternal:
		return nil
	case launchManaged:
		return parameterError("Launch type MANAGED_INSTANCES is not supported: Berth does not have managed instances.")
	}
	return parameterError("Invalid value for launchType: '%s'. Valid values: EC2, FARGATE, EXTERNAL, MANAGED_INSTANCES.", kind)
}

// networkIn reads a network configuration and checks what needs no state.
func networkIn(in *ecsapi.NetworkConfiguration) (*model.NetworkConfiguration, error) {
	if in == nil || in.AwsvpcConfiguration == nil {
		return nil, nil
	}
	c := in.AwsvpcConfiguration
	n := &model.NetworkConfiguration{Subnets: c.Subnets, SecurityGroups: c.SecurityGroups, PublicIP: string(c.AssignPublicIp) == "ENABLED"}
	return n, checkNetwork(n)
}

func checkNetwork(n *model.NetworkConfiguration) error {
	switch {
	case len(n.Subnets) == 0:
		return parameterError("subnets can not be empty.")
	case len(n.Subnets) > maxSubnets:
		return parameterError("subnets can have at most %d items.", maxSubnets)
	case len(n.SecurityGroups) > maxSecurityGroups:
		return parameterError("securityGroups can have at most %d items.", maxSecurityGroups)
	}
	return nil
}

func overrideIn(o ecsapi.TaskOverride) model.TaskOverride {
	return model.TaskOverride{
		CPU: value(o.Cpu), Memory: value(o.Memory), ExecutionRoleARN: value(o.ExecutionRoleArn), TaskRoleARN: value(o.TaskRoleArn),
		EphemeralStorage: the(o.EphemeralStorage, storageIn),
		ContainerOverrides: each(o.ContainerOverrides, func(c ecsapi.ContainerOverride) model.ContainerOverride {
			return model.ContainerOverride{
				Name: value(c.Name), Command: c.Command, Environment: each(c.Environment, pairIn),
				EnvironmentFiles: each(c.EnvironmentFiles, environmentFileIn),
				CPU:              c.Cpu, Memory: c.Memory, MemoryReservation: c.MemoryReservation,
				ResourceRequirements: each(c.ResourceRequirements, resourceRequirementIn),
			}
		}),
	}
}
