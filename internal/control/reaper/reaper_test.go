package reaper_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/control/reaper"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := store.Open(memkv.New(100), "/berth/", store.Options{CheckMutation: true}, records.All()...)
		if err != nil {
			t.Fatal(err)
		}
		history := &history{}
		ctx, cancel := context.WithCancel(context.Background())
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return s.Run(ctx) })
		<-s.Ready()
		g.Go(func() error {
			return reaper.New(s, history, time.Hour, slog.New(slog.DiscardHandler)).Run(ctx)
		})

		_, err = s.Update(ctx, func(tx *store.Tx) error {
			now := tx.Now()
			task := func(id, status, definition string, lost bool) {
				tk := &model.Task{ID: id, TaskDefinitionARN: definition, Lost: lost, Observed: model.TaskObserved{Status: status}}
				if status == model.TaskStopped {
					tk.Observed.StoppedAt = &now
				}
				records.Tasks.Put(tx, tk)
			}
			task("stopped", model.TaskStopped, "", false)
			task("lost", model.TaskStopped, "", true) // its node may still run it
			task("running", model.TaskRunning, "used", false)
			for i, status := range []string{model.TaskDefinitionInactive, model.TaskDefinitionDeleteInProgress, model.TaskDefinitionDeleteInProgress} {
				records.TaskDefinitions.Put(tx, &model.TaskDefinition{Family: "f", Revision: i + 1, Status: status, ARN: []string{"kept", "used", "unused"}[i]})
			}
			records.RunTaskTokens.Put(tx, &model.RunTaskToken{Token: "token", CreatedAt: now})
			for _, id := range []string{"gone", "here"} {
				service := &model.Service{ID: id, Status: model.ServiceActive}
				if id == "gone" {
					service.Status, service.EndedAt = model.ServiceInactive, &now
				}
				records.Services.Put(tx, service)
				records.Deployments.Put(tx, &model.Deployment{ServiceID: id, Number: 1})
				records.ServiceRevisions.Put(tx, &model.ServiceRevision{ID: "revision of " + id, ServiceID: id})
				records.ServiceEvents.Put(tx, &model.ServiceEvent{ServiceID: id, Seq: 1})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		expect := func(want ...string) {
			t.Helper()
			synctest.Wait()
			var got []string
			snap := s.Snapshot()
			for tk := range records.Tasks.All(snap) {
				got = append(got, tk.ID)
			}
			for d := range records.TaskDefinitions.All(snap) {
				got = append(got, d.ARN)
			}
			got = append(got, fmt.Sprintf("%d tokens", records.RunTaskTokens.Len(snap)))
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("after %s there are %q, want %q", time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), got, want)
			}
		}

		time.Sleep(time.Minute)
		expect("stopped", "lost", "running", "kept", "used", "1 tokens")
		time.Sleep(59 * time.Minute) // AWS promises the whole hour
		expect("stopped", "lost", "running", "kept", "used", "1 tokens")
		time.Sleep(time.Minute)
		expect("stopped", "lost", "running", "kept", "used", "1 tokens") // the history was not to be had
		time.Sleep(time.Minute)
		expect("lost", "running", "kept", "used", "1 tokens")
		_, err = s.Update(ctx, func(tx *store.Tx) error {
			return records.Tasks.Edit(tx, "running", func(tk *model.Task) error {
				now := tx.Now()
				tk.Observed.Status, tk.Observed.StoppedAt = model.TaskStopped, &now
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		expect("lost", "running", "kept", "1 tokens")
		services := func(want int) {
			t.Helper()
			snap := s.Snapshot()
			for _, n := range []int{records.Services.Len(snap), records.Deployments.Len(snap), records.ServiceRevisions.Len(snap), records.ServiceEvents.Len(snap)} {
				if n != want {
					t.Errorf("after %s %d records of services, want %d", time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), n, want)
				}
			}
		}
		services(2)
		time.Sleep(24 * time.Hour)
		expect("lost", "kept", "0 tokens")
		services(1)
		if want := []string{"failed", "stopped", "running"}; !slices.Equal(history.kept, want) {
			t.Errorf("the history has %q, want %q", history.kept, want)
		}
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// history fails once and then remembers tasks.
type history struct{ kept []string }

func (h *history) Keep(_ context.Context, tasks []*model.Task) error {
	if len(h.kept) == 0 {
		h.kept = append(h.kept, "failed")
		return errors.New("disk full")
	}
	for _, t := range tasks {
		h.kept = append(h.kept, t.ID)
	}
	return nil
}
