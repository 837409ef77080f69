package ecs

import (
	"strconv"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

// taskVolumesIn reads RunTask's volume configurations. What needs the task
// definition is checked by the launcher.
func taskVolumesIn(in []ecsapi.TaskVolumeConfiguration) ([]model.VolumeConfiguration, error) {
	var out []model.VolumeConfiguration
	for _, c := range in {
		ebs := c.ManagedEBSVolume
		if ebs == nil {
			return nil, noManagedVolume(value(c.Name))
		}
		if err := refuseVolume(ebs.SnapshotId, ebs.KmsKeyId, ebs.VolumeInitializationRate); err != nil {
			return nil, err
		}
		volume := model.ManagedEBSVolume{
			RoleARN: value(ebs.RoleArn), SizeGiB: value(ebs.SizeInGiB), VolumeType: value(ebs.VolumeType), IOPS: ebs.Iops, Throughput: ebs.Throughput,
			FilesystemType: string(ebs.FilesystemType), Encrypted: ebs.Encrypted, TagSpecifications: each(ebs.TagSpecifications, volumeTagsIn),
		}
		if p := ebs.TerminationPolicy; p != nil && p.DeleteOnTermination != nil {
			volume.KeepOnTermination = !*p.DeleteOnTermination
		}
		out = append(out, model.VolumeConfiguration{Name: value(c.Name), ManagedEBS: volume})
	}
	return out, nil
}

// serviceVolumesIn reads a service's volume configurations.
func serviceVolumesIn(in []ecsapi.ServiceVolumeConfiguration) ([]model.VolumeConfiguration, error) {
	var out []model.VolumeConfiguration
	for _, c := range in {
		ebs := c.ManagedEBSVolume
		if ebs == nil {
			return nil, noManagedVolume(value(c.Name))
		}
		if err := refuseVolume(ebs.SnapshotId, ebs.KmsKeyId, ebs.VolumeInitializationRate); err != nil {
			return nil, err
		}
		out = append(out, model.VolumeConfiguration{Name: value(c.Name), ManagedEBS: model.ManagedEBSVolume{
			RoleARN: value(ebs.RoleArn), SizeGiB: value(ebs.SizeInGiB), VolumeType: value(ebs.VolumeType), IOPS: ebs.Iops, Throughput: ebs.Throughput,
			FilesystemType: string(ebs.FilesystemType), Encrypted: ebs.Encrypted, TagSpecifications: each(ebs.TagSpecifications, volumeTagsIn),
		}})
	}
	return out, nil
}

func noManagedVolume(name string) error {
	return parameterError("managedEBSVolume must be specified for volume '%s' in volumeConfigurations.", name)
}

// refuseVolume is about what Berth cannot make of a volume.
func refuseVolume(snapshot, key *string, rate *int32) error {
	switch {
	case snapshot != nil:
		return parameterError("managedEBSVolume.snapshotId is not supported: Berth does not have EBS snapshots. Use sizeInGiB.")
	case key != nil:
		return parameterError("managedEBSVolume.kmsKeyId is not supported: Berth keeps volumes on the node's disk as they are. Encrypt that disk.")
	case rate != nil:
		return parameterError("managedEBSVolume.volumeInitializationRate is only valid with a snapshot, and Berth does not have EBS snapshots.")
	}
	return nil
}

func volumeTagsIn(s ecsapi.EBSTagSpecification) model.EBSTagSpecification {
	return model.EBSTagSpecification{Tags: each(s.Tags, tagIn), PropagateTags: string(s.PropagateTags)}
}

func serviceVolumeOut(c model.VolumeConfiguration) ecsapi.ServiceVolumeConfiguration {
	ebs := c.ManagedEBS
	return ecsapi.ServiceVolumeConfiguration{Name: &c.Name, ManagedEBSVolume: &ecsapi.ServiceManagedEBSVolumeConfiguration{
		RoleArn: &ebs.RoleARN, SizeInGiB: &ebs.SizeGiB, VolumeType: optional(ebs.VolumeType), Iops: ebs.IOPS, Throughput: ebs.Throughput,
		FilesystemType: ecsapi.TaskFilesystemType(ebs.FilesystemType), Encrypted: ebs.Encrypted,
		TagSpecifications: each(ebs.TagSpecifications, func(s model.EBSTagSpecification) ecsapi.EBSTagSpecification {
			return ecsapi.EBSTagSpecification{ResourceType: "volume", Tags: each(s.Tags, tagOut), PropagateTags: ecsapi.PropagateTags(s.PropagateTags)}
		}),
	}}
}

// volumeAttachment shows the EBS volume of a task, whose status follows from
// the task's.
func volumeAttachment(t *model.Task) ecsapi.Attachment {
	v := t.Volume
	status := attachmentAttaching
	switch {
	case t.Stopped():
		status = attachmentDeleted
	case t.Observed.Status == model.TaskDeprovisioning || t.Observed.Status == model.TaskStopping && !t.Observed.VolumesMounted:
		status = attachmentDetaching
	case t.Observed.VolumesMounted:
		status = attachmentAttached
	}
	details := []model.KeyValuePair{
		{Name: "roleArn", Value: v.RoleARN},
		{Name: "volumeName", Value: v.Name},
		{Name: "deleteOnTermination", Value: strconv.FormatBool(!v.KeepOnTermination)},
		{Name: "volumeId", Value: v.VolumeID},
	}
	return ecsapi.Attachment{Id: &v.AttachmentID, Type: new("AmazonElasticBlockStorage"), Status: &status, Details: every(details, pairOut)}
}
