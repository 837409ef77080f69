package records_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// The revision grows with what clients of DiscoverInstances would have to ask for again, and with nothing else.
func TestDiscoveryRevision(t *testing.T) {
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
	registered := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	instance := func(address string, healthy bool) *model.DiscoveryInstance {
		return &model.DiscoveryInstance{
			ServiceID: "srv-1", InstanceID: "i", Healthy: healthy, RegisteredAt: registered,
			Attributes: map[string]string{"AWS_INSTANCE_IPV4": address},
		}
	}
	put := func(in *model.DiscoveryInstance) func(*store.Tx) error {
		return func(tx *store.Tx) error { return records.PutDiscoveryInstance(tx, in) }
	}
	remove := func(want bool) func(*store.Tx) error {
		return func(tx *store.Tx) error {
			got, err := records.DeleteDiscoveryInstance(tx, "srv-1", "i")
			if got != want {
				t.Errorf("deleted = %v, want %v", got, want)
			}
			return err
		}
	}
	if _, err := s.Update(t.Context(), put(instance("10.0.0.1", true))); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("without a service: %v", err)
	}
	if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
		records.DiscoveryServices.Put(tx, &model.DiscoveryService{ID: "srv-1"})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name  string
		do    func(*store.Tx) error
		want  int64
		left  int
		quiet bool // nothing is written
	}{
		{"new", put(instance("10.0.0.1", true)), 1, 1, false},
		{"the same again", put(instance("10.0.0.1", true)), 1, 1, true},
		{"its health", put(instance("10.0.0.1", false)), 1, 1, false},
		{"another address", put(instance("10.0.0.2", false)), 2, 1, false},
		{"gone", remove(true), 3, 0, false},
		{"gone already", remove(false), 3, 0, true},
	} {
		before := s.Snapshot()
		if _, err := s.Update(t.Context(), step.do); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		after := s.Snapshot()
		service, _ := records.DiscoveryServices.Get(after, "srv-1")
		if service.Revision != step.want || records.DiscoveryInstances.Len(after) != step.left {
			t.Errorf("%s: revision %d with %d instances, want %d and %d", step.name,
				service.Revision, records.DiscoveryInstances.Len(after), step.want, step.left)
		}
		if quiet := before.Rev() == after.Rev(); quiet != step.quiet {
			t.Errorf("%s: quiet = %v, want %v", step.name, quiet, step.quiet)
		}
	}
}
