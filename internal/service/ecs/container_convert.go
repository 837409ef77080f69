package ecs

import (
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

func containerIn(c ecsapi.ContainerDefinition) model.ContainerDefinition {
	return model.ContainerDefinition{
		Name:                   value(c.Name),
		Image:                  value(c.Image),
		CPU:                    value(c.Cpu),
		Memory:                 c.Memory,
		MemoryReservation:      c.MemoryReservation,
		Links:                  c.Links,
		PortMappings:           each(c.PortMappings, portIn),
		Essential:              c.Essential,
		EntryPoint:             c.EntryPoint,
		Command:                c.Command,
		Environment:            each(c.Environment, pairIn),
		EnvironmentFiles:       each(c.EnvironmentFiles, environmentFileIn),
		LinuxParameters:        the(c.LinuxParameters, linuxIn),
		Secrets:                each(c.Secrets, secretIn),
		StartTimeout:           c.StartTimeout,
		StopTimeout:            c.StopTimeout,
		VersionConsistency:     string(c.VersionConsistency),
		Hostname:               value(c.Hostname),
		User:                   value(c.User),
		WorkingDirectory:       value(c.WorkingDirectory),
		DisableNetworking:      c.DisableNetworking,
		Privileged:             c.Privileged,
		ReadonlyRootFilesystem: c.ReadonlyRootFilesystem,
		DNSServers:             c.DnsServers,
		DNSSearchDomains:       c.DnsSearchDomains,
		DockerSecurityOptions:  c.DockerSecurityOptions,
		Interactive:            c.Interactive,
		PseudoTerminal:         c.PseudoTerminal,
		DockerLabels:           c.DockerLabels,
		ResourceRequirements:   each(c.ResourceRequirements, resourceRequirementIn),
		CredentialSpecs:        c.CredentialSpecs,
		RepositoryCredentials: the(c.RepositoryCredentials, func(r ecsapi.RepositoryCredentials) model.RepositoryCredentials {
			return model.RepositoryCredentials{CredentialsParameter: value(r.CredentialsParameter)}
		}),
		RestartPolicy: the(c.RestartPolicy, func(r ecsapi.ContainerRestartPolicy) model.ContainerRestartPolicy {
			return model.ContainerRestartPolicy{Enabled: value(r.Enabled), IgnoredExitCodes: r.IgnoredExitCodes, RestartAttemptPeriod: r.RestartAttemptPeriod}
		}),
		MountPoints: each(c.MountPoints, func(m ecsapi.MountPoint) model.MountPoint {
			return model.MountPoint{SourceVolume: value(m.SourceVolume), ContainerPath: value(m.ContainerPath), ReadOnly: m.ReadOnly}
		}),
		VolumesFrom: each(c.VolumesFrom, func(v ecsapi.VolumeFrom) model.VolumeFrom {
			return model.VolumeFrom{SourceContainer: value(v.SourceContainer), ReadOnly: v.ReadOnly}
		}),
		DependsOn: each(c.DependsOn, func(d ecsapi.ContainerDependency) model.ContainerDependency {
			return model.ContainerDependency{ContainerName: value(d.ContainerName), Condition: string(d.Condition)}
		}),
		ExtraHosts: each(c.ExtraHosts, func(h ecsapi.HostEntry) model.HostEntry {
			return model.HostEntry{Hostname: value(h.Hostname), IPAddress: value(h.IpAddress)}
		}),
		Ulimits: each(c.Ulimits, func(u ecsapi.Ulimit) model.Ulimit {
			return model.Ulimit{Name: string(u.Name), SoftLimit: value(u.SoftLimit), HardLimit: value(u.HardLimit)}
		}),
		LogConfiguration: the(c.LogConfiguration, func(l ecsapi.LogConfiguration) model.LogConfiguration {
			return model.LogConfiguration{LogDriver: string(l.LogDriver), Options: l.Options, SecretOptions: each(l.SecretOptions, secretIn)}
		}),
		HealthCheck: the(c.HealthCheck, func(h ecsapi.HealthCheck) model.HealthCheck {
			return model.HealthCheck{Command: h.Command, Interval: h.Interval, Timeout: h.Timeout, Retries: h.Retries, StartPeriod: h.StartPeriod}
		}),
		SystemControls: each(c.SystemControls, func(s ecsapi.SystemControl) model.SystemControl {
			return model.SystemControl{Namespace: value(s.Namespace), Value: value(s.Value)}
		}),
		FirelensConfiguration: the(c.FirelensConfiguration, func(f ecsapi.FirelensConfiguration) model.FirelensConfiguration {
			return model.FirelensConfiguration{Type: string(f.Type), Options: f.Options}
		}),
	}
}

func portIn(m ecsapi.PortMapping) model.PortMapping {
	return model.PortMapping{
		ContainerPort: m.ContainerPort, HostPort: m.HostPort, Protocol: string(m.Protocol), Name: value(m.Name),
		AppProtocol: string(m.AppProtocol), ContainerPortRange: value(m.ContainerPortRange),
	}
}

func environmentFileIn(f ecsapi.EnvironmentFile) model.EnvironmentFile {
	return model.EnvironmentFile{Value: value(f.Value), Type: string(f.Type)}
}

func secretIn(s ecsapi.Secret) model.SecretReference {
	return model.SecretReference{Name: value(s.Name), ValueFrom: value(s.ValueFrom)}
}

func resourceRequirementIn(r ecsapi.ResourceRequirement) model.ResourceRequirement {
	return model.ResourceRequirement{Value: value(r.Value), Type: string(r.Type)}
}

// secretOut names where a value is, and never the value.
func secretOut(s model.SecretReference) ecsapi.Secret {
	return ecsapi.Secret{Name: &s.Name, ValueFrom: &s.ValueFrom}
}

func linuxIn(p ecsapi.LinuxParameters) model.LinuxParameters {
	return model.LinuxParameters{
		InitProcessEnabled: p.InitProcessEnabled, SharedMemorySize: p.SharedMemorySize, MaxSwap: p.MaxSwap, Swappiness: p.Swappiness,
		Capabilities: the(p.Capabilities, func(k ecsapi.KernelCapabilities) model.KernelCapabilities {
			return model.KernelCapabilities{Add: k.Add, Drop: k.Drop}
		}),
		Devices: each(p.Devices, func(d ecsapi.Device) model.Device {
			return model.Device{HostPath: value(d.HostPath), ContainerPath: value(d.ContainerPath), Permissions: texts[string](d.Permissions)}
		}),
		Tmpfs: each(p.Tmpfs, func(t ecsapi.Tmpfs) model.Tmpfs {
			return model.Tmpfs{ContainerPath: value(t.ContainerPath), Size: value(t.Size), MountOptions: t.MountOptions}
		}),
	}
}

// containerOut shows what a container definition has, and the lists and
// numbers that ECS shows of every one. What taskspec refuses at registration
// never reaches the store and is not here.
func containerOut(c model.ContainerDefinition) ecsapi.ContainerDefinition {
	return ecsapi.ContainerDefinition{
		Name:                   &c.Name,
		Image:                  &c.Image,
		Cpu:                    &c.CPU,
		Memory:                 c.Memory,
		MemoryReservation:      c.MemoryReservation,
		Links:                  c.Links,
		PortMappings:           every(c.PortMappings, portOut),
		Essential:              c.Essential,
		EntryPoint:             c.EntryPoint,
		Command:                c.Command,
		Environment:            every(c.Environment, pairOut),
		Secrets:                each(c.Secrets, secretOut),
		LinuxParameters:        the(c.LinuxParameters, linuxOut),
		StartTimeout:           c.StartTimeout,
		StopTimeout:            c.StopTimeout,
		VersionConsistency:     ecsapi.VersionConsistency(c.VersionConsistency),
		Hostname:               optional(c.Hostname),
		User:                   optional(c.User),
		WorkingDirectory:       optional(c.WorkingDirectory),
		DisableNetworking:      c.DisableNetworking,
		Privileged:             c.Privileged,
		ReadonlyRootFilesystem: c.ReadonlyRootFilesystem,
		DnsServers:             c.DNSServers,
		DnsSearchDomains:       c.DNSSearchDomains,
		Interactive:            c.Interactive,
		PseudoTerminal:         c.PseudoTerminal,
		DockerLabels:           c.DockerLabels,
		RepositoryCredentials: the(c.RepositoryCredentials, func(r model.RepositoryCredentials) ecsapi.RepositoryCredentials {
			return ecsapi.RepositoryCredentials{CredentialsParameter: &r.CredentialsParameter}
		}),
		RestartPolicy: the(c.RestartPolicy, func(r model.ContainerRestartPolicy) ecsapi.ContainerRestartPolicy {
			return ecsapi.ContainerRestartPolicy{Enabled: &r.Enabled, IgnoredExitCodes: r.IgnoredExitCodes, RestartAttemptPeriod: r.RestartAttemptPeriod}
		}),
		MountPoints: every(c.MountPoints, func(m model.MountPoint) ecsapi.MountPoint {
			return ecsapi.MountPoint{SourceVolume: optional(m.SourceVolume), ContainerPath: optional(m.ContainerPath), ReadOnly: m.ReadOnly}
		}),
		VolumesFrom: every(c.VolumesFrom, func(v model.VolumeFrom) ecsapi.VolumeFrom {
			return ecsapi.VolumeFrom{SourceContainer: optional(v.SourceContainer), ReadOnly: v.ReadOnly}
		}),
		DependsOn: each(c.DependsOn, func(d model.ContainerDependency) ecsapi.ContainerDependency {
			return ecsapi.ContainerDependency{ContainerName: &d.ContainerName, Condition: ecsapi.ContainerCondition(d.Condition)}
		}),
		ExtraHosts: each(c.ExtraHosts, func(h model.HostEntry) ecsapi.HostEntry {
			return ecsapi.HostEntry{Hostname: &h.Hostname, IpAddress: &h.IPAddress}
		}),
		Ulimits: each(c.Ulimits, func(u model.Ulimit) ecsapi.Ulimit {
			return ecsapi.Ulimit{Name: ecsapi.UlimitName(u.Name), SoftLimit: &u.SoftLimit, HardLimit: &u.HardLimit}
		}),
		LogConfiguration: the(c.LogConfiguration, func(l model.LogConfiguration) ecsapi.LogConfiguration {
			return ecsapi.LogConfiguration{LogDriver: ecsapi.LogDriver(l.LogDriver), Options: l.Options, SecretOptions: each(l.SecretOptions, secretOut)}
		}),
		HealthCheck: the(c.HealthCheck, func(h model.HealthCheck) ecsapi.HealthCheck {
			return ecsapi.HealthCheck{Command: h.Command, Interval: h.Interval, Timeout: h.Timeout, Retries: h.Retries, StartPeriod: h.StartPeriod}
		}),
		SystemControls: every(c.SystemControls, func(s model.SystemControl) ecsapi.SystemControl {
			return ecsapi.SystemControl{Namespace: optional(s.Namespace), Value: optional(s.Value)}
		}),
	}
}

func portOut(m model.PortMapping) ecsapi.PortMapping {
	return ecsapi.PortMapping{
		ContainerPort: m.ContainerPort, HostPort: m.HostPort, Protocol: ecsapi.TransportProtocol(m.Protocol), Name: optional(m.Name),
		AppProtocol: ecsapi.ApplicationProtocol(m.AppProtocol), ContainerPortRange: optional(m.ContainerPortRange),
	}
}

func linuxOut(p model.LinuxParameters) ecsapi.LinuxParameters {
	return ecsapi.LinuxParameters{
		InitProcessEnabled: p.InitProcessEnabled, SharedMemorySize: p.SharedMemorySize, MaxSwap: p.MaxSwap, Swappiness: p.Swappiness,
		Capabilities: the(p.Capabilities, func(k model.KernelCapabilities) ecsapi.KernelCapabilities {
			return ecsapi.KernelCapabilities{Add: k.Add, Drop: k.Drop}
		}),
		Devices: each(p.Devices, func(d model.Device) ecsapi.Device {
			return ecsapi.Device{HostPath: &d.HostPath, ContainerPath: optional(d.ContainerPath), Permissions: texts[ecsapi.DeviceCgroupPermission](d.Permissions)}
		}),
		Tmpfs: each(p.Tmpfs, func(t model.Tmpfs) ecsapi.Tmpfs {
			return ecsapi.Tmpfs{ContainerPath: &t.ContainerPath, Size: &t.Size, MountOptions: t.MountOptions}
		}),
	}
}
