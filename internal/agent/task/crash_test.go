package task_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"berth.dev/berth/internal/agent/runtime/fake"
	"berth.dev/berth/internal/agent/task"
	"berth.dev/berth/internal/model"
)

// The agent dies before and after each thing that it can do. Every container
// runs exactly once, and the task ends as if nothing had happened.
func TestEngine_DiesAnywhere(t *testing.T) {
	verbs := []fake.Verb{
		fake.EnsureImage, fake.PrepareTask, fake.Create, fake.Start, fake.Status, fake.List, fake.Wait,
		fake.Kill, fake.Remove, fake.RemoveTask,
	}
	for _, verb := range verbs {
		for _, mode := range []fake.Mode{fake.CrashBefore, fake.CrashAfter} {
			for n := range 4 {
				skip, network := n/2, []string{"awsvpc", "bridge"}[n%2]
				t.Run(fmt.Sprintf("%s %s, the %d. time, %s", mode, verb, skip+1, network), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						h := newHost(t)
						h.world.Behave(behaveSeed)
						h.world.Inject(fake.Fault{Verb: verb, Mode: mode, Skip: skip})
						a := seed("t1")
						if network == "bridge" {
							a = inMode(network, a)
						}
						h.engine.Assign([]model.Assignment{a}, true)
						h.pass(5*time.Second, a)
						h.restart(a)
						h.pass(5*time.Second, a)
						if o := h.last("t1"); o.Status != model.TaskRunning {
							t.Fatalf("it does not run: %+v", o)
						}
						h.restart(a)
						h.pass(5*time.Second, a)
						h.engine.Assign([]model.Assignment{stopped(a)}, false)
						h.pass(5*time.Second, stopped(a))
						o := h.last("t1")
						if o.Status != model.TaskStopped || exitCode(o, 0) != 143 || exitCode(o, 1) != 0 {
							t.Errorf("it ended as %+v", o)
						}
						// One that died with the signal may not have written down that the
						// stop was asked for; the control plane, which decided first, keeps
						// its own reason.
						if o.StopCode != "" && verb != fake.Kill {
							t.Errorf("it ended by itself: %s", o.StopCode)
						}
						for _, id := range []string{"t1-0", "t1-1"} {
							if n := h.world.Starts(id); n != 1 {
								t.Errorf("%s was started %d times", id, n)
							}
						}
						h.checkOrder("t1")
						h.checkGone()
						h.stop()
					})
				})
			}
		}
	}
}

// exitCode is that of a container, -1 for none.
func exitCode(o model.TaskObserved, container int) int32 {
	if container >= len(o.Containers) || o.Containers[container].ExitCode == nil {
		return -1
	}
	return *o.Containers[container].ExitCode
}

// checkOrder holds that no report of a task is older than the one before.
func (h *host) checkOrder(id string) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	var before model.TaskObserved
	for _, o := range h.reports[id] {
		if o.Seq < before.Seq || model.TaskStatusRank(o.Status) < model.TaskStatusRank(before.Status) {
			h.t.Errorf("report %d %s after %d %s", o.Seq, o.Status, before.Seq, before.Status)
		}
		before = o
	}
}

// While the disk is full nothing is begun, and what runs is neither reported
// nor removed, because it could not be known again.
func TestEngine_FullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.journal.fill(true)
		a := one("t1")
		h.engine.Assign([]model.Assignment{a}, true)
		time.Sleep(time.Minute)
		if o := h.last("t1"); o.Status != "" || len(h.engine.Reports()) != 0 {
			t.Errorf("it was reported: %+v", o)
		}
		if inv := h.world.Inventory(); len(inv.Containers) != 0 {
			t.Errorf("an agent that begins now would not know %v", inv.Containers)
		}
		h.journal.fill(false)
		time.Sleep(20 * time.Second)
		before := h.last("t1")
		if before.Status != model.TaskRunning {
			t.Fatalf("got %+v", before)
		}
		h.journal.fill(true)
		h.world.Exit("t1-0", 3)
		time.Sleep(time.Minute)
		if o := h.last("t1"); o.Seq != before.Seq {
			t.Errorf("it was reported: %+v", o)
		}
		if inv := h.world.Inventory(); len(inv.Containers) != 1 || len(inv.Running) != 0 {
			t.Errorf("with the exit code in no journal there is %+v", inv)
		}
		h.journal.fill(false)
		time.Sleep(20 * time.Second)
		if o := h.last("t1"); o.Status != model.TaskStopped || *o.Containers[0].ExitCode != 3 {
			t.Errorf("got %+v", o)
		}
		h.checkGone()
		h.stop()
	})
}

// An agent of a newer version makes other specifications. What an older one
// has started is adopted all the same, though no journal says so.
func TestEngine_AdoptsWhatAnOlderVersionStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		a := one("t1")
		h.world.Latency(func(verb fake.Verb, _ string) time.Duration {
			if verb == fake.EnsureImage {
				return time.Second
			}
			return 0
		})
		h.engine.Assign([]model.Assignment{a}, true)
		synctest.Wait()
		h.journal.fill(true) // it knows the task, but not that it was made
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := h.world.Starts("t1-0"); n != 1 {
			t.Fatalf("%d starts", n)
		}
		h.stop()
		h.journal.fill(false)
		h.dir = t.TempDir() // the mounts of the specification have other sources now
		h.begin()
		h.engine.Assign([]model.Assignment{a}, true)
		time.Sleep(2 * time.Second)
		if o := h.last("t1"); o.Status != model.TaskRunning {
			t.Errorf("got %+v", o)
		}
		if n := h.world.Starts("t1-0"); n != 1 {
			t.Errorf("%d starts", n)
		}
		h.stop()
	})
}

// With the journal the containers are gone: a task of which the control plane
// has heard is over, and never runs a second time.
func TestEngine_LostJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		a := one("t1")
		h.engine.Assign([]model.Assignment{a}, true)
		a.Task.Observed = h.last("t1")
		a.Task.InstanceID = "i1"
		h.stop()
		h.journal.records = map[string]task.Record{}
		h.begin()
		if inv := h.world.Inventory(); !inv.Empty() || !h.network.empty() {
			t.Errorf("nobody's: %+v", inv)
		}
		h.engine.Assign([]model.Assignment{a}, true)
		o := h.last("t1")
		if o.Status != model.TaskStopped || o.StopCode != model.StopTerminationNotice || o.StoppedReason != "Host i1 lost its record of the task." {
			t.Errorf("got %+v", o)
		}
		if o.Seq <= a.Task.Observed.Seq {
			t.Errorf("report %d does not count after %d", o.Seq, a.Task.Observed.Seq)
		}
		if n := h.world.Starts("t1-0"); n != 1 {
			t.Errorf("%d starts", n)
		}
		h.checkGone()
		h.stop()
	})
}

// The control plane's complete set does not name the task: it is over, and
// nobody will acknowledge that.
func TestEngine_ForgottenTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.world.Behave(behaveSeed)
		h.deaf = true
		h.engine.Assign([]model.Assignment{one("t1"), one("t2")}, true)
		h.last("t1")
		h.engine.Assign([]model.Assignment{one("t2")}, false)
		time.Sleep(5 * time.Second)
		if o := h.last("t1"); o.Status != model.TaskRunning {
			t.Fatalf("an increment ended it: %+v", o)
		}
		h.engine.Assign([]model.Assignment{one("t2")}, true)
		time.Sleep(5 * time.Second)
		if o := h.last("t1"); o.Status != model.TaskStopped || *o.Containers[0].ExitCode != 143 {
			t.Errorf("got %+v", o)
		}
		if o := h.last("t2"); o.Status != model.TaskRunning {
			t.Errorf("the other one: %+v", o)
		}
		if _, known := h.engine.Task("t1"); known || len(h.engine.Reports()) != 1 || len(h.journal.records) != 1 {
			t.Errorf("it is remembered: %v, %v", h.engine.Reports(), h.journal.records)
		}
		h.stop()
	})
}

// The end of a task is remembered until the control plane has it.
func TestEngine_RemembersUntilAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.deaf = true
		h.engine.Assign([]model.Assignment{one("t1")}, true)
		h.last("t1")
		h.world.Exit("t1-0", 0)
		o := h.last("t1")
		if o.Status != model.TaskStopped {
			t.Fatalf("got %+v", o)
		}
		h.restart(one("t1"))
		time.Sleep(time.Hour)
		if again := h.engine.Reports()["t1"]; again.Seq != o.Seq || again.Status != model.TaskStopped {
			t.Errorf("another agent says %+v", again)
		}
		h.engine.Acknowledge("t1", o.Seq-1)
		synctest.Wait()
		if h.journal.empty() {
			t.Error("it was forgotten before its end was acknowledged")
		}
		h.engine.Acknowledge("t1", o.Seq)
		h.checkGone()
		if n := h.world.Starts("t1-0"); n != 1 {
			t.Errorf("%d starts", n)
		}
		h.stop()
	})
}

// A host that restarts has lost every process; the tasks are over.
func TestEngine_HostRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		a := one("t1")
		h.engine.Assign([]model.Assignment{a}, true)
		h.last("t1")
		h.stop()
		h.world.Reboot()
		h.begin()
		h.engine.Assign([]model.Assignment{a}, true)
		o := h.last("t1")
		if o.Status != model.TaskStopped || o.StopCode != model.StopEssentialContainerExited ||
			o.Containers[0].Reason != "ContainerVanishedError: the container's end was not seen: its host restarted or its supervisor was killed" {
			t.Errorf("got %+v", o)
		}
		if n := h.world.Starts("t1-0"); n != 1 {
			t.Errorf("%d starts", n)
		}
		h.checkGone()
		h.stop()
	})
}

// Before the control plane has spoken a new agent begins nothing.
func TestEngine_NothingNewBeforeContact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.world.Behave(behaveSeed)
		a := seed("t1")
		h.engine.Assign([]model.Assignment{a}, true)
		h.last("t1")
		h.stop() // init runs; app waits for it
		h.begin()
		time.Sleep(time.Hour)
		if o := h.last("t1"); o.Status != model.TaskActivating || o.Containers[1].ExitCode == nil {
			t.Errorf("without a control plane: %+v", o)
		}
		if n := h.world.Starts("t1-0"); n != 0 {
			t.Error("app was started")
		}
		h.engine.Assign([]model.Assignment{a}, true)
		if o := h.last("t1"); o.Status != model.TaskRunning {
			t.Errorf("then: %+v", o)
		}
		h.stop()
	})
}

// The agent dies just after it has restarted a container. What runs is asked
// to stop like any other, although the journal says that it had ended.
func TestEngine_DiesInARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.world.Behave(behaveSeed)
		period := int32(0)
		a := one("t1")
		a.TaskDefinition.ContainerDefinitions[0].RestartPolicy = &model.ContainerRestartPolicy{Enabled: true, RestartAttemptPeriod: &period}
		h.engine.Assign([]model.Assignment{a}, true)
		h.last("t1")
		h.world.Latency(func(verb fake.Verb, _ string) time.Duration {
			if verb == fake.Restart {
				return time.Second // in which the journal learns of the exit and of the stop
			}
			return 0
		})
		h.world.Inject(fake.Fault{Verb: fake.Restart, Mode: fake.CrashAfter})
		h.world.Exit("t1-0", 1)
		synctest.Wait()
		h.engine.Assign([]model.Assignment{stopped(a)}, false)
		<-h.crashed
		h.restart(stopped(a))
		time.Sleep(5 * time.Second)
		o := h.last("t1")
		if c := o.Containers[0]; o.Status != model.TaskStopped || *c.ExitCode != 143 || c.RestartCount != 1 || h.world.Starts("t1-0") != 2 {
			t.Errorf("%d starts, ended as %+v", h.world.Starts("t1-0"), o)
		}
		h.checkGone()
		h.stop()
	})
}

// The journal knows of a container's image and no more when the agent dies and
// the container ends. A task that is to stop by then says how it has ended.
func TestEngine_DiesSeveralStepsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		a := one("t1")
		h.world.Latency(func(verb fake.Verb, _ string) time.Duration {
			if verb == fake.Create {
				return time.Second
			}
			return 0
		})
		h.engine.Assign([]model.Assignment{a}, true)
		synctest.Wait() // the image is known
		h.journal.fill(true)
		h.pass(2 * time.Second)
		h.stop()
		h.journal.fill(false)
		h.world.Exit("t1-0", 7)
		h.begin()
		h.engine.Assign([]model.Assignment{stopped(a)}, true)
		o := h.last("t1")
		if c := o.Containers[0]; o.Status != model.TaskStopped || c.ExitCode == nil || *c.ExitCode != 7 || h.world.Starts("t1-0") != 1 {
			t.Errorf("%d starts, ended as %+v", h.world.Starts("t1-0"), o)
		}
		h.checkGone()
		h.stop()
	})
}
