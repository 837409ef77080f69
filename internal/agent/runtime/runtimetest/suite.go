package runtimetest

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"

	"berth.dev/berth/internal/agent/runtime"
)

// Host is what the suite runs on.
type Host struct {
	// Connect gives a runtime on the same host each time, as successive agents have it. Whoever provides it closes it.
	Connect func(t *testing.T) runtime.Runtime
	// Image is the reference of an image with test/images/probe as its entry point.
	Image string
	// MissingImage is a reference that nobody has.
	MissingImage string
}

// Run runs the suite.
func Run(t *testing.T, h Host) {
	tests := []struct {
		name string
		test func(*testing.T, *fixture)
	}{
		{"ExitCode", testExitCode},
		{"CreateIsIdempotent", testCreateIsIdempotent},
		{"StartIsIdempotent", testStartIsIdempotent},
		{"StartOfMissingProgram", testStartOfMissingProgram},
		{"Signal", testSignal},
		{"SignalKill", testSignalKill},
		{"WaitBeforeStart", testWaitBeforeStart},
		{"WaitUntilRemoved", testWaitUntilRemoved},
		{"WaitEndsWithContext", testWaitEndsWithContext},
		{"Adopt", testAdopt},
		{"Restart", testRestart},
		{"RemoveIsIdempotent", testRemoveIsIdempotent},
		{"RemoveTaskNeedsEmptyTask", testRemoveTaskNeedsEmptyTask},
		{"NotFound", testNotFound},
		{"InvalidSpec", testInvalidSpec},
		{"MissingImage", testMissingImage},
		{"Exec", testExec},
		{"ExecUntilDeadline", testExecUntilDeadline},
		{"ExecNeedsRunning", testExecNeedsRunning},
		{"Attach", testAttach},
		{"AttachCopies", testAttachCopies},
		{"AttachTerminal", testAttachTerminal},
		{"AttachSignals", testAttachSignals},
		{"AttachEnds", testAttachEnds},
		{"AttachFails", testAttachFails},
		{"Stats", testStats},
		{"OutOfMemory", testOutOfMemory},
		{"Parallel", testParallel},
		{"Info", testInfo},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, newFixture(t, h)) })
	}
}

// fixture is one task on the host, removed at the end of its test.
type fixture struct {
	Host
	runtime.Runtime
	image  runtime.Image
	task   string
	parent string
}

func newFixture(t *testing.T, h Host) *fixture {
	t.Helper()
	f := &fixture{Host: h, Runtime: h.Connect(t), task: strings.ToLower(rand.Text())}
	var err error
	if f.image, err = f.EnsureImage(t.Context(), runtime.ImageRequest{Ref: h.Image}); err != nil {
		t.Fatalf("EnsureImage: %v", err)
	}
	if f.parent, err = f.PrepareTask(t.Context(), runtime.Task{ID: f.task, MemoryBytes: 256 << 20}); err != nil {
		t.Fatalf("PrepareTask: %v", err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		all, err := f.List(ctx)
		if err != nil {
			t.Errorf("List: %v", err)
		}
		for _, s := range all {
			if s.TaskID == f.task {
				if err := f.Remove(ctx, s.ID); err != nil {
					t.Errorf("Remove: %v", err)
				}
			}
		}
		if err := f.RemoveTask(ctx, f.task); err != nil {
			t.Errorf("RemoveTask: %v", err)
		}
	})
	return f
}

// spec is a container of the fixture's task that runs the probe.
func (f *fixture) spec(name string, args ...string) runtime.Spec {
	return runtime.Spec{
		ID: f.task + "-" + name, TaskID: f.task, Name: name, Image: f.image.Name, CgroupParent: f.parent,
		Args: append(slices.Clone(f.image.Entrypoint), args...), Env: f.image.Env, Labels: map[string]string{"who": "runtimetest"},
	}
}

func (f *fixture) create(t *testing.T, spec runtime.Spec) string {
	t.Helper()
	if err := f.Create(t.Context(), spec); err != nil {
		t.Fatalf("Create: %v", err)
	}
	return spec.ID
}

func (f *fixture) run(t *testing.T, spec runtime.Spec) string {
	t.Helper()
	f.create(t, spec)
	if _, err := f.Start(t.Context(), spec.ID); err != nil {
		t.Fatalf("Start: %v", err)
	}
	return spec.ID
}

func (f *fixture) wait(t *testing.T, id string) runtime.Exit {
	t.Helper()
	exit, err := f.Wait(t.Context(), id)
	if err != nil {
		t.Fatalf("Wait: %v", err)
	}
	return exit
}

func (f *fixture) status(t *testing.T, id string) runtime.Status {
	t.Helper()
	status, err := f.Status(t.Context(), id)
	if err != nil {
		t.Fatalf("Status: %v", err)
	}
	return status
}

func testExitCode(t *testing.T, f *fixture) {
	spec := f.spec("a", "exit", "7")
	id := f.create(t, spec)
	if s := f.status(t, id); s.State != runtime.StateCreated || s.Exit != nil || !s.StartedAt.IsZero() || s.PID != 0 {
		t.Errorf("before Start: %+v", s)
	}
	if _, err := f.Start(t.Context(), id); err != nil {
		t.Fatalf("Start: %v", err)
	}
	exit := f.wait(t, id)
	if exit.Code != 7 || exit.OOMKilled || exit.Lost || exit.At.IsZero() {
		t.Errorf("Wait: %+v, want code 7", exit)
	}
	if again := f.wait(t, id); again != exit {
		t.Errorf("second Wait: %+v, first %+v", again, exit)
	}
	s := f.status(t, id)
	if s.State != runtime.StateExited || s.Exit == nil || *s.Exit != exit || s.PID != 0 || s.StartedAt.IsZero() || s.Restarts != 0 {
		t.Errorf("after the exit: %+v", s)
	}
	if s.TaskID != f.task || s.Name != "a" || s.Labels["who"] != "runtimetest" || s.SpecHash != spec.Hash() || s.Image != f.image.Name {
		t.Errorf("who it is: %+v", s)
	}
}

func testCreateIsIdempotent(t *testing.T, f *fixture) {
	spec := f.spec("a", "sleep")
	id := f.run(t, spec)
	before := f.status(t, id)
	f.create(t, spec)
	if after := f.status(t, id); after.PID != before.PID || after.State != runtime.StateRunning {
		t.Errorf("Create again changed %+v to %+v", before, after)
	}
	spec.Args = append(spec.Args, "more")
	if err := f.Create(t.Context(), spec); !errors.Is(err, runtime.ErrConflict) {
		t.Errorf("Create with another spec: %v, want ErrConflict", err)
	}
}

func testStartIsIdempotent(t *testing.T, f *fixture) {
	id := f.run(t, f.spec("a", "sleep"))
	first := f.status(t, id)
	again, err := f.Start(t.Context(), id)
	if err != nil || first.PID == 0 || again.PID != first.PID || !again.StartedAt.Equal(first.StartedAt) {
		t.Errorf("Start again: %+v, %v; first %+v", again, err, first)
	}
	short := f.run(t, f.spec("b", "exit", "3"))
	f.wait(t, short)
	done, err := f.Start(t.Context(), short)
	if err != nil || done.State != runtime.StateExited || done.Exit.Code != 3 {
		t.Errorf("Start after the exit: %+v, %v", done, err)
	}
}

func testStartOfMissingProgram(t *testing.T, f *fixture) {
	spec := f.spec("a")
	spec.Args = []string{"/no/such/program"}
	id := f.create(t, spec)
	_, err := f.Start(t.Context(), id)
	var startErr *runtime.StartError
	if !errors.As(err, &startErr) || !strings.Contains(startErr.Message, "/no/such/program") {
		t.Fatalf("Start: %v, want a StartError that names the program", err)
	}
	if s := f.status(t, id); s.State != runtime.StateCreated {
		t.Errorf("after the failed Start: %+v", s)
	}
}

func testSignal(t *testing.T, f *fixture) {
	id := f.run(t, f.spec("a", "trap", "5"))
	awaitReady(t, f, id)
	if err := f.Kill(t.Context(), id, syscall.SIGTERM); err != nil {
		t.Fatalf("Kill: %v", err)
	}
	if exit := f.wait(t, id); exit.Code != 5 {
		t.Errorf("exit %+v, want the handler's 5", exit)
	}
	if err := f.Kill(t.Context(), id, syscall.SIGTERM); err != nil {
		t.Errorf("Kill after the exit: %v", err)
	}
}

// awaitReady returns when the probe has its handlers, which it says with a file: a program that has just been started
// may not have them yet.
func awaitReady(t *testing.T, f *fixture, id string) {
	t.Helper()
	for {
		res, err := f.Exec(t.Context(), id, runtime.ExecSpec{Args: []string{"/probe", "stat", "/tmp/ready"}})
		if err != nil {
			t.Fatalf("Exec: %v", err)
		}
		if res.ExitCode == 0 {
			return
		}
	}
}

func testSignalKill(t *testing.T, f *fixture) {
	id := f.run(t, f.spec("a", "ignore"))
	if err := f.Kill(t.Context(), id, syscall.SIGKILL); err != nil {
		t.Fatalf("Kill: %v", err)
	}
	if exit := f.wait(t, id); exit.Code != 137 || exit.OOMKilled {
		t.Errorf("exit %+v, want 137", exit)
	}
}

type waited struct {
	exit runtime.Exit
	err  error
}

func (f *fixture) goWait(ctx context.Context, id string) <-chan waited {
	out := make(chan waited, 1)
	go func() {
		exit, err := f.Wait(ctx, id)
		out <- waited{exit, err}
	}()
	return out
}

func testWaitBeforeStart(t *testing.T, f *fixture) {
	id := f.create(t, f.spec("a", "exit", "4"))
	result := f.goWait(t.Context(), id)
	if _, err := f.Start(t.Context(), id); err != nil {
		t.Fatalf("Start: %v", err)
	}
	if got := <-result; got.err != nil || got.exit.Code != 4 {
		t.Errorf("Wait: %+v, want code 4", got)
	}
}

func testWaitUntilRemoved(t *testing.T, f *fixture) {
	id := f.create(t, f.spec("a", "sleep"))
	result := f.goWait(t.Context(), id)
	if err := f.Remove(t.Context(), id); err != nil {
		t.Fatalf("Remove: %v", err)
	}
	if got := <-result; !errors.Is(got.err, runtime.ErrNotFound) {
		t.Errorf("Wait: %+v, want ErrNotFound", got)
	}
}

func testWaitEndsWithContext(t *testing.T, f *fixture) {
	id := f.run(t, f.spec("a", "sleep"))
	ctx, cancel := context.WithCancel(t.Context())
	result := f.goWait(ctx, id)
	cancel()
	if got := <-result; !errors.Is(got.err, context.Canceled) {
		t.Errorf("Wait: %+v, want context.Canceled", got)
	}
	if s := f.status(t, id); s.State != runtime.StateRunning {
		t.Errorf("after Wait was given up: %+v", s)
	}
}

func testAdopt(t *testing.T, f *fixture) {
	running, exited := f.run(t, f.spec("a", "ignore")), f.run(t, f.spec("b", "exit", "9"))
	created := f.create(t, f.spec("c", "exit", "2"))
	f.wait(t, exited)
	pid := f.status(t, running).PID

	next := f.Connect(t)
	all, err := next.List(t.Context())
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	states := map[string]runtime.Status{}
	for _, s := range all {
		states[s.ID] = s
	}
	if s := states[running]; s.State != runtime.StateRunning || s.PID != pid || s.TaskID != f.task || s.StartedAt.IsZero() {
		t.Errorf("running container adopted as %+v", s)
	}
	if s := states[exited]; s.State != runtime.StateExited || s.Exit == nil || s.Exit.Code != 9 {
		t.Errorf("exited container adopted as %+v", s)
	}
	if s := states[created]; s.State != runtime.StateCreated {
		t.Errorf("created container adopted as %+v", s)
	}
	if err := next.Kill(t.Context(), running, syscall.SIGKILL); err != nil {
		t.Fatalf("Kill: %v", err)
	}
	if exit, err := next.Wait(t.Context(), running); err != nil || exit.Code != 137 {
		t.Errorf("Wait: %+v, %v", exit, err)
	}
	if _, err := next.Start(t.Context(), created); err != nil {
		t.Errorf("Start: %v", err)
	}
	if exit, err := next.Wait(t.Context(), created); err != nil || exit.Code != 2 {
		t.Errorf("Wait: %+v, %v", exit, err)
	}
}

func testRestart(t *testing.T, f *fixture) {
	id := f.run(t, f.spec("a", "exit", "1"))
	first := f.wait(t, id)
	for n := 1; n <= 2; n++ {
		s, err := f.Restart(t.Context(), id, n)
		if err != nil || s.Restarts != n {
			t.Fatalf("Restart %d: %+v, %v", n, s, err)
		}
		if exit := f.wait(t, id); exit.Code != 1 || exit.At.Before(first.At) {
			t.Errorf("exit of restart %d: %+v", n, exit)
		}
	}
	before := f.status(t, id)
	again, err := f.Restart(t.Context(), id, 2)
	if err != nil || again.State != runtime.StateExited || !again.StartedAt.Equal(before.StartedAt) {
		t.Errorf("Restart 2 again: %+v, %v; before %+v", again, err, before)
	}
	running := f.run(t, f.spec("b", "sleep"))
	if _, err := f.Restart(t.Context(), running, 1); err == nil {
		t.Error("Restart of a running container succeeded")
	}
}

func testRemoveIsIdempotent(t *testing.T, f *fixture) {
	id := f.run(t, f.spec("a", "ignore"))
	for range 2 {
		if err := f.Remove(t.Context(), id); err != nil {
			t.Fatalf("Remove: %v", err)
		}
	}
	if _, err := f.Status(t.Context(), id); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("Status after Remove: %v, want ErrNotFound", err)
	}
	// The name is free again, and what ran before is forgotten.
	f.create(t, f.spec("a", "exit", "0"))
	if s := f.status(t, id); s.State != runtime.StateCreated || s.Restarts != 0 {
		t.Errorf("made anew: %+v", s)
	}
}

func testRemoveTaskNeedsEmptyTask(t *testing.T, f *fixture) {
	id := f.create(t, f.spec("a", "sleep"))
	if err := f.RemoveTask(t.Context(), f.task); err == nil {
		t.Error("RemoveTask succeeded although the task has a container")
	}
	if err := f.Remove(t.Context(), id); err != nil {
		t.Fatalf("Remove: %v", err)
	}
	for range 2 {
		if err := f.RemoveTask(t.Context(), f.task); err != nil {
			t.Errorf("RemoveTask: %v", err)
		}
	}
}

func testNotFound(t *testing.T, f *fixture) {
	id := f.task + "-none"
	ctx := t.Context()
	_, startErr := f.Start(ctx, id)
	_, restartErr := f.Restart(ctx, id, 1)
	_, statusErr := f.Status(ctx, id)
	_, waitErr := f.Wait(ctx, id)
	_, execErr := f.Exec(ctx, id, runtime.ExecSpec{Args: []string{"/probe"}})
	_, statsErr := f.Stats(ctx, id)
	for verb, err := range map[string]error{
		"Start": startErr, "Restart": restartErr, "Status": statusErr, "Wait": waitErr, "Exec": execErr, "Stats": statsErr,
		"Kill": f.Kill(ctx, id, syscall.SIGTERM),
	} {
		if !errors.Is(err, runtime.ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", verb, err)
		}
	}
	if err := f.Remove(ctx, id); err != nil {
		t.Errorf("Remove: %v", err)
	}
}

func testInvalidSpec(t *testing.T, f *fixture) {
	for name, change := range map[string]func(*runtime.Spec){
		"no command":      func(s *runtime.Spec) { s.Args = nil },
		"bad id":          func(s *runtime.Spec) { s.ID = "a/b" },
		"bad ulimit":      func(s *runtime.Spec) { s.Rlimits = []runtime.Rlimit{{Name: "nonsense"}} },
		"soft above hard": func(s *runtime.Spec) { s.Rlimits = []runtime.Rlimit{{Name: "nofile", Soft: 2, Hard: 1}} },
		"relative mount":  func(s *runtime.Spec) { s.Mounts = []runtime.Mount{{Type: runtime.MountTmpfs, Target: "x"}} },
		"bad environment": func(s *runtime.Spec) { s.Env = []string{"novalue"} },
	} {
		spec := f.spec("a", "sleep")
		change(&spec)
		if err := f.Create(t.Context(), spec); !errors.Is(err, runtime.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

func testMissingImage(t *testing.T, f *fixture) {
	_, err := f.EnsureImage(t.Context(), runtime.ImageRequest{Ref: f.MissingImage})
	var pullErr *runtime.PullError
	if !errors.As(err, &pullErr) || pullErr.Message == "" || pullErr.Class == "" {
		t.Errorf("EnsureImage: %v, want a PullError with a class", err)
	}
	spec := f.spec("a", "sleep")
	spec.Image = "berth.invalid/never/ensured:latest"
	if err := f.Create(t.Context(), spec); err == nil {
		t.Error("Create with an image that was never ensured succeeded")
	}
}
