package store

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"berth.dev/berth/internal/data/kv"
)

// Options are the parts of a store that have a sensible default.
type Options struct {
	// Logger gets what the mirror has to say; nil discards it.
	Logger *slog.Logger
	// Now is the clock behind Tx.Now; nil is time.Now.
	Now func() time.Time
	// CheckMutation verifies on reads that nobody changed a stored record in place, and panics if so. It is always on in
	// builds with -race.
	CheckMutation bool
}

// Store is typed tables that mirror the keys of a kv.KV below one prefix. Use Open, then Run.
type Store struct {
	kv     kv.KV
	prefix string
	log    *slog.Logger
	now    func() time.Time
	check  bool

	tables []AnyTable
	slots  map[AnyTable]int
	byName map[string]int

	ready   chan struct{} // closed at the first complete load
	stopped chan struct{} // closed when Run ends
	running atomic.Bool

	current atomic.Pointer[Snapshot]

	mu       sync.Mutex // guards what follows, and the step from one published snapshot to the next
	waiters  waiters
	watchers map[*Watcher]struct{}

	turns turns
}

// Open makes a store of the tables with their records below prefix, which should end in a slash. Nothing is read before
// Run; until Ready is closed, snapshots are empty and updates wait.
func Open(db kv.KV, prefix string, opts Options, tables ...AnyTable) (*Store, error) {
	s := &Store{
		kv:       db,
		prefix:   prefix,
		log:      opts.Logger,
		now:      opts.Now,
		check:    opts.CheckMutation || checkByDefault,
		tables:   tables,
		slots:    make(map[AnyTable]int),
		byName:   make(map[string]int),
		ready:    make(chan struct{}),
		stopped:  make(chan struct{}),
		watchers: make(map[*Watcher]struct{}),
		turns:    turns{held: make(map[string]*turn)},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	empty := &Snapshot{store: s}
	for i, t := range tables {
		if err := t.valid(); err != nil {
			return nil, err
		}
		if _, dup := s.byName[t.Name()]; dup {
			return nil, fmt.Errorf("store: table %s is given twice", t.Name())
		}
		s.slots[t], s.byName[t.Name()] = i, i
		empty.views = append(empty.views, t.newView(s.check))
	}
	s.current.Store(empty)
	return s, nil
}

// Ready is closed when the tables hold what the kv holds.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Snapshot returns the newest state that the mirror has. It costs nothing.
func (s *Store) Snapshot() *Snapshot { return s.current.Load() }

// WaitRev returns when snapshots contain revision rev, which must be one that wrote below this store's prefix: a result
// of Update, or a revision of a snapshot of another mirror of the same prefix.
func (s *Store) WaitRev(ctx context.Context, rev int64) error {
	if s.Snapshot().rev >= rev {
		return nil
	}
	s.mu.Lock()
	if s.Snapshot().rev >= rev {
		s.mu.Unlock()
		return nil
	}
	w := s.waiters.add(rev)
	s.mu.Unlock()
	select {
	case <-w.reached:
		return nil
	case <-ctx.Done():
	case <-s.stopped:
	}
	s.mu.Lock()
	s.waiters.remove(w)
	s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("store: wait for revision %d: %w", rev, err)
	}
	return fmt.Errorf("store: wait for revision %d: %w", rev, ErrStopped)
}

// Reader is a state that tables can be read from: a *Snapshot, or a *Tx.
type Reader interface {
	// Rev is the revision of the state; a Tx adds its own writes to it.
	Rev() int64

	tableView(t AnyTable) tableView
	owns(t AnyTable) bool // whether the view may still change
}

var (
	_ Reader = (*Snapshot)(nil)
	_ Reader = (*Tx)(nil)
)

// Snapshot is everything in the store as it was at one revision. It never changes and may be kept and shared.
type Snapshot struct {
	store *Store
	rev   int64
	views []tableView
}

// Rev is the revision of the snapshot.
func (s *Snapshot) Rev() int64 { return s.rev }

func (s *Snapshot) owns(AnyTable) bool { return false }

func (s *Snapshot) tableView(t AnyTable) tableView { return s.views[s.store.slot(t)] }

func (s *Store) slot(t AnyTable) int {
	i, ok := s.slots[t]
	if !ok {
		panic(fmt.Sprintf("store: opened without table %s", t.Name()))
	}
	return i
}

// key is the key in the kv of a record.
func (s *Store) key(table, key string) string { return s.prefix + table + "/" + key }

// record takes a kv key apart; ok is false if it is no record of a known table.
func (s *Store) record(full string) (slot int, key string, ok bool) {
	table, key, cut := strings.Cut(strings.TrimPrefix(full, s.prefix), "/")
	slot, known := s.byName[table]
	return slot, key, cut && known
}
