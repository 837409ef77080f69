package ssm_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// tokens makes tokens that show what they are for.
type tokens struct{}

func (tokens) IssueChannel(id string, serial int) (string, error) {
	return fmt.Sprintf("token %d of %s", serial, id), nil
}

const taskID = "0123456789abcdef0123456789abcdef"

// task makes a task with a container that commands can be run in. Its cluster
// has a name with what separates in targets.
func (w *world) task(edit func(*model.Task)) (target string) {
	w.t.Helper()
	t := &model.Task{
		ID: taskID, ClusterName: "my_app", DesiredStatus: model.TaskRunning, EnableExecuteCommand: true, InstanceID: "n1",
		Containers: []model.TaskContainer{{Name: "web", RuntimeID: taskID + "-0000000001"}},
		Observed: model.TaskObserved{Status: model.TaskRunning, Containers: []model.ContainerObserved{
			{Name: "web", Status: model.ContainerRunning, ExecAgent: &model.ManagedAgent{Status: model.AgentRunning}},
		}},
	}
	edit(t)
	w.write(func(tx *store.Tx) error {
		records.Tasks.Put(tx, t)
		records.Instances.Put(tx, &model.Instance{ID: "n1", Connected: true})
		return nil
	})
	return "ecs:my_app_" + taskID + "_" + t.Containers[0].RuntimeID
}

func (w *world) write(fn func(*store.Tx) error) {
	w.t.Helper()
	if _, err := w.store.Update(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

func start(target, document string, parameters map[string][]string) *awsssm.StartSessionInput {
	in := &awsssm.StartSessionInput{Target: &target, Parameters: parameters}
	if document != "" {
		in.DocumentName = &document
	}
	return in
}

func TestStartSession(t *testing.T) {
	w := newWorld(t)
	target := w.task(func(*model.Task) {})
	for _, tc := range []struct {
		document   string
		parameters map[string][]string
		want       string // document, parameters and command as stored
	}{
		{"", nil, "SSM-SessionManagerRunShell map[] [/bin/sh]"},
		{model.DocumentPortForward, map[string][]string{"portNumber": {"8080"}, "localPortNumber": {"9090"}}, "AWS-StartPortForwardingSession map[localPortNumber:[9090] portNumber:[8080]] []"},
		{model.DocumentPortForward, nil, "AWS-StartPortForwardingSession map[localPortNumber:[0] portNumber:[80]] []"},
		{"arn:aws:ssm:us-east-1::document/" + model.DocumentPortForwardRemote, map[string][]string{"host": {"db.internal"}, "portNumber": {"5432"}}, "AWS-StartPortForwardingSessionToRemoteHost map[host:[db.internal] localPortNumber:[0] portNumber:[5432]] []"},
		{model.DocumentDebug, map[string][]string{"image": {"busybox"}, "command": {"sh", "-l"}}, "Berth-DebugContainer map[command:[sh -l] image:[busybox]] [sh -l]"},
		{model.DocumentRead, map[string][]string{"path": {"/etc"}}, "Berth-ReadFiles map[path:[/etc]] []"},
		{model.DocumentWrite, map[string][]string{"path": {"/tmp"}}, "Berth-WriteFiles map[path:[/tmp]] []"},
	} {
		out := must[awsssm.StartSessionOutput](w)(w.ssm.StartSession(t.Context(), start(target, tc.document, tc.parameters)))
		s, _ := records.RemoteSessions.Get(w.store.Snapshot(), *out.SessionId)
		if s == nil || fmt.Sprint(s.Document, " ", s.Parameters, " ", s.Command) != tc.want {
			t.Errorf("%s: stored %+v, want %s", tc.document, s, tc.want)
			continue
		}
		if !strings.HasPrefix(s.ID, "root-0") || s.Owner != rootARN || s.TaskID != taskID || s.ClusterName != "my_app" || s.Container != "web" || s.Target != target || s.Status != model.SessionConnecting || s.IdleSeconds != 1200 {
			t.Errorf("stored %+v", s)
		}
		if *out.TokenValue != "token 0 of "+s.ID || !strings.HasPrefix(*out.StreamUrl, "ws://127.0.0.1:") || !strings.HasSuffix(*out.StreamUrl, "/v1/data-channel/"+s.ID+"?role=publish_subscribe") {
			t.Errorf("answered %s", *out.StreamUrl)
		}
	}
}

func TestStartSession_Errors(t *testing.T) {
	w := newWorld(t)
	target := w.task(func(*model.Task) {})
	var lines []string
	refused := func(name string, in *awsssm.StartSessionInput) {
		t.Helper()
		_, err := w.ssm.StartSession(t.Context(), in)
		lines = append(lines, name+": "+strings.ReplaceAll(w.refusal(err), target, "TARGET"))
	}
	forward := model.DocumentPortForward
	refused("instance", start("i-0123456789abcdef0", "", nil))
	refused("unknown task", start("ecs:my_app_"+strings.Repeat("0", 32)+"_x", "", nil))
	refused("other cluster", start(strings.Replace(target, "my_app", "my", 1), "", nil))
	refused("other runtime id", start(target+"0", "", nil))
	refused("document", start(target, "AWS-StartSSHSession", nil))
	refused("ECS's document", start(target, model.DocumentExec, nil))
	refused("parameter", start(target, forward, map[string][]string{"port": {"80"}}))
	refused("port", start(target, forward, map[string][]string{"portNumber": {"0"}}))
	refused("two ports", start(target, forward, map[string][]string{"portNumber": {"80", "81"}}))
	refused("local port", start(target, forward, map[string][]string{"localPortNumber": {"65536"}}))
	refused("no host", start(target, model.DocumentPortForwardRemote, nil))
	refused("host", start(target, model.DocumentPortForwardRemote, map[string][]string{"host": {"a b"}}))
	refused("no image", start(target, model.DocumentDebug, map[string][]string{"image": {""}}))
	refused("no path", start(target, model.DocumentRead, nil))
	refused("shell with parameters", start(target, "", map[string][]string{"x": {"y"}}))
	for name, edit := range map[string]func(*model.Task){
		"agent": func(t *model.Task) { t.Observed.Containers[0].ExecAgent.Status = model.AgentStopped },
	} {
		w.task(edit)
		refused(name, start(target, "", nil))
	}
	w.task(func(t *model.Task) { t.EnableExecuteCommand = false })
	refused("not enabled", start(target, "", nil))
	w.task(func(t *model.Task) { t.DesiredStatus = model.TaskStopped })
	refused("stopping", start(target, "", nil))
	w.task(func(*model.Task) {})
	w.write(func(tx *store.Tx) error {
		return records.Instances.Edit(tx, "n1", func(i *model.Instance) error { i.Connected = false; return nil })
	})
	refused("node away", start(target, "", nil))
	_, err := w.ssm.TerminateSession(t.Context(), &awsssm.TerminateSessionInput{SessionId: aws.String("nobody-0")})
	lines = append(lines, "terminate: "+w.refusal(err)+" (uncertain)")
	_, err = w.ssm.ResumeSession(t.Context(), &awsssm.ResumeSessionInput{SessionId: aws.String("nobody-0")})
	lines = append(lines, "resume: "+w.refusal(err)+" (uncertain)")
	_, err = w.ssm.DescribeSessions(t.Context(), &awsssm.DescribeSessionsInput{State: types.SessionStateActive, Filters: []types.SessionFilter{{Key: types.SessionFilterKeyInvokedAfter, Value: aws.String("yesterday")}}})
	lines = append(lines, "filter: "+w.refusal(err)+" (uncertain)")
	if n := records.RemoteSessions.Len(w.store.Snapshot()); n != 0 {
		t.Errorf("%d sessions were stored", n)
	}
	compareGolden(t, "testdata/session_errors.golden", lines)
}

func TestResumeSession(t *testing.T) {
	w := newWorld(t)
	target := w.task(func(*model.Task) {})
	id := must[awsssm.StartSessionOutput](w)(w.ssm.StartSession(t.Context(), start(target, "", nil))).SessionId
	resume := func() *awsssm.ResumeSessionOutput {
		return must[awsssm.ResumeSessionOutput](w)(w.ssm.ResumeSession(t.Context(), &awsssm.ResumeSessionInput{SessionId: id}))
	}
	if out := resume(); *out.TokenValue != "token 1 of "+*id || !strings.Contains(*out.StreamUrl, *id) {
		t.Errorf("resumed %+v", out)
	}
	if s, _ := records.RemoteSessions.Get(w.store.Snapshot(), *id); s.Serial != 1 {
		t.Errorf("the token before is still good: %+v", s)
	}
	// One that nobody has come to is over at once; the plugin is told by the
	// absence of a token.
	must[awsssm.TerminateSessionOutput](w)(w.ssm.TerminateSession(t.Context(), &awsssm.TerminateSessionInput{SessionId: id}))
	if out := resume(); out.TokenValue != nil || *out.SessionId != *id {
		t.Errorf("resumed after its end: %+v", out)
	}
}

func TestTerminateSession(t *testing.T) {
	w := newWorld(t)
	target := w.task(func(*model.Task) {})
	terminate := func(id *string) *model.RemoteSession {
		must[awsssm.TerminateSessionOutput](w)(w.ssm.TerminateSession(t.Context(), &awsssm.TerminateSessionInput{SessionId: id}))
		s, _ := records.RemoteSessions.Get(w.store.Snapshot(), *id)
		return s
	}
	id := must[awsssm.StartSessionOutput](w)(w.ssm.StartSession(t.Context(), start(target, "", nil))).SessionId
	if s := terminate(id); s.Status != model.SessionTerminated || s.EndedAt == nil {
		t.Errorf("nobody has come, and it is %+v", s)
	}
	id = must[awsssm.StartSessionOutput](w)(w.ssm.StartSession(t.Context(), start(target, "", nil))).SessionId
	w.write(func(tx *store.Tx) error {
		return records.RemoteSessions.Edit(tx, *id, func(s *model.RemoteSession) error {
			s.Status, s.ConnectedAt = model.SessionConnected, new(tx.Now())
			return nil
		})
	})
	if s := terminate(id); s.Status != model.SessionTerminating || !s.Terminate || s.EndedAt != nil {
		t.Errorf("who carries it is to end it: %+v", s)
	}
	terminate(id) // again
}

func TestDescribeSessions(t *testing.T) {
	w := newWorld(t)
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	w.write(func(tx *store.Tx) error {
		for i := range 5 {
			s := &model.RemoteSession{
				ID: fmt.Sprintf("alice-%d", i), Target: "ecs:t", Owner: "arn:alice", Status: model.SessionConnected, Document: "d",
				CreatedAt: begin.Add(time.Duration(i) * time.Hour),
			}
			if i%2 == 1 {
				s.Status, s.EndedAt, s.Details, s.Reason = model.SessionTerminated, new(begin.Add(time.Hour*10)), "why", "because"
				s.Log = &model.SessionLog{LogGroup: "/audit"}
			}
			records.RemoteSessions.Put(tx, s)
		}
		return nil
	})
	list := func(state types.SessionState, filters ...types.SessionFilter) (ids string) {
		t.Helper()
		var token *string
		for {
			out := must[awsssm.DescribeSessionsOutput](w)(w.ssm.DescribeSessions(t.Context(), &awsssm.DescribeSessionsInput{
				State: state, Filters: filters, MaxResults: aws.Int32(2), NextToken: token,
			}))
			for _, s := range out.Sessions {
				ids += strings.TrimPrefix(*s.SessionId, "alice-")
			}
			if token = out.NextToken; token == nil {
				return ids
			}
		}
	}
	filter := func(key types.SessionFilterKey, value string) types.SessionFilter {
		return types.SessionFilter{Key: key, Value: &value}
	}
	for _, tc := range []struct {
		state   types.SessionState
		filters []types.SessionFilter
		want    string
	}{
		{types.SessionStateActive, nil, "420"},
		{types.SessionStateHistory, nil, "31"},
		{types.SessionStateActive, []types.SessionFilter{filter(types.SessionFilterKeyInvokedAfter, "2026-01-02T05:04:05Z")}, "42"},
		{types.SessionStateActive, []types.SessionFilter{filter(types.SessionFilterKeyInvokedBefore, "2026-01-02T05:04:05Z")}, "20"},
		{types.SessionStateActive, []types.SessionFilter{filter(types.SessionFilterKeyOwner, "arn:bob")}, ""},
		{types.SessionStateActive, []types.SessionFilter{filter(types.SessionFilterKeyTargetId, "ecs:t"), filter(types.SessionFilterKeySessionId, "alice-2")}, "2"},
		{types.SessionStateHistory, []types.SessionFilter{filter(types.SessionFilterKeyStatus, "Terminated")}, "31"},
		{types.SessionStateHistory, []types.SessionFilter{filter(types.SessionFilterKeyAccessType, "JustInTime")}, ""},
	} {
		if got := list(tc.state, tc.filters...); got != tc.want {
			t.Errorf("%s %v: %q, want %q", tc.state, tc.filters, got, tc.want)
		}
	}
	out := must[awsssm.DescribeSessionsOutput](w)(w.ssm.DescribeSessions(t.Context(), &awsssm.DescribeSessionsInput{State: types.SessionStateHistory}))
	i := slices.IndexFunc(out.Sessions, func(s types.Session) bool { return *s.SessionId == "alice-1" })
	if s := out.Sessions[i]; *s.Details != "why" || *s.Reason != "because" || s.EndDate == nil || s.Status != "Terminated" || *s.OutputUrl.CloudWatchOutputUrl != "/audit" || *s.DocumentName != "d" {
		t.Errorf("shown %+v", s)
	}
}

func TestGetConnectionStatus(t *testing.T) {
	w := newWorld(t)
	target := w.task(func(*model.Task) {})
	for target, want := range map[string]types.ConnectionStatus{target: types.ConnectionStatusConnected, target + "0": types.ConnectionStatusNotConnected, "i-0": types.ConnectionStatusNotConnected} {
		out := must[awsssm.GetConnectionStatusOutput](w)(w.ssm.GetConnectionStatus(t.Context(), &awsssm.GetConnectionStatusInput{Target: &target}))
		if out.Status != want || *out.Target != target {
			t.Errorf("%s: %s", target, out.Status)
		}
	}
}
