package placement

import (
	"cmp"
	"slices"
	"time"

	"berth.dev/berth/internal/model"
)

// Instance is a host as placement sees it. CPU is in units, memory in MiB.
type Instance struct {
	ID           string
	Zone         string // empty: serves every zone
	Architecture string // x86_64 or arm64; empty: not known, taken as fitting
	Active       bool
	Connected    bool

	CPU, Memory         int64 // what it has
	FreeCPU, FreeMemory int64 // what tasks have left of it

	// GroupTasks are the tasks of the request's group that shall run on it.
	GroupTasks int
	// PortTaken is true when a host port that the request needs is not free.
	PortTaken bool

	// What expressions and the field of a spread strategy can ask for.
	Attributes    []model.Attribute
	EC2InstanceID string
	AgentVersion  string
	RegisteredAt  time.Time
	Running       int64    // tasks
	Groups        []string // of those that the request's expressions name, the ones with a task on it
}

// Request asks for Count tasks that each need CPU and Memory in one of Zones.
type Request struct {
	Count        int
	CPU, Memory  int64
	Architecture string
	// Attributes are names of attributes that an instance must have.
	Attributes []string
	// Zones are those of the task's subnets. Empty: any, as for tasks
	// without a network interface.
	Zones []string
	// Ports tells that a task needs fixed ports of the host, so that one
	// instance takes one task.
	Ports bool
	// Constraints bind, and Distinct is the one that allows one task of the
	// group on an instance.
	Constraints []Expression
	Distinct    bool
	// Strategy orders the instances that could take a task. An instance with
	// the same place in that order as another is taken when more of it is
	// left, or by lot if Strategy ends in a random choice.
	Strategy []Order
	// ZoneTasks counts the tasks of the group by zone.
	ZoneTasks map[string]int
}

// Placement is where one task goes.
type Placement struct {
	InstanceID string
	Zone       string // one of the request's zones; the instance's own when it asked for none
}

// Decision is the outcome for the tasks of a request: the first
// len(Placements) of them have a place. Rejections explain the next one; they
// are empty when all were placed.
type Decision struct {
	Placements []Placement
	Rejections []Rejection
}

// Fits reports whether an instance can take one task of the request, and why
// not. What can never change comes before what can, so that a user is not told
// of missing memory on a host in the wrong zone.
func Fits(i Instance, r Request) (reason string, ok bool) {
	h := host{Instance: &i, freeCPU: i.FreeCPU, freeMemory: i.FreeMemory, groupTasks: i.GroupTasks, portTaken: i.PortTaken}
	reason = h.unfit(&r)
	return reason, reason == ""
}

// unfit is why the instance cannot take a task, empty if it can.
func (h *host) unfit(r *Request) string {
	switch {
	case !h.Active:
		return ReasonInactive
	case !h.Connected:
		return ReasonAgent
	case h.Architecture != "" && r.Architecture != "" && h.Architecture != r.Architecture:
		return ReasonAttribute
	case !hasAttributes(h.Instance, r.Attributes):
		return ReasonAttribute
	case !inZones(h.Instance, r.Zones):
		return ReasonLocation
	}
	for _, c := range r.Constraints {
		if !c.Matches(h.Instance) {
			return ReasonMemberOf
		}
	}
	switch {
	case r.Distinct && h.groupTasks > 0:
		return ReasonDistinct
	case h.portTaken:
		return ReasonPorts
	case h.freeCPU < r.CPU:
		return ReasonCPU
	case h.freeMemory < r.Memory:
		return ReasonMemory
	}
	return ""
}

func hasAttributes(i *Instance, names []string) bool {
	for _, name := range names {
		if !slices.ContainsFunc(i.Attributes, func(a model.Attribute) bool { return a.Name == name }) {
			return false
		}
	}
	return true
}

func inZones(i *Instance, zones []string) bool {
	return i.Zone == "" || len(zones) == 0 || slices.Contains(zones, i.Zone)
}

// Place finds room for the tasks of a request, one after the other, each where
// the strategy says with all before it in place. Without a strategy tasks are
// spread evenly over the zones as long as there is room in them, and within a
// zone each goes where the most is left, as a share of what the instance has.
// Ties are broken by seed.
//
// Of n instances it looks at each once, and after that at log n for a task, or
// at as many as a spread attribute has values.
func Place(seed uint64, instances []Instance, r Request) Decision {
	c := newContest(seed, instances, &r)
	var d Decision
	for range r.Count {
		best := c.best()
		if best == nil {
			d.Rejections = c.reject()
			return d
		}
		d.Placements = append(d.Placements, Placement{InstanceID: best.host.ID, Zone: best.zone})
		c.take(best)
	}
	return d
}

func (c *contest) reject() []Rejection {
	rejections := make([]Rejection, 0, len(c.hosts))
	for i := range c.hosts {
		h := &c.hosts[i]
		rejections = append(rejections, Rejection{InstanceID: h.ID, Reason: h.unfit(c.request)})
	}
	slices.SortFunc(rejections, func(a, b Rejection) int { return cmp.Compare(a.InstanceID, b.InstanceID) })
	return rejections
}
