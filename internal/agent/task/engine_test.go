package task_test

import (
	"testing"
	"testing/synctest"
	"time"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/runtime/fake"
	"berth.dev/berth/internal/model"
)

func no() *bool { v := false; return &v }

// The seed of the README: app waits for init to complete.
func seed(id string) model.Assignment {
	return assignment(id,
		model.ContainerDefinition{Name: "app", Image: "app:1", DependsOn: []model.ContainerDependency{{ContainerName: "init", Condition: model.ConditionComplete}}},
		model.ContainerDefinition{Name: "init", Image: "app:1", Essential: no(), Command: []string{"./migrate.sh"}},
	)
}

func behaveSeed(s runtime.Spec) fake.Process {
	if s.Name == "init" {
		return fake.Process{Runs: 2 * time.Second}
	}
	return fake.Process{StopAfter: time.Second}
}

func TestEngine_RunsAndStopsATask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.world.Behave(behaveSeed)
		a := seed("t1")
		h.engine.Assign([]model.Assignment{a}, true)
		if o := h.last("t1"); o.Status != model.TaskActivating {
			t.Fatalf("while init runs the task is %s", o.Status)
		}
		time.Sleep(3 * time.Second)
		o := h.last("t1")
		if o.Status != model.TaskRunning || o.Containers[0].Status != model.ContainerRunning || *o.Containers[1].ExitCode != 0 {
			t.Fatalf("after init the task is %+v", o)
		}
		h.engine.Assign([]model.Assignment{stopped(a)}, false)
		if o := h.last("t1"); o.Status != model.TaskStopping {
			t.Fatalf("while app stops the task is %s", o.Status)
		}
		time.Sleep(2 * time.Second)
		o = h.last("t1")
		if o.Status != model.TaskStopped || *o.Containers[0].ExitCode != 143 || o.StopCode != "" {
			t.Fatalf("at its end the task is %+v", o)
		}
		synctest.Wait()
		if inv := h.world.Inventory(); !inv.Empty() || !h.network.empty() || len(h.journal.records) != 0 {
			t.Errorf("left behind: %+v, journal %v", inv, h.journal.records)
		}
		h.stop()
	})
}

func TestEngine_AdoptsAfterItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.world.Behave(behaveSeed)
		a := seed("t1")
		h.engine.Assign([]model.Assignment{a}, true)
		time.Sleep(3 * time.Second)
		before := h.last("t1")
		h.restart(a)
		time.Sleep(time.Minute)
		after := h.last("t1")
		if after.Status != model.TaskRunning || after.Containers[0].PID != before.Containers[0].PID || !after.StartedAt.Equal(*before.StartedAt) {
			t.Fatalf("before %+v\nafter  %+v", before, after)
		}
		h.stop()
		h.world.Exit("t1-0", 3)
		h.begin()
		h.engine.Assign([]model.Assignment{a}, true)
		time.Sleep(time.Second)
		o := h.last("t1")
		if o.Status != model.TaskStopped || o.StopCode != model.StopEssentialContainerExited || *o.Containers[0].ExitCode != 3 {
			t.Fatalf("after an exit that no agent saw: %+v", o)
		}
		h.stop()
	})
}

// A host that is restarted has no namespaces: a task that had its interface
// and was not started yet gets it again.
func TestEngine_AttachesAgainAfterAReboot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.world.Behave(behaveSeed)
		a := seed("t1")
		h.engine.Assign([]model.Assignment{a}, true)
		h.last("t1")
		h.stop() // while init runs
		h.world.Exit("t1-1", 0)
		h.network.mu.Lock()
		clear(h.network.attached)
		h.network.mu.Unlock()
		h.begin()
		h.engine.Assign([]model.Assignment{a}, true)
		if o := h.last("t1"); o.Status != model.TaskRunning {
			t.Errorf("after the restart the task is %+v", o)
		}
		if h.network.empty() {
			t.Error("the task runs without its interface")
		}
		h.stop()
	})
}
