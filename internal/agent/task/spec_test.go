package task

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/model"
)

var update = flag.Bool("update", false, "write the golden files of testdata/spec")

// TestBuildSpec holds the specifications of a task definition that says
// everything against golden files.
func TestBuildSpec(t *testing.T) {
	data, err := os.ReadFile("testdata/spec/maximal.assignment.json")
	if err != nil {
		t.Fatal(err)
	}
	var a model.Assignment
	if err := json.Unmarshal(data, &a); err != nil {
		t.Fatal(err)
	}
	s := NewState(&a)
	s.CgroupPath = "/berth/0123"
	s.container("app").Image = &runtime.Image{
		Name: "docker.io/library/app:1", Entrypoint: []string{"/image-entry"}, Cmd: []string{"image-command"},
		Env: []string{"PATH=/bin", "FROM_IMAGE=yes"}, WorkingDir: "/image", User: "image", Volumes: []string{"/anonymous"},
	}
	s.container("data").Image = &runtime.Image{
		Name: "docker.io/library/data:1", Entrypoint: []string{"/image-entry"}, Cmd: []string{"image-command"},
		WorkingDir: "/image", User: "image", Volumes: []string{"/of/data", "/of_data"},
	}
	for _, name := range []string{"app", "data"} {
		t.Run(name, func(t *testing.T) {
			spec, err := buildSpec(&a, &s, layout{dir: "/var/lib/berth", nofile: 1 << 20, volumes: noVolumes{}, netns: func(string) string { return "/run/netns/eni-1" }}, name, runtime.Log{Binary: "/logger"})
			if err != nil {
				t.Fatal(err)
			}
			if err := spec.Validate(); err != nil {
				t.Errorf("the runtime refuses it: %v", err)
			}
			got, err := json.MarshalIndent(spec, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			file := "testdata/spec/maximal." + name + ".golden.json"
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("differs from %s:\n%s", file, got)
			}
		})
	}
}

// Docker's rules: an entry point of the definition discards the image's
// command.
func TestArguments(t *testing.T) {
	image := &runtime.Image{Entrypoint: []string{"IE"}, Cmd: []string{"IC"}}
	for _, test := range []struct {
		entry, command string
		image          *runtime.Image
		want           string
	}{
		{"", "", image, "IE IC"},
		{"", "C", image, "IE C"},
		{"E", "", image, "E"},
		{"E", "C", image, "E C"},
		{"", "C", &runtime.Image{}, "C"},
		{"", "", &runtime.Image{Cmd: []string{"IC"}}, "IC"},
	} {
		def := &model.ContainerDefinition{EntryPoint: strings.Fields(test.entry), Command: strings.Fields(test.command)}
		if got := strings.Join(arguments(def, test.image), " "); got != test.want {
			t.Errorf("entryPoint %q and command %q on %v: %q, want %q", test.entry, test.command, *test.image, got, test.want)
		}
	}
}

func TestBuildSpec_Refuses(t *testing.T) {
	build := func(def model.ContainerDefinition, image *runtime.Image) error {
		a := model.Assignment{TaskDefinition: model.TaskDefinition{ContainerDefinitions: []model.ContainerDefinition{def}}}
		s := NewState(&a)
		s.Containers[0].Image = image
		_, err := buildSpec(&a, &s, layout{netns: func(string) string { return "" }, volumes: noVolumes{}}, def.Name, runtime.Log{})
		return err
	}
	missing := model.ContainerDefinition{Name: "app", MountPoints: []model.MountPoint{{SourceVolume: "gone", ContainerPath: "/x"}}}
	for _, test := range []struct {
		def   model.ContainerDefinition
		image *runtime.Image
		want  string
	}{
		{model.ContainerDefinition{Name: "app"}, nil, "no image"},
		{model.ContainerDefinition{Name: "app"}, &runtime.Image{}, "has a command"},
		{missing, &runtime.Image{Cmd: []string{"c"}}, "volume gone is not in the task definition"},
	} {
		if err := build(test.def, test.image); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %q", err, test.want)
		}
	}
}

// On EC2 the definition's silence is Docker's default, not Fargate's.
func TestBuildSpec_EC2(t *testing.T) {
	a := model.Assignment{
		Task:           model.Task{LaunchType: model.LaunchEC2},
		TaskDefinition: model.TaskDefinition{ContainerDefinitions: []model.ContainerDefinition{{Name: "app"}}},
	}
	s := NewState(&a)
	s.Containers[0].Image = &runtime.Image{Cmd: []string{"c"}}
	spec, err := buildSpec(&a, &s, layout{netns: func(string) string { return "" }, volumes: noVolumes{}}, "app", runtime.Log{})
	if err != nil {
		t.Fatal(err)
	}
	if len(spec.Rlimits) != 0 || len(spec.Mounts) != 3 || len(spec.Hostname) != 12 {
		t.Errorf("got %+v", spec)
	}
	if !slices.Contains(spec.Env, "AWS_EXECUTION_ENV=AWS_ECS_EC2") {
		t.Errorf("environment %v", spec.Env)
	}
}

// Fargate's limit of open files is 65,535, or what a smaller host can give.
func TestRlimits_Nofile(t *testing.T) {
	fargate := &model.Assignment{Task: model.Task{LaunchType: model.LaunchFargate}}
	for host, want := range map[int64]int64{1 << 20: 65535, 4096: 4096} {
		got := rlimits(fargate, &model.ContainerDefinition{}, host)
		if len(got) != 1 || got[0] != (runtime.Rlimit{Name: "nofile", Soft: want, Hard: want}) {
			t.Errorf("on a host with %d: %+v, want %d", host, got, want)
		}
	}
}

// The signal that asks a container to end is its image's.
func TestStopSignal(t *testing.T) {
	for name, want := range map[string]int{"": 15, "SIGQUIT": 3, "quit": 3, "3": 3, "SIGNONSENSE": 15, "SIGRTMIN+3": 37} {
		if got := stopSignal(&runtime.Image{StopSignal: name}); int(got) != want {
			t.Errorf("%q is %d, want %d", name, got, want)
		}
	}
	if got := stopSignal(nil); got != 15 {
		t.Errorf("no image: %d", got)
	}
}
