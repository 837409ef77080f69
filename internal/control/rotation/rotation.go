package rotation

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/rotation"
)

// retryAfter is the pause after a write that failed.
const retryAfter = time.Second

// Config is what a Loop is made of. All but PublicAddresses is required.
type Config struct {
	Store    *store.Store
	Launcher *launch.Launcher
	// Scope is where task definitions are.
	Scope arn.Scope
	// PublicAddresses is true when the launcher has addresses to give: tasks in
	// public subnets get one.
	PublicAddresses bool
	Log             *slog.Logger
}

// Loop rotates secrets.
type Loop struct{ cfg Config }

// New returns a Loop.
func New(cfg Config) *Loop { return &Loop{cfg} }

// Run keeps the package's promises until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	watch := l.cfg.Store.Watch(ctx, records.Secrets, records.Tasks)
	dirty, due := map[string]bool{}, map[string]time.Time{}
	for s := range records.Secrets.All(watch.Snapshot()) {
		dirty[s.Key()] = true
	}
	for {
		var timer <-chan time.Time
		if next := l.pass(ctx, dirty, due); !next.IsZero() {
			timer = time.After(time.Until(next))
		}
		select {
		case <-watch.Changed():
			snap, changes := watch.Take()
			note(snap, changes, dirty)
		case <-timer:
		case <-ctx.Done():
			return nil
		}
	}
}

// note marks the secrets that changes concern.
func note(snap *store.Snapshot, changes []store.Change, dirty map[string]bool) {
	for _, c := range changes {
		if c.Table == records.Secrets.Name() {
			dirty[c.Key] = true
			continue
		}
		for s := range records.Secrets.By(snap, records.SecretsByRotationTask, c.Key) {
			dirty[s.Key()] = true
		}
	}
}

// pass looks at every secret that must be looked at and says when to look
// again; zero: when something changes.
func (l *Loop) pass(ctx context.Context, dirty map[string]bool, due map[string]time.Time) (next time.Time) {
	now := time.Now()
	for name, at := range due {
		if !at.After(now) {
			dirty[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(dirty)) {
		delete(dirty, name)
		delete(due, name)
		at, err := l.secret(ctx, name)
		if err != nil {
			if ctx.Err() == nil {
				l.cfg.Log.WarnContext(ctx, "a secret's rotation was not looked after; trying again", secretName, name, telemetry.Error, err)
			}
			at = time.Now().Add(retryAfter)
		}
		if !at.IsZero() {
			due[name] = at
		}
	}
	for _, at := range due {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

// secretName is the log key of a secret's name.
const secretName = "secret"

// secret takes steps for a secret as long as there is one to take, and says
// when to look again; zero: when something changes.
func (l *Loop) secret(ctx context.Context, name string) (time.Time, error) {
	for {
		plan, found := decide(l.cfg.Store.Snapshot(), name, time.Now())
		if !found || plan.Act == rotation.Wait {
			return plan.At, nil
		}
		var done *step
		rev, err := l.cfg.Store.Update(ctx, func(tx *store.Tx) (err error) {
			done, err = l.step(tx, name)
			return err
		})
		if err != nil {
			return time.Time{}, err
		}
		if done == nil { // it was another decision by then, or by the store's clock
			return time.Now().Add(retryAfter), nil
		}
		if err := l.cfg.Store.WaitRev(ctx, rev); err != nil {
			return time.Time{}, err
		}
		l.report(ctx, done)
	}
}

// decide reads what a decision about a secret looks at. It reports false when
// there is no such secret.
func decide(r store.Reader, name string, now time.Time) (rotation.Plan, bool) {
	s, found := records.Secrets.Get(r, name)
	if !found {
		return rotation.Plan{}, false
	}
	state := rotation.State{Secret: s, Now: now}
	if rot := s.Rotation; rot != nil {
		if t, found := records.Tasks.Get(r, rot.TaskID); found && rot.TaskID != "" {
			state.Task = t
		}
		state.Made = rot.VersionID != "" && records.SecretVersions.Has(r, (&model.SecretVersion{SecretName: name, ID: rot.VersionID}).Key())
	}
	return rotation.Decide(state), true
}

// step is what was done, for the log.
type step struct {
	secret, task string
	plan         rotation.Plan
}

// step carries out what is decided within the transaction; nil: nothing.
func (l *Loop) step(tx *store.Tx, name string) (*step, error) {
	plan, found := decide(tx, name, tx.Now())
	if !found || plan.Act == rotation.Wait {
		return nil, nil
	}
	s, _ := records.Secrets.Get(tx, name)
	done := &step{secret: name, task: s.Rotation.TaskID, plan: plan}
	var err error
	switch plan.Act { //nolint:exhaustive // the others need nothing here
	case rotation.Launch:
		done.plan, done.task, err = l.launch(tx, s, plan)
	case rotation.Stop:
		err = records.Tasks.Edit(tx, s.Rotation.TaskID, func(t *model.Task) error {
			t.DecideStop(tx.Now(), model.StopUserInitiated, plan.Reason)
			return nil
		})
	}
	if err != nil {
		return nil, err
	}
	return done, records.Secrets.Edit(tx, name, func(s *model.Secret) error {
		rotation.Apply(s, done.plan, done.task, tx.Now())
		return nil
	})
}

func (l *Loop) report(ctx context.Context, done *step) {
	log := l.cfg.Log.With(secretName, done.secret, telemetry.TaskID, done.task)
	switch done.plan.Act { //nolint:exhaustive // the others need nothing here
	case rotation.Launch:
		log.InfoContext(ctx, "a task rotates a secret")
	case rotation.Complete:
		log.InfoContext(ctx, "a secret was rotated")
	case rotation.Retry:
		log.WarnContext(ctx, "a secret was not rotated; it will be tried again", telemetry.Reason, done.plan.Reason)
	case rotation.Stop:
		log.WarnContext(ctx, "a task that rotates a secret is stopped", telemetry.Reason, done.plan.Reason)
	case rotation.Forget:
		log.InfoContext(ctx, "the rotation of a secret was cancelled")
	}
}
