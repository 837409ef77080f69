package ec2

import (
	"context"
	"net/netip"
	"slices"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ec2api"
)

// localGateway is the target of the route to the VPC itself.
const localGateway = "local"

// CreateRoute implements ec2api.Service.
func (p *Provider) CreateRoute(ctx context.Context, in *ec2api.CreateRouteInput) (*ec2api.CreateRouteOutput, error) {
	if err := refuseTargets(in.InstanceId, in.DestinationPrefixListId,
		[]*string{in.DestinationIpv6CidrBlock, in.EgressOnlyInternetGatewayId},
		[]*string{in.VpcEndpointId, in.TransitGatewayId, in.LocalGatewayId, in.CarrierGatewayId, in.CoreNetworkArn, in.OdbNetworkArn, in.VpcPeeringConnectionId}); err != nil {
		return nil, err
	}
	err := p.setRoute(ctx, in.DryRun, in.RouteTableId, in.DestinationCidrBlock,
		model.Route{GatewayID: text(in.GatewayId), NATGatewayID: text(in.NatGatewayId), ENIID: text(in.NetworkInterfaceId)},
		func(t *model.RouteTable, at int, route model.Route) error {
			if at >= 0 {
				return failure("RouteAlreadyExists", "The route identified by %s already exists.", route.DestinationCIDR)
			}
			t.Routes = append(t.Routes, route)
			return nil
		})
	if err != nil {
		return nil, err
	}
	return &ec2api.CreateRouteOutput{Return: new(true)}, nil
}

// ReplaceRoute implements ec2api.Service.
func (p *Provider) ReplaceRoute(ctx context.Context, in *ec2api.ReplaceRouteInput) (*ec2api.ReplaceRouteOutput, error) {
	if isTrue(in.LocalTarget) {
		return nil, unsupported("routes that replace the local one")
	}
	if err := refuseTargets(in.InstanceId, in.DestinationPrefixListId,
		[]*string{in.DestinationIpv6CidrBlock, in.EgressOnlyInternetGatewayId},
		[]*string{in.VpcEndpointId, in.TransitGatewayId, in.LocalGatewayId, in.CarrierGatewayId, in.CoreNetworkArn, in.OdbNetworkArn, in.VpcPeeringConnectionId}); err != nil {
		return nil, err
	}
	err := p.setRoute(ctx, in.DryRun, in.RouteTableId, in.DestinationCidrBlock,
		model.Route{GatewayID: text(in.GatewayId), NATGatewayID: text(in.NatGatewayId), ENIID: text(in.NetworkInterfaceId)},
		func(t *model.RouteTable, at int, route model.Route) error {
			if at < 0 {
				return failure("InvalidParameterValue", "There is no route defined for '%s' in the route table. Use CreateRoute instead.", route.DestinationCIDR)
			}
			t.Routes[at] = route
			return nil
		})
	if err != nil {
		return nil, err
	}
	return &ec2api.ReplaceRouteOutput{}, nil
}

// refuseTargets refuses the routes that lead to what does not exist here.
func refuseTargets(instance, list *string, ipv6, gateways []*string) error {
	given := func(id *string) bool { return id != nil }
	return refuse(map[string]bool{
		"IPv6 routes":  slices.ContainsFunc(ipv6, given),
		"prefix lists": list != nil,
		"routes to gateways other than internet and NAT gateways": slices.ContainsFunc(gateways, given),
		"routes to EC2 instances":                                 instance != nil,
	})
}

// setRoute checks a route and hands it to set, with the place of the one that
// the table has for its destination; -1 for none.
func (p *Provider) setRoute(ctx context.Context, dry *bool, tableID, destination *string, route model.Route, set func(*model.RouteTable, int, model.Route) error) error {
	return p.change(ctx, dry, func(tx *store.Tx) error {
		table, err := named(tx, records.RouteTables, routeTableForm, "routeTableId", tableID)
		if err != nil {
			return err
		}
		cidr, err := parseRange("destinationCidrBlock", destination)
		if err != nil {
			return err
		}
		if err := outside(tx, table, cidr); err != nil {
			return err
		}
		if err := checkTarget(tx, table, route); err != nil {
			return err
		}
		route.DestinationCIDR = cidr.String()
		return records.RouteTables.Edit(tx, table.ID, func(t *model.RouteTable) error {
			return set(t, routeTo(t, route.DestinationCIDR), route)
		})
	})
}

func routeTo(t *model.RouteTable, cidr string) int {
	return slices.IndexFunc(t.Routes, func(r model.Route) bool { return r.DestinationCIDR == cidr })
}

// outside refuses destinations in the VPC, where the local route leads.
func outside(r store.Reader, table *model.RouteTable, cidr netip.Prefix) error {
	vpc, found := records.VPCs.Get(r, table.VPCID)
	if !found {
		return vpcForm.missing(table.VPCID)
	}
	if whole, err := netip.ParsePrefix(vpc.CIDR); err == nil && whole.Bits() <= cidr.Bits() && whole.Contains(cidr.Addr()) {
		return failure("InvalidParameterValue",
			"The destination CIDR block %s is equal to or more specific than one of this VPC's CIDR blocks. This route can target only an interface or an instance.", cidr)
	}
	return nil
}

// checkTarget makes the transaction depend on the route's one target.
func checkTarget(tx *store.Tx, table *model.RouteTable, route model.Route) error {
	switch targets := slices.DeleteFunc([]string{route.GatewayID, route.NATGatewayID, route.ENIID}, func(id string) bool { return id == "" }); len(targets) {
	case 0:
		return missingParameter("gatewayId or natGatewayId")
	case 1:
	default:
		return failure("InvalidParameterCombination", "The parameters %s and %s cannot be used together", targets[0], targets[1])
	}
	switch {
	case route.GatewayID != "":
		g, found := records.InternetGateways.Get(tx, route.GatewayID)
		if !found {
			return failure("InvalidGatewayID.NotFound", "The gateway ID '%s' does not exist", route.GatewayID)
		}
		records.InternetGateways.Guard(tx, g.ID)
		if g.VPCID != table.VPCID {
			return failure("InvalidParameterValue", "route table %s and network gateway %s belong to different networks", table.ID, g.ID)
		}
	case route.NATGatewayID != "":
		g, found := records.NATGateways.Get(tx, route.NATGatewayID)
		if !found || g.State == model.NATDeleted {
			return failure("InvalidNatGatewayID.NotFound", "The natGateway ID '%s' does not exist", route.NATGatewayID)
		}
		records.NATGateways.Guard(tx, g.ID)
		if g.VPCID != table.VPCID {
			return failure("InvalidParameterValue", "route table %s and NAT gateway %s belong to different networks", table.ID, g.ID)
		}
	default:
		n, err := guarded(tx, records.NetworkInterfaces, interfaceForm, "networkInterfaceId", &route.ENIID)
		if err != nil {
			return err
		}
		if n.VPCID != table.VPCID {
			return failure("InvalidParameterValue", "route table %s and interface %s belong to different networks", table.ID, n.ID)
		}
		if n.Owner != model.InterfaceOfUser {
			return notYours()
		}
	}
	return nil
}

// DeleteRoute implements ec2api.Service.
func (p *Provider) DeleteRoute(ctx context.Context, in *ec2api.DeleteRouteInput) (*ec2api.DeleteRouteOutput, error) {
	if in.DestinationIpv6CidrBlock != nil || in.DestinationPrefixListId != nil {
		return nil, failure("InvalidRoute.NotFound", "no route with destination-ipv6-cidr-block %s in route table %s",
			text(in.DestinationIpv6CidrBlock)+text(in.DestinationPrefixListId), text(in.RouteTableId))
	}
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		table, err := named(tx, records.RouteTables, routeTableForm, "routeTableId", in.RouteTableId)
		if err != nil {
			return err
		}
		cidr, err := parseRange("destinationCidrBlock", in.DestinationCidrBlock)
		if err != nil {
			return err
		}
		if vpc, found := records.VPCs.Get(tx, table.VPCID); found && vpc.CIDR == cidr.String() {
			return failure("InvalidParameterValue", "cannot remove local route %s in route table %s", cidr, table.ID)
		}
		return records.RouteTables.Edit(tx, table.ID, func(t *model.RouteTable) error {
			at := routeTo(t, cidr.String())
			if at < 0 {
				return failure("InvalidRoute.NotFound", "no route with destination-cidr-block %s in route table %s", cidr, t.ID)
			}
			t.Routes = slices.Delete(t.Routes, at, at+1)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.DeleteRouteOutput{}, nil
}
