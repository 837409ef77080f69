package rollout_test

import (
	"testing"
	"time"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/rollout"
)

// The arithmetic of minimumHealthyPercent and maximumPercent. Rows that begin
// with "guide" are the developer guide's own examples.
func TestPlan_Replicas(t *testing.T) {
	for _, tc := range []struct {
		name                      string
		desired, minimum, maximum int
		updating                  bool
		tasks                     []string
		starts, stops             string
		event                     string // the first
	}{
		{"guide: four tasks, 50 %: two may stop first", 4, 50, 100, true, []string{"4 old.healthy"}, "", "2 old-healthy", ""},
		{"guide: two tasks, 75 %: none may stop", 2, 75, 200, true, []string{"2 old.healthy"}, "2 of ecs-svc/2", "", ""},
		{"guide: four tasks, 200 %: four may start", 4, 100, 200, true, []string{"4 old.healthy"}, "4 of ecs-svc/2", "", ""},
		{"guide: three tasks, 125 %: none may start", 3, 100, 125, true, []string{"3 old.healthy"}, "", "", rollout.BlockedByConfiguration("web")},
		{"guide: both 100 %: blocked", 4, 100, 100, true, []string{"4 old.healthy"}, "", "", rollout.BlockedByConfiguration("web")},

		{"nothing yet", 3, 100, 200, false, nil, "3 of ecs-svc/1", "", ""},
		{"all there", 3, 100, 200, false, []string{"3 old.healthy"}, "", "", rollout.SteadyState("web")},
		{"scale out", 5, 100, 200, false, []string{"3 old.healthy"}, "2 of ecs-svc/1", "", ""},
		{"scale out is bounded too", 5, 100, 100, false, []string{"3 old.healthy", "2 old.ending"}, "", "", ""},
		{"scale in", 2, 100, 200, false, []string{"5 old.healthy"}, "", "3 old-healthy", ""},
		{"scale in: pending first", 3, 100, 200, false, []string{"3 old.healthy", "2 old.pending", "1 old.waiting"}, "", "1 old-waiting, 2 old-pending", ""},
		{"scale in keeps what serves", 2, 100, 200, false, []string{"1 old.healthy", "3 old.pending"}, "", "2 old-pending", ""},
		{"scale to zero", 0, 100, 200, false, []string{"2 old.healthy", "1 old.pending"}, "", "1 old-pending, 2 old-healthy", ""},
		{"scale in spares protected tasks", 1, 100, 200, false, []string{"2 old.healthy protected", "1 old.healthy"}, "", "1 old-healthy", rollout.BlockedByProtection("web", "ecs-svc/1")},

		{"new ones are not healthy yet", 3, 100, 200, true, []string{"3 old.healthy", "2 new.pending", "1 new.waiting"}, "", "", ""},
		{"one is", 3, 100, 200, true, []string{"3 old.healthy", "2 new.pending", "1 new.healthy"}, "", "1 old-healthy", ""},
		{"all are", 3, 100, 200, true, []string{"3 old.healthy", "3 new.healthy"}, "", "3 old-healthy", ""},
		{"what ends counts until it does", 3, 100, 100, true, []string{"2 old.healthy", "1 old.ending"}, "", "", ""},
		{"0 %: all old ones at once", 3, 0, 100, true, []string{"3 old.healthy"}, "", "3 old-healthy", ""},
		{"both ways at once", 4, 50, 150, true, []string{"4 old.healthy"}, "2 of ecs-svc/2", "2 old-healthy", ""},
		{"old pending ones make room", 3, 100, 100, true, []string{"3 old.pending"}, "", "3 old-pending", ""},
		{"old pending ones are kept while none serves", 3, 100, 200, true, []string{"3 old.pending", "3 new.pending"}, "", "", ""},
		{"old unhealthy ones stop at once", 3, 100, 200, true, []string{"1 old.sick", "2 old.healthy"}, "3 of ecs-svc/2", "1 old-sick", rollout.FailedContainerHealth("web", "old-sick-1")},
		{"an old one died", 4, 100, 200, true, []string{"3 old.healthy", "4 new.waiting"}, "1 of ecs-svc/1", "", ""},
		{"an old one died, and there is only room for a new one", 4, 100, 100, true, []string{"3 old.healthy"}, "1 of ecs-svc/2", "", ""},
		{"protected old ones stay", 2, 100, 200, true, []string{"2 old.healthy protected", "2 new.healthy"}, "", "", rollout.BlockedByProtection("web", "ecs-svc/1")},

		{"unhealthy: the replacement first", 2, 100, 200, false, []string{"1 old.healthy", "1 old.sick"}, "1 of ecs-svc/1 for 1", "", rollout.FailedContainerHealth("web", "old-sick-1")},
		{"unhealthy: until it is healthy", 2, 100, 200, false, []string{"1 old.healthy", "1 old.sick", "1 old.pending"}, "", "", rollout.FailedContainerHealth("web", "old-sick-1")},
		{"unhealthy: then it goes", 2, 100, 200, false, []string{"2 old.healthy", "1 old.sick"}, "", "1 old-sick", rollout.FailedContainerHealth("web", "old-sick-1")},
		{"unhealthy: the replacement as well", 1, 100, 200, false, []string{"2 old.sick"}, "", "1 old-sick", rollout.FailedContainerHealth("web", "old-sick-1")},
		{"unhealthy, without room: one goes first", 2, 100, 100, false, []string{"2 old.sick"}, "", "1 old-sick", rollout.FailedContainerHealth("web", "old-sick-1")},
		{"unhealthy, without room: one at a time", 2, 100, 100, false, []string{"1 old.sick", "1 old.ending"}, "", "", rollout.FailedContainerHealth("web", "old-sick-1")},

		{"draining instance: replaced first", 2, 100, 200, false, []string{"1 old.healthy", "1 old.healthy draining"}, "1 of ecs-svc/1", "", ""},
		{"draining instance: then stopped", 2, 100, 200, false, []string{"2 old.healthy", "1 old.healthy draining"}, "", "1 old-healthy", ""},
		{"draining instance: both 100 %: stuck", 2, 100, 100, false, []string{"2 old.healthy draining"}, "", "", rollout.BlockedByConfiguration("web")},
		{"draining instance: pending ones stop at once", 2, 100, 200, false, []string{"1 old.healthy", "1 old.pending draining"}, "1 of ecs-svc/1", "1 old-pending", ""},
		{"draining instance: protected ones stay", 1, 100, 200, false, []string{"1 old.healthy", "1 old.healthy protected draining"}, "", "", rollout.BlockedByProtection("web", "ecs-svc/1")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := input(tc.desired, tc.minimum, tc.maximum, tc.updating)
			add(t, &in, begun, tc.tasks...)
			d := rollout.Plan(begun, in)
			if got := starts(d); got != tc.starts {
				t.Errorf("starts %q, want %q", got, tc.starts)
			}
			if got := stops(d); got != tc.stops {
				t.Errorf("stops %q, want %q", got, tc.stops)
			}
			event := ""
			if len(d.Events) > 0 {
				event = d.Events[0]
			}
			if event != tc.event {
				t.Errorf("event %q, want %q", event, tc.event)
			}
		})
	}
}

// What counts as healthy (services-deployments.md §1).
func TestPlan_HealthMatrix(t *testing.T) {
	lb := []model.ServiceLoadBalancer{{TargetGroupARN: group, ContainerName: "app", ContainerPort: 80}}
	sec := func(n int) time.Duration { return time.Duration(n) * time.Second }
	for _, tc := range []struct {
		name      string
		balanced  bool
		checked   bool
		container string
		target    string // none: not registered
		grace     int32
		ran       time.Duration
		healthy   bool
		stops     string
		wake      time.Duration
	}{
		{name: "neither, just started", ran: sec(1), wake: sec(1)},
		{name: "neither, after a while", ran: sec(2), healthy: true},
		{name: "neither, whatever the container says", container: model.HealthUnknown, ran: sec(2), healthy: true},
		{name: "check, no answer", checked: true, container: model.HealthUnknown, ran: sec(60)},
		{name: "check, healthy", checked: true, container: model.HealthHealthy, healthy: true},
		{name: "check, unhealthy", checked: true, container: model.HealthUnhealthy, stops: rollout.ReasonContainerHealth},
		{name: "check, unhealthy in the grace period", checked: true, container: model.HealthUnhealthy, grace: 30, ran: sec(20), wake: sec(10)},
		{name: "check, unhealthy after it", checked: true, container: model.HealthUnhealthy, grace: 30, ran: sec(30), stops: rollout.ReasonContainerHealth},
		{name: "balancer, not registered", balanced: true, ran: sec(60)},
		{name: "balancer, initial", balanced: true, target: model.TargetInitial, ran: sec(60)},
		{name: "balancer, draining", balanced: true, target: model.TargetDraining, ran: sec(60)},
		{name: "balancer, healthy", balanced: true, target: model.TargetHealthy, healthy: true},
		{name: "balancer, unhealthy", balanced: true, target: model.TargetUnhealthy, stops: rollout.ReasonTargetHealth(group)},
		{name: "balancer, unhealthy in the grace period", balanced: true, target: model.TargetUnhealthy, grace: 1, wake: sec(1)},
		{name: "both, target healthy", balanced: true, checked: true, container: model.HealthUnknown, target: model.TargetHealthy},
		{name: "both, container healthy", balanced: true, checked: true, container: model.HealthHealthy, target: model.TargetInitial},
		{name: "both, healthy", balanced: true, checked: true, container: model.HealthHealthy, target: model.TargetHealthy, healthy: true},
		{name: "both, container unhealthy", balanced: true, checked: true, container: model.HealthUnhealthy, target: model.TargetHealthy, stops: rollout.ReasonContainerHealth},
	} {
		t.Run(tc.name, func(t *testing.T) {
			// Whether the new task is healthy shows in the old one being
			// stopped, and unhealthy in its own stop, as nothing else may run.
			in := input(1, 100, 200, true)
			add(t, &in, begun, "1 old.healthy", "1 new.healthy")
			task := in.Tasks[1]
			started := begun.Add(-tc.ran)
			task.Observed.StartedAt = &started
			task.TaskDefinitionARN = "new"
			task.Observed.Containers = []model.ContainerObserved{{Name: "side"}, {Name: "app", HealthStatus: tc.container}}
			in.Service.HealthCheckGraceSeconds = &tc.grace
			if tc.checked {
				in.Checked["new"] = []string{"app"}
			}
			if tc.balanced {
				task.LoadBalancers = lb
			}
			if tc.target != "" {
				in.Targets[task.ID] = []rollout.Target{{GroupARN: group, Port: 80, State: tc.target, Reason: "Request timed out"}}
			}
			d := rollout.Plan(begun, in)
			stopped := map[string]string{}
			for _, s := range d.Stops {
				stopped[s.TaskID] = s.Reason
			}
			if _, got := stopped["old-healthy-1"]; got != tc.healthy {
				t.Errorf("healthy: %v, want %v", got, tc.healthy)
			}
			if got := stopped["new-healthy-1"]; got != tc.stops {
				t.Errorf("stopped because %q, want %q", got, tc.stops)
			}
			if tc.wake != 0 && !d.WakeAt.Equal(begun.Add(tc.wake)) {
				t.Errorf("wakes at %s, want in %s", d.WakeAt, tc.wake)
			}
		})
	}
}

// Scale-in keeps zones balanced, then instances, unless a strategy says
// otherwise.
func TestPlan_ScaleInChoice(t *testing.T) {
	for _, tc := range []struct {
		name     string
		strategy []model.PlacementStrategy
		want     string
	}{
		{"none", nil, "bi3"},
		{"spread over zones", []model.PlacementStrategy{{Type: "spread", Field: "attribute:ecs.availability-zone"}, {Type: "spread", Field: "host"}}, "bi3"},
		{"spread over instances", []model.PlacementStrategy{{Type: "spread", Field: "instanceId"}}, "ai1"},
		{"binpack", []model.PlacementStrategy{{Type: "binpack", Field: "memory"}}, "bi5"},
	} {
		in := input(6, 100, 200, false)
		in.Service.PlacementStrategy = tc.strategy
		add(t, &in, begun, "3 old.healthy@a/i1", "2 old.healthy@b/i3", "1 old.healthy@b/i4", "1 old.healthy@b/i5")
		in.Tasks[len(in.Tasks)-1].CreatedAt = begun.Add(-time.Second) // the youngest
		d := rollout.Plan(begun, in)
		if len(d.Stops) != 1 {
			t.Fatalf("%s: stops %+v", tc.name, d.Stops)
		}
		for _, task := range in.Tasks {
			if got := task.AvailabilityZone + task.InstanceID; task.ID == d.Stops[0].TaskID && got != tc.want {
				t.Errorf("%s: stopped at %s, want %s", tc.name, got, tc.want)
			}
		}
	}
}
