package ecs_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/ecs"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/caller"
)

// tokens makes tokens that show what they are for.
type tokens struct{ err error }

func (t tokens) IssueChannel(id string, serial int) (string, error) {
	return "token of " + id, t.err
}

const taskRole = "arn:aws:iam::123456789012:role/app"

// execWorld has a task whose containers can be looked into.
func execWorld(t *testing.T) (w *world, arn string) {
	w = newWorld(t)
	w.Provider = ecs.New(ecs.Config{Store: w.store, Scope: scope, Tokens: tokens{}})
	w.node("n1", "", 4096, 8192)
	w.register("web", func(in *ecsapi.RegisterTaskDefinitionInput) {
		in.TaskRoleArn = new(taskRole)
		in.ContainerDefinitions[0].LogConfiguration = &ecsapi.LogConfiguration{
			LogDriver: "awslogs", Options: map[string]string{"awslogs-group": "/web", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "x"},
		}
	})
	arn = *w.run("web", func(in *ecsapi.RunTaskInput) { in.EnableExecuteCommand = new(true) }).Tasks[0].TaskArn
	w.report(arn, model.TaskRunning, func(o *model.TaskObserved) {
		o.Containers = nil
		for _, name := range []string{"app", "init"} {
			o.Containers = append(o.Containers, model.ContainerObserved{
				Name: name, Status: model.ContainerRunning, ExecAgent: &model.ManagedAgent{Status: model.AgentRunning, StartedAt: new(w.clock.Load().UTC())},
			})
		}
	})
	return w, arn
}

// execute runs a command as the user alice, over a connection with or without
// TLS.
func (w *world) execute(arn string, edit func(*ecsapi.ExecuteCommandInput)) (*ecsapi.ExecuteCommandOutput, error) {
	in := &ecsapi.ExecuteCommandInput{Task: &arn, Container: new("app"), Command: new(`/bin/sh -c "echo a b"`), Interactive: new(true)}
	if edit != nil {
		edit(in)
	}
	ctx := caller.With(w.Context(), caller.Identity{ARN: "arn:aws:iam::123456789012:user/alice", UserName: "alice", Host: "berth.test:8577", Secure: true})
	return w.ExecuteCommand(ctx, in)
}

func (w *world) session(id string) *model.RemoteSession {
	w.Helper()
	s, found := records.RemoteSessions.Get(w.store.Snapshot(), id)
	if !found {
		w.Fatalf("there is no session %s", id)
	}
	return s
}

func TestExecuteCommand(t *testing.T) {
	w, arn := execWorld(t)
	out, err := w.execute(arn, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := w.session(*out.Session.SessionId)
	task := w.describe(arn)
	if *out.ClusterArn != *task.ClusterArn || *out.TaskArn != arn || *out.ContainerArn != *task.Containers[0].ContainerArn || *out.ContainerName != "app" || !*out.Interactive {
		t.Errorf("answered %+v", out)
	}
	if !strings.HasPrefix(s.ID, "ecs-execute-command-") || len(s.ID) != len("ecs-execute-command-")+26 ||
		*out.Session.TokenValue != "token of "+s.ID || *out.Session.StreamUrl != "wss://berth.test:8577/v1/data-channel/"+s.ID+"?role=publish_subscribe" {
		t.Errorf("the session is %s at %s", *out.Session.SessionId, *out.Session.StreamUrl)
	}
	if s.Target != "ecs:default_"+s.TaskID+"_"+*task.Containers[0].RuntimeId || s.Owner != "arn:aws:iam::123456789012:user/alice" || s.Document != model.DocumentExec ||
		strings.Join(s.Command, "|") != "/bin/sh|-c|echo a b" || s.IdleSeconds != 1200 || s.Status != model.SessionConnecting ||
		s.ValidUntil.Sub(s.CreatedAt) != 5*time.Minute {
		t.Errorf("stored %+v", s)
	}
	if s.Log == nil || s.Log.LogGroup != "/web" || s.Log.LogStream != s.ID {
		t.Errorf("logged to %+v", s.Log)
	}
	// A container without awslogs has nothing that DEFAULT could mean.
	out, err = w.execute(arn, func(in *ecsapi.ExecuteCommandInput) { in.Container = new("init") })
	if err != nil || w.session(*out.Session.SessionId).Log != nil {
		t.Errorf("%v, logged to %+v", err, w.session(*out.Session.SessionId).Log)
	}
}

// The cluster says where sessions are logged.
func TestExecuteCommand_Logging(t *testing.T) {
	w, arn := execWorld(t)
	configure := func(c *model.ExecuteCommandConfiguration) {
		w.update(func(tx *store.Tx) {
			if err := records.Clusters.Edit(tx, "default", func(cluster *model.Cluster) error {
				cluster.Configuration = &model.ClusterConfiguration{ExecuteCommand: c}
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	configure(&model.ExecuteCommandConfiguration{Logging: "NONE"})
	if out, err := w.execute(arn, nil); err != nil || w.session(*out.Session.SessionId).Log != nil {
		t.Errorf("NONE: %v", err)
	}
	override := func(l model.ExecuteCommandLogConfiguration) {
		configure(&model.ExecuteCommandConfiguration{Logging: "OVERRIDE", LogConfiguration: &l})
	}
	override(model.ExecuteCommandLogConfiguration{CloudWatchLogGroupName: "/audit"})
	if out, err := w.execute(arn, nil); err != nil || w.session(*out.Session.SessionId).Log.LogGroup != "/audit" {
		t.Errorf("OVERRIDE: %v", err)
	}
	override(model.ExecuteCommandLogConfiguration{S3BucketName: "bucket"})
	if _, err := w.execute(arn, nil); err == nil || !strings.Contains(say(err), "s3BucketName") {
		t.Errorf("S3: %v", err)
	}
	override(model.ExecuteCommandLogConfiguration{CloudWatchLogGroupName: "/audit", CloudWatchEncryptionEnabled: new(true)})
	if _, err := w.execute(arn, nil); err == nil || !strings.Contains(say(err), "cloudWatchEncryptionEnabled") {
		t.Errorf("encryption: %v", err)
	}
}

func TestDescribeTasks_ManagedAgents(t *testing.T) {
	w, arn := execWorld(t)
	task := w.describe(arn)
	agents := task.Containers[0].ManagedAgents
	if !*task.EnableExecuteCommand || len(agents) != 1 || agents[0].Name != "ExecuteCommandAgent" || *agents[0].LastStatus != "RUNNING" || agents[0].LastStartedAt == nil || agents[0].Reason != nil {
		t.Errorf("agents %+v", agents)
	}
	w.report(arn, model.TaskRunning, func(o *model.TaskObserved) {
		o.Containers[0].ExecAgent = &model.ManagedAgent{Status: model.AgentStopped, Reason: "no such file"}
	})
	if agents = w.describe(arn).Containers[0].ManagedAgents; *agents[0].LastStatus != "STOPPED" || *agents[0].Reason != "no such file" {
		t.Errorf("agents %+v", agents)
	}
	// Of a task that was just accepted; and of one that is not to have any.
	next := *w.run("web", func(in *ecsapi.RunTaskInput) { in.EnableExecuteCommand = new(true) }).Tasks[0].TaskArn
	if agents = w.describe(next).Containers[1].ManagedAgents; len(agents) != 1 || *agents[0].LastStatus != "PENDING" {
		t.Errorf("agents %+v", agents)
	}
	if agents = w.describe(*w.run("web", nil).Tasks[0].TaskArn).Containers[0].ManagedAgents; len(agents) != 0 {
		t.Errorf("agents %+v", agents)
	}
}

// seenExec are those whose texts were seen in AWS's output.
var seenExec = []string{"not enabled", "agent stopped", "stopped", "node away", "cluster", "service", "service update"}

func TestExecuteCommand_Errors(t *testing.T) {
	w, arn := execWorld(t)
	plain := *w.run("web", nil).Tasks[0].TaskArn
	w.report(plain, model.TaskRunning, func(o *model.TaskObserved) {
		o.Containers = []model.ContainerObserved{{Name: "app", Status: model.ContainerRunning}}
	})
	stopped := *w.run("web", func(in *ecsapi.RunTaskInput) { in.EnableExecuteCommand = new(true) }).Tasks[0].TaskArn
	w.report(stopped, model.TaskStopped, nil)
	var lines strings.Builder
	refused := func(name string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s was accepted", name)
			return
		}
		lines.WriteString(name + ": " + say(err) + mark(seenExec, name))
	}
	for _, tc := range []struct {
		name string
		task string
		edit func(*ecsapi.ExecuteCommandInput)
	}{
		{"not interactive", arn, func(in *ecsapi.ExecuteCommandInput) { in.Interactive = new(false) }},
		{"cluster", arn, func(in *ecsapi.ExecuteCommandInput) { in.Cluster = new("none") }},
		{"task", strings.Repeat("0", 32), nil},
		{"task id", "web", nil},
		{"container", arn, func(in *ecsapi.ExecuteCommandInput) { in.Container = new("db") }},
		{"no container", arn, func(in *ecsapi.ExecuteCommandInput) { in.Container = nil }},
		{"not enabled", plain, nil},
		{"stopped", stopped, nil},
		{"blank command", arn, func(in *ecsapi.ExecuteCommandInput) { in.Command = new(" ") }},
		{"quotes", arn, func(in *ecsapi.ExecuteCommandInput) { in.Command = new(`echo "a`) }},
		{"pipe", arn, func(in *ecsapi.ExecuteCommandInput) { in.Command = new("ps | grep x") }},
	} {
		_, err := w.execute(tc.task, tc.edit)
		refused(tc.name, err)
	}
	w.report(arn, model.TaskRunning, func(o *model.TaskObserved) { o.Containers[0].ExecAgent.Status = model.AgentStopped })
	_, err := w.execute(arn, nil)
	refused("agent stopped", err)
	w.report(arn, model.TaskRunning, func(o *model.TaskObserved) { o.Containers[0].ExecAgent.Status = model.AgentRunning })
	w.update(func(tx *store.Tx) {
		for i := range records.Instances.All(tx) {
			if err := records.Instances.Edit(tx, i.ID, func(i *model.Instance) error { i.Connected = false; return nil }); err != nil {
				t.Error(err)
			}
		}
	})
	_, err = w.execute(arn, nil)
	refused("node away", err)
	if n := records.RemoteSessions.Len(w.store.Snapshot()); n != 0 {
		t.Errorf("%d sessions were stored", n)
	}

	w.register("roleless", nil)
	_, err = w.RunTask(t.Context(), runInput("roleless", func(in *ecsapi.RunTaskInput) { in.EnableExecuteCommand = new(true) }))
	refused("run", err)
	if _, err = w.RunTask(t.Context(), runInput("roleless", func(in *ecsapi.RunTaskInput) {
		in.EnableExecuteCommand, in.Overrides = new(true), &ecsapi.TaskOverride{TaskRoleArn: new(taskRole)}
	})); err != nil {
		t.Errorf("with a role that overrides: %v", err)
	}
	create := &ecsapi.CreateServiceInput{
		ServiceName: new("s"), TaskDefinition: new("roleless"), DesiredCount: new(int32(0)), LaunchType: "FARGATE", EnableExecuteCommand: new(true),
		NetworkConfiguration: runInput("", nil).NetworkConfiguration,
	}
	_, err = w.CreateService(t.Context(), create)
	refused("service", err)
	create.EnableExecuteCommand = nil
	if _, err = w.CreateService(t.Context(), create); err != nil {
		t.Fatal(err)
	}
	_, err = w.UpdateService(t.Context(), &ecsapi.UpdateServiceInput{Service: new("s"), EnableExecuteCommand: new(true)})
	refused("service update", err)
	updated, err := w.UpdateService(t.Context(), &ecsapi.UpdateServiceInput{Service: new("s"), EnableExecuteCommand: new(true), TaskDefinition: new("web")})
	if err != nil || !*updated.Service.EnableExecuteCommand {
		t.Errorf("%v", err)
	}
	compareGolden(t, "testdata/exec_errors.golden", lines.String())
}

// What issues tokens may fail: then there is no session that nobody can open.
func TestExecuteCommand_WithoutToken(t *testing.T) {
	w, arn := execWorld(t)
	w.Provider = ecs.New(ecs.Config{Store: w.store, Scope: scope, Tokens: tokens{errors.New("sealed")}})
	if _, err := w.execute(arn, nil); err == nil || records.RemoteSessions.Len(w.store.Snapshot()) != 0 {
		t.Errorf("%v", err)
	}
}
