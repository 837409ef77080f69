package rollout

import (
	"cmp"
	"slices"

	"berth.dev/berth/internal/model"
)

// sets divides the live tasks of a service.
type sets struct {
	good []*task // of the primary deployment, to stay
	old  []*task // to be replaced: of another deployment, or on a draining instance
	bad  []*task // unhealthy, of the primary deployment
	sick []*task // unhealthy, of others
}

func (p *planner) divide() sets {
	var s sets
	for _, t := range p.tasks {
		if !t.live {
			continue
		}
		ours := t.deployment != nil && t.deployment.ID == p.primary.ID
		switch {
		case t.state == unhealthy && ours:
			s.bad = append(s.bad, t)
		case t.state == unhealthy:
			s.sick = append(s.sick, t)
		case ours && !t.draining:
			s.good = append(s.good, t)
		default:
			s.old = append(s.old, t)
		}
	}
	return s
}

func (p *planner) bound(desired int) {
	c := p.service.DeploymentConfiguration
	p.desired = desired
	p.lower = (desired*c.MinimumHealthyPercent + 99) / 100
	p.upper = desired * c.MaximumPercent / 100
}

// replicas keeps the desired number of tasks. Every step below is within the
// bounds by itself, so that it does not matter which of them are done.
func (p *planner) replicas() {
	p.bound(p.service.DesiredCount)
	s := p.divide()
	given := p.primary.RolloutState == model.RolloutFailed // it launches no more tasks
	extra := 0
	if !given {
		extra = p.rebalance(s)
	}

	room := max(0, p.upper-p.occupying)
	need := 0
	if !given {
		need = max(0, p.desired-len(s.good))
	}
	p.wanting = need > 0 || anyPending(s.good)
	may := need > 0 && p.mayLaunch(p.primary)
	n := 0
	if may {
		n = min(need, room)
	}
	if n > 0 {
		p.out.Starts = append(p.out.Starts, Start{DeploymentID: p.primary.ID, Count: n, Replaced: min(n, len(s.bad))})
		room -= n
	}
	if need == 0 && p.primary.Throttle.Unplaced > 0 {
		p.edit(p.primary.ID).Throttle.Unplaced = 0
	}
	starved := may && n < need // launches wait for room

	p.stopUnhealthy(s, starved && n == 0)
	stopped := p.stopOld(s.old, given, starved)
	p.scaleIn(s.good, len(s.good)-p.desired-extra)
	if !starved {
		room = p.sustain(s, room)
	}

	if starved && n == 0 && room == 0 && stopped == 0 && len(s.old) > 0 && p.ending == 0 && len(s.bad) == 0 &&
		!anyPending(s.good) && !anyWaiting(s.good) && !anyWaiting(s.old) && !allProtected(s.old) {
		p.say("blocked", BlockedByConfiguration(p.service.Name))
	}
	// A task more than desired, which balances zones, need not be healthy yet.
	whole := len(s.good) == p.desired+extra && len(s.old)+len(s.bad)+len(s.sick) == 0 && p.healthy >= p.desired
	p.settle(whole)
}

// stopUnhealthy stops unhealthy tasks once others have taken their place, or
// one of them to make room for another when there is none.
func (p *planner) stopUnhealthy(s sets, starved bool) {
	for _, t := range s.sick {
		p.stop(t, t.reason)
	}
	well := 0
	for _, t := range s.good {
		if t.state == healthy {
			well++
		}
	}
	slices.SortFunc(s.bad, func(a, b *task) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	surplus := min(well+len(s.bad)-p.desired, len(s.bad))
	if surplus <= 0 && starved && p.ending == 0 && len(s.sick) == 0 {
		surplus = min(1, len(s.bad))
	}
	for _, t := range s.bad[:max(0, surplus)] {
		p.stop(t, t.reason)
	}
}

// stopOld stops what the primary deployment replaces. Of tasks that do not
// serve, as many are kept as the lower bound is short of, unless the primary
// waits for their room. When the primary is given up, what serves is kept.
func (p *planner) stopOld(old []*task, given, starved bool) (stopped int) {
	floor := p.lower
	if given {
		floor = p.desired
	}
	keep := 0
	if !starved {
		keep = max(0, floor-p.healthy)
	}
	var serving []*task
	for _, t := range old {
		switch {
		case t.state == healthy:
			serving = append(serving, t)
		case keep > 0 && p.proven(t.deployment) && !(t.state == pending && t.draining):
			keep--
		case given && p.desired > 0 && !t.draining:
		case p.spare(t):
			p.stop(t, ReasonScaling(t.StartedBy))
			stopped++
		}
	}
	return stopped + p.stopHealthy(serving, len(serving), floor, "")
}

// stopHealthy stops up to n of the tasks while more than floor are healthy.
func (p *planner) stopHealthy(tasks []*task, n, floor int, zone string) (stopped int) {
	free := tasks[:0:0]
	var guarded *task
	for _, t := range tasks {
		if t.protected {
			guarded = t
			p.wake(*t.ProtectedUntil)
			continue
		}
		free = append(free, t)
	}
	for stopped < n && p.healthy > floor && len(free) > 0 && len(p.out.Stops) < batch {
		i := p.order().most(free)
		p.stop(free[i], ReasonScaling(free[i].StartedBy))
		p.out.Stops[len(p.out.Stops)-1].Zone = zone
		p.order().remove(free[i])
		free = slices.Delete(free, i, i+1)
		stopped++
	}
	if guarded != nil && stopped < n && len(free) == 0 && p.healthy > floor {
		p.say("protected", BlockedByProtection(p.service.Name, guarded.StartedBy))
	}
	return stopped
}

// spare tells whether a task that does not serve may be stopped.
func (p *planner) spare(t *task) bool {
	if t.protected {
		p.wake(*t.ProtectedUntil)
		p.say("protected", BlockedByProtection(p.service.Name, t.StartedBy))
	}
	return !t.protected
}

// scaleIn stops n tasks of the primary deployment: those that do not serve
// first, then where the most are.
func (p *planner) scaleIn(good []*task, n int) {
	if n <= 0 {
		return
	}
	var serving []*task
	sorted := p.order().sorted(good)
	for _, s := range []state{pending, waiting} {
		for _, t := range sorted {
			if n > 0 && t.state == s && p.spare(t) {
				p.stop(t, ReasonScaling(t.StartedBy))
				p.order().remove(t)
				n--
			}
		}
	}
	for _, t := range good {
		if t.state == healthy {
			serving = append(serving, t)
		}
	}
	p.stopHealthy(serving, n, p.lower, "")
}

// proven tells whether a deployment has once been complete, so that its tasks
// are worth having while the primary's are not healthy.
func (p *planner) proven(d *model.Deployment) bool {
	return d != nil && d.RolloutState == model.RolloutCompleted &&
		d.Throttle.Failures == 0 && d.Throttle.Exits == 0
}

// sustain replaces tasks of the deployment before the primary that have ended
// by themselves, as long as the primary has too few healthy ones: an old task
// is replaced by one of its own revision.
func (p *planner) sustain(s sets, room int) (left int) {
	var before *model.Deployment
	have := 0
	for _, t := range s.good {
		if t.state == healthy && !t.chosen {
			have++
		}
	}
	for _, t := range s.old {
		if t.chosen {
			continue
		}
		have++
		if d := t.deployment; d != nil && p.proven(d) && d.ID != p.primary.ID && (before == nil || before.Number < d.Number) {
			before = d
		}
	}
	if before == nil {
		return room
	}
	n := min(p.lower-have, room)
	if n <= 0 || !p.mayLaunch(before) {
		return room
	}
	p.out.Starts = append(p.out.Starts, Start{DeploymentID: before.ID, Count: n})
	p.wanting = true
	return room - n
}

func anyPending(tasks []*task) bool {
	return slices.ContainsFunc(tasks, func(t *task) bool { return t.state == pending })
}

func anyWaiting(tasks []*task) bool {
	return slices.ContainsFunc(tasks, func(t *task) bool { return t.state == waiting })
}

func allHealthy(tasks []*task) bool {
	return !slices.ContainsFunc(tasks, func(t *task) bool { return t.state != healthy })
}

func allProtected(tasks []*task) bool {
	return !slices.ContainsFunc(tasks, func(t *task) bool { return !t.protected })
}
