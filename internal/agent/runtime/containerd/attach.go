package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"github.com/google/uuid"
	"github.com/opencontainers/runtime-spec/specs-go"

	"berth.dev/berth/internal/agent/runtime"
)

// process is a program that Attach has started. The shim copies between it and three named pipes.
type process struct {
	r      *Runtime
	c      record
	execID string
	tty    bool
	pid    int
	pipes  *pipes
	scope  context.Context //nolint:containedctx // of containerd's namespace; it never ends

	ended chan struct{} // closed when the program has ended, or its end cannot be known
	code  uint32        // set before
	err   error
	stop  context.CancelFunc // ends the wait for it

	closing sync.Once
	closed  error
}

var _ runtime.Process = (*process)(nil)

// Attach implements runtime.Runtime.
func (r *Runtime) Attach(ctx context.Context, id string, spec runtime.AttachSpec) (runtime.Process, error) {
	if len(spec.Args) == 0 || spec.Args[0] == "" {
		return nil, fmt.Errorf("attach to container %q: %w", id, &runtime.ProgramError{Message: "no command specified"})
	}
	ctx = r.scoped(ctx)
	c, err := r.load(ctx, id)
	if err != nil {
		return nil, err
	}
	p, err := r.attach(ctx, c, spec)
	if err != nil {
		return nil, fmt.Errorf("attach to container %q: %w", id, err)
	}
	return p, nil
}

func (r *Runtime) attach(ctx context.Context, c record, spec runtime.AttachSpec) (*process, error) {
	running, err := r.process(ctx, c.ID)
	if err != nil {
		return nil, err
	}
	if running == nil || running.Status != tasktypes.Status_RUNNING {
		return nil, runtime.ErrNotRunning
	}
	p := &process{
		r: r, c: c, execID: "exec-" + uuid.NewString(), tty: spec.TTY, ended: make(chan struct{}),
		scope: r.scoped(context.WithoutCancel(ctx)),
	}
	program, err := r.execProcess(ctx, c, spec.ExecSpec, p.execID)
	if err != nil {
		return nil, err
	}
	if spec.TTY {
		terminalOf(program, spec)
	}
	if err := lookUp(c.spec, int(running.Pid), spec.Args[0], program); err != nil {
		return nil, err
	}
	if p.pipes, err = r.newPipes(p.execID, c.ID, spec.TTY); err != nil {
		return nil, err
	}
	err = p.start(program)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// terminalOf gives a program a terminal. A container's own TERM wins, as with Docker.
func terminalOf(program *specs.Process, spec runtime.AttachSpec) {
	program.Terminal = true
	if !slices.ContainsFunc(program.Env, isTerm) {
		program.Env = append(program.Env, "TERM=xterm")
	}
	if spec.Rows > 0 && spec.Columns > 0 {
		program.ConsoleSize = &specs.Box{Height: uint(spec.Rows), Width: uint(spec.Columns)}
	}
}

func isTerm(entry string) bool { return len(entry) >= 5 && entry[:5] == "TERM=" }

// start makes the program run. It does not heed whoever asked: containerd would go on with a call that is given up, and
// nobody would know of a program that starts then.
func (p *process) start(program *specs.Process) error {
	ctx, cancel := context.WithTimeout(p.scope, hangPatience)
	defer cancel()
	encoded, err := typeurl.MarshalAnyToProto(program)
	if err != nil {
		return err
	}
	service, config := p.r.client.TaskService(), p.pipes.Config()
	_, err = service.Exec(ctx, &tasks.ExecProcessRequest{
		ContainerID: p.c.ID, ExecID: p.execID, Terminal: p.tty, Spec: encoded,
		Stdin: config.Stdin, Stdout: config.Stdout, Stderr: config.Stderr,
	})
	if err != nil {
		return notRunning(errgrpc.ToNative(err))
	}
	reply, err := service.Start(ctx, &tasks.StartRequest{ContainerID: p.c.ID, ExecID: p.execID})
	if err != nil {
		return programError(notRunning(errgrpc.ToNative(err)))
	}
	p.pid = int(reply.Pid)
	wait, stop := context.WithCancel(p.scope)
	p.stop = stop
	go p.await(wait)
	return enterGroup(p.c, p.execID, p.pid)
}

// await learns the program's end. A containerd that is being started again is asked again.
func (p *process) await(ctx context.Context) {
	defer close(p.ended)
	for {
		reply, err := p.r.client.TaskService().Wait(ctx, &tasks.WaitRequest{ContainerID: p.c.ID, ExecID: p.execID})
		err = errgrpc.ToNative(err)
		switch {
		case err == nil:
			p.code = reply.ExitStatus
			return
		case errdefs.IsUnavailable(err) && ctx.Err() == nil:
			pause(ctx, 100*time.Millisecond)
		default:
			p.code, p.err = runtime.LostExitCode, fmt.Errorf("nobody saw the end of the program: %w", err)
			return
		}
	}
}

// Stdin implements runtime.Process.
func (p *process) Stdin() io.WriteCloser { return stdin{p} }

// Stdout implements runtime.Process.
func (p *process) Stdout() io.Reader { return p.pipes.Stdout }

// Stderr implements runtime.Process.
func (p *process) Stderr() io.Reader {
	if p.tty {
		return nil
	}
	return p.pipes.Stderr
}

// stdin closes both writing ends: ours, and the one that the shim holds so that a client may come back.
type stdin struct{ p *process }

func (s stdin) Write(data []byte) (int, error) { return s.p.pipes.Stdin.Write(data) }

func (s stdin) Close() error {
	err := s.p.pipes.Stdin.Close()
	if s.p.tty {
		return err // the shim would close the terminal
	}
	ctx, cancel := context.WithTimeout(s.p.scope, cleanupTimeout)
	defer cancel()
	_, closing := s.p.r.client.TaskService().CloseIO(ctx, &tasks.CloseIORequest{ContainerID: s.p.c.ID, ExecID: s.p.execID, Stdin: true})
	if closing = errgrpc.ToNative(closing); errdefs.IsNotFound(closing) || errdefs.IsFailedPrecondition(closing) {
		closing = nil // it has ended
	}
	return errors.Join(err, closing)
}

// Resize implements runtime.Process.
func (p *process) Resize(ctx context.Context, rows, columns uint16) error {
	if !p.tty {
		return nil
	}
	_, err := p.r.client.TaskService().ResizePty(p.r.scoped(ctx), &tasks.ResizePtyRequest{
		ContainerID: p.c.ID, ExecID: p.execID, Width: uint32(columns), Height: uint32(rows),
	})
	return p.unlessEnded(errgrpc.ToNative(err))
}

// Signal implements runtime.Process.
func (p *process) Signal(ctx context.Context, sig syscall.Signal) error {
	_, err := p.r.client.TaskService().Kill(p.r.scoped(ctx), &tasks.KillRequest{ContainerID: p.c.ID, ExecID: p.execID, Signal: uint32(sig)})
	return p.unlessEnded(errgrpc.ToNative(err))
}

// unlessEnded forgives what fails because the program has ended.
func (p *process) unlessEnded(err error) error {
	if err == nil || errdefs.IsNotFound(err) || errdefs.IsFailedPrecondition(err) {
		return nil
	}
	select {
	case <-p.ended:
		return nil
	default:
		return err
	}
}

// Wait implements runtime.Process.
func (p *process) Wait(ctx context.Context) (uint32, error) {
	select {
	case <-p.ended:
		return p.code, p.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Kill implements runtime.Process.
func (p *process) Kill(context.Context) error { return p.r.killExec(p.c, p.execID, p.pid) }

// Close implements runtime.Process.
func (p *process) Close() error {
	p.closing.Do(func() {
		p.closed = p.r.killExec(p.c, p.execID, p.pid)
		p.pipes.discard()
		ctx, cancel := context.WithTimeout(p.scope, cleanupTimeout)
		defer cancel()
		if p.stop != nil {
			select {
			case <-p.ended:
			case <-ctx.Done():
			}
			p.stop()
		}
		p.closed = errors.Join(p.closed, p.r.forgetExec(ctx, p.c.ID, p.execID), p.pipes.Close())
	})
	return p.closed
}

// forgetExec makes containerd and the shim forget a program that has ended. What they do not know is forgotten.
func (r *Runtime) forgetExec(ctx context.Context, id, execID string) error {
	_, err := r.client.TaskService().DeleteProcess(ctx, &tasks.DeleteProcessRequest{ContainerID: id, ExecID: execID})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("forget program %s of container %q: %w", execID, id, err)
	}
	return nil
}
