package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/runtime"
)

// Programs that are run inside containers talk to this process through named pipes. They are below the state directory,
// in a directory of this process's own, whose lock ends with it: the next one finds by that what was left behind.
//
//	fifo/LIFE/lock
//	fifo/LIFE/EXEC@CONTAINER/{stdin,stdout,stderr}   of an Attach
//	fifo/LIFE/…                                      of an Exec, by containerd's own naming

// fifoSpace returns this process's directory of pipes, which the first caller makes.
func (r *Runtime) fifoSpace() (string, error) {
	r.fifo.mu.Lock()
	defer r.fifo.mu.Unlock()
	if r.fifo.dir != "" {
		return r.fifo.dir, nil
	}
	dir := filepath.Join(r.cfg.StateDir, fifoDir, uuid.NewString())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make pipes: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("make pipes: %w", err), os.RemoveAll(dir))
	}
	r.fifo.dir, r.fifo.lock = dir, lock
	return dir, nil
}

// endFIFOs removes the directory, at the end of this process's use of the runtime.
func (r *Runtime) endFIFOs() error {
	r.fifo.mu.Lock()
	defer r.fifo.mu.Unlock()
	if r.fifo.dir == "" {
		return nil
	}
	err := errors.Join(os.RemoveAll(r.fifo.dir), r.fifo.lock.Close())
	r.fifo.dir = ""
	return err
}

// pipes are the named pipes of one program.
type pipes struct{ *cio.DirectIO }

// discardPatience bounds the wait for a shim that has something to write still.
const discardPatience = 2 * time.Second

// discard reads what programs that have ended have left. The shim holds both ends of the pipes that it writes into, so it
// would wait for a reader for ever.
func (p *pipes) discard() {
	p.Cancel()
	for _, path := range []string{p.Config().Stdout, p.Config().Stderr} {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			continue // there is no such pipe
		}
		if f.SetReadDeadline(time.Now().Add(discardPatience)) == nil {
			_, _ = io.Copy(io.Discard, f)
		}
		f.Close()
	}
}

// newPipes makes the pipes of one program and opens our ends. Nothing waits: the other ends are opened by the shim.
func (r *Runtime) newPipes(execID, id string, terminal bool) (*pipes, error) {
	space, err := r.fifoSpace()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(space, execID+"@"+id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make pipes: %w", err)
	}
	config := cio.Config{Terminal: terminal, Stdin: filepath.Join(dir, "stdin"), Stdout: filepath.Join(dir, "stdout")}
	if !terminal {
		config.Stderr = filepath.Join(dir, "stderr")
	}
	direct, err := cio.NewDirectIO(context.Background(), cio.NewFIFOSet(config, func() error { return os.RemoveAll(dir) }))
	if err != nil {
		return nil, fmt.Errorf("make pipes: %w", err)
	}
	return &pipes{direct}, nil
}

// sweepExecs ends what processes that are gone have left running in containers, and removes their pipes.
func (r *Runtime) sweepExecs(ctx context.Context) error {
	root := filepath.Join(r.cfg.StateDir, fifoDir)
	lives, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("containerd: look for pipes: %w", err)
	}
	for _, life := range lives {
		if err := r.sweepLife(ctx, filepath.Join(root, life.Name())); err != nil {
			return fmt.Errorf("containerd: end programs of an earlier process: %w", err)
		}
	}
	return nil
}

func (r *Runtime) sweepLife(ctx context.Context, dir string) error {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
	if err == nil {
		defer lock.Close()
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			return nil //nolint:nilerr // its process lives
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return os.RemoveAll(dir) // not a directory
	}
	for _, e := range entries {
		execID, id, ok := strings.Cut(e.Name(), "@")
		if !ok {
			continue
		}
		c, err := r.load(ctx, id)
		if errors.Is(err, runtime.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(r.killExec(c, execID, 0), r.forgetExec(ctx, id, execID)); err != nil {
			// One that cannot be ended must not keep the node from running.
			r.cfg.Logger.WarnContext(ctx, "a program of an earlier process was not ended", "container", id, "exec", execID, "error", err)
		}
	}
	return os.RemoveAll(dir)
}
