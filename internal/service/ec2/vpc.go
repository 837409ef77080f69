package ec2

import (
	"context"
	"slices"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ec2api"
)

// dhcpOptions is the id of the only set of DHCP options.
const dhcpOptions = "default"

func (p *Provider) vpcs() *kind[model.VPC] {
	return &kind[model.VPC]{
		call: "DescribeVpcs", prefix: "vpc-", noun: "vpc ID", param: "vpcIds", notFound: "InvalidVpcID.NotFound", badID: "InvalidVpcID.Malformed",
		id:   (*model.VPC).Key,
		tags: func(v *model.VPC) []model.Tag { return v.Tags },
		filters: map[string]func(*model.VPC) []string{
			"vpc-id":                            func(v *model.VPC) []string { return one(v.ID) },
			"cidr":                              func(v *model.VPC) []string { return one(v.CIDR) },
			"cidr-block-association.cidr-block": func(v *model.VPC) []string { return one(v.CIDR) },
			"is-default":                        func(v *model.VPC) []string { return yes(v.IsDefault) },
			"isDefault":                         func(v *model.VPC) []string { return yes(v.IsDefault) },
			"state":                             func(*model.VPC) []string { return one("available") },
			"owner-id":                          func(*model.VPC) []string { return one(p.scope.AccountID) },
			"dhcp-options-id":                   func(*model.VPC) []string { return one(dhcpOptions) },
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
		State: ec2api.VpcStateAvailable, InstanceTenancy: ec2api.TenancyDefault, DhcpOptionsId: new(dhcpOptions),
		Tags: tagsOut(v.Tags),
		CidrBlockAssociationSet: []ec2api.VpcCidrBlockAssociation{{
			AssociationId: new("vpc-cidr-assoc-" + v.ID[len("vpc-"):]), CidrBlock: &v.CIDR,
			CidrBlockState: &ec2api.VpcCidrBlockState{State: ec2api.VpcCidrBlockStateCodeAssociated},
		}},
	}
}
