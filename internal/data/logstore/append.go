package logstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"berth.dev/berth/internal/base/fault"
)

// EventOverhead is what AWS adds to the length of each message when it counts
// bytes: limits and StoredBytes use it.
const EventOverhead = 26

// MaxAppendBytes bounds one Append, messages with EventOverhead each. It is
// twice what PutLogEvents accepts.
const MaxAppendBytes = 2 << 20

// Event is a log event that is to be stored.
type Event struct {
	Timestamp int64 // milliseconds since the epoch, 0 to MaxTimestamp
	Message   string
}

// Appended says what Append did.
type Appended struct {
	// Duplicate is true when the source had stored this sequence number, or a
	// higher one, before. The events are then not stored again.
	Duplicate bool
}

// Append stores events at the end of a stream, in the order given among equal
// timestamps, and returns when they are on disk: all of them or, with an error,
// none. With a source (any name that its owner keeps for itself), seq numbers
// the source's calls on this stream upwards from 1; repeating a call after an
// unclear outcome is then harmless. Without a source seq is ignored.
//
// Append does not judge timestamps against the clock or the retention.
func (s *Store) Append(
	ctx context.Context, group, stream, source string, seq uint64, events []Event,
) (Appended, error) {
	bytes, err := measure(events)
	if err != nil {
		return Appended{}, fmt.Errorf("appending to %s in %s: %w", stream, group, err)
	}
	if source != "" && seq == 0 {
		return Appended{}, fault.New(fault.Invalid, "appending to %s in %s: sequence numbers of %q start with 1", stream, group, source)
	}
	var result Appended
	err = s.submit(ctx, true, bytes, func(c *commit) error {
		g, e, err := c.existingStream(group, stream)
		if err != nil {
			return err
		}
		result.Duplicate, err = c.append(g, e, source, seq, events, int64(bytes))
		return err
	})
	if err != nil {
		return Appended{}, err
	}
	return result, nil
}

// measure returns the bytes that events count for, or why they cannot be stored.
func measure(events []Event) (int, error) {
	bytes := 0
	for i, e := range events {
		if e.Timestamp < 0 || e.Timestamp > MaxTimestamp {
			return 0, fault.New(fault.Invalid, "event %d has timestamp %d, which is not between 0 and %d", i, e.Timestamp, MaxTimestamp)
		}
		bytes += len(e.Message) + EventOverhead
	}
	if bytes > MaxAppendBytes {
		return 0, fault.New(fault.Invalid, "%d bytes are more than the %d that fit into one call", bytes, MaxAppendBytes)
	}
	return bytes, nil
}

// append writes events unless the source's mark says that they are there.
func (c *commit) append(
	g *groupRecord, e *entry[*streamRecord], source string, seq uint64, events []Event, bytes int64,
) (duplicate bool, err error) {
	stored, err := c.storedBytes(g.ID)
	if err != nil {
		return false, err
	}
	if source != "" {
		mark, err := c.mark(g.ID, e.value.id, source)
		if err != nil {
			return false, err
		}
		if seq <= mark.value {
			return true, nil
		}
		mark.set(seq)
	}
	if len(events) == 0 {
		return false, nil
	}
	r := *e.value
	ingestion := max(c.now, c.counters.lastIngestion)
	if r.count == 0 {
		r.minTimestamp, r.maxTimestamp = events[0].Timestamp, events[0].Timestamp
	}
	for _, event := range events {
		position := Position{Timestamp: event.Timestamp, Ingestion: ingestion, Sequence: c.counters.nextSequence}
		c.counters.nextSequence++
		_ = c.batch.Set(eventKey(g.ID, r.id, position), []byte(event.Message), nil)
		r.minTimestamp = min(r.minTimestamp, event.Timestamp)
		r.maxTimestamp = max(r.maxTimestamp, event.Timestamp)
	}
	c.counters.lastIngestion = ingestion
	c.counted = true
	r.count += uint64(len(events))
	r.bytes += bytes
	r.lastIngestion = ingestion
	e.set(&r)
	stored.set(stored.value + bytes)
	return false, nil
}

// awsError is an error whose text is the one AWS gives, for callers that show
// it to users without a provider in between: the awslogs driver.
type awsError struct {
	text  string
	cause error
}

func (e *awsError) Error() string { return e.text }
func (e *awsError) Unwrap() error { return e.cause }

// asAWS gives not-found errors AWS's text.
func asAWS(err error) error {
	switch {
	case errors.Is(err, ErrGroupNotFound):
		return &awsError{"ResourceNotFoundException: The specified log group does not exist.", err}
	case errors.Is(err, ErrStreamNotFound):
		return &awsError{"ResourceNotFoundException: The specified log stream does not exist.", err}
	}
	return err
}

// EnsureStream makes the stream unless it is there, and with createGroup the
// group too. It is what the awslogs driver does when a container starts, with
// names that nobody has checked before; the texts of its errors about names and
// about a missing group are AWS's.
func (s *Store) EnsureStream(ctx context.Context, group, stream string, createGroup bool) error {
	if s.hasStream(group, stream) {
		return nil
	}
	if err := checkNames(group, stream); err != nil {
		return err
	}
	err := s.submit(ctx, true, len(group)+len(stream), func(c *commit) error {
		g, err := c.group(group)
		if err != nil {
			return err
		}
		if g.value == nil && !createGroup {
			return fmt.Errorf("%w: %s", ErrGroupNotFound, group)
		}
		if g.value == nil {
			c.createGroup(g, GroupSettings{})
		}
		e, err := c.stream(g.value.ID, stream)
		if err != nil {
			return err
		}
		if e.value == nil {
			c.createStream(e)
		}
		return nil
	})
	return asAWS(err)
}

// checkNames refuses what CreateLogGroup and CreateLogStream refuse.
func checkNames(group, stream string) error {
	const rule = "InvalidParameterException: 1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must %s"
	for _, n := range []struct{ member, value string }{{"logGroupName", group}, {"logStreamName", stream}} {
		switch length := utf8.RuneCountInString(n.value); {
		case length < 1:
			return fault.New(fault.Invalid, rule, n.value, n.member, "have length greater than or equal to 1")
		case length > maxName:
			return fault.New(fault.Invalid, rule, n.value, n.member, fmt.Sprint("have length less than or equal to ", maxName))
		}
	}
	if strings.ContainsFunc(group, func(r rune) bool { return !strings.ContainsRune(groupCharacters, r) }) {
		return fault.New(fault.Invalid, rule, group, "logGroupName", `satisfy regular expression pattern: [\.\-_/#A-Za-z0-9]+`)
	}
	if len(group) >= 4 && strings.EqualFold(group[:4], "aws/") {
		return fault.New(fault.Invalid, "InvalidParameterException: Log groups starting with AWS/ are reserved for AWS.")
	}
	if strings.ContainsAny(stream, ":*") {
		return fault.New(fault.Invalid, rule, stream, "logStreamName", `satisfy regular expression pattern: [^:*]*`)
	}
	return nil
}

// What names may be.
const (
	maxName         = 512 // characters
	groupCharacters = ".-_/#0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// hasStream reports whether the stream is known to be there. It may be wrong
// only in saying no.
func (s *Store) hasStream(group, stream string) bool {
	if err := s.enter(); err != nil {
		return false
	}
	defer s.readers.Done()
	g, err := findGroup(s.db, group)
	if err != nil {
		return false
	}
	_, err = findStream(s.db, g.ID, group, stream)
	return err == nil
}

// SourceEvent is an event with its number at the source that delivers it.
type SourceEvent struct {
	Seq uint64 // grows from event to event of a source, from 1
	Event
}

// Deliver stores a container's output exactly once: of the events, which come
// in the order of Seq, only those are stored whose Seq is above the highest
// that the source has delivered to this stream. A source that does not know
// whether a call succeeded may so repeat its events, cut into other calls.
// Output is made to fit as the awslogs driver does: bytes that are not UTF-8
// become U+FFFD, empty lines are dropped. Errors for a missing group or stream
// have AWS's text.
func (s *Store) Deliver(ctx context.Context, group, stream, source string, events []SourceEvent) error {
	if len(events) == 0 {
		return nil
	}
	if source == "" || events[0].Seq == 0 {
		return fault.New(fault.Invalid, "delivering to %s in %s: a source has a name and numbers its events from 1", stream, group)
	}
	for i := range events {
		events[i].Message = strings.ToValidUTF8(events[i].Message, "\uFFFD")
	}
	bytes, err := measure(plain(events, 0))
	if err != nil {
		return fmt.Errorf("delivering to %s in %s: %w", stream, group, err)
	}
	err = s.submit(ctx, true, bytes, func(c *commit) error {
		g, e, err := c.existingStream(group, stream)
		if err != nil {
			return err
		}
		mark, err := c.mark(g.ID, e.value.id, source)
		if err != nil {
			return err
		}
		last, fresh := events[len(events)-1].Seq, plain(events, mark.value)
		size, err := measure(fresh)
		if err != nil {
			return err
		}
		_, err = c.append(g, e, source, last, fresh, int64(size))
		return err
	})
	return asAWS(err)
}

// Delivered reports whether a source has delivered to a stream that is still
// there.
func (s *Store) Delivered(group, stream, source string) (bool, error) {
	if err := s.enter(); err != nil {
		return false, err
	}
	defer s.readers.Done()
	g, err := findGroup(s.db, group)
	if err == nil {
		var record *streamRecord
		if record, err = findStream(s.db, g.ID, group, stream); err == nil {
			mark, err := get(s.db, markKey(g.ID, record.id, source))
			return mark != nil, err
		}
	}
	if errors.Is(err, fault.NotFound) {
		return false, nil
	}
	return false, err
}

// plain returns the events above a mark that have anything in them.
func plain(events []SourceEvent, mark uint64) []Event {
	out := make([]Event, 0, len(events))
	for _, e := range events {
		if e.Seq > mark && e.Message != "" {
			out = append(out, e.Event)
		}
	}
	return out
}
