package cli

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with testdata/NAME.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; go test -update writes it anew):\n%s", name, diff)
	}
}

const id = "9f3c2a10bb3c4f6d8e1a2b3c4d5e6f70"

var created = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// after is a moment of the task's life.
func after(ms int) *time.Time {
	return aws.Time(created.Add(time.Duration(ms) * time.Millisecond))
}

func definition() *types.TaskDefinition {
	return &types.TaskDefinition{
		Family: aws.String("my-app"), Revision: 3, Cpu: aws.String("256"), Memory: aws.String("512"),
		TaskDefinitionArn: aws.String("arn:aws:ecs:us-east-1:123456789012:task-definition/my-app:3"),
		ContainerDefinitions: []types.ContainerDefinition{
			{
				Name: aws.String("app"), Image: aws.String("sample-app:latest"), Essential: aws.Bool(true),
				PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(3000)}, {ContainerPort: aws.Int32(53), Protocol: types.TransportProtocolUdp}},
				DependsOn:    []types.ContainerDependency{{ContainerName: aws.String("init"), Condition: types.ContainerConditionComplete}},
				LogConfiguration: &types.LogConfiguration{LogDriver: types.LogDriverAwslogs, Options: map[string]string{
					"awslogs-group": "/ecs/my-app", "awslogs-stream-prefix": "ecs",
				}},
			},
			{Name: aws.String("init"), Image: aws.String("sample-app:latest"), Essential: aws.Bool(false)},
		},
	}
}

// lived is a task as it is told at one moment.
func lived(status string, change func(*types.Task)) *types.Task {
	t := &types.Task{
		TaskArn:           aws.String("arn:aws:ecs:us-east-1:123456789012:task/default/" + id),
		ClusterArn:        aws.String("arn:aws:ecs:us-east-1:123456789012:cluster/default"),
		TaskDefinitionArn: definition().TaskDefinitionArn,
		LastStatus:        &status, DesiredStatus: aws.String("RUNNING"), CreatedAt: after(0), AvailabilityZone: aws.String("us-east-1a"),
		Attachments: []types.Attachment{{Details: []types.KeyValuePair{{Name: aws.String("privateIPv4Address"), Value: aws.String("172.31.0.10")}}}},
		Containers: []types.Container{
			{Name: aws.String("app"), LastStatus: aws.String("PENDING"), Image: aws.String("sample-app:latest")},
			{Name: aws.String("init"), LastStatus: aws.String("PENDING"), Image: aws.String("sample-app:latest")},
		},
	}
	change(t)
	return t
}

func attached(t *types.Task) { t.ConnectivityAt = after(40) }

func pulled(t *types.Task) {
	attached(t)
	t.PullStartedAt, t.PullStoppedAt = after(50), after(250)
}

func initDone(t *types.Task) {
	pulled(t)
	t.Containers[1].LastStatus, t.Containers[1].ExitCode = aws.String("STOPPED"), aws.Int32(0)
}

func started(t *types.Task) {
	initDone(t)
	t.Containers[0].LastStatus = aws.String("RUNNING")
	t.StartedAt = after(610)
}

func oom(t *types.Task) {
	started(t)
	t.DesiredStatus, t.StopCode, t.StoppedReason = aws.String("STOPPED"), types.TaskStopCodeEssentialContainerExited, aws.String("Essential container in task exited")
	t.ExecutionStoppedAt, t.StoppingAt, t.StoppedAt = after(90_000), after(90_010), after(91_200)
	c := &t.Containers[0]
	c.LastStatus, c.ExitCode, c.Reason = aws.String("STOPPED"), aws.Int32(137), aws.String("OutOfMemoryError: Container killed due to memory usage")
}

func noImage(t *types.Task) {
	attached(t)
	reason := "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref docker.io/library/sample-ap:latest: not found"
	t.PullStartedAt = after(50)
	t.DesiredStatus, t.StopCode, t.StoppedReason = aws.String("STOPPED"), types.TaskStopCodeTaskFailedToStart, &reason
	t.StoppingAt, t.StoppedAt = after(900), after(1000)
	for i := range t.Containers {
		t.Containers[i].LastStatus = aws.String("STOPPED")
	}
	t.Containers[0].Reason = &reason
}

// tell renders what a follower of these moments sees.
func tell(moments ...*types.Task) string {
	var b bytes.Buffer
	p := newPrinter(&b)
	seen := newPhases(definition())
	for _, t := range moments {
		for _, s := range seen.observe(t) {
			p.say("%s", s.line(p, ""))
		}
	}
	return b.String()
}

func TestPhases(t *testing.T) {
	begin := lived("PROVISIONING", func(*types.Task) {})
	golden(t, "phases-running", tell(begin, begin, lived("PENDING", attached), lived("ACTIVATING", pulled),
		lived("ACTIVATING", initDone), lived("RUNNING", started), lived("RUNNING", started)))
	golden(t, "phases-oom", tell(begin, lived("RUNNING", started), lived("STOPPED", oom)))
	golden(t, "phases-no-image", tell(begin, lived("PENDING", attached), lived("STOPPED", noImage)))
}

// A poll that sees only the end tells the same as one that saw each moment.
func TestPhases_MissedMomentsAreTold(t *testing.T) {
	slow := tell(lived("RUNNING", started))
	fast := tell(lived("PENDING", attached), lived("ACTIVATING", pulled), lived("ACTIVATING", initDone), lived("RUNNING", started))
	if diff := cmp.Diff(fast, slow); diff != "" {
		t.Error(diff)
	}
}

func TestSucceeded(t *testing.T) {
	ended := func(exit int32, code types.TaskStopCode) *types.Task {
		return lived("STOPPED", func(t *types.Task) {
			started(t)
			t.Containers[0].ExitCode, t.StopCode = &exit, code
		})
	}
	for name, c := range map[string]struct {
		task *types.Task
		want bool
	}{
		"a job that ended well":       {ended(0, types.TaskStopCodeEssentialContainerExited), true},
		"a job that failed":           {ended(3, types.TaskStopCodeEssentialContainerExited), false},
		"a server that was stopped":   {ended(143, types.TaskStopCodeUserInitiated), true},
		"a start that failed":         {lived("STOPPED", noImage), false},
		"a non-essential that failed": {lived("STOPPED", func(t *types.Task) { started(t); t.Containers[1].ExitCode = aws.Int32(1) }), true},
	} {
		if got := succeeded(c.task, definition()); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestTaskTable(t *testing.T) {
	defs := definitions{aws.ToString(definition().TaskDefinitionArn): definition()}
	healthy := lived("RUNNING", func(t *types.Task) { started(t); t.HealthStatus = types.HealthStatusHealthy })
	bare := lived("PROVISIONING", func(t *types.Task) { t.Attachments, t.TaskDefinitionArn = nil, aws.String("x/gone:1") })
	golden(t, "ps", taskTable([]types.Task{*healthy, *bare}, defs, created.Add(90*time.Minute)))
}

func TestWhy(t *testing.T) {
	for name, change := range map[string]func(*types.Task){"why-oom": oom, "why-no-image": noImage, "why-running": started} {
		task := lived("STOPPED", change)
		if name == "why-running" {
			task = lived("RUNNING", change)
		}
		s := &story{task: task, def: definition()}
		if name == "why-oom" {
			s.logs = []logLine{{created, "app", "reading everything into memory\n"}, {created, "app", "nearly there"}}
		}
		var b bytes.Buffer
		s.print(newPrinter(&b), created.Add(time.Hour))
		golden(t, name, b.String())
	}
}

// Each reason that the behaviour notes quote from AWS is explained, by what is
// particular about it.
func TestExplain(t *testing.T) {
	for reason, want := range map[string]string{
		"CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref docker.io/library/repository:latest: pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed": "private",
		"CannotPullContainerError: API error (404): repository x not found":                                                        "not in the registry",
		"CannotPullContainerError: inspect image has been retried 5 time(s): failed to resolve reference …: i/o timeout":           "out of reach",
		"CannotPullContainerError: image Manifest does not contain descriptor matching platform 'linux/amd64'":                     "architecture",
		"OutOfMemoryError: Container killed due to memory usage":                                                                   "memory",
		"DockerTimeoutError: Could not transition to started; timed out after waiting 3m0s":                                        "startTimeout",
		"ResourceInitializationError: failed to validate logger args: create stream has been retried 1 time(s): … : exit status 1": "log",
		"ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: …":             "secret",
		"Capacity is unavailable at this time. Please try again later or in a different availability zone":                         "No node has room",
		"RESOURCE:MEMORY":          "CPU or memory",
		"TaskFailedToStart: AGENT": "agent",
		"AGENT":                    "agent",
		"MemberOf placement constraint unsatisfied.":         "constraints",
		"DistinctInstance placement constraint unsatisfied.": "constraints",
		"TaskFailedToStart: NO ACTIVE INSTANCES":             "no active node",
		"Task failed container health checks":                "health check",
		"MISSING":                                            "no such task",
	} {
		if got := explain(reason).Meaning; !strings.Contains(got, want) {
			t.Errorf("%s: %q does not speak of %q", reason, got, want)
		}
	}
	if got := explain("Essential container in task exited").Meaning; got != "" {
		t.Errorf("a reason that says nothing is explained: %q", got)
	}
}

func TestExplainExit(t *testing.T) {
	for code, want := range map[int32]string{1: "with an error", 2: "with an error", 126: "may not be executed", 127: "not found", 137: "SIGKILL", 139: "segmentation", 143: "SIGTERM", 134: "signal 6"} {
		if got := explainExit(code).Meaning; !strings.Contains(got, want) {
			t.Errorf("exit %d: %q does not speak of %q", code, got, want)
		}
	}
}

// A container that failed by itself explains more than one that waited for it.
func TestStory_BlamesTheCauseNotItsConsequence(t *testing.T) {
	task := lived("STOPPED", func(t *types.Task) {
		reason := "TaskDependencyError: container app depends on init with condition COMPLETE, but it did not start"
		t.StoppedReason, t.Containers[0].Reason = &reason, &reason
		t.Containers[1].Reason = aws.String(`CannotStartContainerError: exec: "./migrate.sh": no such file or directory`)
	})
	got := (&story{task: task, def: definition()}).advice()
	if want := explain("CannotStartContainerError"); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

func TestStreamsOf(t *testing.T) {
	want := []stream{{"app", "/ecs/my-app", "ecs/app/" + id}}
	if diff := cmp.Diff(want, streamsOf(definition(), id), cmp.AllowUnexported(stream{})); diff != "" {
		t.Error(diff)
	}
}

func TestOneWithPrefix(t *testing.T) {
	arns := []string{"task/default/aa11", "task/default/aa22", "task/default/bb33"}
	if got, err := oneWithPrefix(arns, "default", "b"); err != nil || got != arns[2] {
		t.Errorf("got %q, %v", got, err)
	}
	for prefix, want := range map[string]string{"aa": "beginning of 2 tasks; type more of one of: aa11 aa22", "cc": "no task of cluster default begins"} {
		if _, err := oneWithPrefix(arns, "default", prefix); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", prefix, err)
		}
	}
}

// What DescribeTaskDefinition prints can be registered again.
func TestReadDefinition_TakesWhatDescribePrints(t *testing.T) {
	def := definition()
	def.Status, def.RegisteredBy = types.TaskDefinitionStatusActive, aws.String("me")
	printed, err := json.Marshal(map[string]any{"taskDefinition": awsShape(def), "tags": []any{map[string]string{"key": "k", "value": "v"}}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := readDefinition(bytes.NewReader(printed), "described.json")
	if err != nil {
		t.Fatal(err)
	}
	want := &ecs.RegisterTaskDefinitionInput{
		Family: def.Family, Cpu: def.Cpu, Memory: def.Memory, ContainerDefinitions: def.ContainerDefinitions,
		Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
	}
	if a, b := asJSON(t, want), asJSON(t, got); a != b {
		t.Error(cmp.Diff(a, b))
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.MarshalIndent(awsShape(v), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The example that README and the demo use is a task definition.
func TestExample(t *testing.T) {
	f, err := os.Open("../../../examples/my-app.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in, err := readDefinition(f, "my-app.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := replaceImages(in, []string{"app=other:1"}); err != nil {
		t.Fatal(err)
	}
	if got := []string{*in.ContainerDefinitions[0].Image, *in.ContainerDefinitions[1].Image}; !cmp.Equal(got, []string{"other:1", "123456789012.dkr.ecr.us-east-1.amazonaws.com/my-app:latest"}) {
		t.Errorf("images are %v", got)
	}
}

func TestAWSShape_KeepsKeysOfMaps(t *testing.T) {
	got := asJSON(t, types.ContainerDefinition{DockerLabels: map[string]string{"Upper": "x"}, Name: aws.String("n")})
	for _, want := range []string{`"Upper": "x"`, `"name": "n"`} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{-1: "0s", 90 * time.Second: "90s", 3 * time.Minute: "3m", 5 * time.Hour: "5h", 72 * time.Hour: "3d"} {
		if got := age(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}
