package ecs_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

// A task through its life, as DescribeTasks shows it.
func TestTaskLife(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "", 4096, 8192)
	w.register("web", nil)
	arn := *w.run("web", nil).Tasks[0].TaskArn
	var lines []string
	show := func() {
		task := w.describe(arn)
		var containers []string
		for _, c := range task.Containers {
			line := *c.Name + "=" + *c.LastStatus
			if c.ExitCode != nil {
				line += fmt.Sprintf("(%d)", *c.ExitCode)
			}
			if c.RuntimeId != nil {
				line += "+id"
			}
			line += fmt.Sprintf("+%d", len(c.NetworkInterfaces))
			containers = append(containers, line)
		}
		lines = append(lines, fmt.Sprintf("%s/%s v%d %s [%s %d] %s %s%s", *task.LastStatus, *task.DesiredStatus, *task.Version, task.HealthStatus,
			*task.Attachments[0].Status, len(task.Attachments[0].Details), strings.Join(containers, " "), task.Connectivity, reason(task)))
	}
	at := func() *time.Time { return new(*w.clock.Load()) }
	show()
	w.report(arn, model.TaskPending, func(o *model.TaskObserved) { o.ConnectivityAt = at() })
	show()
	w.report(arn, model.TaskActivating, func(o *model.TaskObserved) { o.ENIAttached, o.PullStartedAt = true, at() })
	show()
	w.report(arn, model.TaskRunning, func(o *model.TaskObserved) {
		o.StartedAt = at()
		o.Containers = []model.ContainerObserved{
			{Name: "app", Status: model.ContainerRunning, HealthStatus: model.HealthHealthy}, {Name: "init", Status: model.ContainerStopped, ExitCode: new(int32(0))},
		}
	})
	show()
	stopped, err := w.StopTask(t.Context(), &ecsapi.StopTaskInput{Task: &arn, Reason: new("enough")})
	if err != nil || *stopped.Task.DesiredStatus != "STOPPED" {
		t.Fatalf("%+v, %v", stopped, err)
	}
	show()
	if _, err := w.StopTask(t.Context(), &ecsapi.StopTaskInput{Task: &arn, Reason: new("again")}); err != nil {
		t.Fatal(err)
	}
	w.report(arn, model.TaskDeprovisioning, nil)
	show()
	w.report(arn, model.TaskStopped, func(o *model.TaskObserved) {
		o.Containers[0].Status, o.Containers[0].ExitCode = model.ContainerStopped, new(int32(143))
	})
	// The interface goes with the task; what it was is still shown.
	w.update(func(tx *store.Tx) {
		for n := range records.NetworkInterfaces.All(tx) {
			records.NetworkInterfaces.Delete(tx, n.ID)
		}
	})
	show()
	want := []string{
		"PROVISIONING/RUNNING v1 UNKNOWN [PRECREATED 1] app=PENDING+0 init=PENDING+0 ",
		"PENDING/RUNNING v2 UNKNOWN [ATTACHING 5] app=PENDING+1 init=PENDING+1 CONNECTED",
		"ACTIVATING/RUNNING v3 UNKNOWN [ATTACHED 5] app=PENDING+1 init=PENDING+1 CONNECTED",
		"RUNNING/RUNNING v4 HEALTHY [ATTACHED 5] app=RUNNING+id+1 init=STOPPED(0)+id+1 CONNECTED",
		"RUNNING/STOPPED v5 HEALTHY [ATTACHED 5] app=RUNNING+id+1 init=STOPPED(0)+id+1 CONNECTED UserInitiated: enough",
		"DEPROVISIONING/STOPPED v6 HEALTHY [DETACHING 5] app=RUNNING+id+1 init=STOPPED(0)+id+1 CONNECTED UserInitiated: enough",
		"STOPPED/STOPPED v7 HEALTHY [DELETED 5] app=STOPPED(143)+id+1 init=STOPPED(0)+id+1 CONNECTED UserInitiated: enough",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	if name := detail(w.describe(arn), "privateDnsName"); !strings.HasPrefix(name, "ip-10-0-") || !strings.HasSuffix(name, ".ec2.internal") {
		t.Errorf("private name %q", name)
	}
}

func reason(t ecsapi.Task) string {
	if t.StopCode == "" {
		return ""
	}
	return " " + string(t.StopCode) + ": " + *t.StoppedReason
}

func detail(t ecsapi.Task, name string) string {
	for _, d := range t.Attachments[0].Details {
		if *d.Name == name {
			return *d.Value
		}
	}
	return ""
}

func TestTask_Disconnected(t *testing.T) {
	w := newWorld(t)
	n := w.node("n1", "", 4096, 8192)
	w.register("web", nil)
	arn := *w.run("web", nil).Tasks[0].TaskArn
	w.report(arn, model.TaskRunning, func(o *model.TaskObserved) { o.ConnectivityAt = new(time.Unix(1, 0)) })
	w.update(func(tx *store.Tx) {
		if err := records.Instances.Edit(tx, n, func(i *model.Instance) error { i.Connected = false; return nil }); err != nil {
			t.Error(err)
		}
	})
	if task := w.describe(arn); task.Connectivity != "DISCONNECTED" {
		t.Errorf("%s", task.Connectivity)
	}
}

func TestTask_Health(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "", 4096, 8192)
	w.register("two", func(in *ecsapi.RegisterTaskDefinitionInput) { in.ContainerDefinitions[1].Essential = nil })
	arn := *w.run("two", nil).Tasks[0].TaskArn
	for _, tc := range []struct{ app, init, want string }{
		{"", "", "UNKNOWN"}, {"HEALTHY", "", "UNKNOWN"}, {"HEALTHY", "HEALTHY", "HEALTHY"}, {"HEALTHY", "UNHEALTHY", "UNHEALTHY"}, {"UNHEALTHY", "", "UNHEALTHY"},
	} {
		w.report(arn, model.TaskRunning, func(o *model.TaskObserved) {
			o.Containers = []model.ContainerObserved{{Name: "app", Status: "RUNNING", HealthStatus: tc.app}, {Name: "init", Status: "RUNNING", HealthStatus: tc.init}}
		})
		if got := string(w.describe(arn).HealthStatus); got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
	}
}

func TestListTasks(t *testing.T) {
	w := newWorld(t)
	n := w.node("n1", "default", 40960, 81920)
	w.register("web", nil)
	w.register("api", nil)
	web := w.run("web", func(in *ecsapi.RunTaskInput) { in.Count, in.StartedBy = new(int32(5)), new("me") })
	w.run("api", func(in *ecsapi.RunTaskInput) { in.LaunchType = "EC2" })
	if _, err := w.StopTask(t.Context(), &ecsapi.StopTaskInput{Task: web.Tasks[0].TaskArn}); err != nil {
		t.Fatal(err)
	}
	if task := w.describe(*web.Tasks[0].TaskArn); *task.StoppedReason != "Task stopped by user" {
		t.Error(*task.StoppedReason)
	}
	count := func(in ecsapi.ListTasksInput) string {
		seen := map[string]bool{}
		for {
			out, err := w.ListTasks(t.Context(), &in)
			if err != nil {
				return say(err)
			}
			for _, arn := range out.TaskArns {
				if seen[arn] {
					return "twice " + arn
				}
				seen[arn] = true
			}
			if out.NextToken == nil {
				return fmt.Sprint(len(seen))
			}
			in.NextToken = out.NextToken
		}
	}
	for _, tc := range []struct {
		in   ecsapi.ListTasksInput
		want string
	}{
		{ecsapi.ListTasksInput{}, "5"},
		{ecsapi.ListTasksInput{MaxResults: new(int32(2))}, "5"},
		{ecsapi.ListTasksInput{DesiredStatus: "STOPPED"}, "1"},
		{ecsapi.ListTasksInput{DesiredStatus: "PENDING"}, "0"},
		{ecsapi.ListTasksInput{Family: new("web"), MaxResults: new(int32(1))}, "4"},
		{ecsapi.ListTasksInput{StartedBy: new("me")}, "4"},
		{ecsapi.ListTasksInput{LaunchType: "EC2"}, "1"},
		{ecsapi.ListTasksInput{ContainerInstance: &n}, "1"},
		{ecsapi.ListTasksInput{ServiceName: new("s")}, "ServiceNotFoundException: Service not found."},
		{ecsapi.ListTasksInput{StartedBy: new("me"), Family: new("web")}, "InvalidParameterException: startedBy cannot be combined with other filters."},
		{ecsapi.ListTasksInput{Cluster: new("none")}, "ClusterNotFoundException: Cluster not found."},
		{ecsapi.ListTasksInput{MaxResults: new(int32(101))}, "InvalidParameterException: Invalid value for maxResults: 101. It must be between 1 and 100."},
		{ecsapi.ListTasksInput{NextToken: new("x")}, "InvalidParameterException: Invalid token: 'x'"},
	} {
		if got := count(tc.in); got != tc.want {
			t.Errorf("%+v: got %s, want %s", tc.in, got, tc.want)
		}
	}
}

func TestTaskReferences(t *testing.T) {
	w := newWorld(t)
	id := strings.Repeat("0", 32)
	out, err := w.DescribeTasks(t.Context(), &ecsapi.DescribeTasksInput{Tasks: []string{id, "arn:aws:ecs:us-east-1:123456789012:task/default/" + id}})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range out.Failures {
		if *f.Arn != "arn:aws:ecs:us-east-1:123456789012:task/default/"+id || *f.Reason != "MISSING" {
			t.Errorf("%s %s", *f.Arn, *f.Reason)
		}
	}
	describe := func(refs ...string) error {
		_, err := w.DescribeTasks(t.Context(), &ecsapi.DescribeTasksInput{Tasks: refs})
		return err
	}
	stop := func(ref string) error {
		_, err := w.StopTask(t.Context(), &ecsapi.StopTaskInput{Task: &ref})
		return err
	}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{describe(), "InvalidParameterException: Tasks cannot be empty."},
		{describe("x"), "InvalidParameterException: taskId length should be one of [32,36]"},
		{describe("arn:aws:ecs:us-east-1:123456789012:task/web/" + id), "InvalidParameterException: Invalid identifier: Identifier is for cluster web. Your cluster is default"},
		{describe(make([]string, 101)...), "InvalidParameterException: tasks can have at most 100 items."},
		{stop(id), "InvalidParameterException: The referenced task was not found."},
	} {
		if got := say(tc.err); got != tc.want {
			t.Errorf("got %s, want %s", got, tc.want)
		}
	}
}

func TestContainerInstances(t *testing.T) {
	w := newWorld(t)
	n := w.node("n1", "default", 4096, 8192)
	w.node("free", "", 4096, 8192) // Fargate only
	w.register("web", nil)
	w.run("web", func(in *ecsapi.RunTaskInput) { in.LaunchType = "EC2" })
	list, err := w.ListContainerInstances(t.Context(), &ecsapi.ListContainerInstancesInput{})
	if err != nil || len(list.ContainerInstanceArns) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	out, err := w.DescribeContainerInstances(t.Context(), &ecsapi.DescribeContainerInstancesInput{
		ContainerInstances: []string{list.ContainerInstanceArns[0], strings.Repeat("0", 32)}, Include: []ecsapi.ContainerInstanceField{"TAGS", "CONTAINER_INSTANCE_HEALTH"},
	})
	if err != nil || len(out.ContainerInstances) != 1 || len(out.Failures) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	i := out.ContainerInstances[0]
	if !strings.HasSuffix(*i.ContainerInstanceArn, "/default/"+n) || *i.PendingTasksCount != 1 || *i.Status != "ACTIVE" || !*i.AgentConnected ||
		*i.RegisteredResources[0].IntegerValue != 4096 || *i.RemainingResources[0].IntegerValue != 3840 || *i.RemainingResources[1].IntegerValue != 7680 || i.HealthStatus.OverallStatus != "OK" {
		t.Errorf("%+v", i)
	}
	for filter, want := range map[string]int{"runningTasksCount == 0": 1, "task:group == family:web": 1, "attribute:ecs.os-type != linux": 0} {
		if list, err = w.ListContainerInstances(t.Context(), &ecsapi.ListContainerInstancesInput{Filter: &filter}); err != nil || len(list.ContainerInstanceArns) != want {
			t.Errorf("%s: %+v, %v", filter, list, err)
		}
	}
	if list, err = w.ListContainerInstances(t.Context(), &ecsapi.ListContainerInstancesInput{Status: "DRAINING"}); err != nil || len(list.ContainerInstanceArns) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}
