package dispatch_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"berth.dev/berth/internal/agent/session"
	"berth.dev/berth/internal/control/dispatch"
	"berth.dev/berth/internal/control/nodeca"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

func bubble(t *testing.T, f func(t *testing.T, p *plane)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newPlane(t, nil)) })
}

func expectSaid(t *testing.T, n *node, want ...string) {
	t.Helper()
	if got := n.said(); !slices.Equal(got, want) {
		t.Errorf("the control plane said %q, want %q", got, want)
	}
}

const welcomeA = "welcome arn:aws:ecs:us-east-1:123456789012:container-instance/default/0000000000000000000000000000000a"

func TestSession_RegistersTheNode(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		n := p.connect(nodeA)
		expectSaid(t, n, welcomeA, "all documents", "complete")
		i := p.instance(nodeA)
		if i.Name != "host" || i.ClusterName != "default" || i.Zone != "us-east-1a" || i.CPU != 2048 || i.Memory != 4096 ||
			i.Status != model.InstanceActive || !i.Connected || i.Session != 1 || len(i.Attributes) != 2 || i.Attributes[0].Name != "a" {
			t.Errorf("registered as %+v", i)
		}
		registered := i.RegisteredAt
		time.Sleep(time.Minute)
		n.leave()
		if i := p.instance(nodeA); i.Connected || i.DisconnectedAt == nil || !i.DisconnectedAt.Equal(time.Now()) {
			t.Errorf("after it left: %+v", i)
		}
		p.connect(nodeA)
		if i := p.instance(nodeA); !i.Connected || i.DisconnectedAt != nil || i.Session != 2 || !i.RegisteredAt.Equal(registered) {
			t.Errorf("after it came back: %+v", i)
		}
	})
}

// A node hears of all its tasks once, then only of what it must act upon.
func TestSession_SendsWhatChanges(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		p.place("2", nodeB)
		n := p.connect(nodeA)
		expectSaid(t, n, welcomeA, "all documents", "complete; 1 RUNNING at 172.31.0.1 in 172.31.0.0/20 of 172.31.0.0/16")
		p.place("3", nodeA)
		expectSaid(t, n, "changed; 3 RUNNING at 172.31.0.3 in 172.31.0.0/20 of 172.31.0.0/16")
		n.report("1", model.TaskObserved{Seq: 1, Status: model.TaskRunning})
		expectSaid(t, n, "ack 1 1")
		p.edit("1", func(t *model.Task) { t.DecideStop(time.Now(), model.StopUserInitiated, "enough") })
		expectSaid(t, n, "changed; 1 STOPPED at 172.31.0.1 in 172.31.0.0/20 of 172.31.0.0/16")
		p.edit("1", func(t *model.Task) { t.Tags = []model.Tag{{Key: "k"}} })
		expectSaid(t, n)
		n.report("1", model.TaskObserved{Seq: 2, Status: model.TaskStopped})
		expectSaid(t, n, "ack 1 2")
		n.leave()
		n = p.connect(nodeA)
		expectSaid(t, n, welcomeA, "all documents", "complete; 3 RUNNING at 172.31.0.3 in 172.31.0.0/20 of 172.31.0.0/16")
	})
}

func TestSession_AcknowledgesWhatIsDurable(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		n := p.connect(nodeA)
		n.said()
		release := p.kv.hold()
		n.report("1", model.TaskObserved{Seq: 1, Status: model.TaskPending})
		expectSaid(t, n)
		n.report("1", model.TaskObserved{Seq: 2, Status: model.TaskActivating})
		n.report("1", model.TaskObserved{Seq: 3, Status: model.TaskRunning})
		expectSaid(t, n)
		release()
		expectSaid(t, n, "ack 1 1", "ack 1 3") // of those that waited, the newest is enough
		if o := p.task("1").Observed; o.Seq != 3 || o.Status != model.TaskRunning {
			t.Errorf("the store has %+v", o)
		}
		n.report("1", model.TaskObserved{Seq: 2, Status: model.TaskStopped})
		if o := p.task("1").Observed; o.Seq != 3 || o.Status != model.TaskRunning {
			t.Errorf("an old report counted: %+v", o)
		}
	})
}

func TestSession_TheNewestCounts(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		old := p.connect(nodeA)
		young := p.connect(nodeA)
		if status.Code(old.end()) != codes.Unavailable {
			t.Errorf("the older session ended with %v", old.end())
		}
		if i := p.instance(nodeA); !i.Connected || i.Session != 2 {
			t.Errorf("its end disconnected the node: %+v", i)
		}
		young.said()
		young.report("1", model.TaskObserved{Seq: 1, Status: model.TaskRunning})
		expectSaid(t, young, "ack 1 1")
	})
}

func TestSession_ReportsOfOthersTasks(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		p.place("2", nodeB)
		n := p.connect(nodeA)
		n.said()
		n.report("2", model.TaskObserved{Seq: 9, Status: model.TaskStopped})
		n.report("gone", model.TaskObserved{Seq: 4, Status: model.TaskStopped})
		if o := p.task("2").Observed; o.Seq != 0 || !p.hasInterface("2") {
			t.Errorf("another node's report counted: %+v", o)
		}
		expectSaid(t, n, "ack 2 9", "ack gone 4") // so that it can forget them
	})
}

func TestSession_AStoppedTaskGivesItsAddressBack(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		p.update(func(tx *store.Tx) error {
			records.PublicAddresses.Put(tx, &model.PublicAddress{Address: "127.64.0.1", ENIID: "eni-1"})
			return records.NetworkInterfaces.Edit(tx, "eni-1", func(n *model.NetworkInterface) error { n.PublicAddress = "127.64.0.1"; return nil })
		})
		n := p.connect(nodeA)
		n.report("1", model.TaskObserved{Seq: 1, Status: model.TaskDeprovisioning, StopCode: model.StopEssentialContainerExited, StoppedReason: "why"})
		if !p.hasInterface("1") {
			t.Error("its address may be given to another although it may still be in use")
		}
		n.report("1", model.TaskObserved{Seq: 2, Status: model.TaskStopped, StopCode: model.StopEssentialContainerExited, StoppedReason: "why"})
		if p.hasInterface("1") {
			t.Error("its interface stays for ever")
		}
		if records.PublicAddresses.Len(p.store.Snapshot()) > 0 {
			t.Error("its public address stays for ever")
		}
		if tk := p.task("1"); tk.StopCode != model.StopEssentialContainerExited || tk.StoppedReason != "why" || tk.DesiredStatus != model.TaskStopped {
			t.Errorf("got %+v", tk)
		}
	})
}

// A task that was given up with its node keeps its address until the node has
// confirmed the end.
func TestSession_ALostTaskIsConfirmed(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		n := p.connect(nodeA)
		n.report("1", model.TaskObserved{Seq: 5, Status: model.TaskRunning})
		n.leave()
		p.edit("1", func(t *model.Task) { t.Lose(time.Now(), "lost") })
		if !p.hasInterface("1") {
			t.Fatal("the lost task may still run with its address")
		}
		n = p.connect(nodeA)
		expectSaid(t, n, welcomeA, "all documents", "complete; 1 STOPPED at 172.31.0.1 in 172.31.0.0/20 of 172.31.0.0/16")
		n.report("1", model.TaskObserved{Seq: 6, Status: model.TaskStopping})
		if tk := p.task("1"); !tk.Lost || !p.hasInterface("1") || tk.Observed.Status != model.TaskStopped {
			t.Errorf("while it stops: %+v", tk)
		}
		n.report("1", model.TaskObserved{Seq: 7, Status: model.TaskStopped})
		tk := p.task("1")
		if tk.Lost || p.hasInterface("1") || tk.StopCode != model.StopTerminationNotice || tk.StoppedReason != "lost" {
			t.Errorf("confirmed: %+v", tk)
		}
		expectSaid(t, n, "ack 1 6", "ack 1 7")
	})
}

// When a control plane begins nobody is connected, whatever its predecessor
// left behind, and nodes find it again.
func TestRun_AfterAnotherControlPlane(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		p.connect(nodeA)
		release := p.kv.hold() // it dies before it can write anything
		p.stop()
		time.Sleep(time.Hour)
		release()
		p.begin()
		if i := p.instance(nodeA); i.Connected || !i.DisconnectedAt.Equal(time.Now()) {
			t.Errorf("nobody has called yet: %+v", i)
		}
		n := p.connect(nodeA)
		expectSaid(t, n, welcomeA, "all documents", "complete; 1 RUNNING at 172.31.0.1 in 172.31.0.0/20 of 172.31.0.0/16")
		if i := p.instance(nodeA); !i.Connected || i.Session != 2 {
			t.Errorf("got %+v", i)
		}
	})
}

func TestSession_BeginsWithHello(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		stream, err := p.client(nodeA, p.ca).Session(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&nodeapi.NodeMessage{}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("got %v", err)
		}
	})
}

// A certificate of this control plane is asked for by every call but Join.
func TestIdentity_IsAskedFor(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		other, err := nodeca.Open(filepath.Join(t.TempDir(), "pki"), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			name   string
			client nodeapi.NodeClient
			want   codes.Code
		}{
			{"no certificate", p.client("", nil), codes.Unauthenticated},
			{"another authority's certificate", p.client(nodeA, other), codes.Unavailable}, // no connection at all
		} {
			stream, err := test.client.Session(t.Context())
			if err == nil {
				_, err = stream.Recv()
			}
			if status.Code(err) != test.want {
				t.Errorf("%s: Session answers %v", test.name, err)
			}
			if _, err := test.client.EnsureLogStream(t.Context(), &nodeapi.EnsureLogStreamRequest{}); status.Code(err) != test.want {
				t.Errorf("%s: EnsureLogStream answers %v", test.name, err)
			}
			if _, err := test.client.DeliverLogs(t.Context(), &nodeapi.DeliverLogsRequest{}); status.Code(err) != test.want {
				t.Errorf("%s: DeliverLogs answers %v", test.name, err)
			}
		}
		if records.Instances.Len(p.store.Snapshot()) != 0 {
			t.Error("somebody was registered")
		}
	})
}

func TestLogs_Refusals(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		client := p.client(nodeA, p.ca)
		for _, test := range []struct {
			err     error
			refusal string
			code    codes.Code
		}{
			{nil, "", codes.OK},
			{&dispatch.Refusal{Text: "ResourceNotFoundException: no group"}, "ResourceNotFoundException: no group", codes.OK},
			{errors.New("disk full"), "", codes.Unavailable}, // may be tried again
		} {
			p.logs.err = test.err
			made, err := client.EnsureLogStream(t.Context(), &nodeapi.EnsureLogStreamRequest{Group: "g", Stream: "s"})
			if made.GetRefusal() != test.refusal || status.Code(err) != test.code {
				t.Errorf("%v: EnsureLogStream answers %v, %v", test.err, made, err)
			}
			delivered, err := client.DeliverLogs(t.Context(), &nodeapi.DeliverLogsRequest{
				Source: "c1", Events: []*nodeapi.LogEvent{{Seq: 3, TimestampMs: 9, Message: "hello"}},
			})
			if delivered.GetRefusal() != test.refusal || status.Code(err) != test.code {
				t.Errorf("%v: DeliverLogs answers %v, %v", test.err, delivered, err)
			}
		}
		// Two nodes may name a source alike.
		if p.logs.sources[0] != nodeA+"/c1 3 9 hello" {
			t.Errorf("stored as %q", p.logs.sources[0])
		}
	})
}

func TestJoin(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		dir := t.TempDir()
		id, err := session.Join(t.Context(), dir, "passthrough:///server", p.ca.Token().String(), p.dial)
		if err != nil {
			t.Fatal(err)
		}
		again, err := session.LoadOrJoin(t.Context(), dir, "passthrough:///nowhere", "", nil)
		if err != nil || again.InstanceID != id.InstanceID {
			t.Errorf("it has another identity after a restart: %v, %v", again, err)
		}

		wrong := p.ca.Token()
		wrong.Secret += "x"
		if _, err := session.Join(t.Context(), t.TempDir(), "passthrough:///server", wrong.String(), p.dial); status.Code(errors.Unwrap(err)) != codes.PermissionDenied {
			t.Errorf("with a wrong secret: %v", err)
		}
		impostor := p.ca.Token()
		impostor.CAHash[0]++
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begun := time.Now()
		_, err = session.Join(ctx, t.TempDir(), "passthrough:///server", impostor.String(), p.dial)
		if err == nil || !strings.Contains(err.Error(), "not the one that the join token names") {
			t.Errorf("with another authority's token: %v", err)
		}
		if time.Since(begun) >= time.Hour {
			t.Error("it did not give up by itself")
		}
	})
}

func TestJoin_RefusesNames(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		_, err := p.client("", nil).Join(t.Context(), &nodeapi.JoinRequest{TokenSecret: p.ca.Token().Secret, CertificateRequest: []byte("nonsense")})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("got %v", err)
		}
	})
}
