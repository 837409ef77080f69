package firewall

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/google/nftables"

	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/agent/nft"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/firewall"
)

// surroundings are what several documents together say about the host and its VPCs.
type surroundings struct {
	exits  map[string][]network.Exit // by VPC
	public map[netip.Addr]netip.Addr
	host   []guarded            // public addresses with sockets in the host's namespace
	vpcs   map[string][]guarded // addresses that are translated in a VPC's namespace
}

// surround makes the newest documents true outside interfaces' namespaces, where that differs from what it did last.
func (f *Firewall) surround() error {
	f.shared.Lock()
	defer f.shared.Unlock()
	docs, _ := f.now()
	var errs []error
	want := describe(docs)
	if docs.interfaces != nil {
		for vpc, exits := range want.exits {
			errs = append(errs, f.net.SetExits(vpc, exits)) // which knows whether it has changed
		}
		for vpc := range f.last.exits {
			if _, still := want.exits[vpc]; !still {
				errs = append(errs, f.net.SetExits(vpc, nil))
			}
		}
		f.last.exits = want.exits
	}
	if !docs.complete() {
		return errors.Join(errs...)
	}
	if !maps.Equal(f.last.public, want.public) || f.last.public == nil {
		err := f.net.SetPublic(want.public)
		if err == nil {
			f.last.public = want.public
		}
		errs = append(errs, err)
	}
	if !reflect.DeepEqual(f.last.host, want.host) {
		err := f.net.KeepTable("guard", guardTable(nftables.ChainHookInput, *nftables.ChainPriorityFilter, want.host), membersOf(want.host))
		if err == nil {
			f.last.host = want.host
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, f.guardVPCs(want.vpcs))...)
}

// guardVPCs filters addresses that are translated in VPCs' namespaces.
func (f *Firewall) guardVPCs(want map[string][]guarded) error {
	if f.last.vpcs == nil {
		f.last.vpcs = map[string][]guarded{}
	}
	var errs []error
	for vpc := range f.last.vpcs {
		if _, still := want[vpc]; !still {
			want[vpc] = nil
		}
	}
	for vpc, guards := range want {
		have, done := f.last.vpcs[vpc]
		if !f.net.HasVPC(vpc) || done && reflect.DeepEqual(have, guards) {
			continue
		}
		if err := f.guardVPC(vpc, guards); err != nil {
			errs = append(errs, fmt.Errorf("filter load balancers of %s: %w", vpc, err))
			continue
		}
		f.last.vpcs[vpc] = guards
	}
	return errors.Join(errs...)
}

func (f *Firewall) guardVPC(vpc string, guards []guarded) error {
	conn, err := nft.Open(f.net.VPCNetNSPath(vpc))
	if err != nil {
		return err
	}
	table := guardTable(nftables.ChainHookPrerouting, ingressPriority, guards)
	return errors.Join(conn.Make(table, membersOf(guards)), conn.Close())
}

// describe derives the surroundings from documents.
func describe(docs documents) surroundings {
	s := surroundings{exits: map[string][]network.Exit{}, public: map[netip.Addr]netip.Addr{}, vpcs: map[string][]guarded{}}
	served := map[string]bool{} // interfaces of load balancers
	for _, id := range slices.Sorted(maps.Keys(docs.balancers)) {
		lb := docs.balancers[id]
		for _, i := range lb.Interfaces {
			served[i.ID] = true
		}
		s.addBalancer(lb, docs)
	}
	for _, id := range slices.Sorted(maps.Keys(docs.interfaces)) {
		i := docs.interfaces[id]
		address, err := netip.ParseAddr(i.Address)
		if err != nil {
			continue // enforced as nothing: there is no packet from it
		}
		s.exits[i.VPCID] = append(s.exits[i.VPCID], exits(i, address)...)
		if public, err := netip.ParseAddr(i.PublicAddress); err == nil && !served[id] {
			s.public[public] = address
		}
	}
	return s
}

// exits are the destinations outside its VPC that an interface may send to.
func exits(i model.NodeInterface, address netip.Addr) []network.Exit {
	if !i.Internet {
		return nil
	}
	var out []network.Exit
	for _, text := range i.Egress {
		if to, err := netip.ParsePrefix(text); err == nil {
			out = append(out, network.Exit{Address: address, To: to})
		}
	}
	return out
}

// addBalancer adds what is special about a load balancer. The public address of an application load balancer is a socket
// on the host; that of a network load balancer leads to its first interface. A host has one such address for each load
// balancer and not one for each zone.
func (s *surroundings) addBalancer(lb model.NodeLoadBalancer, docs documents) {
	rules, _ := firewall.Compile(lb.LoadBalancer.SecurityGroups, docs.groups)
	public, err := netip.ParseAddr(lb.LoadBalancer.PublicAddress)
	isPublic := err == nil
	if lb.LoadBalancer.Type != model.LoadBalancerNetwork {
		if isPublic {
			s.host = append(s.host, guarded{public, rules})
		}
		return
	}
	for n, i := range lb.Interfaces {
		address, err := netip.ParseAddr(i.Address)
		if err != nil {
			continue
		}
		s.vpcs[lb.LoadBalancer.VPCID] = append(s.vpcs[lb.LoadBalancer.VPCID], guarded{address, rules})
		if n == 0 && isPublic {
			s.public[public] = address
		}
	}
}
