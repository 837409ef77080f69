package netstate

import (
	"net/netip"
	"slices"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// ways are the destinations that a subnet's route table leads out of its VPC.
type ways struct {
	gateway []string // by an internet gateway: for interfaces with a public address
	nat     []string // by a NAT gateway: for all
}

// reach is what an interface reaches of a subnet's ways.
func (w ways) reach(public bool) []string {
	out := slices.Clone(w.nat)
	if public {
		out = append(out, w.gateway...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (w ways) equal(other ways) bool {
	return slices.Equal(w.gateway, other.gateway) && slices.Equal(w.nat, other.nat)
}

// waysOut derives the ways out of a subnet.
func waysOut(r store.Reader, s *model.Subnet) ways {
	var w ways
	for _, route := range routes(r, s) {
		switch {
		case toGateway(r, s.VPCID, route):
			w.gateway = append(w.gateway, route.DestinationCIDR)
		case toNAT(r, s.VPCID, route):
			w.nat = append(w.nat, route.DestinationCIDR)
		}
	}
	slices.Sort(w.gateway)
	slices.Sort(w.nat)
	return w
}

// routes are those of the subnet's own table, or of its VPC's main one.
func routes(r store.Reader, s *model.Subnet) []model.Route {
	var main []model.Route
	for t := range records.RouteTables.By(r, records.RouteTablesByVPC, s.VPCID) {
		for _, a := range t.Associations {
			if a.SubnetID == s.ID {
				return t.Routes
			}
			if a.Main && main == nil {
				main = t.Routes
			}
		}
	}
	return main
}

// toGateway reports whether a route leads to an internet gateway that is
// attached to the VPC.
func toGateway(r store.Reader, vpcID string, route model.Route) bool {
	g, found := records.InternetGateways.Get(r, route.GatewayID)
	return found && g.VPCID == vpcID
}

// toNAT reports whether a route leads to a public NAT gateway of the VPC that
// is there, and that itself reaches the route's destination: one in a subnet
// without a way to an internet gateway helps nobody.
func toNAT(r store.Reader, vpcID string, route model.Route) bool {
	g, found := records.NATGateways.Get(r, route.NATGatewayID)
	if !found || g.VPCID != vpcID || g.State != model.NATAvailable || g.Public == "" {
		return false
	}
	s, found := records.Subnets.Get(r, g.SubnetID)
	if !found || s.VPCID != vpcID {
		return false
	}
	return slices.ContainsFunc(routes(r, s), func(own model.Route) bool {
		return toGateway(r, vpcID, own) && covers(own.DestinationCIDR, route.DestinationCIDR)
	})
}

// covers reports whether range a contains range b.
func covers(a, b string) bool {
	outer, err := netip.ParsePrefix(a)
	if err != nil {
		return false
	}
	inner, err := netip.ParsePrefix(b)
	return err == nil && outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}
