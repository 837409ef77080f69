package ec2_test

import (
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ec2api"
)

func (w *world) volumes(in *ec2api.DescribeVolumesInput) []ec2api.Volume {
	w.Helper()
	return must[*ec2api.DescribeVolumesOutput](w)(w.DescribeVolumes(w.Context(), in)).Volumes
}

// TestDescribeVolumes follows the volume of a task, that is to be kept, to its
// deletion: DescribeVolumes, DeleteVolume, CreateTags.
func TestDescribeVolumes(t *testing.T) {
	w := newWorld(t)
	const id, other = "vol-00000000000000001", "vol-00000000000000002"
	edit := func(task func(*model.Task), state string) {
		t.Helper()
		if _, err := w.store.Update(t.Context(), func(tx *store.Tx) error {
			one := &model.Task{ID: "t", ARN: "arn:aws:ecs:us-east-1:123456789012:task/c/t", InstanceID: "n", LaunchType: model.LaunchFargate}
			task(one)
			records.Tasks.Put(tx, one)
			records.Instances.Put(tx, &model.Instance{ID: "n", EC2InstanceID: "i-00000000000000001"})
			records.EBSVolumes.Put(tx, &model.EBSVolume{
				ID: id, TaskID: "t", TaskARN: one.ARN, InstanceID: "n", AvailabilityZone: "us-east-1b", SizeGiB: 20, VolumeType: "gp3",
				IOPS: new(int32(3000)), KeepOnTermination: true, CreatedAt: time.Unix(1, 0), State: state, Tags: []model.Tag{{Key: "AmazonECSManaged", Value: "true"}},
			})
			records.EBSVolumes.Put(tx, &model.EBSVolume{ID: other, TaskID: "u", InstanceID: "n", SizeGiB: 1, VolumeType: "gp2", State: model.EBSAvailable})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	one := &ec2api.DescribeVolumesInput{VolumeIds: []string{id}}
	edit(func(task *model.Task) { task.Observed.Status = model.TaskProvisioning }, model.EBSInUse)
	if v := w.volumes(one)[0]; v.State != "creating" || len(v.Attachments) != 0 {
		t.Errorf("before it is mounted: %+v", v)
	}
	edit(func(task *model.Task) {
		task.Observed.Status, task.Observed.VolumesMounted = model.TaskRunning, true
	}, model.EBSInUse)
	v := w.volumes(one)[0]
	if v.State != "in-use" || *v.Size != 20 || v.VolumeType != "gp3" || *v.Iops != 3000 || *v.AvailabilityZone != "us-east-1b" || *v.AvailabilityZoneId != "use1-az2" || len(v.Tags) != 1 {
		t.Errorf("%+v", v)
	}
	if a := v.Attachments[0]; a.State != "attached" || *a.DeleteOnTermination || a.InstanceId != nil || !strings.HasSuffix(*a.AssociatedResource, "task/c/t") {
		t.Errorf("%+v", a)
	}
	edit(func(task *model.Task) {
		task.LaunchType, task.Observed.Status, task.Observed.VolumesMounted = model.LaunchEC2, model.TaskRunning, true
	}, model.EBSInUse)
	if a := w.volumes(one)[0].Attachments[0]; *a.InstanceId != "i-00000000000000001" || a.AssociatedResource != nil {
		t.Errorf("%+v", a)
	}
	for name, f := range map[string][]ec2api.Filter{
		"attached":  {filter("attachment.status", "attached"), filter("attachment.instance-id", "i-*"), filter("attachment.delete-on-termination", "false"), filter("attachment.device", "/dev/*")},
		"attribute": {filter("size", "20"), filter("volume-type", "gp3"), filter("status", "in-use"), filter("encrypted", "false"), filter("availability-zone", "us-east-1b")},
		"tag":       {filter("tag:AmazonECSManaged", "true"), filter("volume-id", id, "vol-x"), filter("create-time", "1970-*"), filter("attachment.attach-time", "1970-*")},
	} {
		if got := w.volumes(&ec2api.DescribeVolumesInput{Filters: f}); len(got) != 1 || *got[0].VolumeId != id {
			t.Errorf("%s: found %d", name, len(got))
		}
	}
	if got := w.volumes(&ec2api.DescribeVolumesInput{Filters: []ec2api.Filter{filter("status", "available")}}); len(got) != 1 || *got[0].AvailabilityZone != "us-east-1a" {
		t.Errorf("found %+v", got)
	}
	if got := w.volumes(&ec2api.DescribeVolumesInput{Filters: []ec2api.Filter{filter("snapshot-id", "*")}}); len(got) != 0 {
		t.Errorf("found %d with a snapshot", len(got))
	}

	remove := func() string {
		_, err := w.DeleteVolume(t.Context(), &ec2api.DeleteVolumeInput{VolumeId: new(id)})
		return said(err)
	}
	if got := remove(); !strings.HasPrefix(got, "VolumeInUse: ") {
		t.Errorf("deleting what is in use: %s", got)
	}
	must[*ec2api.CreateTagsOutput](w)(w.CreateTags(t.Context(), &ec2api.CreateTagsInput{Resources: []string{id}, Tags: []ec2api.Tag{{Key: new("k"), Value: new("v")}}}))
	if tags := must[*ec2api.DescribeTagsOutput](w)(w.DescribeTags(t.Context(), &ec2api.DescribeTagsInput{Filters: []ec2api.Filter{filter("resource-type", "volume")}})).Tags; len(tags) != 2 {
		t.Errorf("%d tags", len(tags))
	}
	edit(func(task *model.Task) { task.Observed.Status = model.TaskStopped }, model.EBSAvailable)
	for range 2 {
		must[*ec2api.DeleteVolumeOutput](w)(w.DeleteVolume(t.Context(), &ec2api.DeleteVolumeInput{VolumeId: new(id)}))
	}
	if v := w.volumes(one)[0]; v.State != "deleting" || len(v.Attachments) != 0 {
		t.Errorf("%+v", v)
	}
	for want, ids := range map[string]string{"InvalidVolume.NotFound: The volume 'vol-x' does not exist.": "vol-x", "InvalidVolumeID.Malformed": "x"} {
		_, err := w.DescribeVolumes(t.Context(), &ec2api.DescribeVolumesInput{VolumeIds: []string{ids}})
		if got := said(err); !strings.HasPrefix(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
