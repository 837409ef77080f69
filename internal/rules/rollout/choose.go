package rollout

import (
	"cmp"
	"slices"
	"strings"

	"berth.dev/berth/internal/model"
)

// order knows where a service's tasks are, to choose which to stop: where the
// placement strategy would not have put it. Without a strategy that is the
// zone with the most tasks of the service, and in it the instance with the
// most.
type order struct {
	keys []func(a, b *task) int // the greater is stopped
}

// order counts the live tasks where they are, when it is first asked for: most
// decisions stop none.
func (p *planner) order() *order {
	if p.ordered != nil {
		return p.ordered
	}
	o := &order{}
	p.ordered = o
	zones, instances := map[string]*int{}, map[string]*int{}
	count := func(of map[string]*int, key string) *int {
		n := of[key]
		if n == nil {
			n = new(int)
			of[key] = n
		}
		*n++
		return n
	}
	for _, t := range p.tasks {
		if t.live && t.state != unhealthy {
			t.inZone, t.onInstance = count(zones, t.AvailabilityZone), count(instances, t.InstanceID)
		}
	}
	byZone := func(a, b *task) int { return cmp.Compare(*a.inZone, *b.inZone) }
	byInstance := func(a, b *task) int { return cmp.Compare(*a.onInstance, *b.onInstance) }
	strategy := p.service.PlacementStrategy
	for _, s := range strategy {
		switch {
		case s.Type == "spread" && s.Field == zoneField:
			o.keys = append(o.keys, byZone)
		case s.Type == "spread" && (strings.EqualFold(s.Field, "instanceId") || strings.EqualFold(s.Field, "host")):
			o.keys = append(o.keys, byInstance)
		case s.Type == "binpack":
			o.keys = append(o.keys, func(a, b *task) int { return byInstance(b, a) })
		}
	}
	if len(strategy) == 0 {
		o.keys = append(o.keys, byZone, byInstance)
	}
	return o
}

// compare has draining ones first, then those that the strategy would have
// elsewhere, then the youngest.
func (o *order) compare(a, b *task) int {
	if a.draining != b.draining {
		if a.draining {
			return 1
		}
		return -1
	}
	for _, key := range o.keys {
		if c := key(a, b); c != 0 {
			return c
		}
	}
	return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
}

// most is the index of the task to stop first; tasks is not empty.
func (o *order) most(tasks []*task) int {
	best := 0
	for i := range tasks {
		if o.compare(tasks[i], tasks[best]) > 0 {
			best = i
		}
	}
	return best
}

// remove takes notice of a task that is to be stopped.
func (o *order) remove(t *task) {
	*t.inZone--
	*t.onInstance--
}

// sorted has the tasks to stop first at the beginning, as things are now.
func (o *order) sorted(tasks []*task) []*task {
	tasks = slices.Clone(tasks)
	slices.SortStableFunc(tasks, func(a, b *task) int { return o.compare(b, a) })
	return tasks
}

const (
	zoneField = "attribute:ecs.availability-zone"
	zoneCause = "zone"
)

// rebalance moves tasks between zones, one at a time, once everything else is
// as it should be: a task starts in the emptiest zone, and when it is healthy
// one stops in the fullest. It returns how many tasks there may be beyond the
// desired count.
func (p *planner) rebalance(s sets) (extra int) {
	progress := &p.out.Progress
	if !p.balances() || !progress.Steady || p.primary.RolloutState != model.RolloutCompleted ||
		len(s.old)+len(s.bad)+len(s.sick) > 0 || len(s.good) < p.desired || len(s.good) > p.desired+1 {
		if progress.Rebalancing && (!p.balances() || p.primary.RolloutState != model.RolloutCompleted) {
			progress.Rebalancing = false
			p.event(StoppedRebalancing(p.service.Name))
		}
		return 0
	}
	counts := map[string]int{}
	for _, zone := range p.in.Zones {
		counts[zone] = 0
	}
	for _, t := range s.good {
		counts[t.AvailabilityZone]++
	}
	empty, full := extremes(counts, p.in.Zones)
	if len(s.good) > p.desired {
		if !progress.Rebalancing {
			return 0
		}
		if allHealthy(s.good) {
			var there []*task
			for _, t := range s.good {
				if t.AvailabilityZone == full {
					there = append(there, t)
				}
			}
			p.stopHealthy(there, 1, p.desired, full)
		}
		return 1
	}
	if counts[full]-counts[empty] <= 1 {
		if progress.Rebalancing {
			progress.Rebalancing = false
			p.event(Balanced(p.service.Name, counts))
		}
		return 0
	}
	if at, refused := progress.Said[zoneCause]; refused {
		p.said[zoneCause] = true
		if !p.in.RetryPlacement && p.now.Before(at.Add(repeat)) {
			p.wake(at.Add(repeat))
			return 0
		}
	}
	if !allHealthy(s.good) || p.ending > 0 || p.upper <= p.occupying || !p.mayLaunch(p.primary) {
		return 0
	}
	if !progress.Rebalancing {
		progress.Rebalancing = true
		p.event(NotBalanced(p.service.Name, counts))
	}
	p.out.Starts = append(p.out.Starts, Start{DeploymentID: p.primary.ID, Count: 1, Zone: empty})
	return 0
}

// balances tells whether the service's zones are to be balanced.
func (p *planner) balances() bool {
	s := p.service
	if s.ZoneRebalancing != "ENABLED" || len(p.in.Zones) < 2 || s.DeploymentConfiguration.MaximumPercent <= 100 {
		return false
	}
	first := s.PlacementStrategy
	return len(first) == 0 || first[0].Type == "spread" && first[0].Field == zoneField
}

// extremes are the emptiest and the fullest zone, the first by name of equals;
// only a zone where tasks can be placed is ever the emptiest.
func extremes(counts map[string]int, usable []string) (empty, full string) {
	zones := make([]string, 0, len(counts))
	for zone := range counts {
		zones = append(zones, zone)
	}
	slices.Sort(zones)
	empty, full = "", zones[0]
	for _, zone := range zones {
		if counts[zone] > counts[full] {
			full = zone
		}
		if slices.Contains(usable, zone) && (empty == "" || counts[zone] < counts[empty]) {
			empty = zone
		}
	}
	return empty, full
}
