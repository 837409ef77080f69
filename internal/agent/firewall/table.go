package firewall

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/google/nftables"

	"berth.dev/berth/internal/agent/nft"
	"berth.dev/berth/internal/rules/firewall"
)

// Priorities of the hooks. Packets that come in are judged when the connection is known (-200) and before anything is
// translated (-100), so by the address and port that the client used; what goes out when everything is translated.
const (
	ingressPriority = nftables.ChainPriority(-150)
	egressPriority  = nftables.ChainPriority(0)
)

// tableName is that of the tables in namespaces, which belong to one instance by themselves.
const tableName = "berth-guard"

// interfaceTable is the table of an interface's namespace:
//
//	ingress (prerouting), policy drop:    ct state established,related accept
//	                                      iifname lo accept
//	                                      <what the groups allow> accept
//	egress (postrouting), policy drop:    likewise with oifname lo
func interfaceTable(r firewall.Ruleset) nft.Table {
	t := nft.Table{Name: tableName, Family: nftables.TableFamilyINet, Sets: sets(r.Members), Chains: []nft.Chain{
		{Name: "ingress", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookPrerouting, Priority: new(ingressPriority), Drop: true},
		{Name: "egress", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookPostrouting, Priority: new(egressPriority), Drop: true},
	}}
	t.Rules = slices.Concat(
		[]nft.Rule{
			{Chain: "ingress", Comment: "connections that exist", Words: nft.All(nft.Known(), nft.Accept())},
			{Chain: "ingress", Comment: "its own", Words: nft.All(nft.From("lo"), nft.Accept())},
		},
		rules("ingress", r.Open, r.Ingress, nft.Source, nft.SourceIn),
		[]nft.Rule{
			{Chain: "egress", Comment: "connections that exist", Words: nft.All(nft.Known(), nft.Accept())},
			{Chain: "egress", Comment: "its own", Words: nft.All(nft.To("lo"), nft.Accept())},
		},
		rules("egress", r.Open, r.Egress, nft.Destination, nft.DestinationIn),
	)
	return t
}

// sets are those of member addresses, one a group, named by it.
func sets(members map[string][]netip.Addr) []nft.Set {
	out := make([]nft.Set, 0, len(members))
	for _, id := range slices.Sorted(maps.Keys(members)) {
		out = append(out, set(id))
	}
	return out
}

func set(groupID string) nft.Set { return nft.Set{Name: groupID, Kind: nft.Addresses} }

func elements(members map[string][]netip.Addr) map[string]nft.Elements {
	out := map[string]nft.Elements{}
	for id, addrs := range members {
		out[id] = addresses(addrs)
	}
	return out
}

func addresses(addrs []netip.Addr) nft.Elements {
	out := make(nft.Elements, len(addrs))
	for i, a := range addrs {
		out[i] = nft.Address(a)
	}
	return out
}

// rules are those of one chain. The comment of each says all of it, so that equal comments are equal rules.
func rules(chain string, open bool, allowed []firewall.Rule, peer func(netip.Prefix) nft.Words, peerIn func(set string) nft.Words) []nft.Rule {
	if open {
		return []nft.Rule{{Chain: chain, Comment: "no group filters it", Words: nft.Accept()}}
	}
	out := make([]nft.Rule, 0, len(allowed))
	for _, r := range allowed {
		who := nft.Words(nil)
		if r.GroupID != "" {
			who = peerIn(r.GroupID)
		} else {
			who = peer(r.Peer)
		}
		out = append(out, nft.Rule{Chain: chain, Comment: r.String(), Words: nft.All(nft.IPv4(), what(r), who, nft.Accept())})
	}
	return out
}

// what matches the protocol of a rule, and its ports or its type of ICMP.
func what(r firewall.Rule) nft.Words {
	if r.Protocol == firewall.Any {
		return nil
	}
	words := nft.Protocol(uint8(r.Protocol)) //nolint:gosec // Compile has checked it
	switch r.Protocol {
	case firewall.TCP, firewall.UDP:
		words = nft.All(words, nft.Ports(r.FirstPort, r.LastPort))
	case firewall.ICMP:
		if r.Type != firewall.Any {
			words = nft.All(words, nft.ICMPType(uint8(r.Type))) //nolint:gosec // as above
		}
		if r.Code != firewall.Any {
			words = nft.All(words, nft.ICMPCode(uint8(r.Code))) //nolint:gosec // as above
		}
	}
	return words
}

// A guarded is an address that is filtered where it is not an interface of its own.
type guarded struct {
	address netip.Addr
	rules   firewall.Ruleset
}

// guardTable filters what comes in for some addresses, and nothing else:
//
//	ingress:     ct state established,related accept
//	             ip daddr <address> goto to-<address>
//	to-<address>: <what its groups allow> accept
//	              drop
func guardTable(hook *nftables.ChainHook, priority nftables.ChainPriority, guards []guarded) nft.Table {
	t := nft.Table{Name: tableName, Family: nftables.TableFamilyINet, Chains: []nft.Chain{
		{Name: "ingress", Type: nftables.ChainTypeFilter, Hook: hook, Priority: &priority},
	}}
	if len(guards) == 0 {
		return t
	}
	members := map[string][]netip.Addr{}
	t.Rules = []nft.Rule{{Chain: "ingress", Comment: "connections that exist", Words: nft.All(nft.Known(), nft.Accept())}}
	for _, g := range guards {
		chain := "to-" + g.address.String()
		maps.Copy(members, g.rules.Members)
		t.Chains = append(t.Chains, nft.Chain{Name: chain})
		t.Rules = append(t.Rules, nft.Rule{
			Chain: "ingress", Comment: chain,
			Words: nft.All(nft.IPv4(), nft.Destination(netip.PrefixFrom(g.address, 32)), nft.Goto(chain)),
		})
		t.Rules = append(t.Rules, rules(chain, g.rules.Open, g.rules.Ingress, nft.Source, nft.SourceIn)...)
		t.Rules = append(t.Rules, nft.Rule{Chain: chain, Comment: "nothing else", Words: nft.Drop()})
	}
	t.Sets = sets(members)
	return t
}

// membersOf are the elements of a guard table's sets. Equal groups have equal members, whatever address they are for.
func membersOf(guards []guarded) map[string]nft.Elements {
	out := map[string]nft.Elements{}
	for _, g := range guards {
		maps.Copy(out, elements(g.rules.Members))
	}
	return out
}
