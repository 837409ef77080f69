package records_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// The newest hundred events are kept, in order, also when several are said in
// one transaction.
func TestAppendServiceEvent(t *testing.T) {
	s, err := store.Open(memkv.New(0), "/berth/", store.Options{CheckMutation: true}, records.All()...)
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
	write := func(fn func(tx *store.Tx) error) {
		t.Helper()
		if _, err := s.Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	write(func(tx *store.Tx) error {
		records.Services.Put(tx, &model.Service{ID: "s"})
		return nil
	})
	for i := range 35 {
		write(func(tx *store.Tx) error {
			for j := range 3 {
				if err := records.AppendServiceEvent(tx, "s", fmt.Sprintf("line %d", i*3+j+1)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	want := 6 // of 105 lines
	for e := range records.ServiceEvents.Prefix(s.Snapshot(), "s/") {
		if e.Message != fmt.Sprintf("line %d", want) || e.Seq != uint64(want) || e.ID == "" || e.CreatedAt.IsZero() { //nolint:gosec // small
			t.Errorf("got %+v, want line %d", e, want)
		}
		want++
	}
	if want != 106 {
		t.Errorf("the events end with %d", want-1)
	}
	if _, err := s.Update(t.Context(), func(tx *store.Tx) error { return records.AppendServiceEvent(tx, "none", "x") }); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("without a service: %v", err)
	}
}
