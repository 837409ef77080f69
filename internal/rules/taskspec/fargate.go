package taskspec

import (
	"slices"
	"strings"

	"berth.dev/berth/internal/model"
)

const (
	minEphemeralGiB = 21
	maxEphemeralGiB = 200
)

// validateFargate returns the first thing that keeps a definition from
// running on Fargate.
func validateFargate(def *model.TaskDefinition) error {
	if def.NetworkMode != NetworkAwsvpc {
		return client("Fargate only supports network mode ‘awsvpc’.")
	}
	if err := validateFargateSize(def.CPU, def.Memory); err != nil {
		return err
	}
	if len(def.PlacementConstraints) > 0 {
		return client("Fargate does not support task placement constraints.")
	}
	if def.PIDMode == "host" {
		return client("Tasks using the Fargate launch type do not support pidMode 'host'. The supported value for pidMode is 'task'.")
	}
	if def.IPCMode != "" {
		return client("Tasks using the Fargate launch type do not support ipcMode.")
	}
	if err := validateEphemeralStorage(def.EphemeralStorage); err != nil {
		return err
	}
	for i := range def.Volumes {
		v := &def.Volumes[i]
		if v.Host != nil && v.Host.SourcePath != "" {
			return client("host.sourcePath should not be set for volumes in Fargate.")
		}
		if v.DockerVolumeConfiguration != nil {
			return client("Fargate does not support dockerVolumeConfiguration.")
		}
	}
	for i := range def.ContainerDefinitions {
		if err := validateFargateContainer(def, &def.ContainerDefinitions[i]); err != nil {
			return err
		}
	}
	return nil
}

// validateFargateSize checks a pair of task sizes against Fargate's table.
func validateFargateSize(cpu, memory string) error {
	if cpu == "" {
		return client("Fargate requires that 'cpu' be defined at the task level.")
	}
	if memory == "" {
		return client("Fargate requires that 'memory' be defined at the task level.")
	}
	units, _ := parseSize(cpu)
	mib, _ := parseSize(memory)
	if !FargateSizeExists(units, mib) {
		return client("No Fargate configuration exists for given values: %s CPU, %s memory. See the Amazon ECS documentation for the valid values.", cpu, memory)
	}
	return nil
}

func validateEphemeralStorage(e *model.EphemeralStorage) error {
	switch {
	case e == nil:
		return nil
	case e.SizeInGiB < minEphemeralGiB:
		return client("EphemeralStorage size should be at least %d", minEphemeralGiB)
	case e.SizeInGiB > maxEphemeralGiB:
		return client("EphemeralStorage size should be at most %d", maxEphemeralGiB)
	}
	return nil
}

func validateFargateContainer(def *model.TaskDefinition, c *model.ContainerDefinition) error {
	if isTrue(c.Privileged) {
		return client("Fargate does not support privileged containers: container '%s'.", c.Name)
	}
	if len(c.DockerSecurityOptions) > 0 {
		return client("Fargate does not support dockerSecurityOptions: container '%s'.", c.Name)
	}
	if p := c.LinuxParameters; p != nil {
		if p.Capabilities != nil {
			for _, name := range p.Capabilities.Add {
				if name != "SYS_PTRACE" {
					return client("Fargate does not support adding the capability '%s': container '%s'. The supported value is 'SYS_PTRACE'.", name, c.Name)
				}
			}
		}
		for _, member := range []struct {
			name  string
			given bool
		}{
			{"devices", len(p.Devices) > 0},
			{"sharedMemorySize", p.SharedMemorySize != nil},
			{"maxSwap", p.MaxSwap != nil},
			{"swappiness", p.Swappiness != nil},
		} {
			if member.given {
				return client("Fargate does not support linuxParameters.%s: container '%s'.", member.name, c.Name)
			}
		}
	}
	for _, u := range c.Ulimits {
		if u.Name != "nofile" {
			return client("Fargate only supports the ulimit 'nofile': container '%s'.", c.Name)
		}
	}
	if slices.ContainsFunc(c.ResourceRequirements, func(r model.ResourceRequirement) bool { return r.Type == "GPU" }) {
		return client("Fargate does not support GPUs: container '%s'.", c.Name)
	}
	return validateFargateRole(def, c)
}

// validateFargateRole finds what Fargate does with the execution role when
// there is none.
func validateFargateRole(def *model.TaskDefinition, c *model.ContainerDefinition) error {
	logs := c.LogConfiguration
	if logs != nil && !slices.Contains(fargateLogDrivers, logs.LogDriver) {
		return client("Fargate does not support log driver %s: container '%s'. Valid values: %s.", logs.LogDriver, c.Name, strings.Join(fargateLogDrivers, ", "))
	}
	if def.ExecutionRoleARN != "" {
		return nil
	}
	switch {
	case isECR(c.Image):
		return client("Fargate requires task definition to have execution role ARN to support ECR images.")
	case logs != nil && logs.LogDriver == "awslogs":
		return client("Fargate requires task definition to have execution role ARN to support log driver awslogs.")
	case len(c.Secrets) > 0:
		return client("When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.")
	case c.RepositoryCredentials != nil:
		return client("Fargate requires task definition to have execution role ARN to support private registry authentication.")
	}
	return nil
}

// isECR reports whether an image names a private ECR registry.
func isECR(image string) bool {
	host, _, found := strings.Cut(image, "/")
	return found && strings.Contains(host, ".dkr.ecr.") && strings.Contains(host, ".amazonaws.com")
}
