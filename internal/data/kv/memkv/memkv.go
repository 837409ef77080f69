package memkv

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"berth.dev/berth/internal/data/kv"
)

// Retain is how many revisions are kept by default, as many as our embedded etcd keeps.
const Retain = 10_000

var (
	_ kv.KV        = (*KV)(nil)
	_ kv.Compactor = (*KV)(nil)
)

// KV is an in-memory store. Use New.
type KV struct {
	retain int64

	mu        sync.Mutex
	rev       int64
	compacted int64 // revisions below this one cannot be read
	keys      *btree.BTreeG[*history]
	log       []kv.Commit // of the revisions above compacted, ascending
	changed   chan struct{}
	leases    map[kv.LeaseID]*lease
	lastLease kv.LeaseID
}

// history is all kept versions of one key, oldest first.
type history struct {
	key      string
	versions []version
}

type version struct {
	pair    kv.Pair // of a deletion: only ModRev
	deleted bool
}

// New returns an empty store at revision 1, etcd's first. retain is the number of revisions kept before the oldest are
// compacted; 0 means [Retain], a negative number means all.
func New(retain int) *KV {
	if retain == 0 {
		retain = Retain
	}
	return &KV{
		retain:  int64(retain),
		rev:     1,
		keys:    btree.NewBTreeGOptions(func(a, b *history) bool { return a.key < b.key }, btree.Options{NoLocks: true}),
		changed: make(chan struct{}),
		leases:  make(map[kv.LeaseID]*lease),
	}
}

// at returns the pair as it was at rev, the zero pair if the key did not exist.
func (h *history) at(rev int64) (kv.Pair, bool) {
	for i := len(h.versions) - 1; i >= 0; i-- {
		if v := &h.versions[i]; v.pair.ModRev <= rev {
			if v.deleted {
				break
			}
			return v.pair, true
		}
	}
	return kv.Pair{}, false
}

func (m *KV) get(key string, rev int64) (kv.Pair, bool) {
	h, ok := m.keys.Get(&history{key: key})
	if !ok {
		return kv.Pair{}, false
	}
	return h.at(rev)
}

// scan calls fn for each key below prefix that exists at rev, until fn returns false.
func (m *KV) scan(prefix, after string, rev int64, fn func(kv.Pair) bool) {
	m.keys.Ascend(&history{key: max(prefix, after)}, func(h *history) bool {
		if !strings.HasPrefix(h.key, prefix) {
			return false
		}
		if after != "" && h.key <= after {
			return true
		}
		p, ok := h.at(rev)
		return !ok || fn(p)
	})
}

// Range implements [kv.KV].
func (m *KV) Range(ctx context.Context, q kv.Query) (kv.RangeResult, error) {
	if err := ctx.Err(); err != nil {
		return kv.RangeResult{}, err
	}
	if q.Key == "" && !q.Prefix {
		return kv.RangeResult{}, kv.ErrEmptyKey
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	rev := q.Rev
	switch {
	case rev == 0:
		rev = m.rev
	case rev > m.rev:
		return kv.RangeResult{}, kv.ErrFutureRev
	case rev < m.compacted:
		return kv.RangeResult{}, kv.ErrCompacted
	}
	res := kv.RangeResult{Rev: m.rev}
	if !q.Prefix {
		if p, ok := m.get(q.Key, rev); ok {
			res.Pairs = []kv.Pair{p}
		}
		return res, nil
	}
	m.scan(q.Key, q.After, rev, func(p kv.Pair) bool {
		if q.Limit > 0 && len(res.Pairs) == q.Limit {
			res.More = true
			return false
		}
		res.Pairs = append(res.Pairs, p)
		return true
	})
	return res, nil
}

// Txn implements [kv.KV].
func (m *KV) Txn(ctx context.Context, t kv.Txn) (kv.TxnResult, error) {
	if err := ctx.Err(); err != nil {
		return kv.TxnResult{}, err
	}
	if err := t.Check(); err != nil {
		return kv.TxnResult{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	res := kv.TxnResult{Succeeded: !slices.ContainsFunc(t.If, func(c kv.Compare) bool { return !m.holds(c) })}
	ops := t.Then
	if !res.Succeeded {
		ops = t.Else
	}
	for _, o := range ops {
		if o.Kind == kv.OpPut && o.Lease != 0 && m.leases[o.Lease] == nil {
			return kv.TxnResult{}, kv.ErrLeaseNotFound
		}
	}
	res.Pairs = m.commit(ops)
	res.Rev = m.rev
	return res, nil
}

func (m *KV) holds(c kv.Compare) bool {
	if !c.Prefix {
		p, _ := m.get(c.Key, m.rev)
		return c.Holds(p)
	}
	ok, any := true, false
	m.scan(c.Key, "", m.rev, func(p kv.Pair) bool {
		any = true
		ok = c.Holds(p)
		return ok
	})
	if !any {
		return c.Holds(kv.Pair{})
	}
	return ok
}

// commit carries out ops as one revision, if they change anything, and tells the watchers.
func (m *KV) commit(ops []kv.Op) (read []kv.Pair) {
	next := m.rev + 1
	var events []kv.Event
	for _, o := range ops {
		old, exists := m.get(o.Key, next)
		switch o.Kind {
		case kv.OpGet:
			if !exists {
				old = kv.Pair{Key: o.Key}
			}
			read = append(read, old)
		case kv.OpDelete:
			if exists {
				m.attach(o.Key, old.Lease, 0)
				m.append(o.Key, version{pair: kv.Pair{ModRev: next}, deleted: true})
				events = append(events, kv.Event{Deleted: true, Pair: kv.Pair{Key: o.Key, ModRev: next}})
			}
		case kv.OpPut:
			p := kv.Pair{Key: o.Key, Value: slices.Clone(o.Value), CreateRev: next, ModRev: next, Version: 1, Lease: o.Lease}
			if exists {
				p.CreateRev, p.Version = old.CreateRev, old.Version+1
			}
			m.attach(o.Key, old.Lease, o.Lease)
			m.append(o.Key, version{pair: p})
			events = append(events, kv.Event{Pair: p})
		}
	}
	if len(events) == 0 {
		return read
	}
	m.rev = next
	m.log = append(m.log, kv.Commit{Rev: next, Events: events})
	// Compaction walks all keys, so it is done once per retained length and not at every commit.
	if m.retain > 0 && int64(len(m.log)) > 2*m.retain {
		m.compact(m.rev - m.retain)
	}
	close(m.changed)
	m.changed = make(chan struct{})
	return read
}

func (m *KV) append(key string, v version) {
	h, ok := m.keys.Get(&history{key: key})
	if !ok {
		h = &history{key: key}
		m.keys.Set(h)
	}
	h.versions = append(h.versions, v)
}

// Compact implements [kv.Compactor].
func (m *KV) Compact(ctx context.Context, rev int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case rev <= m.compacted:
		return kv.ErrCompacted
	case rev > m.rev:
		return kv.ErrFutureRev
	}
	m.compact(rev)
	close(m.changed) // a watcher that is too late shall learn it
	m.changed = make(chan struct{})
	return nil
}

func (m *KV) compact(rev int64) {
	m.compacted = rev
	var dead []*history
	m.keys.Scan(func(h *history) bool {
		keep := 0
		for keep+1 < len(h.versions) && h.versions[keep+1].pair.ModRev <= rev {
			keep++
		}
		if keep+1 == len(h.versions) && h.versions[keep].deleted && h.versions[keep].pair.ModRev <= rev {
			dead = append(dead, h)
			return true
		}
		h.versions = slices.Clone(h.versions[keep:])
		return true
	})
	for _, h := range dead {
		m.keys.Delete(h)
	}
	i := m.firstFrom(rev)
	m.log = slices.Clone(m.log[i:])
}

// firstFrom is the position in the log of the first commit at or above rev.
func (m *KV) firstFrom(rev int64) int {
	i, _ := slices.BinarySearchFunc(m.log, rev, func(c kv.Commit, rev int64) int { return int(c.Rev - rev) })
	return i
}

// Watch implements [kv.KV].
func (m *KV) Watch(ctx context.Context, prefix string, from int64, deliver func([]kv.Commit) error) error {
	for {
		batch, changed, err := m.since(prefix, &from)
		if err != nil {
			return err
		}
		if len(batch) > 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := deliver(batch); err != nil {
				return err
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// since returns the commits from *from on that touch prefix and moves *from behind them.
func (m *KV) since(prefix string, from *int64) ([]kv.Commit, <-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if *from < m.compacted {
		return nil, nil, kv.ErrCompacted
	}
	var batch []kv.Commit
	for _, c := range m.log[m.firstFrom(*from):] {
		if c = below(prefix, c); len(c.Events) > 0 {
			batch = append(batch, c)
		}
	}
	*from = max(*from, m.rev+1)
	return batch, m.changed, nil
}

func below(prefix string, c kv.Commit) kv.Commit {
	if !slices.ContainsFunc(c.Events, func(e kv.Event) bool { return !strings.HasPrefix(e.Pair.Key, prefix) }) {
		return c
	}
	some := kv.Commit{Rev: c.Rev}
	for _, e := range c.Events {
		if strings.HasPrefix(e.Pair.Key, prefix) {
			some.Events = append(some.Events, e)
		}
	}
	return some
}

// lease is a granted lease and the keys it holds alive.
type lease struct {
	ttl   time.Duration
	timer *time.Timer
	keys  map[string]struct{}
}

// attach moves a key from one lease to another; 0 is none.
func (m *KV) attach(key string, from, to kv.LeaseID) {
	if l := m.leases[from]; l != nil {
		delete(l.keys, key)
	}
	if l := m.leases[to]; l != nil {
		l.keys[key] = struct{}{}
	}
}

// Grant implements [kv.KV].
func (m *KV) Grant(ctx context.Context, ttl time.Duration) (kv.LeaseID, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastLease++
	id := m.lastLease
	ttl = max((ttl + time.Second - 1).Truncate(time.Second), time.Second)
	l := &lease{ttl: ttl, keys: make(map[string]struct{})}
	l.timer = time.AfterFunc(ttl, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.expire(id)
	})
	m.leases[id] = l
	return id, nil
}

// KeepAlive implements [kv.KV].
func (m *KV) KeepAlive(ctx context.Context, id kv.LeaseID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.leases[id]
	// A timer that has fired and waits for the lock has expired the lease already; it must not come back.
	if l == nil || !l.timer.Stop() {
		return kv.ErrLeaseNotFound
	}
	l.timer.Reset(l.ttl)
	return nil
}

// Revoke implements [kv.KV].
func (m *KV) Revoke(ctx context.Context, id kv.LeaseID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leases[id] == nil {
		return kv.ErrLeaseNotFound
	}
	m.expire(id)
	return nil
}

func (m *KV) expire(id kv.LeaseID) {
	l := m.leases[id]
	if l == nil {
		return
	}
	l.timer.Stop()
	var ops []kv.Op
	for key := range l.keys {
		ops = append(ops, kv.Delete(key))
	}
	slices.SortFunc(ops, func(a, b kv.Op) int { return strings.Compare(a.Key, b.Key) })
	m.commit(ops)
	delete(m.leases, id)
}
