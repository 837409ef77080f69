package authority

import (
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// ec2Tags are those of an EC2 resource.
func (l lookup) ec2Tags(kind, id string) []model.Tag {
	switch kind {
	case "vpc":
		return tagsOf(l.r, records.VPCs, id, func(v *model.VPC) []model.Tag { return v.Tags })
	case "subnet":
		return tagsOf(l.r, records.Subnets, id, func(s *model.Subnet) []model.Tag { return s.Tags })
	case "security-group":
		return tagsOf(l.r, records.SecurityGroups, id, func(g *model.SecurityGroup) []model.Tag { return g.Tags })
	case "network-interface":
		return tagsOf(l.r, records.NetworkInterfaces, id, func(n *model.NetworkInterface) []model.Tag { return n.Tags })
	case "route-table":
		return tagsOf(l.r, records.RouteTables, id, func(t *model.RouteTable) []model.Tag { return t.Tags })
	case "internet-gateway":
		return tagsOf(l.r, records.InternetGateways, id, func(g *model.InternetGateway) []model.Tag { return g.Tags })
	case "natgateway":
		return tagsOf(l.r, records.NATGateways, id, func(g *model.NATGateway) []model.Tag { return g.Tags })
	case "elastic-ip":
		for a := range records.PublicAddresses.All(l.r) {
			if a.AllocationID == id {
				return a.Tags
			}
		}
	}
	return nil
}

// balancerTags are those of what Elastic Load Balancing has; the records' keys
// are what their ARNs end in.
func (l lookup) balancerTags(resource string) []model.Tag {
	kind, _, _ := strings.Cut(resource, "/")
	switch kind {
	case "loadbalancer":
		return tagsOf(l.r, records.LoadBalancers, strings.TrimPrefix(resource, "loadbalancer/"), func(b *model.LoadBalancer) []model.Tag { return b.Tags })
	case "targetgroup":
		return tagsOf(l.r, records.TargetGroups, resource, func(g *model.TargetGroup) []model.Tag { return g.Tags })
	case "listener":
		return tagsOf(l.r, records.Listeners, resource, func(x *model.Listener) []model.Tag { return x.Tags })
	case "listener-rule":
		return tagsOf(l.r, records.ListenerRules, resource, func(r *model.ListenerRule) []model.Tag { return r.Tags })
	}
	return nil
}

func (l lookup) discoveryTags(kind, id string) []model.Tag {
	if kind == "namespace" {
		return tagsOf(l.r, records.Namespaces, id, func(n *model.Namespace) []model.Tag { return n.Tags })
	}
	return tagsOf(l.r, records.DiscoveryServices, id, func(s *model.DiscoveryService) []model.Tag { return s.Tags })
}

// tagsOf are the tags of the record with a key; none when there is none.
func tagsOf[T any](r store.Reader, table *store.Table[T], key string, tags func(*T) []model.Tag) []model.Tag {
	record, ok := table.Get(r, key)
	if !ok {
		return nil
	}
	return tags(record)
}
