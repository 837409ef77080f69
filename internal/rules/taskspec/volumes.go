package taskspec

import (
	"strings"

	"berth.dev/berth/internal/model"
)

// volumeKinds counts how many kinds of storage a volume names.
func volumeKinds(v *model.Volume) int {
	n := 0
	for _, given := range [...]bool{
		v.Host != nil, v.DockerVolumeConfiguration != nil, v.EFSVolumeConfiguration != nil,
		v.S3FilesVolumeConfiguration != nil, v.FSxWindowsFileServerVolumeConfiguration != nil, isTrue(v.ConfiguredAtLaunch),
	} {
		if given {
			n++
		}
	}
	return n
}

func validateVolumes(def *model.TaskDefinition) error {
	seen := map[string]bool{}
	for i := range def.Volumes {
		v := &def.Volumes[i]
		if v.Name == "" {
			return client("Volume.name should not be null or empty.")
		}
		if !namePattern.MatchString(v.Name) {
			return client("Volume.name contains invalid characters.")
		}
		if seen[v.Name] {
			return client("Volume '%s' is declared more than once.", v.Name)
		}
		seen[v.Name] = true
		if volumeKinds(v) > 1 {
			return client("Only one volume type can be specified for volume '%s'.", v.Name)
		}
		if v.Host != nil && v.Host.SourcePath != "" && !strings.HasPrefix(v.Host.SourcePath, "/") {
			return client("host.sourcePath of volume '%s' should be an absolute path.", v.Name)
		}
	}
	return nil
}

// validateMounts checks what a container mounts against what the task has.
func validateMounts(def *model.TaskDefinition, c *model.ContainerDefinition) error {
	paths := map[string]bool{}
	for _, m := range c.MountPoints {
		if m.SourceVolume == "" {
			return client("MountPoint.sourceVolume should not be null or empty.")
		}
		if !hasVolume(def, m.SourceVolume) {
			return client("Unknown volume '%s'.", m.SourceVolume)
		}
		if !strings.HasPrefix(m.ContainerPath, "/") {
			return client("MountPoint.containerPath should be an absolute path for container '%s'.", c.Name)
		}
		if paths[m.ContainerPath] {
			return client("The path '%s' is mounted more than once in container '%s'.", m.ContainerPath, c.Name)
		}
		paths[m.ContainerPath] = true
	}
	for _, v := range c.VolumesFrom {
		if source, found := def.Container(v.SourceContainer); !found || source == c {
			return client("Unknown container in volumesFrom: '%s'.", v.SourceContainer)
		}
	}
	if c.User != "" && !validUser(c.User) {
		return client("Invalid 'user' setting for container '%s'.", c.Name)
	}
	if c.WorkingDirectory != "" && !strings.HasPrefix(c.WorkingDirectory, "/") {
		return client("Invalid 'workingDirectory' setting for container '%s': it must be an absolute path.", c.Name)
	}
	return nil
}

func hasVolume(def *model.TaskDefinition, name string) bool {
	for i := range def.Volumes {
		if def.Volumes[i].Name == name {
			return true
		}
	}
	return false
}
