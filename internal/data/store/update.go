package store

import (
	"context"
	"errors"
	"fmt"

	"berth.dev/berth/internal/data/kv"
)

type fenceKey struct{}

// Fenced returns a context under which every Update also requires c to hold, and fails with ErrFenced when it does not. A
// leader uses the comparison that its election key was created at the revision it won with, so that a deposed leader
// cannot write even if it has not noticed yet. The comparison names one key, not a prefix.
func Fenced(ctx context.Context, c kv.Compare) context.Context {
	return context.WithValue(ctx, fenceKey{}, &c)
}

// Update runs fn on the newest state and commits what it wrote as one revision, provided that every record written or
// guarded is unchanged since. If not, it waits for the newer state and runs fn again, until ctx ends. It returns the
// revision, and it returns only when snapshots contain it; without any write that is the revision fn saw.
//
// fn must have no effects outside the transaction, because it may run several times. If it returns an error, nothing is
// written and Update returns that error as it is.
//
// ErrConflict, ErrTooLarge, ErrFenced mean that nothing was written. Any other error of the commit leaves it unknown: it
// may have happened, or may yet happen. An error with a revision means that it did happen, and that ctx or the store ended
// before snapshots contained it.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) (int64, error) {
	if err := s.waitReady(ctx); err != nil {
		return 0, err
	}
	fence, _ := ctx.Value(fenceKey{}).(*kv.Compare)
	release := func() {}
	defer func() { release() }()
	for {
		tx := newTx(s, s.Snapshot())
		if err := fn(tx); err != nil {
			return 0, err
		}
		if tx.err != nil {
			return 0, tx.err
		}
		if len(tx.puts) == 0 && len(tx.deletes) == 0 {
			return tx.snap.rev, nil // what a snapshot shows was true at one time, whatever is guarded
		}
		req := tx.request(fence)
		res, err := s.kv.Txn(ctx, req)
		switch {
		case errors.Is(err, kv.ErrTooLarge):
			return 0, fmt.Errorf("store: %d operations, %d comparisons, %d bytes: %w",
				len(req.Then), len(req.If), req.Size(), ErrTooLarge)
		case err != nil:
			return 0, fmt.Errorf("store: commit: %w", err)
		case res.Succeeded:
			return res.Rev, s.WaitRev(ctx, res.Rev)
		}
		key, rev, err := s.lost(tx, req, res, fence)
		if err != nil {
			return 0, err
		}
		release()
		release = func() {}
		next, err := s.turns.take(ctx, key)
		if err == nil {
			release = next
			err = s.WaitRev(ctx, rev)
		}
		if err != nil {
			return 0, fmt.Errorf("store: update: %w: %w", ErrConflict, err)
		}
	}
}

func (s *Store) waitReady(ctx context.Context) error {
	select {
	case <-s.ready:
		return nil
	default:
	}
	select {
	case <-s.ready:
		return nil
	case <-s.stopped:
		return ErrStopped
	case <-ctx.Done():
		return fmt.Errorf("store: wait until loaded: %w", ctx.Err())
	}
}

// lost finds out against what an attempt lost: the key in dispute, and the revision that the mirror must have reached before
// another attempt makes sense.
func (s *Store) lost(tx *Tx, req kv.Txn, res kv.TxnResult, fence *kv.Compare) (key string, rev int64, err error) {
	for i, p := range res.Pairs {
		c := req.If[i]
		if fence != nil && i == len(tx.compares) {
			if !fence.Holds(p) {
				return "", 0, fmt.Errorf("store: update: %w", ErrFenced)
			}
			continue
		}
		if c.Holds(p) {
			continue
		}
		if key == "" {
			key = c.Key
		}
		rev = max(rev, p.ModRev)
	}
	if key == "" { // a guarded range; which of several does not matter for taking turns
		for prefix := range tx.ranges {
			key = max(key, prefix)
		}
	}
	// A key that was deleted, or something in a range, has no revision to name. That there is a newer one is certain.
	return key, max(rev, tx.snap.rev+1), nil
}
