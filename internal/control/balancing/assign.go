package balancing

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// assign gives every load balancer a node, and its interfaces the same one.
func (p *pass) assign(ctx context.Context, snap *store.Snapshot) error {
	served := map[string]int{}
	for lb := range records.LoadBalancers.All(snap) {
		served[lb.InstanceID]++
	}
	for lb := range records.LoadBalancers.All(snap) {
		node := lb.InstanceID
		if node != "" {
			lost, until := p.lost(snap, node)
			if !lost {
				p.due = earlier(p.due, until)
			} else if other := choose(snap, lb, served); other != "" {
				node = other
			}
		} else {
			node = choose(snap, lb, served)
		}
		if node == "" || node == lb.InstanceID && onNode(snap, lb, node) {
			continue
		}
		if node != lb.InstanceID {
			served[lb.InstanceID]--
			served[node]++
		}
		if err := p.move(ctx, lb, node); err != nil {
			return fmt.Errorf("giving load balancer %s to node %s: %w", lb.ID, node, err)
		}
	}
	return nil
}

// choose finds the node for a load balancer: connected and ACTIVE, in one of
// its zones if there is such a one, then the one that serves the fewest, then
// the first by id. It is empty when there is none.
func choose(r store.Reader, lb *model.LoadBalancer, served map[string]int) string {
	var able []*model.Instance
	for i := range records.Instances.All(r) {
		if eligible(i) {
			able = append(able, i)
		}
	}
	if len(able) == 0 {
		return ""
	}
	elsewhere := func(i *model.Instance) int {
		if lb.Serves(i.Zone) {
			return 0
		}
		return 1
	}
	return slices.MinFunc(able, func(a, b *model.Instance) int {
		if d := elsewhere(a) - elsewhere(b); d != 0 {
			return d
		}
		if d := served[a.ID] - served[b.ID]; d != 0 {
			return d
		}
		return strings.Compare(a.ID, b.ID)
	}).ID
}

func eligible(i *model.Instance) bool { return i.Connected && i.Status == model.InstanceActive }

// onNode reports whether all interfaces of a load balancer are on the node.
func onNode(r store.Reader, lb *model.LoadBalancer, node string) bool {
	return !slices.ContainsFunc(lb.Zones, func(z model.BalancerZone) bool {
		n, ok := records.NetworkInterfaces.Get(r, z.ENIID)
		return ok && n.InstanceID != node
	})
}

// move gives a load balancer to a node, unless either changed meanwhile: then
// the next pass decides.
func (p *pass) move(ctx context.Context, seen *model.LoadBalancer, node string) error {
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		lb, ok := records.LoadBalancers.Get(tx, seen.ID)
		if !ok || lb.InstanceID != seen.InstanceID {
			return nil
		}
		if node != lb.InstanceID {
			if i, ok := records.Instances.Get(tx, node); !ok || !eligible(i) {
				return nil
			}
			if err := records.LoadBalancers.Edit(tx, lb.ID, func(lb *model.LoadBalancer) error {
				lb.InstanceID, lb.State, lb.StateReason = node, model.LoadBalancerProvisioning, ""
				return nil
			}); err != nil {
				return err
			}
		}
		for _, z := range lb.Zones {
			if n, ok := records.NetworkInterfaces.Get(tx, z.ENIID); !ok || n.InstanceID == node {
				continue
			}
			if err := records.NetworkInterfaces.Edit(tx, z.ENIID, func(n *model.NetworkInterface) error {
				n.InstanceID = node
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && node != seen.InstanceID {
		p.log.InfoContext(ctx, "a load balancer has a node", "load_balancer", seen.ID, telemetry.InstanceID, node, "before", seen.InstanceID)
	}
	return err
}
