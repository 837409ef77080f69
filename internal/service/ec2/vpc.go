package ec2

import (
	"context"
	"net/netip"
	"slices"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ec2api"
)

// The prefix lengths that EC2 accepts for a VPC and for a subnet.
const (
	shortestPrefix = 16
	longestPrefix  = 28
)

func (p *Provider) vpcs() *kind[model.VPC] {
	return &kind[model.VPC]{
		form: vpcForm, call: "DescribeVpcs", param: "vpcIds",
		id:   (*model.VPC).Key,
		tags: func(v *model.VPC) []model.Tag { return v.Tags },
		filters: map[string]func(*model.VPC) []string{
			"vpc-id":                                func(v *model.VPC) []string { return one(v.ID) },
			"cidr":                                  func(v *model.VPC) []string { return one(v.CIDR) },
			"cidr-block-association.cidr-block":     func(v *model.VPC) []string { return one(v.CIDR) },
			"cidr-block-association.association-id": func(v *model.VPC) []string { return one(rangeAssociation(v)) },
			"cidr-block-association.state":          func(*model.VPC) []string { return one("associated") },
			"is-default":                            func(v *model.VPC) []string { return yes(v.IsDefault) },
			"isDefault":                             func(v *model.VPC) []string { return yes(v.IsDefault) },
			"state":                                 func(*model.VPC) []string { return one("available") },
			"owner-id":                              func(*model.VPC) []string { return one(p.scope.AccountID) },
			"dhcp-options-id":                       func(*model.VPC) []string { return one(p.dhcpOptionsID()) },
		},
	}
}

// DescribeVpcs implements ec2api.Service.
func (p *Provider) DescribeVpcs(_ context.Context, in *ec2api.DescribeVpcsInput) (*ec2api.DescribeVpcsOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	all := slices.Collect(records.VPCs.All(p.store.Snapshot()))
	page, next, err := p.vpcs().find(all, query{in.VpcIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	out := &ec2api.DescribeVpcsOutput{Vpcs: []ec2api.Vpc{}, NextToken: next}
	for _, v := range page {
		out.Vpcs = append(out.Vpcs, p.vpcOut(v))
	}
	return out, nil
}

func (p *Provider) vpcOut(v *model.VPC) ec2api.Vpc {
	return ec2api.Vpc{
		VpcId: &v.ID, OwnerId: &p.scope.AccountID, CidrBlock: &v.CIDR, IsDefault: &v.IsDefault,
		State: ec2api.VpcStateAvailable, InstanceTenancy: ec2api.TenancyDefault, DhcpOptionsId: new(p.dhcpOptionsID()),
		Tags: tagsOut(v.Tags),
		CidrBlockAssociationSet: []ec2api.VpcCidrBlockAssociation{{
			AssociationId: new(rangeAssociation(v)), CidrBlock: &v.CIDR,
			CidrBlockState: &ec2api.VpcCidrBlockState{State: ec2api.VpcCidrBlockStateCodeAssociated},
		}},
	}
}

// rangeAssociation names the association of a VPC with its range.
func rangeAssociation(v *model.VPC) string {
	if v.AssociationID != "" {
		return v.AssociationID
	}
	return derived("vpc-cidr-assoc", v.ID)
}

// CreateVpc implements ec2api.Service. A VPC begins with a default security
// group, a main route table and a default network ACL.
func (p *Provider) CreateVpc(ctx context.Context, in *ec2api.CreateVpcInput) (*ec2api.CreateVpcOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	if err := refuse(map[string]bool{
		"IPv6 ranges of VPCs": isTrue(in.AmazonProvidedIpv6CidrBlock) || in.Ipv6CidrBlock != nil || in.Ipv6Pool != nil || in.Ipv6IpamPoolId != nil || in.Ipv6NetmaskLength != nil,
		"IPAM pools":          in.Ipv4IpamPoolId != nil || in.Ipv4NetmaskLength != nil,
		"dedicated tenancy":   in.InstanceTenancy != "" && in.InstanceTenancy != ec2api.TenancyDefault,
		"encryption controls": in.VpcEncryptionControl != nil,
	}); err != nil {
		return nil, err
	}
	tags, err := tagsIn(in.TagSpecifications, ec2api.ResourceTypeVpc)
	if err != nil {
		return nil, err
	}
	cidr, err := parseRange("cidrBlock", in.CidrBlock)
	if err != nil {
		return nil, err
	}
	if a := cidr.Addr(); cidr.Bits() < shortestPrefix || cidr.Bits() > longestPrefix || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.As4()[0] == 0 {
		return nil, failure("InvalidVpc.Range", "The CIDR '%s' is invalid.", cidr)
	}
	if err := p.claimRange(cidr); err != nil {
		return nil, failure("InvalidVpc.Range", "The CIDR '%s' cannot be used on this host: %v.", cidr, err)
	}
	vpc := &model.VPC{ID: ident.EC2("vpc"), CIDR: cidr.String(), AssociationID: ident.EC2("vpc-cidr-assoc"), InstanceTenancy: string(ec2api.TenancyDefault), Tags: tags}
	_, err = p.store.Update(ctx, func(tx *store.Tx) error {
		records.VPCs.Put(tx, vpc)
		records.SecurityGroups.Put(tx, defaultGroup(vpc.ID))
		records.RouteTables.Put(tx, mainTable(vpc.ID))
		return nil
	})
	if err != nil {
		p.releaseRange(cidr)
		return nil, err
	}
	return &ec2api.CreateVpcOutput{Vpc: new(p.vpcOut(vpc))}, nil
}

// parseRange reads an IPv4 range and clears the bits that its prefix does not
// cover, as EC2 does.
func parseRange(param string, cidr *string) (netip.Prefix, error) {
	if cidr == nil || *cidr == "" {
		return netip.Prefix{}, missingParameter(param)
	}
	prefix, err := netip.ParsePrefix(*cidr)
	if err != nil || !prefix.Addr().Is4() {
		return netip.Prefix{}, failure("InvalidParameterValue", "Value (%s) for parameter %s is invalid. This is not a valid CIDR block.", *cidr, param)
	}
	return prefix.Masked(), nil
}

// releaseRange gives back a range that no VPC has.
func (p *Provider) releaseRange(cidr netip.Prefix) {
	for v := range records.VPCs.All(p.store.Snapshot()) {
		if v.CIDR == cidr.String() {
			return
		}
	}
	p.giveBack(cidr)
}

// DeleteVpc implements ec2api.Service. What the VPC began with goes with it;
// everything else must have gone before.
func (p *Provider) DeleteVpc(ctx context.Context, in *ec2api.DeleteVpcInput) (*ec2api.DeleteVpcOutput, error) {
	var cidr string
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		vpc, err := named(tx, records.VPCs, vpcForm, "vpcId", in.VpcId)
		if err != nil {
			return err
		}
		cidr = vpc.CIDR
		return deleteVPC(tx, vpc)
	})
	if err != nil {
		return nil, err
	}
	if prefix, err := netip.ParsePrefix(cidr); err == nil {
		p.releaseRange(prefix)
	}
	return &ec2api.DeleteVpcOutput{}, nil
}

func deleteVPC(tx *store.Tx, vpc *model.VPC) error {
	records.Subnets.GuardIndex(tx, records.SubnetsByVPC, vpc.ID)
	records.SecurityGroups.GuardIndex(tx, records.SecurityGroupsByVPC, vpc.ID)
	records.RouteTables.GuardIndex(tx, records.RouteTablesByVPC, vpc.ID)
	records.InternetGateways.GuardIndex(tx, records.InternetGatewaysByVPC, vpc.ID)
	for range records.Subnets.By(tx, records.SubnetsByVPC, vpc.ID) {
		return inUse("vpc", vpc.ID)
	}
	for range records.InternetGateways.By(tx, records.InternetGatewaysByVPC, vpc.ID) {
		return inUse("vpc", vpc.ID)
	}
	for g := range records.SecurityGroups.By(tx, records.SecurityGroupsByVPC, vpc.ID) {
		if g.Name != defaultGroupName {
			return inUse("vpc", vpc.ID)
		}
		records.SecurityGroups.Delete(tx, g.ID)
	}
	for t := range records.RouteTables.By(tx, records.RouteTablesByVPC, vpc.ID) {
		if !t.Main() {
			return inUse("vpc", vpc.ID)
		}
		records.RouteTables.Delete(tx, t.ID)
	}
	records.VPCs.Delete(tx, vpc.ID)
	return nil
}

// DescribeVpcAttribute implements ec2api.Service.
func (p *Provider) DescribeVpcAttribute(_ context.Context, in *ec2api.DescribeVpcAttributeInput) (*ec2api.DescribeVpcAttributeOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	v, err := named(p.store.Snapshot(), records.VPCs, vpcForm, "vpcId", in.VpcId)
	if err != nil {
		return nil, err
	}
	out := &ec2api.DescribeVpcAttributeOutput{VpcId: &v.ID}
	switch in.Attribute {
	case ec2api.VpcAttributeNameEnableDnsSupport:
		out.EnableDnsSupport = &ec2api.AttributeBooleanValue{Value: new(!v.NoDNSSupport)}
	case ec2api.VpcAttributeNameEnableDnsHostnames:
		out.EnableDnsHostnames = &ec2api.AttributeBooleanValue{Value: new(v.DNSHostnames)}
	case ec2api.VpcAttributeNameEnableNetworkAddressUsageMetrics:
		out.EnableNetworkAddressUsageMetrics = &ec2api.AttributeBooleanValue{Value: new(v.AddressMetrics)}
	}
	return out, nil
}

// ModifyVpcAttribute implements ec2api.Service. It changes one attribute.
func (p *Provider) ModifyVpcAttribute(ctx context.Context, in *ec2api.ModifyVpcAttributeInput) (*ec2api.ModifyVpcAttributeOutput, error) {
	given := 0
	for _, a := range []*ec2api.AttributeBooleanValue{in.EnableDnsSupport, in.EnableDnsHostnames, in.EnableNetworkAddressUsageMetrics} {
		if a != nil {
			given++
		}
	}
	switch {
	case given == 0:
		return nil, missingParameter("enableDnsSupport, enableDnsHostnames or enableNetworkAddressUsageMetrics")
	case given > 1:
		return nil, failure("InvalidParameterCombination", "Only one attribute can be modified at a time.")
	case in.EnableNetworkAddressUsageMetrics != nil && isTrue(in.EnableNetworkAddressUsageMetrics.Value):
		return nil, unsupported("network address usage metrics")
	}
	err := p.change(ctx, nil, func(tx *store.Tx) error {
		if _, err := named(tx, records.VPCs, vpcForm, "vpcId", in.VpcId); err != nil {
			return err
		}
		return records.VPCs.Edit(tx, *in.VpcId, func(v *model.VPC) error {
			if in.EnableDnsSupport != nil {
				v.NoDNSSupport = !isTrue(in.EnableDnsSupport.Value)
			}
			if in.EnableDnsHostnames != nil {
				v.DNSHostnames = isTrue(in.EnableDnsHostnames.Value)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.ModifyVpcAttributeOutput{}, nil
}
