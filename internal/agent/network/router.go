package network

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"

	"berth.dev/berth/internal/agent/nft"
)

// An Exit lets packets of one interface leave the VPC for a range of destinations.
type Exit struct {
	Address netip.Addr // the interface's
	To      netip.Prefix
}

// SetExits says for what destinations interfaces of a VPC may leave it. The exits given replace all earlier ones of the VPC,
// in one step and without an end to connections that exist. Of a VPC that is not on this host yet they are remembered.
func (m *Manager) SetExits(vpcID string, exits []Exit) error {
	m.host.Lock()
	defer m.host.Unlock()
	exits = disjoint(exits)
	if have, ok := m.exits[vpcID]; ok && slices.Equal(have, exits) {
		return nil
	}
	m.exits[vpcID] = exits
	if !isNamespace(m.VPCNetNSPath(vpcID)) {
		return nil
	}
	if err := m.writeExits(vpcID, exits); err != nil {
		delete(m.exits, vpcID) // so that it is tried again
		return fmt.Errorf("set exits of %s: %w", vpcID, err)
	}
	return nil
}

func (m *Manager) writeExits(vpcID string, exits []Exit) error {
	v, err := readVPC(m.VPCNetNSPath(vpcID))
	if err != nil {
		return err
	}
	return m.inVPC(vpcID, func(vpc *nft.Conn) error {
		return vpc.Make(routerTable(v), map[string]nft.Elements{exitSet.Name: pairs(exits)})
	})
}

// VPCNetNSPath is where the namespace of a VPC is, on a host that has interfaces of it.
func (m *Manager) VPCNetNSPath(vpcID string) string { return namespacePath(m.namespaceName(vpcID)) }

// Has reports whether an interface's namespace is on this host.
func (m *Manager) Has(eniID string) bool { return isNamespace(m.NetNSPath(eniID)) }

// HasVPC reports whether a VPC's namespace is on this host.
func (m *Manager) HasVPC(vpcID string) bool { return isNamespace(m.VPCNetNSPath(vpcID)) }

// disjoint drops exits that others include, because the kernel's set takes none that overlap, and sorts the rest.
func disjoint(exits []Exit) []Exit {
	kept := slices.DeleteFunc(slices.Clone(exits), func(e Exit) bool { return !e.Address.Is4() || !e.To.Addr().Is4() })
	for i := range kept {
		kept[i].To = kept[i].To.Masked()
	}
	slices.SortFunc(kept, func(a, b Exit) int {
		return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.To.Bits(), b.To.Bits()), a.To.Addr().Compare(b.To.Addr()))
	})
	var out []Exit
	for _, e := range kept {
		covered := slices.ContainsFunc(out, func(wider Exit) bool { return wider.Address == e.Address && wider.To.Contains(e.To.Addr()) })
		if !covered {
			out = append(out, e)
		}
	}
	return out
}

func pairs(exits []Exit) nft.Elements {
	elements := make(nft.Elements, len(exits))
	for i, e := range exits {
		elements[i] = nft.Pair(e.Address, e.To)
	}
	return elements
}

var exitSet = nft.Set{Name: "exits", Kind: nft.Pairs}

// routerTable is the VPC's route table, as far as it leads out: what has no exit vanishes, as where AWS has no route.
//
//	forward: oifname != uplink accept                        within the VPC
//	         ct state established,related accept             answers to who may come in
//	         ip daddr <host's address in the VPC> accept
//	         ip saddr . ip daddr @exits accept
//	         drop
func routerTable(v VPC) nft.Table {
	t := nft.Table{Name: "berth-router", Family: nftables.TableFamilyIPv4, Sets: []nft.Set{exitSet}, Chains: []nft.Chain{
		{Name: "forward", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter},
	}}
	rule := func(comment string, words ...nft.Words) {
		t.Rules = append(t.Rules, nft.Rule{Chain: "forward", Comment: comment, Words: nft.All(words...)})
	}
	rule("the VPC is free", nft.NotTo("uplink"), nft.Accept())
	rule("answers leave", nft.Known(), nft.Accept())
	rule("the host is reached at "+v.hostAddress().String(), nft.Destination(single(v.hostAddress())), nft.Accept())
	rule("routes lead out", nft.PairIn(exitSet.Name), nft.Accept())
	rule("nothing else leaves", nft.Drop())
	return t
}

// buildRouter makes the VPC's router table, with the exits that are known. The caller holds m.host.
func (m *Manager) buildRouter(v VPC) error {
	if v.ID == bridgeVPC {
		return nil // it has no route table
	}
	return m.inVPC(v.ID, func(vpc *nft.Conn) error {
		fill := map[string]nft.Elements{}
		if exits, known := m.exits[v.ID]; known {
			fill[exitSet.Name] = pairs(exits)
		}
		_, err := vpc.Write(routerTable(v), fill)
		return err
	})
}

// inVPC runs fn with a connection to the nftables of a VPC's namespace.
func (m *Manager) inVPC(vpcID string, fn func(*nft.Conn) error) error {
	conn, err := nft.Open(m.VPCNetNSPath(vpcID))
	if err != nil {
		return err
	}
	return errors.Join(fn(conn), conn.Close())
}
