package deployment

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

const (
	// DefaultHealthyAfter is how long a task without load balancer and health
	// check must have been RUNNING to count as healthy. AWS takes 40 seconds;
	// here a deployment of such tasks shall not wait. Two seconds are enough
	// to see a program that cannot start at all, such as one that misses its
	// configuration, before the task that it replaces is stopped.
	DefaultHealthyAfter = 2 * time.Second

	workers = 8
	again   = time.Second // after a decision that could not be applied
)

// Launcher makes the tasks of services: a *launch.Launcher.
type Launcher interface {
	Launch(tx *store.Tx, r launch.Request) (launch.Outcome, error)
}

// Config is what a Loop is made of.
type Config struct {
	Store    *store.Store
	Launcher Launcher
	// Scope is the account and region whose image registry is Berth's own.
	Scope arn.Scope
	// HealthyAfter is for tasks that have neither a load balancer nor a health
	// check; DefaultHealthyAfter is a good value, AWS's is 40 seconds.
	HealthyAfter time.Duration
	Log          *slog.Logger
}

// Loop decides services.
type Loop struct {
	cfg   Config
	queue *queue

	mu     sync.Mutex
	timers map[string]*time.Timer // by service: its next deadline
	// homeless services have tasks without a place.
	homeless map[string]bool
	over     bool
}

// New returns a Loop. It runs once.
func New(cfg Config) *Loop {
	return &Loop{cfg: cfg, queue: newQueue(), timers: map[string]*time.Timer{}, homeless: map[string]bool{}}
}

// Run decides every service, and then those that change, until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	watch := l.cfg.Store.Watch(ctx, records.Services, records.Deployments, records.Tasks, records.Targets, records.Instances)
	stop := l.queue.closeWhen(ctx)
	defer stop()
	defer l.forget()
	for s := range records.Services.All(watch.Snapshot()) {
		if s.Status != model.ServiceInactive || records.Tasks.HasBy(watch.Snapshot(), records.OpenTasksByService, s.ID) {
			l.queue.add(s.ID, true)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for range workers {
		g.Go(func() error {
			for {
				id, room, ok := l.queue.next()
				if !ok {
					return nil
				}
				l.work(ctx, id, room)
				l.queue.done(id)
			}
		})
	}
	g.Go(func() error {
		for before := watch.Snapshot(); ; {
			snap, changes, err := watch.Next(ctx)
			if err != nil {
				return nil //nolint:nilerr // Next only fails when ctx has ended
			}
			l.wake(before, snap, changes)
			before = snap
		}
	})
	return g.Wait()
}

// work decides one service until there is nothing to do but to wait.
func (l *Loop) work(ctx context.Context, id string, room bool) {
	for ctx.Err() == nil {
		step, err := l.step(ctx, id, room)
		if err != nil {
			if ctx.Err() == nil {
				l.cfg.Log.WarnContext(ctx, "a service was not decided; trying again", telemetry.ServiceID, id, telemetry.Error, err)
			}
			l.wakeAt(id, time.Now().Add(again))
			return
		}
		l.setHomeless(id, step.homeless)
		for _, event := range step.events {
			l.cfg.Log.InfoContext(ctx, "service event", telemetry.ServiceID, id, telemetry.Event, event)
		}
		if !step.did {
			l.wakeAt(id, step.wakeAt)
			return
		}
		room = room && step.retrying
	}
}

// wakeAt sets the service's next deadline; zero: none.
func (l *Loop) wakeAt(id string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.timers[id]; t != nil {
		t.Stop()
		delete(l.timers, id)
	}
	if at.IsZero() || l.over {
		return
	}
	l.timers[id] = time.AfterFunc(time.Until(at), func() { l.queue.add(id, false) })
}

func (l *Loop) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	for _, t := range l.timers {
		t.Stop()
	}
	clear(l.timers)
}

func (l *Loop) setHomeless(id string, homeless bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if homeless {
		l.homeless[id] = true
	} else {
		delete(l.homeless, id)
	}
}

// wakeHomeless decides again those services for whose tasks there may be room
// now.
func (l *Loop) wakeHomeless() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.homeless {
		l.queue.add(id, true)
	}
}

// errGone says that a service is not there any more.
var errGone = errors.New("the service is gone")
