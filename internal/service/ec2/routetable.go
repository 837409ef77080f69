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

func (p *Provider) routeTables(r store.Reader) *kind[model.RouteTable] {
	type table = model.RouteTable
	associations := func(value func(model.RouteTableAssociation) string) func(*table) []string {
		return func(t *table) []string {
			var values []string
			for _, a := range t.Associations {
				if v := value(a); v != "" {
					values = append(values, v)
				}
			}
			return values
		}
	}
	routes := func(value func(ec2api.Route) string) func(*table) []string {
		return func(t *table) []string {
			var values []string
			for _, out := range routesOut(r, t) {
				if v := value(out); v != "" {
					values = append(values, v)
				}
			}
			return values
		}
	}
	return &kind[table]{
		form: routeTableForm, call: "DescribeRouteTables", param: "routeTableIds",
		id:   (*table).Key,
		tags: func(t *table) []model.Tag { return t.Tags },
		filters: map[string]func(*table) []string{
			"route-table-id":                         func(t *table) []string { return one(t.ID) },
			"association.route-table-id":             func(t *table) []string { return one(t.ID) },
			"vpc-id":                                 func(t *table) []string { return one(t.VPCID) },
			"owner-id":                               func(*table) []string { return one(p.scope.AccountID) },
			"association.main":                       associations(func(a model.RouteTableAssociation) string { return yes(a.Main)[0] }),
			"association.subnet-id":                  associations(func(a model.RouteTableAssociation) string { return a.SubnetID }),
			"association.route-table-association-id": associations(func(a model.RouteTableAssociation) string { return a.ID }),
			"association.gateway-id":                 func(*table) []string { return nil },
			"route.destination-cidr-block":           routes(func(o ec2api.Route) string { return text(o.DestinationCidrBlock) }),
			"route.gateway-id":                       routes(func(o ec2api.Route) string { return text(o.GatewayId) }),
			"route.nat-gateway-id":                   routes(func(o ec2api.Route) string { return text(o.NatGatewayId) }),
			"route.origin":                           routes(func(o ec2api.Route) string { return string(o.Origin) }),
			"route.state":                            routes(func(o ec2api.Route) string { return string(o.State) }),
		},
	}
}

// DescribeRouteTables implements ec2api.Service.
func (p *Provider) DescribeRouteTables(_ context.Context, in *ec2api.DescribeRouteTablesInput) (*ec2api.DescribeRouteTablesOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	all := slices.Collect(records.RouteTables.All(snap))
	page, next, err := p.routeTables(snap).find(all, query{in.RouteTableIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	out := &ec2api.DescribeRouteTablesOutput{RouteTables: []ec2api.RouteTable{}, NextToken: next}
	for _, t := range page {
		out.RouteTables = append(out.RouteTables, p.routeTableOut(snap, t))
	}
	return out, nil
}

func (p *Provider) routeTableOut(r store.Reader, t *model.RouteTable) ec2api.RouteTable {
	out := ec2api.RouteTable{
		RouteTableId: &t.ID, VpcId: &t.VPCID, OwnerId: &p.scope.AccountID, Tags: tagsOut(t.Tags), Routes: routesOut(r, t),
		Associations: []ec2api.RouteTableAssociation{}, PropagatingVgws: []ec2api.PropagatingVgw{},
	}
	for _, a := range t.Associations {
		out.Associations = append(out.Associations, ec2api.RouteTableAssociation{
			RouteTableAssociationId: &a.ID, RouteTableId: &t.ID, SubnetId: empty(a.SubnetID), Main: &a.Main, AssociationState: associated(),
		})
	}
	return out
}

func associated() *ec2api.RouteTableAssociationState {
	return &ec2api.RouteTableAssociationState{State: ec2api.RouteTableAssociationStateCodeAssociated}
}

// routesOut shows the local route, which every table has, and the others.
func routesOut(r store.Reader, t *model.RouteTable) []ec2api.Route {
	var out []ec2api.Route
	if vpc, found := records.VPCs.Get(r, t.VPCID); found {
		out = append(out, ec2api.Route{
			DestinationCidrBlock: &vpc.CIDR, GatewayId: new(localGateway), Origin: ec2api.RouteOriginCreateRouteTable, State: ec2api.RouteStateActive,
		})
	}
	for _, route := range t.Routes {
		shown := ec2api.Route{
			DestinationCidrBlock: &route.DestinationCIDR, GatewayId: empty(route.GatewayID), NatGatewayId: empty(route.NATGatewayID),
			NetworkInterfaceId: empty(route.ENIID), Origin: ec2api.RouteOriginCreateRoute, State: ec2api.RouteStateBlackhole,
		}
		if leads(r, t, route) {
			shown.State = ec2api.RouteStateActive
		}
		out = append(out, shown)
	}
	return out
}

// leads reports whether a route's target is there to take packets. Interfaces
// that a user makes are attached to nothing.
func leads(r store.Reader, t *model.RouteTable, route model.Route) bool {
	switch {
	case route.GatewayID != "":
		g, found := records.InternetGateways.Get(r, route.GatewayID)
		return found && g.VPCID == t.VPCID
	case route.NATGatewayID != "":
		g, found := records.NATGateways.Get(r, route.NATGatewayID)
		return found && g.State == model.NATAvailable
	default:
		return false
	}
}

// CreateRouteTable implements ec2api.Service.
func (p *Provider) CreateRouteTable(ctx context.Context, in *ec2api.CreateRouteTableInput) (*ec2api.CreateRouteTableOutput, error) {
	tags, err := tagsIn(in.TagSpecifications, ec2api.ResourceTypeRouteTable)
	if err != nil {
		return nil, err
	}
	var table *model.RouteTable
	err = p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		vpc, err := guarded(tx, records.VPCs, vpcForm, "vpcId", in.VpcId)
		if err != nil {
			return err
		}
		table = &model.RouteTable{ID: ident.EC2("rtb"), VPCID: vpc.ID, ClientToken: text(in.ClientToken), Tags: tags}
		if table.ClientToken != "" {
			records.RouteTables.GuardIndex(tx, records.RouteTablesByVPC, vpc.ID)
			for made := range records.RouteTables.By(tx, records.RouteTablesByVPC, vpc.ID) {
				if made.ClientToken == table.ClientToken {
					table = made
					return nil
				}
			}
		}
		records.RouteTables.Put(tx, table)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.CreateRouteTableOutput{RouteTable: new(p.routeTableOut(p.store.Snapshot(), table)), ClientToken: in.ClientToken}, nil
}

// DeleteRouteTable implements ec2api.Service.
func (p *Provider) DeleteRouteTable(ctx context.Context, in *ec2api.DeleteRouteTableInput) (*ec2api.DeleteRouteTableOutput, error) {
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		t, err := named(tx, records.RouteTables, routeTableForm, "routeTableId", in.RouteTableId)
		if err != nil {
			return err
		}
		if len(t.Associations) > 0 {
			return inUse("routeTable", t.ID)
		}
		records.RouteTables.Delete(tx, t.ID)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.DeleteRouteTableOutput{}, nil
}

// tableOf is the table that a subnet has of its own, and where in it the
// association is; -1 when the VPC's main table is the subnet's.
func tableOf(r store.Reader, s *model.Subnet) (*model.RouteTable, int) {
	for t := range records.RouteTables.By(r, records.RouteTablesByVPC, s.VPCID) {
		for i, a := range t.Associations {
			if a.SubnetID == s.ID {
				return t, i
			}
		}
	}
	return nil, -1
}

// guardTables makes the transaction depend on all tables of a VPC: a subnet
// has one, and a VPC one main one, whoever associates at the same time.
func guardTables(tx *store.Tx, vpcID string) {
	records.RouteTables.GuardIndex(tx, records.RouteTablesByVPC, vpcID)
	for t := range records.RouteTables.By(tx, records.RouteTablesByVPC, vpcID) {
		records.RouteTables.Guard(tx, t.ID)
	}
}

// AssociateRouteTable implements ec2api.Service.
func (p *Provider) AssociateRouteTable(ctx context.Context, in *ec2api.AssociateRouteTableInput) (*ec2api.AssociateRouteTableOutput, error) {
	if in.GatewayId != nil || in.PublicIpv4Pool != nil {
		return nil, unsupported("route tables of gateways")
	}
	var id string
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		table, err := named(tx, records.RouteTables, routeTableForm, "routeTableId", in.RouteTableId)
		if err != nil {
			return err
		}
		subnet, err := guarded(tx, records.Subnets, subnetForm, "subnetId", in.SubnetId)
		if err != nil {
			return err
		}
		if subnet.VPCID != table.VPCID {
			return failure("InvalidParameterValue", "Route table %s and subnet %s belong to different networks", table.ID, subnet.ID)
		}
		guardTables(tx, table.VPCID)
		if other, i := tableOf(tx, subnet); i >= 0 {
			id = other.Associations[i].ID
			if other.ID != table.ID {
				return failure("Resource.AlreadyAssociated", "the specified association for route table %s conflicts with an existing association", table.ID)
			}
			return nil
		}
		id = ident.EC2("rtbassoc")
		return associate(tx, table.ID, model.RouteTableAssociation{ID: id, SubnetID: subnet.ID})
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.AssociateRouteTableOutput{AssociationId: &id, AssociationState: associated()}, nil
}

func associate(tx *store.Tx, tableID string, a model.RouteTableAssociation) error {
	return records.RouteTables.Edit(tx, tableID, func(t *model.RouteTable) error {
		t.Associations = append(t.Associations, a)
		return nil
	})
}

// disassociate removes an association that exists.
func disassociate(tx *store.Tx, tableID, id string) error {
	return records.RouteTables.Edit(tx, tableID, func(t *model.RouteTable) error {
		t.Associations = slices.DeleteFunc(t.Associations, func(a model.RouteTableAssociation) bool { return a.ID == id })
		return nil
	})
}

// association finds an association and its table.
func association(r store.Reader, id *string) (*model.RouteTable, model.RouteTableAssociation, error) {
	if text(id) == "" {
		return nil, model.RouteTableAssociation{}, missingParameter("associationId")
	}
	if err := associationForm.check(*id); err != nil {
		return nil, model.RouteTableAssociation{}, err
	}
	for t := range records.RouteTables.All(r) {
		for _, a := range t.Associations {
			if a.ID == *id {
				return t, a, nil
			}
		}
	}
	return nil, model.RouteTableAssociation{}, associationForm.missing(*id)
}

// DisassociateRouteTable implements ec2api.Service. The subnet has the main
// table then.
func (p *Provider) DisassociateRouteTable(ctx context.Context, in *ec2api.DisassociateRouteTableInput) (*ec2api.DisassociateRouteTableOutput, error) {
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		t, a, err := association(tx, in.AssociationId)
		if err != nil {
			return err
		}
		if a.Main {
			return failure("InvalidParameterValue", "cannot disassociate the main route table association %s", a.ID)
		}
		return disassociate(tx, t.ID, a.ID)
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.DisassociateRouteTableOutput{}, nil
}

// ReplaceRouteTableAssociation implements ec2api.Service. Replacing the main
// association makes another table the main one.
func (p *Provider) ReplaceRouteTableAssociation(ctx context.Context, in *ec2api.ReplaceRouteTableAssociationInput) (*ec2api.ReplaceRouteTableAssociationOutput, error) {
	var id string
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		from, a, err := association(tx, in.AssociationId)
		if err != nil {
			return err
		}
		to, err := named(tx, records.RouteTables, routeTableForm, "routeTableId", in.RouteTableId)
		if err != nil {
			return err
		}
		if from.VPCID != to.VPCID {
			return failure("InvalidParameterValue", "Route tables %s and %s belong to different networks", from.ID, to.ID)
		}
		guardTables(tx, to.VPCID)
		if err := disassociate(tx, from.ID, a.ID); err != nil {
			return err
		}
		id = ident.EC2("rtbassoc")
		return associate(tx, to.ID, model.RouteTableAssociation{ID: id, SubnetID: a.SubnetID, Main: a.Main})
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.ReplaceRouteTableAssociationOutput{NewAssociationId: &id, AssociationState: associated()}, nil
}
