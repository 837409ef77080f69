package deployment_test

import (
	"testing"
	"testing/synctest"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

func (w *world) settle() {
	time.Sleep(3 * time.Second)
	synctest.Wait()
}

// lose ends a task of the service, so that another takes its place.
func (w *world) lose() {
	w.update(func(tx *store.Tx) error {
		for task := range records.Tasks.By(tx, records.TasksByService, "s") {
			if !task.Stopped() {
				return records.Tasks.Edit(tx, task.ID, func(t *model.Task) error {
					t.Lose(tx.Now(), "its node burnt down")
					return nil
				})
			}
		}
		return nil
	})
	w.settle()
}

// What a tag means is decided once for a revision: tasks that come later run
// what the first has found, and a new deployment asks again.
func TestRun_PinsImages(t *testing.T) {
	run(t, func(w *world) {
		w.instance("i", 1<<20, nil)
		w.moveTag("sha256:old")
		w.service("one", 1, nil)
		w.settle()
		w.moveTag("sha256:new")
		w.edit(func(s *model.Service) { s.DesiredCount = 3 })
		w.settle()
		w.expect("after scaling out", w.digests(), []string{"sha256:old", "sha256:old", "sha256:old"})
		w.lose()
		w.expect("after a task's end", w.digests(), []string{"sha256:old", "sha256:old", "sha256:old"})
		w.redeploy("two")
		w.settle()
		w.expect("after a deployment", w.digests(), []string{"sha256:new", "sha256:new", "sha256:new"})
	})
}

// A container may ask for its tag to be resolved each time.
func TestRun_WithoutVersionConsistency(t *testing.T) {
	run(t, func(w *world) {
		w.instance("i", 1<<20, nil)
		w.moveTag("sha256:old")
		w.service("one", 1, nil)
		w.update(func(tx *store.Tx) error {
			return records.TaskDefinitions.Edit(tx, model.TaskDefinitionKey("one", 1), func(d *model.TaskDefinition) error {
				d.ContainerDefinitions[0].VersionConsistency = "disabled"
				return nil
			})
		})
		w.settle()
		w.moveTag("sha256:new")
		w.edit(func(s *model.Service) { s.DesiredCount = 2 })
		w.settle()
		w.expect("digests", w.digests(), []string{"sha256:new", "sha256:old"})
	})
}

// What is in Berth's own registry is known before the first task starts.
func TestRun_ResolvesOwnImages(t *testing.T) {
	run(t, func(w *world) {
		w.instance("i", 1<<20, nil)
		w.moveTag("sha256:what a node would find")
		push := func(digest string) {
			w.update(func(tx *store.Tx) error {
				records.ImageTags.Put(tx, &model.ImageTag{Repository: "app", Tag: "v1", Digest: digest})
				return nil
			})
		}
		push("sha256:first")
		w.service("ecr", 2, nil)
		w.settle()
		push("sha256:second")
		w.lose()
		w.expect("digests", w.digests(), []string{"sha256:first", "sha256:first"})
		w.redeploy("ecr")
		w.settle()
		w.expect("after a deployment", w.digests(), []string{"sha256:second", "sha256:second"})
	})
}
