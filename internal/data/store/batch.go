package store

import (
	"context"
	"errors"
)

// batchSize is how many items Batch puts into one transaction to begin with: with a marker or two each they stay below
// kv.MaxOps.
const batchSize = 60

// Batch runs fn for each item and commits as many items together as fit into one transaction, in order. It is for fan-out
// that need not be atomic: when it returns an error, the first done items are committed and the others are not (with the
// reservation that Update makes about unknown outcomes). fn may run several times for one item.
func Batch[K any](ctx context.Context, s *Store, items []K, fn func(tx *Tx, item K) error) (done int, err error) {
	n := batchSize
	for done < len(items) {
		n = min(n, len(items)-done)
		_, err := s.Update(ctx, func(tx *Tx) error {
			for _, item := range items[done : done+n] {
				if err := fn(tx, item); err != nil {
					return err
				}
			}
			return nil
		})
		switch {
		case errors.Is(err, ErrTooLarge) && n > 1:
			n /= 2
		case err != nil:
			return done, err
		default:
			done += n
		}
	}
	return done, nil
}
