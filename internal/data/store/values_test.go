package store_test

import (
	"slices"
	"testing"

	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/store"
)

func TestValues(t *testing.T) {
	s := open(t, memkv.New(0), store.Options{})
	update(t, s, put(
		&account{Name: "1", Tags: []string{"x|a", "x|b", "y|a"}},
		&account{Name: "2", Tags: []string{"x|a", "x", "x|a\x00"}},
		&account{Name: "3", Tags: []string{"x|b"}},
		&account{Name: "4"},
	))
	values := func(r store.Reader, prefix string) []string { return slices.Collect(accounts.Values(r, byTag, prefix)) }
	snap := s.Snapshot()
	equal(t, "all", values(snap, ""), []string{"x", "x|a", "x|a\x00", "x|b", "y|a"})
	equal(t, "a prefix", values(snap, "x|"), []string{"x|a", "x|a\x00", "x|b"})
	equal(t, "a prefix after all", values(snap, "z"), nil)
	for v := range accounts.Values(snap, byTag, "x|") {
		equal(t, "the first", []string{v}, []string{"x|a"})
		break
	}
	if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
		accounts.Delete(tx, "3")
		for v := range accounts.Values(tx, byTag, "x|") { // a loop that writes sees what was there
			accounts.Put(tx, &account{Name: v, Tags: []string{v + "+"}})
		}
		equal(t, "in the transaction", values(tx, "x|"), []string{"x|a", "x|a\x00", "x|a\x00+", "x|a+", "x|b", "x|b+"})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
