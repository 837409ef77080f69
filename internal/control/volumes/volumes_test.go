package volumes_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"

	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/control/volumes"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

type world struct {
	t    *testing.T
	s    *store.Store
	loop *volumes.Loop
}

// inWorld runs f beside a loop, in a bubble.
func inWorld(t *testing.T, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		s, err := store.Open(memkv.New(100), "/berth/", store.Options{CheckMutation: true}, records.All()...)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return s.Run(ctx) })
		<-s.Ready()
		w := &world{t: t, s: s, loop: volumes.New(s, slog.New(slog.DiscardHandler))}
		w.update(func(tx *store.Tx) { records.Instances.Put(tx, &model.Instance{ID: "node"}) })
		g.Go(func() error { return w.loop.Run(ctx) })
		f(w)
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func (w *world) update(f func(tx *store.Tx)) {
	w.t.Helper()
	if _, err := w.s.Update(context.Background(), func(tx *store.Tx) error { f(tx); return nil }); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

func (w *world) volume(id string, keep bool) {
	w.t.Helper()
	w.update(func(tx *store.Tx) {
		records.Tasks.Put(tx, &model.Task{ID: "task of " + id, InstanceID: "node", Observed: model.TaskObserved{Status: model.TaskRunning}})
		records.EBSVolumes.Put(tx, &model.EBSVolume{ID: id, TaskID: "task of " + id, InstanceID: "node", KeepOnTermination: keep, State: model.EBSInUse})
	})
}

func (w *world) task(id string, edit func(t *model.Task)) {
	w.t.Helper()
	w.update(func(tx *store.Tx) {
		if err := records.Tasks.Edit(tx, "task of "+id, func(t *model.Task) error { edit(t); return nil }); err != nil {
			w.t.Error(err)
		}
	})
}

func (w *world) is(id, state string) {
	w.t.Helper()
	got := ""
	if v, found := records.EBSVolumes.Get(w.s.Snapshot(), id); found {
		got = v.State
	}
	if got != state {
		w.t.Errorf("volume %s is %q, want %q", id, got, state)
	}
}

func stop(t *model.Task) { t.Observed.Status = model.TaskStopped }

func TestRun(t *testing.T) {
	inWorld(t, func(w *world) {
		w.volume("goes", false)
		w.volume("stays", true)
		w.is("goes", model.EBSInUse)
		w.task("goes", stop)
		w.task("stays", stop)
		w.is("goes", "")
		w.is("stays", model.EBSAvailable)
		// Its task is forgotten an hour later.
		w.update(func(tx *store.Tx) { records.Tasks.Delete(tx, "task of stays") })
		w.is("stays", model.EBSAvailable)

		// A node that is away may still write.
		w.volume("lost", false)
		w.task("lost", func(t *model.Task) { stop(t); t.Lost = true })
		w.is("lost", model.EBSInUse)
		w.task("lost", func(t *model.Task) { t.Lost = false })
		w.is("lost", "")

		// What was on a node goes with it.
		w.update(func(tx *store.Tx) { records.Instances.Delete(tx, "node") })
		w.is("stays", "")
	})
}

// What has happened while no loop ran is made up for.
func TestRun_AfterAway(t *testing.T) {
	inWorld(t, func(w *world) {
		w.update(func(tx *store.Tx) {
			records.EBSVolumes.Put(tx, &model.EBSVolume{ID: "old", TaskID: "gone", InstanceID: "node", State: model.EBSInUse})
		})
		w.is("old", "")
	})
}

func TestDocuments(t *testing.T) {
	inWorld(t, func(w *world) {
		w.volume("v", true)
		w.task("v", stop)
		source := volumes.Source{}
		before := w.s.Snapshot()
		if keys := source.Keys(before, "node"); len(keys) > 0 {
			t.Errorf("documents %v of a volume that nobody wants deleted", keys)
		}
		w.update(func(tx *store.Tx) {
			if err := records.EBSVolumes.Edit(tx, "v", func(v *model.EBSVolume) error { v.State = model.EBSDeleting; return nil }); err != nil {
				t.Error(err)
			}
		})
		after := w.s.Snapshot()
		if keys := source.Keys(after, "node"); !slices.Equal(keys, []string{"v"}) {
			t.Errorf("documents %v", keys)
		}
		if doc, ok := source.Document(after, "node", "v"); !ok || doc.(model.NodeVolume).ID != "v" {
			t.Errorf("document %v, %v", doc, ok)
		}
		if _, ok := source.Document(after, "other", "v"); ok {
			t.Error("another node is told")
		}
		change := store.Change{Table: records.EBSVolumes.Name(), Key: "v"}
		if affected := source.Affected(before, after, change); !slices.Equal(affected["node"], []string{"v"}) {
			t.Errorf("affected %v", affected)
		}
		for _, said := range []struct{ node, body, state string }{
			{"other", `{"deleted":true}`, model.EBSDeleting},
			{"node", `{"deleted":false}`, model.EBSDeleting},
			{"node", `{"deleted":true}`, ""},
			{"node", `{"deleted":true}`, ""},
		} {
			if err := w.loop.Observed(context.Background(), said.node, "v", []byte(said.body)); err != nil {
				t.Error(err)
			}
			w.is("v", said.state)
		}
		if err := w.loop.Observed(context.Background(), "node", "v", []byte("{")); err == nil {
			t.Error("no JSON was read")
		}
		if affected := source.Affected(after, w.s.Snapshot(), change); !slices.Equal(affected["node"], []string{"v"}) {
			t.Errorf("affected %v when it is gone", affected)
		}
	})
}

// A task that is observed to end twice, or a loop that starts again, changes
// nothing that was decided.
func TestAvailableStays(t *testing.T) {
	inWorld(t, func(w *world) {
		w.volume("v", true)
		w.task("v", stop)
		w.update(func(tx *store.Tx) {
			if err := records.EBSVolumes.Edit(tx, "v", func(v *model.EBSVolume) error { v.State = model.EBSDeleting; return nil }); err != nil {
				t.Error(err)
			}
		})
		w.task("v", func(t *model.Task) { t.Version++ })
		w.is("v", model.EBSDeleting)
	})
}
