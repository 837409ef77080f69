package rollout

import (
	"strings"
	"time"

	"berth.dev/berth/internal/model"
)

const (
	// maxDelay is the longest time between attempts at launches of which no
	// task reaches RUNNING (services-deployments.md §6).
	maxDelay = 27 * time.Minute
	// exitDelay is the longest for tasks that do run, but not for long. AWS
	// does not delay these, but looks every ten seconds only; without that a
	// container that exits at once would be started as fast as the host can.
	exitDelay = 10 * time.Second
	// soon is how long a task that ends by itself must have run to be none of
	// these.
	soon = 10 * time.Second
	// placeDelay is the longest between attempts to place tasks when nothing
	// changes that could make room.
	placeDelay = time.Minute

	impaired = 3 // failed attempts in a row that are worth an event
)

// delay doubles from a second.
func delay(attempts int, most time.Duration) time.Duration {
	d := time.Second
	for range attempts - 1 {
		if d *= 2; d >= most {
			return most
		}
	}
	return min(d, most)
}

// takeNotice draws the conclusions from tasks that have stopped.
func (p *planner) takeNotice() {
	for _, t := range p.ended {
		p.out.Settle = append(p.out.Settle, t.ID)
		d := p.byID[t.StartedBy]
		if d == nil || d.Status == model.DeploymentInactive || p.service.Status != model.ServiceActive {
			continue
		}
		counted := d.Counted[t.ID]
		if counted {
			delete(p.edit(d.ID).Counted, t.ID)
		}
		ran := t.Observed.StartedAt != nil
		if ran && !d.RanOnce {
			p.edit(d.ID).RanOnce = true
		}
		switch {
		case !failed(t):
			continue
		case !ran:
			p.throttle(d.ID, t, func(th *model.LaunchThrottle) time.Duration {
				th.Failures++
				return delay(th.Failures, maxDelay)
			})
			p.reportFailure(p.byID[d.ID], t)
		case ranFor(t) < soon:
			p.throttle(d.ID, t, func(th *model.LaunchThrottle) time.Duration {
				th.Failures = 0
				th.Exits++
				if th.Exits == 1 {
					return 0
				}
				return delay(th.Exits-1, exitDelay)
			})
		case d.Throttle != model.LaunchThrottle{}:
			p.edit(d.ID).Throttle = model.LaunchThrottle{}
		}
		if !counted {
			p.countFailure(d.ID)
		}
	}
}

// failed tells whether a task ended by its own fault. Nobody's fault are the
// end of its node and the decision of a user or of the service.
func failed(t *model.Task) bool {
	return t.StopCode == model.StopTaskFailedToStart || t.StopCode == model.StopEssentialContainerExited
}

func ranFor(t *model.Task) time.Duration {
	end := t.Observed.StoppedAt
	if t.Observed.ExecutionStoppedAt != nil {
		end = t.Observed.ExecutionStoppedAt
	}
	if end == nil || t.Observed.StartedAt == nil {
		return 0
	}
	return end.Sub(*t.Observed.StartedAt)
}

// throttle delays the next attempt. Tasks of one attempt count once: what was
// launched before the last delay was over belongs to the attempt before it.
func (p *planner) throttle(id string, t *model.Task, grow func(*model.LaunchThrottle) time.Duration) {
	if next := p.byID[id].Throttle.NextAt; next != nil && t.CreatedAt.Before(*next) {
		return
	}
	d := p.edit(id)
	next := p.now.Add(grow(&d.Throttle))
	d.Throttle.NextAt = &next
}

// reportFailure says why tasks do not start: each kind of error once.
func (p *planner) reportFailure(d *model.Deployment, t *model.Task) {
	if t.StoppedReason != "" {
		kind, _, _ := strings.Cut(t.StoppedReason, ":")
		p.say(launchCause+d.ID+":"+kind, Unable(p.service.Name, t.StoppedReason))
	}
	if d.Throttle.Failures >= impaired {
		p.say(launchCause+d.ID, Inconsistent(p.service.Name))
	}
}

// countFailure adds to the circuit breaker's count of a deployment that it
// watches. Every failure before the first steady state counts: also of tasks
// that start and then exit, and whether or not others run.
func (p *planner) countFailure(id string) {
	if p.primary == nil || id != p.primary.ID || p.primary.RolloutState != model.RolloutInProgress {
		return
	}
	d := p.edit(id)
	d.FailedTasks++
	d.BreakerFailures++
}

// noticeHealth draws the conclusions from tasks that run.
func (p *planner) noticeHealth() {
	fresh := 0
	for _, t := range p.tasks {
		if !t.live || t.deployment == nil {
			continue
		}
		d := p.byID[t.deployment.ID]
		if t.state != pending {
			if !d.RanOnce {
				d = p.edit(d.ID)
				d.RanOnce = true
			}
			if th := d.Throttle; th.Failures > 0 && (th.NextAt == nil || !t.CreatedAt.Before(*th.NextAt)) {
				d = p.edit(d.ID)
				d.Throttle.Failures = 0
			}
		}
		if t.state != unhealthy {
			continue
		}
		if _, known := p.out.Progress.Said[cause(t)]; !known {
			if fresh++; fresh > mentions {
				continue
			}
		}
		p.say(cause(t), t.message)
		if d.ID == p.primary.ID && d.RolloutState == model.RolloutInProgress && !d.Counted[t.ID] {
			p.countFailure(d.ID)
			e := p.edit(d.ID)
			if e.Counted == nil {
				e.Counted = map[string]bool{}
			}
			e.Counted[t.ID] = true
		}
	}
}

func cause(t *task) string { return "unhealthy:" + t.ID }

// mayLaunch tells whether the deployment may launch tasks now.
func (p *planner) mayLaunch(d *model.Deployment) bool {
	next := d.Throttle.NextAt
	if next == nil || !p.now.Before(*next) {
		return true
	}
	if p.in.RetryPlacement && d.Throttle.Unplaced > 0 && d.Throttle.Failures == 0 && d.Throttle.Exits == 0 {
		return true
	}
	p.wake(*next)
	return false
}

// Refusal is what follows from tasks of a Start for which no place was found.
type Refusal struct {
	Deployment *model.Deployment
	Progress   model.ServiceProgress
	Events     []string
}

// Refused decides what follows when missing tasks of a start found no place:
// why is the event's message. An attempt counts once, as a failed launch; one
// that was made before its time, because there might have been room, does not.
func Refused(now time.Time, in Input, start Start, missing int, why string) Refusal {
	p := newPlanner(now, in)
	for cause := range p.out.Progress.Said {
		p.said[cause] = true
	}
	if start.Zone != "" {
		p.say(zoneCause, UnplaceableInZone(p.service.Name, start.Zone))
		return Refusal{Progress: p.out.Progress, Events: p.out.Events}
	}
	d := p.byID[start.DeploymentID]
	if d != nil && (d.Throttle.NextAt == nil || !now.Before(*d.Throttle.NextAt)) {
		d = p.edit(d.ID)
		d.Throttle.Unplaced++
		next := now.Add(delay(d.Throttle.Unplaced, placeDelay))
		d.Throttle.NextAt = &next
		p.countFailure(d.ID)
	}
	p.say(launchCause+"place", why)
	if missing < start.Count {
		p.say(launchCause+"part", CouldNotLaunch(p.service.Name, start.DeploymentID, missing))
	}
	r := Refusal{Progress: p.out.Progress, Events: p.out.Events}
	if d != nil && p.own[d.ID] {
		r.Deployment = p.byID[d.ID]
		r.Deployment.UpdatedAt = now
	}
	return r
}
