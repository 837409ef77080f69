package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"berth.dev/berth/internal/data/kv"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/store"
)

// mirrors opens two stores on one kv: writers on different servers are the general case, and each sees the other late.
func mirrors(t *testing.T, db kv.KV) [2]*store.Store {
	return [2]*store.Store{open(t, db, store.Options{}), open(t, db, store.Options{})}
}

func TestIsolation_NoLostUpdate(t *testing.T) {
	const writers, rounds = 8, 25
	s := mirrors(t, memkv.New(0))
	update(t, s[0], put(&account{Name: "a"}))
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			mine := s[w%2]
			for range rounds {
				rev, err := mine.Update(t.Context(), func(tx *store.Tx) error {
					// The other mirror may not have seen the record yet; then it has to be waited for.
					if !accounts.Has(tx, "a") {
						accounts.Put(tx, &account{Name: "a"})
						return nil
					}
					return accounts.Edit(tx, "a", func(a *account) error { a.Balance++; return nil })
				})
				if err != nil {
					t.Error(err)
					return
				}
				// Read your own write.
				if snap := mine.Snapshot(); snap.Rev() < rev || accounts.Rev(snap, "a") < rev {
					t.Errorf("committed revision %d, but the snapshot is of %d", rev, snap.Rev())
				}
			}
		})
	}
	wg.Wait()
	a, _ := accounts.Get(s[0].Snapshot(), "a")
	// s[1] may have been empty when it began; the put then conflicted and ran again as an edit.
	if s[0].Snapshot().Rev() < s[1].Snapshot().Rev() {
		if err := s[0].WaitRev(t.Context(), s[1].Snapshot().Rev()); err != nil {
			t.Fatal(err)
		}
		a, _ = accounts.Get(s[0].Snapshot(), "a")
	}
	if a.Balance != writers*rounds {
		t.Errorf("%d increments were acknowledged, %d are there", writers*rounds, a.Balance)
	}
}

// Two doctors are on call and each may leave if the other stays. Each writes his own record only, so comparing what is
// written does not help: what was read must be guarded.
func TestIsolation_NoWriteSkew(t *testing.T) {
	for name, guard := range map[string]func(tx *store.Tx, other string){
		"Guard":       func(tx *store.Tx, other string) { accounts.Guard(tx, other) },
		"GuardPrefix": func(tx *store.Tx, _ string) { accounts.GuardPrefix(tx, "doctor/") },
		"GuardIndex":  func(tx *store.Tx, _ string) { accounts.GuardIndex(tx, byOwner, "on call") },
	} {
		t.Run(name, func(t *testing.T) {
			s := mirrors(t, memkv.New(0))
			left := 0
			for range 100 {
				rev := update(t, s[0], put(&account{Name: "doctor/1", Owner: "on call"}, &account{Name: "doctor/2", Owner: "on call"}))
				if err := s[1].WaitRev(t.Context(), rev); err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				for i := range 2 {
					me, other := fmt.Sprintf("doctor/%d", 1+i), fmt.Sprintf("doctor/%d", 2-i)
					wg.Go(func() {
						if _, err := s[i].Update(t.Context(), leave(me, other, guard)); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				for _, s := range s {
					update(t, s, func(tx *store.Tx) { notes.Put(tx, &note{ID: "settle"}) })
					n := len(names(accounts.By(s.Snapshot(), byOwner, "on call")))
					if n == 0 {
						t.Fatal("nobody is on call")
					}
					left += 2 - n
				}
			}
			if left == 0 {
				t.Error("nobody ever left: the test shows nothing")
			}
		})
	}
}

func leave(me, other string, guard func(*store.Tx, string)) func(*store.Tx) error {
	return func(tx *store.Tx) error {
		if o, ok := accounts.Get(tx, other); !ok || o.Owner == "" {
			return nil
		}
		guard(tx, other)
		return accounts.Edit(tx, me, func(a *account) error { a.Owner = ""; return nil })
	}
}

// Without a guard the doctors do both leave. This is what the guards are for, and it shows that the test above can fail.
func TestIsolation_WithoutGuardThereIsWriteSkew(t *testing.T) {
	s := mirrors(t, memkv.New(0))
	rev := update(t, s[0], put(&account{Name: "doctor/1", Owner: "on call"}, &account{Name: "doctor/2", Owner: "on call"}))
	if err := s[1].WaitRev(t.Context(), rev); err != nil {
		t.Fatal(err)
	}
	_, err := s[0].Update(t.Context(), func(tx *store.Tx) error {
		// The second leaves while the first is deciding.
		if _, err := s[1].Update(t.Context(), leave("doctor/2", "doctor/1", func(*store.Tx, string) {})); err != nil {
			return err
		}
		return leave("doctor/1", "doctor/2", func(*store.Tx, string) {})(tx)
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(names(accounts.By(s[0].Snapshot(), byOwner, "on call"))); n != 0 {
		t.Errorf("%d on call", n)
	}
}

// A phantom is a record that did not exist when it was looked for. Every guard is tried against every way to make, move or
// remove one, committed between the look and the commit: the callback must run again if the guard covers it, and not
// if it does not.
func TestGuards(t *testing.T) {
	guards := map[string]func(*store.Tx){
		"key":    func(tx *store.Tx) { accounts.Guard(tx, "x/1") },
		"absent": func(tx *store.Tx) { accounts.Guard(tx, "x/3") },
		"prefix": func(tx *store.Tx) { accounts.GuardPrefix(tx, "x/") },
		"table":  func(tx *store.Tx) { accounts.GuardPrefix(tx, "") },
		"index":  func(tx *store.Tx) { accounts.GuardIndex(tx, byOwner, "ann") },
	}
	edit := func(key string, fn func(*account)) func(*store.Tx) {
		return func(tx *store.Tx) {
			if err := accounts.Edit(tx, key, func(a *account) error { fn(a); return nil }); err != nil {
				panic(err)
			}
		}
	}
	for _, c := range []struct {
		what    string
		other   func(*store.Tx)
		noticed string // by which guards
	}{
		{"insert below the prefix", put(&account{Name: "x/3"}), "absent prefix table"},
		{"insert elsewhere", put(&account{Name: "y/3"}), "table"},
		{"insert into the index", put(&account{Name: "y/3", Owner: "ann"}), "table index"},
		{"change a record", edit("x/1", func(a *account) { a.Balance++ }), "key prefix table"},
		{"move into the index", edit("x/2", func(a *account) { a.Owner = "ann" }), "prefix table index"},
		{"move out of the index", edit("x/1", func(a *account) { a.Owner = "bob" }), "key prefix table index"},
		{"delete", func(tx *store.Tx) { accounts.Delete(tx, "x/1") }, "key prefix table index"},
		{"delete and insert again", func(tx *store.Tx) {
			accounts.Delete(tx, "x/1")
			accounts.Put(tx, &account{Name: "x/1", Owner: "ann"})
		}, "key prefix table index"}, // the index need not notice, but the delete has marked it
		{"write to another table", func(tx *store.Tx) { notes.Put(tx, &note{ID: "x/3"}); notes.Delete(tx, "x/9") }, ""},
	} {
		for name, guard := range guards {
			t.Run(c.what+"/"+name, func(t *testing.T) {
				s := open(t, memkv.New(0), store.Options{})
				update(t, s, put(&account{Name: "x/1", Owner: "ann"}, &account{Name: "x/2", Owner: "bob"}))
				update(t, s, func(tx *store.Tx) { notes.Put(tx, &note{ID: "x/9"}) })
				attempts := 0
				update(t, s, func(tx *store.Tx) {
					if attempts++; attempts == 1 {
						update(t, s, c.other)
					}
					guard(tx)
					notes.Put(tx, &note{ID: "done"})
				})
				covered := slices.Contains(strings.Fields(c.noticed), name)
				if covered != (attempts == 2) || attempts > 2 {
					t.Errorf("%d attempts; covered: %v", attempts, covered)
				}
			})
		}
	}
}

// Money moves between accounts at random; its sum is the same in every snapshot of every mirror, at every moment.
func TestIsolation_TransactionsAreSeenWhole(t *testing.T) {
	const accountsN, transfers = 6, 200
	s := mirrors(t, memkv.New(0))
	rev := update(t, s[0], func(tx *store.Tx) {
		for i := range accountsN {
			accounts.Put(tx, &account{Name: fmt.Sprint(i), Balance: 100})
		}
	})
	for _, s := range s {
		if err := s.WaitRev(t.Context(), rev); err != nil {
			t.Fatal(err)
		}
	}
	var writers, readers sync.WaitGroup
	var done atomic.Bool
	for _, s := range s {
		readers.Go(func() {
			watch := s.Watch(t.Context(), accounts)
			for !done.Load() {
				snap, _, err := watch.Next(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				sum := 0
				for a := range accounts.All(snap) {
					sum += a.Balance
				}
				if sum != 100*accountsN {
					t.Errorf("revision %d: %d in all accounts", snap.Rev(), sum)
				}
			}
		})
		for range 3 {
			writers.Go(func() {
				for range transfers {
					from, to := rand.IntN(accountsN), rand.IntN(accountsN)
					if from == to {
						continue
					}
					_, err := s.Update(t.Context(), func(tx *store.Tx) error {
						if err := accounts.Edit(tx, fmt.Sprint(from), func(a *account) error { a.Balance--; return nil }); err != nil {
							return err
						}
						return accounts.Edit(tx, fmt.Sprint(to), func(a *account) error { a.Balance++; return nil })
					})
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	writers.Wait()
	done.Store(true)
	update(t, s[0], func(tx *store.Tx) { accounts.Put(tx, &account{Name: "z"}) }) // wakes the readers
	readers.Wait()
}

// Writers that all want one record must not need a multiple of their number in commits.
func TestUpdate_ConflictingWritersTakeTurns(t *testing.T) {
	const writers = 32
	db := &counting{KV: memkv.New(0)}
	s := open(t, db, store.Options{})
	update(t, s, put(&account{Name: "a"}))
	db.txns.Store(0)
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			_, err := s.Update(t.Context(), func(tx *store.Tx) error {
				return accounts.Edit(tx, "a", func(a *account) error { a.Balance++; return nil })
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	// Each loses at most once before it queues, and wins in its turn; a few more may lose to newcomers.
	if n := db.txns.Load(); n > 3*writers {
		t.Errorf("%d transactions for %d writers", n, writers)
	}
}

type counting struct {
	kv.KV
	txns atomic.Int64
}

func (c *counting) Txn(ctx context.Context, t kv.Txn) (kv.TxnResult, error) {
	c.txns.Add(1)
	return c.KV.Txn(ctx, t)
}

func TestUpdate_ErrorsOfTheKVAreKept(t *testing.T) {
	boom := errors.New("no disk")
	db := &failing{KV: memkv.New(0), err: boom}
	s := open(t, db, store.Options{})
	_, err := s.Update(t.Context(), func(tx *store.Tx) error { notes.Put(tx, &note{ID: "n"}); return nil })
	if !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
}

type failing struct {
	kv.KV
	err error
}

func (f *failing) Txn(context.Context, kv.Txn) (kv.TxnResult, error) { return kv.TxnResult{}, f.err }
