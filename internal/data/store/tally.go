package store

import (
	"fmt"
	"iter"
	"strings"

	"github.com/tidwall/btree"
)

// Amounts are what a [Tally] sums; what each of them means is the tally's declaration to say.
type Amounts [4]int64

// Tally sums amounts over the records that have a value, such as what the tasks of an instance hold of it. The sums are
// part of every snapshot and transaction like an index, and are changed with each record, so that reading one costs the
// same with a hundred thousand records as with ten.
type Tally[T any] struct {
	name string
	of   func(*T) (value string, amounts Amounts, counts bool)
}

// NewTally declares a tally for one table. of returns the value under which the record counts and what it adds, and must be
// a pure function of it; a record that counts nowhere returns false.
func NewTally[T any](name string, of func(*T) (value string, amounts Amounts, counts bool)) *Tally[T] {
	return &Tally[T]{name: name, of: of}
}

// WithTallies returns the table with tallies.
func (t *Table[T]) WithTallies(tallies ...*Tally[T]) *Table[T] {
	next := *t
	next.tallies = tallies
	return &next
}

// Sum returns the amounts under a value; all zero when no record has it.
func (t *Table[T]) Sum(r Reader, tally *Tally[T], value string) Amounts {
	s, _ := t.in(r).sums[t.tallySlot(tally)].Get(sum{value: value})
	return s.amounts
}

// Sums yields the values that begin with prefix, in order, with their amounts.
func (t *Table[T]) Sums(r Reader, tally *Tally[T], prefix string) iter.Seq2[string, Amounts] {
	slot := t.tallySlot(tally)
	return func(yield func(string, Amounts) bool) {
		t.stable(r).sums[slot].Ascend(sum{value: prefix}, func(s sum) bool {
			return strings.HasPrefix(s.value, prefix) && yield(s.value, s.amounts)
		})
	}
}

func (t *Table[T]) tallySlot(tally *Tally[T]) int {
	for i := range t.tallies {
		if t.tallies[i] == tally {
			return i
		}
	}
	panic(fmt.Sprintf("store: table %s has no tally %s", t.name, tally.name))
}

// sum is what the records under one value of a tally add up to.
type sum struct {
	value   string
	records int // an entry without records goes
	amounts Amounts
}

func newSums() *btree.BTreeG[sum] {
	return btree.NewBTreeGOptions(func(a, b sum) bool { return a.value < b.value }, btree.Options{NoLocks: true})
}

// retally moves what a record adds from what it was to what it is; either may be nil.
func (v *view[T]) retally(was, is *T) {
	for i, tally := range v.table.tallies {
		var from, to string
		var less, more Amounts
		var leaves, joins bool
		if was != nil {
			from, less, leaves = tally.of(was)
		}
		if is != nil {
			to, more, joins = tally.of(is)
		}
		if leaves == joins && from == to && less == more {
			continue
		}
		if leaves {
			v.addTo(i, from, -1, less)
		}
		if joins {
			v.addTo(i, to, 1, more)
		}
	}
}

func (v *view[T]) addTo(slot int, value string, sign int, amounts Amounts) {
	s, _ := v.sums[slot].Get(sum{value: value})
	s.value = value
	s.records += sign
	for i := range amounts {
		s.amounts[i] += int64(sign) * amounts[i]
	}
	if s.records == 0 {
		v.sums[slot].Delete(s)
		return
	}
	v.sums[slot].Set(s)
}
