package rollout

import (
	"slices"

	"berth.dev/berth/internal/model"
)

// daemon keeps one task on every eligible instance. A new task is started
// where the old one has made room: there are never two on one instance.
func (p *planner) daemon() {
	p.bound(p.wanted())
	given := p.primary.RolloutState == model.RolloutFailed
	here := map[string][]*task{}
	taken := map[string]bool{} // by instance: a task has not made room yet
	var ids []string
	for id, i := range p.in.Instances {
		if i.Eligible {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	whole := true
	for _, t := range p.tasks {
		taken[t.InstanceID] = taken[t.InstanceID] || t.occupying
		if !t.live {
			continue
		}
		if !p.in.Instances[t.InstanceID].Eligible {
			whole = false
			if p.spare(t) {
				p.stop(t, ReasonScaling(t.StartedBy))
			}
			continue
		}
		here[t.InstanceID] = append(here[t.InstanceID], t)
	}
	room := p.upper - p.occupying
	may := !given && p.mayLaunch(p.primary)
	for _, id := range ids {
		whole = p.daemonOn(here[id], given) && whole
		if taken[id] || given {
			continue
		}
		p.wanting = true
		if may && room > 0 {
			p.out.Starts = append(p.out.Starts, Start{DeploymentID: p.primary.ID, Count: 1, InstanceID: id})
			room--
		}
	}
	if !p.wanting && p.primary.Throttle.Unplaced > 0 {
		p.edit(p.primary.ID).Throttle.Unplaced = 0
	}
	if p.held && p.ending == 0 && len(p.out.Starts)+len(p.out.Stops) == 0 && !slices.ContainsFunc(p.tasks, func(t *task) bool { return t.live && t.state != healthy }) {
		p.say("blocked", BlockedByConfiguration(p.service.Name))
	}
	p.settle(whole && len(p.out.Stops) == 0)
}

// daemonOn stops what an instance has too much, and reports whether it has
// exactly the healthy task it should have.
func (p *planner) daemonOn(tasks []*task, given bool) (whole bool) {
	var kept *task
	for _, t := range tasks {
		ours := t.deployment != nil && t.deployment.ID == p.primary.ID
		switch {
		case t.state == unhealthy:
			if !given {
				p.stop(t, t.reason)
			}
		case ours && kept == nil:
			kept = t
		case given:
		case t.state == healthy && p.healthy <= p.lower:
			p.held = true
		case p.spare(t):
			p.stop(t, ReasonScaling(t.StartedBy))
		}
	}
	return kept != nil && kept.state == healthy && len(tasks) == 1
}
