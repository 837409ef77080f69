package logstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// maxCommitBytes bounds the messages that share one sync. It stays below half
// of the write buffer, beyond which the engine takes a slower path.
const maxCommitBytes = 4 << 20

// change is one caller's change on its way through the writer.
type change struct {
	apply func(*commit) error // checks first, then writes; runs in the writer
	bytes int                 // messages it adds
	adds  bool                // needs room on the disk
	done  chan error          // buffered; gets the result once
	err   error               // result of apply, owned by the writer
}

// submit hands apply to the writer and waits until its effect is on disk. When
// ctx ends first the change may still happen.
func (s *Store) submit(ctx context.Context, adds bool, bytes int, apply func(*commit) error) error {
	if err := s.failure(); err != nil {
		return err
	}
	c := &change{apply: apply, bytes: bytes, adds: adds, done: make(chan error, 1)}
	select {
	case s.changes <- c:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.closing:
		return ErrClosed
	case <-s.failed:
		return s.failure()
	}
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// write is the writer: it commits what callers hand over until the store is
// closed or fails.
func (s *Store) write() {
	defer close(s.writerDone)
	var waiting []*change
	for {
		waiting = waiting[:0]
		select {
		case <-s.closing:
			return
		case <-s.failed:
			return
		case first := <-s.changes:
			waiting = s.gather(append(waiting, first))
		}
		err := s.commit(waiting)
		for _, c := range waiting {
			if c.err == nil {
				c.err = err
			}
			c.done <- c.err
		}
		clear(waiting)
	}
}

// gather adds the changes that are waiting right now, up to a sync's worth.
func (s *Store) gather(changes []*change) []*change {
	for bytes := changes[0].bytes; bytes < maxCommitBytes; {
		select {
		case c := <-s.changes:
			changes = append(changes, c)
			bytes += c.bytes
		default:
			return changes
		}
	}
	return changes
}

// commit applies the changes to one batch and syncs it. A change that refuses
// keeps its own error; the error returned concerns all of them.
func (s *Store) commit(changes []*change) (err error) {
	defer func() {
		// The engine panics when it cannot write its log. The state in memory is
		// not to be trusted after that, the state on disk is.
		if r := recover(); r != nil {
			s.fail(fmt.Errorf("writing to %s: %v", s.dir, r))
			err = s.failure()
		}
	}()
	if err := s.failure(); err != nil {
		return err
	}
	c := s.newCommit()
	defer func() { _ = c.batch.Close() }()
	full := s.checkRoom(changes)
	for _, ch := range changes {
		if ch.adds && full != nil {
			ch.err = full
			continue
		}
		before := c.batch.Count()
		if ch.err = ch.apply(c); ch.err != nil && c.batch.Count() != before {
			return fmt.Errorf("log store: a refused change had begun to write: %w", ch.err)
		}
	}
	if err := c.flush(); err != nil {
		return err
	}
	if c.batch.Empty() {
		return nil // whatever the answers rest on was synced by an earlier commit
	}
	if err := c.batch.Commit(pebble.Sync); err != nil {
		s.fail(err)
		return s.failure()
	}
	s.counters = c.counters
	s.commits.Add(1)
	return nil
}

// checkRoom returns ErrDiskFull when a change wants to add data and the disk is
// down to the reserve.
func (s *Store) checkRoom(changes []*change) error {
	var adds bool
	var bytes uint64
	for _, c := range changes {
		adds = adds || c.adds
		bytes += uint64(c.bytes)
	}
	if !adds {
		return nil
	}
	usage, err := s.options.fs.GetDiskUsage(s.dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return nil // a file system that does not know cannot be asked
	}
	if err != nil {
		return fmt.Errorf("log store: asking for the free space of %s: %w", s.dir, err)
	}
	if usage.AvailBytes < s.options.MinFreeBytes+bytes {
		return fmt.Errorf("%w: %d bytes free at %s, %d are kept in reserve",
			ErrDiskFull, usage.AvailBytes, s.dir, s.options.MinFreeBytes)
	}
	return nil
}

// streamName names a stream within a commit.
type streamName struct {
	gid  uint64
	name string
}

// commit is one batch in the making. Records are read through it, so that each
// change sees those before it, and written once at the end.
type commit struct {
	db       *pebble.DB
	batch    *pebble.Batch
	now      int64
	counters counters
	groups   map[string]*entry[*groupRecord] // nil record: not there
	streams  map[streamName]*entry[*streamRecord]
	stored   map[uint64]*entry[int64]  // bytes by gid
	marks    map[string]*entry[uint64] // by key
	counted  bool                      // counters changed
}

// entry is a record and whether it has to be written.
type entry[T any] struct {
	value T
	dirty bool
}

func (e *entry[T]) set(value T) {
	e.value = value
	e.dirty = true
}

func (s *Store) newCommit() *commit {
	return &commit{
		db:       s.db,
		batch:    s.db.NewBatch(),
		now:      s.nowMillis(),
		counters: s.counters,
		groups:   make(map[string]*entry[*groupRecord]),
		streams:  make(map[streamName]*entry[*streamRecord]),
		stored:   make(map[uint64]*entry[int64]),
		marks:    make(map[string]*entry[uint64]),
	}
}

// group returns the entry of a group; its value is nil when there is no group.
func (c *commit) group(name string) (*entry[*groupRecord], error) {
	if e, ok := c.groups[name]; ok {
		return e, nil
	}
	e := new(entry[*groupRecord])
	value, err := get(c.db, groupKey(name))
	if err != nil {
		return nil, err
	}
	if value != nil {
		if e.value, err = decodeGroup(value); err != nil {
			return nil, err
		}
	}
	c.groups[name] = e
	return e, nil
}

// existing is group for a group that must be there.
func (c *commit) existing(name string) (*entry[*groupRecord], error) {
	e, err := c.group(name)
	if err == nil && e.value == nil {
		err = fmt.Errorf("%w: %s", ErrGroupNotFound, name)
	}
	return e, err
}

// stream returns the entry of a stream; its value is nil when there is none.
func (c *commit) stream(gid uint64, name string) (*entry[*streamRecord], error) {
	at := streamName{gid, name}
	if e, ok := c.streams[at]; ok {
		return e, nil
	}
	e := new(entry[*streamRecord])
	value, err := get(c.db, streamKey(gid, name))
	if err != nil {
		return nil, err
	}
	if value != nil {
		if e.value, err = decodeStream(value); err != nil {
			return nil, err
		}
	}
	c.streams[at] = e
	return e, nil
}

// existingStream finds a stream that must be there, and its group.
func (c *commit) existingStream(group, name string) (*groupRecord, *entry[*streamRecord], error) {
	g, err := c.existing(group)
	if err != nil {
		return nil, nil, err
	}
	e, err := c.stream(g.value.ID, name)
	if err == nil && e.value == nil {
		err = fmt.Errorf("%w: %s in %s", ErrStreamNotFound, name, group)
	}
	return g.value, e, err
}

// storedBytes returns the entry of a group's byte counter.
func (c *commit) storedBytes(gid uint64) (*entry[int64], error) {
	if e, ok := c.stored[gid]; ok {
		return e, nil
	}
	value, err := getUint64(c.db, key(kindBytes, gid))
	if err != nil {
		return nil, err
	}
	e := &entry[int64]{value: int64(value)}
	c.stored[gid] = e
	return e, nil
}

// mark returns the entry of a source's high-water mark on a stream.
func (c *commit) mark(gid, sid uint64, source string) (*entry[uint64], error) {
	k := markKey(gid, sid, source)
	if e, ok := c.marks[string(k)]; ok {
		return e, nil
	}
	value, err := getUint64(c.db, k)
	if err != nil {
		return nil, err
	}
	e := &entry[uint64]{value: value}
	c.marks[string(k)] = e
	return e, nil
}

// newID gives out the number of a new group or stream.
func (c *commit) newID() uint64 {
	id := c.counters.nextID
	c.counters.nextID++
	c.counted = true
	return id
}

// forget drops what the commit remembers about a group that is being deleted,
// so that flush does not write it again.
func (c *commit) forget(gid uint64) {
	delete(c.stored, gid)
	for at := range c.streams {
		if at.gid == gid {
			delete(c.streams, at)
		}
	}
	for k := range c.marks {
		if binary.BigEndian.Uint64([]byte(k[1:])) == gid {
			delete(c.marks, k)
		}
	}
}

// forgetMarks drops the marks of a stream that is being deleted.
func (c *commit) forgetMarks(gid, sid uint64) {
	prefix := string(markKey(gid, sid, ""))
	for k := range c.marks {
		if len(k) >= len(prefix) && k[:len(prefix)] == prefix {
			delete(c.marks, k)
		}
	}
}

// flush writes the records that changed.
func (c *commit) flush() error {
	for name, e := range c.groups {
		if !e.dirty {
			continue
		}
		if e.value == nil {
			_ = c.batch.Delete(groupKey(name), nil) // batch operations fail only on oversize
			continue
		}
		value, err := e.value.encode()
		if err != nil {
			return err
		}
		_ = c.batch.Set(groupKey(name), value, nil)
	}
	for at, e := range c.streams {
		switch {
		case !e.dirty:
		case e.value == nil:
			_ = c.batch.Delete(streamKey(at.gid, at.name), nil)
		default:
			_ = c.batch.Set(streamKey(at.gid, at.name), e.value.encode(), nil)
		}
	}
	for gid, e := range c.stored {
		if e.dirty {
			_ = c.batch.Set(key(kindBytes, gid), binary.BigEndian.AppendUint64(nil, uint64(e.value)), nil)
		}
	}
	for k, e := range c.marks {
		if e.dirty {
			_ = c.batch.Set([]byte(k), binary.BigEndian.AppendUint64(nil, e.value), nil)
		}
	}
	if c.counted {
		_ = c.batch.Set(countersKey(), c.counters.encode(), nil)
	}
	return nil
}

func getUint64(r pebble.Reader, k []byte) (uint64, error) {
	value, err := get(r, k)
	if err != nil || value == nil {
		return 0, err
	}
	return decodeUint64(value)
}
