package balancing

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// drain deletes the targets whose deregistration delay is over, and says when
// the next one's will be.
func (p *pass) drain(ctx context.Context, snap *store.Snapshot) (next time.Time, err error) {
	now, used := time.Now(), map[string]bool{}
	var over []*model.Target
	for _, key := range slices.Sorted(maps.Keys(p.draining)) {
		t, ok := records.Targets.Get(snap, key)
		if !ok {
			delete(p.draining, key)
			continue
		}
		if _, known := used[t.TargetGroupID]; !known {
			used[t.TargetGroupID] = inUse(snap, t.TargetGroupID)
		}
		if due := drained(snap, t, used[t.TargetGroupID]); now.Before(due) {
			next = earlier(next, due)
			continue
		}
		over = append(over, t)
	}
	_, err = store.Batch(ctx, p.store, over, func(tx *store.Tx, seen *model.Target) error {
		t, ok := records.Targets.Get(tx, seen.Key())
		if !ok || !sameEnd(t, seen) || t.DeregisteredAt == nil && records.TargetGroups.Has(tx, t.TargetGroupID) {
			return nil // registered again
		}
		records.Targets.Delete(tx, seen.Key())
		return nil
	})
	if err != nil {
		return next, fmt.Errorf("deleting deregistered targets: %w", err)
	}
	return next, nil
}

// sameEnd reports whether two states of a target are of one registration and
// one deregistration.
func sameEnd(a, b *model.Target) bool {
	return a.RegisteredAt.Equal(b.RegisteredAt) && (a.DeregisteredAt == nil) == (b.DeregisteredAt == nil) &&
		(a.DeregisteredAt == nil || a.DeregisteredAt.Equal(*b.DeregisteredAt))
}

// unheardAfter is how long a node may take to say that it sends a target no
// new requests. One that says nothing for that long may be out of reach, and
// its load balancer with it.
const unheardAfter = 30 * time.Second

// drained is when a deregistered target goes: in the past when nothing leads
// to it. The delay counts from when new requests really go elsewhere, which
// the node says, and not from the wish: a busy node may need a while.
func drained(r store.Reader, t *model.Target, used bool) time.Time {
	g, ok := records.TargetGroups.Get(r, t.TargetGroupID)
	if !ok || !used || t.DeregisteredAt == nil {
		return time.Time{}
	}
	seconds, err := strconv.Atoi(g.Attribute(model.AttributeDeregistrationDelay))
	if err != nil {
		return *t.DeregisteredAt // the API lets no such value in
	}
	delay := time.Duration(seconds) * time.Second
	switch {
	case t.DrainingAt != nil:
		return t.DrainingAt.Add(delay)
	case !served(r, t.TargetGroupID):
		return t.DeregisteredAt.Add(delay)
	default:
		return t.DeregisteredAt.Add(delay + unheardAfter)
	}
}

// served reports whether a node serves a load balancer that forwards to a
// target group.
func served(r store.Reader, groupID string) bool {
	return slices.ContainsFunc(ofGroup(r, groupID), func(id string) bool {
		lb, ok := records.LoadBalancers.Get(r, id)
		return ok && lb.State == model.LoadBalancerActive
	})
}

// inUse reports whether a load balancer forwards to a target group.
func inUse(r store.Reader, groupID string) bool {
	return slices.ContainsFunc(ofGroup(r, groupID), func(id string) bool { return records.LoadBalancers.Has(r, id) })
}
