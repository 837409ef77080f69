package store

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"berth.dev/berth/internal/data/kv"
)

// guardBuckets bounds the markers of a guarded index: values share one by hash, so that values which are long gone leave no
// keys behind. Two values in one bucket cost a needless retry now and then, never a missed conflict.
const guardBuckets = 256

// Tx is one attempt of an Update: a snapshot with the attempt's own writes on top. It belongs to the callback and must not
// leave it.
type Tx struct {
	store *Store
	snap  *Snapshot
	now   time.Time
	views []tableView // forks of the tables written to, nil for the others

	compares map[string]int64 // kv key of a record written or guarded → revision it must still have
	ranges   map[string]struct{}
	puts     map[string][]byte
	deletes  map[string]struct{}
	err      error
}

func newTx(s *Store, snap *Snapshot) *Tx {
	return &Tx{
		store:    s,
		snap:     snap,
		now:      s.now().Round(0).UTC(),
		views:    make([]tableView, len(s.tables)),
		compares: make(map[string]int64),
		ranges:   make(map[string]struct{}),
		puts:     make(map[string][]byte),
		deletes:  make(map[string]struct{}),
	}
}

// Now is the time of the transaction: one for all it writes, without a monotonic reading, in UTC. An attempt that is
// repeated after a conflict has a later one, so times of records follow the order of commits.
func (tx *Tx) Now() time.Time { return tx.now }

// Rev is the revision of the state that the transaction sees below its own writes.
func (tx *Tx) Rev() int64 { return tx.snap.rev }

func (tx *Tx) owns(t AnyTable) bool { return tx.views[tx.store.slot(t)] != nil }

func (tx *Tx) tableView(t AnyTable) tableView {
	slot := tx.store.slot(t)
	if v := tx.views[slot]; v != nil {
		return v
	}
	return tx.snap.views[slot]
}

// own returns the transaction's own view of a table, to be written to.
func (t *Table[T]) own(tx *Tx) *view[T] {
	slot := tx.store.slot(t)
	if tx.views[slot] == nil {
		tx.views[slot] = tx.snap.views[slot].fork()
	}
	return tx.views[slot].(*view[T])
}

// Put stores a record under its key, whether there was one or not. It stores a copy: rec stays the caller's. A record that
// cannot be stored fails the transaction. To create and never replace, look with Has first: the commit depends on what the
// transaction saw under the key.
func (t *Table[T]) Put(tx *Tx, rec *T) {
	key := t.key(rec)
	if key == "" {
		tx.fail(fmt.Errorf("store: put into table %s: record has no key", t.name))
		return
	}
	data, err := t.encode(rec)
	if err != nil {
		tx.fail(err)
		return
	}
	stored, err := t.parse(data)
	if err != nil {
		tx.fail(fmt.Errorf("store: put %q into table %s: %w", key, t.name, err))
		return
	}
	if k := t.key(stored); k != key {
		tx.fail(fmt.Errorf("store: put %q into table %s: key becomes %q when stored", key, t.name, k))
		return
	}
	v := t.own(tx)
	t.touch(tx, v, key, stored)
	// Within the transaction a written record keeps the revision it had, which is what the commit compares.
	v.set(key, v.rev(key), stored)
	full := tx.store.key(t.name, key)
	delete(tx.deletes, full)
	tx.puts[full] = data
}

// Edit changes the record with the key: fn gets a clone to change, which is then put. It returns ErrNotFound if there is no
// such record, and what fn returns. fn must not change the key.
func (t *Table[T]) Edit(tx *Tx, key string, fn func(*T) error) error {
	row, ok := t.in(tx).get(key)
	if !ok {
		t.Guard(tx, key) // that it is absent was seen, and decides what the caller does
		return fmt.Errorf("store: edit %q in table %s: %w", key, t.name, ErrNotFound)
	}
	rec, err := t.clone(row.read())
	if err != nil {
		return err
	}
	if err := fn(rec); err != nil {
		return err
	}
	if k := t.key(rec); k != key {
		return fmt.Errorf("store: edit %q in table %s: key changed to %q", key, t.name, k)
	}
	t.Put(tx, rec)
	return nil
}

// Delete removes the record with the key. If there is none, the transaction depends on that staying so.
func (t *Table[T]) Delete(tx *Tx, key string) {
	if _, ok := t.in(tx).get(key); !ok {
		t.Guard(tx, key)
		return
	}
	v := t.own(tx)
	t.touch(tx, v, key, nil)
	v.drop(key)
	full := tx.store.key(t.name, key)
	delete(tx.puts, full)
	if tx.compares[full] != 0 { // else it was made by this very transaction
		tx.deletes[full] = struct{}{}
		tx.puts[tx.store.deletesMarker(t.name)] = nil
	}
}

// Guard makes the commit depend on the record with the key being what the transaction sees, or absent if it sees none. What
// is written need not be guarded; guard what was read to decide what to write.
func (t *Table[T]) Guard(tx *Tx, key string) {
	if key == "" {
		tx.fail(fmt.Errorf("store: guard in table %s: no key", t.name))
		return
	}
	tx.compare(t, key)
}

// GuardPrefix makes the commit depend on no record whose key begins with prefix having been put, and on no record of the
// table having been deleted, since the transaction's snapshot: it guards an iteration, also against what it did not find.
// "" guards the whole table.
func (t *Table[T]) GuardPrefix(tx *Tx, prefix string) {
	tx.ranges[tx.store.key(t.name, prefix)] = struct{}{}
	tx.ranges[tx.store.deletesMarker(t.name)] = struct{}{}
}

// GuardIndex makes the commit depend on the set of records under the value of the index being the one that the transaction
// sees: none has joined and none has left. What the records hold otherwise is not guarded; that is what Guard is for.
// The index must have been declared with NewGuardedIndex.
func (t *Table[T]) GuardIndex(tx *Tx, ix *Index[T], value string) {
	t.slot(ix)
	if !ix.guarded {
		tx.fail(fmt.Errorf("store: index %s of table %s is not declared as guarded", ix.name, t.name))
		return
	}
	tx.ranges[tx.store.indexMarker(t.name, ix.name, value)] = struct{}{}
}

// touch notes what a write of the key depends on and which guards it must disturb. It is called before the view changes.
func (t *Table[T]) touch(tx *Tx, v *view[T], key string, next *T) {
	tx.compare(t, key)
	old, existed := v.get(key)
	for _, ix := range t.indexes {
		if !ix.guarded {
			continue
		}
		var was, is []string
		if existed {
			was = ix.values(old.val)
		}
		if next != nil {
			is = ix.values(next)
		}
		for _, value := range slices.Concat(was, is) {
			if slices.Contains(was, value) != slices.Contains(is, value) {
				tx.puts[tx.store.indexMarker(t.name, ix.name, value)] = nil
			}
		}
	}
}

// compare notes the revision that a record has in the snapshot.
func (tx *Tx) compare(t AnyTable, key string) {
	tx.compares[tx.store.key(t.Name(), key)] = tx.snap.tableView(t).rev(key)
}

func (tx *Tx) fail(err error) {
	if tx.err == nil {
		tx.err = err
	}
}

// deletesMarker is a key that is put whenever records of the table are deleted, because a deleted key leaves nothing
// behind that a comparison could notice.
func (s *Store) deletesMarker(table string) string { return s.prefix + "!deletes/" + table + "/" }

// indexMarker is a key that is put whenever a record joins or leaves a value of a guarded index.
func (s *Store) indexMarker(table, index, value string) string {
	h := fnv.New32a()
	h.Write([]byte(value))
	return fmt.Sprintf("%s!index/%s/%s/%02x/", s.prefix, table, index, h.Sum32()%guardBuckets)
}

// request renders the attempt. Order does not matter to the outcome; it is fixed so that equal attempts are equal.
func (tx *Tx) request(fence *kv.Compare) kv.Txn {
	var t kv.Txn
	for key, rev := range tx.compares {
		t.If = append(t.If, kv.Unchanged(key, rev))
	}
	slices.SortFunc(t.If, func(a, b kv.Compare) int { return strings.Compare(a.Key, b.Key) })
	// Read back what the compared records are, so that a lost attempt knows which revision to wait for.
	for _, c := range t.If {
		t.Else = append(t.Else, kv.Get(c.Key))
	}
	if fence != nil {
		t.If = append(t.If, *fence)
		t.Else = append(t.Else, kv.Get(fence.Key))
	}
	for prefix := range tx.ranges {
		t.If = append(t.If, kv.Compare{Key: prefix, Prefix: true, Field: kv.ModRev, Is: kv.Less, Num: tx.snap.rev + 1})
	}
	for key, value := range tx.puts {
		t.Then = append(t.Then, kv.Put(key, value))
	}
	for key := range tx.deletes {
		t.Then = append(t.Then, kv.Delete(key))
	}
	slices.SortFunc(t.Then, func(a, b kv.Op) int { return strings.Compare(a.Key, b.Key) })
	return t
}
