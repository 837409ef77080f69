package rotation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/rotation"
)

var now = time.Date(2026, 3, 4, 13, 25, 0, 0, time.UTC)

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		r    model.SecretRotation
		want string // a part of it
	}{
		{model.SecretRotation{}, ""},
		{model.SecretRotation{AfterDays: 30}, ""},
		{model.SecretRotation{AfterDays: 1, Duration: "3h"}, ""},
		{model.SecretRotation{Schedule: "rate(10 days)"}, ""},
		{model.SecretRotation{Schedule: "rate(4 hours)", Duration: "4h"}, ""},
		{model.SecretRotation{Schedule: "cron(0 8 1 * ? *)", Duration: "16h"}, ""},
		{model.SecretRotation{Schedule: "cron(0 */4 * * ? *)", Duration: "4h"}, ""},
		{model.SecretRotation{AfterDays: 30, Schedule: "rate(10 days)"}, "both rotation frequency and schedule expression"},
		{model.SecretRotation{Schedule: "rate(3 hours)"}, "every four hours"},
		{model.SecretRotation{Schedule: "rate(240 minutes)"}, "hours or days"},
		{model.SecretRotation{Schedule: "rate(1000 days)"}, "999 days"},
		{model.SecretRotation{Schedule: "monthly"}, "neither rate"},
		{model.SecretRotation{Schedule: "cron(5 8 * * ? *)"}, "minutes"},
		{model.SecretRotation{Schedule: "cron(0 8 * * ? 2027)"}, "years"},
		{model.SecretRotation{Schedule: "cron(0 */2 * * ? *)"}, "every four hours"},
		{model.SecretRotation{Schedule: "cron(0 1,23 * * ? *)"}, "every four hours"},
		{model.SecretRotation{Schedule: "cron(0 8 1 * ? *)", Duration: "17h"}, "window of 17h"},
		{model.SecretRotation{Schedule: "rate(4 hours)", Duration: "5h"}, "window of 5h"},
		{model.SecretRotation{AfterDays: 1, Duration: "25h"}, "window of 25h"},
		{model.SecretRotation{AfterDays: 1, Duration: "0h"}, "window of 0h"},
		{model.SecretRotation{Duration: "3h"}, "Duration needs"},
	} {
		if got := rotation.Validate(&tc.r); (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%+v: got %q", tc.r, got)
		}
	}
}

func TestNextAndWindow(t *testing.T) {
	for _, tc := range []struct {
		r         model.SecretRotation
		next, end string
	}{
		{model.SecretRotation{AfterDays: 1}, "03-05 00:00:00", "03-05 23:59:59"},
		{model.SecretRotation{AfterDays: 30, Duration: "3h"}, "04-03 00:00:00", "04-03 03:00:00"},
		{model.SecretRotation{Schedule: "rate(10 days)"}, "03-14 00:00:00", "03-14 23:59:59"},
		{model.SecretRotation{Schedule: "rate(4 hours)"}, "03-04 16:00:00", "03-04 17:00:00"},
		{model.SecretRotation{Schedule: "rate(5 hours)"}, "03-04 18:00:00", "03-04 19:00:00"},
		{model.SecretRotation{Schedule: "rate(36 hours)", Duration: "2h"}, "03-06 01:00:00", "03-06 03:00:00"},
		{model.SecretRotation{Schedule: "cron(0 8 1 * ? *)"}, "04-01 08:00:00", "04-01 23:59:59"},
		{model.SecretRotation{Schedule: "cron(0 */8 * * ? *)"}, "03-04 16:00:00", "03-04 17:00:00"},
		{model.SecretRotation{}, "", ""},
	} {
		next := rotation.Next(&tc.r, now)
		if next == nil {
			if tc.next != "" {
				t.Errorf("%+v: never", tc.r)
			}
			continue
		}
		const layout = "01-02 15:04:05"
		if got, end := next.Format(layout), rotation.WindowEnd(&tc.r, *next).Format(layout); got != tc.next || end != tc.end {
			t.Errorf("%+v: got %s to %s", tc.r, got, end)
		}
	}
}

// The next window opens later than the rotation was, and closes before the one
// after it opens.
func TestNext_Property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rapid.SampledFrom([]model.SecretRotation{
			{AfterDays: 1},
			{AfterDays: 7, Duration: "5h"},
			{Schedule: "rate(1 day)"},
			{Schedule: "rate(4 hours)", Duration: "4h"},
			{Schedule: "rate(7 hours)"},
			{Schedule: "cron(0 0/6 * * ? *)", Duration: "6h"},
			{Schedule: "cron(0 20 L * ? *)"},
			{Schedule: "cron(0 3 ? * 2#1 *)", Duration: "21h"},
		}).Draw(t, "rotation")
		if wrong := rotation.Validate(&r); wrong != "" {
			t.Fatal(wrong)
		}
		last := now.Add(time.Duration(rapid.Int64Range(0, int64(400*24*time.Hour)).Draw(t, "last")))
		first := rotation.Next(&r, last)
		if !first.After(last) {
			t.Fatalf("%v is not after %v", first, last)
		}
		if end, second := rotation.WindowEnd(&r, *first), rotation.Next(&r, *first); end.After(*second) {
			t.Fatalf("the window from %v to %v reaches into that of %v", first, end, second)
		}
	})
}

// task is one that rotates; codes are the exit codes of its containers, the
// first of which is essential; -1 for none.
func task(status string, codes ...int32) *model.Task {
	task := &model.Task{ID: "task", CreatedAt: now.Add(-time.Minute), DesiredStatus: model.TaskRunning, Observed: model.TaskObserved{Status: status}}
	for i, code := range codes {
		name := string(rune('a' + i))
		task.Containers = append(task.Containers, model.TaskContainer{Name: name, Essential: i == 0})
		o := model.ContainerObserved{Name: name}
		if code >= 0 {
			o.ExitCode = &code
		}
		task.Observed.Containers = append(task.Observed.Containers, o)
	}
	return task
}

func TestDecide(t *testing.T) {
	secret := func(edit func(*model.Secret, *model.SecretRotation)) *model.Secret {
		s := &model.Secret{Name: "s", Stages: map[string]string{model.StageCurrent: "1"}, Rotation: &model.SecretRotation{Enabled: true, AfterDays: 1}}
		if edit != nil {
			edit(s, s.Rotation)
		}
		return s
	}
	running := func(s *model.Secret, r *model.SecretRotation) { r.VersionID, r.TaskID = "2", "task" }
	made := func(s *model.Secret, r *model.SecretRotation) {
		running(s, r)
		s.Stages = s.Stages.Add("2", []string{model.StagePending})
	}
	old := task(model.TaskRunning, -1)
	old.CreatedAt = now.Add(-rotation.Limit)
	stopping := task(model.TaskStopping, -1)
	stopping.DesiredStatus = model.TaskStopped
	unable := task(model.TaskStopped, -1)
	unable.Observed.StoppedReason = "CannotPullContainerError: no"
	for _, tc := range []struct {
		name string
		s    rotation.State
		want rotation.Plan
	}{
		{"no rotation", rotation.State{Secret: &model.Secret{}}, rotation.Plan{}},
		{"disabled", rotation.State{Secret: secret(func(_ *model.Secret, r *model.SecretRotation) { r.Enabled, r.NextAt = false, new(now) })}, rotation.Plan{}},
		{"not due", rotation.State{Secret: secret(func(_ *model.Secret, r *model.SecretRotation) { r.NextAt = new(now.Add(1)) })}, rotation.Plan{At: now.Add(1)}},
		{"due", rotation.State{Secret: secret(func(_ *model.Secret, r *model.SecretRotation) { r.NextAt = new(now) })}, rotation.Plan{Act: rotation.Launch}},
		{"due while deleted", rotation.State{Secret: secret(func(s *model.Secret, r *model.SecretRotation) { r.NextAt, s.DeletedAt = new(now), new(now) })}, rotation.Plan{}},
		{"due with a version left over", rotation.State{Secret: secret(func(s *model.Secret, r *model.SecretRotation) {
			r.NextAt = new(now)
			s.Stages[model.StagePending] = "9"
		})}, rotation.Plan{Act: rotation.Launch, Version: "9"}},
		{"asked for", rotation.State{Secret: secret(func(_ *model.Secret, r *model.SecretRotation) { r.VersionID = "2" })}, rotation.Plan{Act: rotation.Launch, Version: "2"}},
		{"to be tried again later", rotation.State{Secret: secret(func(_ *model.Secret, r *model.SecretRotation) { r.VersionID, r.RetryAt = "2", new(now.Add(1)) })}, rotation.Plan{At: now.Add(1)}},
		{"to be tried again", rotation.State{Secret: secret(func(_ *model.Secret, r *model.SecretRotation) { r.VersionID, r.RetryAt = "2", new(now) })}, rotation.Plan{Act: rotation.Launch, Version: "2"}},
		{"cancelled before it began", rotation.State{Secret: secret(func(_ *model.Secret, r *model.SecretRotation) { r.VersionID, r.Enabled = "2", false })}, rotation.Plan{Act: rotation.Forget}},

		{"running", rotation.State{Secret: secret(running), Task: task(model.TaskRunning, -1)}, rotation.Plan{At: now.Add(-time.Minute + rotation.Limit)}},
		{"running too long", rotation.State{Secret: secret(running), Task: old}, rotation.Plan{Act: rotation.Stop, Reason: "Rotation of the secret took longer than 1h0m0s"}},
		{"stopping", rotation.State{Secret: secret(running), Task: stopping}, rotation.Plan{}},
		{
			"cancelled",
			rotation.State{Secret: secret(func(s *model.Secret, r *model.SecretRotation) { running(s, r); r.Enabled = false }), Task: task(model.TaskRunning, -1)},
			rotation.Plan{Act: rotation.Stop, Reason: "Rotation of the secret was cancelled"},
		},
		{"cancelled and over", rotation.State{Secret: secret(func(s *model.Secret, r *model.SecretRotation) { made(s, r); r.Enabled = false }), Task: task(model.TaskStopped, 0), Made: true}, rotation.Plan{Act: rotation.Forget}},
		{"done", rotation.State{Secret: secret(made), Task: task(model.TaskStopped, 0, 3), Made: true}, rotation.Plan{Act: rotation.Complete}},
		{"done and current already", rotation.State{Secret: secret(func(s *model.Secret, r *model.SecretRotation) {
			made(s, r)
			s.Stages = s.Stages.Complete("2")
		}), Task: task(model.TaskStopped, 0), Made: true}, rotation.Plan{Act: rotation.Complete}},
		{"failed", rotation.State{Secret: secret(made), Task: task(model.TaskStopped, 3), Made: true}, rotation.Plan{Act: rotation.Retry, Reason: "container a of the task exited with 3"}},
		{"never ran", rotation.State{Secret: secret(running), Task: unable}, rotation.Plan{Act: rotation.Retry, Reason: "the task stopped: CannotPullContainerError: no"}},
		{"made nothing", rotation.State{Secret: secret(running), Task: task(model.TaskStopped, 0)}, rotation.Plan{Act: rotation.Retry, Reason: "the task ended and stored no version 2 with the label AWSPENDING"}},
		{
			"made another version",
			rotation.State{Secret: secret(func(s *model.Secret, r *model.SecretRotation) { made(s, r); s.Stages[model.StagePending] = "3" }), Task: task(model.TaskStopped, 0), Made: true},
			rotation.Plan{Act: rotation.Retry, Reason: "the task ended and stored no version 2 with the label AWSPENDING"},
		},
		{"lost", rotation.State{Secret: secret(made), Made: true}, rotation.Plan{Act: rotation.Retry, Reason: "what became of the task is not known any more"}},
	} {
		tc.s.Now = now
		if diff := cmp.Diff(tc.want, rotation.Decide(tc.s)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestApply(t *testing.T) {
	s := &model.Secret{Stages: map[string]string{model.StageCurrent: "1"}, Rotation: &model.SecretRotation{Enabled: true, AfterDays: 2, NextAt: new(now)}}
	step := func(p rotation.Plan, want model.SecretRotation) {
		t.Helper()
		want.Enabled, want.AfterDays = true, 2
		shared, before := s.Rotation, *s.Rotation
		rotation.Apply(s, p, "task", now)
		if diff := cmp.Diff(want, *s.Rotation); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if p.Act != rotation.Wait && *shared != before {
			t.Error("a stored record was changed")
		}
	}
	step(rotation.Plan{}, model.SecretRotation{NextAt: new(now)})
	step(rotation.Plan{Act: rotation.Launch, Version: "2"}, model.SecretRotation{NextAt: new(now), VersionID: "2", TaskID: "task"})
	step(rotation.Plan{Act: rotation.Retry, Reason: "x"}, model.SecretRotation{NextAt: new(now), VersionID: "2", Failure: "x", Failures: 1, RetryAt: new(now.Add(time.Minute))})
	step(rotation.Plan{Act: rotation.Retry, Reason: "y"}, model.SecretRotation{NextAt: new(now), VersionID: "2", Failure: "y", Failures: 2, RetryAt: new(now.Add(2 * time.Minute))})
	step(rotation.Plan{Act: rotation.Launch, Version: "2"}, model.SecretRotation{NextAt: new(now), VersionID: "2", TaskID: "task", Failure: "y", Failures: 2})
	s.Stages[model.StagePending] = "2"
	step(rotation.Plan{Act: rotation.Complete}, model.SecretRotation{NextAt: new(time.Date(2026, 3, 6, 0, 0, 0, 0, time.UTC)), LastAt: new(now)})
	if diff := cmp.Diff(model.SecretStages{model.StageCurrent: "2", model.StagePrevious: "1"}, s.Stages); diff != "" {
		t.Error(diff)
	}
	step(rotation.Plan{Act: rotation.Retry, Version: "3", Reason: "no room", Unplaced: true}, model.SecretRotation{
		NextAt: new(time.Date(2026, 3, 6, 0, 0, 0, 0, time.UTC)), LastAt: new(now), VersionID: "3", Failure: "no room", Failures: 1, RetryAt: new(now.Add(5 * time.Second)),
	})
	s.Rotation.Failures = 100
	rotation.Apply(s, rotation.Plan{Act: rotation.Retry, Version: "3"}, "", now)
	if !s.Rotation.RetryAt.Equal(now.Add(time.Hour)) || s.Rotation.VersionID != "3" {
		t.Errorf("%+v", s.Rotation)
	}
}
