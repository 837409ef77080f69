package elbv2

import (
	"context"
	"fmt"
	"slices"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/elbv2api"
)

// SetSecurityGroups implements elbv2api.Service. The interfaces change with
// the load balancer.
func (p *Provider) SetSecurityGroups(ctx context.Context, in *elbv2api.SetSecurityGroupsInput) (*elbv2api.SetSecurityGroupsOutput, error) {
	var out *elbv2api.SetSecurityGroupsOutput
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		lb, err := p.balancer(tx, in.LoadBalancerArn)
		if err != nil {
			return err
		}
		given := slices.Compact(slices.Clone(in.SecurityGroups))
		switch {
		case lb.Type == model.LoadBalancerApplication && in.EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic != "":
			return failure(codeInvalidConfiguration, "Security group rules on PrivateLink traffic can be enforced for network load balancers only")
		case lb.Type == model.LoadBalancerApplication && len(given) == 0:
			return failure(codeInvalidConfiguration, "At least one security group must be specified")
		case lb.Type == model.LoadBalancerNetwork && len(lb.SecurityGroups) == 0 && len(given) > 0:
			return failure(codeInvalidConfiguration, "You cannot add security groups to a network load balancer that was created without any")
		case lb.Type == model.LoadBalancerNetwork && len(lb.SecurityGroups) > 0 && len(given) == 0:
			return failure(codeInvalidConfiguration, "At least one security group must be specified")
		}
		if given, err = groups(tx, lb.Type, lb.VPCID, given); err != nil {
			return err
		}
		if err := records.LoadBalancers.Edit(tx, lb.ID, func(lb *model.LoadBalancer) error {
			lb.SecurityGroups = given
			if in.EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic != "" {
				lb.EnforcePrivLink = string(in.EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic)
			}
			out = &elbv2api.SetSecurityGroupsOutput{
				SecurityGroupIds: given,
				EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic: elbv2api.EnforceSecurityGroupInboundRulesOnPrivateLinkTrafficEnum(lb.EnforcePrivLink),
			}
			return nil
		}); err != nil {
			return err
		}
		return regroup(tx, lb, given)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// regroup puts the interfaces of a load balancer into its security groups.
func regroup(tx *store.Tx, lb *model.LoadBalancer, groups []string) error {
	for _, z := range lb.Zones {
		if !records.NetworkInterfaces.Has(tx, z.ENIID) {
			return fmt.Errorf("load balancer %s: interface %s is gone", lb.ID, z.ENIID)
		}
		if err := records.NetworkInterfaces.Edit(tx, z.ENIID, func(n *model.NetworkInterface) error {
			n.GroupIDs = groups
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// SetSubnets implements elbv2api.Service. Interfaces of subnets that stay are
// kept; those of subnets that it leaves go when the node has let go of them.
func (p *Provider) SetSubnets(ctx context.Context, in *elbv2api.SetSubnetsInput) (*elbv2api.SetSubnetsOutput, error) {
	mappings, err := placementRequest(in.Subnets, in.SubnetMappings)
	if err != nil {
		return nil, err
	}
	kind := string(in.IpAddressType)
	if err := addressType(&kind); err != nil {
		return nil, err
	}
	if in.EnablePrefixForIpv6SourceNat == elbv2api.EnablePrefixForIpv6SourceNatEnumOn {
		return nil, unsupported("IPv6 source NAT")
	}
	var changed *model.LoadBalancer
	_, err = p.store.Update(ctx, func(tx *store.Tx) error {
		lb, err := p.balancer(tx, in.LoadBalancerArn)
		if err != nil {
			return err
		}
		pl, err := p.place(tx, lb.Type, lb.Scheme, mappings)
		if err != nil {
			return err
		}
		if pl.vpcID != lb.VPCID {
			return failure(codeInvalidConfiguration, "The subnets must belong to the VPC of the load balancer: '%s'", lb.VPCID)
		}
		zones, err := p.rezone(tx, lb, pl)
		if err != nil {
			return err
		}
		if err := records.LoadBalancers.Edit(tx, lb.ID, func(lb *model.LoadBalancer) error {
			lb.Zones = zones
			return nil
		}); err != nil {
			return err
		}
		changed, _ = records.LoadBalancers.Get(tx, lb.ID)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := &elbv2api.SetSubnetsOutput{AvailabilityZones: zonesOut(changed), IpAddressType: elbv2api.IpAddressType(changed.IPAddressType)}
	if changed.Type == model.LoadBalancerNetwork {
		out.EnablePrefixForIpv6SourceNat = elbv2api.EnablePrefixForIpv6SourceNatEnumOff
	}
	return out, nil
}

// rezone gives a load balancer its interfaces in a new set of subnets.
func (p *Provider) rezone(tx *store.Tx, lb *model.LoadBalancer, pl *placement) ([]model.BalancerZone, error) {
	var zones []model.BalancerZone
	for _, subnet := range pl.subnets {
		wanted := pl.address[subnet.ID]
		i := slices.IndexFunc(lb.Zones, func(z model.BalancerZone) bool { return z.SubnetID == subnet.ID })
		if i >= 0 {
			if wanted != "" && wanted != lb.Zones[i].Address {
				return nil, failure(codeInvalidConfiguration, "The private IPv4 address of a subnet cannot be changed")
			}
			zones = append(zones, lb.Zones[i])
			continue
		}
		zone, err := p.attach(tx, lb, subnet, wanted)
		if err != nil {
			return nil, err
		}
		zones = append(zones, zone)
	}
	return zones, nil
}

// SetIpAddressType implements elbv2api.Service: there is one type to set.
func (p *Provider) SetIpAddressType(_ context.Context, in *elbv2api.SetIpAddressTypeInput) (*elbv2api.SetIpAddressTypeOutput, error) {
	if _, err := p.balancer(p.store.Snapshot(), in.LoadBalancerArn); err != nil {
		return nil, err
	}
	kind := string(in.IpAddressType)
	if err := addressType(&kind); err != nil {
		return nil, err
	}
	return &elbv2api.SetIpAddressTypeOutput{IpAddressType: elbv2api.IpAddressType(kind)}, nil
}
