package store

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"

	"github.com/tidwall/btree"

	"berth.dev/berth/internal/data/kv"
)

// tableView is a *view[T] of some T, for the code that does not know T.
type tableView interface {
	// fork returns an independent copy in constant time; the nodes of the trees are copied when either side changes them.
	fork() tableView
	// load makes a row of a stored pair, keyed without the store's prefix, and puts it in place.
	load(key string, p kv.Pair) error
	drop(key string) bool
	// rev is the revision that last wrote the key, 0 if it is absent.
	rev(key string) int64
	keys() []string
}

// view is the content of one table at one time. The mirror owns one and changes it; what it publishes, and what a
// transaction works on, are forks.
type view[T any] struct {
	table *Table[T]
	check bool // keep and verify checksums

	// mu is for fork alone, which marks the forked trees as shared: several transactions may fork one published view.
	// Everything else is either read-only (published) or has one owner.
	mu    sync.Mutex
	rows  *btree.BTreeG[*row[T]]
	index []*btree.BTreeG[entry]
	sums  []*btree.BTreeG[sum]
}

// row is a record as stored. Rows never change; a new version of the record is a new row.
type row[T any] struct {
	key string
	mod int64
	val *T
	sum uint64 // checksum, 0 if not kept
}

// entry is the key of one row under one value of one index. It does not hold the row: most changes of a record leave its
// values as they are, and then leave the index as it is, which for a table with many indexes is most of the work.
type entry struct {
	value string
	key   string
}

func newView[T any](t *Table[T], check bool) *view[T] {
	none := btree.Options{NoLocks: true}
	v := &view[T]{
		table: t,
		check: check,
		rows:  btree.NewBTreeGOptions(func(a, b *row[T]) bool { return a.key < b.key }, none),
	}
	for range t.indexes {
		v.index = append(v.index, btree.NewBTreeGOptions(func(a, b entry) bool {
			if a.value != b.value {
				return a.value < b.value
			}
			return a.key < b.key
		}, none))
	}
	for range t.tallies {
		v.sums = append(v.sums, newSums())
	}
	return v
}

func (v *view[T]) fork() tableView { return v.forkView() }

func (v *view[T]) forkView() *view[T] {
	v.mu.Lock()
	defer v.mu.Unlock()
	f := &view[T]{
		table: v.table, check: v.check, rows: v.rows.Copy(),
		index: make([]*btree.BTreeG[entry], len(v.index)), sums: make([]*btree.BTreeG[sum], len(v.sums)),
	}
	for i := range v.index {
		f.index[i] = v.index[i].Copy()
	}
	for i := range v.sums {
		f.sums[i] = v.sums[i].Copy()
	}
	return f
}

func (v *view[T]) get(key string) (*row[T], bool) { return v.rows.Get(&row[T]{key: key}) }

func (v *view[T]) rev(key string) int64 {
	if row, ok := v.get(key); ok {
		return row.mod
	}
	return 0
}

func (v *view[T]) keys() []string {
	keys := make([]string, 0, v.rows.Len())
	v.rows.Scan(func(r *row[T]) bool {
		keys = append(keys, r.key)
		return true
	})
	return keys
}

func (v *view[T]) load(key string, p kv.Pair) error {
	rec, err := v.table.decode(p)
	if err != nil {
		return err
	}
	v.set(key, p.ModRev, rec)
	return nil
}

// set puts a record in place of the one with its key, if any, and moves its index entries.
func (v *view[T]) set(key string, mod int64, rec *T) {
	next := &row[T]{key: key, mod: mod, val: rec}
	if v.check {
		next.sum = checksum(rec)
	}
	old, existed := v.rows.Set(next)
	if existed {
		v.retally(old.read(), rec)
	} else {
		v.retally(nil, rec)
	}
	for i, ix := range v.table.indexes {
		values := ix.values(rec)
		var before []string
		if existed {
			before = ix.values(old.val)
		}
		for _, value := range before {
			if !slices.Contains(values, value) {
				v.index[i].Delete(entry{value: value, key: key})
			}
		}
		for _, value := range values {
			if !slices.Contains(before, value) {
				v.index[i].Set(entry{value: value, key: key})
			}
		}
	}
}

func (v *view[T]) drop(key string) bool {
	old, existed := v.rows.Delete(&row[T]{key: key})
	if !existed {
		return false
	}
	v.retally(old.read(), nil)
	for i, ix := range v.table.indexes {
		for _, value := range ix.values(old.val) {
			v.index[i].Delete(entry{value: value, key: key})
		}
	}
	return true
}

// read returns the record after verifying, where checksums are kept, that nobody has changed it in place.
func (r *row[T]) read() *T {
	if r.sum != 0 && checksum(r.val) != r.sum {
		panic(fmt.Sprintf("store: record %q was changed in place; edit a clone with Table.Edit", r.key))
	}
	return r.val
}

var seed = maphash.MakeSeed()

// checksum is never 0, so that 0 can mean that there is none.
func checksum(rec any) uint64 {
	data, err := json.Marshal(rec)
	if err != nil {
		panic(fmt.Sprintf("store: checksum: %v", err)) // it was marshalled before, so this is memory gone wrong
	}
	return maphash.Bytes(seed, data) | 1
}
