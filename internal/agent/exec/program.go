package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

const (
	// root runs programs in containers, whatever their own user is.
	root = "0"
	// linger is how long what a program has started may go on after its end, when
	// it can still be heard.
	linger = time.Second
	// closing is how long the end of a program may take.
	closing = 30 * time.Second
)

// program starts a command in a container.
func (s *Server) program(ctx context.Context, t target, request model.StreamRequest) (work, error) {
	if len(request.Command) == 0 {
		return nil, refuse("there is no command")
	}
	p, err := s.cfg.Runtime.Attach(ctx, t.id, attachSpec(request, request.Command))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, l *line) *nodeapi.StreamExit { return s.carry(ctx, l, p, t) }, nil
}

func attachSpec(request model.StreamRequest, command []string) runtime.AttachSpec {
	return runtime.AttachSpec{
		ExecSpec: runtime.ExecSpec{Args: command, User: root},
		TTY:      request.TTY, Rows: request.Rows, Columns: request.Columns,
	}
}

// carry passes frames until the program has ended and all that it said is sent,
// or nobody is there any more: then everything of it is killed.
func (s *Server) carry(ctx context.Context, l *line, p runtime.Process, t target) *nodeapi.StreamExit {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait() // the last: Close ends reads and writes, and cancel the rest
	defer cancel()
	defer func() {
		if err := p.Close(); err != nil {
			s.cfg.Log.WarnContext(ctx, "something of a program that was run in a container may be left", telemetry.Container, t.name, telemetry.Error, err)
		}
	}()
	group.Go(func() {
		// A program that does not read has no use for what comes; it is dropped.
		err := copyFrames(p.Stdin(), l.reader(ctx))
		if ctx.Err() == nil {
			err = errors.Join(err, p.Stdin().Close())
		}
		if err != nil {
			l.finish()
		}
	})
	group.Go(func() { s.follow(ctx, l, p) })

	said := make(chan struct{}) // closed when all is sent that was said
	var outputs sync.WaitGroup
	outputs.Go(func() { s.pass(ctx, cancel, writer{l, output}, p.Stdout()) })
	if stderr := p.Stderr(); stderr != nil {
		outputs.Go(func() { s.pass(ctx, cancel, writer{l, errorOutput}, stderr) })
	}
	group.Go(func() {
		outputs.Wait()
		close(said)
	})
	code, err := p.Wait(ctx)
	if ctx.Err() != nil {
		return nil
	}
	select {
	case <-said:
	case <-time.After(linger):
		killing, cancel := context.WithTimeout(ctx, closing)
		defer cancel()
		err = errors.Join(err, p.Kill(killing))
	}
	select {
	case <-said:
	case <-ctx.Done():
		return nil
	}
	if err != nil {
		return &nodeapi.StreamExit{Code: int32(runtime.LostExitCode), Error: err.Error()}
	}
	return &nodeapi.StreamExit{Code: int32(code)} //nolint:gosec // an exit code is a byte
}

// pass sends a stream of a program. Who cannot be sent to is gone.
func (s *Server) pass(ctx context.Context, gone func(), to writer, from io.Reader) {
	if err := copyFrames(to, from); err != nil {
		if ctx.Err() == nil {
			s.cfg.Log.DebugContext(ctx, "a program's output is not wanted any more", telemetry.Error, err)
		}
		gone()
	}
}

// follow does what sizes and signals ask for.
func (s *Server) follow(ctx context.Context, l *line, p runtime.Process) {
	for {
		select {
		case f := <-l.control:
			var err error
			if size := f.GetSize(); size != nil {
				err = p.Resize(ctx, uint16(min(size.GetRows(), 1<<16-1)), uint16(min(size.GetColumns(), 1<<16-1))) //nolint:gosec // bounded
			} else {
				err = signalTo(ctx, p, f.GetSignal())
			}
			if err != nil && ctx.Err() == nil {
				s.cfg.Log.DebugContext(ctx, "a size or a signal did not reach its program", telemetry.Error, err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// lastSignal is Linux's SIGRTMAX.
const lastSignal = 64

func signalTo(ctx context.Context, p runtime.Process, number int32) error {
	if number < 1 || number > lastSignal {
		return fmt.Errorf("there is no signal %d", number)
	}
	return p.Signal(ctx, syscall.Signal(number))
}
