package balancing

import (
	"context"
	"encoding/json"
	"fmt"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// Observed records what a node sees of a load balancer that it serves. A node
// that serves it no more is not heard, except when it says that it has let go
// of one that is deleted.
func (l *Loop) Observed(ctx context.Context, instanceID, key string, body []byte) error {
	var seen model.LoadBalancerObserved
	if err := json.Unmarshal(body, &seen); err != nil {
		// The node will not say it better the next time.
		l.log.ErrorContext(ctx, "a node's report on a load balancer cannot be read", telemetry.InstanceID, instanceID, telemetry.Error, err)
		return nil
	}
	snap := l.store.Snapshot()
	lb, exists := records.LoadBalancers.Get(snap, key)
	if seen.State == model.LoadBalancerDeleted {
		if exists {
			return nil
		}
		return l.letGo(ctx, instanceID, key)
	}
	if !exists || lb.InstanceID != instanceID {
		return nil
	}
	if err := l.observeState(ctx, instanceID, key, seen); err != nil {
		return fmt.Errorf("state of load balancer %s: %w", key, err)
	}
	if err := l.observeTargets(ctx, snap, lb, seen.Targets); err != nil {
		return fmt.Errorf("targets of load balancer %s: %w", key, err)
	}
	return nil
}

func (l *Loop) observeState(ctx context.Context, instanceID, key string, seen model.LoadBalancerObserved) error {
	if seen.State != model.LoadBalancerActive && seen.State != model.LoadBalancerFailed {
		return nil
	}
	changed := false
	_, err := l.store.Update(ctx, func(tx *store.Tx) error {
		changed = false
		lb, ok := records.LoadBalancers.Get(tx, key)
		if !ok || lb.InstanceID != instanceID || lb.State == seen.State && lb.StateReason == seen.Reason {
			return nil
		}
		changed = true
		return records.LoadBalancers.Edit(tx, key, func(lb *model.LoadBalancer) error {
			lb.State, lb.StateReason = seen.State, seen.Reason
			return nil
		})
	})
	if err == nil && changed {
		l.log.InfoContext(ctx, "a load balancer changed its state", "load_balancer", key, telemetry.InstanceID, instanceID, "state", seen.State, telemetry.Reason, seen.Reason)
	}
	return err
}

// observeTargets writes the health that changed. A node may speak of targets
// of its load balancer's groups only.
func (l *Loop) observeTargets(ctx context.Context, snap *store.Snapshot, lb *model.LoadBalancer, seen []model.TargetObserved) error {
	groups := groupsOf(snap, lb.ID)
	var news []model.TargetObserved
	for _, o := range seen {
		if t, ok := records.Targets.Get(snap, o.Key); ok && groups[t.TargetGroupID] && isNews(t, o) {
			news = append(news, o)
		}
	}
	_, err := store.Batch(ctx, l.store, news, func(tx *store.Tx, o model.TargetObserved) error {
		t, ok := records.Targets.Get(tx, o.Key)
		if !ok || !isNews(t, o) {
			return nil
		}
		return records.Targets.Edit(tx, o.Key, func(t *model.Target) error {
			if o.State == model.TargetDraining {
				t.DrainingAt = new(tx.Now())
				return nil
			}
			t.Health = model.TargetHealth{State: o.State, Reason: o.Reason, Description: o.Description, ChangedAt: new(tx.Now())}
			return nil
		})
	})
	return err
}

// isNews reports whether an observation says something new of a target: of the
// same registration, that still lasts.
func isNews(t *model.Target, o model.TargetObserved) bool {
	switch o.State {
	case model.TargetDraining:
		return t.RegisteredAt.Equal(o.Registered) && t.DeregisteredAt != nil && t.DrainingAt == nil
	case model.TargetInitial, model.TargetHealthy, model.TargetUnhealthy:
	default:
		return false
	}
	return t.RegisteredAt.Equal(o.Registered) && t.DeregisteredAt == nil &&
		(t.Health.State != o.State || t.Health.Reason != o.Reason || t.Health.Description != o.Description)
}

// groupsOf are the ids of the target groups that a load balancer forwards to.
func groupsOf(r store.Reader, id string) map[string]bool {
	arns, ids := map[string]bool{}, map[string]bool{}
	for l := range records.Listeners.By(r, records.ListenersByLoadBalancer, id) {
		note(arns, l.DefaultActions)
		for rule := range records.ListenerRules.By(r, records.RulesByListener, l.ID) {
			note(arns, rule.Actions)
		}
	}
	for arn := range arns {
		ids[groupID(arn)] = true
	}
	return ids
}
