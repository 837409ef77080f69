package logstore

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// Record is a stored event.
type Record struct {
	Stream string
	Position
	Message string
}

// StreamQuery says which events of one stream to read.
type StreamQuery struct {
	Group, Stream string
	Start         int64     // earliest timestamp
	End           int64     // timestamp before which events must be; 0 for no end
	After         *Position // only events after it
	Before        *Position // only events before it
	Newest        bool      // take the newest events of that range, not the oldest
	Limit         int       // most events to return; 0 for no limit
	// MaxBytes ends the page before it would hold more message bytes, with
	// EventOverhead each; 0 for no limit. One event is always returned.
	MaxBytes int
}

// Read returns events in ascending order, whichever end of the range they are
// taken from. It returns ErrGroupNotFound or ErrStreamNotFound.
func (s *Store) Read(ctx context.Context, q StreamQuery) ([]Record, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.readers.Done()
	g, err := findGroup(s.db, q.Group)
	if err != nil {
		return nil, err
	}
	r, err := findStream(s.db, g.ID, q.Group, q.Stream)
	if err != nil {
		return nil, err
	}
	window := newWindow(q.Start, q.End, cutoff(g.RetentionDays, s.nowMillis()), q.After, q.Before)
	cursor, err := s.openCursor(g.ID, r.id, q.Stream, window, q.Newest)
	if err != nil {
		return nil, err
	}
	defer cursor.close()

	var page []Record
	size := 0
	for cursor.next() {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		size += len(cursor.record.Message) + EventOverhead
		if q.MaxBytes > 0 && size > q.MaxBytes && len(page) > 0 {
			break
		}
		page = append(page, cursor.record)
		if q.Limit > 0 && len(page) == q.Limit {
			break
		}
	}
	if cursor.err != nil {
		return nil, cursor.err
	}
	if q.Newest {
		slices.Reverse(page)
	}
	return page, nil
}

// GroupQuery says which events of a group to scan.
type GroupQuery struct {
	Group   string
	Streams []string  // only these streams; all when empty
	Prefix  string    // only streams whose names begin with it
	Start   int64     // earliest timestamp
	End     int64     // timestamp before which events must be; 0 for no end
	After   *Position // only events after it
}

// Scan yields the events of a group's streams in ascending order of position. An
// error ends it: ErrGroupNotFound, ErrStreamNotFound for a name in Streams, or
// what happened while reading. What is appended during the scan may or may not
// be seen.
func (s *Store) Scan(ctx context.Context, q GroupQuery) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if err := s.scan(ctx, q, yield); err != nil {
			yield(Record{}, err)
		}
	}
}

func (s *Store) scan(ctx context.Context, q GroupQuery, yield func(Record, error) bool) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.readers.Done()
	g, err := findGroup(s.db, q.Group)
	if err != nil {
		return err
	}
	m := &merge{store: s, gid: g.ID}
	defer m.close()
	m.window = newWindow(q.Start, q.End, cutoff(g.RetentionDays, s.nowMillis()), q.After, nil)
	if m.waiting, err = s.candidates(ctx, g.ID, q, m.window); err != nil {
		return err
	}
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		record, ok, err := m.next()
		if err != nil {
			return err
		}
		if !ok || !yield(record, nil) {
			return nil
		}
	}
}

// candidate is a stream that may have events in the window, none of them
// earlier than from.
type candidate struct {
	name string
	sid  uint64
	from int64
}

// candidates returns the streams that a query may find events in, those that
// start first at the front.
func (s *Store) candidates(ctx context.Context, gid uint64, q GroupQuery, w window) ([]candidate, error) {
	var found []candidate
	consider := func(name string, r *streamRecord) {
		if r.count > 0 && r.maxTimestamp >= w.first.Timestamp && r.minTimestamp < w.end {
			found = append(found, candidate{name, r.id, max(r.minTimestamp, w.first.Timestamp)})
		}
	}
	if len(q.Streams) > 0 {
		for _, name := range slices.Compact(slices.Sorted(slices.Values(q.Streams))) {
			r, err := findStream(s.db, gid, q.Group, name)
			if err != nil {
				return nil, err
			}
			if strings.HasPrefix(name, q.Prefix) {
				consider(name, r)
			}
		}
	} else {
		prefix := streamKey(gid, q.Prefix)
		err := s.walk(ctx, prefix, prefixEnd(prefix), false, func(k, v []byte) (bool, error) {
			r, err := decodeStream(v)
			if err != nil {
				return false, err
			}
			consider(string(k[len(key(kindStream, 0)):]), r)
			return true, nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.from, b.from), strings.Compare(a.name, b.name))
	})
	return found, nil
}

// merge brings the events of many streams into one order. It keeps iterators
// open only for streams that have an event at the present time of the scan.
type merge struct {
	store   *Store
	gid     uint64
	window  window
	waiting []candidate // not opened yet, by from
	open    cursorHeap
}

// next returns the next event of all streams.
func (m *merge) next() (Record, bool, error) {
	for len(m.waiting) > 0 && (len(m.open) == 0 || m.waiting[0].from <= m.open[0].record.Timestamp) {
		c := m.waiting[0]
		m.waiting = m.waiting[1:]
		cursor, err := m.store.openCursor(m.gid, c.sid, c.name, m.window, false)
		if err != nil {
			return Record{}, false, err
		}
		if cursor.next() {
			heap.Push(&m.open, cursor)
			continue
		}
		cursor.close()
		if cursor.err != nil {
			return Record{}, false, cursor.err
		}
	}
	if len(m.open) == 0 {
		return Record{}, false, nil
	}
	top := m.open[0]
	record := top.record
	if top.next() {
		heap.Fix(&m.open, 0)
		return record, true, nil
	}
	heap.Pop(&m.open)
	top.close()
	return record, top.err == nil, top.err
}

func (m *merge) close() {
	for _, c := range m.open {
		c.close()
	}
}

// cursorHeap orders open cursors by the event they stand on.
type cursorHeap []*cursor

func (h cursorHeap) Len() int           { return len(h) }
func (h cursorHeap) Less(i, j int) bool { return h[i].record.Compare(h[j].record.Position) < 0 }
func (h cursorHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *cursorHeap) Push(x any)        { *h = append(*h, x.(*cursor)) }
func (h *cursorHeap) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return c
}

// window is the range of positions to read.
type window struct {
	first  Position  // inclusive
	after  bool      // first is exclusive
	end    int64     // timestamp, exclusive
	before *Position // exclusive
}

func newWindow(start, end, cutoff int64, after, before *Position) window {
	w := window{first: Position{Timestamp: max(start, cutoff, 0)}, end: end, before: before}
	if end == 0 || end > MaxTimestamp {
		w.end = MaxTimestamp + 1
	}
	if after != nil && after.Compare(w.first) >= 0 {
		w.first, w.after = *after, true
	}
	return w
}

// bounds returns the keys that enclose the window in one stream.
func (w window) bounds(gid, sid uint64) (lower, upper []byte) {
	lower = eventKey(gid, sid, w.first)
	if w.after {
		lower = append(lower, 0)
	}
	upper = eventKey(gid, sid, Position{Timestamp: max(w.end, 0)})
	if w.before != nil {
		if before := eventKey(gid, sid, *w.before); bytes.Compare(before, upper) < 0 {
			upper = before
		}
	}
	if bytes.Compare(lower, upper) > 0 {
		lower = upper
	}
	return lower, upper
}

// cursor walks the events of one stream in one direction.
type cursor struct {
	it      *pebble.Iterator
	step    func() bool
	started bool
	record  Record // the event it stands on, after next returned true
	err     error
}

func (s *Store) openCursor(gid, sid uint64, name string, w window, reverse bool) (*cursor, error) {
	lower, upper := w.bounds(gid, sid)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("log store: reading stream %s: %w", name, err)
	}
	c := &cursor{it: it, record: Record{Stream: name}}
	first, next := it.First, it.Next
	if reverse {
		first, next = it.Last, it.Prev
	}
	c.step = func() bool {
		if c.started {
			return next()
		}
		c.started = true
		return first()
	}
	return c, nil
}

// next moves to the next event; false at the end and on an error.
func (c *cursor) next() bool {
	if !c.step() {
		c.err = c.it.Error()
	} else if value, err := c.it.ValueAndErr(); err != nil {
		c.err = err
	} else {
		c.record.Message = string(value)
		c.record.Position, c.err = positionOf(c.it.Key())
		if c.err == nil {
			return true
		}
	}
	if c.err != nil {
		c.err = fmt.Errorf("log store: reading stream %s: %w", c.record.Stream, c.err)
	}
	return false
}

func (c *cursor) close() { _ = c.it.Close() } // reports what next reported
