package placement_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/rules/placement"
)

func host(id string, edit func(*placement.Instance)) placement.Instance {
	i := placement.Instance{
		ID: id, Architecture: "x86_64", Active: true, Connected: true,
		CPU: 4096, Memory: 8192, FreeCPU: 4096, FreeMemory: 8192,
	}
	if edit != nil {
		edit(&i)
	}
	return i
}

func TestFits(t *testing.T) {
	request := placement.Request{Count: 1, CPU: 256, Memory: 512, Architecture: "x86_64", Zones: []string{"a", "b"}}
	for _, tc := range []struct {
		name   string
		edit   func(*placement.Instance)
		reason string
	}{
		{"any zone", nil, ""},
		{"its zone", func(i *placement.Instance) { i.Zone = "b" }, ""},
		{"exactly", func(i *placement.Instance) { i.FreeCPU, i.FreeMemory = 256, 512 }, ""},
		{"unknown processor", func(i *placement.Instance) { i.Architecture = "" }, ""},
		{"cpu", func(i *placement.Instance) { i.FreeCPU = 255 }, placement.ReasonCPU},
		{"memory", func(i *placement.Instance) { i.FreeMemory = 511 }, placement.ReasonMemory},
		{"agent", func(i *placement.Instance) { i.Connected = false }, placement.ReasonAgent},
		{"draining", func(i *placement.Instance) { i.Active = false }, placement.ReasonInactive},
		{"processor", func(i *placement.Instance) { i.Architecture = "arm64" }, placement.ReasonAttribute},
		{"zone", func(i *placement.Instance) { i.Zone, i.FreeCPU = "c", 0 }, placement.ReasonLocation},
	} {
		reason, ok := placement.Fits(host("h", tc.edit), request)
		if reason != tc.reason || ok != (tc.reason == "") {
			t.Errorf("%s: got %q, %v", tc.name, reason, ok)
		}
	}
}

func TestPlace_SpreadsByWhatIsLeft(t *testing.T) {
	hosts := []placement.Instance{
		host("full", func(i *placement.Instance) { i.FreeCPU = 512 }),
		host("half", func(i *placement.Instance) { i.FreeCPU = 2048 }),
		host("free", nil),
	}
	d := placement.Place(1, hosts, placement.Request{Count: 3, CPU: 1024, Memory: 512})
	want := []placement.Placement{{InstanceID: "free"}, {InstanceID: "free"}, {InstanceID: "half"}}
	// After two tasks, free and half are equal; the seed decides the third.
	if diff := cmp.Diff(want[:2], d.Placements[:2]); diff != "" {
		t.Error(diff)
	}
	if len(d.Placements) != 3 || d.Placements[2].InstanceID == "full" {
		t.Errorf("placements %+v", d.Placements)
	}
}

func TestPlace_SpreadsOverZones(t *testing.T) {
	zones := []string{"a", "b", "c"}
	for seed := range uint64(20) {
		d := placement.Place(seed, []placement.Instance{host("h", nil)}, placement.Request{Count: 6, CPU: 256, Memory: 512, Zones: zones})
		count := map[string]int{}
		for _, p := range d.Placements {
			count[p.Zone]++
		}
		if count["a"] != 2 || count["b"] != 2 || count["c"] != 2 {
			t.Fatalf("seed %d: %v", seed, count)
		}
	}
}

func TestPlace_FullZoneIsNoReasonToFail(t *testing.T) {
	hosts := []placement.Instance{
		host("h1", func(i *placement.Instance) { i.Zone, i.FreeCPU = "a", 256 }),
		host("h2", func(i *placement.Instance) { i.Zone = "b" }),
	}
	d := placement.Place(1, hosts, placement.Request{Count: 4, CPU: 256, Memory: 512, Zones: []string{"a", "b"}})
	if len(d.Placements) != 4 || len(d.Rejections) != 0 {
		t.Errorf("%+v", d)
	}
}

func TestPlace_SaysWhyNot(t *testing.T) {
	hosts := []placement.Instance{
		host("d", func(i *placement.Instance) { i.Connected = false }),
		host("c", func(i *placement.Instance) { i.FreeMemory = 100 }),
		host("b", func(i *placement.Instance) { i.FreeCPU = 300 }),
	}
	d := placement.Place(1, hosts, placement.Request{Count: 3, CPU: 256, Memory: 512})
	want := placement.Decision{
		Placements: []placement.Placement{{InstanceID: "b"}},
		Rejections: []placement.Rejection{{"b", placement.ReasonCPU}, {"c", placement.ReasonMemory}, {"d", placement.ReasonAgent}},
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
	if d := placement.Place(1, nil, placement.Request{Count: 1}); len(d.Placements) != 0 || len(d.Rejections) != 0 {
		t.Errorf("no instances: %+v", d)
	}
}

// Whatever is asked of whatever hosts: no host is given more than it has
// free, every placement fits, tasks without a place have nowhere to go, and
// the same seed gives the same answer.
func TestPlace_NeverOvercommits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var hosts []placement.Instance
		byID := map[string]*placement.Instance{}
		for n := range rapid.IntRange(0, 6).Draw(t, "hosts") {
			h := placement.Instance{
				ID:         fmt.Sprint("h", n),
				Zone:       rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "zone"),
				Active:     rapid.IntRange(0, 4).Draw(t, "active") > 0,
				Connected:  rapid.IntRange(0, 4).Draw(t, "connected") > 0,
				CPU:        2048,
				Memory:     2048,
				FreeCPU:    rapid.Int64Range(-100, 2048).Draw(t, "cpu"),
				FreeMemory: rapid.Int64Range(-100, 2048).Draw(t, "memory"),
			}
			hosts = append(hosts, h)
			byID[h.ID] = &h
		}
		r := placement.Request{
			Count:  rapid.IntRange(0, 10).Draw(t, "count"),
			CPU:    rapid.Int64Range(0, 1024).Draw(t, "need cpu"),
			Memory: rapid.Int64Range(1, 1024).Draw(t, "need memory"),
			Zones:  rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3, rapid.ID).Draw(t, "zones"),
		}
		seed := rapid.Uint64().Draw(t, "seed")
		d := placement.Place(seed, hosts, r)
		if diff := cmp.Diff(d, placement.Place(seed, hosts, r)); diff != "" {
			t.Fatalf("the same seed gave another answer: %s", diff)
		}
		for _, p := range d.Placements {
			h := byID[p.InstanceID]
			if reason, ok := placement.Fits(*h, r); !ok {
				t.Fatalf("placed on %s in spite of %s", h.ID, reason)
			}
			if h.Zone != "" && p.Zone != h.Zone {
				t.Fatalf("host in zone %q, task in %q", h.Zone, p.Zone)
			}
			if len(r.Zones) > 0 && !inList(r.Zones, p.Zone) {
				t.Fatalf("zone %q was not asked for", p.Zone)
			}
			h.FreeCPU -= r.CPU
			h.FreeMemory -= r.Memory
		}
		if len(d.Placements) > r.Count {
			t.Fatalf("%d placed of %d", len(d.Placements), r.Count)
		}
		if len(d.Placements) == r.Count {
			return
		}
		for _, h := range byID {
			if _, ok := placement.Fits(*h, r); ok {
				t.Fatalf("%s has room for a task that was not placed", h.ID)
			}
		}
		if len(d.Rejections) != len(hosts) {
			t.Fatalf("%d hosts, %d rejections", len(hosts), len(d.Rejections))
		}
	})
}

func inList(list []string, s string) bool {
	return slices.Contains(list, s)
}
