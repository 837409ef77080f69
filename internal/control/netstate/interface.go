package netstate

import (
	"slices"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// Interfaces is the source of model.NodeInterface: what a node must enforce on
// each of its interfaces.
type Interfaces struct{}

// Kind is model.DocumentInterface.
func (Interfaces) Kind() string { return model.DocumentInterface }

// Tables are those that the documents are derived from.
func (Interfaces) Tables() []store.AnyTable {
	return []store.AnyTable{records.NetworkInterfaces, records.Subnets, records.RouteTables, records.InternetGateways, records.NATGateways}
}

// Keys are the ids of the node's interfaces.
func (Interfaces) Keys(r store.Reader, instanceID string) []string {
	var ids []string
	for n := range records.NetworkInterfaces.By(r, records.NetworkInterfacesByInstance, instanceID) {
		ids = append(ids, n.ID)
	}
	return ids
}

// Document is the model.NodeInterface of the id.
//
// Egress has the destinations that the interface itself reaches. A route to a
// gateway that the interface cannot use does not take its destination out of a
// wider route that it can.
func (Interfaces) Document(r store.Reader, instanceID, id string) (any, bool) {
	n, found := records.NetworkInterfaces.Get(r, id)
	if !found || instanceID == "" || n.InstanceID != instanceID {
		return nil, false
	}
	out := model.NodeInterface{
		ID: n.ID, VPCID: n.VPCID, SubnetID: n.SubnetID, Address: n.Address, GroupIDs: n.GroupIDs, PublicAddress: n.PublicAddress,
	}
	if s, found := records.Subnets.Get(r, n.SubnetID); found {
		out.SubnetCIDR = s.CIDR
		out.Egress = waysOut(r, s).reach(n.PublicAddress != "")
		out.Internet = len(out.Egress) > 0
	}
	if n.Owner == model.InterfaceOfLoadBalancer {
		// Targets may be hosts and whatever else a VPC is connected with; the
		// route table says nothing about those here.
		out.Egress, out.Internet = []string{"0.0.0.0/0"}, true
	}
	return out, true
}

// Affected names the interface for a change of its own, and all of a subnet
// when the subnet's ways out become others.
func (Interfaces) Affected(before, after store.Reader, change store.Change) map[string][]string {
	out := affected{}
	switch change.Table {
	case records.NetworkInterfaces.Name():
		was, is := pair(records.NetworkInterfaces, before, after, change.Key)
		if was != nil && is != nil && sameInterface(was, is) {
			break
		}
		for _, n := range []*model.NetworkInterface{was, is} {
			if n != nil {
				out.add(n.InstanceID, n.ID)
			}
		}
	case records.Subnets.Name():
		was, is := pair(records.Subnets, before, after, change.Key)
		if was == nil || is == nil || was.CIDR != is.CIDR || was.VPCID != is.VPCID {
			out.addSubnet(after, change.Key)
			out.addRerouted(before, after, vpcsOf(records.Subnets, before, after, change.Key, func(s *model.Subnet) string { return s.VPCID }))
		}
	case records.RouteTables.Name():
		out.addRerouted(before, after, vpcsOf(records.RouteTables, before, after, change.Key, func(t *model.RouteTable) string { return t.VPCID }))
	case records.InternetGateways.Name():
		out.addRerouted(before, after, vpcsOf(records.InternetGateways, before, after, change.Key, func(g *model.InternetGateway) string { return g.VPCID }))
	case records.NATGateways.Name():
		out.addRerouted(before, after, vpcsOf(records.NATGateways, before, after, change.Key, func(g *model.NATGateway) string { return g.VPCID }))
	}
	return out.names()
}

// vpcsOf are the VPCs that a record belongs or belonged to.
func vpcsOf[R any](table *store.Table[R], before, after store.Reader, key string, vpc func(*R) string) []string {
	var ids []string
	for _, r := range []store.Reader{before, after} {
		if rec, found := table.Get(r, key); found && vpc(rec) != "" && !slices.Contains(ids, vpc(rec)) {
			ids = append(ids, vpc(rec))
		}
	}
	return ids
}

// sameInterface compares what the document shows.
func sameInterface(a, b *model.NetworkInterface) bool {
	return a.InstanceID == b.InstanceID && a.VPCID == b.VPCID && a.SubnetID == b.SubnetID && a.Address == b.Address &&
		a.PublicAddress == b.PublicAddress && slices.Equal(a.GroupIDs, b.GroupIDs)
}

// addSubnet adds all interfaces of a subnet.
func (a affected) addSubnet(r store.Reader, subnetID string) {
	for n := range records.NetworkInterfaces.By(r, records.NetworkInterfacesBySubnet, subnetID) {
		a.add(n.InstanceID, n.ID)
	}
}

// addRerouted adds the interfaces of those subnets of the VPCs whose ways out
// have changed. That looks at a VPC's tables, not at its interfaces.
func (a affected) addRerouted(before, after store.Reader, vpcIDs []string) {
	for _, vpcID := range vpcIDs {
		for s := range records.Subnets.By(after, records.SubnetsByVPC, vpcID) {
			old, existed := records.Subnets.Get(before, s.ID)
			if !existed || !waysOut(before, old).equal(waysOut(after, s)) {
				a.addSubnet(after, s.ID)
			}
		}
	}
}
