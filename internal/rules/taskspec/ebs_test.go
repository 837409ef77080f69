package taskspec_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/taskspec"
)

const infrastructureRole = "arn:aws:iam::123456789012:role/ecsInfrastructureRole"

func withEBS() model.TaskDefinition {
	d := fargate()
	d.Volumes = []model.Volume{{Name: "scratch"}, {Name: "data", ConfiguredAtLaunch: new(true)}}
	return d
}

func ebs(edit func(*model.ManagedEBSVolume)) []model.VolumeConfiguration {
	c := model.VolumeConfiguration{Name: "data", ManagedEBS: model.ManagedEBSVolume{RoleARN: infrastructureRole, SizeGiB: 10}}
	edit(&c.ManagedEBS)
	return []model.VolumeConfiguration{c}
}

// TestCheckVolumeConfigurations_Errors compares every refusal with
// testdata/volumes.golden. None of the texts was found in real output.
func TestCheckVolumeConfigurations_Errors(t *testing.T) {
	type edit = func(*model.ManagedEBSVolume)
	tagged := func(key string) edit {
		return func(c *model.ManagedEBSVolume) {
			c.TagSpecifications = []model.EBSTagSpecification{{Tags: []model.Tag{{Key: key}}}}
		}
	}
	var b strings.Builder
	for _, tc := range []struct {
		name    string
		configs []model.VolumeConfiguration
	}{
		{"none", nil},
		{"two", append(ebs(func(*model.ManagedEBSVolume) {}), ebs(func(*model.ManagedEBSVolume) {})...)},
		{"unknown volume", []model.VolumeConfiguration{{Name: "other"}}},
		{"volume of another kind", []model.VolumeConfiguration{{Name: "scratch"}}},
		{"no role", ebs(func(c *model.ManagedEBSVolume) { c.RoleARN = "" })},
		{"no role's ARN", ebs(func(c *model.ManagedEBSVolume) { c.RoleARN = "ecsInfrastructureRole" })},
		{"encrypted", ebs(func(c *model.ManagedEBSVolume) { c.Encrypted = new(true) })},
		{"file system", ebs(func(c *model.ManagedEBSVolume) { c.FilesystemType = "ntfs" })},
		{"type", ebs(func(c *model.ManagedEBSVolume) { c.VolumeType = "gp4" })},
		{"no size", ebs(func(c *model.ManagedEBSVolume) { c.SizeGiB = 0 })},
		{"too small", ebs(func(c *model.ManagedEBSVolume) { c.VolumeType = "st1" })},
		{"too large", ebs(func(c *model.ManagedEBSVolume) { c.SizeGiB = 16385 })},
		{"io2 without iops", ebs(func(c *model.ManagedEBSVolume) { c.VolumeType = "io2" })},
		{"gp2 with iops", ebs(func(c *model.ManagedEBSVolume) { c.VolumeType, c.IOPS = "gp2", new(int32(3000)) })},
		{"few iops", ebs(func(c *model.ManagedEBSVolume) { c.IOPS = new(int32(100)) })},
		{"throughput of io1", ebs(func(c *model.ManagedEBSVolume) {
			c.VolumeType, c.IOPS, c.Throughput = "io1", new(int32(100)), new(int32(125))
		})},
		{"throughput", ebs(func(c *model.ManagedEBSVolume) { c.Throughput = new(int32(1001)) })},
		{"ECS's own tag", ebs(tagged("AmazonECSManaged"))},
		{"AWS's tag", ebs(tagged("aws:x"))},
		{"a service's tags", ebs(func(c *model.ManagedEBSVolume) {
			c.TagSpecifications = []model.EBSTagSpecification{{PropagateTags: "SERVICE"}}
		})},
	} {
		err := taskspec.CheckVolumeConfigurations(withEBS(), tc.configs, false)
		e, ok := errors.AsType[*taskspec.Error](err)
		if !ok || e.Class != taskspec.InvalidParameterException {
			t.Errorf("%s: %v is no InvalidParameterException", tc.name, err)
			continue
		}
		b.WriteString(tc.name + ": " + e.Message + " (uncertain)\n")
	}
	const path = "testdata/volumes.golden"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// Whatever a configuration asks for that is accepted has a size that its type
// has, and says iops only where the type takes them.
func TestCheckVolumeConfigurations_Property(t *testing.T) {
	most := map[string]int32{"": 16384, "gp2": 16384, "gp3": 16384, "io1": 16384, "io2": 16384, "st1": 16384, "sc1": 16384, "standard": 1024}
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]string{"", "gp2", "gp3", "io1", "io2", "st1", "sc1", "standard"}).Draw(t, "type")
		size := rapid.Int32Range(0, 17000).Draw(t, "size")
		iops := rapid.Ptr(rapid.Int32Range(1, 300000), true).Draw(t, "iops")
		err := taskspec.CheckVolumeConfigurations(withEBS(), ebs(func(c *model.ManagedEBSVolume) {
			c.VolumeType, c.SizeGiB, c.IOPS = kind, size, iops
		}), rapid.Bool().Draw(t, "service"))
		if err != nil {
			return
		}
		accepted++
		if size < 1 || size > most[kind] {
			t.Fatalf("%s of %d GiB is accepted", kind, size)
		}
		if takes := kind != "gp2" && kind != "st1" && kind != "sc1" && kind != "standard"; iops != nil && !takes {
			t.Fatalf("%s takes iops", kind)
		}
	})
	if accepted == 0 {
		t.Error("nothing was accepted")
	}
}

func TestFileSystems(t *testing.T) {
	d := fargate()
	volumes(
		model.Volume{Name: "a", EFSVolumeConfiguration: &model.EFSVolumeConfiguration{FileSystemID: "fs-22222222"}},
		model.Volume{Name: "b", EFSVolumeConfiguration: &model.EFSVolumeConfiguration{
			FileSystemID: "fs-11111111", AuthorizationConfig: &model.EFSAuthorizationConfig{AccessPointID: "fsap-33333333"},
		}},
		model.Volume{Name: "c", EFSVolumeConfiguration: &model.EFSVolumeConfiguration{FileSystemID: "fs-22222222"}},
	)(&d, nil)
	if got, want := strings.Join(taskspec.FileSystems(d), " "), "fs-11111111 fs-22222222 fsap-33333333"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if c := taskspec.Compatibilities(d); strings.Contains(strings.Join(c, " "), "EXTERNAL") {
		t.Errorf("compatible with %v", c)
	}
	var names []string
	for _, a := range taskspec.RequiresAttributes(d) {
		names = append(names, a.Name)
	}
	if got := strings.Join(names, " "); !strings.Contains(got, "ecs.capability.efs ecs.capability.efsAuth") {
		t.Errorf("requires %s", got)
	}
}
