package records_test

import (
	"context"
	"errors"
	"testing"

	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// A store opens with all tables, and the indexes find what they say.
func TestAll(t *testing.T) {
	s, err := store.Open(memkv.New(0), "/berth/", store.Options{}, records.All()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()

	task := &model.Task{ID: "t1", ClusterName: "c", Family: "f", StartedBy: "me", InstanceID: "i", ENIID: "eni-1"}
	if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
		records.Tasks.Put(tx, task)
		records.Tasks.Put(tx, &model.Task{ID: "t2", ClusterName: "c", InstanceID: "i", Observed: model.TaskObserved{Status: model.TaskStopped}})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name  string
		index *store.Index[model.Task]
		value string
		want  int
	}{
		{"cluster", records.TasksByCluster, "c", 2},
		{"family", records.TasksByFamily, records.InCluster("c", "f"), 1},
		{"started by", records.TasksByStartedBy, records.InCluster("c", "me"), 1},
		{"instance", records.TasksByInstance, "i", 2},
		{"live on instance", records.LiveTasksByInstance, "i", 1},
		{"eni", records.TasksByENI, "eni-1", 1},
		{"status", records.TasksByStatus, model.TaskStopped, 1},
	} {
		got := 0
		for range records.Tasks.By(s.Snapshot(), tc.index, tc.value) {
			got++
		}
		if got != tc.want {
			t.Errorf("%s: found %d, want %d", tc.name, got, tc.want)
		}
	}
}
