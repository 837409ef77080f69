package liveness

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// DefaultLimit is how long a node may be out of reach. AWS documents no figure
// for Fargate; two minutes outlast an agent's upgrade and a short partition.
const DefaultLimit = 2 * time.Minute

// Loop watches the connections of nodes.
type Loop struct {
	store *store.Store
	limit time.Duration
	log   *slog.Logger
}

// New returns a Loop that loses a node's tasks after limit.
func New(s *store.Store, limit time.Duration, log *slog.Logger) *Loop {
	return &Loop{store: s, limit: limit, log: log}
}

// Run watches until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	begun := time.Now()
	watch := l.store.Watch(ctx, records.Instances)
	for {
		next, err := l.pass(ctx, begun)
		if err != nil && ctx.Err() == nil {
			l.log.WarnContext(ctx, "tasks of lost nodes were not ended; trying again", telemetry.Error, err)
			next = time.Now().Add(time.Second)
		}
		var timer <-chan time.Time
		if !next.IsZero() {
			timer = time.After(time.Until(next))
		}
		select {
		case <-watch.Changed():
			watch.Take()
		case <-timer:
		case <-ctx.Done():
			return nil
		}
	}
}

// pass ends the tasks of every node that is lost now, and says when the next
// one will be; zero when none is disconnected. Nobody is lost for the time
// before this loop began: then there was no control plane to come back to.
func (l *Loop) pass(ctx context.Context, begun time.Time) (next time.Time, err error) {
	snap, now := l.store.Snapshot(), time.Now()
	for i := range records.Instances.All(snap) {
		if i.Connected || i.DisconnectedAt == nil {
			continue
		}
		since := *i.DisconnectedAt
		if since.Before(begun) {
			since = begun
		}
		due := since.Add(l.limit)
		if now.Before(due) {
			if next.IsZero() || due.Before(next) {
				next = due
			}
			continue
		}
		for t := range records.Tasks.By(snap, records.LiveTasksByInstance, i.ID) {
			if err := l.lose(ctx, i.ID, t.ID); err != nil {
				return next, err
			}
		}
	}
	return next, nil
}

// lose ends one task, unless its node is back.
func (l *Loop) lose(ctx context.Context, instanceID, taskID string) error {
	_, err := l.store.Update(ctx, func(tx *store.Tx) error {
		records.Instances.Guard(tx, instanceID)
		i, ok := records.Instances.Get(tx, instanceID)
		t, found := records.Tasks.Get(tx, taskID)
		if !ok || !found || i.Connected || t.Stopped() {
			return nil
		}
		reason := fmt.Sprintf("Host %s (%s) lost: its agent has not been heard from for %s.", i.Name, i.ID, l.limit)
		return records.Tasks.Edit(tx, taskID, func(t *model.Task) error {
			t.Lose(tx.Now(), reason)
			return nil
		})
	})
	if err == nil {
		l.log.WarnContext(ctx, "a task was lost with its node", telemetry.TaskID, taskID, telemetry.InstanceID, instanceID)
	}
	return err
}
