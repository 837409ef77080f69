package rollout_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/rollout"
)

func balanced(t *testing.T, desired int, tasks ...string) rollout.Input {
	in := input(desired, 100, 200, false)
	in.Service.ZoneRebalancing = "ENABLED"
	in.Service.Progress.Steady, in.Service.Progress.SteadyAt = true, &begun
	in.Zones, in.Deployments[0].RanOnce = []string{"a", "b", "c"}, true
	add(t, &in, begun, tasks...)
	return in
}

// Tasks are moved one at a time, and the one that goes waits for the one that
// comes.
func TestPlan_Rebalances(t *testing.T) {
	in := balanced(t, 4, "3 old.healthy@a", "1 old.healthy@b")
	d := rollout.Plan(begun, in)
	if got := starts(d); got != "1 of ecs-svc/1 in c" || len(d.Stops) != 0 || !d.Progress.Rebalancing || !d.Progress.Steady {
		t.Errorf("starts %q, %+v", got, d)
	}
	want := []string{"(service web) is not AZ balanced with 3 tasks in a, 1 tasks in b, 0 tasks in c. AZ Rebalancing in progress."}
	if diff := cmp.Diff(want, d.Events); diff != "" {
		t.Error(diff)
	}
	in.Service.Progress = d.Progress
	add(t, &in, begun, "1 old.pending@c")
	if d = rollout.Plan(begun, in); !d.Empty() || d.Changed(in.Service) {
		t.Errorf("before the new one is healthy: %+v", d)
	}
	in.Tasks = in.Tasks[:4]
	add(t, &in, begun, "1 old.healthy@c")
	d = rollout.Plan(begun, in)
	if len(d.Stops) != 1 || d.Stops[0].Zone != "a" || len(d.Starts) != 0 || !d.Progress.Steady {
		t.Errorf("%+v", d)
	}
	in.Service.Progress = d.Progress
	in.Tasks = in.Tasks[1:]
	d = rollout.Plan(begun, in)
	want = []string{"(service web) is AZ balanced with 2 tasks in a, 1 tasks in b, 1 tasks in c."}
	if diff := cmp.Diff(want, d.Events); diff != "" || d.Progress.Rebalancing || len(d.Starts)+len(d.Stops) != 0 {
		t.Errorf("%s %+v", diff, d)
	}
}

func TestPlan_RebalancesOnlyWhen(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit func(in *rollout.Input)
	}{
		{"enabled", func(in *rollout.Input) { in.Service.ZoneRebalancing = "DISABLED" }},
		{"steady", func(in *rollout.Input) { in.Service.Progress.Steady = false }},
		{"there is another zone", func(in *rollout.Input) { in.Zones = []string{"a"} }},
		{"there may be more tasks", func(in *rollout.Input) { in.Service.DeploymentConfiguration.MaximumPercent = 100 }},
		{"the bound leaves room", func(in *rollout.Input) { in.Service.DeploymentConfiguration.MaximumPercent = 110 }},
		{"the strategy is zones first", func(in *rollout.Input) {
			in.Service.PlacementStrategy = []model.PlacementStrategy{{Type: "binpack", Field: "cpu"}, {Type: "spread", Field: "attribute:ecs.availability-zone"}}
		}},
		{"the zone had room", func(in *rollout.Input) { in.Service.Progress.Said = map[string]time.Time{"zone": begun} }},
		{"two more are in one zone", func(in *rollout.Input) { in.Tasks = in.Tasks[:2] }},
	} {
		in := balanced(t, 3, "1 old.healthy@a", "1 old.healthy@b", "2 old.healthy@a")
		in.Zones = []string{"a", "b"}
		in.Service.DesiredCount = 4
		if tc.name == "two more are in one zone" {
			in.Service.DesiredCount = 2
		}
		tc.edit(&in)
		if d := rollout.Plan(begun, in); len(d.Starts)+len(d.Stops) != 0 {
			t.Errorf("it does not wait until %s: starts %q, stops %q", tc.name, starts(d), stops(d))
		}
	}
}

// A zone without room is said once, and tried again when there may be some.
func TestRefused_Zone(t *testing.T) {
	in := balanced(t, 4, "3 old.healthy@a", "1 old.healthy@b")
	d := rollout.Plan(begun, in)
	in.Service.Progress = d.Progress
	r := rollout.Refused(begun, in, d.Starts[0], 1, "")
	if diff := cmp.Diff([]string{"(service web) is unable to place a task in c because no container instance met all of its requirements."}, r.Events); diff != "" || r.Deployment != nil {
		t.Errorf("%s %+v", diff, r)
	}
	in.Service.Progress = r.Progress
	if d = rollout.Plan(begun, in); len(d.Starts) != 0 {
		t.Errorf("starts %q", starts(d))
	}
	in.RetryPlacement = true
	if d = rollout.Plan(begun, in); starts(d) != "1 of ecs-svc/1 in c" {
		t.Errorf("starts %q", starts(d))
	}
	if r = rollout.Refused(begun, in, d.Starts[0], 1, ""); len(r.Events) != 0 {
		t.Errorf("events %q", r.Events)
	}
}

func TestPlan_Daemon(t *testing.T) {
	for _, tc := range []struct {
		name             string
		minimum, maximum int
		updating         bool
		instances        string // eligible ones, as letters
		tasks            []string
		starts, stops    string
	}{
		{"one on every instance", 0, 100, false, "abc", []string{"1 old.healthy/b"}, "1 of ecs-svc/1 on a, 1 of ecs-svc/1 on c", ""},
		{"all there", 0, 100, false, "ab", []string{"1 old.healthy/a", "1 old.healthy/b"}, "", ""},
		{"two on one", 0, 100, false, "a", []string{"1 old.healthy/a", "1 old.healthy/a"}, "", "1 old-healthy"},
		{"not wanted there", 0, 100, false, "a", []string{"1 old.healthy/a", "1 old.healthy/b"}, "", "1 old-healthy"},
		{"not wanted there, protected", 0, 100, false, "a", []string{"1 old.healthy/a", "1 old.healthy/b protected"}, "", ""},
		{"update", 0, 100, true, "ab", []string{"1 old.healthy/a", "1 old.healthy/b"}, "", "2 old-healthy"},
		{"update: room is made first", 0, 100, true, "ab", []string{"1 old.ending/a", "1 new.pending/b"}, "", ""},
		{"update within the bound", 50, 100, true, "abc", []string{"1 old.healthy/a", "1 old.healthy/b", "1 old.healthy/c"}, "", "1 old-healthy"},
		{"update: one after the other", 50, 100, true, "abc", []string{"1 new.waiting/a", "1 old.healthy/b", "1 old.healthy/c"}, "", ""},
		{"unhealthy", 50, 100, false, "ab", []string{"1 old.sick/a", "1 old.healthy/b"}, "", "1 old-sick"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := input(0, tc.minimum, tc.maximum, tc.updating)
			in.Service.SchedulingStrategy = model.SchedulingDaemon
			for _, id := range tc.instances {
				in.Instances[string(id)] = rollout.Instance{Active: true, Eligible: true}
			}
			add(t, &in, begun, tc.tasks...)
			d := rollout.Plan(begun, in)
			if got := starts(d); got != tc.starts {
				t.Errorf("starts %q, want %q", got, tc.starts)
			}
			if got := stops(d); got != tc.stops {
				t.Errorf("stops %q, want %q", got, tc.stops)
			}
			if steady := len(tc.starts)+len(tc.stops) == 0 && !tc.updating && tc.name == "all there"; d.Progress.Steady != steady {
				t.Errorf("steady: %v", d.Progress.Steady)
			}
		})
	}
}
