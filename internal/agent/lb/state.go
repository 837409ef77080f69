package lb

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"berth.dev/berth/internal/base/atomicfile"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/routing"
)

// A state is what an agent must know of a load balancer that an earlier one served. It is on disk before the kernel or
// HAProxy is told.
type state struct {
	Key string `json:"key"`
	// Interfaces are those that have been attached, with the inode of the namespace that the process was started with:
	// a namespace of the same name may be another after a detach or a restart of the host.
	Interfaces map[string]uint64 `json:"interfaces,omitempty"`
	// VPC is where the rules of a network load balancer are.
	VPC string `json:"vpc,omitempty"`
	// Public is set when the host has rules too.
	Public bool `json:"public,omitempty"`
	// Groups has the targets of each target group, by its id.
	Groups map[string]*group `json:"groups,omitempty"`

	written []byte // what is on disk
}

// A group is a target group's targets. Of one that HAProxy serves each has a slot.
type group struct {
	Slots   int                `json:"slots"`
	Targets map[string]*target `json:"targets,omitempty"` // by key
}

// A target is one that is registered, or was until a moment ago.
type target struct {
	Slot         int            `json:"slot"` // from 1
	Address      string         `json:"address"`
	Port         int32          `json:"port"`
	RegisteredAt time.Time      `json:"registeredAt"`
	Draining     bool           `json:"draining,omitempty"`
	Health       routing.Health `json:"health"`
	// Admitted says that HAProxy was seen to use it: if it is down after that, its checks failed.
	Admitted bool `json:"admitted,omitempty"`
}

func (t *target) endpoint() string { return fmt.Sprintf("%s:%d", t.Address, t.Port) }

// short names a load balancer in paths and in rules.
func short(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:8])
}

func readState(dir string) (*state, error) {
	s := &state{Interfaces: map[string]uint64{}, Groups: map[string]*group{}}
	raw, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, s)
	}
	if err != nil {
		return s, fmt.Errorf("read what is known of a load balancer: %w", err)
	}
	return s, nil
}

func (s *state) write(dir string) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	if bytes.Equal(raw, s.written) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	if err := atomicfile.WriteSecret(filepath.Join(dir, "state.json"), raw); err != nil {
		return fmt.Errorf("write what is known of a load balancer: %w", err)
	}
	s.written = raw
	return nil
}

// assign makes the targets those of doc and returns the slots that became free, by group. A target that stays keeps its
// slot and its health; one that was registered again begins anew, in another slot. Slots double when they do not do.
func (s *state) assign(doc *model.NodeLoadBalancer) (freed map[string][]int, changed bool) {
	freed = map[string][]int{}
	known := map[string]bool{}
	for i := range doc.TargetGroups {
		g := &doc.TargetGroups[i]
		known[g.ID] = true
		have, ok := s.Groups[g.ID]
		if !ok {
			have = &group{Slots: routing.MinSlots, Targets: map[string]*target{}}
			s.Groups[g.ID], changed = have, true
		}
		gone, differs := have.assign(g)
		freed[g.ID] = gone
		changed = changed || differs
	}
	for id := range s.Groups {
		if !known[id] {
			delete(s.Groups, id)
			changed = true
		}
	}
	return freed, changed
}

// bySlot indexes the targets by their slots.
func (g *group) bySlot() map[int]*target {
	targets := make(map[int]*target, len(g.Targets))
	for _, t := range g.Targets {
		targets[t.Slot] = t
	}
	return targets
}

func (g *group) assign(doc *model.NodeTargetGroup) (freed []int, changed bool) {
	wanted := map[string]model.NodeTarget{}
	for _, t := range doc.Targets {
		wanted[t.Key] = t
	}
	for key, t := range g.Targets {
		w, ok := wanted[key]
		if ok && w.RegisteredAt.Equal(t.RegisteredAt) && w.Address == t.Address && w.Port == t.Port {
			continue
		}
		freed = append(freed, t.Slot)
		delete(g.Targets, key)
		changed = true
	}
	slices.Sort(freed)
	fresh := slices.SortedFunc(slices.Values(doc.Targets), func(a, b model.NodeTarget) int {
		return cmp.Or(a.RegisteredAt.Compare(b.RegisteredAt), cmp.Compare(a.Key, b.Key))
	})
	for _, w := range fresh {
		if t, ok := g.Targets[w.Key]; ok {
			changed = changed || t.Draining != w.Draining
			t.Draining = w.Draining
			continue
		}
		g.Targets[w.Key] = &target{
			Slot: g.free(freed), Address: w.Address, Port: w.Port, RegisteredAt: w.RegisteredAt, Draining: w.Draining,
			Health: routing.Registered(),
		}
		changed = true
	}
	return freed, changed
}

// free finds a slot that no target has, nor had until now.
func (g *group) free(freed []int) int {
	taken := map[int]bool{}
	for _, slot := range freed {
		taken[slot] = true
	}
	for _, t := range g.Targets {
		taken[t.Slot] = true
	}
	for slot := 1; ; slot++ {
		if taken[slot] {
			continue
		}
		for slot > g.Slots {
			g.Slots *= 2
		}
		return slot
	}
}
