package logdriver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"berth.dev/berth/internal/agent/helper/spool"
)

// agentEnv makes the test binary an agent that is there to be killed: the directory and the server's socket.
const agentEnv = "BERTH_TEST_LOGDRIVER_AGENT"

func TestMain(m *testing.M) {
	if setting, ok := os.LookupEnv(agentEnv); ok {
		dir, socket, _ := strings.Cut(setting, "\n")
		if err := runAgent(dir, socket); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// runAgent adopts what is in dir and delivers it until it is killed.
func runAgent(dir, socket string) error {
	client, err := rpc.Dial("unix", socket)
	if err != nil {
		return err
	}
	d := New(Config{Dir: dir, Sink: remote{client}, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if _, err := d.Adopt(); err != nil {
		return err
	}
	return d.Run(context.Background())
}

// Delivery is Deliver's arguments on the wire of the test.
type Delivery struct {
	Source string
	Events []Event
}

// remote is the Sink of an agent in a process of its own.
type remote struct{ client *rpc.Client }

func (r remote) EnsureStream(context.Context, Source, bool) error { return nil }

func (r remote) Deliver(_ context.Context, of Source, events []Event) error {
	return r.client.Call("Logs.Deliver", Delivery{of.ID, events}, new(int))
}

// Logs is the server's end of remote.
type Logs struct {
	server *server
	stored chan struct{} // capacity 1
}

// Deliver stores events.
func (l *Logs) Deliver(d Delivery, _ *int) error {
	l.server.store(d.Source, d.Events)
	select {
	case l.stored <- struct{}{}:
	default:
	}
	return nil
}

// buildHelper builds the helper once for all tests of the package.
var buildHelper = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "berth-helper-test-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "berth-helper")
	build := exec.Command("go", "build", "-o", path, "berth.dev/berth/cmd/berth-helper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the helper: %w\n%s", err, output)
	}
	content, err := os.ReadFile(path)
	return string(content), err
})

func helperPath(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go command to build the helper")
	}
	content, err := buildHelper()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "berth-helper")
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// container is what a shim is to a logger: it holds the pipes.
type container struct {
	stdout, stderr *os.File
	logger         *exec.Cmd
}

// startContainer starts a real logger as containerd's shim does.
func startContainer(t *testing.T, args LogArgs) *container {
	t.Helper()
	c := &container{logger: exec.Command(args.Binary)}
	for key, value := range args.Args {
		c.logger.Args = append(c.logger.Args, key, value)
	}
	var readEnds [3]*os.File
	var writeEnds [3]*os.File
	for i := range readEnds {
		var err error
		if readEnds[i], writeEnds[i], err = os.Pipe(); err != nil {
			t.Fatal(err)
		}
	}
	c.stdout, c.stderr = writeEnds[0], writeEnds[1]
	c.logger.ExtraFiles = []*os.File{readEnds[0], readEnds[1], writeEnds[2]}
	c.logger.Env = []string{"CONTAINER_ID=c", "CONTAINER_NAMESPACE=test"}
	if err := c.logger.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.end(); _ = c.logger.Process.Kill(); _ = c.logger.Wait() })
	readEnds[0].Close()
	readEnds[1].Close()
	writeEnds[2].Close()
	if _, err := readEnds[2].Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("the ready pipe answers %v, want its end", err)
	}
	readEnds[2].Close()
	return c
}

// end is the deletion of the container's task.
func (c *container) end() {
	c.stdout.Close()
	c.stderr.Close()
}

func newDriver(t *testing.T, sink Sink) *Driver {
	return New(Config{Dir: t.TempDir(), Helper: helperPath(t), Sink: sink, Log: slog.New(slog.DiscardHandler)})
}

// running runs d until the test ends, or the returned function is called.
func runDriver(t *testing.T, d *Driver) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := d.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

func stream(id string) Stream {
	return Stream{ID: id, Container: "app", TaskID: "task", Options: Options{Group: "g", Region: "us-east-1", StreamPrefix: "ecs", Mode: Blocking}}
}

func TestDriver_KillingTheAgentLosesNothing(t *testing.T) {
	dir := t.TempDir()
	logs := &Logs{server: &server{}, stored: make(chan struct{}, 1)}
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	serveRPC(t, listener, logs)

	d := New(Config{Dir: dir, Helper: helperPath(t), Sink: &server{}})
	args, err := d.Prepare(t.Context(), stream("c"))
	if err != nil {
		t.Fatal(err)
	}
	c := startContainer(t, args)

	var want []string
	for round := range 12 {
		agent := exec.Command(os.Args[0])
		agent.Env = append(os.Environ(), agentEnv+"="+dir+"\n"+listener.Addr().String())
		agent.Stderr = os.Stderr
		if err := agent.Start(); err != nil {
			t.Fatal(err)
		}
		for n := range 400 {
			line := fmt.Sprintf("round %d line %d", round, n)
			want = append(want, line)
			if _, err := io.WriteString(c.stdout, line+"\n"); err != nil {
				t.Fatal(err)
			}
			if n%100 == 50 {
				<-time.After(time.Duration(rand.IntN(40)) * time.Millisecond) // spread the moments of the kills
			}
		}
		if round%3 > 0 { // else at once, perhaps before it delivered anything
			<-logs.stored
		}
		if err := agent.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = agent.Wait()
	}
	c.end()
	last := New(Config{Dir: dir, Sink: logs.server, Log: slog.New(slog.DiscardHandler)})
	if ids, err := last.Adopt(); err != nil || !slices.Equal(ids, []string{"c"}) {
		t.Fatalf("adopted %v, %v", ids, err)
	}
	runDriver(t, last)
	if err := last.Drain(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, logs.server.messages()); diff != "" {
		t.Errorf("lines differ (-written +stored):\n%.2000s", diff)
	}
}

// serveRPC answers connections until the listener is closed, and waits for them at the end of the test.
func serveRPC(t *testing.T, listener net.Listener, logs *Logs) {
	t.Helper()
	srv := rpc.NewServer()
	if err := srv.Register(logs); err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { srv.ServeConn(conn) })
		}
	})
	t.Cleanup(func() { listener.Close(); serving.Wait() })
}

func TestDriver_DeliversWhileTheContainerRunsAndRemovesAfterwards(t *testing.T) {
	stored := make(chan struct{}, 100)
	s := &server{after: func() error { stored <- struct{}{}; return nil }}
	d := newDriver(t, s)
	runDriver(t, d)
	args, err := d.Prepare(t.Context(), stream("c"))
	if err != nil {
		t.Fatal(err)
	}
	c := startContainer(t, args)
	if err := d.Follow("c"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c.stderr, "while it runs\n"); err != nil {
		t.Fatal(err)
	}
	<-stored // the test's own time limit is the limit
	if err := d.Remove("c"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c.stdout, "the last words"); err != nil {
		t.Fatal(err)
	}
	c.end()
	if err := d.Drain(t.Context(), "c"); err != nil && !errors.Is(err, ErrUnknown) {
		t.Fatal(err)
	}
	if err := c.logger.Wait(); err != nil {
		t.Errorf("the logger ended with %v", err)
	}
	if diff := cmp.Diff([]string{"while it runs", "the last words"}, s.messages()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	awaitGone(t, d.dir("c"))
}

// awaitGone waits until a directory does not exist. Nothing tells when, so it asks.
func awaitGone(t *testing.T, path string) {
	t.Helper()
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			tick.Stop()
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("still there: ", path)
		}
	}
}

func TestDriver_RemoveSurvivesTheAgent(t *testing.T) {
	away := &server{before: func() error { return errAway }}
	d := newDriver(t, away)
	args, err := d.Prepare(t.Context(), stream("c"))
	if err != nil {
		t.Fatal(err)
	}
	c := startContainer(t, args)
	if _, err := io.WriteString(c.stdout, "kept\n"); err != nil {
		t.Fatal(err)
	}
	c.end()
	if err := c.logger.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove("c"); err != nil { // Run has never run
		t.Fatal(err)
	}
	back := &server{}
	next := New(Config{Dir: d.cfg.Dir, Sink: back, Log: slog.New(slog.DiscardHandler)})
	if _, err := next.Adopt(); err != nil {
		t.Fatal(err)
	}
	runDriver(t, next)
	awaitGone(t, d.dir("c"))
	if diff := cmp.Diff([]string{"kept"}, back.messages()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if err := next.Remove("c"); err != nil {
		t.Errorf("removing twice: %v", err)
	}
}

func TestDriver_LoggerKilledAndContainerStartedAgain(t *testing.T) {
	s := &server{}
	d := newDriver(t, s)
	runDriver(t, d)
	args, err := d.Prepare(t.Context(), stream("c"))
	if err != nil {
		t.Fatal(err)
	}
	c := startContainer(t, args)
	if _, err := io.WriteString(c.stdout, "before\n"); err != nil {
		t.Fatal(err)
	}
	awaitRecords(t, d.dir("c"), 2)
	if err := c.logger.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.logger.Wait()
	if err := d.Drain(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	if args, err = d.Prepare(t.Context(), stream("c")); err != nil {
		t.Fatal(err)
	}
	again := startContainer(t, args)
	if _, err := io.WriteString(again.stdout, "after\n"); err != nil {
		t.Fatal(err)
	}
	again.end()
	if err := again.logger.Wait(); err != nil {
		t.Fatal(err)
	}
	// What was drained before is so still until the follower has seen the new records: remove waits for those too.
	if err := d.Remove("c"); err != nil {
		t.Fatal(err)
	}
	awaitGone(t, d.dir("c"))
	if diff := cmp.Diff([]string{"before", "after"}, s.messages()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// awaitRecords waits until the spool holds n records.
func awaitRecords(t *testing.T, dir string, n uint64) {
	t.Helper()
	reader := spool.NewReader(dir, 0)
	defer reader.Close()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for reader.Index() < n {
		if _, _, err := reader.Next(); err == io.EOF {
			<-tick.C
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

type refusing struct{ server }

func (*refusing) EnsureStream(context.Context, Source, bool) error {
	return errors.New("ResourceNotFoundException: The specified log group does not exist.")
}

func TestDriver_PrepareSaysWhatECSSays(t *testing.T) {
	d := New(Config{Dir: t.TempDir(), Sink: &refusing{}})
	_, err := d.Prepare(t.Context(), stream("c"))
	const want = "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: " +
		"failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist. : exit status 1"
	if err == nil || err.Error() != want {
		t.Errorf("error %v\nwant  %v", err, want)
	}
	if entries, err := os.ReadDir(d.cfg.Dir); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
	if err := d.Follow("c"); !errors.Is(err, ErrUnknown) {
		t.Errorf("following it: %v, want ErrUnknown", err)
	}
	if _, err := d.Prepare(t.Context(), stream("../c")); err == nil {
		t.Error("an id that leaves the directory is accepted")
	}
}

func TestDriver_AdoptRemovesHalfMadeStreams(t *testing.T) {
	d := New(Config{Dir: t.TempDir(), Sink: &server{}, Log: slog.New(slog.DiscardHandler)})
	if _, err := d.Prepare(t.Context(), stream("whole")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(d.cfg.Dir, tmpPrefix+"1"), 0o700); err != nil {
		t.Fatal(err)
	}
	ids, err := New(d.cfg).Adopt()
	if err != nil || !slices.Equal(ids, []string{"whole"}) {
		t.Errorf("adopted %v, %v", ids, err)
	}
	if _, err := os.Stat(filepath.Join(d.cfg.Dir, tmpPrefix+"1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the half-made one: %v", err)
	}
}

func TestDriver_LogArgs(t *testing.T) {
	d := New(Config{Dir: "/spools", Helper: "/bin/helper", Sink: &server{}})
	s := stream("c")
	want := LogArgs{Binary: "/bin/helper", Args: map[string]string{"spool": "/spools/c", "mode": "blocking"}}
	if diff := cmp.Diff(want, d.logArgs(s)); diff != "" {
		t.Errorf("blocking (-want +got):\n%s", diff)
	}
	s.Options.Mode, s.Options.MaxBufferBytes = NonBlocking, 4<<20
	want.Args = map[string]string{"spool": "/spools/c", "mode": "non-blocking", "limit": "4194304", "segment": "524288"}
	if diff := cmp.Diff(want, d.logArgs(s)); diff != "" {
		t.Errorf("non-blocking (-want +got):\n%s", diff)
	}
}
