package taskspec

import (
	"slices"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/model"
)

const (
	// DefaultVolumeType is EBS's own default for volumes that ECS makes
	// (uncertain: the guide does not say).
	DefaultVolumeType = "gp3"

	maxThroughput = 1000 // MiB a second, gp3
)

// volumeType is what EBS makes of one of its types: the Amazon ECS API
// reference, TaskManagedEBSVolumeConfiguration.
type volumeType struct {
	name             string
	minGiB, maxGiB   int32
	minIOPS, maxIOPS int32 // zero: cannot be asked for
	needsIOPS        bool
}

var volumeTypes = []volumeType{
	{name: "gp2", minGiB: 1, maxGiB: 16384},
	{name: "gp3", minGiB: 1, maxGiB: 16384, minIOPS: 3000, maxIOPS: 16000},
	{name: "io1", minGiB: 4, maxGiB: 16384, minIOPS: 100, maxIOPS: 64000, needsIOPS: true},
	{name: "io2", minGiB: 4, maxGiB: 16384, minIOPS: 100, maxIOPS: 256000, needsIOPS: true},
	{name: "st1", minGiB: 125, maxGiB: 16384},
	{name: "sc1", minGiB: 125, maxGiB: 16384},
	{name: "standard", minGiB: 1, maxGiB: 1024},
}

// CheckVolumeConfigurations returns what is wrong with a request's volume
// configurations for tasks of a definition, as an *Error of class
// InvalidParameterException: every volume that is configured at launch has one,
// and nothing else has. ofService says that the request is a service's.
func CheckVolumeConfigurations(def model.TaskDefinition, configs []model.VolumeConfiguration, ofService bool) error {
	if len(configs) > 1 {
		return parameter("volumeConfigurations can have at most 1 item.")
	}
	for _, c := range configs {
		i := slices.IndexFunc(def.Volumes, func(v model.Volume) bool { return v.Name == c.Name })
		if i < 0 || !isTrue(def.Volumes[i].ConfiguredAtLaunch) {
			return parameter("The volume '%s' in volumeConfigurations does not match a volume with configuredAtLaunch in the task definition.", c.Name)
		}
		if err := checkManagedEBS(c.Name, &c.ManagedEBS, ofService); err != nil {
			return err
		}
	}
	for _, v := range def.Volumes {
		if isTrue(v.ConfiguredAtLaunch) && len(configs) == 0 {
			return parameter("The task definition has the volume '%s' with configuredAtLaunch, but there is no volume configuration for it.", v.Name)
		}
	}
	return nil
}

func checkManagedEBS(name string, c *model.ManagedEBSVolume, ofService bool) error {
	if c.RoleARN == "" {
		return parameter("managedEBSVolume.roleArn of volume '%s' should not be null or empty.", name)
	}
	if !arn.Is(c.RoleARN) || !strings.Contains(c.RoleARN, ":role/") {
		return parameter("Invalid infrastructure role ARN '%s' for volume '%s'.", c.RoleARN, name)
	}
	if isTrue(c.Encrypted) {
		return parameter("managedEBSVolume.encrypted is not supported: Berth keeps volumes on the node's disk as they are. Encrypt that disk.")
	}
	if fs := []string{"xfs", "ext4", "ext3"}; c.FilesystemType != "" && !slices.Contains(fs, c.FilesystemType) {
		return parameter("Invalid value '%s' for managedEBSVolume.filesystemType. Valid values: %s.", c.FilesystemType, strings.Join(fs, ", "))
	}
	if err := checkVolumeType(c); err != nil {
		return err
	}
	for _, spec := range c.TagSpecifications {
		for _, tag := range spec.Tags {
			switch {
			case tag.Key == "AmazonECSCreated" || tag.Key == "AmazonECSManaged":
				return parameter("The tag key '%s' is reserved.", tag.Key)
			case strings.HasPrefix(strings.ToLower(tag.Key), "aws:"):
				return parameter("Tag keys starting with 'aws:' are reserved for internal use.")
			}
		}
		if spec.PropagateTags == "SERVICE" && !ofService {
			return parameter("Invalid value for propagateTags: 'SERVICE'. Valid values for tasks: TASK_DEFINITION, NONE.")
		}
	}
	return nil
}

func checkVolumeType(c *model.ManagedEBSVolume) error {
	name := c.VolumeType
	if name == "" {
		name = DefaultVolumeType
	}
	i := slices.IndexFunc(volumeTypes, func(t volumeType) bool { return t.name == name })
	if i < 0 {
		names := make([]string, len(volumeTypes))
		for i, t := range volumeTypes {
			names[i] = t.name
		}
		return parameter("Invalid value '%s' for managedEBSVolume.volumeType. Valid values: %s.", name, strings.Join(names, ", "))
	}
	t := volumeTypes[i]
	switch {
	case c.SizeGiB == 0:
		return parameter("managedEBSVolume must have sizeInGiB: Berth has no snapshots to take a size from.")
	case c.SizeGiB < t.minGiB || c.SizeGiB > t.maxGiB:
		return parameter("Invalid sizeInGiB %d for the volume type %s: it must be between %d and %d.", c.SizeGiB, name, t.minGiB, t.maxGiB)
	case c.IOPS == nil && t.needsIOPS:
		return parameter("The parameter iops must be specified for the volume type %s.", name)
	case c.IOPS != nil && t.maxIOPS == 0:
		return parameter("The parameter iops is not supported for the volume type %s.", name)
	case c.IOPS != nil && (*c.IOPS < t.minIOPS || *c.IOPS > t.maxIOPS):
		return parameter("Invalid iops %d for the volume type %s: it must be between %d and %d.", *c.IOPS, name, t.minIOPS, t.maxIOPS)
	case c.Throughput != nil && name != "gp3":
		return parameter("The parameter throughput is not supported for the volume type %s.", name)
	case c.Throughput != nil && (*c.Throughput < 1 || *c.Throughput > maxThroughput):
		return parameter("Invalid throughput %d: it must be between 1 and %d MiB/s.", *c.Throughput, maxThroughput)
	}
	return nil
}
