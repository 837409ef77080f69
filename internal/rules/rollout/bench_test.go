package rollout_test

import (
	"fmt"
	"testing"
	"time"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/rollout"
)

// fleet is one service's share of a fleet of 5,000 hosts with 100,000 tasks:
// an update under way, with half of the old tasks replaced.
func fleet(tasks int) rollout.Input {
	in := input(tasks, 100, 200, true)
	started := begun.Add(-time.Minute)
	for n := range tasks * 3 / 2 {
		t := &model.Task{
			ID: fmt.Sprintf("%032x", n), StartedBy: "ecs-svc/1", InstanceID: fmt.Sprint("i", n%5000), AvailabilityZone: string(rune('a' + n%3)),
			DesiredStatus: model.TaskRunning, CreatedAt: started, Observed: model.TaskObserved{Status: model.TaskRunning, StartedAt: &started},
		}
		if n >= tasks {
			t.StartedBy = "ecs-svc/2"
		}
		in.Tasks = append(in.Tasks, t)
		in.Instances[t.InstanceID] = rollout.Instance{Active: true}
	}
	return in
}

// BenchmarkPlan is the cost of a decision: it depends on the service's own
// tasks, and not on what else the fleet runs.
func BenchmarkPlan(b *testing.B) {
	for _, tasks := range []int{3, 20, 100, 5000} {
		b.Run(fmt.Sprintf("tasks=%d", tasks), func(b *testing.B) {
			in := fleet(tasks)
			for b.Loop() {
				if d := rollout.Plan(begun, in); len(d.Stops) == 0 || len(d.Starts) == 0 {
					b.Fatalf("%+v", d)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
		})
	}
}
