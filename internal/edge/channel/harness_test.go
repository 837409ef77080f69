package channel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"go.uber.org/goleak"

	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/sessions"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/edge/channel"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/datachannel"
	"berth.dev/berth/internal/wire/nodeapi"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if pluginDir != "" {
			os.RemoveAll(pluginDir) //nolint:errcheck // of a temporary directory
		}
		os.Exit(code)
	}))
}

// world is a control plane's door for data channels, with a task on a node
// that runs programs on this host.
type world struct {
	t      *testing.T
	store  *store.Store
	tokens *sessions.Sessions
	server *httptest.Server
	node   *node
	logs   *logs
	stop   func() // ends the door
	n      atomic.Int64
}

const taskID = "0123456789abcdef0123456789abcdef"

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, node: &node{sizes: make(chan *nodeapi.TerminalSize, 100)}, logs: &logs{}}
	s, err := store.Open(memkv.New(0), "/berth/", store.Options{CheckMutation: true}, records.All()...)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	w.store, w.tokens = s, sessions.New(ring)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		if err := s.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	<-s.Ready()
	w.write(func(tx *store.Tx) error {
		records.Tasks.Put(tx, &model.Task{
			ID: taskID, ClusterName: "default", DesiredStatus: model.TaskRunning, EnableExecuteCommand: true,
			Containers: []model.TaskContainer{{Name: "app"}},
			Observed:   model.TaskObserved{Status: model.TaskRunning, Containers: []model.ContainerObserved{{Name: "app", Status: model.ContainerRunning}}},
		})
		return nil
	})
	w.start()
	t.Cleanup(func() {
		w.stop()
		cancel()
		group.Wait()
	})
	return w
}

// start begins a door; w.stop ends it.
func (w *world) start() {
	door := channel.New(channel.Config{Store: w.store, Tokens: w.tokens, Open: w.node.open, Logs: w.logs, Log: slog.New(slog.DiscardHandler)})
	w.server = httptest.NewServer(door)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		if err := door.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	for !door.Runs() {
		time.Sleep(time.Millisecond) // before that, everybody is sent away
	}
	w.stop = sync.OnceFunc(func() {
		cancel()
		group.Wait()
		w.server.Close()
		w.node.group.Wait()
	})
}

func (w *world) write(fn func(*store.Tx) error) {
	w.t.Helper()
	if _, err := w.store.Update(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// session makes the record of a session, as ExecuteCommand does, and its token.
func (w *world) session(edit func(*model.RemoteSession)) (id, token string) {
	w.t.Helper()
	id = fmt.Sprintf("ecs-execute-command-%d", w.n.Add(1))
	now := time.Now()
	record := &model.RemoteSession{
		ID: id, ClusterName: "default", TaskID: taskID, Container: "app", Document: model.DocumentExec,
		CreatedAt: now, ValidUntil: now.Add(time.Minute), Status: model.SessionConnecting,
	}
	edit(record)
	w.write(func(tx *store.Tx) error {
		records.RemoteSessions.Put(tx, record)
		return nil
	})
	token, err := w.tokens.IssueChannel(id, record.Serial)
	if err != nil {
		w.t.Fatal(err)
	}
	return id, token
}

// command makes a session that runs a program of the shell's.
func (w *world) command(script string) (id, token string) {
	return w.session(func(s *model.RemoteSession) { s.Command = []string{"/bin/sh", "-c", script} })
}

func (w *world) url(id, query string) string {
	return "ws" + strings.TrimPrefix(w.server.URL, "http") + channel.Path + id + "?role=publish_subscribe" + query
}

// connect opens a session as Berth's own client does.
func (w *world) connect(id, token, query string) *datachannel.Session {
	w.t.Helper()
	s, err := datachannel.Connect(w.t.Context(), datachannel.ClientConfig{URL: w.url(id, query), Token: token, HTTPClient: w.server.Client()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { s.Close() }) //nolint:errcheck // as above
	return s
}

// record waits until a session's record is as wanted.
func (w *world) record(id string, want func(*model.RemoteSession) bool) *model.RemoteSession {
	w.t.Helper()
	watch := w.store.Watch(w.t.Context(), records.RemoteSessions)
	for snap := watch.Snapshot(); ; {
		if r, ok := records.RemoteSessions.Get(snap, id); ok && want(r) {
			return r
		}
		var err error
		if snap, _, err = watch.Next(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
}

func hasEnded(r *model.RemoteSession) bool { return r.EndedAt != nil }

// stopTask has the task's container stop, as its node reports it.
func (w *world) stopTask() {
	w.write(func(tx *store.Tx) error {
		return records.Tasks.Edit(tx, taskID, func(t *model.Task) error {
			t.Observed.Containers[0].Status = model.ContainerStopped
			return nil
		})
	})
}

// result is what a client has seen of a session.
type result struct {
	out, err []byte
	code     *int
	end      error
}

// follow receives to the end.
func follow(s *datachannel.Session) result {
	var r result
	for {
		e, err := s.Recv()
		if err != nil {
			r.end = err
			return r
		}
		r.out, r.err = append(r.out, e.Output...), append(r.err, e.Error...)
		if e.ExitCode != nil {
			r.code = e.ExitCode
		}
	}
}

// logs keeps what is stored, and refuses when told to.
type logs struct {
	mu     sync.Mutex
	fail   error
	events []channel.LogEvent
	to     string
}

func (l *logs) EnsureStream(_ context.Context, group, stream string, create bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to = fmt.Sprint(group, " ", stream, " ", create)
	return l.fail
}

func (l *logs) Put(_ context.Context, _, _ string, events []channel.LogEvent) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	// What a call may have, as on AWS.
	bytes := 0
	for _, e := range events {
		bytes += len(e.Message) + 26
	}
	if bytes > 1<<20 {
		return fmt.Errorf("%d bytes are too many for one call", bytes)
	}
	l.events = append(l.events, events...)
	return nil
}

// node runs what it is asked for on this host.
type node struct {
	group    sync.WaitGroup
	mu       sync.Mutex
	requests []model.StreamRequest
	fail     error
	sizes    chan *nodeapi.TerminalSize // of terminals, at first and whenever they were resized
	passed   atomic.Int64               // bytes that were taken from programs
}

// stream is both ends of one.
type stream struct {
	up, down chan *nodeapi.StreamFrame
	closed   chan struct{}
	once     sync.Once
}

func (s *stream) Send(f *nodeapi.StreamFrame) error {
	select {
	case s.up <- f:
		return nil
	case <-s.closed:
		return io.EOF
	}
}

func (s *stream) Recv() (*nodeapi.StreamFrame, error) {
	select {
	case f, ok := <-s.down:
		if !ok {
			return nil, io.EOF
		}
		return f, nil
	case <-s.closed:
		return nil, errors.New("the node is gone")
	}
}

func (s *stream) Close() { s.once.Do(func() { close(s.closed) }) }

func (s *stream) say(f *nodeapi.StreamFrame) bool {
	select {
	case s.down <- f:
		return true
	case <-s.closed:
		return false
	}
}

func (n *node) open(ctx context.Context, request model.StreamRequest) (nodeapi.Stream, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.requests = append(n.requests, request)
	if n.fail != nil {
		return nil, n.fail
	}
	s := &stream{up: make(chan *nodeapi.StreamFrame), down: make(chan *nodeapi.StreamFrame), closed: make(chan struct{})}
	switch {
	case request.Kind == model.StreamDial:
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", request.Port))
		if err != nil {
			return nil, errors.New("nothing listens there")
		}
		n.group.Go(func() { n.dial(s, conn.(*net.TCPConn)) })
	default:
		if err := n.exec(s, request); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// exec runs a program of which s is the terminal, or the pipes.
func (n *node) exec(s *stream, request model.StreamRequest) error {
	cmd := exec.Command(request.Command[0], request.Command[1:]...)
	var input io.WriteCloser
	var outputs []io.Reader
	resize := func(*nodeapi.TerminalSize) {}
	if request.TTY {
		terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: request.Rows, Cols: request.Columns})
		if err != nil {
			return err
		}
		input, outputs = terminal, []io.Reader{terminal}
		n.sizes <- &nodeapi.TerminalSize{Rows: uint32(request.Rows), Columns: uint32(request.Columns)}
		resize = func(size *nodeapi.TerminalSize) {
			pty.Setsize(terminal, &pty.Winsize{Rows: uint16(size.GetRows()), Cols: uint16(size.GetColumns())}) //nolint:errcheck // the test sees it
		}
	} else {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		in, _ := cmd.StdinPipe()   // fails only for a command that has one
		out, _ := cmd.StdoutPipe() // as above
		err, _ := cmd.StderrPipe() // as above
		if err := cmd.Start(); err != nil {
			return err
		}
		input, outputs = in, []io.Reader{out, err}
	}
	n.group.Go(func() { n.attend(s, cmd, input, outputs, resize) })
	return nil
}

func (n *node) attend(s *stream, cmd *exec.Cmd, input io.WriteCloser, outputs []io.Reader, resize func(*nodeapi.TerminalSize)) {
	finished := make(chan struct{})
	n.group.Go(func() {
		defer input.Close() //nolint:errcheck // of a program that has ended
		for {
			select {
			case f := <-s.up:
				switch f := f.GetFrame().(type) {
				case *nodeapi.StreamFrame_Input:
					input.Write(f.Input) //nolint:errcheck // as above
				case *nodeapi.StreamFrame_InputEnd:
					input.Close() //nolint:errcheck // as above
				case *nodeapi.StreamFrame_Size:
					resize(f.Size)
					n.sizes <- f.Size
				}
			case <-s.closed:
				syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) //nolint:errcheck // it may have ended
				return
			case <-finished:
				return
			}
		}
	})
	var reading sync.WaitGroup
	for i, output := range outputs {
		reading.Go(func() {
			for {
				buffer := make([]byte, 32<<10)
				k, err := output.Read(buffer)
				if err != nil {
					return
				}
				n.passed.Add(int64(k))
				frame := &nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Output{Output: buffer[:k]}}
				if i == 1 {
					frame.Frame = &nodeapi.StreamFrame_ErrorOutput{ErrorOutput: buffer[:k]}
				}
				if !s.say(frame) {
					return
				}
			}
		})
	}
	reading.Wait()
	cmd.Wait() //nolint:errcheck // its code is in the state
	s.say(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Exit{Exit: &nodeapi.StreamExit{Code: int32(cmd.ProcessState.ExitCode())}}})
	close(finished)
}

func (n *node) dial(s *stream, conn *net.TCPConn) {
	defer conn.Close() //nolint:errcheck // all is said
	finished := make(chan struct{})
	n.group.Go(func() {
		for {
			select {
			case f := <-s.up:
				switch f := f.GetFrame().(type) {
				case *nodeapi.StreamFrame_Input:
					conn.Write(f.Input) //nolint:errcheck // the test sees it
				case *nodeapi.StreamFrame_InputEnd:
					conn.CloseWrite() //nolint:errcheck // as above
				}
			case <-s.closed:
				conn.Close() //nolint:errcheck // as above
				return
			case <-finished:
				return
			}
		}
	})
	for {
		buffer := make([]byte, 32<<10)
		k, err := conn.Read(buffer)
		if err != nil {
			break
		}
		if !s.say(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Output{Output: buffer[:k]}}) {
			break
		}
	}
	s.say(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_OutputEnd{OutputEnd: true}})
	s.say(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Exit{Exit: &nodeapi.StreamExit{}}})
	close(finished)
}
