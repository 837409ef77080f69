package logstore

import (
	"context"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"berth.dev/berth/internal/base/telemetry"
)

const millisPerDay = int64(24 * time.Hour / time.Millisecond)

// cutoff returns the earliest timestamp that is kept, given the retention of
// the group.
func cutoff(retentionDays int, now int64) int64 {
	if retentionDays == 0 {
		return 0
	}
	return max(0, now-int64(retentionDays)*millisPerDay)
}

// Run removes expired events from disk, at once and then every PurgeInterval,
// until ctx ends; then it returns nil. It returns an error when the store has
// failed, which only opening it again can repair.
func (s *Store) Run(ctx context.Context) error {
	timer := time.NewTicker(s.options.PurgeInterval)
	defer timer.Stop()
	for {
		if _, err := s.Purge(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "log store: removing expired events did not finish", telemetry.Error, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.failed:
			return s.failure()
		case <-timer.C:
		}
	}
}

// purgeChunk is how many events are removed by one change, so that appends wait
// for milliseconds at most.
const purgeChunk = 4096

// Purge removes the events that have expired by now from disk and returns how
// many there were. Readers see no difference, except that StoredBytes shrinks.
func (s *Store) Purge(ctx context.Context) (events int, err error) {
	type target struct{ group, stream string }
	var targets []target
	for group, err := range s.Groups(ctx, "", "") {
		if err != nil {
			return 0, fmt.Errorf("purging: %w", err)
		}
		limit := cutoff(group.RetentionDays, s.nowMillis())
		if limit == 0 {
			continue
		}
		record, err := s.groupRecord(group.Name)
		if err != nil {
			continue // deleted meanwhile
		}
		prefix := streamKey(record.ID, "")
		err = s.walk(ctx, prefix, prefixEnd(prefix), false, func(k, v []byte) (bool, error) {
			stream, err := decodeStream(v)
			if err == nil && stream.count > 0 && stream.minTimestamp < limit {
				targets = append(targets, target{group.Name, string(k[len(prefix):])})
			}
			return true, err
		})
		if err != nil {
			return 0, fmt.Errorf("purging %s: %w", group.Name, err)
		}
	}
	for _, t := range targets {
		for {
			n, err := s.purgeStream(ctx, t.group, t.stream)
			events += n
			if err != nil {
				return events, fmt.Errorf("purging %s in %s: %w", t.stream, t.group, err)
			}
			if n < purgeChunk {
				break
			}
		}
	}
	return events, nil
}

// purgeStream removes up to purgeChunk expired events of one stream. That the
// group or the stream is gone is not an error.
func (s *Store) purgeStream(ctx context.Context, group, stream string) (events int, err error) {
	err = s.submit(ctx, false, 0, func(c *commit) error {
		g, err := c.group(group)
		if err != nil || g.value == nil {
			return err
		}
		e, err := c.stream(g.value.ID, stream)
		if err != nil || e.value == nil {
			return err
		}
		events, err = c.purge(g.value, e)
		return err
	})
	return events, err
}

func (c *commit) purge(g *groupRecord, e *entry[*streamRecord]) (int, error) {
	r := *e.value
	limit := cutoff(g.RetentionDays, c.now)
	// A stream that this commit has appended to waits for the next round: the
	// events cannot be counted before they are committed.
	if e.dirty || r.count == 0 || r.minTimestamp >= limit {
		return 0, nil
	}
	stored, err := c.storedBytes(g.ID)
	if err != nil {
		return 0, err
	}
	lower := key(kindEvent, g.ID, r.id)
	expired, bytes, end, err := c.expired(lower, eventKey(g.ID, r.id, Position{Timestamp: limit}))
	if err != nil {
		return 0, err
	}
	r.minTimestamp = limit
	if expired == purgeChunk {
		p, err := positionOf(end[:eventKeyLen])
		if err != nil {
			return 0, err
		}
		r.minTimestamp = p.Timestamp
	}
	if expired > 0 {
		_ = c.batch.DeleteRange(lower, end, nil)
	}
	r.count -= uint64(expired)
	r.bytes -= bytes
	e.set(&r)
	stored.set(stored.value - bytes)
	return expired, nil
}

// expired looks at events from lower up to limit, at most purgeChunk of them,
// and returns their number, their bytes and a key that ends them.
func (c *commit) expired(lower, limit []byte) (events int, bytes int64, end []byte, err error) {
	it, err := c.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: limit})
	if err != nil {
		return 0, 0, nil, err
	}
	defer it.Close()
	for ok := it.First(); ok && events < purgeChunk; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return 0, 0, nil, err
		}
		events++
		bytes += int64(len(value)) + EventOverhead
		end = append(append(end[:0], it.Key()...), 0)
	}
	return events, bytes, end, it.Error()
}
