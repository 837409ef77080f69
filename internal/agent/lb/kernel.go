package lb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/routing"
)

// written is what the kernel was told.
type written struct {
	rules string
	inode uint64 // of the namespace that has them
	// serving are the targets that connections could go to, by group.
	serving map[string][]netip.AddrPort
}

// table is the name of the load balancer's own table, in the family and at the place that agent/network documents.
func (b *balancer) table() string { return "berth-nlb-" + short(b.state.Key) }

// kernel makes the rules of a network load balancer those of its document and of its targets' health.
func (b *balancer) kernel(ctx context.Context, doc *model.NodeLoadBalancer) error {
	if doc.LoadBalancer.Type != model.LoadBalancerNetwork {
		return nil
	}
	now := written{serving: map[string][]netip.AddrPort{}}
	now.rules = routing.Ruleset(doc, b.table(), func(g *model.NodeTargetGroup) []netip.AddrPort {
		s := b.serving(g)
		now.serving[g.ID] = s
		return s
	})
	path := b.cfg.Network.NetNSPath(doc.LoadBalancer.VPCID)
	now.inode = inode(path)
	ended := b.cuts(doc, b.kernelHas.serving, now.serving)
	if now.rules != b.kernelHas.rules || now.inode != b.kernelHas.inode {
		if err := b.writeRules(ctx, doc, path, now.rules); err != nil {
			return err
		}
	}
	b.kernelHas = now
	return cut(path, ended)
}

func (b *balancer) writeRules(ctx context.Context, doc *model.NodeLoadBalancer, path, rules string) error {
	if b.state.VPC != doc.LoadBalancer.VPCID {
		b.state.VPC = doc.LoadBalancer.VPCID
		if err := b.state.write(b.dir); err != nil {
			return err
		}
	}
	return nft(ctx, path, rules)
}

// serving are the targets of a group that new connections may go to.
func (b *balancer) serving(g *model.NodeTargetGroup) []netip.AddrPort {
	var targets []*target
	for _, t := range b.state.Groups[g.ID].Targets {
		targets = append(targets, t)
	}
	chosen := routing.Serving(len(targets), func(i int) (string, bool) { return targets[i].Health.State, targets[i].Draining })
	endpoints := []netip.AddrPort{}
	for _, i := range chosen {
		if a, err := netip.ParseAddr(targets[i].Address); err == nil {
			endpoints = append(endpoints, netip.AddrPortFrom(a, uint16(targets[i].Port)))
		}
	}
	slices.SortFunc(endpoints, netip.AddrPort.Compare)
	return endpoints
}

// cuts are the targets whose connections are to end: those that served and are deregistered or unhealthy now, where the
// group's attributes say so. Those that drain keep theirs.
func (b *balancer) cuts(doc *model.NodeLoadBalancer, before, after map[string][]netip.AddrPort) []netip.AddrPort {
	var ended []netip.AddrPort
	for i := range doc.TargetGroups {
		g := &doc.TargetGroups[i]
		known := map[string]*target{}
		for _, t := range b.state.Groups[g.ID].Targets {
			known[t.endpoint()] = t
		}
		for _, e := range slices.Concat(before[g.ID], b.draining[g.ID]) {
			t := known[e.String()]
			switch {
			case slices.Contains(after[g.ID], e), t != nil && t.Draining:
			case t == nil && routing.TerminatesOnDeregistration(g), t != nil && routing.TerminatesWhenUnhealthy(g):
				ended = append(ended, e)
			}
		}
		b.draining[g.ID] = nil
		for _, t := range known {
			if a, err := netip.ParseAddr(t.Address); err == nil && t.Draining {
				b.draining[g.ID] = append(b.draining[g.ID], netip.AddrPortFrom(a, uint16(t.Port)))
			}
		}
	}
	return ended
}

// removeRules takes the load balancer's table away. It went with the namespace if that is gone.
func (b *balancer) removeRules(ctx context.Context) error {
	if b.state.VPC == "" {
		return nil
	}
	path := b.cfg.Network.NetNSPath(b.state.VPC)
	if inode(path) == 0 {
		return nil
	}
	// Made first, so that it is there to be deleted.
	return nft(ctx, path, fmt.Sprintf("add table ip %[1]s\ndelete table ip %[1]s\n", b.table()))
}

// nft gives rules to the kernel, all or none, in the namespace at path.
func nft(ctx context.Context, path, rules string) error {
	program, err := exec.LookPath("nft")
	if err != nil {
		return errors.New("nftables is not installed: no nft on PATH")
	}
	cmd := exec.CommandContext(ctx, program, "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := network.In(path, cmd.Run); err != nil {
		return fmt.Errorf("write nftables rules: %w: %s", err, strings.TrimSpace(said.String()))
	}
	return nil
}

// cut makes the kernel forget the connections to targets. Their next packet finds another target or none, which ends them.
func cut(path string, targets []netip.AddrPort) error {
	if len(targets) == 0 {
		return nil
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("end connections: %w", err)
	}
	defer ns.Close()
	handle, err := netlink.NewHandleAt(ns, unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("end connections: %w", err)
	}
	defer handle.Close()
	if _, err := handle.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.FAMILY_V4, answersFrom(targets)); err != nil {
		return fmt.Errorf("end connections: %w", err)
	}
	return nil
}

// answersFrom matches translated connections whose answers come from one of the targets.
type answersFrom []netip.AddrPort

// MatchConntrackFlow implements netlink's filter.
func (targets answersFrom) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	source, ok := netip.AddrFromSlice(flow.Reverse.SrcIP)
	if !ok || flow.Reverse.SrcIP.Equal(flow.Forward.DstIP) {
		return false
	}
	return slices.Contains(targets, netip.AddrPortFrom(source.Unmap(), flow.Reverse.SrcPort))
}
