package liveness_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/control/liveness"
	"berth.dev/berth/internal/data/kv"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// plane is a store with the loop on it.
type plane struct {
	t     *testing.T
	store *store.Store
	stop  func()
}

func begin(t *testing.T, db kv.KV) *plane {
	t.Helper()
	s, err := store.Open(db, "/berth/", store.Options{CheckMutation: true}, records.All()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(ctx) })
	<-s.Ready()
	g.Go(func() error {
		return liveness.New(s, time.Minute, slog.New(slog.DiscardHandler)).Run(ctx)
	})
	synctest.Wait()
	return &plane{t: t, store: s, stop: func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	}}
}

// put writes an instance, disconnected now unless it is connected, and a
// running task on it of the same name.
func (p *plane) put(name string, connected bool) {
	p.t.Helper()
	_, err := p.store.Update(p.t.Context(), func(tx *store.Tx) error {
		i := &model.Instance{ID: name, Name: "host-" + name, Connected: connected}
		if now := tx.Now(); !connected {
			i.DisconnectedAt = &now
		}
		records.Instances.Put(tx, i)
		if !records.Tasks.Has(tx, name) {
			records.Tasks.Put(tx, &model.Task{
				ID: name, InstanceID: name, DesiredStatus: model.TaskRunning, Observed: model.TaskObserved{Status: model.TaskRunning},
			})
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *plane) expect(name string, lost bool) {
	p.t.Helper()
	synctest.Wait()
	t, _ := records.Tasks.Get(p.store.Snapshot(), name)
	if t.Lost != lost || t.Stopped() != lost {
		p.t.Errorf("at %s task %s: lost %t, status %s", time.Now().Format("15:04:05"), name, t.Lost, t.Observed.Status)
	}
}

func TestRun_LosesTasksOfAbsentNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := begin(t, memkv.New(100))
		p.put("here", true)
		p.put("gone", false)
		p.put("back", false)
		time.Sleep(59 * time.Second)
		p.expect("gone", false)
		p.put("back", true)
		time.Sleep(time.Second)
		p.expect("gone", true)
		tk, _ := records.Tasks.Get(p.store.Snapshot(), "gone")
		if tk.StopCode != model.StopTerminationNotice || tk.DesiredStatus != model.TaskStopped || !tk.Observed.StoppedAt.Equal(time.Now()) ||
			tk.StoppedReason != "Host host-gone (gone) lost: its agent has not been heard from for 1m0s." {
			t.Errorf("got %+v", tk)
		}
		time.Sleep(time.Hour)
		p.expect("here", false)
		p.expect("back", false)
		p.stop()
	})
}

// Time in which the control plane itself was away is not the nodes': also when
// it had the time to write that they are gone, as it does at a restart.
func TestRun_AfterTheControlPlaneWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := memkv.New(100)
		p := begin(t, db)
		p.put("node", false)
		p.stop()
		time.Sleep(time.Hour)
		p = begin(t, db)
		time.Sleep(59 * time.Second)
		p.expect("node", false)
		time.Sleep(time.Second)
		p.expect("node", true)
		p.stop()
	})
}
