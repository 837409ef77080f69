package runtimetest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"

	"berth.dev/berth/internal/agent/runtime"
)

// attach runs the probe in a container; it is closed when the test ends.
func (f *fixture) attach(t *testing.T, id string, tty bool, args ...string) runtime.Process {
	t.Helper()
	spec := runtime.AttachSpec{ExecSpec: runtime.ExecSpec{Args: append([]string{"/probe"}, args...)}, TTY: tty}
	if tty {
		spec.Rows, spec.Columns = 24, 80
	}
	p, err := f.Attach(t.Context(), id, spec)
	if err != nil {
		t.Fatalf("Attach: %v", err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return p
}

// read reads both streams to their ends, and the exit code.
func read(t *testing.T, p runtime.Process) (stdout, stderr []byte, code uint32) {
	t.Helper()
	var streams sync.WaitGroup
	for into, from := range map[*[]byte]io.Reader{&stdout: p.Stdout(), &stderr: p.Stderr()} {
		if from == nil {
			continue
		}
		streams.Go(func() {
			data, err := io.ReadAll(from)
			if err != nil {
				t.Errorf("read: %v", err)
			}
			*into = data
		})
	}
	streams.Wait()
	code, err := p.Wait(t.Context())
	if err != nil {
		t.Errorf("Wait: %v", err)
	}
	return stdout, stderr, code
}

func testAttach(t *testing.T, f *fixture) {
	id := f.run(t, f.spec("a", "sleep"))
	for _, tt := range []struct {
		args           []string
		stdout, stderr string
		code           uint32
	}{
		{[]string{"echo", "hello"}, "hello\n", "", 0},
		{[]string{"stderr", "oops"}, "", "oops\n", 0},
		{[]string{"exit", "3"}, "", "", 3},
	} {
		p := f.attach(t, id, false, tt.args...)
		stdout, stderr, code := read(t, p)
		if string(stdout) != tt.stdout || string(stderr) != tt.stderr || code != tt.code {
			t.Errorf("%q: %q, %q, code %d", tt.args, stdout, stderr, code)
		}
		if err := errors.Join(p.Signal(t.Context(), syscall.SIGTERM), p.Resize(t.Context(), 1, 1), p.Kill(t.Context()), p.Close(), p.Close()); err != nil {
			t.Errorf("%q, after its end: %v", tt.args, err)
		}
	}
	if s := f.status(t, id); s.State != runtime.StateRunning {
		t.Errorf("after Attach: %+v", s)
	}
}

// testAttachCopies sends every byte there is through a program, more than pipes hold, with several at once.
func testAttachCopies(t *testing.T, f *fixture) {
	id := f.run(t, f.spec("a", "sleep"))
	var sent []byte
	for i := range 3 << 20 {
		sent = append(sent, byte(i*i>>8^i))
	}
	var group sync.WaitGroup
	for range 3 {
		p := f.attach(t, id, false, "copy")
		group.Go(func() {
			if _, err := p.Stdin().Write(sent); err != nil {
				t.Errorf("Write: %v", err)
			}
			if err := p.Stdin().Close(); err != nil {
				t.Errorf("Close of standard input: %v", err)
			}
		})
		group.Go(func() {
			stdout, stderr, code := read(t, p)
			if !bytes.Equal(stdout, sent) || string(stderr) != "3145728\n" || code != 0 {
				t.Errorf("%d bytes of %d, %q, code %d", len(stdout), len(sent), stderr, code)
			}
		})
	}
	group.Wait()
}

func testAttachTerminal(t *testing.T, f *fixture) {
	id := f.run(t, f.spec("a", "sleep"))
	p := f.attach(t, id, true, "size")
	if p.Stderr() != nil {
		t.Error("a terminal has a second stream")
	}
	lines := bufio.NewScanner(p.Stdout())
	expectLine(t, lines, "24x80")
	if err := p.Resize(t.Context(), 50, 132); err != nil {
		t.Fatalf("Resize: %v", err)
	}
	expectLine(t, lines, "50x132")
}

func expectLine(t *testing.T, lines *bufio.Scanner, want string) {
	t.Helper()
	if !lines.Scan() || strings.TrimSpace(lines.Text()) != want {
		t.Errorf("it says %q, want %q (%v)", lines.Text(), want, lines.Err())
	}
}

func testAttachSignals(t *testing.T, f *fixture) {
	id := f.run(t, f.spec("a", "sleep"))
	p := f.attach(t, id, false, "signals")
	lines := bufio.NewScanner(p.Stdout())
	expectLine(t, lines, "ready")
	for _, sig := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGTERM, syscall.SIGQUIT} {
		if err := p.Signal(t.Context(), sig); err != nil {
			t.Fatalf("Signal: %v", err)
		}
		expectLine(t, lines, sig.String())
	}
	if code, err := p.Wait(t.Context()); code != 3 || err != nil {
		t.Errorf("Wait: %d, %v", code, err)
	}
}

// testAttachEnds ends programs in the ways there are: by Kill, by Close while it is read from, and with the container.
func testAttachEnds(t *testing.T, f *fixture) {
	id := f.run(t, f.spec("a", "sleep"))
	for _, tt := range []struct {
		name string
		tty  bool
		end  func(p runtime.Process) error
	}{
		{"Kill", false, func(p runtime.Process) error { return p.Kill(t.Context()) }},
		{"Kill", true, func(p runtime.Process) error { return p.Kill(t.Context()) }},
		{"Close", false, runtime.Process.Close},
		{"Close", true, runtime.Process.Close},
		{"SIGKILL", false, func(p runtime.Process) error { return p.Signal(t.Context(), syscall.SIGKILL) }},
		{"the container's end", false, func(runtime.Process) error { return f.Kill(t.Context(), id, syscall.SIGKILL) }},
	} {
		p := f.attach(t, id, tt.tty, "sleep")
		ended := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, p.Stdout())
			ended <- err
		}()
		if err := tt.end(p); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err := <-ended; err != nil && tt.name != "Close" {
			t.Errorf("%s: reading ends with %v", tt.name, err)
		}
		if code, err := p.Wait(t.Context()); code != 137 || err != nil {
			t.Errorf("%s: code %d, %v", tt.name, code, err)
		}
	}
	f.wait(t, id)
}

func testAttachFails(t *testing.T, f *fixture) {
	id := f.run(t, f.spec("a", "sleep"))
	attach := func(id string, args ...string) error {
		p, err := f.Attach(t.Context(), id, runtime.AttachSpec{ExecSpec: runtime.ExecSpec{Args: args}})
		if err == nil {
			p.Close()
		}
		return err
	}
	if err := attach(id, "nonsense", "x"); !errors.Is(err, runtime.ErrProgram) || !strings.HasSuffix(err.Error(), `exec: "nonsense": executable file not found in $PATH`) {
		t.Errorf("a program that is not there: %v", err)
	}
	if err := attach(id); !errors.Is(err, runtime.ErrProgram) {
		t.Errorf("no program: %v", err)
	}
	if err := attach(f.task+"-none", "/probe", "exit", "0"); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("no container: %v", err)
	}
	for _, other := range []string{f.create(t, f.spec("b", "sleep")), f.run(t, f.spec("c", "exit", "0"))} {
		if f.status(t, other).State != runtime.StateCreated {
			f.wait(t, other)
		}
		if err := attach(other, "/probe", "exit", "0"); !errors.Is(err, runtime.ErrNotRunning) {
			t.Errorf("a container that does not run: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Attach(ctx, id, runtime.AttachSpec{ExecSpec: runtime.ExecSpec{Args: []string{"/probe", "sleep"}}}); err == nil {
		t.Error("Attach after the end of its context")
	}
}
