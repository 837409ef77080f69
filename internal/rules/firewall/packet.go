package firewall

import (
	"fmt"
	"net/netip"
	"slices"
)

// A Packet is the first of a connection, as rules see it.
type Packet struct {
	Protocol uint8
	// Port is the destination port, of TCP and UDP.
	Port uint16
	// Type and Code are ICMP's.
	Type, Code uint8
	// Peer is the other side's address: the source of what comes in, the destination of what goes out.
	Peer netip.Addr
}

// AllowsIn reports whether the packet may come in.
func (r Ruleset) AllowsIn(p Packet) bool { return r.Open || r.allows(r.Ingress, p) }

// AllowsOut reports whether the packet may go out.
func (r Ruleset) AllowsOut(p Packet) bool { return r.Open || r.allows(r.Egress, p) }

func (r Ruleset) allows(rules []Rule, p Packet) bool {
	return slices.ContainsFunc(rules, func(rule Rule) bool { return rule.matches(p, r.Members) })
}

func (r Rule) matches(p Packet, members map[string][]netip.Addr) bool {
	if r.Protocol != Any && r.Protocol != int(p.Protocol) {
		return false
	}
	switch r.Protocol {
	case TCP, UDP:
		if p.Port < r.FirstPort || p.Port > r.LastPort {
			return false
		}
	case ICMP:
		if r.Type != Any && r.Type != int(p.Type) || r.Code != Any && r.Code != int(p.Code) {
			return false
		}
	}
	if r.GroupID == "" {
		return r.Peer.Contains(p.Peer)
	}
	_, member := slices.BinarySearchFunc(members[r.GroupID], p.Peer, netip.Addr.Compare)
	return member
}

// String describes the rule for people: "tcp 80-90 from 10.0.0.0/8".
func (r Rule) String() string {
	what := "any protocol"
	switch r.Protocol {
	case Any:
	case TCP, UDP:
		what = map[int]string{TCP: "tcp", UDP: "udp"}[r.Protocol] + fmt.Sprintf(" %d-%d", r.FirstPort, r.LastPort)
	case ICMP:
		what = fmt.Sprintf("icmp %d/%d", r.Type, r.Code)
	default:
		what = fmt.Sprintf("protocol %d", r.Protocol)
	}
	if r.GroupID != "" {
		return what + " " + r.GroupID
	}
	return what + " " + r.Peer.String()
}
