package task_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/runtime/fake"
	"berth.dev/berth/internal/model"
)

// one is a task of one container.
func one(id string) model.Assignment {
	return assignment(id, model.ContainerDefinition{Name: "app", Image: "app:1"})
}

// checkGone holds that nothing of any task is left on the host.
func (h *host) checkGone() {
	h.t.Helper()
	synctest.Wait()
	if inv := h.world.Inventory(); !inv.Empty() {
		h.t.Errorf("left on the host: %+v", inv)
	}
	if !h.network.empty() {
		h.t.Error("a network interface is left")
	}
	if !h.journal.empty() {
		h.t.Error("the journal keeps the task")
	}
}

// What cannot start says why in AWS's words, on the task and on the container
// that failed, and leaves nothing behind.
func TestEngine_FailsToStart(t *testing.T) {
	private := one("t1")
	private.TaskDefinition.ContainerDefinitions[0].RepositoryCredentials = &model.RepositoryCredentials{CredentialsParameter: "login"}
	logged := one("t1")
	logged.TaskDefinition.ContainerDefinitions[0].LogConfiguration = &model.LogConfiguration{LogDriver: "awslogs"}
	noCommand := one("t1")
	noCommand.TaskDefinition.ContainerDefinitions[0].Image = "empty:1"

	for _, test := range []struct {
		name   string
		task   model.Assignment
		fault  fake.Fault
		change func(*host)
		after  time.Duration
		want   string
		ofTask bool // no container is to blame
	}{
		{
			name: "the registry does not have the image", task: one("t1"),
			fault: fake.Fault{Verb: fake.EnsureImage, Err: &runtime.PullError{Class: runtime.PullNotFound, Message: "pull image manifest has been retried 1 time(s): not found"}},
			want:  "CannotPullContainerError: pull image manifest has been retried 1 time(s): not found",
		},
		{
			name: "the registry refuses", task: one("t1"),
			fault: fake.Fault{Verb: fake.EnsureImage, Err: fmt.Errorf("wrapped: %w", &runtime.PullError{Class: runtime.PullUnauthorized, Message: "pull access denied"})},
			want:  "CannotPullContainerError: pull access denied",
		},
		{
			name: "a pull fails otherwise", task: one("t1"),
			fault: fake.Fault{Verb: fake.EnsureImage, Err: errors.New("disk full")},
			want:  "CannotPullContainerError: disk full",
		},
		{
			name: "a pull never ends", task: one("t1"),
			fault: fake.Fault{Verb: fake.EnsureImage, Mode: fake.HangBefore}, after: 2 * time.Hour,
			want: "CannotPullContainerError: context deadline exceeded",
		},
		{name: "no registry login", task: private, change: func(h *host) { h.roles.err = errRefused }, want: errRefused.Error(), ofTask: true},
		{name: "no secrets", task: secretive("t1"), change: func(h *host) { h.roles.err = errRefused }, want: errRefused.Error(), ofTask: true},
		{name: "no task role", task: withRole("t1"), change: func(h *host) { h.roles.err = errRefused }, want: errRefused.Error(), ofTask: true},
		{name: "the execution role may not pull", task: ofECR("t1"), change: func(h *host) { h.roles.pullErr = errRefused }, want: errRefused.Error()},
		{
			name: "create fails", task: one("t1"), fault: fake.Fault{Verb: fake.Create, Err: errors.New("no snapshot")},
			want: "CannotCreateContainerError: no snapshot",
		},
		{
			name: "create hangs", task: one("t1"), fault: fake.Fault{Verb: fake.Create, Mode: fake.HangAfter}, after: 4 * time.Minute,
			want: "ContainerRuntimeTimeoutError: Could not transition to created; timed out after waiting 4m0s",
		},
		{
			name: "there is nothing to run", task: noCommand,
			want: "CannotCreateContainerError: invalid container specification: neither the image nor the container definition has a command",
		},
		{
			name: "start fails", task: one("t1"), fault: fake.Fault{Verb: fake.Start, Err: &runtime.StartError{Message: "exec: no such file"}},
			want: "CannotStartContainerError: exec: no such file",
		},
		{
			name: "start fails but runs", task: one("t1"), fault: fake.Fault{Verb: fake.Start, Mode: fake.FailAfter, Err: errors.New("no answer")},
			want: "CannotStartContainerError: no answer",
		},
		{
			name: "start hangs", task: one("t1"), fault: fake.Fault{Verb: fake.Start, Mode: fake.HangAfter}, after: 3 * time.Minute,
			want: "ContainerRuntimeTimeoutError: Could not transition to started; timed out after waiting 3m0s",
		},
		{
			name: "no control group", task: one("t1"), fault: fake.Fault{Verb: fake.PrepareTask, Err: errors.New("read-only")}, ofTask: true,
			want: "ResourceInitializationError: the task's control group could not be made: read-only",
		},
		{
			name: "no network", task: one("t1"), change: func(h *host) { h.network.err = errors.New("no such device") }, ofTask: true,
			want: "ContainerNetworkingError: the network interface eni-t1 could not be made: no such device",
		},
		{
			name: "no metadata", task: one("t1"), change: func(h *host) { h.endpoints = brokenEndpoints{} }, ofTask: true,
			want: "ContainerNetworkingError: metadata and DNS do not answer in the task's namespace: address in use",
		},
		{
			name: "no log stream", task: logged, change: func(h *host) { h.logs = brokenLogs{} },
			want: "ResourceInitializationError: failed to validate logger args",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				h.world.AddImage(runtime.Image{Ref: "empty:1"})
				if test.change != nil {
					h.stop()
					test.change(h)
					h.begin()
				}
				if test.fault.Verb != "" {
					h.world.Inject(test.fault)
				}
				h.engine.Assign([]model.Assignment{test.task}, true)
				if test.after > 0 {
					time.Sleep(test.after - time.Second)
					if o := h.last("t1"); o.Status == model.TaskStopped {
						t.Fatalf("it gave up before %s", test.after)
					}
				}
				time.Sleep(2 * time.Second)
				o := h.last("t1")
				if o.Status != model.TaskStopped || o.StopCode != model.StopTaskFailedToStart || o.StoppedReason != test.want || o.StartedAt != nil {
					t.Errorf("got %+v\nwant %s", o, test.want)
				}
				reason := test.want
				if test.ofTask {
					reason = ""
				}
				if c := o.Containers[0]; c.Reason != reason || c.ExitCode != nil {
					t.Errorf("the container says %+v", c)
				}
				h.checkGone()
				h.stop()
			})
		})
	}
}

type brokenEndpoints struct{}

func (brokenEndpoints) Serve(context.Context, *model.Assignment, string, func()) error {
	return errors.New("address in use")
}

type brokenLogs struct{ noLogs }

func (brokenLogs) Prepare(context.Context, *model.Assignment, *model.ContainerDefinition, string) (runtime.Log, error) {
	return runtime.Log{}, errors.New("ResourceInitializationError: failed to validate logger args")
}

// A container that could not be started must not run on in a task that does.
func TestEngine_KillsWhatFailedToStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.world.Inject(fake.Fault{Verb: fake.Start, ID: "t1-1", Mode: fake.FailAfter})
		h.engine.Assign([]model.Assignment{assignment("t1",
			model.ContainerDefinition{Name: "app", Image: "app:1"},
			model.ContainerDefinition{Name: "side", Image: "app:1", Essential: no()},
		)}, true)
		o := h.last("t1")
		if o.Status != model.TaskRunning || o.Containers[1].Status != model.ContainerStopped {
			t.Fatalf("got %+v", o)
		}
		if running := h.world.Inventory().Running; len(running) != 1 {
			t.Errorf("these run: %v", running)
		}
		h.stop()
	})
}

// A stop that comes during a pull ends it; that is no failure of the image.
func TestEngine_StopsDuringAPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.world.Latency(func(verb fake.Verb, _ string) time.Duration {
			if verb == fake.EnsureImage {
				return time.Hour
			}
			return 0
		})
		a := one("t1")
		h.engine.Assign([]model.Assignment{a}, true)
		if o := h.last("t1"); o.Status != model.TaskPending || o.PullStartedAt == nil {
			t.Fatalf("during the pull: %+v", o)
		}
		h.engine.Assign([]model.Assignment{stopped(a)}, false)
		o := h.last("t1")
		if o.Status != model.TaskStopped || o.StopCode != "" || o.Containers[0].Reason != "" || o.PullStoppedAt != nil {
			t.Errorf("got %+v", o)
		}
		h.checkGone()
		h.stop()
	})
}

func TestEngine_OutOfMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.engine.Assign([]model.Assignment{one("t1")}, true)
		h.last("t1")
		h.world.OOM("t1-0")
		o := h.last("t1")
		if o.StopCode != model.StopEssentialContainerExited || *o.Containers[0].ExitCode != 137 ||
			o.Containers[0].Reason != "OutOfMemoryError: Container killed due to memory usage" {
			t.Errorf("got %+v", o)
		}
		h.stop()
	})
}

func TestEngine_HealthChecks(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer fake.Answer
		after  time.Duration
		status string
		output string
	}{
		{"not checked yet", fake.Answer{}, 29 * time.Second, model.HealthUnknown, ""},
		{"healthy after one interval", fake.Answer{Result: runtime.ExecResult{Output: []byte("fine")}}, 31 * time.Second, model.HealthHealthy, "fine"},
		{"two failures are not enough", fake.Answer{Result: runtime.ExecResult{ExitCode: 1, Output: []byte("no")}}, 61 * time.Second, model.HealthUnknown, "no"},
		{"three are", fake.Answer{Result: runtime.ExecResult{ExitCode: 1, Output: []byte("no")}}, 91 * time.Second, model.HealthUnhealthy, "no"},
		{"too slow", fake.Answer{Takes: time.Minute}, 106 * time.Second, model.HealthUnhealthy, "Health check exceeded timeout (5s)"},
		{"not to be run", fake.Answer{Err: errors.New("no shell")}, 91 * time.Second, model.HealthUnhealthy, "no shell"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				h.world.Behave(func(runtime.Spec) fake.Process {
					return fake.Process{Exec: func(runtime.ExecSpec) fake.Answer { return test.answer }}
				})
				a := one("t1")
				a.TaskDefinition.ContainerDefinitions[0].HealthCheck = &model.HealthCheck{Command: []string{"CMD-SHELL", "probe"}}
				h.engine.Assign([]model.Assignment{a}, true)
				time.Sleep(test.after)
				o := h.last("t1")
				if c := o.Containers[0]; o.Status != model.TaskRunning || c.HealthStatus != test.status || c.HealthOutput != test.output {
					t.Errorf("got %s with %+v", o.Status, c)
				}
				h.stop()
			})
		})
	}
}

func TestEngine_RestartsByPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.world.Behave(func(runtime.Spec) fake.Process { return fake.Process{Runs: 90 * time.Second, Code: 1} })
		period := int32(60)
		a := one("t1")
		a.TaskDefinition.ContainerDefinitions[0].RestartPolicy = &model.ContainerRestartPolicy{Enabled: true, RestartAttemptPeriod: &period}
		h.engine.Assign([]model.Assignment{a}, true)
		time.Sleep(200 * time.Second)
		if o := h.last("t1"); o.Status != model.TaskRunning || o.Containers[0].RestartCount != 2 || h.world.Starts("t1-0") != 3 {
			t.Errorf("after 200 s: %d starts, %+v", h.world.Starts("t1-0"), o)
		}
		h.world.Exit("t1-0", 4)
		if o := h.last("t1"); o.Status != model.TaskStopped || *o.Containers[0].ExitCode != 4 {
			t.Errorf("after a run shorter than the period: %+v", o)
		}
		h.checkGone()
		h.stop()
	})
}

// A wait that the runtime breaks off is taken up again.
func TestEngine_WaitsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.world.Inject(fake.Fault{Verb: fake.Wait, Mode: fake.FailBefore})
		h.engine.Assign([]model.Assignment{one("t1")}, true)
		time.Sleep(2 * time.Second)
		h.world.Exit("t1-0", 6)
		if o := h.last("t1"); o.Status != model.TaskStopped || *o.Containers[0].ExitCode != 6 {
			t.Errorf("got %+v", o)
		}
		h.stop()
	})
}

// What must happen is insisted upon.
func TestEngine_Insists(t *testing.T) {
	for _, verb := range []fake.Verb{fake.Kill, fake.Remove, fake.RemoveTask} {
		t.Run(string(verb), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				for range 5 {
					h.world.Inject(fake.Fault{Verb: verb})
				}
				a := one("t1")
				h.engine.Assign([]model.Assignment{a}, true)
				h.last("t1")
				h.engine.Assign([]model.Assignment{stopped(a)}, false)
				if o := h.last("t1"); o.Status == model.TaskStopped {
					t.Fatal("the fault has no effect")
				}
				time.Sleep(time.Minute)
				if o := h.last("t1"); o.Status != model.TaskStopped || *o.Containers[0].ExitCode != 143 {
					t.Errorf("got %+v", o)
				}
				h.checkGone()
				h.stop()
			})
		})
	}
}

// The reasons of a very long error are cut where AWS cuts them.
func TestEngine_CutsReasons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.world.Inject(fake.Fault{Verb: fake.Create, Err: errors.New("x" + strings.Repeat("é", 2000))})
		h.engine.Assign([]model.Assignment{one("t1")}, true)
		o := h.last("t1")
		if !strings.HasPrefix(o.StoppedReason, "CannotCreateContainerError: xé") || len(o.StoppedReason) > 1024 || strings.ToValidUTF8(o.StoppedReason, "?") != o.StoppedReason {
			t.Errorf("%d bytes: %q", len(o.StoppedReason), o.StoppedReason)
		}
		h.stop()
	})
}
