package taskspec

import (
	"cmp"
	"slices"
	"strings"

	"berth.dev/berth/internal/model"
)

// Compatibilities returns the launch types that a valid definition can run
// with. EC2 is always one of them.
func Compatibilities(def model.TaskDefinition) []string {
	def = Normalize(def)
	compatible := []string{CompatibleEC2}
	atLaunch := slices.ContainsFunc(def.Volumes, func(v model.Volume) bool { return isTrue(v.ConfiguredAtLaunch) })
	if def.NetworkMode != NetworkAwsvpc && len(FileSystems(def)) == 0 && !atLaunch {
		compatible = append([]string{CompatibleExternal}, compatible...)
	}
	if validateFargate(&def) == nil {
		compatible = append(compatible, CompatibleFargate)
	}
	return compatible
}

const (
	oldCapability = "com.amazonaws.ecs.capability."
	newCapability = "ecs.capability."
)

// RequiresAttributes returns the capabilities that an instance must have to
// run a valid definition, under the names that the ECS agent gives them, in
// order.
func RequiresAttributes(def model.TaskDefinition) []model.Attribute {
	names := map[string]bool{}
	add := func(given bool, name string) {
		if given {
			names[name] = true
		}
	}
	add(def.TaskRoleARN != "", oldCapability+"task-iam-role")
	add(def.TaskRoleARN != "" && def.NetworkMode == NetworkHost, oldCapability+"task-iam-role-network-host")
	add(def.NetworkMode == NetworkAwsvpc, newCapability+"task-eni")
	add(def.CPU != "" || def.Memory != "", newCapability+"task-cpu-mem-limit")
	add(def.PIDMode != "" || def.IPCMode != "", newCapability+"pid-ipc-namespace-sharing")
	for i := range def.Volumes {
		requireOfVolume(&def.Volumes[i], add)
	}
	for i := range def.ContainerDefinitions {
		requireOfContainer(&def, &def.ContainerDefinitions[i], add)
	}
	sorted := make([]string, 0, len(names))
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	var attributes []model.Attribute
	for _, name := range sorted {
		attributes = append(attributes, model.Attribute{Name: name})
	}
	return attributes
}

func requireOfVolume(v *model.Volume, add func(bool, string)) {
	add(isTrue(v.ConfiguredAtLaunch), newCapability+"storage.ebs-task-volume-attach")
	if c := v.EFSVolumeConfiguration; c != nil {
		add(true, newCapability+"efs")
		add(c.AuthorizationConfig != nil, newCapability+"efsAuth")
	}
	if c := v.DockerVolumeConfiguration; c != nil {
		add(true, oldCapability+"docker-plugin."+cmp.Or(c.Driver, "local"))
	}
}

func requireOfContainer(def *model.TaskDefinition, c *model.ContainerDefinition, add func(bool, string)) {
	api := func(given bool, version string) { add(given, oldCapability+"docker-remote-api."+version) }
	api(true, "1.18")
	api(c.HealthCheck != nil, "1.24")
	api(c.LinuxParameters != nil && isTrue(c.LinuxParameters.InitProcessEnabled), "1.25")
	api(c.MemoryReservation != nil, "1.21")
	if logs := c.LogConfiguration; logs != nil {
		add(true, oldCapability+"logging-driver."+logs.LogDriver)
		add(logs.LogDriver == "awslogs" && def.ExecutionRoleARN != "", newCapability+"execution-role-awslogs")
		api(logs.LogDriver == "awslogs", "1.19")
	}
	asm, ssm := needsOf(c.Secrets)
	add(asm, newCapability+"secrets.asm.environment-variables")
	add(ssm, newCapability+"secrets.ssm.environment-variables")
	if logs := c.LogConfiguration; logs != nil {
		asm, ssm = needsOf(logs.SecretOptions)
		add(asm, newCapability+"secrets.asm.bootstrap.log-driver")
		add(ssm, newCapability+"secrets.ssm.bootstrap.log-driver")
	}
	add(isTrue(c.Privileged), oldCapability+"privileged-container")
	add(isECR(c.Image), oldCapability+"ecr-auth")
	add(isECR(c.Image) && def.ExecutionRoleARN != "", newCapability+"execution-role-ecr-pull")
	api(isECR(c.Image), "1.19")
	add(c.HealthCheck != nil, newCapability+"container-health-check")
	add(len(c.DependsOn) > 0 || c.StartTimeout != nil || c.StopTimeout != nil, newCapability+"container-ordering")
	add(c.RepositoryCredentials != nil, newCapability+"private-registry-authentication.secretsmanager")
	add(c.RestartPolicy != nil && c.RestartPolicy.Enabled, newCapability+"container-restart-policy")
	add(slices.ContainsFunc(c.PortMappings, func(p model.PortMapping) bool { return p.ContainerPortRange != "" }),
		newCapability+"network.container-port-range")
}

// Architecture returns the processor that a definition's images are for, in
// the words of the instance attribute ecs.cpu-architecture.
func Architecture(def model.TaskDefinition) string {
	if def.RuntimePlatform != nil && strings.EqualFold(def.RuntimePlatform.CPUArchitecture, "ARM64") {
		return "arm64"
	}
	return "x86_64"
}
