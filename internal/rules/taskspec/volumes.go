package taskspec

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"berth.dev/berth/internal/model"
)

// Scopes of Docker volumes.
const (
	ScopeTask   = "task"
	ScopeShared = "shared"
)

var (
	fileSystemPattern  = regexp.MustCompile(`^fs-[0-9a-f]{8,40}$`)
	accessPointPattern = regexp.MustCompile(`^fsap-[0-9a-f]{8,40}$`)
)

// ValidFileSystem reports whether id can be the id of an EFS file system.
func ValidFileSystem(id string) bool { return fileSystemPattern.MatchString(id) }

// ValidAccessPoint reports whether id can be the id of an EFS access point.
func ValidAccessPoint(id string) bool { return accessPointPattern.MatchString(id) }

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
	atLaunch := ""
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
		if isTrue(v.ConfiguredAtLaunch) {
			if atLaunch != "" {
				return client("Only one volume with configuredAtLaunch is supported in a task definition: '%s' and '%s'.", atLaunch, v.Name)
			}
			atLaunch = v.Name
		}
		if err := validateVolume(v); err != nil {
			return err
		}
	}
	return nil
}

func validateVolume(v *model.Volume) error {
	switch {
	case v.Host != nil:
		if v.Host.SourcePath != "" && !strings.HasPrefix(v.Host.SourcePath, "/") {
			return client("host.sourcePath of volume '%s' should be an absolute path.", v.Name)
		}
	case v.DockerVolumeConfiguration != nil:
		return validateDockerVolume(v.Name, v.DockerVolumeConfiguration)
	case v.EFSVolumeConfiguration != nil:
		return validateEFS(v.Name, v.EFSVolumeConfiguration)
	}
	return nil
}

// validateDockerVolume leaves driverOpts to the driver, which alone knows them.
func validateDockerVolume(name string, c *model.DockerVolumeConfiguration) error {
	switch {
	case c.Scope != "" && c.Scope != ScopeTask && c.Scope != ScopeShared:
		return invalidChoice("dockerVolumeConfiguration.scope of volume '"+name+"'", c.Scope, []string{ScopeTask, ScopeShared})
	case isTrue(c.Autoprovision) && c.Scope != ScopeShared:
		return client("dockerVolumeConfiguration.autoprovision of volume '%s' is only valid with the scope 'shared'.", name)
	}
	return nil
}

func validateEFS(name string, c *model.EFSVolumeConfiguration) error {
	switches := []string{"ENABLED", "DISABLED"}
	auth := c.AuthorizationConfig
	if auth == nil {
		auth = &model.EFSAuthorizationConfig{}
	}
	encrypted := c.TransitEncryption == "ENABLED"
	switch {
	case c.FileSystemID == "":
		return client("efsVolumeConfiguration.fileSystemId of volume '%s' should not be null or empty.", name)
	case !ValidFileSystem(c.FileSystemID):
		return client("Invalid fileSystemId '%s' in volume '%s'.", c.FileSystemID, name)
	case c.TransitEncryption != "" && !slices.Contains(switches, c.TransitEncryption):
		return invalidChoice("efsVolumeConfiguration.transitEncryption", c.TransitEncryption, switches)
	case auth.IAM != "" && !slices.Contains(switches, auth.IAM):
		return invalidChoice("efsVolumeConfiguration.authorizationConfig.iam", auth.IAM, switches)
	case auth.AccessPointID != "" && !ValidAccessPoint(auth.AccessPointID):
		return client("Invalid accessPointId '%s' in volume '%s'.", auth.AccessPointID, name)
	case auth.IAM == "ENABLED" && !encrypted:
		return client("EFS IAM authorization requires transitEncryption to be ENABLED in volume '%s'.", name)
	case auth.AccessPointID != "" && !encrypted:
		return client("EFS access points require transitEncryption to be ENABLED in volume '%s'.", name)
	case c.TransitEncryptionPort != nil && !encrypted:
		return client("transitEncryptionPort requires transitEncryption to be ENABLED in volume '%s'.", name)
	case c.TransitEncryptionPort != nil && (*c.TransitEncryptionPort < 0 || *c.TransitEncryptionPort > 65535):
		return client("Invalid transitEncryptionPort %d in volume '%s'.", *c.TransitEncryptionPort, name)
	case c.RootDirectory != "" && (!strings.HasPrefix(c.RootDirectory, "/") || path.Clean(c.RootDirectory) != cleanTail(c.RootDirectory)):
		return client("Invalid rootDirectory '%s' in volume '%s': it should be an absolute path without '..'.", c.RootDirectory, name)
	case auth.AccessPointID != "" && c.RootDirectory != "" && c.RootDirectory != "/":
		return client("rootDirectory must be omitted or set to / when an EFS access point is specified in volume '%s'.", name)
	}
	return nil
}

// cleanTail is a path without the slashes that it may end in.
func cleanTail(p string) string {
	if t := strings.TrimRight(p, "/"); t != "" {
		return t
	}
	return "/"
}

// FileSystems names the EFS file systems and access points that a task of def
// mounts, in order.
func FileSystems(def model.TaskDefinition) []string {
	var ids []string
	for _, v := range def.Volumes {
		if c := v.EFSVolumeConfiguration; c != nil {
			ids = append(ids, c.FileSystemID)
			if c.AuthorizationConfig != nil && c.AuthorizationConfig.AccessPointID != "" {
				ids = append(ids, c.AuthorizationConfig.AccessPointID)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
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
	return slices.ContainsFunc(def.Volumes, func(v model.Volume) bool { return v.Name == name })
}
