package rollout_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/rollout"
)

// changed returns the new value of a deployment, or the old one.
func changed(in rollout.Input, d rollout.Decision, id string) *model.Deployment {
	for _, list := range [][]*model.Deployment{d.Deployments, in.Deployments} {
		for _, c := range list {
			if c.ID == id {
				return c
			}
		}
	}
	return nil
}

func TestThreshold(t *testing.T) {
	for desired, want := range map[int]int{0: 3, 1: 3, 6: 3, 7: 4, 25: 13, 400: 200, 800: 200} {
		if got := rollout.Threshold(desired); got != want {
			t.Errorf("of %d: %d, want %d", desired, got, want)
		}
	}
}

func TestPlan_Completes(t *testing.T) {
	in := input(2, 100, 200, true)
	add(t, &in, begun, "2 new.healthy", "1 old.ending")
	d := rollout.Plan(begun, in)
	if len(d.Events) != 0 || changed(in, d, "ecs-svc/2").RolloutState != model.RolloutInProgress {
		t.Errorf("an old task still serves: %+v", d)
	}
	in.Tasks[2].LoadBalancers = []model.ServiceLoadBalancer{{TargetGroupARN: group}} // connections drain
	if d = rollout.Plan(begun, in); len(d.Events) != 0 || changed(in, d, "ecs-svc/1").Status != model.DeploymentActive {
		t.Errorf("an old task is still to be drained: %+v", d)
	}
	in.Tasks[2].Released, in.Tasks[2].Observed.Status = true, model.TaskStopping
	d = rollout.Plan(begun, in)
	want := []string{
		"(service web) (deployment ecs-svc/2) deployment completed.",
		"(service web) has reached a steady state.",
	}
	if diff := cmp.Diff(want, d.Events); diff != "" {
		t.Error(diff)
	}
	c := changed(in, d, "ecs-svc/2")
	if c.RolloutState != model.RolloutCompleted || c.RolloutStateReason != "ECS deployment ecs-svc/2 completed." ||
		c.ServiceDeploymentStatus != model.ServiceDeploymentSuccessful || c.FinishedAt == nil || c.Frozen.Running != 2 {
		t.Errorf("%+v", c)
	}
	if old := changed(in, d, "ecs-svc/1"); old.Status != model.DeploymentInactive || old.RolloutState != model.RolloutCompleted {
		t.Errorf("%+v", old)
	}
	if !d.Progress.Steady || !d.WakeAt.Equal(begun.Add(6*time.Hour)) {
		t.Errorf("%+v wakes at %s", d.Progress, d.WakeAt)
	}
}

// Nothing is said twice; that the state is steady, every six hours.
func TestPlan_SaysOnce(t *testing.T) {
	in := input(2, 100, 100, true)
	add(t, &in, begun, "2 old.healthy")
	say := func(now time.Time) []string {
		d := rollout.Plan(now, in)
		in.Service.Progress = d.Progress
		return d.Events
	}
	blocked := []string{rollout.BlockedByConfiguration("web")}
	now := begun
	for i, step := range []struct {
		after time.Duration
		max   int
		want  []string
	}{
		{0, 100, blocked},
		{time.Hour, 100, nil},
		{5 * time.Hour, 100, blocked},
		{time.Second, 100, nil},
		{time.Second, 200, nil},
		{time.Second, 100, blocked}, // the cause was gone in between
	} {
		now = now.Add(step.after)
		in.Service.DeploymentConfiguration.MaximumPercent = step.max
		if diff := cmp.Diff(step.want, say(now)); diff != "" {
			t.Errorf("step %d: %s", i, diff)
		}
	}

	in = input(1, 100, 200, false)
	add(t, &in, now, "1 old.healthy")
	for i, after := range []time.Duration{0, time.Hour, 5 * time.Hour, time.Hour} {
		now = now.Add(after)
		if got := len(say(now)); got != []int{1, 0, 1, 0}[i] {
			t.Errorf("steady, step %d: %d events", i, got)
		}
	}
}

func TestPlan_CircuitBreaker(t *testing.T) {
	enable := func(in *rollout.Input, rollback bool) {
		in.Service.DeploymentConfiguration.CircuitBreaker = &model.CircuitBreaker{Enable: true, Rollback: rollback}
	}
	for _, tc := range []struct {
		name      string
		tasks     []string
		before    int // failures counted so far
		off       bool
		failures  int
		triggered bool
	}{
		{name: "two that never ran", tasks: []string{"2 new.gone"}, failures: 2},
		{name: "three that never ran", tasks: []string{"3 new.gone"}, failures: 3, triggered: true},
		{name: "three that ran and exited", tasks: []string{"3 new.exited"}, failures: 3, triggered: true},
		{name: "three that exited while others run", tasks: []string{"2 new.healthy", "3 new.exited"}, failures: 3, triggered: true},
		{name: "three unhealthy ones", tasks: []string{"3 new.sick"}, failures: 3, triggered: true},
		{name: "of each kind one", tasks: []string{"1 new.sick", "1 new.exited", "1 new.gone"}, failures: 3, triggered: true},
		{name: "one more", tasks: []string{"1 new.gone"}, before: 2, failures: 3, triggered: true},
		{name: "lost with their node", tasks: []string{"3 new.lost"}},
		{name: "of the old deployment", tasks: []string{"3 old.gone", "3 old.exited", "3 old.sick"}},
		{name: "off", tasks: []string{"3 new.gone"}, off: true, failures: 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := input(3, 100, 200, true)
			if !tc.off {
				enable(&in, false)
			}
			in.Deployments[1].BreakerFailures, in.Deployments[1].FailedTasks = tc.before, tc.before
			add(t, &in, begun, tc.tasks...)
			d := rollout.Plan(begun, in)
			c := changed(in, d, "ecs-svc/2")
			if c.BreakerFailures != tc.failures || c.FailedTasks != tc.failures {
				t.Errorf("%d failures, want %d", c.BreakerFailures, tc.failures)
			}
			if got := c.RolloutState == model.RolloutFailed; got != tc.triggered || c.BreakerTriggered != tc.triggered {
				t.Errorf("triggered: %v, want %v", got, tc.triggered)
			}
			if tc.triggered {
				if !slices.Contains(d.Events, "(service web) (deployment ecs-svc/2) deployment failed: tasks failed to start.") {
					t.Errorf("events %q", d.Events)
				}
				if c.RolloutStateReason != "ECS deployment circuit breaker: tasks failed to start." ||
					c.ServiceDeploymentStatus != model.ServiceDeploymentStopped || c.FinishedAt == nil {
					t.Errorf("%+v", c)
				}
				if strings.Contains(starts(d), "ecs-svc/2") {
					t.Errorf("starts %q", starts(d))
				}
			}
			// What was counted is not counted again.
			in.Deployments[1] = c
			in.Tasks = slices.DeleteFunc(in.Tasks, func(t *model.Task) bool { return slices.Contains(d.Settle, t.ID) })
			if again := changed(in, rollout.Plan(begun, in), "ecs-svc/2"); again.BreakerFailures != tc.failures {
				t.Errorf("then %d failures", again.BreakerFailures)
			}
		})
	}
}

// A task that failed a health check and then exits is one failure.
func TestPlan_CountsATaskOnce(t *testing.T) {
	in := input(3, 100, 200, true)
	add(t, &in, begun, "1 new.sick", "1 new.exited")
	in.Tasks[1].ID = in.Tasks[0].ID
	exited := in.Tasks[1]
	in.Tasks = in.Tasks[:1]
	d := rollout.Plan(begun, in)
	in.Deployments[1] = changed(in, d, "ecs-svc/2")
	in.Tasks[0] = exited
	d = rollout.Plan(begun, in)
	if c := changed(in, d, "ecs-svc/2"); c.BreakerFailures != 1 || len(c.Counted) != 0 || len(d.Settle) != 1 {
		t.Errorf("%+v", c)
	}
}

func TestPlan_Rollback(t *testing.T) {
	in := input(3, 100, 200, true)
	in.Service.DeploymentConfiguration.CircuitBreaker = &model.CircuitBreaker{Enable: true, Rollback: true}
	add(t, &in, begun, "3 old.healthy", "3 new.gone", "1 new.pending")
	d := rollout.Plan(begun, in)
	want := []string{
		"(service web) was unable to place a task. Reason: CannotPullContainerError: no such image.",
		"(service web) (deployment ecs-svc/2) deployment failed: tasks failed to start.",
		"(service web) rolling back to deployment ecs-svc/1.",
	}
	if diff := cmp.Diff(want, d.Events); diff != "" {
		t.Error(diff)
	}
	failed := changed(in, d, "ecs-svc/2")
	if failed.Status != model.DeploymentActive || failed.ServiceDeploymentStatus != model.ServiceDeploymentRollbackInProgress || failed.RollbackRevisionID != "1" {
		t.Errorf("%+v", failed)
	}
	back := d.Create
	if back == nil || back.Number != 3 || back.RevisionID != "1" || back.Status != model.DeploymentPrimary || back.RollbackOf != "ecs-svc/2" ||
		back.RolloutStateReason != "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/1." || back.ServiceDeploymentID != "sd2" {
		t.Fatalf("%+v", back)
	}
	if len(d.Starts)+len(d.Stops) != 0 {
		t.Errorf("%+v", d)
	}

	// The old tasks are what it wants already.
	back.ID = "ecs-svc/3"
	in.Deployments = []*model.Deployment{in.Deployments[0], failed, back}
	in.Service.Progress = d.Progress
	in.Tasks = slices.DeleteFunc(in.Tasks, func(t *model.Task) bool { return slices.Contains(d.Settle, t.ID) })
	d = rollout.Plan(begun, in)
	if diff := cmp.Diff([]string{"old-healthy-1", "old-healthy-2", "old-healthy-3"}, d.Adopt); diff != "" || starts(d) != "" || stops(d) != "1 new-pending" {
		t.Errorf("%s; starts %q, stops %q", diff, starts(d), stops(d))
	}
	in.Tasks = in.Tasks[:3]
	for _, task := range in.Tasks {
		task.StartedBy = back.ID
	}
	d = rollout.Plan(begun, in)
	if c := changed(in, d, back.ID); c.RolloutState != model.RolloutCompleted || c.ServiceDeploymentStatus != model.ServiceDeploymentRollbackSuccessful {
		t.Errorf("%+v", c)
	}
	if c := changed(in, d, failed.ID); c.Status != model.DeploymentInactive || c.ServiceDeploymentStatus != model.ServiceDeploymentRollbackSuccessful ||
		c.RolloutState != model.RolloutFailed || c.FinishedAt == nil {
		t.Errorf("%+v", c)
	}
	if diff := cmp.Diff([]string{rollout.DeploymentCompleted("web", "ecs-svc/3"), rollout.SteadyState("web")}, d.Events); diff != "" {
		t.Error(diff)
	}
}

// Without a completed deployment there is nothing to return to: it stalls.
func TestPlan_NoRollbackCandidate(t *testing.T) {
	in := input(3, 100, 200, true)
	in.Service.DeploymentConfiguration.CircuitBreaker = &model.CircuitBreaker{Enable: true, Rollback: true}
	in.Deployments = in.Deployments[1:]
	add(t, &in, begun, "3 new.gone", "1 new.healthy")
	d := rollout.Plan(begun, in)
	c := changed(in, d, "ecs-svc/2")
	if d.Create != nil || len(d.Starts)+len(d.Stops) != 0 || c.Status != model.DeploymentPrimary || c.ServiceDeploymentStatus != model.ServiceDeploymentRollbackFailed {
		t.Errorf("%+v\n%+v", d, c)
	}
}

func TestPlan_StopServiceDeployment(t *testing.T) {
	for _, tc := range []struct {
		requested string
		create    bool
		status    string
	}{
		{"ROLLBACK", true, model.ServiceDeploymentRollbackInProgress},
		{"ABORT", false, model.ServiceDeploymentStopped},
	} {
		in := input(2, 100, 200, true)
		in.Deployments[1].Requested = tc.requested
		add(t, &in, begun, "2 old.healthy", "1 new.pending")
		d := rollout.Plan(begun, in)
		c := changed(in, d, "ecs-svc/2")
		if (d.Create != nil) != tc.create || c.RolloutState != model.RolloutFailed || c.ServiceDeploymentStatus != tc.status || len(d.Stops) != 0 {
			t.Errorf("%s: %+v\n%+v", tc.requested, d, c)
		}
	}
}

func TestPlan_Alarms(t *testing.T) {
	in := input(2, 100, 200, true)
	in.Service.DeploymentConfiguration.Alarms = &model.DeploymentAlarms{Enable: true, Rollback: true, AlarmNames: []string{"errors"}}
	add(t, &in, begun, "2 old.healthy", "2 new.waiting")
	if d := rollout.Plan(begun, in); d.Create != nil {
		t.Errorf("no alarm: %+v", d)
	}
	in.Alarms = []string{"errors"}
	d := rollout.Plan(begun, in)
	if c := changed(in, d, "ecs-svc/2"); d.Create == nil || c.RolloutStateReason != "ECS deployment alarms: alarm(s) detected: errors." {
		t.Errorf("%+v", c)
	}
}

// A superseded deployment does not fail, and its service deployment is over.
func TestPlan_Superseded(t *testing.T) {
	in := input(2, 100, 200, true)
	in.Deployments[1].Status = model.DeploymentActive
	in.Deployments = append(in.Deployments, deployment(3, model.DeploymentPrimary, model.RolloutInProgress))
	in.Deployments[2].ServiceDeploymentStatus = model.ServiceDeploymentPending
	add(t, &in, begun, "2 old.healthy", "1 new.pending", "1 new.healthy")
	d := rollout.Plan(begun, in)
	c := changed(in, d, "ecs-svc/2")
	if c.RolloutState != model.RolloutInProgress || c.ServiceDeploymentStatus != model.ServiceDeploymentStopped || c.StoppedAt == nil {
		t.Errorf("%+v", c)
	}
	if n := changed(in, d, "ecs-svc/3"); n.ServiceDeploymentStatus != model.ServiceDeploymentInProgress || n.StartedAt == nil {
		t.Errorf("%+v", n)
	}
	if starts(d) != "" || !strings.Contains(stops(d), "1 new-pending") {
		t.Errorf("starts %q, stops %q", starts(d), stops(d))
	}
}

func TestPlan_Draining(t *testing.T) {
	in := input(0, 100, 200, true)
	in.Service.Status = model.ServiceDraining
	add(t, &in, begun, "2 old.healthy protected", "1 new.pending")
	d := rollout.Plan(begun, in)
	if len(d.Stops) != 3 || d.Stops[0].Reason != "Scaling activity initiated by (deployment ecs-svc/1)" || d.Status != "" {
		t.Errorf("%+v", d)
	}
	for _, task := range in.Tasks {
		task.DesiredStatus = model.TaskStopped
	}
	if d = rollout.Plan(begun, in); d.Status != "" || len(d.Stops) != 0 {
		t.Errorf("they still run: %+v", d)
	}
	for _, task := range in.Tasks[:2] { // connections drain, which is no reason to wait
		task.LoadBalancers = []model.ServiceLoadBalancer{{TargetGroupARN: group}}
	}
	in.Tasks[2].Observed.Status = model.TaskStopping
	d = rollout.Plan(begun, in)
	if d.Status != model.ServiceInactive {
		t.Errorf("%+v", d)
	}
	for _, id := range []string{"ecs-svc/1", "ecs-svc/2"} {
		if c := changed(in, d, id); c.Status != model.DeploymentInactive {
			t.Errorf("%+v", c)
		}
	}
	if c := changed(in, d, "ecs-svc/2"); c.ServiceDeploymentStatus != model.ServiceDeploymentStopped {
		t.Errorf("%+v", c)
	}
}

// Launches of tasks that never run are delayed more and more, those of tasks
// that exit soon only a little, and a new deployment begins afresh.
func TestPlan_Throttle(t *testing.T) {
	delays := func(kind string, attempts int) (got []string) {
		in := input(1, 100, 200, false)
		now := begun
		for range attempts {
			in.Tasks = nil
			add(t, &in, now, "1 old."+kind)
			in.Tasks[0].CreatedAt = now
			d := rollout.Plan(now, in)
			in.Deployments[0] = changed(in, d, "ecs-svc/1")
			in.Service.Progress = d.Progress
			in.Tasks = nil
			next := now
			if len(d.Starts) == 0 {
				next = d.WakeAt
				if early := rollout.Plan(next.Add(-1), in); len(early.Starts) != 0 {
					t.Errorf("starts before its time")
				}
				if due := rollout.Plan(next, in); len(due.Starts) != 1 {
					t.Errorf("does not start in time")
				}
			}
			got = append(got, fmt.Sprint(next.Sub(now)))
			now = next
		}
		return got
	}
	if diff := cmp.Diff("1s 2s 4s 8s 16s 32s 1m4s 2m8s 4m16s 8m32s 17m4s 27m0s 27m0s", strings.Join(delays("gone", 13), " ")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("0s 1s 2s 4s 8s 10s 10s", strings.Join(delays("exited", 7), " ")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("0s 0s", strings.Join(delays("lost", 2), " ")); diff != "" {
		t.Error(diff)
	}

	in := input(3, 100, 200, false)
	add(t, &in, begun, "3 old.gone")
	in.Deployments[0].Throttle.Failures = 2
	d := rollout.Plan(begun, in)
	if c := changed(in, d, "ecs-svc/1"); c.Throttle.Failures != 3 {
		t.Errorf("one attempt counts %d times", c.Throttle.Failures-2)
	}
	if !slices.Contains(d.Events, rollout.Inconsistent("web")) {
		t.Errorf("events %q", d.Events)
	}
	in.Deployments[0] = changed(in, d, "ecs-svc/1")
	in.Deployments[0].Status = model.DeploymentActive
	in.Deployments = append(in.Deployments, deployment(2, model.DeploymentPrimary, model.RolloutInProgress))
	in.Tasks = nil
	if d = rollout.Plan(begun, in); starts(d) != "3 of ecs-svc/2" {
		t.Errorf("starts %q", starts(d))
	}
	// One that runs ends the series.
	in.Deployments = in.Deployments[:1]
	in.Deployments[0].Status = model.DeploymentPrimary
	later := begun.Add(time.Minute)
	add(t, &in, later, "1 old.healthy")
	in.Tasks[0].CreatedAt = later.Add(-2 * time.Second)
	if c := changed(in, rollout.Plan(later, in), "ecs-svc/1"); c.Throttle.Failures != 0 {
		t.Errorf("%+v", c.Throttle)
	}
}

func TestRefused(t *testing.T) {
	in := input(3, 100, 200, true)
	in.Service.DeploymentConfiguration.CircuitBreaker = &model.CircuitBreaker{Enable: true}
	why := rollout.Unplaceable("web", rollout.ClosestMatch("abc", "RESOURCE:MEMORY"))
	now := begun
	for i := range 3 {
		d := rollout.Plan(now, in)
		if starts(d) != "3 of ecs-svc/2" {
			t.Fatalf("attempt %d: starts %q", i, starts(d))
		}
		r := rollout.Refused(now, in, d.Starts[0], 3, why)
		if want := []string{"(service web) was unable to place a task because no container instance met all of its requirements. " +
			"The closest matching (container-instance abc) has insufficient memory available. " +
			"For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."}; i == 0 && cmp.Diff(want, r.Events) != "" || i > 0 && len(r.Events) != 0 {
			t.Errorf("attempt %d: events %q", i, r.Events)
		}
		in.Deployments[1], in.Service.Progress = r.Deployment, r.Progress
		if r.Deployment.BreakerFailures != i+1 {
			t.Errorf("attempt %d: %d failures", i, r.Deployment.BreakerFailures)
		}
		if i == 2 {
			break
		}
		// Room may be found before the delay is over; that attempt is free.
		in.RetryPlacement = true
		d = rollout.Plan(now, in)
		if starts(d) != "3 of ecs-svc/2" {
			t.Errorf("attempt %d: with room starts %q", i, starts(d))
		}
		if r := rollout.Refused(now, in, d.Starts[0], 3, why); r.Deployment != nil {
			t.Errorf("attempt %d: %+v", i, r.Deployment)
		}
		in.RetryPlacement = false
		d = rollout.Plan(now, in)
		if len(d.Starts) != 0 || !d.WakeAt.Equal(now.Add(time.Second<<i)) {
			t.Errorf("attempt %d: starts %q, wakes at %s", i, starts(d), d.WakeAt)
		}
		now = d.WakeAt
	}
	if c := changed(in, rollout.Plan(now, in), "ecs-svc/2"); c.RolloutState != model.RolloutFailed {
		t.Errorf("%+v", c)
	}
	if r := rollout.Refused(now, in, rollout.Start{DeploymentID: "ecs-svc/2", Count: 3}, 1, why); !slices.Contains(r.Events, "(service web) could not launch 1 tasks for deployment ecs-svc/2.") {
		t.Errorf("events %q", r.Events)
	}
}
