package placement

import (
	"cmp"
	"hash/fnv"
	"slices"
)

// Reasons why an instance cannot take a task.
const (
	ReasonCPU       = "RESOURCE:CPU"
	ReasonMemory    = "RESOURCE:MEMORY"
	ReasonAgent     = "AGENT"     // its agent is not connected
	ReasonInactive  = "INACTIVE"  // it is draining or deregistered
	ReasonAttribute = "ATTRIBUTE" // it lacks a capability, such as the processor
	ReasonLocation  = "LOCATION"  // it is in another zone than the task's subnets
)

// FargateUnavailable is what RunTask answers when Fargate has no room.
const FargateUnavailable = "Capacity is unavailable at this time. Please try again later or in a different availability zone"

// Instance is a host as placement sees it. CPU is in units, memory in MiB.
type Instance struct {
	ID           string
	Zone         string // empty: serves every zone
	Architecture string // x86_64 or arm64; empty: not known, taken as fitting
	Active       bool
	Connected    bool

	CPU, Memory         int64 // what it has
	FreeCPU, FreeMemory int64 // what tasks have left of it
}

// Request asks for Count tasks that each need CPU and Memory in one of Zones.
type Request struct {
	Count        int
	CPU, Memory  int64
	Architecture string
	// Zones are those of the task's subnets. Empty: any, as for tasks
	// without a network interface.
	Zones []string
}

// Placement is where one task goes.
type Placement struct {
	InstanceID string
	Zone       string // one of the request's zones; the instance's own when it asked for none
}

// Rejection says why an instance did not take a task.
type Rejection struct {
	InstanceID string
	Reason     string
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
	switch {
	case !i.Active:
		return ReasonInactive, false
	case !i.Connected:
		return ReasonAgent, false
	case i.Architecture != "" && r.Architecture != "" && i.Architecture != r.Architecture:
		return ReasonAttribute, false
	case !inZones(i, r.Zones):
		return ReasonLocation, false
	case i.FreeCPU < r.CPU:
		return ReasonCPU, false
	case i.FreeMemory < r.Memory:
		return ReasonMemory, false
	}
	return "", true
}

func inZones(i Instance, zones []string) bool {
	return i.Zone == "" || len(zones) == 0 || slices.Contains(zones, i.Zone)
}

// Place finds room for the tasks of a request, one after the other. The tasks
// are spread evenly over the zones as long as there is room in them, and
// within a zone over the instances: each goes where the most is left, as a
// share of what the instance has. Ties are broken by seed.
func Place(seed uint64, instances []Instance, r Request) Decision {
	free := slices.Clone(instances)
	used := map[string]int{} // tasks of this request by zone
	var d Decision
	for n := range r.Count {
		best := -1
		var zone string
		for i := range free {
			if _, ok := Fits(free[i], r); !ok {
				continue
			}
			z := leastUsed(seed, free[i], r.Zones, used)
			if best < 0 || better(seed, n, candidate{free[i], z}, candidate{free[best], zone}, r, used) {
				best, zone = i, z
			}
		}
		if best < 0 {
			d.Rejections = reject(free, r)
			return d
		}
		free[best].FreeCPU -= r.CPU
		free[best].FreeMemory -= r.Memory
		used[zone]++
		d.Placements = append(d.Placements, Placement{InstanceID: free[best].ID, Zone: zone})
	}
	return d
}

func reject(instances []Instance, r Request) []Rejection {
	rejections := make([]Rejection, 0, len(instances))
	for _, i := range instances {
		reason, _ := Fits(i, r)
		rejections = append(rejections, Rejection{InstanceID: i.ID, Reason: reason})
	}
	slices.SortFunc(rejections, func(a, b Rejection) int { return cmp.Compare(a.InstanceID, b.InstanceID) })
	return rejections
}

// leastUsed is the zone in which the instance would run the task.
func leastUsed(seed uint64, i Instance, zones []string, used map[string]int) string {
	if i.Zone != "" || len(zones) == 0 {
		return i.Zone
	}
	return slices.MinFunc(zones, func(a, b string) int {
		return cmp.Or(cmp.Compare(used[a], used[b]), cmp.Compare(draw(seed, a, 0), draw(seed, b, 0)))
	})
}

type candidate struct {
	Instance
	zone string
}

func better(seed uint64, n int, a, b candidate, r Request, used map[string]int) bool {
	return cmp.Or(
		cmp.Compare(used[a.zone], used[b.zone]),
		cmp.Compare(left(b.Instance, r), left(a.Instance, r)),
		cmp.Compare(draw(seed, a.ID, n), draw(seed, b.ID, n)),
	) < 0
}

// left is the share of the scarcer resource that remains on an instance after
// it has taken a task.
func left(i Instance, r Request) float64 {
	return min(share(i.FreeCPU-r.CPU, i.CPU), share(i.FreeMemory-r.Memory, i.Memory))
}

func share(free, total int64) float64 {
	if total <= 0 {
		return 0
	}
	return float64(free) / float64(total)
}

// draw gives everybody a number that depends on the seed alone.
func draw(seed uint64, id string, n int) uint64 {
	h := fnv.New64a()
	var b [16]byte
	for i := range 8 {
		b[i], b[8+i] = byte(seed>>(8*i)), byte(n>>(8*i))
	}
	h.Write(b[:])
	h.Write([]byte(id))
	// FNV mixes its last bytes poorly; ids often differ in those alone.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}
