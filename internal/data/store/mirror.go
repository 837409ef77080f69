package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"berth.dev/berth/internal/data/kv"
)

const (
	pageSize = 1000 // keys read at once when the tables are loaded

	retryMin = 20 * time.Millisecond
	retryMax = 2 * time.Second
)

// Run mirrors the kv until ctx ends, and then returns nil. It outlasts failures of the kv, and returns an error only when it
// finds a record that it cannot decode ([ErrBadRecord]). It is called once.
func (s *Store) Run(ctx context.Context) error {
	if s.running.Swap(true) {
		return errors.New("store: already running")
	}
	defer close(s.stopped)
	m := &mirror{store: s}
	for _, v := range s.Snapshot().views {
		m.views = append(m.views, v.fork())
	}
	delay := retryMin
	for {
		before := m.rev
		err := m.follow(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrBadRecord):
			return err
		case errors.Is(err, kv.ErrCompacted):
			s.log.WarnContext(ctx, "mirror fell behind compaction, loading again", "rev", m.rev)
			m.loaded = false
			continue
		}
		if m.rev > before {
			delay = retryMin
		}
		s.log.WarnContext(ctx, "mirror lost its watch", "rev", m.rev, "err", err)
		select {
		case <-time.After(delay/2 + rand.N(delay/2)):
			delay = min(2*delay, retryMax)
		case <-ctx.Done():
			return nil
		}
	}
}

// mirror is the state of Run: the newest views, which only it changes, and what is to be published of them.
type mirror struct {
	store   *Store
	views   []tableView
	rev     int64
	loaded  bool
	ready   sync.Once
	changed []Change
	seen    map[Change]struct{}
}

// follow loads the tables if that has not been done, and then applies changes until something fails.
func (m *mirror) follow(ctx context.Context) error {
	if !m.loaded {
		if err := m.load(ctx); err != nil {
			return err
		}
		m.loaded = true
		m.publish()
		m.ready.Do(func() { close(m.store.ready) })
	}
	return m.store.kv.Watch(ctx, m.store.prefix, m.rev+1, m.apply)
}

// load brings the views to what the kv holds now, by difference: after a compaction the watchers learn what changed
// meanwhile, and only that.
func (m *mirror) load(ctx context.Context) error {
	s := m.store
	var rev int64
	kept := make([]map[string]bool, len(m.views))
	for i := range kept {
		kept[i] = make(map[string]bool)
	}
	q := kv.Query{Key: s.prefix, Prefix: true, Limit: pageSize}
	for {
		page, err := s.kv.Range(ctx, q)
		if err != nil {
			return fmt.Errorf("store: load: %w", err)
		}
		if rev == 0 {
			rev = page.Rev
			q.Rev = rev
		}
		for _, p := range page.Pairs {
			slot, key, ok := s.record(p.Key)
			if !ok {
				continue
			}
			kept[slot][key] = true
			if m.views[slot].rev(key) == p.ModRev {
				continue
			}
			if err := m.views[slot].load(key, p); err != nil {
				return err
			}
			m.note(slot, key)
		}
		if !page.More {
			break
		}
		q.After = page.Pairs[len(page.Pairs)-1].Key
	}
	for slot, v := range m.views {
		for _, key := range v.keys() {
			if !kept[slot][key] {
				v.drop(key)
				m.note(slot, key)
			}
		}
	}
	m.rev = rev
	return nil
}

// apply is called with whole revisions, so what it publishes never shows half a transaction.
func (m *mirror) apply(commits []kv.Commit) error {
	s := m.store
	for _, c := range commits {
		if c.Rev <= m.rev {
			return fmt.Errorf("store: watch went back from revision %d to %d", m.rev, c.Rev)
		}
		for _, e := range c.Events {
			slot, key, ok := s.record(e.Pair.Key)
			if !ok {
				continue
			}
			if e.Deleted {
				m.views[slot].drop(key)
			} else if err := m.views[slot].load(key, e.Pair); err != nil {
				return err
			}
			m.note(slot, key)
		}
		m.rev = c.Rev
	}
	m.publish()
	return nil
}

func (m *mirror) note(slot int, key string) {
	c := Change{Table: m.store.tables[slot].Name(), Key: key}
	if _, dup := m.seen[c]; dup {
		return
	}
	if m.seen == nil {
		m.seen = make(map[Change]struct{})
	}
	m.seen[c] = struct{}{}
	m.changed = append(m.changed, c)
}

// publish makes the views the current snapshot and tells those who wait for them. Only the tables that changed are
// forked.
func (m *mirror) publish() {
	s := m.store
	next := &Snapshot{store: s, rev: m.rev, views: slices.Clone(s.Snapshot().views)}
	for slot, t := range s.tables {
		if slices.ContainsFunc(m.changed, func(c Change) bool { return c.Table == t.Name() }) {
			next.views[slot] = m.views[slot].fork()
		}
	}
	s.mu.Lock()
	s.current.Store(next)
	s.waiters.reach(next.rev)
	for w := range s.watchers {
		w.add(m.changed)
	}
	s.mu.Unlock()
	m.changed, m.seen = nil, nil
}

func compareChange(a, b Change) int {
	if c := strings.Compare(a.Table, b.Table); c != 0 {
		return c
	}
	return strings.Compare(a.Key, b.Key)
}
