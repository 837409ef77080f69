package store_test

import (
	"context"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"berth.dev/berth/internal/data/kv"
	"berth.dev/berth/internal/data/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// account is a record with everything a table can have: optional fields, several index values, a nested list.
type account struct {
	Name    string   `json:"name"`
	Owner   string   `json:"owner,omitempty"`
	Balance int      `json:"balance"`
	Tags    []string `json:"tags,omitempty"`
}

var (
	byOwner = store.NewGuardedIndex("owner", func(a *account) []string {
		if a.Owner == "" {
			return nil
		}
		return []string{a.Owner}
	})
	byTag    = store.NewIndex("tag", func(a *account) []string { return a.Tags })
	accounts = store.NewTable("account", func(a *account) string { return a.Name }, byOwner, byTag).WithTallies(wealth)

	// wealth sums the balances of an owner, and counts his accounts.
	wealth = store.NewTally("wealth", func(a *account) (string, store.Amounts, bool) {
		return a.Owner, store.Amounts{int64(a.Balance), 1}, a.Owner != ""
	})

	notes = store.NewTable("note", func(n *note) string { return n.ID })
)

type note struct {
	ID   string `json:"id"`
	Text string `json:"text"`
}

// open runs a store until the test ends.
func open(t testing.TB, db kv.KV, opts store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(db, "/t/", opts, accounts, notes)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	return s
}

func run(t testing.TB, s *store.Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	select {
	case <-s.Ready():
	case err := <-done:
		t.Fatalf("Run ended before it was ready: %v", err)
	}
	return stop
}

func update(t testing.TB, s *store.Store, fn func(*store.Tx)) int64 {
	t.Helper()
	rev, err := s.Update(context.Background(), func(tx *store.Tx) error { fn(tx); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func put(recs ...*account) func(*store.Tx) {
	return func(tx *store.Tx) {
		for _, a := range recs {
			accounts.Put(tx, a)
		}
	}
}

func names(seq func(func(*account) bool)) []string {
	var out []string
	for a := range seq {
		out = append(out, a.Name)
	}
	return out
}

func equal(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}
