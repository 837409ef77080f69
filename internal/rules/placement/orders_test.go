package placement_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/placement"
)

func strategy(steps ...string) []placement.Order {
	var s []model.PlacementStrategy
	for _, step := range steps {
		kind, field, _ := strings.Cut(step, " ")
		s = append(s, model.PlacementStrategy{Type: kind, Field: field})
	}
	return placement.Orders(s)
}

func rack(n string) []model.Attribute { return []model.Attribute{{Name: "rack", Value: n}} }

func TestPlace_Strategies(t *testing.T) {
	type instances = []placement.Instance
	for _, tc := range []struct {
		name  string
		order []placement.Order
		hosts instances
		zones map[string]int
		count int
		want  map[string]int
	}{
		{"spread over instances", strategy("spread instanceId"), instances{
			host("a", func(i *placement.Instance) { i.GroupTasks = 2 }), host("b", func(i *placement.Instance) { i.FreeCPU = 1024 }), host("c", nil),
		}, nil, 4, map[string]int{"b": 2, "c": 2}},
		{"host means instanceId", strategy("spread HOST"), instances{host("a", nil), host("b", nil)}, nil, 4, map[string]int{"a": 2, "b": 2}},
		{"spread over an attribute", strategy("spread attribute:rack"), instances{
			host("a", func(i *placement.Instance) { i.Attributes = rack("1") }), host("b", func(i *placement.Instance) { i.Attributes = rack("1") }),
			host("c", func(i *placement.Instance) { i.Attributes = rack("2") }),
		}, nil, 4, map[string]int{"a": 1, "b": 1, "c": 2}},
		{"spread counts what is there", strategy("spread attribute:rack"), instances{
			host("a", func(i *placement.Instance) { i.Attributes, i.GroupTasks = rack("1"), 3 }),
			host("b", func(i *placement.Instance) { i.Attributes = rack("2") }),
		}, nil, 3, map[string]int{"b": 3}},
		{"binpack memory", strategy("binpack memory"), instances{
			host("a", func(i *placement.Instance) { i.FreeMemory = 2048 }), host("b", func(i *placement.Instance) { i.FreeMemory = 1000 }), host("c", nil),
		}, nil, 3, map[string]int{"a": 2, "b": 1}},
		{"binpack cpu", strategy("binpack cpu"), instances{
			host("a", func(i *placement.Instance) { i.FreeCPU = 600 }), host("b", nil),
		}, nil, 3, map[string]int{"a": 2, "b": 1}},
		{"zones, then binpack", strategy("spread attribute:ecs.availability-zone", "binpack cpu"), instances{
			host("a", func(i *placement.Instance) { i.Zone = "x" }), host("b", func(i *placement.Instance) { i.Zone, i.FreeCPU = "x", 3000 }),
			host("c", func(i *placement.Instance) { i.Zone = "y" }),
		}, nil, 4, map[string]int{"b": 2, "c": 2}},
		{"services", placement.ServiceOrder(), instances{
			host("a", func(i *placement.Instance) { i.Zone, i.GroupTasks = "x", 1 }), host("b", func(i *placement.Instance) { i.Zone = "x" }),
			host("c", func(i *placement.Instance) { i.Zone = "y" }),
		}, map[string]int{"x": 1}, 3, map[string]int{"b": 1, "c": 2}},
	} {
		for seed := range uint64(10) {
			d := placement.Place(seed, tc.hosts, placement.Request{Count: tc.count, CPU: 256, Memory: 512, Strategy: tc.order, ZoneTasks: tc.zones})
			got := map[string]int{}
			for _, p := range d.Placements {
				got[p.InstanceID]++
			}
			if fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("%s, seed %d: got %v, want %v", tc.name, seed, got, tc.want)
				break
			}
		}
	}
}

// Over many draws every instance gets its share.
func TestPlace_RandomIsFair(t *testing.T) {
	hosts := []placement.Instance{host("a", nil), host("b", func(i *placement.Instance) { i.FreeCPU = 3000 }), host("c", nil)}
	got := map[string]int{}
	for seed := range uint64(3000) {
		for _, p := range placement.Place(seed, hosts, placement.Request{Count: 2, CPU: 1, Memory: 1, Strategy: strategy("random")}).Placements {
			got[p.InstanceID]++
		}
	}
	for id, n := range got {
		if n < 1800 || n > 2200 {
			t.Errorf("%s was drawn %d times of 6000", id, n)
		}
	}
}

func TestPlace_Constraints(t *testing.T) {
	hosts := []placement.Instance{
		host("a", func(i *placement.Instance) { i.Attributes = rack("1") }),
		host("b", func(i *placement.Instance) { i.Attributes, i.GroupTasks = rack("2"), 1 }),
		host("c", func(i *placement.Instance) { i.Attributes, i.PortTaken = rack("2"), true }),
	}
	e, err := placement.ParseExpression("attribute:rack == 2")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name    string
		request placement.Request
		want    string
	}{
		{"member", placement.Request{Constraints: []placement.Expression{e}}, "b b a:MemberOf placement constraint unsatisfied. b:RESOURCE:MEMORY c:RESOURCE:PORTS"},
		{"distinct", placement.Request{Distinct: true}, "a a:DistinctInstance placement constraint unsatisfied. b:DistinctInstance placement constraint unsatisfied. c:RESOURCE:PORTS"},
		{"ports", placement.Request{Ports: true}, "a b a:RESOURCE:PORTS b:RESOURCE:PORTS c:RESOURCE:PORTS"},
	} {
		tc.request.Count, tc.request.CPU, tc.request.Memory = 9, 1, 4096
		d := placement.Place(1, hosts, tc.request)
		var got []string
		for _, p := range d.Placements {
			got = append(got, p.InstanceID)
		}
		slices.Sort(got)
		for _, r := range d.Rejections {
			got = append(got, r.InstanceID+":"+r.Reason)
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: got %s", tc.name, strings.Join(got, " "))
		}
	}
}

func TestClosest(t *testing.T) {
	r, found := placement.Closest([]placement.Rejection{
		{InstanceID: "a", Reason: placement.ReasonAgent}, {InstanceID: "c", Reason: placement.ReasonMemory}, {InstanceID: "b", Reason: placement.ReasonMemory},
	})
	if !found || r.InstanceID != "b" {
		t.Errorf("%+v", r)
	}
	if _, found := placement.Closest(nil); found {
		t.Error("of nothing, something was closest")
	}
}

// Whatever the strategy, each choice is one that looking at every instance
// anew would make.
func TestPlace_IsGreedy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var hosts []placement.Instance
		for n := range rapid.IntRange(1, 6).Draw(t, "hosts") {
			hosts = append(hosts, host(fmt.Sprint("h", n), func(i *placement.Instance) {
				i.Zone = rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "zone")
				i.FreeCPU = rapid.Int64Range(0, 2048).Draw(t, "cpu")
				i.GroupTasks = rapid.IntRange(0, 2).Draw(t, "tasks")
				i.Attributes = rack(rapid.SampledFrom([]string{"1", "2"}).Draw(t, "rack"))
			}))
		}
		steps := rapid.SliceOfN(rapid.SampledFrom([]string{
			"spread instanceId", "spread attribute:ecs.availability-zone", "spread attribute:rack", "binpack cpu",
		}), 1, 3).Draw(t, "strategy")
		r := placement.Request{Count: rapid.IntRange(1, 6).Draw(t, "count"), CPU: 256, Memory: 1, Zones: []string{"x", "y"}, ZoneTasks: map[string]int{}, Strategy: strategy(steps...)}
		zones := map[string]int{}
		for _, p := range placement.Place(rapid.Uint64().Draw(t, "seed"), hosts, r).Placements {
			rank := func(h *placement.Instance, zone string) string {
				racks := 0
				for i := range hosts {
					if hosts[i].Attributes[0] == h.Attributes[0] {
						racks += hosts[i].GroupTasks
					}
				}
				var key strings.Builder
				for _, step := range steps {
					value := map[string]int{
						"spread instanceId": h.GroupTasks, "spread attribute:ecs.availability-zone": zones[zone],
						"spread attribute:rack": racks, "binpack cpu": int(h.FreeCPU),
					}[step]
					fmt.Fprintf(&key, "%06d ", value)
				}
				return key.String()
			}
			best, chosen := "", ""
			for i := range hosts {
				h := &hosts[i]
				for _, zone := range []string{"x", "y"} {
					if _, fits := placement.Fits(*h, r); !fits || h.Zone != "" && h.Zone != zone {
						continue
					}
					if key := rank(h, zone); best == "" || key < best {
						best = key
					}
					if h.ID == p.InstanceID && zone == p.Zone {
						chosen = rank(h, zone)
					}
				}
			}
			if chosen != best {
				t.Fatalf("%v: chose %+v of rank %q, the best is %q", steps, p, chosen, best)
			}
			for i := range hosts {
				if hosts[i].ID == p.InstanceID {
					hosts[i].FreeCPU -= r.CPU
					hosts[i].GroupTasks++
				}
			}
			zones[p.Zone]++
		}
	})
}

func BenchmarkPlace(b *testing.B) {
	var hosts []placement.Instance
	for n := range 5000 {
		hosts = append(hosts, host(fmt.Sprintf("%032d", n), func(i *placement.Instance) {
			i.Zone, i.FreeCPU, i.GroupTasks = fmt.Sprint("z", n%3), int64(1000+n%3000), n%5
		}))
	}
	for b.Loop() {
		placement.Place(1, hosts, placement.Request{Count: 20, CPU: 10, Memory: 10, Zones: []string{"z0", "z1", "z2"}, Strategy: placement.ServiceOrder()})
	}
	b.ReportMetric(float64(20*b.N)/b.Elapsed().Seconds(), "tasks/s")
}
