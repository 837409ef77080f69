package store

import (
	"encoding/json"
	"fmt"
	"iter"
	"strings"

	"berth.dev/berth/internal/data/kv"
)

// A Table is the declaration of one kind of record: its name, its key, its indexes and how it is encoded. It holds no data
// and does not change, so it is declared once, at package level, by the code that owns the record, and works with every
// store that was opened with it.
//
// Keys are any non-empty strings; AWS names, ids and ARNs are taken as they are. Iteration is in byte order of the keys.
type Table[T any] struct {
	name    string
	key     func(*T) string
	indexes []*Index[T]
	tallies []*Tally[T]
	version int
	upgrade func(version int, data []byte) ([]byte, error)
}

// Index is a second way to find the records of a table. A record may have any number of values in it, also none.
type Index[T any] struct {
	name    string
	values  func(*T) []string
	guarded bool
}

// AnyTable is a *Table[T] of some T.
type AnyTable interface {
	// Name is the table's name, the first element of its keys.
	Name() string

	newView(check bool) tableView
	valid() error
}

// NewTable declares a table. The name is part of every stored key, so it never changes; it must be a plain word.
// key derives a record's key from the record, and must not depend on anything that an edit changes.
func NewTable[T any](name string, key func(*T) string, indexes ...*Index[T]) *Table[T] {
	return &Table[T]{name: name, key: key, indexes: indexes, version: 1}
}

// NewIndex declares an index for one table. values returns what the record is found under and must be a pure function of it.
func NewIndex[T any](name string, values func(*T) []string) *Index[T] {
	return &Index[T]{name: name, values: values}
}

// NewGuardedIndex declares an index that [Table.GuardIndex] works with. That costs one more operation of the transaction
// for each value of the index that a write adds to a record or takes from it.
func NewGuardedIndex[T any](name string, values func(*T) []string) *Index[T] {
	return &Index[T]{name: name, values: values, guarded: true}
}

// WithVersion returns the table with a newer encoding. Records written by older versions go through upgrade, which gets the
// JSON and the version it was written with and returns the JSON of the current one. Records of newer versions are
// refused: a store that holds them does not start, rather than drop what it does not understand.
func (t *Table[T]) WithVersion(version int, upgrade func(version int, data []byte) ([]byte, error)) *Table[T] {
	next := *t
	next.version, next.upgrade = version, upgrade
	return &next
}

// Name implements [AnyTable].
func (t *Table[T]) Name() string { return t.name }

func (t *Table[T]) valid() error {
	if t.name == "" || strings.ContainsAny(t.name, "/!") {
		return fmt.Errorf("store: bad table name %q", t.name)
	}
	seen := make(map[string]bool)
	for _, ix := range t.indexes {
		if ix.name == "" || strings.ContainsAny(ix.name, "/!") || seen[ix.name] {
			return fmt.Errorf("store: table %s: bad or repeated index name %q", t.name, ix.name)
		}
		seen[ix.name] = true
	}
	for _, tally := range t.tallies {
		if tally.name == "" || seen[tally.name] {
			return fmt.Errorf("store: table %s: bad or repeated tally name %q", t.name, tally.name)
		}
		seen[tally.name] = true
	}
	return nil
}

// Get returns the record with the key. The record must not be changed: it is shared by all readers.
func (t *Table[T]) Get(r Reader, key string) (*T, bool) {
	if row, ok := t.in(r).get(key); ok {
		return row.read(), true
	}
	return nil, false
}

// Has tells whether there is a record with the key.
func (t *Table[T]) Has(r Reader, key string) bool {
	_, ok := t.in(r).get(key)
	return ok
}

// Rev returns the revision that last wrote the record, 0 if there is none. Within a transaction, a record it wrote itself
// still has the revision it had before.
func (t *Table[T]) Rev(r Reader, key string) int64 {
	if row, ok := t.in(r).get(key); ok {
		return row.mod
	}
	return 0
}

// Len is the number of records.
func (t *Table[T]) Len(r Reader) int { return t.in(r).rows.Len() }

// All yields every record in key order.
func (t *Table[T]) All(r Reader) iter.Seq[*T] { return t.iterate(r, "", "") }

// Prefix yields the records whose keys begin with prefix, in key order.
func (t *Table[T]) Prefix(r Reader, prefix string) iter.Seq[*T] { return t.iterate(r, prefix, "") }

// After yields the records whose keys begin with prefix and are greater than key: the next page of a list whose last
// record had that key.
func (t *Table[T]) After(r Reader, prefix, key string) iter.Seq[*T] {
	return t.iterate(r, prefix, key)
}

func (t *Table[T]) iterate(r Reader, prefix, after string) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		v := t.stable(r)
		v.rows.Ascend(&row[T]{key: max(prefix, after)}, func(row *row[T]) bool {
			if !strings.HasPrefix(row.key, prefix) {
				return false
			}
			if after != "" && row.key <= after {
				return true
			}
			return yield(row.val)
		})
	}
}

// By yields the records that have the value in the index, in key order.
func (t *Table[T]) By(r Reader, ix *Index[T], value string) iter.Seq[*T] {
	slot := t.slot(ix)
	return func(yield func(*T) bool) {
		v := t.stable(r)
		v.index[slot].Ascend(entry{value: value}, func(e entry) bool {
			if e.value != value {
				return false
			}
			row, _ := v.get(e.key)
			return yield(row.val)
		})
	}
}

// HasBy tells whether any record has the value in the index.
func (t *Table[T]) HasBy(r Reader, ix *Index[T], value string) bool {
	found := false
	t.in(r).index[t.slot(ix)].Ascend(entry{value: value}, func(e entry) bool {
		found = e.value == value
		return false
	})
	return found
}

// slot is the position of the index in its table; an index of another table is a mistake in the program.
func (t *Table[T]) slot(ix *Index[T]) int {
	for i := range t.indexes {
		if t.indexes[i] == ix {
			return i
		}
	}
	panic(fmt.Sprintf("store: table %s has no index %s", t.name, ix.name))
}

// stable is the table as r sees it, in a view that does not change while it is iterated: the callback of a transaction may
// write to the table from within the loop.
func (t *Table[T]) stable(r Reader) *view[T] {
	v := t.in(r)
	if r.owns(t) {
		v = v.forkView()
	}
	return v
}

func (t *Table[T]) in(r Reader) *view[T] { return r.tableView(t).(*view[T]) }

func (t *Table[T]) newView(check bool) tableView { return newView(t, check) }

// encode renders a record: the version of the encoding in decimal, a colon, compact JSON.
func (t *Table[T]) encode(rec *T) ([]byte, error) {
	data, err := json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("store: encode record of table %s: %w", t.name, err)
	}
	return append(fmt.Appendf(make([]byte, 0, len(data)+4), "%d:", t.version), data...), nil
}

func (t *Table[T]) decode(p kv.Pair) (*T, error) {
	rec, err := t.parse(p.Value)
	if err != nil {
		return nil, fmt.Errorf("store: record %q of table %s: %w", p.Key, t.name, err)
	}
	return rec, nil
}

func (t *Table[T]) parse(value []byte) (*T, error) {
	version, i := 0, 0
	for ; i < len(value) && value[i] >= '0' && value[i] <= '9' && i < 9; i++ {
		version = version*10 + int(value[i]-'0')
	}
	if i == 0 || i == len(value) || value[i] != ':' {
		return nil, fmt.Errorf("%w: no version", ErrBadRecord)
	}
	data := value[i+1:]
	if version > t.version {
		return nil, fmt.Errorf("%w: version %d is newer than %d, the newest this program knows", ErrBadRecord, version, t.version)
	}
	if version < t.version {
		if t.upgrade == nil {
			return nil, fmt.Errorf("%w: version %d cannot be upgraded", ErrBadRecord, version)
		}
		var err error
		if data, err = t.upgrade(version, data); err != nil {
			return nil, fmt.Errorf("%w: upgrade from version %d: %w", ErrBadRecord, version, err)
		}
	}
	rec := new(T)
	if err := json.Unmarshal(data, rec); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRecord, err)
	}
	return rec, nil
}

// clone copies a record: by its own Clone method if it has one, else through its encoding.
func (t *Table[T]) clone(rec *T) (*T, error) {
	if c, ok := any(rec).(interface{ Clone() *T }); ok {
		return c.Clone(), nil
	}
	data, err := t.encode(rec)
	if err != nil {
		return nil, err
	}
	return t.parse(data)
}
