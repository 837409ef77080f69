package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"berth.dev/berth/internal/agent/session"
	"berth.dev/berth/internal/control/nodeca"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// server is a control plane that says what the test tells it to.
type server struct {
	nodeapi.UnimplementedNodeServer
	t  *testing.T
	ca *nodeca.Authority

	mu       sync.Mutex
	listener *bufconn.Listener
	grpc     *grpc.Server
	stream   grpc.BidiStreamingServer[nodeapi.NodeMessage, nodeapi.ServerMessage]
	heard    []string
	refusal  string
}

func newServer(t *testing.T) *server {
	ca, err := nodeca.Open(filepath.Join(t.TempDir(), "pki"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, ca: ca}
	t.Cleanup(s.die)
	return s
}

func (s *server) begin() {
	config, err := s.ca.ServerTLS(time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener = bufconn.Listen(1 << 20)
	s.grpc = grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	nodeapi.RegisterNodeServer(s.grpc, s)
	go s.grpc.Serve(s.listener) //nolint:errcheck // it ends with die
}

func (s *server) die() {
	s.mu.Lock()
	server := s.grpc
	s.grpc, s.listener = nil, nil
	s.mu.Unlock()
	if server != nil {
		server.Stop()
	}
}

func (s *server) dial(ctx context.Context, _ string) (net.Conn, error) {
	s.mu.Lock()
	l := s.listener
	s.mu.Unlock()
	if l == nil {
		return nil, errors.New("connection refused")
	}
	return l.DialContext(ctx)
}

func (s *server) Join(_ context.Context, in *nodeapi.JoinRequest) (*nodeapi.JoinResponse, error) {
	cert, err := s.ca.SignNode(in.GetTokenSecret(), in.GetCertificateRequest(), time.Now())
	return &nodeapi.JoinResponse{Certificate: cert, CaCertificate: s.ca.CertificateDER()}, err
}

func (s *server) Session(stream grpc.BidiStreamingServer[nodeapi.NodeMessage, nodeapi.ServerMessage]) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.stream = stream
		if h := m.GetHello(); h != nil {
			s.heard = append(s.heard, "hello "+h.GetName())
		}
		if r := m.GetReport(); r != nil {
			s.heard = append(s.heard, fmt.Sprintf("report %s %d", r.GetTaskId(), r.GetSeq()))
		}
		if o := m.GetObservation(); o != nil {
			s.heard = append(s.heard, fmt.Sprintf("observation %s %s %s", o.GetKind(), o.GetKey(), o.GetBody()))
		}
		s.mu.Unlock()
	}
}

func (s *server) DeliverLogs(context.Context, *nodeapi.DeliverLogsRequest) (*nodeapi.DeliverLogsResponse, error) {
	return &nodeapi.DeliverLogsResponse{Refusal: s.refusal}, nil
}

func (s *server) EnsureLogStream(context.Context, *nodeapi.EnsureLogStreamRequest) (*nodeapi.EnsureLogStreamResponse, error) {
	if s.refusal == "unavailable" {
		return nil, status.Error(codes.Unavailable, "no")
	}
	return &nodeapi.EnsureLogStreamResponse{Refusal: s.refusal}, nil
}

// said returns what the node has said since the last time, reports in order of
// their tasks.
func (s *server) said() []string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.heard
	s.heard = nil
	if len(out) > 1 {
		slices.Sort(out[1:])
	}
	return out
}

func (s *server) say(m *nodeapi.ServerMessage) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.stream.Send(m); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) assign(complete bool, data ...string) {
	s.t.Helper()
	out := &nodeapi.Assignments{Complete: complete}
	for _, d := range data {
		out.Assignments = append(out.Assignments, &nodeapi.Assignment{TaskId: "t", Assignment: []byte(d)})
	}
	s.say(&nodeapi.ServerMessage{Message: &nodeapi.ServerMessage_Assignments{Assignments: out}})
}

// tasks is an engine that remembers what it was told.
type tasks struct {
	loaded  chan struct{}
	mu      sync.Mutex
	told    []string
	reports map[string]model.TaskObserved
}

func (k *tasks) Loaded() <-chan struct{} { return k.loaded }

func (k *tasks) Assign(assignments []model.Assignment, complete bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var line strings.Builder
	fmt.Fprintf(&line, "assign complete=%t", complete)
	for _, a := range assignments {
		line.WriteString(" " + a.Task.ID)
	}
	k.told = append(k.told, line.String())
}

func (k *tasks) Acknowledge(id string, seq uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.told = append(k.told, fmt.Sprintf("ack %s %d", id, seq))
}

func (k *tasks) Reports() map[string]model.TaskObserved {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.reports
}

func (k *tasks) heard() []string {
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	out := k.told
	k.told = nil
	return out
}

// run joins and holds a session until the test ends.
func run(t *testing.T, s *server, k *tasks) *session.Client {
	t.Helper()
	return runWith(t, s, k, nil)
}

func runWith(t *testing.T, s *server, k *tasks, streams session.Streams) *session.Client {
	t.Helper()
	s.begin()
	id, err := session.Join(t.Context(), t.TempDir(), "passthrough:///server", s.ca.Token().String(), s.dial)
	if err != nil {
		t.Fatal(err)
	}
	c, err := session.New(session.Config{
		Server: "passthrough:///server", Identity: id, Hello: &nodeapi.Hello{Name: "host"}, Dial: s.dial, Documents: k, Streams: streams,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, k) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the session ended with %v", err)
		}
	})
	return c
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func newTasks() *tasks {
	k := &tasks{loaded: make(chan struct{}), reports: map[string]model.TaskObserved{}}
	close(k.loaded)
	return k
}

// Nothing is asked for before the engine can take an answer.
func TestRun_WaitsForTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newServer(t), &tasks{loaded: make(chan struct{})}
		run(t, s, k)
		time.Sleep(time.Hour)
		expect(t, s.said())
		close(k.loaded)
		expect(t, s.said(), "hello host")
	})
}

func TestRun_CarriesBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newServer(t), newTasks()
		c := run(t, s, k)
		expect(t, s.said(), "hello host")
		data, err := json.Marshal(model.Assignment{Task: model.Task{ID: "t1"}})
		if err != nil {
			t.Fatal(err)
		}
		s.assign(true, string(data))
		s.assign(false)
		expect(t, k.heard(), "assign complete=true t1", "assign complete=false")
		c.Report("t1", model.TaskObserved{Seq: 1})
		expect(t, s.said(), "report t1 1")
		s.say(&nodeapi.ServerMessage{Message: &nodeapi.ServerMessage_Ack{Ack: &nodeapi.ReportAck{TaskId: "t1", Seq: 1}}})
		expect(t, k.heard(), "ack t1 1")
	})
}

// While the control plane is away only the newest report of each task is kept;
// when it is back it hears everything that the engine knows.
func TestRun_AfterTheControlPlaneWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newServer(t), newTasks()
		c := run(t, s, k)
		s.said()
		s.die()
		c.Report("t1", model.TaskObserved{Seq: 2})
		c.Report("t1", model.TaskObserved{Seq: 4})
		c.Report("t1", model.TaskObserved{Seq: 3})
		k.mu.Lock()
		k.reports = map[string]model.TaskObserved{"t1": {Seq: 4}, "t2": {Seq: 9}}
		k.mu.Unlock()
		time.Sleep(time.Hour)
		s.begin()
		time.Sleep(10 * time.Second) // its pauses have grown to five seconds at most, gRPC's to two
		expect(t, s.said(), "hello host", "report t1 4", "report t2 9")
	})
}

// What cannot be read is no reason to stay connected to whoever said it; the
// node tries again.
func TestRun_AssignmentThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newServer(t), newTasks()
		run(t, s, k)
		s.said()
		s.assign(true, "{")
		time.Sleep(time.Second)
		expect(t, k.heard())
		expect(t, s.said(), "hello host")
	})
}

func TestLogs_Refused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := run(t, s, newTasks())
		to := session.LogStream{Group: "g", Name: "s", TaskID: "t", Container: "app"}
		if err := c.DeliverLogs(t.Context(), to, "c", nil); err != nil {
			t.Error(err)
		}
		s.refusal = "ResourceNotFoundException: no group"
		for _, err := range []error{c.DeliverLogs(t.Context(), to, "c", nil), c.EnsureLogStream(t.Context(), to, false)} {
			if !session.IsRefused(err) || err.Error() != s.refusal {
				t.Errorf("got %v", err)
			}
		}
		s.refusal = "unavailable"
		if err := c.EnsureLogStream(t.Context(), to, false); err == nil || session.IsRefused(err) {
			t.Errorf("what may be tried again is refused: %v", err)
		}
	})
}

func TestLoadIdentity(t *testing.T) {
	dir := t.TempDir()
	if _, err := session.LoadIdentity(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before it joined: %v", err)
	}
	if _, err := session.LoadOrJoin(t.Context(), dir, "passthrough:///server", "", nil); err == nil {
		t.Error("it joined without a token")
	}
	file := filepath.Join(dir, "identity.pem")
	if err := os.WriteFile(file, []byte("half of it"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := session.LoadIdentity(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a damaged identity: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.begin()
		dir := t.TempDir()
		if _, err := session.Join(t.Context(), dir, "passthrough:///server", s.ca.Token().String(), s.dial); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(filepath.Join(dir, "identity.pem")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the node's key may be read by others: %v, %v", info.Mode(), err)
		}
	})
}
