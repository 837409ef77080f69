package exec_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"berth.dev/berth/internal/agent/exec"
	"berth.dev/berth/internal/agent/image"
	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/runtime/containerd"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/test/images"
)

const probeImage = "berth-probe:latest"

// engine is a private containerd with the probe's image, for all tests.
type engine struct {
	cfg containerd.Config
	dir string
}

var sharedEngine = sync.OnceValues(newEngine)

var begun bool

func TestMain(m *testing.M) {
	code := m.Run()
	if begun {
		if e, _ := sharedEngine(); e != nil { // also one that was only half made
			if err := e.stop(); err != nil {
				fmt.Fprintln(os.Stderr, "the tests' containerd was not cleaned up:", err)
				code = 1
			}
		}
	}
	os.Exit(code)
}

func newEngine() (*engine, error) {
	begun = true
	dir, err := os.MkdirTemp("", "berth-exec-")
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	probe, helper := filepath.Join(dir, "probe"), filepath.Join(dir, "berth-helper")
	e := &engine{dir: dir, cfg: containerd.Config{
		Instance: "x" + strings.ToLower(rand.Text()[:10]), DataDir: filepath.Join(dir, "data"), StateDir: filepath.Join(dir, "run"),
		Address: containerd.AddressPrivate, Images: image.Config{DockerHost: "none", PullAttempts: 1}, InitPath: helper,
	}}
	if err := errors.Join(images.Compile(ctx, images.ProbePackage, probe), images.Compile(ctx, "berth.dev/berth/cmd/berth-helper", helper)); err != nil {
		return e, err
	}
	probed, err := images.Probe(probeImage, probe)
	if err != nil {
		return e, err
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(images.Archive(w, probed)) }()
	_, err = containerd.Import(ctx, e.cfg, r, "")
	return e, err
}

func (e *engine) stop() error {
	ctx := context.Background()
	r, err := containerd.New(ctx, e.cfg)
	if err != nil {
		return err
	}
	return errors.Join(r.Purge(ctx), r.Close(), containerd.StopPrivate(ctx, e.cfg), os.RemoveAll(e.dir))
}

// host is one task with a container that runs the probe, and the server into it.
type host struct {
	t testing.TB
	*exec.Server
	*containerd.Runtime
	engine *engine
	task   string
	id     string // of the container
	pid    int
	dir    string // the server's
}

// launch runs the probe in a container of a task of its own.
func launch(t testing.TB, change func(*runtime.Spec), args ...string) *host {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to run containers")
	}
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "runc"} {
		if _, err := osexec.LookPath(program); err != nil {
			t.Skipf("needs %s on PATH", program)
		}
	}
	e, err := sharedEngine()
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, engine: e, task: strings.ToLower(rand.Text()), dir: filepath.Join(t.TempDir(), "debug")}
	h.id = h.task + "-1"
	if h.Runtime, err = containerd.New(t.Context(), e.cfg); err != nil {
		t.Fatal(err)
	}
	img, err := h.EnsureImage(t.Context(), runtime.ImageRequest{Ref: probeImage})
	if err != nil {
		t.Fatal(err)
	}
	parent, err := h.PrepareTask(t.Context(), runtime.Task{ID: h.task, MemoryBytes: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.remove)
	spec := runtime.Spec{ID: h.id, TaskID: h.task, Name: "app", Image: img.Name, CgroupParent: parent, Args: append([]string{"/probe"}, args...)}
	if change != nil {
		change(&spec)
	}
	if err := h.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	status, err := h.Start(t.Context(), h.id)
	if err != nil {
		t.Fatal(err)
	}
	h.pid = status.PID
	h.Server = exec.New(exec.Config{
		Runtime: h.Runtime, Task: tasks{id: h.task, containers: map[string]string{"app": h.id}, cgroup: parent}.task,
		Dir: h.dir, Log: slog.New(slog.DiscardHandler),
	})
	return h
}

// remove takes the task away, and checks that nothing of a stream is left.
func (h *host) remove() {
	ctx := context.Background()
	all, err := h.List(ctx)
	if err != nil {
		h.t.Error(err)
	}
	for _, c := range all {
		if c.TaskID == h.task && c.ID != h.id {
			h.t.Errorf("container %s is left", c.ID)
		}
	}
	if left, err := filepath.Glob(filepath.Join(h.engine.cfg.StateDir, "fifo", "*", "*@"+h.id)); err != nil || len(left) > 0 {
		h.t.Errorf("pipes are left: %v, %v", left, err)
	}
	if files, err := os.ReadDir(h.dir); err == nil && len(files) > 0 {
		h.t.Errorf("files are left: %v", files)
	}
	if err := errors.Join(h.Remove(ctx, h.id), h.RemoveTask(ctx, h.task), h.Runtime.Close()); err != nil {
		h.t.Error(err)
	}
}

func (h *host) request(kind string) model.StreamRequest {
	return model.StreamRequest{TaskID: h.task, Container: "app", Kind: kind}
}

// exec runs the probe.
func (h *host) exec(args ...string) *client {
	h.t.Helper()
	asked := h.request(model.StreamExec)
	asked.Command = append([]string{"/probe"}, args...)
	return open(h.t, h.Server, asked)
}

// processes are the command lines of all that runs in the container's namespace
// of processes.
func (h *host) processes() []string {
	h.t.Helper()
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", h.pid))
	if err != nil {
		h.t.Fatal(err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		h.t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		space, err := os.Readlink("/proc/" + e.Name() + "/ns/pid")
		if err != nil || space != own {
			continue
		}
		line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err == nil && len(line) > 0 {
			out = append(out, strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " ")))
		}
	}
	return out
}
