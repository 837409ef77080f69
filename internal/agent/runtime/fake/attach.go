package fake

import (
	"context"
	"errors"
	"io"
	"sync"
	"syscall"

	"berth.dev/berth/internal/agent/runtime"
)

// Session is what a program that is attached to has. Its streams hold nothing: a write waits for its reader.
type Session struct {
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer // Stdout on a terminal
	Sizes   <-chan [2]uint16
	Signals <-chan syscall.Signal
	// Killed is closed when the program is: it need do nothing more.
	Killed <-chan struct{}
}

// Attached is how many programs that were attached to still run.
func (w *World) Attached() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.attached
}

// Attach implements runtime.Runtime. A crash of the agent leaves the program to whoever comes next, as a real one does;
// here it is killed at once, which nobody can tell.
func (r *Runtime) Attach(ctx context.Context, id string, spec runtime.AttachSpec) (runtime.Process, error) {
	w := r.world
	var program func(Session) (uint32, error)
	var current *run
	err := r.do(ctx, Attach, id, func() error {
		c, err := w.running(id)
		if err != nil {
			return err
		}
		if len(spec.Args) == 0 {
			return &runtime.ProgramError{Message: "no command specified"}
		}
		program = func(Session) (uint32, error) { return 0, nil }
		if c.process.Attach != nil {
			if program, err = c.process.Attach(spec); err != nil {
				return &runtime.ProgramError{Message: err.Error(), Err: err}
			}
		}
		current = c.run
		return nil
	})
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.attached++
	w.mu.Unlock()
	p := newAttached(spec.TTY)
	go p.run(program, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.attached--
	})
	go func() {
		select {
		case <-current.ended:
		case <-r.crashed:
		case <-p.ended:
		}
		p.kill()
	}()
	return p, nil
}

// attached is a program that runs.
type attached struct {
	tty                           bool
	stdinRead, stdoutRead, errOut *io.PipeReader
	stdin, stdout, stderr         *io.PipeWriter
	sizes                         chan [2]uint16
	signals                       chan syscall.Signal
	killed, ended                 chan struct{}
	once                          sync.Once
	code                          uint32
}

func newAttached(tty bool) *attached {
	p := &attached{tty: tty, sizes: make(chan [2]uint16, 16), signals: make(chan syscall.Signal, 16), killed: make(chan struct{}), ended: make(chan struct{})}
	p.stdinRead, p.stdin = io.Pipe()
	p.stdoutRead, p.stdout = io.Pipe()
	p.errOut, p.stderr = io.Pipe()
	return p
}

func (p *attached) run(program func(Session) (uint32, error), over func()) {
	s := Session{Stdin: p.stdinRead, Stdout: p.stdout, Stderr: p.stderr, Sizes: p.sizes, Signals: p.signals, Killed: p.killed}
	if p.tty {
		s.Stderr = p.stdout
	}
	done := make(chan uint32, 1)
	go func() {
		code, err := program(s)
		if err != nil {
			code = 1
		}
		done <- code
	}()
	select {
	case p.code = <-done:
	case <-p.killed:
		p.code = 128 + uint32(syscall.SIGKILL)
		p.stdinRead.CloseWithError(io.ErrClosedPipe)
		p.stdoutRead.CloseWithError(io.EOF) // what the program wants to say it cannot say any more
		p.errOut.CloseWithError(io.EOF)
		<-done
	}
	p.stdinRead.Close()
	p.stdout.Close()
	p.stderr.Close()
	over()
	close(p.ended)
}

func (p *attached) kill() { p.once.Do(func() { close(p.killed) }) }

func (p *attached) Stdin() io.WriteCloser { return p.stdin }
func (p *attached) Stdout() io.Reader     { return eofReader{p.stdoutRead} }

func (p *attached) Stderr() io.Reader {
	if p.tty {
		return nil
	}
	return eofReader{p.errOut}
}

// eofReader reads the end where a pipe says that its reader has closed it.
type eofReader struct{ *io.PipeReader }

func (r eofReader) Read(data []byte) (int, error) {
	n, err := r.PipeReader.Read(data)
	if errors.Is(err, io.ErrClosedPipe) {
		err = io.EOF
	}
	return n, err
}

func (p *attached) Resize(_ context.Context, rows, columns uint16) error {
	select {
	case p.sizes <- [2]uint16{rows, columns}:
	default:
	}
	return nil
}

func (p *attached) Signal(_ context.Context, sig syscall.Signal) error {
	if sig == syscall.SIGKILL {
		p.kill()
		return nil
	}
	select {
	case p.signals <- sig:
	default:
	}
	return nil
}

func (p *attached) Wait(ctx context.Context) (uint32, error) {
	select {
	case <-p.ended:
		return p.code, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (p *attached) Kill(ctx context.Context) error {
	p.kill()
	_, err := p.Wait(ctx)
	return err
}

func (p *attached) Close() error {
	p.kill()
	<-p.ended
	p.stdin.Close()
	p.stdoutRead.Close()
	p.errOut.Close()
	return nil
}
