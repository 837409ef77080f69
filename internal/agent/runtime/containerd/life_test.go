package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/runtime"
)

func TestRemoveLeavesNothing(t *testing.T) {
	s := newSandbox(t, runtime.Task{MemoryBytes: 64 << 20})
	spec := s.spec("sleep")
	s.run(spec)
	if _, err := s.Exec(t.Context(), spec.ID, runtime.ExecSpec{Args: []string{"/probe", "exit", "0"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveTask(t.Context(), s.task); err != nil {
		t.Fatal(err)
	}
	ctx := s.scoped(t.Context())
	if _, err := s.client.SnapshotService(s.snapshotter).Stat(ctx, spec.ID); !errdefs.IsNotFound(err) {
		t.Errorf("snapshot: %v, want not found", err)
	}
	err := s.client.SnapshotService(s.snapshotter).Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		if strings.HasPrefix(i.Name, "view-") {
			t.Errorf("snapshot %s is left", i.Name)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for _, root := range hierarchies() {
		if _, err := os.Stat(filepath.Join(root, s.parent)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("cgroup in %s: %v, want none", root, err)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), spec.ID) {
		t.Errorf("a mount is left (%v)", err)
	}
	if _, err := os.Stat(s.markPath(spec.ID)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("mark: %v, want none", err)
	}
	// This process's own directory stays, with its lock.
	left, err := filepath.Glob(filepath.Join(s.Runtime.cfg.StateDir, fifoDir, "*", "*"))
	left = slices.DeleteFunc(left, func(path string) bool { return filepath.Base(path) == "lock" })
	if err != nil || len(left) > 0 {
		t.Errorf("fifos are left: %q, %v", left, err)
	}
	if left, err := os.ReadDir(filepath.Join(s.ociRoot(), s.namespace)); err == nil {
		for _, e := range left {
			if e.Name() == spec.ID {
				t.Error("the oci runtime's state is left")
			}
		}
	}
}

// TestSweep is about an agent that died between preparing a file system and making the container.
func TestSweep(t *testing.T) {
	s := newSandbox(t, runtime.Task{})
	ctx := s.scoped(t.Context())
	img, err := s.images.Details(ctx, s.image.Name)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.prepareSnapshot(ctx, "orphan-"+s.task, img.ChainID); err != nil {
		t.Fatal(err)
	}
	if err := s.writeMark("orphan-"+s.task, mark{}); err != nil {
		t.Fatal(err)
	}
	s.connect(t)
	if _, err := s.client.SnapshotService(s.snapshotter).Stat(ctx, "orphan-"+s.task); !errdefs.IsNotFound(err) {
		t.Errorf("snapshot: %v, want not found", err)
	}
	if _, ok := s.readMark("orphan-" + s.task); ok {
		t.Error("the mark is left")
	}
}

// parentOf returns the parent of a process: for a container's first one, its shim.
func parentOf(t *testing.T, pid int) int {
	t.Helper()
	stat, ok := readProcStat(pid)
	if !ok {
		t.Fatalf("process %d cannot be read", pid)
	}
	return stat.parent
}

func TestTaskSharesShim(t *testing.T) {
	s := newSandbox(t, runtime.Task{})
	first, second := s.run(s.spec("sleep")), s.run(s.spec("sleep"))
	if a, b := parentOf(t, first.PID), parentOf(t, second.PID); a != b {
		t.Errorf("shims %d and %d, want one", a, b)
	}
	other := newSandbox(t, runtime.Task{})
	if a, b := parentOf(t, first.PID), parentOf(t, other.run(other.spec("sleep")).PID); a == b {
		t.Error("two tasks share a shim")
	}
}

func TestShimKilled(t *testing.T) {
	s := newSandbox(t, runtime.Task{})
	spec := s.spec("sleep")
	status := s.run(spec)
	if err := syscall.Kill(parentOf(t, status.PID), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	exit, err := s.Wait(t.Context(), spec.ID)
	if err != nil || (!exit.Lost && exit.Code != 137) {
		t.Fatalf("exit %+v, %v", exit, err)
	}
	after, err := s.Start(t.Context(), spec.ID)
	if err != nil || after.State != runtime.StateExited {
		t.Errorf("Start after the loss: %+v, %v: what has run must not run again", after, err)
	}
	if err := s.Remove(t.Context(), spec.ID); err != nil {
		t.Error(err)
	}
}

// TestContainerdKilled kills the private containerd under a running container and a Wait.
func TestContainerdKilled(t *testing.T) {
	s := newSandbox(t, runtime.Task{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	spec := s.spec("trap", "6")
	before := s.run(spec)
	result := make(chan runtime.Exit, 1)
	go func() {
		exit, err := s.Wait(t.Context(), spec.ID)
		if err != nil {
			t.Error(err)
		}
		result <- exit
	}()
	old := privatePID(s.Runtime.cfg)
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// The next call that succeeds has reached the one that Run has started.
	var after runtime.Status
	for {
		var err error
		if after, err = s.Status(t.Context(), spec.ID); err == nil && privatePID(s.Runtime.cfg) != old {
			break
		}
		if err != nil && !errdefs.IsUnavailable(err) {
			t.Fatal(err)
		}
	}
	if after.PID != before.PID || after.State != runtime.StateRunning {
		t.Errorf("before %+v, after %+v", before, after)
	}
	for {
		res, err := s.Exec(t.Context(), spec.ID, runtime.ExecSpec{Args: []string{"/probe", "stat", "/tmp/ready"}})
		if err != nil {
			t.Fatal(err)
		}
		if res.ExitCode == 0 {
			break
		}
	}
	if err := s.Kill(t.Context(), spec.ID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if exit := <-result; exit.Code != 6 {
		t.Errorf("exit %+v, want 6", exit)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
}

// TestExecKillsWhatItStarted gives up on a program that has left children behind, one of them without any tie to it.
func TestExecKillsWhatItStarted(t *testing.T) {
	s := newSandbox(t, runtime.Task{})
	dir := t.TempDir()
	fifo := filepath.Join(dir, "held")
	if err := unix.Mkfifo(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	spec := s.spec("sleep")
	spec.Mounts = []runtime.Mount{{Type: runtime.MountBind, Source: dir, Target: "/shared"}}
	s.run(spec)

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.Exec(ctx, spec.ID, runtime.ExecSpec{Args: []string{"/probe", "stray", "/shared/held"}})
		done <- err
	}()
	f, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.ReadFull(f, make([]byte, 2)); err != nil { // both hold it
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Exec: %v", err)
	}
	if _, err := io.Copy(io.Discard, f); err != nil { // ends when nobody holds it any more
		t.Error(err)
	}
	pids, err := containerPIDs(cgroupPath(spec))
	// What has been killed stays as a zombie, since the first process does not reap what it inherits.
	pids = slices.DeleteFunc(pids, func(pid int) bool {
		stat, ok := readProcStat(pid)
		return !ok || stat.state == 'Z'
	})
	if err != nil || len(pids) != 1 {
		t.Errorf("processes in the container: %v, %v, want its own only", pids, err)
	}
}

func TestExecOutputAndUser(t *testing.T) {
	s := newSandbox(t, runtime.Task{})
	spec := s.spec("sleep")
	spec.Env = []string{"A=container", "B=container"}
	s.run(spec)
	res, err := s.Exec(t.Context(), spec.ID, runtime.ExecSpec{Args: []string{"/probe", "seq", "20000"}})
	if err != nil || len(res.Output) != runtime.MaxExecOutput || !strings.HasPrefix(string(res.Output), "line 0\n") {
		t.Errorf("long output: %d bytes, %v", len(res.Output), err)
	}
	res, err = s.Exec(t.Context(), spec.ID, runtime.ExecSpec{Args: []string{"/probe", "id"}, User: "app"})
	if err != nil || string(res.Output) != "1000 1000 [1000 2000]\n" {
		t.Errorf("user: %q, %v", res.Output, err)
	}
	res, err = s.Exec(t.Context(), spec.ID, runtime.ExecSpec{Args: []string{"/probe", "env"}, Env: []string{"B=exec"}})
	if err != nil || !strings.Contains(string(res.Output), "A=container\n") || !strings.Contains(string(res.Output), "B=exec\n") {
		t.Errorf("environment: %q, %v", res.Output, err)
	}
	res, err = s.Exec(t.Context(), spec.ID, runtime.ExecSpec{Args: []string{"/probe", "stderr", "oops"}})
	if err != nil || string(res.Output) != "oops\n" {
		t.Errorf("stderr: %q, %v", res.Output, err)
	}
}

// TestSharedPIDNamespace joins a container to another's process namespace, and kills both with all they have.
func TestSharedPIDNamespace(t *testing.T) {
	s := newSandbox(t, runtime.Task{})
	first := s.run(s.spec("sleep"))
	spec := s.spec("ignore")
	spec.PIDNSPath = fmt.Sprintf("/proc/%d/ns/pid", first.PID)
	second := s.run(spec)
	a, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", first.PID))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", second.PID)); err != nil || a != b {
		t.Errorf("namespaces %s and %s, %v", a, b, err)
	}
	if err := s.Kill(t.Context(), spec.ID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if exit, err := s.Wait(t.Context(), spec.ID); err != nil || exit.Code != 137 {
		t.Errorf("exit %+v, %v", exit, err)
	}
}

func TestPrivateContainerdIsShared(t *testing.T) {
	h := requireHost(t)
	before := privatePID(h.cfg)
	info, err := h.connect(t).Info(t.Context())
	if err != nil || !info.Private || info.Address != socketPath(h.connect(t).cfg) {
		t.Errorf("info %+v, %v", info, err)
	}
	if after := privatePID(h.connect(t).cfg); before != 0 && after != before {
		t.Errorf("another containerd was started: %d and %d", before, after)
	}
	// It must not be in our session, or a ^C for the agent would end it.
	stat, ok := readProcStat(privatePID(h.connect(t).cfg))
	if !ok || stat.session == os.Getpid() {
		t.Errorf("session of the private containerd: %+v", stat)
	}
}

func TestCapabilities(t *testing.T) {
	got, err := capabilities(runtime.Spec{CapAdd: []string{"ALL"}, CapDrop: []string{"SYS_ADMIN"}})
	if err != nil || slices.Contains(got, "CAP_SYS_ADMIN") || !slices.Contains(got, "CAP_NET_ADMIN") {
		t.Errorf("ALL without SYS_ADMIN: %v, %v", got, err)
	}
}

func TestEnvironmentOrder(t *testing.T) {
	got := environment([]string{"X=1", "PATH=/mine", "X=2"}, true)
	if want := []string{"PATH=/mine", "TERM=xterm", "X=2"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestConfigRefusesLongSocketPath(t *testing.T) {
	cfg := Config{
		Instance: "x", DataDir: t.TempDir(), Address: AddressPrivate,
		StateDir: filepath.Join(t.TempDir(), strings.Repeat("d", 90), strconv.Itoa(os.Getpid())),
	}
	if _, err := New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("New: %v", err)
	}
}
