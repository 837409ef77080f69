package firewall

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/model"
)

// IP protocols of which security groups know more than the number.
const (
	ICMP = 1
	TCP  = 6
	UDP  = 17
)

// Any stands for every protocol, ICMP type or ICMP code.
const Any = -1

// maxPort is the highest port of TCP and UDP.
const maxPort = 65535

// A Rule allows some packets. It matches when all that it says is true of a packet.
type Rule struct {
	// Protocol is an IP protocol number, or Any.
	Protocol int
	// FirstPort and LastPort are a range of destination ports, for TCP and UDP; otherwise zero.
	FirstPort, LastPort uint16
	// Type and Code are for ICMP, and Any where they do not matter or do not exist.
	Type, Code int
	// Peer is the range that the other side's address is in, when GroupID is empty.
	Peer netip.Prefix
	// GroupID is the group that the other side's address is a member of.
	GroupID string
}

// A Ruleset is what the groups of one interface allow.
type Ruleset struct {
	// Open says that nothing is filtered; the rest is empty then.
	Open bool
	// Ingress and Egress are in canonical order, without repetitions.
	Ingress, Egress []Rule
	// Members holds the addresses of every group that a rule refers to, sorted. A group of which nothing is known has none.
	Members map[string][]netip.Addr
	// Invalid names the rules that are not understood, with the reason.
	Invalid []string
}

// Compile combines the groups of an interface. Missing lists those of its groups that are not in groups: until they are
// known, nothing that they allow passes.
func Compile(groupIDs []string, groups map[string]model.NodeSecurityGroup) (r Ruleset, missing []string) {
	if len(groupIDs) == 0 {
		return Ruleset{Open: true}, nil
	}
	r.Members = map[string][]netip.Addr{}
	for _, id := range groupIDs {
		g, ok := groups[id]
		if !ok {
			missing = append(missing, id)
			continue
		}
		r.Ingress = r.add(r.Ingress, g.Ingress, groups)
		r.Egress = r.add(r.Egress, g.Egress, groups)
	}
	r.Ingress, r.Egress = canonical(r.Ingress), canonical(r.Egress)
	slices.Sort(r.Invalid)
	r.Invalid = slices.Compact(r.Invalid)
	return r, missing
}

// add appends the rules that are understood, and the members that they need.
func (r *Ruleset) add(rules []Rule, from []model.SecurityGroupRule, groups map[string]model.NodeSecurityGroup) []Rule {
	for _, described := range from {
		rule, err := parse(described)
		if err != nil {
			r.Invalid = append(r.Invalid, fmt.Sprintf("%s: %v", described.ID, err))
			continue
		}
		rules = append(rules, rule)
		if rule.GroupID != "" && r.Members[rule.GroupID] == nil {
			r.Members[rule.GroupID] = r.members(groups[rule.GroupID])
		}
	}
	return rules
}

func (r *Ruleset) members(g model.NodeSecurityGroup) []netip.Addr {
	members := make([]netip.Addr, 0, len(g.Members))
	for _, text := range g.Members {
		addr, err := netip.ParseAddr(text)
		if err != nil || !addr.Is4() {
			r.Invalid = append(r.Invalid, fmt.Sprintf("%s: member %q is not an IPv4 address", g.ID, text))
			continue
		}
		members = append(members, addr)
	}
	slices.SortFunc(members, netip.Addr.Compare)
	return slices.Compact(members)
}

// parse reads a rule as EC2 describes it.
func parse(r model.SecurityGroupRule) (Rule, error) {
	rule := Rule{Type: Any, Code: Any, GroupID: r.GroupID}
	var err error
	if rule.Protocol, err = protocol(r.Protocol); err != nil {
		return Rule{}, err
	}
	switch {
	case r.GroupID != "" && r.CIDR != "":
		return Rule{}, fmt.Errorf("names both a range and a group")
	case r.GroupID == "":
		if rule.Peer, err = netip.ParsePrefix(r.CIDR); err != nil {
			return Rule{}, fmt.Errorf("range %q is not understood", r.CIDR)
		}
		if !rule.Peer.Addr().Is4() {
			return Rule{}, fmt.Errorf("range %v is not IPv4", rule.Peer)
		}
		rule.Peer = rule.Peer.Masked()
	}
	from, to := value(r.FromPort), value(r.ToPort)
	switch rule.Protocol {
	case TCP, UDP:
		// EC2 writes all ports as 0 to 65535; older APIs leave them out or say -1.
		if from == Any {
			from = 0
		}
		if to == Any {
			to = maxPort
		}
		if from < 0 || to > maxPort || from > to {
			return Rule{}, fmt.Errorf("ports %d to %d are no range", from, to)
		}
		rule.FirstPort, rule.LastPort = uint16(from), uint16(to)
	case ICMP:
		if from < Any || from > 255 || to < Any || to > 255 {
			return Rule{}, fmt.Errorf("ICMP type %d code %d does not exist", from, to)
		}
		rule.Type = from
		if from != Any { // every type has every code
			rule.Code = to
		}
	}
	return rule, nil
}

func value(p *int32) int {
	if p == nil {
		return Any
	}
	return int(*p)
}

func protocol(name string) (int, error) {
	switch strings.ToLower(name) {
	case "-1":
		return Any, nil
	case "tcp":
		return TCP, nil
	case "udp":
		return UDP, nil
	case "icmp":
		return ICMP, nil
	case "icmpv6":
		return 58, nil
	}
	n, err := strconv.ParseUint(name, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("protocol %q is not understood", name)
	}
	return int(n), nil
}

// canonical sorts rules and drops repetitions.
func canonical(rules []Rule) []Rule {
	slices.SortFunc(rules, func(a, b Rule) int {
		return cmp.Or(
			cmp.Compare(a.Protocol, b.Protocol),
			cmp.Compare(a.FirstPort, b.FirstPort), cmp.Compare(a.LastPort, b.LastPort),
			cmp.Compare(a.Type, b.Type), cmp.Compare(a.Code, b.Code),
			cmp.Compare(a.GroupID, b.GroupID),
			a.Peer.Addr().Compare(b.Peer.Addr()), cmp.Compare(a.Peer.Bits(), b.Peer.Bits()),
		)
	})
	return slices.Compact(rules)
}
