package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/data/kv"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/store"
)

func TestReaders(t *testing.T) {
	s := open(t, memkv.New(0), store.Options{})
	empty := s.Snapshot()
	update(t, s, put(
		&account{Name: "a/1", Owner: "ann", Tags: []string{"x", "y"}},
		&account{Name: "a/2", Owner: "bob"},
		&account{Name: "b/1", Owner: "ann", Tags: []string{"y"}},
	))
	before := s.Snapshot()
	_, err := s.Update(t.Context(), func(tx *store.Tx) error {
		accounts.Put(tx, &account{Name: "a/3", Owner: "ann"})
		accounts.Delete(tx, "b/1")
		if err := accounts.Edit(tx, "a/1", func(a *account) error { a.Owner, a.Tags = "bob", nil; return nil }); err != nil {
			return err
		}
		// The transaction sees what it wrote, and may write while it iterates.
		equal(t, "All in tx", names(accounts.All(tx)), []string{"a/1", "a/2", "a/3"})
		equal(t, "By in tx", names(accounts.By(tx, byOwner, "ann")), []string{"a/3"})
		for a := range accounts.All(tx) {
			if err := accounts.Edit(tx, a.Name, func(a *account) error { a.Balance++; return nil }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	after := s.Snapshot()

	if n := accounts.Len(empty); n != 0 {
		t.Errorf("a snapshot taken before the first write has %d records", n)
	}
	equal(t, "All before", names(accounts.All(before)), []string{"a/1", "a/2", "b/1"})
	equal(t, "All after", names(accounts.All(after)), []string{"a/1", "a/2", "a/3"})
	equal(t, "Prefix before", names(accounts.Prefix(before, "a/")), []string{"a/1", "a/2"})
	equal(t, "After", names(accounts.After(after, "a/", "a/1")), []string{"a/2", "a/3"})
	equal(t, "owner before", names(accounts.By(before, byOwner, "ann")), []string{"a/1", "b/1"})
	equal(t, "owner after", names(accounts.By(after, byOwner, "ann")), []string{"a/3"})
	equal(t, "tag before", names(accounts.By(before, byTag, "y")), []string{"a/1", "b/1"})
	equal(t, "tag after", names(accounts.By(after, byTag, "y")), nil)
	if a, ok := accounts.Get(after, "a/2"); !ok || a.Balance != 1 || a.Owner != "bob" {
		t.Errorf("a/2 after: %+v %v", a, ok)
	}
	if accounts.Rev(after, "a/2") != after.Rev() || accounts.Rev(after, "b/1") != 0 || !accounts.Has(before, "b/1") {
		t.Error("wrong revisions")
	}
}

func TestUpdate_ErrorWritesNothing(t *testing.T) {
	s := open(t, memkv.New(0), store.Options{})
	boom := errors.New("boom")
	for name, fn := range map[string]func(*store.Tx) error{
		"callback":       func(*store.Tx) error { return boom },
		"no key":         func(tx *store.Tx) error { accounts.Put(tx, &account{}); return nil },
		"guard no key":   func(tx *store.Tx) error { accounts.Guard(tx, ""); return nil },
		"unguarded":      func(tx *store.Tx) error { accounts.GuardIndex(tx, byTag, "x"); return nil },
		"missing record": func(tx *store.Tx) error { return accounts.Edit(tx, "z", func(*account) error { return nil }) },
		"too many": func(tx *store.Tx) error {
			for i := range kv.MaxOps + 1 {
				accounts.Put(tx, &account{Name: fmt.Sprint(i)})
			}
			return nil
		},
		"too big": func(tx *store.Tx) error {
			accounts.Put(tx, &account{Name: "big", Owner: strings.Repeat("x", kv.MaxBytes)})
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Update(t.Context(), func(tx *store.Tx) error {
				accounts.Put(tx, &account{Name: "kept?"})
				return fn(tx)
			})
			want := map[string]error{
				"callback": boom, "missing record": store.ErrNotFound, "too many": store.ErrTooLarge, "too big": store.ErrTooLarge,
			}[name]
			if err == nil || want != nil && !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
			if accounts.Len(s.Snapshot()) != 0 {
				t.Error("something was written")
			}
		})
	}
}

func TestUpdate_ChangedKeyIsRefused(t *testing.T) {
	s := open(t, memkv.New(0), store.Options{})
	update(t, s, put(&account{Name: "a"}))
	_, err := s.Update(t.Context(), func(tx *store.Tx) error {
		return accounts.Edit(tx, "a", func(a *account) error { a.Name = "b"; return nil })
	})
	if err == nil || accounts.Has(s.Snapshot(), "b") {
		t.Errorf("an edit moved a record to another key: %v", err)
	}
}

func TestTx_NowIsOnePerAttempt(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("x", 3600))
	s := open(t, memkv.New(0), store.Options{Now: func() time.Time { at = at.Add(time.Second); return at }})
	update(t, s, func(tx *store.Tx) {
		if first := tx.Now(); !first.Equal(tx.Now()) || first.Location() != time.UTC || !first.Equal(at) {
			t.Errorf("Now = %v, then %v; clock says %v", first, tx.Now(), at)
		}
	})
}

func TestBatch_SplitsAndKeepsOrder(t *testing.T) {
	s := open(t, memkv.New(0), store.Options{})
	items := make([]string, 500)
	for i := range items {
		items[i] = fmt.Sprintf("n%03d", i)
	}
	// Five records for each item force it to halve its transactions.
	done, err := store.Batch(t.Context(), s, items, func(tx *store.Tx, id string) error {
		for i := range 5 {
			notes.Put(tx, &note{ID: fmt.Sprintf("%s/%d", id, i)})
		}
		return nil
	})
	if err != nil || done != len(items) || notes.Len(s.Snapshot()) != 5*len(items) {
		t.Fatalf("done %d, %d records, %v", done, notes.Len(s.Snapshot()), err)
	}
	boom := errors.New("boom")
	done, err = store.Batch(t.Context(), s, items, func(tx *store.Tx, id string) error {
		if id == "n300" {
			return boom
		}
		notes.Delete(tx, id+"/0")
		return nil
	})
	if !errors.Is(err, boom) || done > 300 || notes.Len(s.Snapshot()) != 5*len(items)-done {
		t.Fatalf("done %d, %d records, %v", done, notes.Len(s.Snapshot()), err)
	}
}

func TestFenced(t *testing.T) {
	db := memkv.New(0)
	s := open(t, db, store.Options{})
	won, err := db.Txn(t.Context(), kv.Txn{Then: []kv.Op{kv.Put("/election/leader", nil)}})
	if err != nil {
		t.Fatal(err)
	}
	leader := store.Fenced(t.Context(), kv.Compare{Key: "/election/leader", Field: kv.CreateRev, Num: won.Rev})
	write := func(tx *store.Tx) error { notes.Put(tx, &note{ID: "n"}); return nil }
	if _, err := s.Update(leader, write); err != nil {
		t.Fatalf("the leader cannot write: %v", err)
	}
	for _, op := range []kv.Op{kv.Delete("/election/leader"), kv.Put("/election/leader", nil)} {
		if _, err := db.Txn(t.Context(), kv.Txn{Then: []kv.Op{op}}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Update(leader, write); !errors.Is(err, store.ErrFenced) {
			t.Errorf("a deposed leader's write: %v", err)
		}
	}
}

func TestUpdate_GivesUpWithItsContext(t *testing.T) {
	db := memkv.New(0)
	s := open(t, db, store.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	attempts := 0
	_, err := s.Update(ctx, func(tx *store.Tx) error {
		notes.Put(tx, &note{ID: "n"})
		// Somebody else is always faster.
		if _, err := db.Txn(t.Context(), kv.Txn{Then: []kv.Op{kv.Put("/t/note/n", []byte(`1:{"id":"n"}`))}}); err != nil {
			return err
		}
		if attempts++; attempts == 5 {
			cancel()
		}
		return nil
	})
	if attempts != 5 || !errors.Is(err, context.Canceled) {
		t.Errorf("after %d attempts: %v", attempts, err)
	}
}

func TestVersions(t *testing.T) {
	type v2 struct {
		ID    string `json:"id"`
		Title string `json:"title"`
	}
	newer := store.NewTable("note", func(n *v2) string { return n.ID }).WithVersion(2, func(version int, data []byte) ([]byte, error) {
		return []byte(strings.Replace(string(data), `"text"`, `"title"`, 1)), nil
	})
	db := memkv.New(0)
	old, err := store.Open(db, "/t/", store.Options{}, notes)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, old)
	update(t, old, func(tx *store.Tx) { notes.Put(tx, &note{ID: "n", Text: "hello"}) })
	stop()

	s, err := store.Open(db, "/t/", store.Options{}, newer)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	if n, ok := newer.Get(s.Snapshot(), "n"); !ok || n.Title != "hello" {
		t.Errorf("upgraded record: %+v", n)
	}
	update(t, s, func(tx *store.Tx) { newer.Put(tx, &v2{ID: "m"}) })

	// A program that knows version 1 only must not start with it.
	downgraded, err := store.Open(db, "/t/", store.Options{}, notes)
	if err != nil {
		t.Fatal(err)
	}
	if err := downgraded.Run(t.Context()); !errors.Is(err, store.ErrBadRecord) {
		t.Errorf("Run with a record from the future: %v", err)
	}
	if _, err := downgraded.Update(t.Context(), func(*store.Tx) error { return nil }); !errors.Is(err, store.ErrStopped) {
		t.Errorf("Update of a store that could not load: %v", err)
	}
}

func TestCheckMutation(t *testing.T) {
	s := open(t, memkv.New(0), store.Options{CheckMutation: true})
	update(t, s, put(&account{Name: "a", Tags: []string{"x"}}))
	a, _ := accounts.Get(s.Snapshot(), "a")
	a.Tags[0] = "changed in place"
	defer func() {
		if recover() == nil {
			t.Error("a record changed in place was not noticed")
		}
		a.Tags[0] = "x"
	}()
	accounts.Get(s.Snapshot(), "a")
}

func TestOpen_RefusesBadTables(t *testing.T) {
	key := func(n *note) string { return n.ID }
	ix := store.NewIndex("i", func(*note) []string { return nil })
	for _, tables := range [][]store.AnyTable{
		{notes, notes},
		{store.NewTable("a/b", key)},
		{store.NewTable("", key)},
		{store.NewTable("a", key, ix, ix)},
	} {
		if _, err := store.Open(memkv.New(0), "/t/", store.Options{}, tables...); err == nil {
			t.Errorf("Open accepted %v", tables)
		}
	}
}
