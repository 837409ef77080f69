package model_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/model"
)

var statuses = []string{
	model.TaskProvisioning, model.TaskPending, model.TaskActivating, model.TaskRunning,
	model.TaskDeactivating, model.TaskStopping, model.TaskDeprovisioning, model.TaskStopped,
}

// Whatever order reports arrive in, the status never goes back, a stopped
// task stays as it is, and the first reason to stop is kept.
func TestObserve_StatusNeverGoesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		task := &model.Task{DesiredStatus: model.TaskRunning, Version: 1, Observed: model.TaskObserved{Status: model.TaskProvisioning}}
		now := time.Unix(1, 0)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			before := *task
			if rapid.Bool().Draw(t, "report") {
				report := model.TaskObserved{
					Seq:    rapid.Uint64Range(0, 20).Draw(t, "seq"),
					Status: rapid.SampledFrom(statuses).Draw(t, "status"),
				}
				if rapid.Bool().Draw(t, "stop") {
					report.StopCode, report.StoppedReason = model.StopEssentialContainerExited, "exited"
				}
				changed := task.Observe(now, report)
				if changed != (task.Version > before.Version) {
					t.Fatalf("changed=%v but version %d -> %d", changed, before.Version, task.Version)
				}
			} else {
				task.DecideStop(now, model.StopUserInitiated, "asked")
			}
			if model.TaskStatusRank(task.Observed.Status) < model.TaskStatusRank(before.Observed.Status) {
				t.Fatalf("status went from %s to %s", before.Observed.Status, task.Observed.Status)
			}
			if before.Stopped() && task.Observed.Seq != before.Observed.Seq {
				t.Fatal("a stopped task was changed")
			}
			if before.StopCode != "" && task.StopCode != before.StopCode {
				t.Fatalf("stop code went from %s to %s", before.StopCode, task.StopCode)
			}
			if before.DesiredStatus == model.TaskStopped && task.DesiredStatus != model.TaskStopped {
				t.Fatal("a stopped task was asked to run again")
			}
		}
	})
}
