package balancing

import (
	"context"
	"fmt"
	"slices"
	"time"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// release frees the interfaces that no load balancer has any more, once no
// node serves them, and then the public addresses of those that are deleted.
func (p *pass) release(ctx context.Context, snap *store.Snapshot) error {
	waiting := map[string]bool{} // load balancers of which something is left
	for id, owner := range p.interfaces {
		n, ok := records.NetworkInterfaces.Get(snap, id)
		if !ok || !orphan(snap, n) {
			delete(p.orphaned, id)
			continue
		}
		if until := p.serves(snap, n); time.Now().Before(until) {
			waiting[owner] = true
			p.due = earlier(p.due, until)
			continue
		}
		if err := p.free(ctx, id); err != nil {
			return fmt.Errorf("freeing interface %s: %w", id, err)
		}
	}
	for a := range records.PublicAddresses.All(snap) {
		if a.LoadBalancerID == "" || waiting[a.LoadBalancerID] || records.LoadBalancers.Has(snap, a.LoadBalancerID) {
			continue
		}
		if _, err := p.store.Update(ctx, func(tx *store.Tx) error { return freePublic(tx, a.Address, a.LoadBalancerID) }); err != nil {
			return fmt.Errorf("freeing public address %s: %w", a.Address, err)
		}
	}
	return nil
}

// orphan reports whether an interface is one that its load balancer has left
// behind.
func orphan(r store.Reader, n *model.NetworkInterface) bool {
	lb, ok := records.LoadBalancers.Get(r, n.OwnerID)
	return !ok || !slices.ContainsFunc(lb.Zones, func(z model.BalancerZone) bool { return z.ENIID == n.ID })
}

// serves says until when a node may still have an orphan: a time in the past
// when there is no such node.
func (p *pass) serves(r store.Reader, n *model.NetworkInterface) time.Time {
	if n.InstanceID == "" {
		return time.Time{}
	}
	lost, until := p.lost(r, n.InstanceID)
	switch {
	case lost:
		return time.Time{}
	case !until.IsZero():
		return until // when it is lost, or looked at again because it is back
	}
	if p.orphaned[n.ID].IsZero() {
		p.orphaned[n.ID] = time.Now()
	}
	return p.orphaned[n.ID].Add(releaseAfter)
}

// free deletes an orphan with the claim on its address.
func (l *Loop) free(ctx context.Context, id string) error {
	_, err := l.store.Update(ctx, func(tx *store.Tx) error { return freeInterface(tx, id) })
	return err
}

func freeInterface(tx *store.Tx, id string) error {
	n, ok := records.NetworkInterfaces.Get(tx, id)
	if !ok || n.Owner != model.InterfaceOfLoadBalancer || !orphan(tx, n) {
		return nil
	}
	records.LoadBalancers.Guard(tx, n.OwnerID)
	key := model.AddressClaimKey(n.SubnetID, n.Address)
	if claim, ok := records.AddressClaims.Get(tx, key); ok && claim.ENIID == id {
		records.AddressClaims.Delete(tx, key)
	}
	records.NetworkInterfaces.Delete(tx, id)
	return nil
}

func freePublic(tx *store.Tx, address, balancerID string) error {
	a, ok := records.PublicAddresses.Get(tx, address)
	if !ok || a.LoadBalancerID != balancerID || records.LoadBalancers.Has(tx, balancerID) {
		return nil
	}
	records.LoadBalancers.Guard(tx, balancerID)
	if a.AllocationID == "" {
		records.PublicAddresses.Delete(tx, address)
		return nil
	}
	return records.PublicAddresses.Edit(tx, address, func(a *model.PublicAddress) error {
		a.LoadBalancerID, a.AssociationID = "", ""
		return nil
	})
}

// letGo frees what a deleted load balancer had on a node that has taken it
// down.
func (l *Loop) letGo(ctx context.Context, instanceID, balancerID string) error {
	_, err := l.store.Update(ctx, func(tx *store.Tx) error {
		if records.LoadBalancers.Has(tx, balancerID) {
			return nil
		}
		for n := range records.NetworkInterfaces.By(tx, records.NetworkInterfacesByInstance, instanceID) {
			if n.Owner == model.InterfaceOfLoadBalancer && n.OwnerID == balancerID {
				if err := freeInterface(tx, n.ID); err != nil {
					return err
				}
			}
		}
		return nil // the public address follows when no interface is left
	})
	if err != nil {
		return fmt.Errorf("freeing what deleted load balancer %s had: %w", balancerID, err)
	}
	l.log.DebugContext(ctx, "a node has taken a deleted load balancer down", "load_balancer", balancerID, telemetry.InstanceID, instanceID)
	return nil
}

// sweep deletes listeners without a load balancer and rules without a listener.
func (p *pass) sweep(ctx context.Context, snap *store.Snapshot) error {
	var listeners, rules []string
	for l := range records.Listeners.All(snap) {
		if !records.LoadBalancers.Has(snap, l.LoadBalancerID) {
			listeners = append(listeners, l.ID)
		}
	}
	for r := range records.ListenerRules.All(snap) {
		if l, ok := records.Listeners.Get(snap, r.ListenerID); !ok || !records.LoadBalancers.Has(snap, l.LoadBalancerID) {
			rules = append(rules, r.ID)
		}
	}
	// Neither a load balancer nor a listener comes back under its id.
	if err := remove(ctx, p.store, records.ListenerRules, rules); err != nil {
		return fmt.Errorf("deleting rules without a listener: %w", err)
	}
	if err := remove(ctx, p.store, records.Listeners, listeners); err != nil {
		return fmt.Errorf("deleting listeners without a load balancer: %w", err)
	}
	return nil
}

func remove[T any](ctx context.Context, s *store.Store, table *store.Table[T], keys []string) error {
	_, err := store.Batch(ctx, s, keys, func(tx *store.Tx, key string) error {
		table.Delete(tx, key)
		return nil
	})
	return err
}
