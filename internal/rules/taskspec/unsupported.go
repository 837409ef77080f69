package taskspec

import (
	"slices"
	"strings"

	"berth.dev/berth/internal/model"
)

// unsupported is what Berth cannot do yet. A definition that uses one of these
// is refused when it is registered, because no task of it could have the
// effect that the user asked for. Whoever builds one deletes its line.
//
// What depends on how a task is started (network modes, launch types) is
// refused by RunTask instead.
var unsupported = []struct {
	member string
	reason string
	used   func(*model.TaskDefinition) bool
}{
	{
		"logConfiguration.secretOptions", "Berth takes " + strings.Join(secretOptions, ", ") + " of awslogs from secrets. Give the others as options: they name the log stream that the task may write to.",
		anyContainer(func(c *model.ContainerDefinition) bool {
			return c.LogConfiguration != nil && slices.ContainsFunc(c.LogConfiguration.SecretOptions,
				func(s model.SecretReference) bool { return !slices.Contains(secretOptions, s.Name) })
		}),
	},
	{
		"environmentFiles", "Berth cannot read environment files until it has S3. Use environment instead.",
		anyContainer(func(c *model.ContainerDefinition) bool { return len(c.EnvironmentFiles) > 0 }),
	},
	{
		"firelensConfiguration", "Berth cannot route logs with FireLens yet. Use the awslogs log driver.",
		anyContainer(func(c *model.ContainerDefinition) bool { return c.FirelensConfiguration != nil }),
	},
	{
		"logConfiguration.logDriver", "Berth only has the awslogs log driver.",
		anyContainer(func(c *model.ContainerDefinition) bool {
			return c.LogConfiguration != nil && c.LogConfiguration.LogDriver != "awslogs"
		}),
	},
	{
		"s3filesVolumeConfiguration", "Berth cannot mount S3 Files file systems. Use efsVolumeConfiguration, or a host volume.",
		anyVolume(func(v *model.Volume) bool { return v.S3FilesVolumeConfiguration != nil }),
	},
	{
		"fsxWindowsFileServerVolumeConfiguration", "Berth does not run Windows containers.",
		anyVolume(func(v *model.Volume) bool { return v.FSxWindowsFileServerVolumeConfiguration != nil }),
	},
	{
		"proxyConfiguration", "Berth does not have App Mesh.",
		func(def *model.TaskDefinition) bool { return def.ProxyConfiguration != nil },
	},
	{
		"inferenceAccelerators", "Berth does not have Elastic Inference, which AWS has retired.",
		func(def *model.TaskDefinition) bool { return len(def.InferenceAccelerators) > 0 },
	},
	{
		"resourceRequirements", "Berth cannot give GPUs to containers yet.",
		anyContainer(func(c *model.ContainerDefinition) bool { return len(c.ResourceRequirements) > 0 }),
	},
	{
		"runtimePlatform.operatingSystemFamily", "Berth does not run Windows containers.",
		func(def *model.TaskDefinition) bool {
			return def.RuntimePlatform != nil && strings.HasPrefix(def.RuntimePlatform.OperatingSystemFamily, "WINDOWS")
		},
	},
	{
		"credentialSpecs", "Berth cannot give Active Directory credentials to containers.",
		anyContainer(func(c *model.ContainerDefinition) bool { return len(c.CredentialSpecs) > 0 }),
	},
	{
		"dockerSecurityOptions", "Berth cannot set SELinux and AppArmor labels yet.",
		anyContainer(func(c *model.ContainerDefinition) bool { return len(c.DockerSecurityOptions) > 0 }),
	},
	{
		"enableFaultInjection", "Berth cannot inject faults yet.",
		func(def *model.TaskDefinition) bool { return isTrue(def.EnableFaultInjection) },
	},
	{
		"pidMode", "Berth cannot share process namespaces between containers or with the host yet.",
		func(def *model.TaskDefinition) bool { return def.PIDMode != "" },
	},
	// Without ipcMode, and with none, each container has a namespace of its own.
	{
		"ipcMode", "Berth cannot share IPC namespaces between containers or with the host yet. The supported value is 'none'.",
		func(def *model.TaskDefinition) bool { return def.IPCMode != "" && def.IPCMode != "none" },
	},
	{
		"interactive", "Berth cannot keep a container's standard input open yet.",
		anyContainer(func(c *model.ContainerDefinition) bool { return isTrue(c.Interactive) }),
	},
}

func anyContainer(used func(*model.ContainerDefinition) bool) func(*model.TaskDefinition) bool {
	return func(def *model.TaskDefinition) bool {
		return slices.ContainsFunc(def.ContainerDefinitions, func(c model.ContainerDefinition) bool { return used(&c) })
	}
}

func anyVolume(used func(*model.Volume) bool) func(*model.TaskDefinition) bool {
	return func(def *model.TaskDefinition) bool {
		return slices.ContainsFunc(def.Volumes, func(v model.Volume) bool { return used(&v) })
	}
}

func refuseUnsupported(def *model.TaskDefinition) error {
	for _, u := range unsupported {
		if u.used(def) {
			return client("%s is not supported: %s", u.member, u.reason)
		}
	}
	return nil
}
