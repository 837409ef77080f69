package task_test

import (
	"testing"
	"testing/synctest"
	"time"

	"berth.dev/berth/internal/agent/runtime/fake"
	"berth.dev/berth/internal/model"
)

// While an image comes, reports say how far it is, under the number of the one before; the digest that the revision
// means is what runs.
func TestPull_Progress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer func() { h.stop() }()
		h.world.Latency(func(verb fake.Verb, _ string) time.Duration {
			if verb == fake.EnsureImage {
				return time.Minute
			}
			return 0
		})
		a := assignment("t1", model.ContainerDefinition{Name: "app", Image: "app:1"})
		a.Task.Containers[0].ImageDigest = "sha256:pinned"
		h.engine.Assign([]model.Assignment{a}, true)
		h.pass(10 * time.Second)
		o := h.last("t1")
		want := model.PullProgress{Bytes: 1, Total: 2, Layers: 2, LayersDone: 1}
		if c, ok := o.Container("app"); !ok || c.Pull == nil || *c.Pull != want {
			t.Fatalf("while it is pulled: %+v", o)
		}
		records, err := h.journal.Load()
		if err != nil || len(records) != 1 || records[0].State.Seq != o.Seq {
			t.Errorf("the journal has %+v, %v; reported is number %d", records, err, o.Seq)
		}
		h.pass(2 * time.Minute)
		o = h.last("t1")
		if c, ok := o.Container("app"); !ok || c.Pull != nil || c.ImageDigest != "sha256:pinned" || c.ImageSource != "registry" {
			t.Errorf("afterwards: %+v", o)
		}
		if got := h.engine.Images(); len(got) != 1 {
			t.Errorf("the task holds %q", got)
		}
	})
}
