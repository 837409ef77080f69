package ec2_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ec2api"
)

// shownTable is a table's routes and associations in few words.
func (w *world) shownTable(id string) string {
	w.Helper()
	table := must[*ec2api.DescribeRouteTablesOutput](w)(w.DescribeRouteTables(w.Context(), &ec2api.DescribeRouteTablesInput{RouteTableIds: []string{id}})).RouteTables[0]
	var words []string
	for _, r := range table.Routes[1:] { // the first is the local one
		for _, target := range []*string{r.GatewayId, r.NatGatewayId, r.NetworkInterfaceId} {
			if target != nil {
				words = append(words, fmt.Sprintf("%s by %s %s", *r.DestinationCidrBlock, plain(*target), r.State))
			}
		}
	}
	for _, a := range table.Associations {
		if *a.Main {
			words = append(words, "main")
		} else {
			words = append(words, "for "+*a.SubnetId)
		}
	}
	return strings.Join(words, ", ")
}

// A route is active while its target is there, else a black hole.
func TestRoutes(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	vpc := w.vpc("10.1.0.0/16")
	subnet, table, gateway := w.subnet(vpc, "10.1.0.0/24"), w.table(vpc), w.gateway(vpc)
	allocation, _ := w.eip()
	nat, eni := w.nat(subnet, allocation), w.eni(subnet)
	route := func(cidr string, r ec2api.CreateRouteInput) {
		r.RouteTableId, r.DestinationCidrBlock = &table, &cidr
		must[*ec2api.CreateRouteOutput](w)(w.CreateRoute(ctx, &r))
	}
	route("0.0.0.0/0", ec2api.CreateRouteInput{GatewayId: &gateway})
	route("192.168.7.9/16", ec2api.CreateRouteInput{NatGatewayId: &nat})
	route("192.0.2.0/24", ec2api.CreateRouteInput{NetworkInterfaceId: &eni})
	expect := func(want string) {
		t.Helper()
		if got := w.shownTable(table); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	expect("0.0.0.0/0 by igw-* active, 192.168.0.0/16 by nat-* active, 192.0.2.0/24 by eni-* blackhole")

	must[*ec2api.DeleteNatGatewayOutput](w)(w.DeleteNatGateway(ctx, &ec2api.DeleteNatGatewayInput{NatGatewayId: &nat}))
	must[*ec2api.DetachInternetGatewayOutput](w)(w.DetachInternetGateway(ctx, &ec2api.DetachInternetGatewayInput{InternetGatewayId: &gateway, VpcId: &vpc}))
	expect("0.0.0.0/0 by igw-* blackhole, 192.168.0.0/16 by nat-* blackhole, 192.0.2.0/24 by eni-* blackhole")
	must[*ec2api.AttachInternetGatewayOutput](w)(w.AttachInternetGateway(ctx, &ec2api.AttachInternetGatewayInput{InternetGatewayId: &gateway, VpcId: &vpc}))
	must[*ec2api.ReplaceRouteOutput](w)(w.ReplaceRoute(ctx, &ec2api.ReplaceRouteInput{RouteTableId: &table, DestinationCidrBlock: new("192.168.0.0/16"), GatewayId: &gateway}))
	must[*ec2api.DeleteRouteOutput](w)(w.DeleteRoute(ctx, &ec2api.DeleteRouteInput{RouteTableId: &table, DestinationCidrBlock: new("192.0.2.0/24")}))
	expect("0.0.0.0/0 by igw-* active, 192.168.0.0/16 by igw-* active")
}

// A subnet has one table of its own or the main one.
func TestAssociations(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	vpc := w.vpc("10.1.0.0/16")
	subnet, a, b := w.subnet(vpc, "10.1.0.0/24"), w.table(vpc), w.table(vpc)
	main, mainAssociation := w.mainTable(vpc)
	expect := func(step string, want map[string]string) {
		t.Helper()
		for table, shown := range want {
			if got := w.shownTable(table); got != shown {
				t.Errorf("%s: table has %q, want %q", step, got, shown)
			}
		}
	}
	associate := func(table string) string {
		return *must[*ec2api.AssociateRouteTableOutput](w)(w.AssociateRouteTable(ctx, &ec2api.AssociateRouteTableInput{RouteTableId: &table, SubnetId: &subnet})).AssociationId
	}
	replace := func(association, table string) string {
		return *must[*ec2api.ReplaceRouteTableAssociationOutput](w)(w.ReplaceRouteTableAssociation(ctx,
			&ec2api.ReplaceRouteTableAssociationInput{AssociationId: &association, RouteTableId: &table})).NewAssociationId
	}
	first := associate(a)
	if again := associate(a); again != first {
		t.Errorf("the same association twice: %s and %s", first, again)
	}
	expect("associated", map[string]string{main: "main", a: "for " + subnet, b: ""})
	second := replace(first, b)
	expect("replaced", map[string]string{main: "main", a: "", b: "for " + subnet})
	newMain := replace(mainAssociation, a)
	expect("main replaced", map[string]string{main: "", a: "main", b: "for " + subnet})
	must[*ec2api.DeleteRouteTableOutput](w)(w.DeleteRouteTable(ctx, &ec2api.DeleteRouteTableInput{RouteTableId: &main}))
	must[*ec2api.DisassociateRouteTableOutput](w)(w.DisassociateRouteTable(ctx, &ec2api.DisassociateRouteTableInput{AssociationId: &second}))
	expect("disassociated", map[string]string{a: "main", b: ""})
	if _, err := w.DisassociateRouteTable(ctx, &ec2api.DisassociateRouteTableInput{AssociationId: &newMain}); err == nil {
		t.Error("the main table was disassociated")
	}
	associate(b)
	must[*ec2api.DeleteSubnetOutput](w)(w.DeleteSubnet(ctx, &ec2api.DeleteSubnetInput{SubnetId: &subnet}))
	expect("subnet deleted", map[string]string{b: ""})
}

// The same token makes the same thing, once.
func TestClientTokens(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	vpc := w.vpc("10.1.0.0/16")
	subnet := w.subnet(vpc, "10.1.0.0/24")
	w.gateway(vpc)
	allocation, _ := w.eip()
	for name, create := range map[string]func() string{
		"route table": func() string {
			return *must[*ec2api.CreateRouteTableOutput](w)(w.CreateRouteTable(ctx, &ec2api.CreateRouteTableInput{VpcId: &vpc, ClientToken: new("t")})).RouteTable.RouteTableId
		},
		"interface": func() string {
			return *must[*ec2api.CreateNetworkInterfaceOutput](w)(w.CreateNetworkInterface(ctx, &ec2api.CreateNetworkInterfaceInput{SubnetId: &subnet, ClientToken: new("t")})).NetworkInterface.NetworkInterfaceId
		},
		"NAT gateway": func() string {
			return *must[*ec2api.CreateNatGatewayOutput](w)(w.CreateNatGateway(ctx, &ec2api.CreateNatGatewayInput{SubnetId: &subnet, AllocationId: &allocation, ClientToken: new("t")})).NatGateway.NatGatewayId
		},
	} {
		if first, second := create(), create(); first != second {
			t.Errorf("%s: %s and %s", name, first, second)
		}
	}
}

// An Elastic IP leads to one interface, and is kept when that goes.
func TestElasticIP(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	vpc := w.vpc("10.1.0.0/16")
	subnet := w.subnet(vpc, "10.1.0.0/24")
	a, b := w.eni(subnet), w.eni(subnet)
	w.gateway(vpc)
	allocation, address := w.eip()
	other, otherAddress := w.eip()
	associate := func(allocation, eni string, again bool) string {
		return *must[*ec2api.AssociateAddressOutput](w)(w.AssociateAddress(ctx, &ec2api.AssociateAddressInput{AllocationId: &allocation, NetworkInterfaceId: &eni, AllowReassociation: &again})).AssociationId
	}
	expect := func(step string, want ...string) {
		t.Helper()
		var got []string
		for _, n := range must[*ec2api.DescribeNetworkInterfacesOutput](w)(w.DescribeNetworkInterfaces(ctx, &ec2api.DescribeNetworkInterfacesInput{
			Filters: []ec2api.Filter{filter("vpc-id", vpc), filter("association.public-ip", "*")},
		})).NetworkInterfaces {
			got = append(got, *n.Association.PublicIp+" "+*n.NetworkInterfaceId)
		}
		for _, a := range must[*ec2api.DescribeAddressesOutput](w)(w.DescribeAddresses(ctx, &ec2api.DescribeAddressesInput{})).Addresses {
			if a.NetworkInterfaceId == nil {
				got = append(got, *a.PublicIp+" free")
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", step, got, want)
		}
	}
	first := associate(allocation, a, false)
	if again := associate(allocation, a, false); again != first {
		t.Errorf("the same association twice: %s and %s", first, again)
	}
	expect("associated", address+" "+a, otherAddress+" free")
	associate(allocation, b, true)
	expect("moved", address+" "+b, otherAddress+" free")
	associate(other, b, false)
	expect("in the place of another", otherAddress+" "+b, address+" free")
	must[*ec2api.DeleteNetworkInterfaceOutput](w)(w.DeleteNetworkInterface(ctx, &ec2api.DeleteNetworkInterfaceInput{NetworkInterfaceId: &b}))
	expect("interface deleted", address+" free", otherAddress+" free")
	last := associate(other, a, false)
	must[*ec2api.DisassociateAddressOutput](w)(w.DisassociateAddress(ctx, &ec2api.DisassociateAddressInput{AssociationId: &last}))
	must[*ec2api.ReleaseAddressOutput](w)(w.ReleaseAddress(ctx, &ec2api.ReleaseAddressInput{AllocationId: &other}))
	expect("released", address+" free")
	if out := must[*ec2api.DescribeAddressesAttributeOutput](w)(w.DescribeAddressesAttribute(ctx, &ec2api.DescribeAddressesAttributeInput{AllocationIds: []string{allocation}})); len(out.Addresses) != 0 {
		t.Errorf("names of addresses: %+v", out.Addresses)
	}
}

// A public NAT gateway has an interface with its Elastic IP, or has failed.
func TestNATGateway(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	vpc := w.vpc("10.1.0.0/16")
	subnet := w.subnet(vpc, "10.1.0.0/24")
	allocation, address := w.eip()
	nats := func() string {
		var words []string
		for _, g := range must[*ec2api.DescribeNatGatewaysOutput](w)(w.DescribeNatGateways(ctx, &ec2api.DescribeNatGatewaysInput{Filter: []ec2api.Filter{filter("vpc-id", vpc)}})).NatGateways {
			word := string(g.ConnectivityType) + " " + string(g.State)
			if g.FailureCode != nil {
				word += " " + *g.FailureCode
			}
			if ip := g.NatGatewayAddresses[0].PublicIp; ip != nil {
				word += " " + strings.Replace(*ip, address, "its address", 1)
			}
			words = append(words, word)
		}
		slices.Sort(words)
		return strings.Join(words, ", ")
	}
	w.nat(subnet, allocation)
	if got := nats(); got != "public failed Gateway.NotAttached" {
		t.Error(got)
	}
	w.gateway(vpc)
	nat := w.nat(subnet, allocation)
	w.nat(subnet, allocation)
	must[*ec2api.CreateNatGatewayOutput](w)(w.CreateNatGateway(ctx, &ec2api.CreateNatGatewayInput{SubnetId: &subnet, ConnectivityType: "private"}))
	if got := nats(); got != "private available, public available its address, public failed Gateway.NotAttached, public failed Resource.AlreadyAssociated" {
		t.Error(got)
	}
	enis := must[*ec2api.DescribeNetworkInterfacesOutput](w)(w.DescribeNetworkInterfaces(ctx, &ec2api.DescribeNetworkInterfacesInput{Filters: []ec2api.Filter{filter("association.allocation-id", allocation)}})).NetworkInterfaces
	if len(enis) != 1 || enis[0].InterfaceType != "nat_gateway" || *enis[0].Description != "Interface for NAT Gateway "+nat || !*enis[0].RequesterManaged || *enis[0].Association.IpOwnerId != scope.AccountID {
		t.Errorf("%+v", enis)
	}
	must[*ec2api.DeleteNatGatewayOutput](w)(w.DeleteNatGateway(ctx, &ec2api.DeleteNatGatewayInput{NatGatewayId: &nat}))
	must[*ec2api.ReleaseAddressOutput](w)(w.ReleaseAddress(ctx, &ec2api.ReleaseAddressInput{AllocationId: &allocation}))
	if got := nats(); !strings.Contains(got, "public deleted") {
		t.Error(got)
	}
}

// A load balancer's interface shows whose it is, and the load balancer's
// public address.
func TestDescribeNetworkInterfaces_LoadBalancer(t *testing.T) {
	w := newWorld(t)
	subnet := w.subnet(w.vpc("10.1.0.0/16"), "10.1.0.0/24")
	w.put(func(put putter) {
		put.loadBalancer(&model.LoadBalancer{ID: "app/web/0123456789abcdef", Type: "application", PublicAddress: "127.64.0.5"})
		put.eni(&model.NetworkInterface{ID: "eni-1", SubnetID: subnet, Address: "10.1.0.9", Owner: model.InterfaceOfLoadBalancer, OwnerID: "app/web/0123456789abcdef"})
	})
	out := must[*ec2api.DescribeNetworkInterfacesOutput](w)(w.DescribeNetworkInterfaces(t.Context(), &ec2api.DescribeNetworkInterfacesInput{Filters: []ec2api.Filter{filter("requester-id", "amazon-elb"), filter("description", "ELB app/web/*")}}))
	if len(out.NetworkInterfaces) != 1 {
		t.Fatalf("found %d", len(out.NetworkInterfaces))
	}
	if n := out.NetworkInterfaces[0]; n.Status != "in-use" || *n.Association.PublicIp != "127.64.0.5" || *n.Association.IpOwnerId != "amazon" {
		t.Errorf("%+v", n)
	}
	if got := said(func() error {
		_, err := w.DeleteNetworkInterface(t.Context(), &ec2api.DeleteNetworkInterfaceInput{NetworkInterfaceId: new("eni-1")})
		return err
	}()); got != "InvalidParameterValue: Network interface 'eni-1' is currently in use." {
		t.Error(got)
	}
	if _, found := records.NetworkInterfaces.Get(w.store.Snapshot(), "eni-1"); !found {
		t.Error("the interface of a load balancer was deleted")
	}
}
