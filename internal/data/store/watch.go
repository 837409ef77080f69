package store

import (
	"context"
	"slices"
)

// Change names a record that was put or deleted; which of the two, and what it is now, the snapshot says.
type Change struct {
	Table string
	Key   string
}

// Watcher collects the records that changed in some tables until somebody takes them. It is level-triggered: a record
// that changed ten times is reported once, with the snapshot to look at.
//
// It has no goroutine, and it stops collecting when the context it was made with ends.
type Watcher struct {
	store   *Store
	tables  map[string]bool
	begin   *Snapshot
	pending map[Change]struct{} // guarded by store.mu
	signal  chan struct{}       // holds one value while pending may not be empty
}

// Watch begins to collect the changes of the tables, of all if none is named, until ctx ends.
func (s *Store) Watch(ctx context.Context, tables ...AnyTable) *Watcher {
	w := &Watcher{
		store:   s,
		tables:  make(map[string]bool),
		pending: make(map[Change]struct{}),
		signal:  make(chan struct{}, 1),
	}
	if len(tables) == 0 {
		tables = s.tables
	}
	for _, t := range tables {
		w.tables[s.tables[s.slot(t)].Name()] = true
	}
	s.mu.Lock()
	w.begin = s.current.Load()
	s.watchers[w] = struct{}{}
	s.mu.Unlock()
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, w)
	})
	return w
}

// Snapshot is the state in which the watch began. Every change after it is reported, none before.
func (w *Watcher) Snapshot() *Snapshot { return w.begin }

// Changed can be received from once after changes came in; then Take returns them. It is for select statements.
func (w *Watcher) Changed() <-chan struct{} { return w.signal }

// Take returns the records that changed since the last call, in order of table and key, and a snapshot that is at least as
// new as these changes. It does not block.
func (w *Watcher) Take() (*Snapshot, []Change) {
	s := w.store
	s.mu.Lock()
	snap, pending := s.current.Load(), w.pending
	w.pending = make(map[Change]struct{})
	select {
	case <-w.signal:
	default:
	}
	s.mu.Unlock()
	changes := make([]Change, 0, len(pending))
	for c := range pending {
		changes = append(changes, c)
	}
	slices.SortFunc(changes, compareChange)
	return snap, changes
}

// Next is Take that waits until there is something to take, ctx ends, or the store stops.
func (w *Watcher) Next(ctx context.Context) (*Snapshot, []Change, error) {
	for {
		select {
		case <-w.signal:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-w.store.stopped:
			return nil, nil, ErrStopped
		}
		if snap, changes := w.Take(); len(changes) > 0 {
			return snap, changes, nil
		}
	}
}

// add is called by the mirror with store.mu held.
func (w *Watcher) add(changes []Change) {
	found := false
	for _, c := range changes {
		if w.tables[c.Table] {
			w.pending[c] = struct{}{}
			found = true
		}
	}
	if found {
		select {
		case w.signal <- struct{}{}:
		default:
		}
	}
}
