package logstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/base/telemetry"
)

// The errors a caller may want to tell apart. They come wrapped.
var (
	ErrGroupNotFound  error = fault.New(fault.NotFound, "log group does not exist")
	ErrStreamNotFound error = fault.New(fault.NotFound, "log stream does not exist")
	ErrGroupExists    error = fault.New(fault.Conflict, "log group already exists")
	ErrStreamExists   error = fault.New(fault.Conflict, "log stream already exists")
	ErrProtected      error = fault.New(fault.Conflict, "log group is protected against deletion")
	ErrDiskFull       error = fault.New(fault.Unavailable, "disk has no room for logs")
	ErrFailed         error = fault.New(fault.Unavailable, "log store has failed and must be opened again")
	ErrClosed         error = fault.New(fault.Unavailable, "log store is closed")
)

// Options configure a store. The zero value is usable.
type Options struct {
	// Logger receives what the engine has to say; nothing when nil.
	Logger *slog.Logger
	// Now is the clock; time.Now when nil. It may go back: ingestion times do not.
	Now func() time.Time
	// PurgeInterval is how often Run removes expired events from disk; an hour
	// when zero. It has no effect on what readers see.
	PurgeInterval time.Duration
	// MinFreeBytes is the free space on the disk below which nothing is added,
	// so that the engine can still compact and delete; 128 MiB when zero.
	MinFreeBytes uint64

	fs vfs.FS // the file system; the real one when nil
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.PurgeInterval == 0 {
		o.PurgeInterval = time.Hour
	}
	if o.MinFreeBytes == 0 {
		o.MinFreeBytes = 128 << 20
	}
	if o.fs == nil {
		o.fs = vfs.Default
	}
	return o
}

// Store holds log groups, streams and events. Its methods may be called from
// any number of goroutines. Make one with [Open].
type Store struct {
	dir     string
	options Options
	log     *slog.Logger
	db      *pebble.DB

	changes    chan *change  // to the writer; unbuffered, so waiting callers are the queue
	writerDone chan struct{} // closed when the writer has ended
	counters   counters      // owned by the writer
	commits    atomic.Int64  // batches synced so far

	closing chan struct{} // closed by Close
	failed  chan struct{} // closed by fail, once

	mu      sync.Mutex
	closed  bool
	cause   error          // why it failed
	readers sync.WaitGroup // reads in progress; added to under mu while not closed
}

// The sizes of the engine: a write buffer that holds several seconds of busy
// logging, and a cache for following the ends of streams. Both bound the idle
// memory of the server, which is why they are small for a database.
const (
	memTableBytes = 16 << 20
	cacheBytes    = 16 << 20
)

// Open opens the store in dir, making it if it is not there. Only one process
// can have it open. Damage that checksums reveal is an error that names dir.
func Open(dir string, options Options) (*Store, error) {
	options = options.withDefaults()
	s := &Store{
		dir:        dir,
		options:    options,
		log:        options.Logger,
		changes:    make(chan *change),
		writerDone: make(chan struct{}),
		closing:    make(chan struct{}),
		failed:     make(chan struct{}),
	}
	db, err := s.openEngine()
	if err != nil {
		return nil, fmt.Errorf("opening the log store in %s: %w", dir, err)
	}
	s.db = db
	if err := s.loadCounters(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the log store in %s: %w", dir, err), db.Close())
	}
	go s.write()
	return s, nil
}

func (s *Store) openEngine() (db *pebble.DB, err error) {
	defer func() {
		if failure, ok := recover().(engineFailure); ok {
			err = failure
		}
	}()
	logger := engineLogger{s}
	return pebble.Open(s.dir, &pebble.Options{
		FS:                 s.options.fs,
		FormatMajorVersion: pebble.FormatNewest,
		MemTableSize:       memTableBytes,
		CacheSize:          cacheBytes,
		Logger:             logger,
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) {
				s.log.Error("log store: background work failed and will be tried again",
					telemetry.Path, s.dir, telemetry.Error, err)
			},
			// Readers of the damaged part get the error; the rest stays readable.
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				s.log.Error("log store: a file is damaged",
					telemetry.Path, info.Path, telemetry.Error, info.Details)
			},
		},
	})
}

// loadCounters reads the counters and checks or writes the layout's version.
func (s *Store) loadCounters() error {
	version, err := get(s.db, versionKey())
	if err != nil {
		return err
	}
	if version == nil {
		s.counters = counters{nextID: 1, nextSequence: 1}
		return s.db.Set(versionKey(), []byte{layoutVersion}, pebble.Sync)
	}
	if len(version) != 1 || version[0] != layoutVersion {
		return fmt.Errorf("the layout has version %x, this program knows %d", version, layoutVersion)
	}
	value, err := get(s.db, countersKey())
	if err != nil {
		return err
	}
	if value == nil {
		s.counters = counters{nextID: 1, nextSequence: 1}
		return nil
	}
	s.counters, err = decodeCounters(value)
	return err
}

// Close ends the store: calls in progress finish, later ones get ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.closing)
	s.mu.Unlock()

	<-s.writerDone
	s.readers.Wait()
	if err := s.failure(); err != nil {
		// The engine may still hold locks from where it failed; it cannot be
		// closed, and what was acknowledged is on disk already.
		return err
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("closing the log store in %s: %w", s.dir, err)
	}
	return nil
}

// enter begins a read. The caller calls s.readers.Done when it gets no error.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.cause != nil:
		return s.cause
	case s.closed:
		return ErrClosed
	}
	s.readers.Add(1)
	return nil
}

// fail makes every later call return ErrFailed with its cause.
func (s *Store) fail(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return
	}
	s.cause = fmt.Errorf("%w: %w", ErrFailed, cause)
	close(s.failed)
	s.log.Error("log store has failed", telemetry.Path, s.dir, telemetry.Error, cause)
}

func (s *Store) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// nowMillis is the time now in the unit of the Logs API.
func (s *Store) nowMillis() int64 { return s.options.Now().UnixMilli() }

// engineFailure is an error after which the engine cannot go on.
type engineFailure struct{ text string }

func (e engineFailure) Error() string { return e.text }

// engineLogger carries the engine's messages to slog.
type engineLogger struct{ s *Store }

func (l engineLogger) Infof(format string, args ...any) {
	if l.s.log.Enabled(context.Background(), slog.LevelDebug) {
		l.s.log.Debug("log store engine", telemetry.Reason, fmt.Sprintf(format, args...))
	}
}

func (l engineLogger) Errorf(format string, args ...any) {
	l.s.log.Error("log store engine", telemetry.Error, fmt.Sprintf(format, args...))
}

// Fatalf must not return: the engine would acknowledge a write that it lost.
// It panics, which the writer turns into ErrFailed.
func (l engineLogger) Fatalf(format string, args ...any) {
	failure := engineFailure{fmt.Sprintf(format, args...)}
	l.s.fail(failure)
	panic(failure)
}

// get reads one value; nil when there is none.
func get(r pebble.Reader, k []byte) ([]byte, error) {
	value, closer, err := r.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("log store: reading: %w", err)
	}
	defer closer.Close()
	return append([]byte{}, value...), nil
}
