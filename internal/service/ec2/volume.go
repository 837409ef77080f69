package ec2

import (
	"context"
	"strconv"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ec2api"
)

// volumeDevice is where the one volume of a task is attached [GK].
const volumeDevice = "/dev/xvdba"

var volumeForm = form{prefix: "vol-", noun: "volume", notFound: "InvalidVolume.NotFound", badID: "InvalidVolumeID.Malformed", text: "The volume '%s' does not exist."}

// volume is a volume with the task that has it; nil when none has.
type volume struct {
	*model.EBSVolume
	task       *model.Task
	instanceID string // as EC2 calls the host
}

// state is what EC2 would say of the volume: while its task lives that follows
// from what the task's node observes.
func (v *volume) state() ec2api.VolumeState {
	switch {
	case v.State != model.EBSInUse:
		return ec2api.VolumeState(v.State)
	case v.task != nil && !v.task.Observed.VolumesMounted && model.TaskStatusRank(v.task.Observed.Status) < model.TaskStatusRank(model.TaskRunning):
		return ec2api.VolumeStateCreating
	}
	return ec2api.VolumeStateInUse
}

// attached reports whether a task has the volume.
func (v *volume) attached() bool { return v.state() == ec2api.VolumeStateInUse }

// volumes lists every volume, by id.
func volumes(r store.Reader) []*volume {
	var all []*volume
	for rec := range records.EBSVolumes.All(r) {
		v := &volume{EBSVolume: rec}
		v.task, _ = records.Tasks.Get(r, rec.TaskID)
		if i, found := records.Instances.Get(r, rec.InstanceID); found {
			v.instanceID = i.EC2InstanceID
		}
		all = append(all, v)
	}
	return all
}

func (p *Provider) volumeKind() *kind[volume] {
	attached := func(value string) func(*volume) []string {
		return func(v *volume) []string {
			if !v.attached() {
				return nil
			}
			return one(value)
		}
	}
	return &kind[volume]{
		form: volumeForm, call: "DescribeVolumes", param: "volumeId",
		id:   func(v *volume) string { return v.ID },
		tags: func(v *volume) []model.Tag { return v.Tags },
		filters: map[string]func(*volume) []string{
			"volume-id":            func(v *volume) []string { return one(v.ID) },
			"volume-type":          func(v *volume) []string { return one(v.VolumeType) },
			"status":               func(v *volume) []string { return one(string(v.state())) },
			"size":                 func(v *volume) []string { return one(strconv.Itoa(int(v.SizeGiB))) },
			"availability-zone":    func(v *volume) []string { return one(p.zoneOf(v)) },
			"availability-zone-id": func(v *volume) []string { return one(zoneID(p.scope.Region, p.zoneOf(v))) },
			"create-time":          func(v *volume) []string { return one(v.CreatedAt.UTC().Format(time.RFC3339)) },
			"encrypted":            func(*volume) []string { return one("false") },
			"snapshot-id":          func(*volume) []string { return nil },
			"multi-attach-enabled": func(*volume) []string { return one("false") },
			"attachment.status":    attached("attached"),
			"attachment.device":    attached(volumeDevice),
			"attachment.instance-id": func(v *volume) []string {
				if !v.attached() || v.instanceID == "" {
					return nil
				}
				return one(v.instanceID)
			},
			"attachment.delete-on-termination": func(v *volume) []string {
				if !v.attached() {
					return nil
				}
				return yes(!v.KeepOnTermination)
			},
			"attachment.attach-time": func(v *volume) []string {
				if !v.attached() {
					return nil
				}
				return one(v.CreatedAt.UTC().Format(time.RFC3339))
			},
		},
	}
}

// zoneOf is the volume's zone; on a node that serves every zone, a task without
// an interface is in none, and its volume in the first.
func (p *Provider) zoneOf(v *volume) string {
	if v.AvailabilityZone != "" {
		return v.AvailabilityZone
	}
	return Zones(p.scope.Region)[0]
}

// DescribeVolumes implements ec2api.Service. There are the volumes that ECS
// made for tasks.
func (p *Provider) DescribeVolumes(_ context.Context, in *ec2api.DescribeVolumesInput) (*ec2api.DescribeVolumesOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	page, next, err := p.volumeKind().find(volumes(p.store.Snapshot()), query{in.VolumeIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	out := &ec2api.DescribeVolumesOutput{Volumes: []ec2api.Volume{}, NextToken: next}
	for _, v := range page {
		out.Volumes = append(out.Volumes, p.volumeOut(v))
	}
	return out, nil
}

func (p *Provider) volumeOut(v *volume) ec2api.Volume {
	zone := p.zoneOf(v)
	out := ec2api.Volume{
		VolumeId: &v.ID, Size: &v.SizeGiB, VolumeType: ec2api.VolumeType(v.VolumeType), Iops: v.IOPS, Throughput: v.Throughput,
		State: v.state(), CreateTime: new(v.CreatedAt), AvailabilityZone: &zone, AvailabilityZoneId: new(zoneID(p.scope.Region, zone)),
		Encrypted: new(false), MultiAttachEnabled: new(false), SnapshotId: new(""), Tags: tagsOut(v.Tags), Attachments: []ec2api.VolumeAttachment{},
	}
	if !v.attached() {
		return out
	}
	attachment := ec2api.VolumeAttachment{
		VolumeId: &v.ID, Device: new(volumeDevice), State: ec2api.VolumeAttachmentStateAttached,
		AttachTime: new(v.CreatedAt), DeleteOnTermination: new(!v.KeepOnTermination), InstanceId: empty(v.instanceID),
	}
	if v.task != nil && v.task.LaunchType == model.LaunchFargate {
		// Fargate's hosts are nobody's to see [GK].
		attachment.InstanceId, attachment.InstanceOwningService, attachment.AssociatedResource = nil, new("ecs-fargate.amazonaws.com"), &v.TaskARN
	}
	out.Attachments = append(out.Attachments, attachment)
	return out
}

// DeleteVolume implements ec2api.Service. The volume's node deletes it, now or
// when it is there again.
func (p *Provider) DeleteVolume(ctx context.Context, in *ec2api.DeleteVolumeInput) (*ec2api.DeleteVolumeOutput, error) {
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		v, err := named(tx, records.EBSVolumes, volumeForm, "volumeId", in.VolumeId)
		switch {
		case err != nil:
			return err
		case v.State == model.EBSInUse:
			return failure("VolumeInUse", "Volume %s is currently attached to %s", v.ID, v.TaskARN)
		}
		return records.EBSVolumes.Edit(tx, v.ID, func(v *model.EBSVolume) error {
			v.State = model.EBSDeleting
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.DeleteVolumeOutput{}, nil
}
