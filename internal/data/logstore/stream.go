package logstore

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"
)

// Stream is a log stream as it is now. Times are milliseconds since the epoch;
// those about events are zero when no unexpired event is there.
type Stream struct {
	Name          string
	Created       int64
	FirstEvent    int64 // timestamp of the oldest event
	LastEvent     int64 // timestamp of the newest event
	LastIngestion int64 // when an event was last stored
	StoredBytes   int64 // as Group.StoredBytes
}

// HasEvents reports whether the stream holds an unexpired event.
func (s Stream) HasEvents() bool { return s.LastIngestion != 0 }

// CreateStream makes a stream. It returns ErrGroupNotFound or ErrStreamExists.
func (s *Store) CreateStream(ctx context.Context, group, name string) error {
	return s.submit(ctx, true, len(name), func(c *commit) error {
		g, err := c.existing(group)
		if err != nil {
			return err
		}
		e, err := c.stream(g.value.ID, name)
		if err != nil {
			return err
		}
		if e.value != nil {
			return fmt.Errorf("%w: %s in %s", ErrStreamExists, name, group)
		}
		c.createStream(e)
		return nil
	})
}

func (c *commit) createStream(e *entry[*streamRecord]) {
	e.set(&streamRecord{id: c.newID(), created: c.now})
}

// DeleteStream removes a stream and its events. It returns ErrGroupNotFound or
// ErrStreamNotFound.
func (s *Store) DeleteStream(ctx context.Context, group, name string) error {
	return s.submit(ctx, false, 0, func(c *commit) error {
		g, e, err := c.existingStream(group, name)
		if err != nil {
			return err
		}
		stored, err := c.storedBytes(g.ID)
		if err != nil {
			return err
		}
		sid := e.value.id
		c.forgetMarks(g.ID, sid)
		for _, kind := range []byte{kindMark, kindEvent} {
			prefix := key(kind, g.ID, sid)
			_ = c.batch.DeleteRange(prefix, prefixEnd(prefix), nil)
		}
		stored.set(stored.value - e.value.bytes)
		e.set(nil)
		return nil
	})
}

// StreamList says which streams to list.
type StreamList struct {
	Group   string
	Prefix  string // of the names
	From    string // only names after it (before it when Reverse); empty for all
	Reverse bool   // descending order of names
}

// Streams yields streams in byte order of their names. An error ends it.
func (s *Store) Streams(ctx context.Context, list StreamList) iter.Seq2[Stream, error] {
	return func(yield func(Stream, error) bool) {
		group, err := s.groupRecord(list.Group)
		if err != nil {
			yield(Stream{}, err)
			return
		}
		prefix := streamKey(group.ID, list.Prefix)
		lower, upper := prefix, prefixEnd(prefix)
		switch from := streamKey(group.ID, list.From); {
		case list.From == "":
		case list.Reverse && bytes.Compare(from, upper) < 0:
			upper = from
		case !list.Reverse:
			lower = maxKey(lower, append(from, 0))
		}
		cutoff := cutoff(group.RetentionDays, s.nowMillis())
		err = s.walk(ctx, lower, upper, list.Reverse, func(k, v []byte) (bool, error) {
			record, err := decodeStream(v)
			if err != nil {
				return false, err
			}
			stream, err := s.presentStream(group.ID, string(k[len(key(kindStream, 0)):]), record, cutoff)
			if err != nil {
				return false, err
			}
			return yield(stream, nil), nil
		})
		if err != nil {
			yield(Stream{}, err)
		}
	}
}

// Stream returns one stream, or ErrGroupNotFound or ErrStreamNotFound.
func (s *Store) Stream(group, name string) (Stream, error) {
	g, err := s.groupRecord(group)
	if err != nil {
		return Stream{}, err
	}
	if err := s.enter(); err != nil {
		return Stream{}, err
	}
	defer s.readers.Done()
	record, err := findStream(s.db, g.ID, group, name)
	if err != nil {
		return Stream{}, err
	}
	return s.presentStream(g.ID, name, record, cutoff(g.RetentionDays, s.nowMillis()))
}

func (s *Store) groupRecord(name string) (*groupRecord, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.readers.Done()
	return findGroup(s.db, name)
}

// findStream reads a stream that must be there.
func findStream(r pebble.Reader, gid uint64, group, name string) (*streamRecord, error) {
	value, err := get(r, streamKey(gid, name))
	if err != nil {
		return nil, err
	}
	if value == nil {
		return nil, fmt.Errorf("%w: %s in %s", ErrStreamNotFound, name, group)
	}
	return decodeStream(value)
}

// presentStream makes the public form of a record. The oldest event is looked
// for, because the record's bounds also enclose events that have expired. The
// caller has entered.
func (s *Store) presentStream(gid uint64, name string, r *streamRecord, cutoff int64) (Stream, error) {
	stream := Stream{Name: name, Created: r.created, StoredBytes: r.bytes}
	if r.count == 0 || r.maxTimestamp < cutoff {
		return stream, nil
	}
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: eventKey(gid, r.id, Position{Timestamp: max(r.minTimestamp, cutoff)}),
		UpperBound: prefixEnd(key(kindEvent, gid, r.id)),
	})
	if err != nil {
		return stream, fmt.Errorf("log store: reading stream %s: %w", name, err)
	}
	defer it.Close()
	if !it.First() {
		return stream, it.Error() // deleted meanwhile when there is no error
	}
	first, err := positionOf(it.Key())
	if err != nil {
		return stream, err
	}
	stream.FirstEvent = first.Timestamp
	stream.LastEvent = r.maxTimestamp
	stream.LastIngestion = r.lastIngestion
	return stream, nil
}

// walk calls visit with the keys and values between lower and upper, which are
// only valid during the call, until visit says that it has enough.
func (s *Store) walk(
	ctx context.Context, lower, upper []byte, reverse bool, visit func(k, v []byte) (more bool, err error),
) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.readers.Done()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return fmt.Errorf("log store: listing: %w", err)
	}
	defer it.Close()
	start, next := it.First, it.Next
	if reverse {
		start, next = it.Last, it.Prev
	}
	for ok := start(); ok; ok = next() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("log store: listing: %w", err)
		}
		if more, err := visit(it.Key(), value); !more || err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return fmt.Errorf("log store: listing: %w", err)
	}
	return nil
}

func maxKey(a, b []byte) []byte {
	if bytes.Compare(a, b) < 0 {
		return b
	}
	return a
}
