package store

import (
	"iter"
	"strings"
)

// Values yields the values of an index that begin with prefix and that some record has, in order and each once. It costs
// one search for each value, however many records have it: with values made of a thing and its place, it tells the places
// of a thing that is in thousands.
func (t *Table[T]) Values(r Reader, ix *Index[T], prefix string) iter.Seq[string] {
	slot := t.slot(ix)
	return func(yield func(string) bool) {
		tree := t.stable(r).index[slot]
		for from := prefix; ; {
			value, found := "", false
			tree.Ascend(entry{value: from}, func(e entry) bool {
				value, found = e.value, strings.HasPrefix(e.value, prefix)
				return false
			})
			if !found || !yield(value) {
				return
			}
			from = value + "\x00" // the smallest string that is greater
		}
	}
}
