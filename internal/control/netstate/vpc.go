package netstate

import (
	"maps"
	"slices"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// VPCs is the source of model.NodeVPC: the VPCs of which a node has
// interfaces.
type VPCs struct{}

// Kind is model.DocumentVPC.
func (VPCs) Kind() string { return model.DocumentVPC }

// Tables are those that the documents are derived from.
func (VPCs) Tables() []store.AnyTable {
	return []store.AnyTable{records.VPCs, records.NetworkInterfaces}
}

// Keys are the ids of the node's VPCs.
func (VPCs) Keys(r store.Reader, instanceID string) []string {
	ids := map[string]bool{}
	for n := range records.NetworkInterfaces.By(r, records.NetworkInterfacesByInstance, instanceID) {
		if records.VPCs.Has(r, n.VPCID) {
			ids[n.VPCID] = true
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

// Document is the model.NodeVPC of the id.
func (VPCs) Document(r store.Reader, instanceID, id string) (any, bool) {
	vpc, found := records.VPCs.Get(r, id)
	if !found || !records.NetworkInterfaces.HasBy(r, records.NetworkInterfacesByVPCOnInstance, records.OnInstance(id, instanceID)) {
		return nil, false
	}
	return model.NodeVPC{ID: vpc.ID, CIDR: vpc.CIDR, DNSSupport: !vpc.NoDNSSupport}, true
}

// Affected names the VPC of the nodes that have it for a change of the VPC, and
// of the node that gets its first interface there, or loses its last.
func (VPCs) Affected(before, after store.Reader, change store.Change) map[string][]string {
	out := affected{}
	switch change.Table {
	case records.VPCs.Name():
		was, is := pair(records.VPCs, before, after, change.Key)
		if was != nil && is != nil && was.CIDR == is.CIDR && was.NoDNSSupport == is.NoDNSSupport {
			break
		}
		for instanceID := range nodes(after, records.NetworkInterfacesByVPCOnInstance, change.Key) {
			out.add(instanceID, change.Key)
		}
	case records.NetworkInterfaces.Name():
		was, is := pair(records.NetworkInterfaces, before, after, change.Key)
		for _, n := range []*model.NetworkInterface{was, is} {
			if n == nil || n.InstanceID == "" {
				continue
			}
			value := records.OnInstance(n.VPCID, n.InstanceID)
			had := records.NetworkInterfaces.HasBy(before, records.NetworkInterfacesByVPCOnInstance, value)
			if has := records.NetworkInterfaces.HasBy(after, records.NetworkInterfacesByVPCOnInstance, value); has != had {
				out.add(n.InstanceID, n.VPCID)
			}
		}
	}
	return out.names()
}
