package ecs

import (
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

func definitionIn(in *ecsapi.RegisterTaskDefinitionInput) model.TaskDefinition {
	return model.TaskDefinition{
		Family:                  value(in.Family),
		TaskRoleARN:             value(in.TaskRoleArn),
		ExecutionRoleARN:        value(in.ExecutionRoleArn),
		NetworkMode:             string(in.NetworkMode),
		ContainerDefinitions:    each(in.ContainerDefinitions, containerIn),
		Volumes:                 each(in.Volumes, volumeIn),
		RequiresCompatibilities: texts[string](in.RequiresCompatibilities),
		CPU:                     value(in.Cpu),
		Memory:                  value(in.Memory),
		PIDMode:                 string(in.PidMode),
		IPCMode:                 string(in.IpcMode),
		EnableFaultInjection:    in.EnableFaultInjection,
		Tags:                    each(in.Tags, tagIn),
		PlacementConstraints: each(in.PlacementConstraints, func(c ecsapi.TaskDefinitionPlacementConstraint) model.PlacementConstraint {
			return model.PlacementConstraint{Type: string(c.Type), Expression: value(c.Expression)}
		}),
		ProxyConfiguration: the(in.ProxyConfiguration, func(c ecsapi.ProxyConfiguration) model.ProxyConfiguration {
			return model.ProxyConfiguration{Type: string(c.Type), ContainerName: value(c.ContainerName), Properties: each(c.Properties, pairIn)}
		}),
		InferenceAccelerators: each(in.InferenceAccelerators, func(a ecsapi.InferenceAccelerator) model.InferenceAccelerator {
			return model.InferenceAccelerator{DeviceName: value(a.DeviceName), DeviceType: value(a.DeviceType)}
		}),
		EphemeralStorage: the(in.EphemeralStorage, storageIn),
		RuntimePlatform: the(in.RuntimePlatform, func(r ecsapi.RuntimePlatform) model.RuntimePlatform {
			return model.RuntimePlatform{CPUArchitecture: string(r.CpuArchitecture), OperatingSystemFamily: string(r.OperatingSystemFamily)}
		}),
	}
}

func definitionOut(d *model.TaskDefinition) *ecsapi.TaskDefinition {
	registered := d.RegisteredAt
	return &ecsapi.TaskDefinition{
		TaskDefinitionArn:       &d.ARN,
		Family:                  &d.Family,
		Revision:                new(int32(d.Revision)),
		Status:                  ecsapi.TaskDefinitionStatus(d.Status),
		RegisteredAt:            &registered,
		RegisteredBy:            optional(d.RegisteredBy),
		DeregisteredAt:          d.DeregisteredAt,
		DeleteRequestedAt:       d.DeleteRequestedAt,
		TaskRoleArn:             optional(d.TaskRoleARN),
		ExecutionRoleArn:        optional(d.ExecutionRoleARN),
		NetworkMode:             ecsapi.NetworkMode(d.NetworkMode),
		ContainerDefinitions:    every(d.ContainerDefinitions, containerOut),
		Volumes:                 every(d.Volumes, volumeOut),
		RequiresAttributes:      each(d.RequiresAttributes, attributeOut),
		Compatibilities:         texts[ecsapi.Compatibility](d.Compatibilities),
		RequiresCompatibilities: texts[ecsapi.Compatibility](d.RequiresCompatibilities),
		Cpu:                     optional(d.CPU),
		Memory:                  optional(d.Memory),
		PidMode:                 ecsapi.PidMode(d.PIDMode),
		IpcMode:                 ecsapi.IpcMode(d.IPCMode),
		EnableFaultInjection:    d.EnableFaultInjection,
		PlacementConstraints: every(d.PlacementConstraints, func(c model.PlacementConstraint) ecsapi.TaskDefinitionPlacementConstraint {
			return ecsapi.TaskDefinitionPlacementConstraint{Type: ecsapi.TaskDefinitionPlacementConstraintType(c.Type), Expression: optional(c.Expression)}
		}),
		ProxyConfiguration: the(d.ProxyConfiguration, func(c model.ProxyConfiguration) ecsapi.ProxyConfiguration {
			return ecsapi.ProxyConfiguration{Type: ecsapi.ProxyConfigurationType(c.Type), ContainerName: &c.ContainerName, Properties: each(c.Properties, pairOut)}
		}),
		InferenceAccelerators: each(d.InferenceAccelerators, func(a model.InferenceAccelerator) ecsapi.InferenceAccelerator {
			return ecsapi.InferenceAccelerator{DeviceName: &a.DeviceName, DeviceType: &a.DeviceType}
		}),
		EphemeralStorage: the(d.EphemeralStorage, storageOut),
		RuntimePlatform: the(d.RuntimePlatform, func(r model.RuntimePlatform) ecsapi.RuntimePlatform {
			return ecsapi.RuntimePlatform{CpuArchitecture: ecsapi.CPUArchitecture(r.CPUArchitecture), OperatingSystemFamily: ecsapi.OSFamily(r.OperatingSystemFamily)}
		}),
	}
}

func storageIn(e ecsapi.EphemeralStorage) model.EphemeralStorage {
	return model.EphemeralStorage{SizeInGiB: value(e.SizeInGiB)}
}

func storageOut(e model.EphemeralStorage) ecsapi.EphemeralStorage {
	return ecsapi.EphemeralStorage{SizeInGiB: &e.SizeInGiB}
}

func volumeIn(v ecsapi.Volume) model.Volume {
	return model.Volume{
		Name:               value(v.Name),
		ConfiguredAtLaunch: v.ConfiguredAtLaunch,
		Host: the(v.Host, func(h ecsapi.HostVolumeProperties) model.HostVolumeProperties {
			return model.HostVolumeProperties{SourcePath: value(h.SourcePath)}
		}),
		DockerVolumeConfiguration: the(v.DockerVolumeConfiguration, func(c ecsapi.DockerVolumeConfiguration) model.DockerVolumeConfiguration {
			return model.DockerVolumeConfiguration{Scope: string(c.Scope), Autoprovision: c.Autoprovision, Driver: value(c.Driver), DriverOpts: c.DriverOpts, Labels: c.Labels}
		}),
		EFSVolumeConfiguration: the(v.EfsVolumeConfiguration, func(c ecsapi.EFSVolumeConfiguration) model.EFSVolumeConfiguration {
			return model.EFSVolumeConfiguration{
				FileSystemID: value(c.FileSystemId), RootDirectory: value(c.RootDirectory),
				TransitEncryption: string(c.TransitEncryption), TransitEncryptionPort: c.TransitEncryptionPort,
				AuthorizationConfig: the(c.AuthorizationConfig, func(a ecsapi.EFSAuthorizationConfig) model.EFSAuthorizationConfig {
					return model.EFSAuthorizationConfig{AccessPointID: value(a.AccessPointId), IAM: string(a.Iam)}
				}),
			}
		}),
		S3FilesVolumeConfiguration: the(v.S3filesVolumeConfiguration, func(c ecsapi.S3FilesVolumeConfiguration) model.S3FilesVolumeConfiguration {
			return model.S3FilesVolumeConfiguration{
				FileSystemARN: value(c.FileSystemArn), RootDirectory: value(c.RootDirectory),
				TransitEncryptionPort: c.TransitEncryptionPort, AccessPointARN: value(c.AccessPointArn),
			}
		}),
		FSxWindowsFileServerVolumeConfiguration: the(v.FsxWindowsFileServerVolumeConfiguration, func(c ecsapi.FSxWindowsFileServerVolumeConfiguration) model.FSxWindowsFileServerVolumeConfiguration {
			out := model.FSxWindowsFileServerVolumeConfiguration{FileSystemID: value(c.FileSystemId), RootDirectory: value(c.RootDirectory)}
			if a := c.AuthorizationConfig; a != nil {
				out.AuthorizationConfig = model.FSxWindowsFileServerAuthorizationConfig{CredentialsParameter: value(a.CredentialsParameter), Domain: value(a.Domain)}
			}
			return out
		}),
	}
}

// volumeOut has no more kinds than taskspec accepts at registration: the
// others never reach the store.
func volumeOut(v model.Volume) ecsapi.Volume {
	return ecsapi.Volume{
		Name:               optional(v.Name),
		ConfiguredAtLaunch: v.ConfiguredAtLaunch,
		Host: the(v.Host, func(h model.HostVolumeProperties) ecsapi.HostVolumeProperties {
			return ecsapi.HostVolumeProperties{SourcePath: optional(h.SourcePath)}
		}),
		DockerVolumeConfiguration: the(v.DockerVolumeConfiguration, func(c model.DockerVolumeConfiguration) ecsapi.DockerVolumeConfiguration {
			return ecsapi.DockerVolumeConfiguration{Scope: ecsapi.Scope(c.Scope), Autoprovision: c.Autoprovision, Driver: optional(c.Driver), DriverOpts: c.DriverOpts, Labels: c.Labels}
		}),
		EfsVolumeConfiguration: the(v.EFSVolumeConfiguration, func(c model.EFSVolumeConfiguration) ecsapi.EFSVolumeConfiguration {
			return ecsapi.EFSVolumeConfiguration{
				FileSystemId: &c.FileSystemID, RootDirectory: optional(c.RootDirectory),
				TransitEncryption: ecsapi.EFSTransitEncryption(c.TransitEncryption), TransitEncryptionPort: c.TransitEncryptionPort,
				AuthorizationConfig: the(c.AuthorizationConfig, func(a model.EFSAuthorizationConfig) ecsapi.EFSAuthorizationConfig {
					return ecsapi.EFSAuthorizationConfig{AccessPointId: optional(a.AccessPointID), Iam: ecsapi.EFSAuthorizationConfigIAM(a.IAM)}
				}),
			}
		}),
	}
}
