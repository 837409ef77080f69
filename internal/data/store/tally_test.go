package store_test

import (
	"errors"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/store"
)

// A tally is what a count of the records gives: in the middle of a transaction, after it, and after one that failed.
func TestTally(t *testing.T) {
	s := open(t, memkv.New(0), store.Options{CheckMutation: true})
	rapid.Check(t, func(t *rapid.T) {
		failed := errors.New("failed")
		fails := rapid.IntRange(0, 3).Draw(t, "fails") == 0
		_, err := s.Update(t.Context(), func(tx *store.Tx) error {
			for range rapid.IntRange(1, 5).Draw(t, "writes") {
				name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "name")
				if rapid.Bool().Draw(t, "delete") {
					accounts.Delete(tx, name)
				} else {
					owner := rapid.SampledFrom([]string{"", "x", "xy", "z"}).Draw(t, "owner")
					accounts.Put(tx, &account{Name: name, Owner: owner, Balance: rapid.IntRange(-2, 2).Draw(t, "balance")})
				}
				checkTally(t, tx)
			}
			if fails {
				return failed
			}
			return nil
		})
		if err != nil && !errors.Is(err, failed) {
			t.Fatal(err)
		}
		checkTally(t, s.Snapshot())
	})
}

func checkTally(t *rapid.T, r store.Reader) {
	want := map[string]store.Amounts{}
	for a := range accounts.All(r) {
		if a.Owner != "" {
			sum := want[a.Owner]
			sum[0] += int64(a.Balance)
			sum[1]++
			want[a.Owner] = sum
		}
	}
	if got := maps.Collect(accounts.Sums(r, wealth, "")); !maps.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for _, owner := range []string{"x", "xy", "z"} {
		if got := accounts.Sum(r, wealth, owner); got != want[owner] {
			t.Fatalf("%s: got %v, want %v", owner, got, want[owner])
		}
		if got := accounts.HasBy(r, byOwner, owner); got != (want[owner] != store.Amounts{}) {
			t.Fatalf("%s: has %v", owner, got)
		}
	}
	for value := range accounts.Sums(r, wealth, "x") {
		if value != "x" && value != "xy" {
			t.Fatalf("%q does not begin with x", value)
		}
	}
}
