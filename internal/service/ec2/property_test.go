package ec2_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/ec2"
	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/smithy"
)

// Whatever clients do at the same time, what is there fits together, and what
// is refused is refused with an error of EC2's.
func TestChanges_KeepTheNetworkWhole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s, _ := bootstrapped(t)
		p := ec2.New(ec2.Config{Store: s, Scope: scope, PublicAddresses: netip.MustParsePrefix("127.64.0.0/29")})
		clients := rapid.SliceOfN(rapid.SliceOfN(rapid.Custom(drawCall), 1, 40), 1, 4).Draw(rt, "clients")
		results := make([]error, len(clients))
		var wg sync.WaitGroup
		for i, calls := range clients {
			wg.Go(func() {
				for _, c := range calls {
					var api smithy.APIError
					if err := c.do(t.Context(), p, s.Snapshot()); err != nil && !errors.As(err, &api) {
						results[i] = fmt.Errorf("%+v: %w", c, err)
						return
					}
				}
			})
		}
		wg.Wait()
		if err := errors.Join(results...); err != nil {
			rt.Fatal(err)
		}
		whole(rt, s.Snapshot())
	})
}

// call is a call that is to be made: which operation, and which of the resources
// that there are when it is made.
type call struct {
	operation string
	a, b      int
}

func drawCall(t *rapid.T) call {
	return call{
		operation: rapid.SampledFrom(operations).Draw(t, "operation"),
		a:         rapid.IntRange(0, 4).Draw(t, "a"),
		b:         rapid.IntRange(0, 4).Draw(t, "b"),
	}
}

var operations = []string{
	"CreateVpc", "DeleteVpc", "CreateSubnet", "CreateSubnet", "DeleteSubnet", "CreateGroup", "CreateGroup", "DeleteGroup", "Authorize", "Authorize", "Revoke",
	"CreateGateway", "DeleteGateway", "Attach", "Attach", "Detach", "CreateTable", "CreateTable", "DeleteTable", "Associate", "Associate", "Disassociate", "Replace",
	"CreateRoute", "CreateInterface", "CreateInterface", "DeleteInterface", "ModifyInterface", "Allocate", "Release", "AssociateAddress", "AssociateAddress",
	"DisassociateAddress", "CreateNat", "CreateNat", "DeleteNat", "Tag",
}

// nth is the id of the i-th record, around.
func nth[R any](r store.Reader, table *store.Table[R], i int, id func(*R) string) *string {
	all := slices.Collect(table.All(r))
	if len(all) == 0 {
		return new("none")
	}
	return new(id(all[i%len(all)]))
}

// do makes the call with resources of a state that may be history already.
func (c call) do(ctx context.Context, p *ec2.Provider, r store.Reader) (err error) {
	vpc := nth(r, records.VPCs, c.a, (*model.VPC).Key)
	subnet := nth(r, records.Subnets, c.a, (*model.Subnet).Key)
	group, peer := nth(r, records.SecurityGroups, c.a, (*model.SecurityGroup).Key), nth(r, records.SecurityGroups, c.b, (*model.SecurityGroup).Key)
	gateway := nth(r, records.InternetGateways, c.b, (*model.InternetGateway).Key)
	table := nth(r, records.RouteTables, c.b, (*model.RouteTable).Key)
	eni := nth(r, records.NetworkInterfaces, c.a, (*model.NetworkInterface).Key)
	address := nth(r, records.PublicAddresses, c.b, func(a *model.PublicAddress) string { return a.AllocationID })
	association := nth(r, records.RouteTables, c.a, func(t *model.RouteTable) string {
		if len(t.Associations) == 0 {
			return "none"
		}
		return t.Associations[c.b%len(t.Associations)].ID
	})
	peers := []ec2api.IpPermission{{IpProtocol: new("-1"), UserIdGroupPairs: []ec2api.UserIdGroupPair{{GroupId: peer}}}}
	switch c.operation {
	case "CreateVpc":
		_, err = p.CreateVpc(ctx, &ec2api.CreateVpcInput{CidrBlock: new(fmt.Sprintf("10.%d.0.0/24", c.b))})
	case "DeleteVpc":
		_, err = p.DeleteVpc(ctx, &ec2api.DeleteVpcInput{VpcId: vpc})
	case "CreateSubnet":
		_, err = p.CreateSubnet(ctx, &ec2api.CreateSubnetInput{VpcId: vpc, CidrBlock: new(fmt.Sprintf("10.%d.0.%d/%d", c.a%3, c.b*16, 26+c.a%3))})
	case "DeleteSubnet":
		_, err = p.DeleteSubnet(ctx, &ec2api.DeleteSubnetInput{SubnetId: subnet})
	case "CreateGroup":
		_, err = p.CreateSecurityGroup(ctx, &ec2api.CreateSecurityGroupInput{VpcId: vpc, GroupName: new(fmt.Sprint(c.b)), Description: new("x")})
	case "DeleteGroup":
		_, err = p.DeleteSecurityGroup(ctx, &ec2api.DeleteSecurityGroupInput{GroupId: group})
	case "Authorize":
		_, err = p.AuthorizeSecurityGroupIngress(ctx, &ec2api.AuthorizeSecurityGroupIngressInput{GroupId: group, IpPermissions: peers})
	case "Revoke":
		_, err = p.RevokeSecurityGroupIngress(ctx, &ec2api.RevokeSecurityGroupIngressInput{GroupId: group, IpPermissions: peers})
	case "CreateGateway":
		_, err = p.CreateInternetGateway(ctx, &ec2api.CreateInternetGatewayInput{})
	case "DeleteGateway":
		_, err = p.DeleteInternetGateway(ctx, &ec2api.DeleteInternetGatewayInput{InternetGatewayId: gateway})
	case "Attach":
		_, err = p.AttachInternetGateway(ctx, &ec2api.AttachInternetGatewayInput{InternetGatewayId: gateway, VpcId: vpc})
	case "Detach":
		_, err = p.DetachInternetGateway(ctx, &ec2api.DetachInternetGatewayInput{InternetGatewayId: gateway, VpcId: vpc})
	case "CreateTable":
		_, err = p.CreateRouteTable(ctx, &ec2api.CreateRouteTableInput{VpcId: vpc, ClientToken: new(fmt.Sprint(c.b))})
	case "DeleteTable":
		_, err = p.DeleteRouteTable(ctx, &ec2api.DeleteRouteTableInput{RouteTableId: table})
	case "Associate":
		_, err = p.AssociateRouteTable(ctx, &ec2api.AssociateRouteTableInput{RouteTableId: table, SubnetId: subnet})
	case "Disassociate":
		_, err = p.DisassociateRouteTable(ctx, &ec2api.DisassociateRouteTableInput{AssociationId: association})
	case "Replace":
		_, err = p.ReplaceRouteTableAssociation(ctx, &ec2api.ReplaceRouteTableAssociationInput{AssociationId: association, RouteTableId: table})
	case "CreateRoute":
		_, err = p.CreateRoute(ctx, &ec2api.CreateRouteInput{RouteTableId: table, DestinationCidrBlock: new("0.0.0.0/0"), GatewayId: gateway})
	case "CreateInterface":
		_, err = p.CreateNetworkInterface(ctx, &ec2api.CreateNetworkInterfaceInput{SubnetId: subnet, Groups: []string{*peer}})
	case "DeleteInterface":
		_, err = p.DeleteNetworkInterface(ctx, &ec2api.DeleteNetworkInterfaceInput{NetworkInterfaceId: eni})
	case "ModifyInterface":
		_, err = p.ModifyNetworkInterfaceAttribute(ctx, &ec2api.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: eni, Groups: []string{*peer}})
	case "Allocate":
		_, err = p.AllocateAddress(ctx, &ec2api.AllocateAddressInput{})
	case "Release":
		_, err = p.ReleaseAddress(ctx, &ec2api.ReleaseAddressInput{AllocationId: address})
	case "AssociateAddress":
		_, err = p.AssociateAddress(ctx, &ec2api.AssociateAddressInput{AllocationId: address, NetworkInterfaceId: eni, AllowReassociation: new(c.a%2 == 0)})
	case "DisassociateAddress":
		id := nth(r, records.PublicAddresses, c.b, (*model.PublicAddress).Key)
		_, err = p.DisassociateAddress(ctx, &ec2api.DisassociateAddressInput{PublicIp: id})
	case "CreateNat":
		_, err = p.CreateNatGateway(ctx, &ec2api.CreateNatGatewayInput{SubnetId: subnet, AllocationId: address})
	case "DeleteNat":
		_, err = p.DeleteNatGateway(ctx, &ec2api.DeleteNatGatewayInput{NatGatewayId: nth(r, records.NATGateways, c.a, (*model.NATGateway).Key)})
	case "Tag":
		_, err = p.CreateTags(ctx, &ec2api.CreateTagsInput{Resources: []string{*vpc, *group}, Tags: []ec2api.Tag{{Key: new("k"), Value: new(fmt.Sprint(c.b))}}})
	default:
		err = fmt.Errorf("no such operation: %s", c.operation)
	}
	return err
}

// whole checks what a network always is.
func whole(t *rapid.T, r store.Reader) {
	for v := range records.VPCs.All(r) {
		checkVPC(t, r, v)
	}
	for s := range records.Subnets.All(r) {
		if !records.VPCs.Has(r, s.VPCID) {
			t.Errorf("%s is in no VPC", s.ID)
		}
	}
	for g := range records.SecurityGroups.All(r) {
		if !records.VPCs.Has(r, g.VPCID) {
			t.Errorf("%s is in no VPC", g.ID)
		}
		for _, rule := range slices.Concat(g.Ingress, g.Egress) {
			if peer, found := records.SecurityGroups.Get(r, rule.GroupID); rule.GroupID != "" && (!found || peer.VPCID != g.VPCID) {
				t.Errorf("a rule of %s refers to %s, which is not in its VPC", g.ID, rule.GroupID)
			}
		}
	}
	for table := range records.RouteTables.All(r) {
		if !records.VPCs.Has(r, table.VPCID) {
			t.Errorf("%s is in no VPC", table.ID)
		}
	}
	for g := range records.InternetGateways.All(r) {
		if g.VPCID != "" && !records.VPCs.Has(r, g.VPCID) {
			t.Errorf("%s is attached to %s, which is not", g.ID, g.VPCID)
		}
	}
	checkInterfaces(t, r)
	checkAddresses(t, r)
}

func checkVPC(t *rapid.T, r store.Reader, v *model.VPC) {
	vpcRange := netip.MustParsePrefix(v.CIDR)
	var ranges []netip.Prefix
	for s := range records.Subnets.By(r, records.SubnetsByVPC, v.ID) {
		cidr := netip.MustParsePrefix(s.CIDR)
		if !vpcRange.Contains(cidr.Addr()) || cidr.Bits() < vpcRange.Bits() || slices.ContainsFunc(ranges, cidr.Overlaps) {
			t.Errorf("%s does not fit into %s beside %v", cidr, vpcRange, ranges)
		}
		ranges = append(ranges, cidr)
	}
	names := map[string]int{}
	for g := range records.SecurityGroups.By(r, records.SecurityGroupsByVPC, v.ID) {
		names[g.Name]++
	}
	for name, n := range names {
		if n != 1 {
			t.Errorf("%s has %d groups named %s", v.ID, n, name)
		}
	}
	if names["default"] != 1 {
		t.Errorf("%s has no default group", v.ID)
	}
	main, tables := 0, map[string]int{}
	for table := range records.RouteTables.By(r, records.RouteTablesByVPC, v.ID) {
		for _, a := range table.Associations {
			if a.Main {
				main++
				continue
			}
			tables[a.SubnetID]++
			if s, found := records.Subnets.Get(r, a.SubnetID); !found || s.VPCID != v.ID || tables[a.SubnetID] > 1 {
				t.Errorf("%s is wrongly associated with %s", table.ID, a.SubnetID)
			}
		}
	}
	if main != 1 {
		t.Errorf("%s has %d main tables", v.ID, main)
	}
	if gateways := slices.Collect(records.InternetGateways.By(r, records.InternetGatewaysByVPC, v.ID)); len(gateways) > 1 {
		t.Errorf("%s has %d internet gateways", v.ID, len(gateways))
	}
}

func checkInterfaces(t *rapid.T, r store.Reader) {
	for n := range records.NetworkInterfaces.All(r) {
		s, found := records.Subnets.Get(r, n.SubnetID)
		if !found || s.VPCID != n.VPCID || !netip.MustParsePrefix(s.CIDR).Contains(netip.MustParseAddr(n.Address)) {
			t.Errorf("%s with %s is not in its subnet", n.ID, n.Address)
		}
		for _, id := range n.GroupIDs {
			if g, found := records.SecurityGroups.Get(r, id); !found || g.VPCID != n.VPCID {
				t.Errorf("%s is in %s, which is not in its VPC", n.ID, id)
			}
		}
		if claim, found := records.AddressClaims.Get(r, model.AddressClaimKey(n.SubnetID, n.Address)); !found || claim.ENIID != n.ID {
			t.Errorf("%s has not claimed %s", n.ID, n.Address)
		}
	}
	if claims, enis := records.AddressClaims.Len(r), records.NetworkInterfaces.Len(r); claims != enis {
		t.Errorf("%d claims of %d interfaces", claims, enis)
	}
}

func checkAddresses(t *rapid.T, r store.Reader) {
	for a := range records.PublicAddresses.All(r) {
		if n, found := records.NetworkInterfaces.Get(r, a.ENIID); found && !records.InternetGateways.HasBy(r, records.InternetGatewaysByVPC, n.VPCID) {
			t.Errorf("%s leads into %s, which has no internet gateway", a.Address, n.VPCID)
		}
		if n, found := records.NetworkInterfaces.Get(r, a.ENIID); a.ENIID != "" && (!found || n.PublicAddress != a.Address) || (a.ENIID == "") != (a.AssociationID == "") {
			t.Errorf("%+v leads to nobody", a)
		}
	}
	for n := range records.NetworkInterfaces.All(r) {
		if a, found := records.PublicAddresses.Get(r, n.PublicAddress); n.PublicAddress != "" && (!found || a.ENIID != n.ID) {
			t.Errorf("%s does not lead to %s", n.PublicAddress, n.ID)
		}
	}
	for g := range records.NATGateways.All(r) {
		if records.NetworkInterfaces.Has(r, g.ENIID) != (g.State == model.NATAvailable) {
			t.Errorf("%s is %s, with interface %s", g.ID, g.State, g.ENIID)
		}
	}
}
