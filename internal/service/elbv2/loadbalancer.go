package elbv2

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/elbv2api"
)

var balancerName = regexp.MustCompile(`\A[a-zA-Z0-9]([a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?\z`)

// CreateLoadBalancer implements elbv2api.Service. The same name with the same
// settings is the same load balancer.
func (p *Provider) CreateLoadBalancer(ctx context.Context, in *elbv2api.CreateLoadBalancerInput) (*elbv2api.CreateLoadBalancerOutput, error) {
	spec, err := p.balancerSpec(in)
	if err != nil {
		return nil, err
	}
	mappings, err := placementRequest(in.Subnets, in.SubnetMappings)
	if err != nil {
		return nil, err
	}
	var made *model.LoadBalancer
	_, err = p.store.Update(ctx, func(tx *store.Tx) error {
		lb := *spec
		made = &lb
		records.LoadBalancers.GuardIndex(tx, records.LoadBalancersByName, lb.Name)
		pl, err := p.place(tx, lb.Type, lb.Scheme, mappings)
		if err != nil {
			return err
		}
		lb.VPCID = pl.vpcID
		if lb.Scheme == schemeInternet && internetGateway(tx, lb.VPCID) == "" {
			return failure(codeInvalidSubnet, "VPC %s has no internet gateway", lb.VPCID)
		}
		if lb.SecurityGroups, err = groups(tx, lb.Type, pl.vpcID, in.SecurityGroups); err != nil {
			return err
		}
		for existing := range records.LoadBalancers.By(tx, records.LoadBalancersByName, lb.Name) {
			if !sameBalancer(existing, &lb, pl) {
				return failure(codeDuplicateLoadBalancer, "A load balancer with the same name '%s' exists, but with different settings", lb.Name)
			}
			made = existing
			return nil
		}
		if err := roomForBalancer(tx, lb.Type); err != nil {
			return err
		}
		return p.makeBalancer(tx, &lb, pl)
	})
	if err != nil {
		return nil, err
	}
	return &elbv2api.CreateLoadBalancerOutput{LoadBalancers: []elbv2api.LoadBalancer{p.balancerOut(made)}}, nil
}

// balancerSpec is what a request says by itself.
func (p *Provider) balancerSpec(in *elbv2api.CreateLoadBalancerInput) (*model.LoadBalancer, error) {
	lb := &model.LoadBalancer{
		Name: *in.Name, Type: string(in.Type), Scheme: string(in.Scheme), IPAddressType: string(in.IpAddressType),
		State: model.LoadBalancerProvisioning,
	}
	if lb.Type == "" {
		lb.Type = model.LoadBalancerApplication
	}
	if lb.Scheme == "" {
		lb.Scheme = schemeInternet
	}
	switch {
	case len(lb.Name) > 32:
		return nil, invalid("The load balancer name '%s' cannot be longer than '32' characters", lb.Name)
	case !balancerName.MatchString(lb.Name):
		return nil, invalid("The load balancer name '%s' can only contain characters that are alphanumeric characters and hyphens(-), and cannot begin or end with a hyphen", lb.Name)
	case strings.HasPrefix(lb.Name, "internal-"):
		return nil, invalid("The load balancer name '%s' cannot begin with 'internal-'", lb.Name)
	case lb.Type == string(elbv2api.LoadBalancerTypeEnumGateway):
		return nil, unsupported("Gateway Load Balancers")
	case in.CustomerOwnedIpv4Pool != nil:
		return nil, unsupported("customer-owned IPv4 pools")
	case in.IpamPools != nil:
		return nil, unsupported("IPAM pools")
	case in.EnablePrefixForIpv6SourceNat == elbv2api.EnablePrefixForIpv6SourceNatEnumOn:
		return nil, unsupported("IPv6 source NAT")
	}
	if err := addressType(&lb.IPAddressType); err != nil {
		return nil, err
	}
	var err error
	lb.Tags, err = newTags(in.Tags)
	return lb, err
}

// addressType checks the type of addresses; empty means IPv4.
func addressType(kind *string) error {
	switch *kind {
	case "":
		*kind = "ipv4"
	case "ipv4":
	default:
		return unsupported("load balancers with IP address type '" + *kind + "'")
	}
	return nil
}

// sameBalancer reports whether a request for wanted is one for what exists.
func sameBalancer(existing, wanted *model.LoadBalancer, pl *placement) bool {
	if existing.Type != wanted.Type || existing.Scheme != wanted.Scheme || existing.IPAddressType != wanted.IPAddressType ||
		len(existing.Zones) != len(pl.subnets) || !sameSet(existing.SecurityGroups, wanted.SecurityGroups) {
		return false
	}
	return !slices.ContainsFunc(pl.subnets, func(s *model.Subnet) bool {
		return !slices.ContainsFunc(existing.Zones, func(z model.BalancerZone) bool {
			return z.SubnetID == s.ID && (pl.address[s.ID] == "" || pl.address[s.ID] == z.Address)
		})
	})
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// makeBalancer gives a new load balancer its names, interfaces and addresses.
func (p *Provider) makeBalancer(tx *store.Tx, lb *model.LoadBalancer, pl *placement) error {
	suffix, word := ident.Hex(16), "app"
	if lb.Type == model.LoadBalancerNetwork {
		word = "net"
	}
	lb.ID = word + "/" + lb.Name + "/" + suffix
	lb.ARN = p.arn(kindLoadBalancer + "/" + lb.ID)
	lb.DNSName = p.dnsName(lb, suffix)
	lb.CreatedAt = tx.Now()
	for _, subnet := range pl.subnets {
		zone, err := p.attach(tx, lb, subnet, pl.address[subnet.ID])
		if err != nil {
			return err
		}
		lb.Zones = append(lb.Zones, zone)
	}
	if err := p.claimPublic(tx, lb); err != nil {
		return err
	}
	records.LoadBalancers.Put(tx, lb)
	return nil
}

// dnsName is the name that AWS would give the load balancer.
func (p *Provider) dnsName(lb *model.LoadBalancer, suffix string) string {
	prefix := ""
	if lb.Scheme == schemeInternal {
		prefix = "internal-"
	}
	if lb.Type == model.LoadBalancerNetwork {
		return strings.ToLower(lb.Name + "-" + suffix + ".elb." + p.scope.Region + ".amazonaws.com")
	}
	number, err := strconv.ParseUint(suffix[:8], 16, 32)
	if err != nil {
		number = 0 // a hexadecimal suffix always parses
	}
	return prefix + lb.Name + "-" + strconv.FormatUint(number, 10) + "." + p.scope.Region + ".elb.amazonaws.com"
}

// DeleteLoadBalancer implements elbv2api.Service. Its listeners and rules go
// with it, and what goes last are its addresses: see control/balancing.
func (p *Provider) DeleteLoadBalancer(ctx context.Context, in *elbv2api.DeleteLoadBalancerInput) (*elbv2api.DeleteLoadBalancerOutput, error) {
	id, err := p.balancerID(in.LoadBalancerArn)
	if err != nil {
		return nil, err
	}
	// A load balancer may have more rules than a transaction can delete. Once
	// its own record is gone nothing can be added to it, and whatever of it is
	// left is nobody's: if this server dies now, the loop sweeps it up.
	_, err = p.store.Update(ctx, func(tx *store.Tx) error {
		lb, found := records.LoadBalancers.Get(tx, id)
		if !found {
			return nil
		}
		if lb.Attribute("deletion_protection.enabled") == "true" {
			return failure(codeOperationNotPermitted, "Load balancer '%s' cannot be deleted because deletion protection is enabled", lb.ARN)
		}
		records.LoadBalancers.Delete(tx, id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	var listeners, rules []string
	for l := range records.Listeners.By(snap, records.ListenersByLoadBalancer, id) {
		listeners = append(listeners, l.ID)
		for r := range records.ListenerRules.By(snap, records.RulesByListener, l.ID) {
			rules = append(rules, r.ID)
		}
	}
	if err := remove(ctx, p.store, records.ListenerRules, rules); err != nil {
		return nil, err
	}
	if err := remove(ctx, p.store, records.Listeners, listeners); err != nil {
		return nil, err
	}
	return &elbv2api.DeleteLoadBalancerOutput{}, nil
}

func remove[T any](ctx context.Context, s *store.Store, table *store.Table[T], keys []string) error {
	_, err := store.Batch(ctx, s, keys, func(tx *store.Tx, key string) error {
		table.Delete(tx, key)
		return nil
	})
	return err
}

// DescribeLoadBalancers implements elbv2api.Service.
func (p *Provider) DescribeLoadBalancers(_ context.Context, in *elbv2api.DescribeLoadBalancersInput) (*elbv2api.DescribeLoadBalancersOutput, error) {
	if len(in.LoadBalancerArns) > 0 && len(in.Names) > 0 {
		return nil, invalid("Load balancer names and load balancer ARNs cannot be specified at the same time")
	}
	snap := p.store.Snapshot()
	var found []*model.LoadBalancer
	for _, name := range in.LoadBalancerArns {
		lb, err := p.balancer(snap, &name)
		if err != nil {
			return nil, err
		}
		found = append(found, lb)
	}
	for _, name := range in.Names {
		before := len(found)
		found = slices.AppendSeq(found, records.LoadBalancers.By(snap, records.LoadBalancersByName, name))
		if len(found) == before {
			return nil, failure(codeLoadBalancerNotFound, "Load balancers '[%s]' not found", name)
		}
	}
	if len(in.LoadBalancerArns)+len(in.Names) == 0 {
		found = slices.Collect(records.LoadBalancers.All(snap))
	}
	slices.SortFunc(found, func(a, b *model.LoadBalancer) int { return strings.Compare(a.ID, b.ID) })
	page, next, err := pageOf("DescribeLoadBalancers", slices.Compact(found), (*model.LoadBalancer).Key, in.Marker, in.PageSize)
	if err != nil {
		return nil, err
	}
	out := &elbv2api.DescribeLoadBalancersOutput{LoadBalancers: []elbv2api.LoadBalancer{}, NextMarker: next}
	for _, lb := range page {
		out.LoadBalancers = append(out.LoadBalancers, p.balancerOut(lb))
	}
	return out, nil
}

// balancerID is the id behind the ARN of a load balancer.
func (p *Provider) balancerID(name *string) (string, error) {
	id, ok := p.resource(kindLoadBalancer, *name)
	if !ok {
		return "", invalid("'%s' is not a valid load balancer ARN", *name)
	}
	return id, nil
}

// balancer finds a load balancer by its ARN.
func (p *Provider) balancer(r store.Reader, name *string) (*model.LoadBalancer, error) {
	id, err := p.balancerID(name)
	if err != nil {
		return nil, err
	}
	lb, found := records.LoadBalancers.Get(r, id)
	if !found {
		return nil, failure(codeLoadBalancerNotFound, "Load balancers '[%s]' not found", *name)
	}
	return lb, nil
}

func (p *Provider) balancerOut(lb *model.LoadBalancer) elbv2api.LoadBalancer {
	out := elbv2api.LoadBalancer{
		LoadBalancerArn: &lb.ARN, LoadBalancerName: &lb.Name, DNSName: &lb.DNSName, CanonicalHostedZoneId: new(hostedZone(lb.Type, p.scope.Region)),
		CreatedTime: &lb.CreatedAt, Scheme: elbv2api.LoadBalancerSchemeEnum(lb.Scheme), Type: elbv2api.LoadBalancerTypeEnum(lb.Type), VpcId: &lb.VPCID,
		State: &elbv2api.LoadBalancerState{Code: elbv2api.LoadBalancerStateEnum(lb.State)}, AvailabilityZones: zonesOut(lb),
		SecurityGroups: lb.SecurityGroups, IpAddressType: elbv2api.IpAddressType(lb.IPAddressType),
	}
	if lb.StateReason != "" {
		out.State.Reason = &lb.StateReason
	}
	if lb.EnforcePrivLink != "" {
		out.EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic = &lb.EnforcePrivLink
	}
	if lb.Type == model.LoadBalancerNetwork {
		out.EnablePrefixForIpv6SourceNat = elbv2api.EnablePrefixForIpv6SourceNatEnumOff
	}
	return out
}

// zonesOut says where clients connect. AWS shows addresses of network load
// balancers only; the public one here is no secret and cannot be looked up.
func zonesOut(lb *model.LoadBalancer) []elbv2api.AvailabilityZone {
	out := []elbv2api.AvailabilityZone{}
	for _, z := range lb.Zones {
		addresses := []elbv2api.LoadBalancerAddress{}
		switch {
		case lb.PublicAddress != "":
			addresses = append(addresses, elbv2api.LoadBalancerAddress{IpAddress: &lb.PublicAddress})
		case z.Chosen:
			addresses = append(addresses, elbv2api.LoadBalancerAddress{PrivateIPv4Address: &z.Address})
		}
		out = append(out, elbv2api.AvailabilityZone{ZoneName: &z.AvailabilityZone, SubnetId: &z.SubnetID, LoadBalancerAddresses: addresses})
	}
	return out
}
