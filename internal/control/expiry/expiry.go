package expiry

import (
	"container/heap"
	"context"
	"fmt"
	"log/slog"
	"time"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/keys"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

const (
	// retryAfter is the pause after something could not be written.
	retryAfter = time.Second
	// longestWait bounds how long a date is missed on a machine that slept or
	// whose clock was set: timers count the time that it was awake.
	longestWait = time.Hour
	// tokenMemory is how long an expired join token is remembered.
	tokenMemory = 24 * time.Hour
)

// Config is what a Loop is made of; all members are required.
type Config struct {
	Store *store.Store
	// Keys makes the material of keys that rotate.
	Keys *keys.Keys
	Log  *slog.Logger
}

// Loop is the control loop of dates.
type Loop struct {
	store *store.Store
	keys  *keys.Keys
	log   *slog.Logger
}

// New returns a Loop.
func New(cfg Config) *Loop { return &Loop{store: cfg.Store, keys: cfg.Keys, log: cfg.Log} }

// Run keeps the package's promises until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	watch := l.store.Watch(ctx, records.KMSKeys, records.Secrets, records.Parameters, records.JoinTokens)
	dates := newCalendar()
	for _, c := range everything(watch.Snapshot()) {
		dates.set(c, dateOf(watch.Snapshot(), c))
	}
	for {
		for _, c := range dates.due(time.Now()) {
			if err := l.act(ctx, c); err != nil && ctx.Err() == nil {
				l.log.WarnContext(ctx, "something that is due could not be done; trying again",
					telemetry.Event, c.Table, telemetry.Reason, c.Key, telemetry.Error, err)
				dates.set(c, time.Now().Add(retryAfter))
				continue
			}
			if at := dateOf(l.store.Snapshot(), c); !at.IsZero() {
				// Its next date; or the same, when the store's clock was behind.
				dates.set(c, later(at, time.Now().Add(retryAfter)))
			}
		}
		var timer <-chan time.Time
		if next, ok := dates.next(); ok {
			timer = time.After(min(time.Until(next), longestWait))
		}
		select {
		case <-watch.Changed():
			snap, changes := watch.Take()
			for _, c := range changes {
				dates.set(c, dateOf(snap, c))
			}
		case <-timer:
		case <-ctx.Done():
			return nil
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// everything names all records that may have a date.
func everything(r store.Reader) []store.Change {
	var all []store.Change
	for k := range records.KMSKeys.All(r) {
		all = append(all, store.Change{Table: records.KMSKeys.Name(), Key: k.Key()})
	}
	for s := range records.Secrets.All(r) {
		all = append(all, store.Change{Table: records.Secrets.Name(), Key: s.Key()})
	}
	for p := range records.Parameters.All(r) {
		all = append(all, store.Change{Table: records.Parameters.Name(), Key: p.Key()})
	}
	for t := range records.JoinTokens.All(r) {
		all = append(all, store.Change{Table: records.JoinTokens.Name(), Key: t.Key()})
	}
	return all
}

// dateOf is when something is to be done with a record; zero for never.
func dateOf(r store.Reader, c store.Change) time.Time {
	var at *time.Time
	switch c.Table {
	case records.KMSKeys.Name():
		k, ok := records.KMSKeys.Get(r, c.Key)
		switch {
		case !ok:
		case k.State == model.KMSKeyPendingDeletion:
			at = k.DeletionDate
		case k.State == model.KMSKeyEnabled && k.RotationEnabled:
			at = k.NextRotation
		}
	case records.Secrets.Name():
		if s, ok := records.Secrets.Get(r, c.Key); ok {
			at = s.PurgeAt
		}
	case records.Parameters.Name():
		if p, ok := records.Parameters.Get(r, c.Key); ok {
			at = p.ExpiresAt
		}
	case records.JoinTokens.Name():
		if t, ok := records.JoinTokens.Get(r, c.Key); ok && !t.ExpiresAt.IsZero() {
			at = new(t.ExpiresAt.Add(tokenMemory))
		}
	}
	if at == nil {
		return time.Time{}
	}
	return *at
}

// act does what a record's date has come for.
func (l *Loop) act(ctx context.Context, c store.Change) error {
	switch c.Table {
	case records.KMSKeys.Name():
		return l.key(ctx, c)
	case records.Secrets.Name():
		return removeWith(ctx, l, c, records.Secrets, records.SecretVersions, (*model.SecretVersion).Key)
	case records.Parameters.Name():
		return removeWith(ctx, l, c, records.Parameters, records.ParameterVersions, (*model.ParameterVersion).Key)
	case records.JoinTokens.Name():
		_, err := l.store.Update(ctx, func(tx *store.Tx) error {
			if isDue(tx, c) {
				records.JoinTokens.Delete(tx, c.Key)
			}
			return nil
		})
		return err
	}
	return fmt.Errorf("table %s has no dates", c.Table)
}

// isDue looks again, in the transaction that acts: a user may have thought
// better of it.
func isDue(tx *store.Tx, c store.Change) bool {
	at := dateOf(tx, c)
	return !at.IsZero() && !at.After(tx.Now())
}

// key removes a KMS key, or rotates it.
func (l *Loop) key(ctx context.Context, c store.Change) error {
	_, err := l.store.Update(ctx, func(tx *store.Tx) error {
		key, ok := records.KMSKeys.Get(tx, c.Key)
		if !ok || !isDue(tx, c) {
			return nil
		}
		if key.State == model.KMSKeyPendingDeletion {
			for alias := range records.KMSAliases.By(tx, records.KMSAliasesByKey, key.ID) {
				records.KMSAliases.Delete(tx, alias.Key())
			}
			// An alias that comes just now would name nothing.
			records.KMSAliases.GuardIndex(tx, records.KMSAliasesByKey, key.ID)
			records.KMSKeys.Delete(tx, key.ID)
			return nil
		}
		material, err := l.keys.NewMaterial(key.ID, key.Spec, tx.Now(), false)
		if err != nil {
			return err
		}
		return records.KMSKeys.Edit(tx, key.ID, func(key *model.KMSKey) error {
			key.Materials = append(key.Materials, material)
			// Periods that nobody was there for are not made up for.
			period := max(int(key.RotationDays), 1)
			next := *key.NextRotation
			for !next.After(tx.Now()) {
				next = next.AddDate(0, 0, period)
			}
			key.NextRotation = &next
			return nil
		})
	})
	return err
}

// perWrite is how many versions go in one transaction. Secrets and parameters
// have a hundred at most, so that all of one go together.
const perWrite = 110

// removeWith deletes a record with its versions. If there are more than fit
// into one transaction, the record goes with the last of them: as long as it is
// there, its versions are found.
func removeWith[R, V any](ctx context.Context, l *Loop, c store.Change, table *store.Table[R], versions *store.Table[V], keyOf func(*V) string) error {
	for more := true; more; {
		_, err := l.store.Update(ctx, func(tx *store.Tx) error {
			more = false
			if !isDue(tx, c) {
				return nil
			}
			table.Guard(tx, c.Key)
			n := 0
			for v := range versions.Prefix(tx, c.Key+"|") {
				if n++; n > perWrite {
					more = true
					return nil
				}
				versions.Delete(tx, keyOf(v))
			}
			table.Delete(tx, c.Key)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// calendar knows the dates of records, and the next of them.
type calendar struct {
	of    map[store.Change]time.Time
	queue queue // may have entries that are not true any more
}

func newCalendar() *calendar { return &calendar{of: map[store.Change]time.Time{}} }

// set notes the date of a record; zero for none.
func (c *calendar) set(what store.Change, at time.Time) {
	switch old, ok := c.of[what]; {
	case at.IsZero():
		delete(c.of, what)
	case !ok || !old.Equal(at):
		c.of[what] = at
		heap.Push(&c.queue, entry{at, what})
	}
}

// next is the next date; false when there is none.
func (c *calendar) next() (time.Time, bool) {
	for len(c.queue) > 0 {
		if at, ok := c.of[c.queue[0].what]; ok && at.Equal(c.queue[0].at) {
			return at, true
		}
		heap.Pop(&c.queue)
	}
	return time.Time{}, false
}

// due takes the records whose date has come. What is to happen again has a new
// date when it has changed.
func (c *calendar) due(now time.Time) []store.Change {
	var out []store.Change
	for {
		at, ok := c.next()
		if !ok || at.After(now) {
			return out
		}
		e := heap.Pop(&c.queue).(entry)
		delete(c.of, e.what)
		out = append(out, e.what)
	}
}

type entry struct {
	at   time.Time
	what store.Change
}

// queue is a heap of entries, the earliest first.
type queue []entry

// Len, Less, Swap, Push and Pop are for container/heap.
func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(entry)) }
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
