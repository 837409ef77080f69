package naming

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// Keys of documents: a namespace's is its id, a load balancer's its id after
// one of these.
const (
	insidePrefix  = "inside:"  // as its VPC sees it
	outsidePrefix = "outside:" // as all others see it

	// Those of the endpoint of an express service, with its id, likewise.
	expressInsidePrefix  = "express-inside:"
	expressOutsidePrefix = "express-outside:"
)

// Source derives zones. It has no state and may be used by many at once.
type Source struct{}

// New returns a Source.
func New() *Source { return &Source{} }

// Kind is the kind of the documents.
func (*Source) Kind() string { return model.DocumentZone }

// Tables are those that zones are derived from.
func (*Source) Tables() []store.AnyTable {
	return []store.AnyTable{
		records.Namespaces, records.DiscoveryServices, records.DiscoveryInstances,
		records.LoadBalancers, records.NetworkInterfaces, records.VPCs,
		records.ExpressServices, records.ExpressGateways,
	}
}

// Keys names all zones of a node.
func (s *Source) Keys(r store.Reader, instanceID string) []string {
	var keys []string
	for ns := range records.Namespaces.All(r) {
		if resolves(r, ns, instanceID) {
			keys = append(keys, ns.ID)
		}
	}
	for lb := range records.LoadBalancers.All(r) {
		if inVPC(r, lb.VPCID, instanceID) && hasResolver(r, lb.VPCID) {
			keys = append(keys, insidePrefix+lb.ID)
		}
		if reaches(lb, instanceID) {
			keys = append(keys, outsidePrefix+lb.ID)
		}
	}
	for e := range records.ExpressServices.All(r) {
		lb, found := balancerOf(r, e)
		if found && inVPC(r, lb.VPCID, instanceID) && hasResolver(r, lb.VPCID) {
			keys = append(keys, expressInsidePrefix+e.ServiceID)
		}
		if found && reaches(lb, instanceID) {
			keys = append(keys, expressOutsidePrefix+e.ServiceID)
		}
	}
	return keys
}

// Document is the zone of the key as the node has it.
func (*Source) Document(r store.Reader, instanceID, key string) (any, bool) {
	if zone, is, found := expressZone(r, instanceID, key); is {
		return zone, found
	}
	if id, ok := strings.CutPrefix(key, insidePrefix); ok {
		lb, found := records.LoadBalancers.Get(r, id)
		if !found || !inVPC(r, lb.VPCID, instanceID) || !hasResolver(r, lb.VPCID) {
			return nil, false
		}
		return insideZone(r, lb.DNSName, lb), true
	}
	if id, ok := strings.CutPrefix(key, outsidePrefix); ok {
		lb, found := records.LoadBalancers.Get(r, id)
		if !found || !reaches(lb, instanceID) {
			return nil, false
		}
		return outsideZone(r, lb.DNSName, lb), true
	}
	ns, found := records.Namespaces.Get(r, key)
	if !found || !resolves(r, ns, instanceID) {
		return nil, false
	}
	return namespaceZone(r, ns), true
}

// Affected names, by node, the zones that a change may have changed.
func (s *Source) Affected(before, after store.Reader, change store.Change) map[string][]string {
	a := affected{before: before, after: after, keys: map[string][]string{}}
	switch change.Table {
	case records.Namespaces.Name():
		a.namespace(change.Key)
	case records.DiscoveryServices.Name():
		a.service(change.Key)
	case records.DiscoveryInstances.Name():
		serviceID, _, _ := strings.Cut(change.Key, "/")
		a.service(serviceID)
	case records.LoadBalancers.Name():
		a.loadBalancer(change.Key)
	case records.NetworkInterfaces.Name():
		a.networkInterface(change.Key)
	case records.VPCs.Name():
		a.vpcRecord(change.Key)
	case records.ExpressServices.Name():
		a.expressService(change.Key)
	case records.ExpressGateways.Name():
		a.gateway(change.Key)
	}
	return a.keys
}

// affected collects keys by node. What was before counts as much as what is
// after: a node must learn that it does not have a zone any more.
type affected struct {
	before, after store.Reader
	keys          map[string][]string
}

func (a *affected) add(instanceID, key string) {
	if !slices.Contains(a.keys[instanceID], key) {
		a.keys[instanceID] = append(a.keys[instanceID], key)
	}
}

func (a *affected) namespace(id string) {
	for _, r := range []store.Reader{a.before, a.after} {
		ns, ok := records.Namespaces.Get(r, id)
		if !ok {
			continue
		}
		switch ns.Type {
		case model.NamespaceDNSPrivate:
			a.vpc(ns.VPCID, id)
		case model.NamespaceDNSPublic:
			a.everyNode(id)
		}
	}
}

func (a *affected) service(id string) {
	for _, r := range []store.Reader{a.before, a.after} {
		if service, ok := records.DiscoveryServices.Get(r, id); ok {
			a.namespace(service.NamespaceID)
		}
	}
}

func (a *affected) loadBalancer(id string) {
	for _, r := range []store.Reader{a.before, a.after} {
		lb, ok := records.LoadBalancers.Get(r, id)
		if !ok {
			continue
		}
		a.namesOf(lb, insidePrefix+id, outsidePrefix+id)
		for e := range endpointsOf(r, lb) {
			a.namesOf(lb, expressInsidePrefix+e.ServiceID, expressOutsidePrefix+e.ServiceID)
		}
	}
}

// namesOf adds the keys of a name that leads to the load balancer, for the
// nodes that have it inside and outside of its VPC.
func (a *affected) namesOf(lb *model.LoadBalancer, inside, outside string) {
	a.vpc(lb.VPCID, inside)
	if _, ok := hostOf(lb); ok {
		a.add(lb.InstanceID, outside)
	} else if lb.PublicAddress != "" {
		a.everyNode(outside)
	}
}

// networkInterface concerns zones only if with it a VPC came to a node or left.
func (a *affected) networkInterface(id string) {
	for _, r := range []store.Reader{a.before, a.after} {
		n, ok := records.NetworkInterfaces.Get(r, id)
		if !ok || n.InstanceID == "" || inVPC(a.before, n.VPCID, n.InstanceID) == inVPC(a.after, n.VPCID, n.InstanceID) {
			continue
		}
		a.zonesOf(n.VPCID, func(key string) { a.add(n.InstanceID, key) })
	}
}

// vpcRecord concerns the zones of the VPC only if it says otherwise whether
// they are resolved.
func (a *affected) vpcRecord(id string) {
	if hasResolver(a.before, id) != hasResolver(a.after, id) || hasHostnames(a.before, id) != hasHostnames(a.after, id) {
		a.zonesOf(id, func(key string) { a.vpc(id, key) })
	}
}

// zonesOf yields the keys of the zones that are a VPC's.
func (a *affected) zonesOf(vpcID string, yield func(key string)) {
	for _, r := range []store.Reader{a.before, a.after} {
		for ns := range records.Namespaces.All(r) {
			if ns.Type == model.NamespaceDNSPrivate && ns.VPCID == vpcID {
				yield(ns.ID)
			}
		}
		for lb := range records.LoadBalancers.All(r) {
			if lb.VPCID == vpcID {
				yield(insidePrefix + lb.ID)
				for e := range endpointsOf(r, lb) {
					yield(expressInsidePrefix + e.ServiceID)
				}
			}
		}
	}
}

// vpc adds the key for all nodes of the VPC.
func (a *affected) vpc(vpcID, key string) {
	prefix := records.VPCNode(vpcID, "")
	for _, r := range []store.Reader{a.before, a.after} {
		for value := range records.NetworkInterfaces.Sums(r, records.NetworkInterfacesByNode, prefix) {
			a.add(strings.TrimPrefix(value, prefix), key)
		}
	}
}

// everyNode adds the key for all nodes there are now: one that is gone has
// no use for it.
func (a *affected) everyNode(key string) {
	for i := range records.Instances.All(a.after) {
		a.add(i.ID, key)
	}
}

// resolves reports whether the node has the namespace's zone.
func resolves(r store.Reader, ns *model.Namespace, instanceID string) bool {
	switch ns.Type {
	case model.NamespaceDNSPrivate:
		return inVPC(r, ns.VPCID, instanceID) && hasResolver(r, ns.VPCID) && hasHostnames(r, ns.VPCID)
	case model.NamespaceDNSPublic:
		return true
	}
	return false
}

// inVPC reports whether the node has an interface in the VPC.
func inVPC(r store.Reader, vpcID, instanceID string) bool {
	return records.NetworkInterfaces.Sum(r, records.NetworkInterfacesByNode, records.VPCNode(vpcID, instanceID))[0] > 0
}

// hasResolver reports whether the VPC's enableDnsSupport is on.
func hasResolver(r store.Reader, vpcID string) bool {
	vpc, ok := records.VPCs.Get(r, vpcID)
	return ok && !vpc.NoDNSSupport
}

// hasHostnames reports whether the VPC's enableDnsHostnames is on, without
// which Route 53 does not resolve private hosted zones either.
func hasHostnames(r store.Reader, vpcID string) bool {
	vpc, ok := records.VPCs.Get(r, vpcID)
	return ok && vpc.DNSHostnames
}

// hostOf returns the only node on which the load balancer's public address
// means it, and whether there is but one.
func hostOf(lb *model.LoadBalancer) (instanceID string, only bool) {
	address, err := netip.ParseAddr(lb.PublicAddress)
	return lb.InstanceID, err == nil && address.IsLoopback()
}

// reaches reports whether the load balancer has a public address that means it
// on the node.
func reaches(lb *model.LoadBalancer, instanceID string) bool {
	if lb.PublicAddress == "" {
		return false
	}
	host, only := hostOf(lb)
	return !only || host == instanceID
}

func insideZone(r store.Reader, name string, lb *model.LoadBalancer) model.NodeZone {
	addresses := map[string]bool{}
	for _, zone := range lb.Zones {
		if valid(model.RecordA, zone.Address) {
			addresses[zone.Address] = true
		}
	}
	zone := balancerZone(r, name, lb, slices.Sorted(maps.Keys(addresses)))
	zone.VPCIDs = []string{lb.VPCID}
	return zone
}

func outsideZone(r store.Reader, name string, lb *model.LoadBalancer) model.NodeZone {
	zone := balancerZone(r, name, lb, []string{lb.PublicAddress})
	_, only := hostOf(lb)
	zone.Public, zone.EveryVPC = true, !only
	return zone
}

// balancerTTL is that of the names of AWS's load balancers.
const balancerTTL = 60

func balancerZone(r store.Reader, name string, lb *model.LoadBalancer, addresses []string) model.NodeZone {
	zone := model.NodeZone{Name: name, SOATTL: balancerTTL, Serial: uint32(records.LoadBalancers.Rev(r, lb.ID))}
	if len(addresses) > 0 {
		zone.Names = []model.NodeRecord{{Type: model.RecordA, TTL: balancerTTL, Values: addresses}}
	}
	return zone
}
