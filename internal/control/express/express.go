package express

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/smithy"
)

const (
	firstPause   = time.Second // after something could not be done
	longestPause = 30 * time.Second
	// longestWait is how often everything is looked at although nothing changed:
	// certificates grow old.
	longestWait = time.Hour
	// most is how many steps one service gets before others have their turn.
	most = 50
)

// API is the inner door of the AWS API: a gateway's Call.
type API interface {
	Call(ctx context.Context, who caller.Identity, api *smithy.Service, operation string, in smithy.Shape) (smithy.Shape, error)
}

// Config is what a Loop is made of; all members are required but Now.
type Config struct {
	Store *store.Store
	API   API
	// Guard says what the infrastructure role may do where Berth does it
	// otherwise.
	Guard  caller.Guard
	Issuer Issuer
	Scope  arn.Scope
	Log    *slog.Logger
	// Now is the clock that sessions and certificates end by; nil means time.Now.
	Now func() time.Time
}

// Loop keeps the package's promises.
type Loop struct{ cfg Config }

// New returns a Loop.
func New(cfg Config) *Loop {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Loop{cfg}
}

// Run keeps the package's promises until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	watch := l.cfg.Store.Watch(ctx, records.ExpressServices, records.ExpressGateways, records.Services, records.Deployments, records.Tasks,
		records.LoadBalancers, records.Listeners, records.ListenerRules, records.TargetGroups, records.Certificates,
		records.SecurityGroups, records.NetworkInterfaces, records.Roles, records.Policies)
	pauses := map[string]*pause{}
	for {
		next := l.all(ctx, pauses)
		select {
		case <-watch.Changed():
			_, changes := watch.Take()
			if hopeful(changes) {
				clear(pauses)
			}
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
			return nil
		}
	}
}

// pause is until when a service is left alone that something is in the way of.
type pause struct {
	length time.Duration
	until  time.Time
}

// hopeful reports whether a change may have removed an obstacle.
func hopeful(changes []store.Change) bool {
	for _, c := range changes {
		switch c.Table {
		case records.Roles.Name(), records.Policies.Name(), records.NetworkInterfaces.Name(), records.Services.Name():
			return true
		}
	}
	return false
}

// all brings every service as far as it gets, and says when to look again.
func (l *Loop) all(ctx context.Context, pauses map[string]*pause) time.Time {
	now := time.Now()
	next := now.Add(longestWait)
	for e := range records.ExpressServices.All(l.cfg.Store.Snapshot()) {
		p := pauses[e.ServiceID]
		if p == nil || !now.Before(p.until) {
			err := l.keep(ctx, e.ServiceID)
			switch {
			case ctx.Err() != nil:
				return next
			case err == nil:
				delete(pauses, e.ServiceID)
				continue
			case p == nil:
				p = &pause{length: firstPause}
				pauses[e.ServiceID] = p
			default:
				p.length = min(2*p.length, longestPause)
			}
			p.until = time.Now().Add(p.length)
			l.cfg.Log.WarnContext(ctx, "an express service is not as it should be; trying again", telemetry.ServiceARN, e.ServiceARN, telemetry.Error, err)
		}
		if p.until.Before(next) {
			next = p.until
		}
	}
	return next
}

var errUnending = errors.New("there is always one more step")

// keep does steps for one service until there is none left to do now. What is
// in the way is in the record then.
func (l *Loop) keep(ctx context.Context, id string) error {
	for range most {
		v, found := look(l.cfg.Store.Snapshot(), id, l.cfg.Scope, l.cfg.Now())
		if !found {
			return nil
		}
		step := v.next()
		if step == nil {
			return l.note(ctx, id, "", nil)
		}
		if err := l.do(ctx, v, step); err != nil {
			if ctx.Err() != nil {
				return err
			}
			return errors.Join(err, l.note(ctx, id, step.about, err))
		}
	}
	return errUnending
}

// do does one step.
func (l *Loop) do(ctx context.Context, v *view, s *step) error {
	if s.write != nil {
		_, err := l.cfg.Store.Update(ctx, s.write)
		return err
	}
	who := l.itself()
	if !s.itself || s.may != "" {
		role, err := l.assume(v.express)
		if err != nil {
			return err
		}
		if s.may != "" {
			// What is made is tagged, which is what AWS's policy asks for.
			keys := map[string][]string{"aws:requesttag/" + tagManagedKey: {managedValue}, "aws:resourcetag/" + tagManagedKey: {managedValue}}
			if err := l.cfg.Guard.Check(caller.With(ctx, role), s.may, s.on, keys); err != nil {
				return &denied{err}
			}
		}
		if !s.itself {
			who = role
		}
	}
	in := s.in
	if s.make != nil {
		var err error
		if in, err = s.make(l.cfg.Issuer, l.cfg.Now()); err != nil {
			return err
		}
	}
	_, err := l.cfg.API.Call(ctx, who, s.api, s.operation, in)
	if e, ok := errors.AsType[smithy.APIError](err); ok && s.done != "" && e.ErrorCode() == s.done {
		err = nil
	}
	if err == nil && s.then != nil {
		_, err = l.cfg.Store.Update(ctx, s.then)
	}
	return err
}
