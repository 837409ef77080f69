package exec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/session"
	"berth.dev/berth/internal/agent/task"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// maxStreams is how many streams a node has at once, as the control plane has
// it too.
const maxStreams = 128

// Config is what a Server is made of.
type Config struct {
	Runtime runtime.Runtime
	// Task finds a task of this node.
	Task func(taskID string) (task.View, bool)
	// Dir is where debug containers have files; it is made, and it is this
	// package's alone.
	Dir string
	// ProcDir is where the kernel shows processes; empty is /proc.
	ProcDir string
	Log     *slog.Logger
}

// Server opens streams into the tasks of a node.
type Server struct {
	cfg   Config
	slots chan struct{}
}

var _ session.Streams = (*Server)(nil)

// New returns a Server.
func New(cfg Config) *Server {
	if cfg.ProcDir == "" {
		cfg.ProcDir = "/proc"
	}
	return &Server{cfg: cfg, slots: make(chan struct{}, maxStreams)}
}

// Purge removes what an agent left that was killed: debug containers and their
// files. It is for the time before the first stream.
func (s *Server) Purge(ctx context.Context) error {
	containers, err := s.cfg.Runtime.List(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range containers {
		if c.Labels[labelDebug] != "" {
			errs = append(errs, s.cfg.Runtime.Remove(ctx, c.ID))
		}
	}
	return errors.Join(append(errs, os.RemoveAll(s.cfg.Dir))...)
}

// work is what has been started: it carries frames until it is over, and leaves
// nothing behind. nil says that there is nobody to tell how it ended.
type work func(ctx context.Context, l *line) *nodeapi.StreamExit

// refusal is why there is nothing to attach to, for the user.
type refusal string

func (r refusal) Error() string { return string(r) }

func refuse(format string, args ...any) error { return refusal(fmt.Sprintf(format, args...)) }

// Open implements session.Streams.
func (s *Server) Open(ctx context.Context, request model.StreamRequest, stream session.Stream) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := newLine(stream)
	// The receiver waits for the control plane's end of the stream, which is what
	// Open returns at: whoever cancels the call earlier takes frames from it.
	received := make(chan struct{})
	go func() {
		defer close(received)
		defer cancel()
		l.receive()
	}()
	defer func() { <-received }()
	defer l.finish()

	s.cfg.Log.InfoContext(ctx, "a stream into a task begins", telemetry.TaskID, request.TaskID, telemetry.Container, request.Container, "kind", request.Kind)
	work, err := s.start(ctx, request)
	if err != nil {
		s.cfg.Log.InfoContext(ctx, "a stream into a task was refused", telemetry.TaskID, request.TaskID, telemetry.Container, request.Container, telemetry.Error, err)
		l.send(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Refusal{Refusal: err.Error()}}) //nolint:errcheck // the receiver notices
		return
	}
	l.send(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Started{Started: true}}) //nolint:errcheck // as above
	if exit := work(ctx, l); exit != nil {
		l.send(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Exit{Exit: exit}}) //nolint:errcheck // as above
	}
	s.cfg.Log.InfoContext(ctx, "a stream into a task has ended", telemetry.TaskID, request.TaskID, telemetry.Container, request.Container, "kind", request.Kind)
}

// start does everything that may be refused.
func (s *Server) start(ctx context.Context, request model.StreamRequest) (work, error) {
	select {
	case s.slots <- struct{}{}:
	default:
		return nil, refuse("the container instance has %d sessions, the most that it may have", maxStreams)
	}
	release := func() { <-s.slots }
	t, err := s.find(request)
	var w work
	if err == nil {
		switch request.Kind {
		case model.StreamExec:
			w, err = s.program(ctx, t, request)
		case model.StreamDial:
			w, err = s.dial(ctx, t, request)
		case model.StreamDebug:
			w, err = s.debug(ctx, t, request)
		case model.StreamRead:
			w, err = s.read(ctx, t, request)
		case model.StreamWrite:
			w, err = s.write(ctx, t, request)
		default:
			err = refuse("this container instance does not know sessions of kind %q: it may be older than the control plane", request.Kind)
		}
	}
	if err != nil {
		release()
		return nil, s.explain(request, err)
	}
	return func(ctx context.Context, l *line) *nodeapi.StreamExit {
		defer release()
		return w(ctx, l)
	}, nil
}

// explain leaves of an error what a user can do something with.
func (s *Server) explain(request model.StreamRequest, err error) error {
	if program, ok := errors.AsType[*runtime.ProgramError](err); ok {
		return program
	}
	if errors.Is(err, runtime.ErrNotRunning) || errors.Is(err, runtime.ErrNotFound) {
		return refuse("container %s is not running", request.Container)
	}
	return err
}

// target is the container that a stream leads into.
type target struct {
	view task.View
	name string
	id   string // the runtime's
}

func (s *Server) find(request model.StreamRequest) (target, error) {
	v, ok := s.cfg.Task(request.TaskID)
	if !ok {
		return target{}, refuse("the task is not on this container instance any more")
	}
	for _, c := range v.Assignment.Task.Containers {
		if c.Name == request.Container {
			return target{view: v, name: c.Name, id: c.RuntimeID}, nil
		}
	}
	return target{}, refuse("the task has no container %s", request.Container)
}

// pin opens files of a container's first process below /proc. That they are its
// own and no other's, which got its number meanwhile, is sure when it still
// runs after that.
func (s *Server) pin(ctx context.Context, id string, names ...string) (files []*os.File, err error) {
	defer func() {
		if err != nil {
			closeAll(files)
		}
	}()
	before, err := s.running(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		f, err := os.Open(filepath.Join(s.cfg.ProcDir, strconv.Itoa(before.PID), name))
		if errors.Is(err, os.ErrNotExist) {
			return files, runtime.ErrNotRunning
		}
		if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	after, err := s.running(ctx, id)
	if err == nil && after.PID != before.PID {
		err = runtime.ErrNotRunning
	}
	return files, err
}

func (s *Server) running(ctx context.Context, id string) (runtime.Status, error) {
	status, err := s.cfg.Runtime.Status(ctx, id)
	if err == nil && status.State != runtime.StateRunning {
		err = runtime.ErrNotRunning
	}
	return status, err
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close() //nolint:errcheck,gosec // they were only looked at
	}
}

// withContainer returns a context that ends when the container does.
func (s *Server) withContainer(ctx context.Context, t target) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if _, err := s.cfg.Runtime.Wait(ctx, t.id); ctx.Err() == nil {
			if err != nil {
				s.cfg.Log.DebugContext(ctx, "a container's end was not seen", telemetry.Container, t.name, telemetry.Error, err)
			}
			end(refuse("container %s has stopped", t.name))
		}
	}()
	return ctx, func() {
		end(context.Canceled)
		<-watched
	}
}

// broken says why something that had started did not come to its own end.
func broken(ctx context.Context, err error) *nodeapi.StreamExit {
	if cause, ok := errors.AsType[refusal](context.Cause(ctx)); ok {
		err = cause
	}
	return &nodeapi.StreamExit{Code: 1, Error: err.Error()}
}
