package registration

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

const (
	// tasksPerWrite keeps a transaction far from the store's limit: a task may
	// have five targets and a name.
	tasksPerWrite = 12
	// inFlight is how many services are written at once.
	inFlight = 8
	// retryAfter is the pause after a write that failed.
	retryAfter = time.Second
	// resolversForget is how long resolvers may remember a name at most,
	// whatever its TTL: longer than that no task is kept for them.
	resolversForget = 10 * time.Second
)

// Config is what a Loop is made of; all members are required.
type Config struct {
	Store *store.Store
	// Scope is the region that names' attributes tell.
	Scope arn.Scope
	Log   *slog.Logger
}

// Loop registers tasks and takes them out.
type Loop struct {
	store *store.Store
	scope arn.Scope
	log   *slog.Logger
}

// New returns a Loop.
func New(cfg Config) *Loop {
	return &Loop{store: cfg.Store, scope: cfg.Scope, log: cfg.Log}
}

// Run keeps the package's promises until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	watch := l.store.Watch(ctx, records.Tasks, records.Targets, records.TargetGroups, records.DiscoveryServices)
	p := &pass{Loop: l, before: watch.Snapshot(), dirty: map[string]bool{}, waiting: map[string]time.Time{}}
	for t := range records.Tasks.All(p.before) {
		p.note(t.ID)
	}
	for {
		var timer <-chan time.Time
		if next := p.run(ctx); !next.IsZero() {
			timer = time.After(time.Until(next))
		}
		select {
		case <-watch.Changed():
			snap, changes := watch.Take()
			p.take(snap, changes)
		case <-timer:
		case <-ctx.Done():
			return nil
		}
	}
}

// pass is what the loop remembers between two looks at the store; all of it
// can be derived again.
type pass struct {
	*Loop
	before *store.Snapshot
	// dirty are tasks that must be looked at.
	dirty map[string]bool
	// waiting are tasks that are not released yet, with the time at which they
	// are to be looked at; zero: when something changes.
	waiting map[string]time.Time
}

func (p *pass) note(taskID string) { p.dirty[taskID] = true }

// take notes the tasks that changes concern.
func (p *pass) take(snap *store.Snapshot, changes []store.Change) {
	for _, c := range changes {
		switch c.Table {
		case records.Tasks.Name():
			p.note(c.Key)
		case records.Targets.Name():
			// One that is gone, or is another task's now, holds its task no longer.
			if t, found := records.Targets.Get(p.before, c.Key); found && t.TaskID != "" {
				p.note(t.TaskID)
			}
		default:
			if gone(snap, c) {
				for id := range p.waiting {
					p.note(id)
				}
			}
		}
	}
	p.before = snap
}

func gone(snap *store.Snapshot, c store.Change) bool {
	if c.Table == records.TargetGroups.Name() {
		return !records.TargetGroups.Has(snap, c.Key)
	}
	return !records.DiscoveryServices.Has(snap, c.Key)
}

// run looks at every task that must be looked at, those of one service
// together, and says when to look again; zero: when something changes.
func (p *pass) run(ctx context.Context) time.Time {
	now, snap := time.Now(), p.store.Snapshot()
	for id, due := range p.waiting {
		if !due.IsZero() && !now.Before(due) {
			p.note(id)
		}
	}
	services := map[string][]string{}
	for _, id := range slices.Sorted(maps.Keys(p.dirty)) {
		delete(p.dirty, id)
		delete(p.waiting, id)
		if t, found := records.Tasks.Get(snap, id); found && concerned(snap, t) {
			services[t.ServiceID] = append(services[t.ServiceID], id)
		}
	}
	p.write(ctx, services)
	var next time.Time
	for _, due := range p.waiting {
		if !due.IsZero() && (next.IsZero() || due.Before(next)) {
			next = due
		}
	}
	return next
}

// concerned reports whether there may be something to do for a task.
func concerned(r store.Reader, t *model.Task) bool {
	if len(t.LoadBalancers) == 0 && len(t.Registries) == 0 {
		return false
	}
	if t.DesiredStatus == model.TaskStopped || t.Stopped() {
		return !t.Released
	}
	return t.Observed.Status == model.TaskRunning && (!t.Registered || len(t.Registries) > 0 && checksHealth(r, t))
}

// write commits what is to be done, service by service, several at once.
func (p *pass) write(ctx context.Context, services map[string][]string) {
	var mu sync.Mutex // guards waiting and dirty
	var g errgroup.Group
	g.SetLimit(inFlight)
	for serviceID, ids := range services {
		g.Go(func() error {
			for chunk := range slices.Chunk(ids, tasksPerWrite) {
				waits, err := p.reconcile(ctx, serviceID, chunk)
				if err != nil && ctx.Err() == nil {
					p.log.WarnContext(ctx, "tasks were not registered or released; trying again", telemetry.Error, err)
				}
				mu.Lock()
				for _, id := range chunk {
					if err != nil {
						p.waiting[id] = time.Now().Add(retryAfter)
					} else if due, waits := waits[id]; waits {
						p.waiting[id] = due
					}
				}
				mu.Unlock()
			}
			return nil
		})
	}
	_ = g.Wait() // every failure is logged and tried again
}

// reconcile does what is to be done for tasks of one service in one
// transaction, and returns which of them wait, and until when.
func (p *pass) reconcile(ctx context.Context, serviceID string, ids []string) (map[string]time.Time, error) {
	var waits map[string]time.Time
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		w := &work{tx: tx, scope: p.scope, serviceID: serviceID, waits: map[string]time.Time{}, registered: map[string]int{}, deregistered: map[string]int{}, draining: map[string]int{}}
		for _, id := range ids {
			t, found := records.Tasks.Get(tx, id)
			if !found || !concerned(tx, t) {
				continue
			}
			var err error
			if t.DesiredStatus == model.TaskStopped || t.Stopped() {
				err = w.leave(t)
			} else {
				err = w.join(t)
			}
			if err != nil {
				return fmt.Errorf("task %s: %w", id, err)
			}
		}
		waits = w.waits
		return w.say()
	})
	return waits, err
}
