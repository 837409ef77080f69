package naming

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// namespaceZone is the zone of a DNS namespace.
func namespaceZone(r store.Reader, ns *model.Namespace) model.NodeZone {
	zone := model.NodeZone{Name: ns.Name, SOATTL: clamp(ns.SOATTL)}
	if ns.Type == model.NamespaceDNSPrivate {
		zone.VPCIDs = []string{ns.VPCID}
	} else {
		zone.EveryVPC, zone.Public, zone.Forward = true, true, true
	}
	// The newest revision of anything in the zone; what leaves makes its owner
	// newer: a service's record knows of its instances, the namespace's of its
	// services.
	rev := records.Namespaces.Rev(r, ns.ID)
	for service := range records.DiscoveryServices.By(r, records.DiscoveryServicesByNamespace, ns.ID) {
		rev = max(rev, records.DiscoveryServices.Rev(r, service.ID))
		var instances []*model.DiscoveryInstance
		for instance := range records.DiscoveryInstances.Prefix(r, service.ID+"/") {
			instances = append(instances, instance)
			rev = max(rev, records.DiscoveryInstances.Rev(r, instance.Key()))
		}
		names := serviceNames(ns, service, instances)
		if len(names) == 0 && zone.Forward && len(service.Records) > 0 {
			names = []model.NodeRecord{{Name: serviceName(service)}} // ours, and not there
		}
		zone.Names = append(zone.Names, names...)
	}
	zone.Serial = uint32(rev)
	return zone
}

// serviceNames are the records of a service's name and of the names below it.
func serviceNames(ns *model.Namespace, service *model.DiscoveryService, instances []*model.DiscoveryInstance) []model.NodeRecord {
	eligible := slices.DeleteFunc(slices.Clone(instances), func(i *model.DiscoveryInstance) bool { return !i.Healthy })
	if len(eligible) == 0 {
		eligible = instances
	}
	var names []model.NodeRecord
	for _, record := range service.Records {
		answer := model.NodeRecord{Name: serviceName(service), Type: record.Type, TTL: clamp(record.TTL), Policy: service.RoutingPolicy}
		seen := map[string]bool{"": true}
		for _, instance := range eligible {
			value := recordValue(ns, service, instance, record.Type)
			if !seen[value] {
				seen[value] = true
				answer.Values = append(answer.Values, value)
			}
		}
		if len(answer.Values) > 0 {
			names = append(names, answer)
		}
		if record.Type == model.RecordSRV {
			names = append(names, instanceNames(service, instances, record)...)
		}
	}
	return names
}

// serviceName is a service's name relative to its namespace: "." is the
// namespace itself.
func serviceName(service *model.DiscoveryService) string {
	return strings.TrimSuffix(service.Name, ".")
}

// below is the name of something below another name.
func below(name, parent string) string { return strings.Trim(name+"."+parent, ".") }

// instanceNames are the names that the SRV records of a service lead to.
func instanceNames(service *model.DiscoveryService, instances []*model.DiscoveryInstance, srv model.DNSRecord) []model.NodeRecord {
	var names []model.NodeRecord
	for _, instance := range instances {
		for _, kind := range []string{model.RecordA, model.RecordAAAA} {
			value := recordValue(nil, service, instance, kind)
			name := below(instance.InstanceID, serviceName(service))
			if value != "" && isName(name) {
				names = append(names, model.NodeRecord{Name: name, Type: kind, TTL: clamp(srv.TTL), Values: []string{value}})
			}
		}
	}
	return names
}

// recordValue is what an instance gives to a record of its service; nothing
// when it has not what it takes. What it has was checked when it was
// registered, and is checked again here, because one bad value must never cost
// a node its whole zone.
func recordValue(ns *model.Namespace, service *model.DiscoveryService, instance *model.DiscoveryInstance, kind string) string {
	value := ""
	switch kind {
	case model.RecordA:
		value = instance.Attributes[model.AttributeIPv4]
	case model.RecordAAAA:
		value = instance.Attributes[model.AttributeIPv6]
	case model.RecordCNAME:
		value = strings.TrimSuffix(instance.Attributes[model.AttributeCNAME], ".")
	case model.RecordSRV:
		port, err := strconv.ParseUint(instance.Attributes[model.AttributePort], 10, 16)
		target := below(instance.InstanceID, below(serviceName(service), ns.Name))
		if err != nil || !isName(target) {
			return ""
		}
		return fmt.Sprintf("1 1 %d %s", port, target)
	}
	if !valid(kind, value) {
		return ""
	}
	return value
}

// valid reports whether value can stand in a record of the kind.
func valid(kind, value string) bool {
	switch kind {
	case model.RecordA:
		address, err := netip.ParseAddr(value)
		return err == nil && address.Is4()
	case model.RecordAAAA:
		address, err := netip.ParseAddr(value)
		return err == nil && address.Is6() && address.Zone() == "" && !address.Is4In6()
	case model.RecordCNAME:
		return isName(value)
	}
	return false
}

// isName reports whether s can be a domain name without escapes.
func isName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}

// clamp is a TTL as DNS has it.
func clamp(seconds int64) uint32 { return uint32(min(max(seconds, 0), math.MaxInt32)) }
