package placement

import (
	"cmp"
	"container/heap"
	"maps"
	"math"
	"slices"
	"strings"

	"berth.dev/berth/internal/model"
)

// Types of a placement constraint.
const (
	DistinctInstance = "distinctInstance"
	MemberOf         = "memberOf"
)

// Order is one step of a strategy, as Parse makes it of AWS's.
type Order struct {
	kind      kind
	attribute string // of bySpread
}

type kind int

const (
	byZone       kind = iota // fewest tasks of the group in the zone
	bySpread                 // fewest tasks of the group on instances with the attribute's value
	byInstance               // fewest tasks of the group on the instance
	byCPULeft                // least CPU left
	byMemoryLeft             // least memory left
	byRoom                   // most left of the scarcer resource, as a share
	byLot
)

// Of services that name no strategy, and of a request that has none.
var (
	serviceOrder = []Order{{kind: byZone}, {kind: byInstance}, {kind: byRoom}}
	plainOrder   = []Order{{kind: byZone}, {kind: byRoom}}
)

// ServiceOrder is how the tasks of a service without a strategy are placed:
// the zone with the fewest of its tasks, then the instance with the fewest.
func ServiceOrder() []Order { return slices.Clone(serviceOrder) }

// Orders turns a strategy that was checked into steps.
func Orders(strategy []model.PlacementStrategy) []Order {
	var orders []Order
	for _, s := range strategy {
		field := strings.ToLower(s.Field)
		switch {
		case s.Type == "random":
			orders = append(orders, Order{kind: byLot})
		case s.Type == "binpack" && field == "cpu":
			orders = append(orders, Order{kind: byCPULeft})
		case s.Type == "binpack":
			orders = append(orders, Order{kind: byMemoryLeft})
		case field == "instanceid" || field == "host":
			orders = append(orders, Order{kind: byInstance})
		case field == "attribute:ecs.availability-zone":
			orders = append(orders, Order{kind: byZone})
		default:
			orders = append(orders, Order{kind: bySpread, attribute: strings.TrimPrefix(s.Field, "attribute:")})
		}
	}
	return orders
}

// In a large fleet what is left is compared in steps only. Deciders that work
// side by side would otherwise all choose the one instance with the most left,
// and all but one of them in vain.
const (
	largeFleet = 100
	roomSteps  = 16
)

// contest holds the instances that can take the next task.
//
// What a strategy compares is either shared by many instances and changes with
// every task, such as the tasks in a zone, or is the instance's own and
// changes when it gets a task. Instances that share everything shared form a
// league; within one the order stands, but for an instance that was chosen, so
// each league is a heap and the next instance is the best of their first ones.
type contest struct {
	request *Request
	orders  []Order
	seed    uint64
	random  bool // the strategy draws lots, not only to break ties
	hosts   []host
	leagues []*league
	zones   map[string]int            // tasks of the group by zone
	spread  map[string]map[string]int // by attribute, then value
}

type host struct {
	*Instance // as it was given

	// As it is with the tasks that it was given since.
	freeCPU, freeMemory int64
	groupTasks          int
	portTaken           bool

	// Entries of the zones in which it could run a task: one is the usual case.
	one  entry
	more []entry

	room  float64 // the share of the scarcer resource that a task leaves
	lot   float64 // 0: not drawn yet
	draws int
}

type entry struct {
	host  *host
	zone  string
	tie   uint64 // between the zones of one instance
	index int    // in its league's heap
	from  *league
}

type league struct {
	contest *contest
	values  []string // of the attributes that are spread over, in the strategy's order
	heap    []*entry
}

func newContest(seed uint64, instances []Instance, r *Request) *contest {
	c := &contest{request: r, orders: r.Strategy, seed: seed, zones: maps.Clone(r.ZoneTasks), spread: map[string]map[string]int{}}
	if len(c.orders) == 0 {
		c.orders = plainOrder
	}
	if c.zones == nil {
		c.zones = map[string]int{}
	}
	c.random = slices.ContainsFunc(c.orders, func(o Order) bool { return o.kind == byLot })
	c.hosts = make([]host, len(instances))
	leagues := map[string]*league{}
	shared := slices.ContainsFunc(c.orders, func(o Order) bool { return o.kind == bySpread })
	for i := range instances {
		h := &c.hosts[i]
		h.Instance = &instances[i]
		h.freeCPU, h.freeMemory, h.groupTasks, h.portTaken = h.FreeCPU, h.FreeMemory, h.GroupTasks, h.PortTaken
		if shared {
			c.count(h)
		}
		if h.unfit(r) != "" {
			continue
		}
		c.appraise(h)
		if h.Zone != "" || len(r.Zones) == 0 {
			h.one = entry{host: h, zone: h.Zone}
			c.enter(leagues, &h.one, shared)
			continue
		}
		h.more = make([]entry, len(r.Zones))
		for n, zone := range r.Zones {
			h.more[n] = entry{host: h, zone: zone, tie: draw(seed, zone, 0)}
			c.enter(leagues, &h.more[n], shared)
		}
	}
	for _, l := range c.leagues {
		heap.Init(l)
	}
	return c
}

// count adds the tasks of the group that the instance has to those of its
// values of the attributes that are spread over.
func (c *contest) count(h *host) {
	for _, o := range c.orders {
		if o.kind != bySpread {
			continue
		}
		if c.spread[o.attribute] == nil {
			c.spread[o.attribute] = map[string]int{}
		}
		c.spread[o.attribute][valueOf(h, o.attribute)] += h.GroupTasks
	}
}

// valueOf is the instance's value of an attribute; those without one share
// the empty value.
func valueOf(h *host, attribute string) string {
	v, _ := h.attribute(attribute)
	return v
}

// enter puts an entry into its league.
func (c *contest) enter(leagues map[string]*league, e *entry, shared bool) {
	var key strings.Builder
	key.WriteString(e.zone)
	if shared {
		for _, o := range c.orders {
			if o.kind == bySpread {
				key.WriteString("\x00" + valueOf(e.host, o.attribute))
			}
		}
	}
	l := leagues[key.String()]
	if l == nil {
		l = &league{contest: c}
		for _, o := range c.orders {
			if o.kind == bySpread {
				l.values = append(l.values, valueOf(e.host, o.attribute))
			}
		}
		leagues[key.String()] = l
		c.leagues = append(c.leagues, l)
	}
	e.from, e.index = l, len(l.heap)
	l.heap = append(l.heap, e)
}

// appraise brings up to date what is compared of an instance.
func (c *contest) appraise(h *host) {
	h.room = min(share(h.freeCPU-c.request.CPU, h.CPU), share(h.freeMemory-c.request.Memory, h.Memory))
	if len(c.hosts) > largeFleet {
		h.room = math.Floor(h.room * roomSteps)
	}
}

// lotOf is the instance's lot. Where lots decide they are arrivals of a Poisson
// process: after its turn an instance waits again as long as any other, so
// that every draw is fair.
func (c *contest) lotOf(h *host) float64 {
	if h.lot == 0 {
		c.drawLot(h)
	}
	return h.lot
}

func (c *contest) drawLot(h *host) {
	h.draws++
	u := float64(draw(c.seed, h.ID, h.draws)>>11) / (1 << 53)
	if !c.random {
		h.lot = u
		return
	}
	h.lot -= math.Log(1 - u)
}

func share(free, total int64) float64 {
	if total <= 0 {
		return 0
	}
	return float64(free) / float64(total)
}

// best is the next instance to take a task, nil when there is none.
func (c *contest) best() *entry {
	var best *entry
	for _, l := range c.leagues {
		if len(l.heap) > 0 && (best == nil || c.compare(l.heap[0], best) < 0) {
			best = l.heap[0]
		}
	}
	return best
}

// take gives a task to an instance.
func (c *contest) take(e *entry) {
	h := e.host
	h.freeCPU -= c.request.CPU
	h.freeMemory -= c.request.Memory
	h.groupTasks++
	h.portTaken = h.portTaken || c.request.Ports
	c.zones[e.zone]++
	for _, o := range c.orders {
		if o.kind == bySpread {
			c.spread[o.attribute][valueOf(h, o.attribute)]++
		}
	}
	gone := h.unfit(c.request) != ""
	c.appraise(h)
	if h.lot != 0 {
		c.drawLot(h)
	}
	if h.more == nil {
		h.one.settle(gone)
	}
	for i := range h.more {
		h.more[i].settle(gone)
	}
}

// settle puts the entry where it belongs now.
func (e *entry) settle(gone bool) {
	if gone {
		heap.Remove(e.from, e.index)
		return
	}
	heap.Fix(e.from, e.index)
}

// compare orders two candidates; the smaller one is taken first.
func (c *contest) compare(a, b *entry) int {
	spread := 0
	for _, o := range c.orders {
		d := 0
		switch o.kind {
		case byZone:
			d = cmp.Compare(c.zones[a.zone], c.zones[b.zone])
		case bySpread:
			values := c.spread[o.attribute]
			d = cmp.Compare(values[a.from.values[spread]], values[b.from.values[spread]])
			spread++
		default:
			d = c.compareOwn(o.kind, a.host, b.host)
		}
		if d != 0 {
			return d
		}
	}
	if d := cmp.Compare(b.host.room, a.host.room); d != 0 {
		return d
	}
	if a.host != b.host {
		return cmp.Compare(c.lotOf(a.host), c.lotOf(b.host))
	}
	return cmp.Compare(a.tie, b.tie)
}

// compareOwn compares what is the instances' own.
func (c *contest) compareOwn(k kind, a, b *host) int {
	switch k {
	case byInstance:
		return cmp.Compare(a.groupTasks, b.groupTasks)
	case byCPULeft:
		return cmp.Compare(a.freeCPU, b.freeCPU)
	case byMemoryLeft:
		return cmp.Compare(a.freeMemory, b.freeMemory)
	case byRoom:
		return cmp.Compare(b.room, a.room)
	default:
		return cmp.Compare(c.lotOf(a), c.lotOf(b))
	}
}

// Len, Less, Swap, Push and Pop are for container/heap.
func (l *league) Len() int           { return len(l.heap) }
func (l *league) Less(i, j int) bool { return l.contest.compare(l.heap[i], l.heap[j]) < 0 }
func (l *league) Swap(i, j int) {
	l.heap[i], l.heap[j] = l.heap[j], l.heap[i]
	l.heap[i].index, l.heap[j].index = i, j
}

func (l *league) Push(x any) {
	e := x.(*entry)
	e.index = len(l.heap)
	l.heap = append(l.heap, e)
}

func (l *league) Pop() any {
	last := l.heap[len(l.heap)-1]
	l.heap = l.heap[:len(l.heap)-1]
	return last
}

// draw gives everybody a number that depends on the seed alone.
func draw(seed uint64, id string, n int) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a
	x := uint64(offset)
	for i := range 8 {
		x = (x ^ seed>>(8*i)&0xff) * prime
	}
	x = (x ^ uint64(n)) * prime //nolint:gosec // any number will do
	for i := range len(id) {
		x = (x ^ uint64(id[i])) * prime
	}
	// FNV mixes its last bytes poorly; ids often differ in those alone.
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}
