package reaper

import (
	"context"
	"log/slog"
	"time"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

const (
	// DefaultRetention is how long stopped tasks are kept; AWS promises an hour.
	DefaultRetention = time.Hour
	tokenLife        = 24 * time.Hour // behaviour/api-conventions.md §10
	interval         = time.Minute
)

// Loop deletes what is old.
type Loop struct {
	store     *store.Store
	retention time.Duration
	log       *slog.Logger
}

// New returns a Loop that keeps stopped tasks for retention.
func New(s *store.Store, retention time.Duration, log *slog.Logger) *Loop {
	return &Loop{store: s, retention: retention, log: log}
}

// Run passes once a minute until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if err := l.Pass(ctx, time.Now()); err != nil && ctx.Err() == nil {
			l.log.WarnContext(ctx, "old records were not deleted; trying again", telemetry.Error, err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Pass deletes what is old at now.
func (l *Loop) Pass(ctx context.Context, now time.Time) error {
	snap := l.store.Snapshot()
	var tasks, tokens, definitions []string
	for t := range records.Tasks.By(snap, records.TasksByStatus, model.TaskStopped) {
		if !t.Lost && t.Observed.StoppedAt != nil && now.Sub(*t.Observed.StoppedAt) > l.retention {
			tasks = append(tasks, t.Key())
		}
	}
	for t := range records.RunTaskTokens.All(snap) {
		if now.Sub(t.CreatedAt) > tokenLife {
			tokens = append(tokens, t.Key())
		}
	}
	for d := range records.TaskDefinitions.By(snap, records.TaskDefinitionsByStatus, model.TaskDefinitionDeleteInProgress) {
		if !inUse(snap, d) {
			definitions = append(definitions, d.Key())
		}
	}
	if err := remove(ctx, l.store, records.Tasks, tasks); err != nil {
		return err
	}
	if err := remove(ctx, l.store, records.RunTaskTokens, tokens); err != nil {
		return err
	}
	return remove(ctx, l.store, records.TaskDefinitions, definitions)
}

// inUse reports whether a task that has not stopped was made from d.
// Registration never revives a revision, so what is unused stays unused.
func inUse(snap *store.Snapshot, d *model.TaskDefinition) bool {
	for range records.Tasks.By(snap, records.TasksByDefinition, d.ARN) {
		return true
	}
	return false
}

func remove[T any](ctx context.Context, s *store.Store, table *store.Table[T], keys []string) error {
	_, err := store.Batch(ctx, s, keys, func(tx *store.Tx, key string) error {
		table.Delete(tx, key)
		return nil
	})
	return err
}
