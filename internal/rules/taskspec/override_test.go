package taskspec_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/taskspec"
)

func TestApply(t *testing.T) {
	d := fargate()
	d.ContainerDefinitions[0].Environment = []model.KeyValuePair{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}}
	d.ContainerDefinitions[0].Command = []string{"serve"}
	got, err := taskspec.Apply(d, model.TaskOverride{
		CPU: "1 vCPU", Memory: "2GB", TaskRoleARN: "other",
		EphemeralStorage: &model.EphemeralStorage{SizeInGiB: 30},
		ContainerOverrides: []model.ContainerOverride{{
			Name: "app", Command: []string{"once"}, CPU: new(int32(512)), Memory: new(int32(1024)),
			Environment: []model.KeyValuePair{{Name: "B", Value: "3"}, {Name: "C", Value: "4"}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	app := got.ContainerDefinitions[0]
	if got.CPU != "1024" || got.Memory != "2048" || got.TaskRoleARN != "other" || got.EphemeralStorage.SizeInGiB != 30 {
		t.Errorf("task level: %+v", got)
	}
	if diff := cmp.Diff([]model.KeyValuePair{{Name: "A", Value: "1"}, {Name: "B", Value: "3"}, {Name: "C", Value: "4"}}, app.Environment); diff != "" {
		t.Error(diff)
	}
	if app.Command[0] != "once" || app.CPU != 512 || *app.Memory != 1024 {
		t.Errorf("container: %+v", app)
	}
	if d.ContainerDefinitions[0].Command[0] != "serve" || d.ContainerDefinitions[0].Environment[1].Value != "2" || d.CPU != "256" {
		t.Error("the definition itself changed")
	}
	if need := taskspec.Size(got); need != (taskspec.Need{CPU: 1024, Memory: 2048}) {
		t.Errorf("need %+v", need)
	}
}

func TestApply_Refusals(t *testing.T) {
	var lines strings.Builder
	for _, tc := range []struct {
		name     string
		override model.TaskOverride
	}{
		{"unknown container", model.TaskOverride{ContainerOverrides: []model.ContainerOverride{{Name: "db"}}}},
		{"no name", model.TaskOverride{ContainerOverrides: []model.ContainerOverride{{Command: []string{"x"}}}}},
		{"too long", model.TaskOverride{ContainerOverrides: []model.ContainerOverride{{Name: "app", Command: []string{strings.Repeat("x", 8200)}}}}},
		{"Fargate size", model.TaskOverride{CPU: "1024"}},
		{"storage", model.TaskOverride{EphemeralStorage: &model.EphemeralStorage{SizeInGiB: 1}}},
		{"container memory", model.TaskOverride{ContainerOverrides: []model.ContainerOverride{{Name: "app", Memory: new(int32(9000))}}}},
		{"GPU", model.TaskOverride{ContainerOverrides: []model.ContainerOverride{{Name: "app", ResourceRequirements: []model.ResourceRequirement{{Type: "GPU", Value: "1"}}}}}},
	} {
		_, err := taskspec.Apply(fargate(), tc.override)
		var refused *taskspec.Error
		if !errors.As(err, &refused) {
			t.Errorf("%s: got %v", tc.name, err)
			continue
		}
		fmt.Fprintf(&lines, "%s: %s: %s\n", tc.name, refused.Class, refused.Message)
	}
	compareGolden(t, "testdata/overrides.golden", lines.String())
}

// drawValid makes definitions that can be registered.
func drawValid(t *rapid.T) model.TaskDefinition {
	d := rapid.SampledFrom([]func() model.TaskDefinition{ec2, fargate}).Draw(t, "base")()
	app := &d.ContainerDefinitions[0]
	app.CPU = rapid.Int32Range(0, 128).Draw(t, "cpu")
	app.MemoryReservation = rapid.Ptr(rapid.Int32Range(6, 127), true).Draw(t, "reservation")
	app.Command = rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, "command")
	app.StopTimeout = rapid.Ptr(rapid.Int32Range(2, 120), true).Draw(t, "stopTimeout")
	if rapid.Bool().Draw(t, "port") {
		app.PortMappings = []model.PortMapping{{ContainerPort: new(rapid.Int32Range(1, 65535).Draw(t, "number"))}}
	}
	return d
}

// Without overrides the effective definition is the normalized one; with any
// container override it is still valid, and what a task needs is what the
// launch type reserves.
func TestApply_KeepsValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := taskspec.Normalize(drawValid(t))
		if err := taskspec.Validate(d); err != nil {
			t.Fatal(err)
		}
		got, err := taskspec.Apply(d, model.TaskOverride{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(d, got); diff != "" {
			t.Fatal(diff)
		}
		got, err = taskspec.Apply(d, model.TaskOverride{ContainerOverrides: []model.ContainerOverride{{
			Name: "app", CPU: rapid.Ptr(rapid.Int32Range(-10, 1000), true).Draw(t, "override cpu"),
			Memory: rapid.Ptr(rapid.Int32Range(-10, 2000), true).Draw(t, "override memory"),
		}}})
		if err != nil {
			return
		}
		if err := taskspec.Validate(got); err != nil {
			t.Fatalf("the override made it invalid: %v", err)
		}
		need := taskspec.Size(got)
		if need.CPU < 0 || need.Memory < 6 {
			t.Fatalf("need %+v", need)
		}
		if d.CPU != "" && (need.CPU != 256 || need.Memory != 512) {
			t.Fatalf("Fargate needs %+v", need)
		}
	})
}

func TestSize(t *testing.T) {
	d := ec2()
	d.ContainerDefinitions[0].CPU = 100
	d.ContainerDefinitions[0].MemoryReservation = new(int32(32))
	if got, want := taskspec.Size(d), (taskspec.Need{CPU: 100, Memory: 96}); got != want {
		t.Errorf("sum of containers %+v, want %+v", got, want)
	}
	d.Memory = "512"
	if got, want := taskspec.Size(d), (taskspec.Need{CPU: 100, Memory: 512}); got != want {
		t.Errorf("with task memory %+v, want %+v", got, want)
	}
}

func TestDerived(t *testing.T) {
	d := fargate()
	d.TaskRoleARN = "role"
	d.ContainerDefinitions[0].LogConfiguration = awslogs(nil)
	d.ContainerDefinitions[0].DependsOn = []model.ContainerDependency{{ContainerName: "init", Condition: "COMPLETE"}}
	if diff := cmp.Diff([]string{"EC2", "FARGATE"}, taskspec.Compatibilities(d)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"EXTERNAL", "EC2"}, taskspec.Compatibilities(ec2())); diff != "" {
		t.Error(diff)
	}
	var names []string
	for _, a := range taskspec.RequiresAttributes(d) {
		names = append(names, a.Name)
	}
	want := []string{
		"com.amazonaws.ecs.capability.docker-remote-api.1.18",
		"com.amazonaws.ecs.capability.docker-remote-api.1.19",
		"com.amazonaws.ecs.capability.logging-driver.awslogs",
		"com.amazonaws.ecs.capability.task-iam-role",
		"ecs.capability.container-ordering",
		"ecs.capability.execution-role-awslogs",
		"ecs.capability.task-cpu-mem-limit",
		"ecs.capability.task-eni",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}
