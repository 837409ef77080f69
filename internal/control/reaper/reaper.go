package reaper

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
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
	// serviceLife is how long an INACTIVE service can be described. AWS says
	// "for a while" (uncertain).
	serviceLife = 24 * time.Hour
	interval    = time.Minute
)

// History keeps what was deleted where it can be searched.
type History interface {
	// Keep stores stopped tasks durably. A task may be given twice, when its
	// record outlived the call.
	Keep(ctx context.Context, tasks []*model.Task) error
}

// Loop deletes what is old.
type Loop struct {
	store     *store.Store
	history   History
	retention time.Duration
	log       *slog.Logger
}

// New returns a Loop that moves stopped tasks to the history after retention.
func New(s *store.Store, history History, retention time.Duration, log *slog.Logger) *Loop {
	return &Loop{store: s, history: history, retention: retention, log: log}
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
	var tokens, definitions []string
	var tasks []*model.Task
	for t := range records.Tasks.By(snap, records.TasksByStatus, model.TaskStopped) {
		if !t.Lost && t.Observed.StoppedAt != nil && now.Sub(*t.Observed.StoppedAt) > l.retention {
			tasks = append(tasks, t)
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
	if err := l.retire(ctx, tasks); err != nil {
		return err
	}
	if err := l.removeServices(ctx, snap, now); err != nil {
		return err
	}
	if err := remove(ctx, l.store, records.RunTaskTokens, tokens); err != nil {
		return err
	}
	return remove(ctx, l.store, records.TaskDefinitions, definitions)
}

// tasksPerWrite bounds what is held in memory and lost time when a write fails.
const tasksPerWrite = 100

// retire moves tasks to the history: there first, so that none is lost.
func (l *Loop) retire(ctx context.Context, tasks []*model.Task) error {
	for batch := range slices.Chunk(tasks, tasksPerWrite) {
		if err := l.history.Keep(ctx, batch); err != nil {
			return fmt.Errorf("writing the history of tasks: %w", err)
		}
		keys := make([]string, len(batch))
		for i, t := range batch {
			keys[i] = t.Key()
		}
		if err := remove(ctx, l.store, records.Tasks, keys); err != nil {
			return err
		}
	}
	return nil
}

// removeServices deletes services that have been INACTIVE for long, with all
// that is theirs. The service goes last: as long as it is there, the rest is
// found.
func (l *Loop) removeServices(ctx context.Context, snap *store.Snapshot, now time.Time) error {
	for s := range records.Services.All(snap) {
		if s.Status != model.ServiceInactive || s.EndedAt == nil || now.Sub(*s.EndedAt) <= serviceLife {
			continue
		}
		var deployments, revisions, events []string
		for d := range records.Deployments.Prefix(snap, s.ID+"/") {
			deployments = append(deployments, d.Key())
		}
		for r := range records.ServiceRevisions.By(snap, records.ServiceRevisionsByService, s.ID) {
			revisions = append(revisions, r.Key())
		}
		for e := range records.ServiceEvents.Prefix(snap, s.ID+"/") {
			events = append(events, e.Key())
		}
		if err := remove(ctx, l.store, records.ServiceEvents, events); err != nil {
			return err
		}
		if err := remove(ctx, l.store, records.Deployments, deployments); err != nil {
			return err
		}
		if err := remove(ctx, l.store, records.ServiceRevisions, revisions); err != nil {
			return err
		}
		if err := remove(ctx, l.store, records.Services, []string{s.Key()}); err != nil {
			return err
		}
	}
	return nil
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
