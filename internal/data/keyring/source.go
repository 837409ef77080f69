package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// commandTime is how long the operator's command may take: a vault across
	// the world answers within it, and a start that hangs is noticed.
	commandTime = 30 * time.Second
	// maxKeyset bounds what is read: a keyset of hundreds of keys fits.
	maxKeyset = 1 << 20
)

// load reads the file of the keyset, and makes it when there is none.
func load(path string) ([]byte, error) {
	text, err := read(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	made, err := Generate()
	if err != nil {
		return nil, err
	}
	if err := create(path, made); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making %s: %w", path, err)
	}
	return read(path) // which another process may have made first
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case mode.Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s can be read or changed by others (mode %04o): chmod 600 %s, and think about whether the key is still yours alone", path, mode.Perm(), path)
	}
	return bounded(f)
}

func bounded(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxKeyset+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeyset {
		return nil, fmt.Errorf("more than %d bytes are no keyset", maxKeyset)
	}
	return text, nil
}

// create writes a file that must not be there. Unlike atomicfile's rename it
// never replaces one: two processes that start together must end up with one
// key, or the other's secrets are lost.
func create(path string, text []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-") // made with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	// The name must survive a crash before anything is sealed with the key.
	return errors.Join(d.Sync(), d.Close())
}

// run asks the operator's command. What it prints goes nowhere but into the
// keyset: not even its complaints are repeated, because they might quote it.
func run(ctx context.Context, command string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // what sh started, too
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout = &limited{buffer: &out, left: maxKeyset}
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("the command that prints it did not end in %v: %w", commandTime, ctx.Err())
	case err != nil:
		return nil, fmt.Errorf("the command that prints it failed (run it by hand to see why): %w", err)
	case out.Len() == 0:
		return nil, errors.New("the command that prints it printed nothing")
	}
	return out.Bytes(), nil
}

// limited takes so many bytes and refuses more.
type limited struct {
	buffer *bytes.Buffer
	left   int
}

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return 0, fmt.Errorf("more than %d bytes are no keyset", maxKeyset)
	}
	l.left -= len(p)
	return l.buffer.Write(p)
}
