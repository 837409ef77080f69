package ecs_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

const infrastructureRole = "arn:aws:iam::123456789012:role/ecsInfrastructureRole"

// withVolume registers a definition with a volume that is configured at launch.
func (w *world) withVolume(family string) *ecsapi.TaskDefinition {
	w.Helper()
	return w.register(family, func(in *ecsapi.RegisterTaskDefinitionInput) {
		in.Volumes = []ecsapi.Volume{{Name: new("data"), ConfiguredAtLaunch: new(true)}}
		in.ContainerDefinitions[0].MountPoints = []ecsapi.MountPoint{{SourceVolume: new("data"), ContainerPath: new("/data")}}
	})
}

func details(a ecsapi.Attachment) map[string]string {
	out := map[string]string{}
	for _, d := range a.Details {
		out[*d.Name] = *d.Value
	}
	return out
}

func TestRunTask_Volume(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "", 4096, 8192)
	if def := w.withVolume("web"); !*def.Volumes[0].ConfiguredAtLaunch || def.Volumes[0].Host != nil || slices.Contains(def.Compatibilities, "EXTERNAL") {
		t.Errorf("%+v", def.Volumes[0])
	}
	out := w.run("web", func(in *ecsapi.RunTaskInput) {
		in.EnableECSManagedTags = new(true)
		in.VolumeConfigurations = []ecsapi.TaskVolumeConfiguration{{Name: new("data"), ManagedEBSVolume: &ecsapi.TaskManagedEBSVolumeConfiguration{
			RoleArn: new(infrastructureRole), SizeInGiB: new(int32(20)), VolumeType: new("io1"), Iops: new(int32(500)), FilesystemType: "ext4",
			TerminationPolicy: &ecsapi.TaskManagedEBSVolumeTerminationPolicy{DeleteOnTermination: new(false)},
			TagSpecifications: []ecsapi.EBSTagSpecification{{ResourceType: "volume", Tags: []ecsapi.Tag{{Key: new("k"), Value: new("v")}}}},
		}}}
	})
	if len(out.Tasks) != 1 {
		t.Fatalf("%+v", out)
	}
	arn := *out.Tasks[0].TaskArn
	id := arn[strings.LastIndex(arn, "/")+1:]
	volumes := slices.Collect(records.EBSVolumes.By(w.store.Snapshot(), records.EBSVolumesByTask, id))
	if len(volumes) != 1 {
		t.Fatalf("%d volumes", len(volumes))
	}
	v := volumes[0]
	if v.SizeGiB != 20 || v.VolumeType != "io1" || *v.IOPS != 500 || v.FilesystemType != "ext4" || !v.KeepOnTermination || v.State != model.EBSInUse || v.InstanceID == "" || v.AvailabilityZone == "" {
		t.Errorf("%+v", v)
	}
	tags := map[string]string{}
	for _, tag := range v.Tags {
		tags[tag.Key] = tag.Value
	}
	if diff := cmp.Diff(map[string]string{"AmazonECSCreated": "true", "AmazonECSManaged": "true", "aws:ecs:clusterName": "default", "k": "v"}, tags); diff != "" {
		t.Error(diff)
	}
	attachment := func() ecsapi.Attachment {
		all := w.describe(arn).Attachments
		i := slices.IndexFunc(all, func(a ecsapi.Attachment) bool { return *a.Type == "AmazonElasticBlockStorage" })
		return all[i]
	}
	want := map[string]string{"roleArn": infrastructureRole, "volumeName": "data", "deleteOnTermination": "false", "volumeId": v.ID}
	if a := attachment(); *a.Status != "ATTACHING" || cmp.Diff(want, details(a)) != "" {
		t.Errorf("%s %v", *a.Status, details(a))
	}
	for _, tc := range []struct {
		status  string
		mounted bool
		want    string
	}{{model.TaskRunning, true, "ATTACHED"}, {model.TaskDeprovisioning, true, "DETACHING"}, {model.TaskStopped, false, "DELETED"}} {
		w.report(arn, tc.status, func(o *model.TaskObserved) { o.VolumesMounted = tc.mounted })
		if a := attachment(); *a.Status != tc.want {
			t.Errorf("of a task that is %s: %s, want %s", tc.status, *a.Status, tc.want)
		}
	}
}

func TestService_Volumes(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "", 4096, 8192)
	w.withVolume("web")
	w.register("plain", nil)
	volume := func(gib int32) []ecsapi.ServiceVolumeConfiguration {
		return []ecsapi.ServiceVolumeConfiguration{{Name: new("data"), ManagedEBSVolume: &ecsapi.ServiceManagedEBSVolumeConfiguration{
			RoleArn: new(infrastructureRole), SizeInGiB: &gib, FilesystemType: "xfs",
			TagSpecifications: []ecsapi.EBSTagSpecification{{ResourceType: "volume", PropagateTags: "SERVICE"}},
		}}}
	}
	created := w.create("app", func(in *ecsapi.CreateServiceInput) {
		in.TaskDefinition, in.VolumeConfigurations = new("web"), volume(10)
	})
	if diff := cmp.Diff(volume(10), created.Deployments[0].VolumeConfigurations); diff != "" {
		t.Error(diff)
	}
	sizes := func() []int32 {
		var out []int32
		for _, d := range w.service("app").Deployments {
			size := int32(0)
			for _, v := range d.VolumeConfigurations {
				size = *v.ManagedEBSVolume.SizeInGiB
			}
			out = append(out, size)
		}
		return out
	}
	w.change("app", func(in *ecsapi.UpdateServiceInput) { in.VolumeConfigurations = volume(10) })
	if got := sizes(); len(got) != 1 {
		t.Errorf("the same volumes began a deployment: %v", got)
	}
	w.change("app", func(in *ecsapi.UpdateServiceInput) { in.VolumeConfigurations = volume(20) })
	if got := sizes(); len(got) != 2 || !slices.Contains(got, 20) {
		t.Errorf("other volumes: %v", got)
	}
	_, err := w.UpdateService(t.Context(), &ecsapi.UpdateServiceInput{Service: new("app"), TaskDefinition: new("plain")})
	if got := say(err); !strings.Contains(got, "does not match a volume with configuredAtLaunch") {
		t.Errorf("a definition without the volume: %s", got)
	}
	w.change("app", func(in *ecsapi.UpdateServiceInput) {
		in.TaskDefinition, in.VolumeConfigurations = new("plain"), []ecsapi.ServiceVolumeConfiguration{}
	})
	if got := sizes(); !slices.Contains(got, 0) {
		t.Errorf("without volumes: %v", got)
	}
}

// Tasks go to nodes that can mount their file systems, if any says that it can.
func TestRunTask_FileSystem(t *testing.T) {
	w := newWorld(t)
	with, without := w.node("n1", "default", 4096, 8192), w.node("n2", "default", 1<<20, 1<<20)
	w.register("web", func(in *ecsapi.RegisterTaskDefinitionInput) {
		in.Volumes = []ecsapi.Volume{{Name: new("v"), EfsVolumeConfiguration: &ecsapi.EFSVolumeConfiguration{FileSystemId: new("fs-12345678")}}}
	})
	where := func() string {
		t.Helper()
		out := w.run("web", nil)
		if len(out.Tasks) != 1 {
			t.Fatalf("%+v", out.Failures)
		}
		arn := *out.Tasks[0].TaskArn
		task, _ := records.Tasks.Get(w.store.Snapshot(), arn[strings.LastIndex(arn, "/")+1:])
		return task.InstanceID
	}
	if got := where(); got != without {
		t.Errorf("while no node knows the file system, the task goes to %s", got)
	}
	w.update(func(tx *store.Tx) {
		if err := records.Instances.Edit(tx, with, func(i *model.Instance) error {
			i.Attributes = append(slices.Clone(i.Attributes), model.Attribute{Name: model.AttributeFileSystem("fs-12345678"), Value: "directory"})
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
	if got := where(); got != with {
		t.Errorf("the task goes to %s, which cannot mount its file system", got)
	}
	w.update(func(tx *store.Tx) {
		if err := records.Instances.Edit(tx, with, func(i *model.Instance) error { i.Connected = false; return nil }); err != nil {
			t.Error(err)
		}
	})
	if out := w.run("web", nil); len(out.Failures) != 1 || !strings.Contains(*out.Failures[0].Detail, without+": ATTRIBUTE") {
		t.Errorf("%+v", out)
	}
}
