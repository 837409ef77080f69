package taskspec_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/taskspec"
)

func TestNormalize(t *testing.T) {
	given := model.TaskDefinition{
		Family: "web", NetworkMode: "awsvpc", CPU: ".25 vCPU", Memory: "0.5GB",
		Volumes: []model.Volume{{Name: "scratch"}, {Name: "data", Host: &model.HostVolumeProperties{SourcePath: "/data"}}},
		ContainerDefinitions: []model.ContainerDefinition{{
			Name: "app", Image: "nginx",
			PortMappings: []model.PortMapping{{ContainerPort: new(int32(80))}},
			HealthCheck:  &model.HealthCheck{Command: []string{"CMD", "true"}, Retries: new(int32(1))},
			Command:      []string{},
		}},
	}
	want := model.TaskDefinition{
		Family: "web", NetworkMode: "awsvpc", CPU: "256", Memory: "512",
		Volumes: []model.Volume{{Name: "scratch", Host: &model.HostVolumeProperties{}}, {Name: "data", Host: &model.HostVolumeProperties{SourcePath: "/data"}}},
		ContainerDefinitions: []model.ContainerDefinition{{
			Name: "app", Image: "nginx", Essential: new(true),
			PortMappings: []model.PortMapping{{ContainerPort: new(int32(80)), HostPort: new(int32(80)), Protocol: "tcp"}},
			HealthCheck: &model.HealthCheck{
				Command: []string{"CMD", "true"}, Interval: new(int32(30)), Timeout: new(int32(5)), Retries: new(int32(1)),
			},
		}},
	}
	before, err := json.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, taskspec.Normalize(given)); diff != "" {
		t.Error(diff)
	}
	after, err := json.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Errorf("the input changed:\n%s\n%s", before, after)
	}
}

func TestNormalize_HostPorts(t *testing.T) {
	for _, tc := range []struct {
		mode string
		want *int32
	}{{"", new(int32(0))}, {"bridge", new(int32(0))}, {"awsvpc", new(int32(80))}, {"host", new(int32(80))}, {"none", nil}} {
		d := ec2()
		d.NetworkMode = tc.mode
		d.ContainerDefinitions[0].PortMappings = []model.PortMapping{{ContainerPort: new(int32(80))}}
		got := taskspec.Normalize(d).ContainerDefinitions[0].PortMappings[0].HostPort
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%q: %s", tc.mode, diff)
		}
	}
}

// drawDefinition makes definitions that need not be valid: what users send.
func drawDefinition(t *rapid.T) model.TaskDefinition {
	optional := func(name string) *int32 {
		return rapid.Ptr(rapid.Int32Range(0, 9000), true).Draw(t, name)
	}
	words := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3)
	d := model.TaskDefinition{
		Family:      "f",
		NetworkMode: rapid.SampledFrom([]string{"", "bridge", "awsvpc", "host", "none"}).Draw(t, "mode"),
		CPU:         rapid.SampledFrom([]string{"", "256", "1 vCPU", ".5 VCPU", "x", " 512 ", "-1", "1e9vcpu"}).Draw(t, "cpu"),
		Memory:      rapid.SampledFrom([]string{"", "512", "1GB", "0.5 gb", "GB", "512MB"}).Draw(t, "memory"),
	}
	if rapid.Bool().Draw(t, "fargate") {
		d.RequiresCompatibilities = []string{"FARGATE"}
	}
	for range rapid.IntRange(0, 3).Draw(t, "volumes") {
		v := model.Volume{Name: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "volume")}
		if rapid.Bool().Draw(t, "host") {
			v.Host = &model.HostVolumeProperties{SourcePath: rapid.SampledFrom([]string{"", "/x"}).Draw(t, "path")}
		}
		if rapid.Bool().Draw(t, "efs") {
			v.EFSVolumeConfiguration = &model.EFSVolumeConfiguration{FileSystemID: fsID, RootDirectory: rapid.SampledFrom([]string{"", "/", "/x"}).Draw(t, "root")}
		}
		if rapid.Bool().Draw(t, "docker") {
			v.DockerVolumeConfiguration = &model.DockerVolumeConfiguration{Scope: rapid.SampledFrom([]string{"", "task", "shared"}).Draw(t, "scope"), Labels: map[string]string{}}
		}
		d.Volumes = append(d.Volumes, v)
	}
	for range rapid.IntRange(0, 4).Draw(t, "containers") {
		c := model.ContainerDefinition{
			Name:      rapid.SampledFrom([]string{"a", "b", "c", ""}).Draw(t, "name"),
			Image:     rapid.SampledFrom([]string{"x", ""}).Draw(t, "image"),
			CPU:       rapid.Int32Range(-1, 2000).Draw(t, "container cpu"),
			Memory:    optional("container memory"),
			Command:   words.Draw(t, "command"),
			Links:     words.Draw(t, "links"),
			Essential: rapid.Ptr(rapid.Bool(), true).Draw(t, "essential"),
		}
		for _, name := range words.Draw(t, "dependsOn") {
			c.DependsOn = append(c.DependsOn, model.ContainerDependency{ContainerName: name, Condition: "START"})
		}
		for range rapid.IntRange(0, 2).Draw(t, "ports") {
			c.PortMappings = append(c.PortMappings, model.PortMapping{ContainerPort: optional("port"), HostPort: optional("host port")})
		}
		if rapid.Bool().Draw(t, "check") {
			c.HealthCheck = &model.HealthCheck{Command: []string{"CMD"}, Interval: optional("interval")}
		}
		d.ContainerDefinitions = append(d.ContainerDefinitions, c)
	}
	return d
}

// Registering what was described changes nothing, also after the definition
// went through the store; and neither Validate nor what is derived ever
// panics on what a user can send.
func TestNormalize_Idempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		once := taskspec.Normalize(drawDefinition(t))
		data, err := json.Marshal(once)
		if err != nil {
			t.Fatal(err)
		}
		var stored model.TaskDefinition
		if err := json.Unmarshal(data, &stored); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(once, stored, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("the store changes it: %s", diff)
		}
		if diff := cmp.Diff(stored, taskspec.Normalize(stored)); diff != "" {
			t.Fatalf("normalizing twice changes it: %s", diff)
		}
		first, second := taskspec.Validate(once), taskspec.Validate(stored)
		if (first == nil) != (second == nil) {
			t.Fatalf("valid once, not twice: %v, %v", first, second)
		}
		if first == nil {
			compatible := taskspec.Compatibilities(stored)
			for _, c := range stored.RequiresCompatibilities {
				if !contains(compatible, c) {
					t.Fatalf("valid for %s but compatible with %v only", c, compatible)
				}
			}
		}
		taskspec.RequiresAttributes(stored)
	})
}

func contains(list []string, s string) bool {
	return slices.Contains(list, s)
}
