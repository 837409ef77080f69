package launch

import (
	"cmp"
	"slices"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/taskspec"
)

// makeVolume makes the record of a task's EBS volume, if it has one; the node
// makes the volume.
func (p *plan) makeVolume(tx *store.Tx, task *model.Task) {
	for _, c := range p.Volumes {
		ebs := c.ManagedEBS
		keep := ebs.KeepOnTermination && p.Service == nil
		volume := &model.EBSVolume{
			ID: ident.EC2("vol"), TaskID: task.ID, TaskARN: task.ARN, InstanceID: task.InstanceID, AvailabilityZone: task.AvailabilityZone,
			SizeGiB: ebs.SizeGiB, VolumeType: cmp.Or(ebs.VolumeType, taskspec.DefaultVolumeType), IOPS: ebs.IOPS, Throughput: ebs.Throughput,
			FilesystemType: ebs.FilesystemType, KeepOnTermination: keep, CreatedAt: tx.Now(), Tags: p.volumeTags(ebs), State: model.EBSInUse,
		}
		records.EBSVolumes.Put(tx, volume)
		task.Volume = &model.TaskVolume{
			Name: c.Name, AttachmentID: ident.UUID(), VolumeID: volume.ID, RoleARN: ebs.RoleARN,
			SizeGiB: ebs.SizeGiB, FilesystemType: ebs.FilesystemType, KeepOnTermination: keep,
		}
	}
}

// volumeTags are those that ECS gives the volumes it makes, those that it
// manages for the task, and those of the configuration.
func (p *plan) volumeTags(ebs model.ManagedEBSVolume) []model.Tag {
	tags := []model.Tag{{Key: "AmazonECSCreated", Value: "true"}, {Key: "AmazonECSManaged", Value: "true"}}
	for _, t := range p.Tags {
		if t.Key == "aws:ecs:clusterName" || t.Key == "aws:ecs:serviceName" {
			tags = append(tags, t)
		}
	}
	for _, spec := range ebs.TagSpecifications {
		switch {
		case spec.PropagateTags == "TASK_DEFINITION":
			tags = model.MergeTags(tags, p.Definition.Tags)
		case spec.PropagateTags == "SERVICE" && p.Service != nil:
			tags = model.MergeTags(tags, p.Service.Tags)
		}
		tags = model.MergeTags(tags, spec.Tags)
	}
	return tags
}

// fileSystems are the attributes by which nodes say that they can mount the
// EFS file systems of the tasks, as far as any node says so. One that no node
// has is as on AWS one that does not exist: the task starts, and its node says
// what is missing.
func (p *plan) fileSystems(r store.Reader) []string {
	ids := taskspec.FileSystems(p.def)
	if len(ids) == 0 {
		return nil
	}
	var known []string
	for _, id := range ids {
		name := model.AttributeFileSystem(id)
		for i := range records.Instances.All(r) {
			if slices.ContainsFunc(i.Attributes, func(a model.Attribute) bool { return a.Name == name }) {
				known = append(known, name)
				break
			}
		}
	}
	return known
}
