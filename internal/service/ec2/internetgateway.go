package ec2

import (
	"context"
	"slices"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ec2api"
)

// DescribeInternetGateways implements ec2api.Service.
func (p *Provider) DescribeInternetGateways(_ context.Context, in *ec2api.DescribeInternetGatewaysInput) (*ec2api.DescribeInternetGatewaysOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	type gateway = model.InternetGateway
	attached := func(value string) func(*gateway) []string {
		return func(g *gateway) []string {
			if g.VPCID == "" {
				return nil
			}
			return one(value)
		}
	}
	k := &kind[gateway]{
		form: gatewayForm, call: "DescribeInternetGateways", param: "internetGatewayIds",
		id:   (*gateway).Key,
		tags: func(g *gateway) []model.Tag { return g.Tags },
		filters: map[string]func(*gateway) []string{
			"internet-gateway-id": func(g *gateway) []string { return one(g.ID) },
			"owner-id":            func(*gateway) []string { return one(p.scope.AccountID) },
			"attachment.state":    attached("available"),
			"attachment.vpc-id": func(g *gateway) []string {
				if g.VPCID == "" {
					return nil
				}
				return one(g.VPCID)
			},
		},
	}
	page, next, err := k.find(slices.Collect(records.InternetGateways.All(p.store.Snapshot())), query{in.InternetGatewayIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	out := &ec2api.DescribeInternetGatewaysOutput{InternetGateways: []ec2api.InternetGateway{}, NextToken: next}
	for _, g := range page {
		out.InternetGateways = append(out.InternetGateways, p.gatewayOut(g))
	}
	return out, nil
}

func (p *Provider) gatewayOut(g *model.InternetGateway) ec2api.InternetGateway {
	out := ec2api.InternetGateway{InternetGatewayId: &g.ID, OwnerId: &p.scope.AccountID, Tags: tagsOut(g.Tags), Attachments: []ec2api.InternetGatewayAttachment{}}
	if g.VPCID != "" {
		// EC2 says available here, which its enum of states does not have.
		out.Attachments = append(out.Attachments, ec2api.InternetGatewayAttachment{State: "available", VpcId: &g.VPCID})
	}
	return out
}

// CreateInternetGateway implements ec2api.Service.
func (p *Provider) CreateInternetGateway(ctx context.Context, in *ec2api.CreateInternetGatewayInput) (*ec2api.CreateInternetGatewayOutput, error) {
	tags, err := tagsIn(in.TagSpecifications, ec2api.ResourceTypeInternetGateway)
	if err != nil {
		return nil, err
	}
	g := &model.InternetGateway{ID: ident.EC2("igw"), Tags: tags}
	err = p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		records.InternetGateways.Put(tx, g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.CreateInternetGatewayOutput{InternetGateway: new(p.gatewayOut(g))}, nil
}

// DeleteInternetGateway implements ec2api.Service.
func (p *Provider) DeleteInternetGateway(ctx context.Context, in *ec2api.DeleteInternetGatewayInput) (*ec2api.DeleteInternetGatewayOutput, error) {
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		g, err := named(tx, records.InternetGateways, gatewayForm, "internetGatewayId", in.InternetGatewayId)
		if err != nil {
			return err
		}
		if g.VPCID != "" {
			return inUse("internetGateway", g.ID)
		}
		records.InternetGateways.Delete(tx, g.ID)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.DeleteInternetGatewayOutput{}, nil
}

// AttachInternetGateway implements ec2api.Service. A gateway has one VPC and a
// VPC one gateway.
func (p *Provider) AttachInternetGateway(ctx context.Context, in *ec2api.AttachInternetGatewayInput) (*ec2api.AttachInternetGatewayOutput, error) {
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		g, err := named(tx, records.InternetGateways, gatewayForm, "internetGatewayId", in.InternetGatewayId)
		if err != nil {
			return err
		}
		vpc, err := guarded(tx, records.VPCs, vpcForm, "vpcId", in.VpcId)
		if err != nil {
			return err
		}
		if g.VPCID != "" {
			return failure("Resource.AlreadyAssociated", "resource %s is already attached to network %s", g.ID, g.VPCID)
		}
		records.InternetGateways.GuardIndex(tx, records.InternetGatewaysByVPC, vpc.ID)
		for range records.InternetGateways.By(tx, records.InternetGatewaysByVPC, vpc.ID) {
			return failure("InvalidParameterValue", "Network %s already has an internet gateway attached", vpc.ID)
		}
		return attach(tx, g.ID, vpc.ID)
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.AttachInternetGatewayOutput{}, nil
}

// attach attaches a gateway to a VPC, or to none.
func attach(tx *store.Tx, gatewayID, vpcID string) error {
	return records.InternetGateways.Edit(tx, gatewayID, func(g *model.InternetGateway) error {
		g.VPCID = vpcID
		return nil
	})
}

// DetachInternetGateway implements ec2api.Service.
func (p *Provider) DetachInternetGateway(ctx context.Context, in *ec2api.DetachInternetGatewayInput) (*ec2api.DetachInternetGatewayOutput, error) {
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		g, err := named(tx, records.InternetGateways, gatewayForm, "internetGatewayId", in.InternetGatewayId)
		if err != nil {
			return err
		}
		vpc, err := named(tx, records.VPCs, vpcForm, "vpcId", in.VpcId)
		if err != nil {
			return err
		}
		if g.VPCID != vpc.ID {
			return failure("Gateway.NotAttached", "resource %s is not attached to network %s", g.ID, vpc.ID)
		}
		records.PublicAddresses.GuardPrefix(tx, "")
		if mapped(tx, vpc.ID) {
			return failure("DependencyViolation", "Network %s has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.", vpc.ID)
		}
		return attach(tx, g.ID, "")
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.DetachInternetGatewayOutput{}, nil
}

// mapped reports whether a public address leads into a VPC.
func mapped(r store.Reader, vpcID string) bool {
	for a := range records.PublicAddresses.All(r) {
		if n, found := records.NetworkInterfaces.Get(r, a.ENIID); found && n.VPCID == vpcID {
			return true
		}
		if l, found := records.LoadBalancers.Get(r, a.LoadBalancerID); found && l.VPCID == vpcID {
			return true
		}
	}
	return false
}
