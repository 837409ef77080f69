package deployment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/placement"
	"berth.dev/berth/internal/rules/rollout"
	"berth.dev/berth/internal/rules/taskspec"
)

// step is what became of one transaction.
type step struct {
	did      bool // something was written, so there may be more to do
	retrying bool // room that was found is still to be tried
	homeless bool
	wakeAt   time.Time
	events   []string
}

// attempt is one try of a step: it belongs to one run of the transaction.
type attempt struct {
	step
	tx      *store.Tx
	in      rollout.Input
	service *model.Service
}

// step decides a service on the state that the transaction commits to, and
// does one part of the decision. Nobody else starts the service's tasks, and
// none may have been stopped or ended meanwhile; what their health is, is a
// fact of the time of the decision.
func (l *Loop) step(ctx context.Context, id string, room bool) (step, error) {
	var a *attempt
	_, err := l.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		a = &attempt{tx: tx}
		var found bool
		if a.in, found = input(tx, id, l.cfg.HealthyAfter, room); !found {
			return errGone
		}
		a.service = a.in.Service
		return a.apply(l.cfg, rollout.Plan(tx.Now(), a.in))
	})
	switch {
	case errors.Is(err, errGone):
		return step{}, nil
	case err != nil:
		return step{}, err
	}
	return a.step, nil
}

// apply does the first of the decision's parts that there is: what images
// mean, which no decision depends on; adopting tasks; what changes in records
// and which tasks stop; starting tasks. Each fits into a transaction, and what
// is left is decided again.
func (a *attempt) apply(cfg Config, d rollout.Decision) error {
	a.wakeAt = d.WakeAt
	a.homeless = homeless(a.in)
	if news, err := a.pin(); err != nil || news {
		a.did, a.retrying = true, true
		return err
	}
	rest := d
	rest.Starts, rest.Adopt = nil, nil
	switch {
	case len(d.Adopt) > 0:
		a.did, a.retrying = true, true
		return a.adopt(d.Adopt)
	case !rest.Empty() || d.Changed(a.service):
		a.did, a.retrying = true, true
		return a.change(d)
	case len(d.Starts) > 0:
		a.did = true
		return a.start(cfg, d.Starts)
	}
	return nil
}

// homeless tells whether tasks wait for room.
func homeless(in rollout.Input) bool {
	for _, d := range in.Deployments {
		if d.Status != model.DeploymentInactive && d.Throttle.Unplaced > 0 {
			return in.Service.Status == model.ServiceActive
		}
	}
	return in.Service.Progress.Rebalancing
}

func (a *attempt) guard() {
	records.Services.Guard(a.tx, a.service.ID)
	records.Tasks.GuardIndex(a.tx, records.WantedTasksByService, a.service.ID)
}

func (a *attempt) adopt(ids []string) error {
	a.guard()
	primary := a.in.Deployments[len(a.in.Deployments)-1]
	for _, id := range ids {
		if err := records.Tasks.Edit(a.tx, id, func(t *model.Task) error {
			t.StartedBy = primary.ID
			t.Version++
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

func (a *attempt) change(d rollout.Decision) error {
	a.guard()
	for _, c := range d.Deployments {
		records.Deployments.Put(a.tx, c)
	}
	for _, id := range d.Settle {
		if err := records.Tasks.Edit(a.tx, id, func(t *model.Task) error {
			t.Settled = true
			return nil
		}); err != nil {
			return err
		}
	}
	if err := a.create(d.Create); err != nil {
		return err
	}
	if err := a.progress(d.Progress, d.Status); err != nil {
		return err
	}
	for _, message := range d.Events {
		if err := a.say(message); err != nil {
			return err
		}
	}
	return a.stop(d.Stops)
}

// create makes the deployment of a rollback, which takes the service back to
// what its revision says.
func (a *attempt) create(d *model.Deployment) error {
	if d == nil {
		return nil
	}
	revision, found := records.ServiceRevisions.Get(a.tx, d.RevisionID)
	if !found {
		return fmt.Errorf("service revision %s: %w", d.RevisionID, store.ErrNotFound)
	}
	records.ServiceRevisions.Guard(a.tx, d.RevisionID)
	d.ID = ident.Deployment()
	records.Deployments.Put(a.tx, d)
	return records.Services.Edit(a.tx, a.service.ID, func(s *model.Service) error {
		s.Revision = revision.Spec
		return nil
	})
}

// progress writes the loop's memory, and the service's end.
func (a *attempt) progress(p model.ServiceProgress, status string) error {
	return records.Services.Edit(a.tx, a.service.ID, func(s *model.Service) error {
		s.Progress = p
		if status != "" {
			s.Status = status
			now := a.tx.Now()
			s.EndedAt = &now
		}
		return nil
	})
}

func (a *attempt) say(message string) error {
	a.events = append(a.events, message)
	return records.AppendServiceEvent(a.tx, a.service.ID, message)
}

// stop ends tasks, and says so: once for all of a kind.
func (a *attempt) stop(stops []rollout.Stop) error {
	var running, moved []string
	pending, zone := 0, ""
	for _, s := range stops {
		if err := records.Tasks.Edit(a.tx, s.TaskID, func(t *model.Task) error {
			t.DecideStop(a.tx.Now(), model.StopServiceSchedulerInitiated, s.Reason)
			return nil
		}); err != nil {
			return err
		}
		switch {
		case s.Pending:
			pending++
		case s.Zone != "":
			moved, zone = append(moved, s.TaskID), s.Zone
		default:
			running = append(running, s.TaskID)
		}
	}
	name := a.service.Name
	var messages []string
	if len(running) > 0 {
		messages = append(messages, rollout.Stopped(name, running))
	}
	if len(moved) > 0 {
		messages = append(messages, rollout.StoppedToRebalance(name, zone, moved))
	}
	if pending > 0 {
		messages = append(messages, rollout.StoppedPending(name, pending))
	}
	for _, m := range messages {
		if err := a.say(m); err != nil {
			return err
		}
	}
	return nil
}

// start launches the tasks of the first start, or for a DAEMON service of as
// many as fit.
func (a *attempt) start(cfg Config, starts []rollout.Start) error {
	s := starts[0]
	s.Count = min(s.Count, launch.MaxCount)
	s.Replaced = min(s.Replaced, s.Count)
	var instances []string
	if s.InstanceID != "" {
		for _, other := range starts[:min(len(starts), launch.MaxCount)] {
			if other.DeploymentID == s.DeploymentID && other.InstanceID != "" {
				instances = append(instances, other.InstanceID)
			}
		}
		s.Count = len(instances)
	}
	a.guard()
	made, why, err := a.launch(cfg, s, instances)
	if err != nil {
		return err
	}
	if len(made) > 0 {
		message := rollout.Started(a.service.Name, made, s.Replaced)
		if s.Zone != "" {
			message = rollout.StartedToRebalance(a.service.Name, s.Zone, made)
		}
		if err := a.say(message); err != nil {
			return err
		}
	}
	if missing := s.Count - len(made); missing > 0 {
		return a.refuse(s, missing, why)
	}
	a.retrying = true
	return nil
}

// launch makes tasks. For those that were not made it says why, as an event.
func (a *attempt) launch(cfg Config, s rollout.Start, instances []string) (made []string, why string, err error) {
	name := a.service.Name
	var deployment *model.Deployment
	for _, d := range a.in.Deployments {
		if d.ID == s.DeploymentID {
			deployment = d
		}
	}
	records.Deployments.Guard(a.tx, deployment.Key())
	revision, found := records.ServiceRevisions.Get(a.tx, deployment.RevisionID)
	if !found {
		return nil, "", fmt.Errorf("service revision %s: %w", deployment.RevisionID, store.ErrNotFound)
	}
	if revision, err = a.resolve(cfg.Scope, revision); err != nil {
		return nil, "", err
	}
	request, err := launch.ServiceRequest(a.tx, a.service, deployment, revision, s.Count)
	var out launch.Outcome
	if err == nil {
		request.InstanceIDs = instances
		if s.Zone != "" {
			request.Zones = []string{s.Zone}
		}
		out, err = cfg.Launcher.Launch(a.tx, request)
	}
	var wrong *taskspec.Error
	switch {
	case errors.As(err, &wrong):
		return nil, rollout.Unable(name, wrong.Message), nil
	case errors.Is(err, store.ErrNotFound):
		return nil, rollout.Unable(name, err.Error()), nil
	case err != nil:
		return nil, "", err
	}
	for _, t := range out.Tasks {
		made = append(made, t.ID)
	}
	return made, reason(name, request, out), nil
}

// reason says why the tasks that are missing have no place.
func reason(service string, request launch.Request, out launch.Outcome) string {
	if out.NoInstances {
		return rollout.Unplaceable(service, rollout.NoInstances())
	}
	for _, f := range out.Failures {
		if f.Reason == placement.ReasonENI && f.Detail != "" {
			return rollout.Unable(service, f.Detail)
		}
	}
	if closest, ok := placement.Closest(out.Rejections); ok && request.LaunchType == model.LaunchEC2 {
		return rollout.Unplaceable(service, rollout.ClosestMatch(closest.InstanceID, closest.Reason))
	}
	if len(out.Failures) > 0 {
		return rollout.Unable(service, out.Failures[0].Reason)
	}
	return rollout.Unable(service, placement.FargateUnavailable)
}

// refuse takes notice of tasks that were not made.
func (a *attempt) refuse(s rollout.Start, missing int, why string) error {
	a.homeless = true
	r := rollout.Refused(a.tx.Now(), a.in, s, missing, why)
	if r.Deployment != nil {
		records.Deployments.Put(a.tx, r.Deployment)
	}
	if err := a.progress(r.Progress, ""); err != nil {
		return err
	}
	for _, message := range r.Events {
		if err := a.say(message); err != nil {
			return err
		}
	}
	return nil
}
