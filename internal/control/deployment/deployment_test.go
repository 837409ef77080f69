package deployment_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

func TestRun_StartsAndReplaces(t *testing.T) {
	run(t, func(w *world) {
		w.instance("i", 1<<20, nil)
		w.service("one", 3, nil)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		w.expect("tasks", w.tasks(), map[string]int{"one RUNNING": 3})
		if diff := cmp.Diff([]string{
			"has started 3 tasks", "(deployment ecs-svc/1) deployment completed.", "has reached a steady state.",
		}, w.events()); diff != "" {
			t.Error(diff)
		}

		w.measure()
		w.redeploy("two")
		time.Sleep(3 * time.Second)
		synctest.Wait()
		w.expect("tasks", w.tasks(), map[string]int{"two RUNNING": 3})
		w.expect("deployments", w.deployments(), []string{"1 INACTIVE COMPLETED", "2 PRIMARY COMPLETED"})
		if diff := cmp.Diff([]string{
			"has started 3 tasks", "has stopped 3 running tasks", "(deployment ecs-svc/2) deployment completed.", "has reached a steady state.",
		}, w.events()[3:]); diff != "" {
			t.Error(diff)
		}
		w.within(3, 6)
	})
}

// A task that ends is replaced at once.
func TestRun_Heals(t *testing.T) {
	run(t, func(w *world) {
		w.instance("i", 1<<20, nil)
		w.service("one", 2, nil)
		time.Sleep(3 * time.Second)
		w.update(func(tx *store.Tx) error {
			for task := range records.Tasks.By(tx, records.TasksByService, "s") {
				return records.Tasks.Edit(tx, task.ID, func(t *model.Task) error {
					t.Lose(tx.Now(), "its node burnt down")
					return nil
				})
			}
			return nil
		})
		synctest.Wait() // without any time passing
		w.expect("tasks", w.tasks(), map[string]int{"one RUNNING": 1, "one PENDING": 1})
	})
}

// Deployments that cannot work are rolled back, with AWS's events in AWS's
// order, and what runs stays.
func TestRun_RollsBack(t *testing.T) {
	for _, family := range []string{"missing", "exits"} {
		t.Run(family, func(t *testing.T) {
			run(t, func(w *world) {
				w.instance("i", 1<<20, nil)
				w.service("one", 3, func(s *model.Service) {
					s.DeploymentConfiguration.CircuitBreaker = &model.CircuitBreaker{Enable: true, Rollback: true}
				})
				time.Sleep(5 * time.Second)
				before := w.events()
				w.measure()
				w.redeploy(family)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				w.expect("tasks", w.tasks(), map[string]int{"one RUNNING": 3})
				w.expect("deployments", w.deployments(), []string{"1 INACTIVE COMPLETED", "2 INACTIVE FAILED", "3 PRIMARY COMPLETED"})
				w.within(3, 6)
				events := w.events()[len(before):]
				order := []string{"has started 3 tasks", "(deployment ecs-svc/2) deployment failed: tasks failed to start.", "rolling back to deployment ecs-svc/1.", "deployment completed.", "has reached a steady state."}
				at := 0
				for _, e := range events {
					if at < len(order) && contains([]string{e}, order[at]) {
						at++
					}
				}
				if at != len(order) {
					t.Errorf("events %q: no %q in its place", events, order[at])
				}
				s, _ := records.Services.Get(w.store.Snapshot(), "s")
				if want := "arn:aws:ecs:us-east-1:123456789012:task-definition/one:1"; s.Revision.TaskDefinitionARN != want {
					t.Errorf("the service runs %s", s.Revision.TaskDefinitionARN)
				}
			})
		})
	}
}

// Tasks without a place get one as soon as there is room.
func TestRun_WaitsForRoom(t *testing.T) {
	run(t, func(w *world) {
		w.service("one", 3, nil)
		synctest.Wait()
		if !contains(w.events(), "No Container Instances were found in your cluster.") {
			t.Errorf("events %q", w.events())
		}
		w.instance("small", 512, nil)
		synctest.Wait()
		w.expect("tasks", w.tasks(), map[string]int{"one PENDING": 2})
		time.Sleep(10 * time.Minute)
		if n := len(w.events()); n > 5 {
			t.Errorf("it says too much: %q", w.events())
		}
		w.instance("large", 4096, nil)
		synctest.Wait()
		w.expect("tasks", w.tasks(), map[string]int{"one RUNNING": 2, "one PENDING": 1})
	})
}

// More than a transaction can carry.
func TestRun_ManyTasks(t *testing.T) {
	run(t, func(w *world) {
		for _, id := range []string{"i1", "i2", "i3"} {
			w.instance(id, 1<<20, nil)
		}
		w.service("one", 130, nil)
		time.Sleep(5 * time.Second)
		w.expect("tasks", w.tasks(), map[string]int{"one RUNNING": 130})
		w.measure()
		w.redeploy("two")
		time.Sleep(10 * time.Second)
		w.expect("tasks", w.tasks(), map[string]int{"two RUNNING": 130})
		w.within(130, 260)
		w.edit(func(s *model.Service) { s.DesiredCount = 7 })
		time.Sleep(5 * time.Second)
		w.expect("tasks", w.tasks(), map[string]int{"two RUNNING": 7})
	})
}

func TestRun_Daemon(t *testing.T) {
	run(t, func(w *world) {
		w.instance("i1", 1<<20, nil)
		w.service("one", 0, func(s *model.Service) {
			s.SchedulingStrategy = model.SchedulingDaemon
			s.DeploymentConfiguration = model.DeploymentConfiguration{MaximumPercent: 100}
		})
		w.instance("i2", 1<<20, nil)
		w.instance("i3", 1<<20, func(i *model.Instance) { i.Status = model.InstanceDraining })
		time.Sleep(5 * time.Second)
		w.expect("tasks", w.tasks(), map[string]int{"one RUNNING": 2})
		w.redeploy("two")
		time.Sleep(5 * time.Second)
		w.expect("tasks", w.tasks(), map[string]int{"two RUNNING": 2})
		w.instance("i2", 1<<20, func(i *model.Instance) { i.Status = model.InstanceDraining })
		time.Sleep(5 * time.Second)
		w.expect("tasks", w.tasks(), map[string]int{"two RUNNING": 1})
	})
}

func TestRun_Draining(t *testing.T) {
	run(t, func(w *world) {
		w.instance("i", 1<<20, nil)
		w.service("one", 3, nil)
		time.Sleep(5 * time.Second)
		w.edit(func(s *model.Service) { s.DesiredCount, s.Status = 0, model.ServiceDraining })
		time.Sleep(time.Second)
		synctest.Wait()
		s, _ := records.Services.Get(w.store.Snapshot(), "s")
		if s.Status != model.ServiceInactive || s.EndedAt == nil {
			t.Errorf("%+v", s)
		}
		for task := range records.Tasks.All(w.store.Snapshot()) {
			if !task.Settled {
				t.Errorf("task %s is not settled", task.ID)
			}
		}
	})
}

// A control plane that dies at any moment leaves nothing half done, and nothing
// is started twice.
func TestRun_AfterARestart(t *testing.T) {
	for _, after := range []time.Duration{0, 50 * time.Millisecond, 150 * time.Millisecond, 2100 * time.Millisecond, 2250 * time.Millisecond} {
		run(t, func(w *world) {
			w.instance("i", 1<<20, nil)
			w.service("one", 3, nil)
			time.Sleep(5 * time.Second)
			w.measure()
			w.redeploy("two")
			time.Sleep(after)
			w.stop()
			w.begin()
			time.Sleep(5 * time.Second)
			w.expect("tasks", w.tasks(), map[string]int{"two RUNNING": 3})
			w.within(3, 6)
		})
	}
}
