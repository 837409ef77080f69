package routing

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/model"
)

// Ruleset makes the nftables rules, as input of nft, of those listeners of a network load balancer that the kernel serves.
// It has a table of its own, which it replaces as a whole in one transaction; its chains stay, so that connections which
// exist are translated throughout. serving names the targets that new connections of a group may go to.
//
// A connection's target is chosen by a hash of its addresses and ports, once: the kernel remembers it. Where a group does
// not preserve the client's address, the target sees the load balancer's.
func Ruleset(lb *model.NodeLoadBalancer, table string, serving func(g *model.NodeTargetGroup) []netip.AddrPort) string {
	var w strings.Builder
	fmt.Fprintf(&w, "add table ip %s\n", table)
	fmt.Fprintf(&w, "add chain ip %s prerouting { type nat hook prerouting priority dstnat; }\n", table)
	fmt.Fprintf(&w, "add chain ip %s postrouting { type nat hook postrouting priority srcnat; }\n", table)
	fmt.Fprintf(&w, "flush chain ip %s prerouting\n", table)
	fmt.Fprintf(&w, "flush chain ip %s postrouting\n", table)
	listeners := slices.SortedFunc(slices.Values(lb.Listeners), func(a, b model.Listener) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
	for i := range listeners {
		l := &listeners[i]
		if Proxied(lb, l) {
			continue
		}
		for protocol := range strings.SplitSeq(strings.ToLower(l.Protocol), "_") {
			if protocol != "tcp" && protocol != "udp" {
				continue
			}
			for _, n := range lb.Interfaces {
				if address(n.Address) {
					flow(&w, lb, table, l, protocol, n.Address, serving)
				}
			}
		}
	}
	return w.String()
}

// flow writes the rules of one listener at one address. Without a target there is none: the interface refuses then.
func flow(w *strings.Builder, lb *model.NodeLoadBalancer, table string, l *model.Listener, protocol, at string, serving func(*model.NodeTargetGroup) []netip.AddrPort) {
	type share struct {
		to   netip.AddrPort
		part int
	}
	var shares []share
	groups := weighted(lb, l.DefaultActions)
	common := 1
	for _, g := range groups {
		common = lcm(common, max(1, len(serving(g.group))))
	}
	var hidden []netip.AddrPort
	total := 0
	for _, g := range groups {
		targets := serving(g.group)
		slices.SortFunc(targets, netip.AddrPort.Compare)
		for _, t := range targets {
			part := g.weight * common / len(targets)
			total += part
			shares = append(shares, share{t, part})
			if !PreservesClient(g.group, protocol) {
				hidden = append(hidden, t)
			}
		}
	}
	if total == 0 {
		return
	}
	port := strconv.Itoa(int(l.Port))
	var choices []string
	from := 0
	for _, s := range shares {
		choices = append(choices, fmt.Sprintf("%s : %s . %d", span(from, from+s.part-1), s.to.Addr(), s.to.Port()))
		from += s.part
	}
	fmt.Fprintf(w, "add rule ip %s prerouting ip daddr %s %s dport %s dnat ip addr . port to jhash ip saddr . %s sport . ip daddr . %s dport mod %d seed 0x1 map { %s }\n",
		table, at, protocol, port, protocol, protocol, total, strings.Join(choices, ", "))
	for _, t := range hidden {
		fmt.Fprintf(w, "add rule ip %s postrouting ip daddr %s %s dport %d ct original ip daddr %s ct original proto-dst %s snat to %s\n",
			table, t.Addr(), protocol, t.Port(), at, port, at)
	}
}

func span(first, last int) string {
	if first == last {
		return strconv.Itoa(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

type weightedGroup struct {
	group  *model.NodeTargetGroup
	weight int
}

func weighted(lb *model.NodeLoadBalancer, actions []model.BalancerAction) []weightedGroup {
	var all []weightedGroup
	for _, a := range actions {
		for _, t := range a.TargetGroups {
			for i := range lb.TargetGroups {
				if lb.TargetGroups[i].ARN != t.TargetGroupARN {
					continue
				}
				weight := int(t.Weight)
				if len(a.TargetGroups) == 1 {
					weight = 1
				}
				all = append(all, weightedGroup{&lb.TargetGroups[i], weight})
			}
		}
	}
	return all
}

func lcm(a, b int) int {
	x, y := a, b
	for y != 0 {
		x, y = y, x%y
	}
	return a / x * b
}

// PreservesClient reports whether targets see the client's address. For UDP they always do; for TCP instances do, and
// addresses do not, unless an attribute of the group says otherwise.
func PreservesClient(g *model.NodeTargetGroup, protocol string) bool {
	if protocol == "udp" || g.Protocol == "UDP" || g.Protocol == "TCP_UDP" {
		return true
	}
	if v, ok := g.Attributes["preserve_client_ip.enabled"]; ok {
		return v == "true"
	}
	return g.TargetType == "instance"
}

// TerminatesOnDeregistration and TerminatesWhenUnhealthy report whether connections to a target end when its
// deregistration delay is over, and when it becomes unhealthy.
func TerminatesOnDeregistration(g *model.NodeTargetGroup) bool {
	return enabled(g.Attributes, "deregistration_delay.connection_termination.enabled") || g.Protocol == "UDP"
}

// TerminatesWhenUnhealthy is described above.
func TerminatesWhenUnhealthy(g *model.NodeTargetGroup) bool {
	return enabled(g.Attributes, "target_health_state.unhealthy.connection_termination.enabled")
}
