package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/data/kv"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/store"
)

// TestMirror_AgreesWithModel plays random transactions on a store and on plain maps, and compares every way to read: within
// the transaction, after it, in a second mirror, in a mirror opened at the end, and in what a watcher put together.
func TestMirror_AgreesWithModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		db := memkv.New(0)
		s, stop := openRapid(rt, db)
		defer stop()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		watch := s.Watch(ctx, accounts)
		watched := map[string]account{}
		model := map[string]account{}
		for range rapid.IntRange(1, 15).Draw(rt, "transactions") {
			next := maps.Clone(model)
			ops := rapid.SliceOfN(rapid.Custom(drawChange), 0, 6).Draw(rt, "changes")
			abort := rapid.IntRange(0, 5).Draw(rt, "abort") == 0
			before := s.Snapshot()
			was := render(before)
			_, err := s.Update(ctx, func(tx *store.Tx) error {
				next = maps.Clone(model)
				for _, c := range ops {
					c.apply(tx, next)
				}
				agree(rt, "in the transaction", tx, next)
				if abort {
					return errAbort
				}
				return nil
			})
			if !abort {
				model = next
			} else if !errors.Is(err, errAbort) {
				rt.Fatal(err)
			}
			if err != nil && !abort {
				rt.Fatal(err)
			}
			agree(rt, "afterwards", s.Snapshot(), model)
			if now := render(before); now != was {
				rt.Fatalf("a snapshot changed from %s to %s", was, now)
			}
			if rapid.Bool().Draw(rt, "take") {
				follow(watch, watched)
				if !maps.EqualFunc(watched, model, same) {
					rt.Fatalf("watched %v, want %v", watched, model)
				}
			}
		}
		fresh, stopFresh := openRapid(rt, db)
		defer stopFresh()
		agree(rt, "in a new mirror", fresh.Snapshot(), model)
	})
}

var errAbort = errors.New("abort")

func openRapid(t *rapid.T, db kv.KV) (*store.Store, func()) {
	s, err := store.Open(db, "/t/", store.Options{CheckMutation: true}, accounts, notes)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	<-s.Ready()
	return s, func() { cancel(); wg.Wait() }
}

// change is one random write: a put, an edit or a delete.
type change struct {
	kind int
	rec  account
}

func drawChange(t *rapid.T) change {
	return change{
		kind: rapid.IntRange(0, 2).Draw(t, "kind"),
		rec: account{
			Name:    rapid.SampledFrom([]string{"a", "b", "c", "a/1", "a/2"}).Draw(t, "name"),
			Owner:   rapid.SampledFrom([]string{"", "ann", "bob"}).Draw(t, "owner"),
			Balance: rapid.IntRange(0, 9).Draw(t, "balance"),
			Tags:    rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"x", "y", "z"}), 0, 2, rapid.ID).Draw(t, "tags"),
		},
	}
}

func (c change) apply(tx *store.Tx, model map[string]account) {
	switch c.kind {
	case 0:
		accounts.Put(tx, &c.rec)
		model[c.rec.Name] = c.rec
	case 1:
		err := accounts.Edit(tx, c.rec.Name, func(a *account) error {
			a.Owner, a.Tags = c.rec.Owner, c.rec.Tags
			return nil
		})
		if old, ok := model[c.rec.Name]; ok && err == nil {
			old.Owner, old.Tags = c.rec.Owner, c.rec.Tags
			model[c.rec.Name] = old
		}
	case 2:
		accounts.Delete(tx, c.rec.Name)
		delete(model, c.rec.Name)
	}
}

func same(a, b account) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

// agree compares all reads with the naive answer from the model.
func agree(t *rapid.T, when string, r store.Reader, model map[string]account) {
	filter := func(keep func(account) bool) (out []string) {
		for _, name := range slices.Sorted(maps.Keys(model)) {
			if keep(model[name]) {
				out = append(out, fmt.Sprint(model[name]))
			}
		}
		return out
	}
	check := func(what string, seq func(func(*account) bool), keep func(account) bool) {
		var got []string
		for a := range seq {
			got = append(got, fmt.Sprint(*a))
		}
		if want := filter(keep); !slices.Equal(got, want) {
			t.Fatalf("%s, %s: got %q, want %q", when, what, got, want)
		}
	}
	check("All", accounts.All(r), func(account) bool { return true })
	check("Prefix", accounts.Prefix(r, "a"), func(a account) bool { return strings.HasPrefix(a.Name, "a") })
	check("After", accounts.After(r, "a", "a/1"), func(a account) bool { return strings.HasPrefix(a.Name, "a") && a.Name > "a/1" })
	for _, v := range []string{"ann", "bob", "", "x", "y", "z"} {
		check("owner "+v, accounts.By(r, byOwner, v), func(a account) bool { return v != "" && a.Owner == v })
		check("tag "+v, accounts.By(r, byTag, v), func(a account) bool { return slices.Contains(a.Tags, v) })
	}
	if n := accounts.Len(r); n != len(model) {
		t.Fatalf("%s: %d records, want %d", when, n, len(model))
	}
	for name, want := range model {
		if a, ok := accounts.Get(r, name); !ok || !same(*a, want) {
			t.Fatalf("%s: %s is %v, want %v", when, name, a, want)
		}
	}
}

func render(r store.Reader) string {
	var out []string
	for a := range accounts.All(r) {
		out = append(out, fmt.Sprint(*a))
	}
	return strings.Join(out, " ")
}

// follow brings a copy up to date with what a watcher reports, looking at nothing but the records it names.
func follow(w *store.Watcher, state map[string]account) {
	snap, changes := w.Take()
	for _, c := range changes {
		if a, ok := accounts.Get(snap, c.Key); ok {
			state[c.Key] = *a
		} else {
			delete(state, c.Key)
		}
	}
}

func TestWatcher(t *testing.T) {
	s := open(t, memkv.New(0), store.Options{})
	update(t, s, put(&account{Name: "early"}))
	ctx, cancel := context.WithCancel(t.Context())
	w := s.Watch(ctx, accounts)
	if !accounts.Has(w.Snapshot(), "early") {
		t.Error("the watch's first state lacks what was there")
	}
	select {
	case <-w.Changed():
		t.Error("something changed before anything changed")
	default:
	}
	for range 3 {
		update(t, s, put(&account{Name: "b"}, &account{Name: "a"}))
	}
	update(t, s, func(tx *store.Tx) { notes.Put(tx, &note{ID: "other table"}); accounts.Delete(tx, "early") })
	snap, changes, err := w.Next(t.Context())
	want := []store.Change{{"account", "a"}, {"account", "b"}, {"account", "early"}}
	if err != nil || !slices.Equal(changes, want) || accounts.Has(snap, "early") {
		t.Errorf("got %v, %v, want %v", changes, err, want)
	}
	if _, changes := w.Take(); len(changes) != 0 {
		t.Errorf("told again: %v", changes)
	}
	cancel()
	if _, _, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next after the end: %v", err)
	}
}

func TestMirror_LoadsAgainAfterCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := memkv.New(0)
		flaky := &flakyWatch{KV: db}
		s, err := store.Open(flaky, "/t/", store.Options{}, accounts, notes)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		<-s.Ready()
		update(t, s, put(&account{Name: "kept"}, &account{Name: "changed"}, &account{Name: "deleted"}))
		watch := s.Watch(ctx)

		// The watch breaks; meanwhile another server writes, and the history is compacted away.
		flaky.interrupt(true)
		synctest.Wait()
		for _, op := range []kv.Op{
			kv.Put("/t/account/changed", []byte(`1:{"name":"changed","balance":7}`)),
			kv.Delete("/t/account/deleted"),
			kv.Put("/t/account/new", []byte(`1:{"name":"new"}`)),
		} {
			if _, err := db.Txn(ctx, kv.Txn{Then: []kv.Op{op}}); err != nil {
				t.Fatal(err)
			}
		}
		now, err := db.Range(ctx, kv.Query{Key: "x"})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Compact(ctx, now.Rev); err != nil {
			t.Fatal(err)
		}
		flaky.interrupt(false)
		if err := s.WaitRev(ctx, now.Rev); err != nil {
			t.Fatal(err)
		}
		equal(t, "accounts", names(accounts.All(s.Snapshot())), []string{"changed", "kept", "new"})
		_, changes := watch.Take()
		want := []store.Change{{"account", "changed"}, {"account", "deleted"}, {"account", "new"}}
		if !slices.Equal(changes, want) {
			t.Errorf("the watcher was told %v, want %v", changes, want)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// flakyWatch ends watches, and refuses new ones while it is interrupted.
type flakyWatch struct {
	kv.KV
	mu     sync.Mutex
	down   bool
	cancel context.CancelFunc
}

var errDown = errors.New("watch is down")

func (f *flakyWatch) interrupt(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down = down; down {
		f.cancel()
	}
}

func (f *flakyWatch) Watch(ctx context.Context, prefix string, from int64, deliver func([]kv.Commit) error) error {
	f.mu.Lock()
	if f.down {
		f.mu.Unlock()
		return errDown
	}
	ctx, f.cancel = context.WithCancel(ctx)
	f.mu.Unlock()
	err := f.KV.Watch(ctx, prefix, from, deliver)
	if errors.Is(err, kv.ErrCompacted) {
		return err
	}
	return errDown
}

// Somebody who does not take must not hold up those who write.
func TestWatcher_DoesNotHoldUpTheMirror(t *testing.T) {
	s := open(t, memkv.New(0), store.Options{})
	w := s.Watch(t.Context(), accounts)
	for i := range 500 {
		update(t, s, put(&account{Name: fmt.Sprintf("%03d", i%100), Balance: i}))
	}
	if _, changes := w.Take(); len(changes) != 100 {
		t.Errorf("%d changes of 100 records", len(changes))
	}
}

func TestUpdate_WaitsForTheFirstLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := store.Open(memkv.New(0), "/t/", store.Options{}, accounts, notes)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := s.Update(ctx, func(*store.Tx) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Update of a store that does not run: %v", err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		updated := make(chan error, 1)
		go func() {
			_, err := s.Update(ctx, func(tx *store.Tx) error { notes.Put(tx, &note{ID: "n"}); return nil })
			updated <- err
		}()
		synctest.Wait()
		ran := make(chan error, 1)
		go func() { ran <- s.Run(ctx) }()
		if err := <-updated; err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}
