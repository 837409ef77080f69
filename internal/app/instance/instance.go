package instance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/base/ident"
)

// runRoot is where instances keep sockets: data directories may have paths
// longer than the 108 bytes that a socket's may have.
const runRoot = "/run/berth"

// Instance is one Berth on this host.
type Instance struct {
	ID      string // eight characters, a part of every name on the host
	DataDir string // absolute
}

// Open finds or makes the instance of a data directory.
func Open(dataDir string) (Instance, error) {
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return Instance{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Instance{}, fmt.Errorf("making the data directory: %w", err)
	}
	file := filepath.Join(dir, "instance")
	if err := createOnce(file, ident.Hex(8)); err != nil {
		return Instance{}, fmt.Errorf("naming the instance: %w", err)
	}
	i, err := Existing(dir)
	if err != nil {
		return Instance{}, err
	}
	return i, os.MkdirAll(i.RunDir(), 0o700)
}

// Existing finds the instance of a data directory; fs.ErrNotExist says that
// there is none.
func Existing(dataDir string) (Instance, error) {
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return Instance{}, err
	}
	id, err := os.ReadFile(filepath.Join(dir, "instance"))
	if err != nil {
		return Instance{}, err
	}
	i := Instance{ID: strings.TrimSpace(string(id)), DataDir: dir}
	if len(i.ID) != 8 {
		return Instance{}, fmt.Errorf("%s is damaged: it holds no instance id", filepath.Join(dir, "instance"))
	}
	return i, nil
}

// createOnce makes a file with content unless it exists, whoever else tries
// at the same time, and never leaves half of it.
func createOnce(file, content string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	tmp := file + ".new-" + ident.Hex(8)
	if err := os.WriteFile(tmp, []byte(content+"\n"), 0o600); err != nil {
		return err
	}
	defer os.Remove(tmp) //nolint:errcheck // it is only a second name of the file
	if err := os.Link(tmp, file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Path is a path below the data directory.
func (i Instance) Path(elem ...string) string {
	return filepath.Join(append([]string{i.DataDir}, elem...)...)
}

// RunDir is the instance's directory for sockets. It does not survive a
// reboot, and nothing in it needs to.
func (i Instance) RunDir() string { return filepath.Join(runRoot, i.ID) }

// NodeSocket is where the server answers the local node.
func (i Instance) NodeSocket() string { return filepath.Join(i.RunDir(), "node.sock") }

// AdminSocket is where the server answers its operator, who owns the instance.
func (i Instance) AdminSocket() string { return filepath.Join(i.RunDir(), "admin.sock") }

// CredentialsFile holds the root credentials in the form that AWS clients read.
func (i Instance) CredentialsFile() string { return i.Path("credentials") }

// PIDFile is where a role says its process id.
func (i Instance) PIDFile(role string) string { return i.Path(role + ".pid") }

// ErrRunning says that a role of this instance runs already.
var ErrRunning = errors.New("is running already")

// Claim makes this process the only one of its role: it locks the role and
// writes its pid file. release undoes both.
func (i Instance) Claim(role string) (release func(), err error) {
	lock, err := os.OpenFile(i.Path(role+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.FcntlFlock(lock.Fd(), unix.F_OFD_SETLK, wholeFile()); err != nil {
		lock.Close() //nolint:errcheck,gosec // nothing was written
		if errors.Is(err, unix.EAGAIN) {
			pid, _ := i.PID(role)
			return nil, fmt.Errorf("the %s of %s (pid %d) %w", role, i.DataDir, pid, ErrRunning)
		}
		return nil, err
	}
	if err := os.WriteFile(i.PIDFile(role), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return func() {
		os.Remove(i.PIDFile(role)) //nolint:errcheck,gosec // the lock is what counts
		lock.Close()               //nolint:errcheck,gosec // the process is ending
	}, nil
}

// PID reads the pid file of a role. It says nothing about whether that
// process still lives: Running does.
func (i Instance) PID(role string) (int, error) {
	data, err := os.ReadFile(i.PIDFile(role))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

// wholeFile asks for a role's lock. It belongs to an open file and not to a
// process, and unlike flock(2)'s it can be looked at without taking it.
func wholeFile() *unix.Flock_t { return &unix.Flock_t{Type: unix.F_WRLCK} }

// Running reports whether a role runs, by its lock. Looking is not noticed by
// a role that begins at the same moment.
func (i Instance) Running(role string) bool {
	lock, err := os.OpenFile(i.Path(role+".lock"), os.O_RDWR, 0o600)
	if err != nil {
		return false
	}
	defer lock.Close() //nolint:errcheck // only looked at
	held := wholeFile()
	return unix.FcntlFlock(lock.Fd(), unix.F_OFD_GETLK, held) == nil && held.Type != unix.F_UNLCK
}

// Remove removes the data directory and the run directory.
func (i Instance) Remove() error {
	return errors.Join(os.RemoveAll(i.RunDir()), os.RemoveAll(i.DataDir))
}

// Wait returns when a role does not run, or with ctx's error.
func (i Instance) Wait(ctx context.Context, role string) error {
	lock, err := os.OpenFile(i.Path(role+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	free := make(chan error, 1)
	go func() {
		// The kernel wakes this up when the role's process is gone. When ctx ends
		// first it stays behind until then, and gives the lock back at once.
		err := unix.FcntlFlock(lock.Fd(), unix.F_OFD_SETLKW, wholeFile())
		lock.Close() //nolint:errcheck,gosec // only the lock mattered
		free <- err
	}()
	select {
	case err := <-free:
		return err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the %s of %s to end: %w", role, i.DataDir, ctx.Err())
	}
}

// Stop asks a role's process to end and waits until it has. A role that does
// not run is stopped already.
func (i Instance) Stop(ctx context.Context, role string) error {
	if !i.Running(role) {
		return nil
	}
	pid, err := i.PID(role)
	if err != nil {
		return fmt.Errorf("finding the %s: %w", role, err)
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stopping the %s (pid %d): %w", role, pid, err)
	}
	return i.Wait(ctx, role)
}
