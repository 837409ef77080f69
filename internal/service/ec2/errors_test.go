package ec2_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/ec2"
	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/smithy"
)

// seen are the texts that are AWS's beyond doubt: they are in its documentation
// or in many people's terminals.
var seen = []string{
	"unknown VPC", "malformed VPC", "dry run", "unknown subnets", "unknown group", "unknown interface", "page size",
	"VPC range", "no range", "subnet in use", "subnet range", "subnet overlaps", "subnet zone", "VPC in use",
	"group twice", "group named default", "default group", "group in use by an interface", "group in use by a rule", "rule twice", "unknown rule",
	"unknown route table", "route twice", "route in the VPC", "unknown route", "main association", "second association", "table in use",
	"gateway attached twice", "second gateway of a VPC", "gateway not attached", "gateway in use", "mapped addresses",
	"unknown NAT gateway", "unknown allocation", "unknown address", "interface in use", "interface of a service", "address in use",
	"no room", "subnet full", "reserved tag", "unknown tag resource",
}

// Every error text that a client can see is in testdata/errors.golden.
func TestErrors(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	vpc, other := w.vpc("10.1.0.0/16"), w.vpc("10.2.0.0/16")
	subnet, otherSubnet := w.subnet(vpc, "10.1.0.0/24"), w.subnet(other, "10.2.0.0/28")
	group, otherGroup, referred := w.group(vpc, "web"), w.group(other, "web"), w.group(vpc, "referred")
	table, otherTable, freeTable := w.table(vpc), w.table(other), w.table(vpc)
	mainTable, mainAssociation := w.mainTable(vpc)
	gateway, freeGateway := w.gateway(vpc), w.gateway("")
	eni := *must[*ec2api.CreateNetworkInterfaceOutput](w)(w.CreateNetworkInterface(ctx,
		&ec2api.CreateNetworkInterfaceInput{SubnetId: &subnet, Groups: []string{group}, PrivateIpAddress: new("10.1.0.50")})).NetworkInterface.NetworkInterfaceId
	allocation, address := w.eip()
	nat := w.nat(subnet, allocation)
	used, usedAddress := w.eip()
	association := *must[*ec2api.AssociateAddressOutput](w)(w.AssociateAddress(ctx, &ec2api.AssociateAddressInput{AllocationId: &used, NetworkInterfaceId: &eni})).AssociationId
	spare := w.eni(subnet)
	must[*ec2api.AssociateRouteTableOutput](w)(w.AssociateRouteTable(ctx, &ec2api.AssociateRouteTableInput{RouteTableId: &table, SubnetId: &subnet}))
	must[*ec2api.CreateRouteOutput](w)(w.CreateRoute(ctx, &ec2api.CreateRouteInput{RouteTableId: &table, DestinationCidrBlock: new("0.0.0.0/0"), GatewayId: &gateway}))
	ids, err := w.authorize(group, permission("tcp", 80, 80, "0.0.0.0/0"), permission("-1", none, none, referred), permission("icmp", 8, 0, "0.0.0.0/0"), permission("50", none, none, "0.0.0.0/0"))
	if err != nil {
		t.Fatal(said(err))
	}
	w.put(func(put putter) {
		put.eni(&model.NetworkInterface{ID: "eni-task", VPCID: vpc, SubnetID: subnet, TaskARN: "arn"})
		put.natGateway(&model.NATGateway{ID: "nat-old", State: model.NATDeleted, DeletedAt: new(time.Now().Add(-2 * time.Hour))})
	})

	var lines strings.Builder
	say := func(name string, err error) {
		mark := " [GK]"
		if slices.Contains(seen, name) {
			mark = ""
		}
		fmt.Fprintf(&lines, "%s: %s%s\n", name, plain(said(err)), mark)
		var api smithy.APIError
		if errors.As(err, &api) && strings.Contains(api.ErrorCode(), "DryRun") != (api.HTTPStatus() == 412) {
			t.Errorf("%s: HTTP %d", name, api.HTTPStatus())
		}
	}
	vpcs := func(in ec2api.DescribeVpcsInput) error { _, err := w.DescribeVpcs(ctx, &in); return err }
	say("unknown VPC", vpcs(ec2api.DescribeVpcsInput{VpcIds: []string{"vpc-1"}}))
	say("malformed VPC", vpcs(ec2api.DescribeVpcsInput{VpcIds: []string{"x"}}))
	say("filter", vpcs(ec2api.DescribeVpcsInput{Filters: []ec2api.Filter{filter("colour", "red")}}))
	say("filter without a name", vpcs(ec2api.DescribeVpcsInput{Filters: []ec2api.Filter{{}}}))
	say("page size", vpcs(ec2api.DescribeVpcsInput{MaxResults: new(int32(4))}))
	say("token", vpcs(ec2api.DescribeVpcsInput{NextToken: new("x")}))
	say("dry run", vpcs(ec2api.DescribeVpcsInput{DryRun: new(true)}))
	say("ids and a page size", vpcs(ec2api.DescribeVpcsInput{VpcIds: []string{"vpc-1"}, MaxResults: new(int32(5))}))
	_, err = w.DescribeSubnets(ctx, &ec2api.DescribeSubnetsInput{SubnetIds: []string{"subnet-x", "subnet-y"}})
	say("unknown subnets", err)
	_, err = w.DescribeSecurityGroups(ctx, &ec2api.DescribeSecurityGroupsInput{GroupIds: []string{"sg-x"}})
	say("unknown group", err)
	_, err = w.DescribeSecurityGroups(ctx, &ec2api.DescribeSecurityGroupsInput{GroupNames: []string{"web"}})
	say("unknown group name", err)
	_, err = w.DescribeNetworkInterfaces(ctx, &ec2api.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{"eni-x"}})
	say("unknown interface", err)
	_, err = w.DescribeAvailabilityZones(ctx, &ec2api.DescribeAvailabilityZonesInput{ZoneNames: []string{"mars-1a"}})
	say("unknown zone", err)
	_, err = w.DescribeNatGateways(ctx, &ec2api.DescribeNatGatewaysInput{NatGatewayIds: []string{"nat-old"}})
	say("unknown NAT gateway", err)
	_, err = w.DescribeNetworkAcls(ctx, &ec2api.DescribeNetworkAclsInput{NetworkAclIds: []string{"acl-x"}})
	say("unknown network ACL", err)
	_, err = w.DescribeAddresses(ctx, &ec2api.DescribeAddressesInput{PublicIps: []string{"192.0.2.1"}})
	say("unknown address", err)

	createVPC := func(in ec2api.CreateVpcInput) error { _, err := w.CreateVpc(ctx, &in); return err }
	say("no range", createVPC(ec2api.CreateVpcInput{}))
	say("not a range", createVPC(ec2api.CreateVpcInput{CidrBlock: new("10.0.0.0")}))
	say("VPC range", createVPC(ec2api.CreateVpcInput{CidrBlock: new("10.0.0.0/8")}))
	say("loopback range", createVPC(ec2api.CreateVpcInput{CidrBlock: new("127.0.0.0/16")}))
	say("IPv6 VPC", createVPC(ec2api.CreateVpcInput{CidrBlock: new("10.0.0.0/16"), AmazonProvidedIpv6CidrBlock: new(true)}))
	say("dedicated VPC", createVPC(ec2api.CreateVpcInput{CidrBlock: new("10.0.0.0/16"), InstanceTenancy: "dedicated"}))
	tag := func(kind, key string) []ec2api.TagSpecification {
		return []ec2api.TagSpecification{{ResourceType: ec2api.ResourceType(kind), Tags: []ec2api.Tag{{Key: &key}}}}
	}
	say("tags of another type", createVPC(ec2api.CreateVpcInput{CidrBlock: new("10.0.0.0/16"), TagSpecifications: tag("subnet", "a")}))
	say("reserved tag", createVPC(ec2api.CreateVpcInput{CidrBlock: new("10.0.0.0/16"), TagSpecifications: tag("vpc", "aws:x")}))
	say("tag without a key", createVPC(ec2api.CreateVpcInput{CidrBlock: new("10.0.0.0/16"), TagSpecifications: tag("vpc", "")}))
	say("long tag key", createVPC(ec2api.CreateVpcInput{CidrBlock: new("10.0.0.0/16"), TagSpecifications: tag("vpc", strings.Repeat("k", 129))}))
	claimed := ec2.New(ec2.Config{Store: w.store, Scope: scope, ClaimRange: func(netip.Prefix) error { return errors.New("the host routes to it") }})
	_, err = claimed.CreateVpc(ctx, &ec2api.CreateVpcInput{CidrBlock: new("10.9.0.0/16")})
	say("range of the host", err)
	_, err = w.DeleteVpc(ctx, &ec2api.DeleteVpcInput{VpcId: &vpc})
	say("VPC in use", err)
	_, err = w.DeleteVpc(ctx, &ec2api.DeleteVpcInput{VpcId: new("")})
	say("no VPC", err)
	modifyVPC := func(in ec2api.ModifyVpcAttributeInput) error {
		in.VpcId = &vpc
		_, err := w.ModifyVpcAttribute(ctx, &in)
		return err
	}
	on := &ec2api.AttributeBooleanValue{Value: new(true)}
	say("no attribute", modifyVPC(ec2api.ModifyVpcAttributeInput{}))
	say("two attributes", modifyVPC(ec2api.ModifyVpcAttributeInput{EnableDnsSupport: on, EnableDnsHostnames: on}))
	say("address metrics", modifyVPC(ec2api.ModifyVpcAttributeInput{EnableNetworkAddressUsageMetrics: on}))

	createSubnet := func(in ec2api.CreateSubnetInput) error {
		if in.VpcId == nil {
			in.VpcId = &vpc
		}
		_, err := w.CreateSubnet(ctx, &in)
		return err
	}
	say("subnet range", createSubnet(ec2api.CreateSubnetInput{CidrBlock: new("10.2.1.0/24")}))
	say("subnet too small", createSubnet(ec2api.CreateSubnetInput{CidrBlock: new("10.1.9.0/29")}))
	say("subnet overlaps", createSubnet(ec2api.CreateSubnetInput{CidrBlock: new("10.1.0.128/25")}))
	say("subnet zone", createSubnet(ec2api.CreateSubnetInput{CidrBlock: new("10.1.1.0/24"), AvailabilityZone: new("us-east-1z")}))
	say("subnet zone id", createSubnet(ec2api.CreateSubnetInput{CidrBlock: new("10.1.1.0/24"), AvailabilityZoneId: new("use1-az9")}))
	say("subnet of no VPC", createSubnet(ec2api.CreateSubnetInput{VpcId: new("vpc-x"), CidrBlock: new("10.1.1.0/24")}))
	say("IPv6 subnet", createSubnet(ec2api.CreateSubnetInput{CidrBlock: new("10.1.1.0/24"), Ipv6CidrBlock: new("fd00::/64")}))
	_, err = w.DeleteSubnet(ctx, &ec2api.DeleteSubnetInput{SubnetId: &subnet})
	say("subnet in use", err)
	_, err = w.ModifySubnetAttribute(ctx, &ec2api.ModifySubnetAttributeInput{SubnetId: &subnet, AssignIpv6AddressOnCreation: on})
	say("IPv6 addresses", err)

	createGroup := func(name, description string) error {
		_, err := w.CreateSecurityGroup(ctx, &ec2api.CreateSecurityGroupInput{VpcId: &vpc, GroupName: &name, Description: &description})
		return err
	}
	say("group twice", createGroup("web", "x"))
	say("group named default", createGroup("default", "x"))
	say("group named sg-", createGroup("sg-1", "x"))
	say("group without a name", createGroup("", "x"))
	say("group without a description", createGroup("x", ""))
	say("group name", createGroup("a|b", "x"))
	say("group description", createGroup("x", "ä"))
	deleteGroup := func(in ec2api.DeleteSecurityGroupInput) error { _, err := w.DeleteSecurityGroup(ctx, &in); return err }
	say("default group", deleteGroup(ec2api.DeleteSecurityGroupInput{GroupName: new("default")}))
	say("group in use by an interface", deleteGroup(ec2api.DeleteSecurityGroupInput{GroupId: &group}))
	say("group in use by a rule", deleteGroup(ec2api.DeleteSecurityGroupInput{GroupId: &referred}))
	say("no group", deleteGroup(ec2api.DeleteSecurityGroupInput{}))
	authorize := func(p ...ec2api.IpPermission) error { _, err := w.authorize(group, p...); return err }
	say("rule twice", authorize(permission("tcp", 80, 80, "0.0.0.0/0")))
	say("rule for all twice", authorize(permission("-1", none, none, referred)))
	say("ICMP rule twice", authorize(permission("icmp", 8, 0, "0.0.0.0/0")))
	say("rule of a protocol twice", authorize(permission("50", none, none, "0.0.0.0/0")))
	say("no permissions", authorize())
	say("no peer", authorize(ec2api.IpPermission{IpProtocol: new("-1")}))
	say("no protocol", authorize(ec2api.IpPermission{}))
	say("protocol", authorize(permission("carrier-pigeon", 1, 1, "0.0.0.0/0")))
	say("no ports", authorize(permission("tcp", none, none, "0.0.0.0/0")))
	say("ports upside down", authorize(permission("tcp", 2, 1, "0.0.0.0/0")))
	say("port", authorize(permission("tcp", 1, 65536, "0.0.0.0/0")))
	say("ICMP type", authorize(permission("icmp", 256, 0, "0.0.0.0/0")))
	say("ICMP code", authorize(permission("icmp", -1, 0, "0.0.0.0/0")))
	say("rule range", authorize(permission("tcp", 1, 1, "0.0.0.0/33")))
	say("unknown peer", authorize(permission("tcp", 1, 1, "sg-unknown")))
	say("peer of another VPC", authorize(permission("tcp", 1, 1, otherGroup)))
	say("peer of another account", authorize(ec2api.IpPermission{IpProtocol: new("-1"), UserIdGroupPairs: []ec2api.UserIdGroupPair{{UserId: new("999999999999"), GroupId: &group}}}))
	say("prefix list", authorize(ec2api.IpPermission{IpProtocol: new("-1"), PrefixListIds: []ec2api.PrefixListId{{PrefixListId: new("pl-1")}}}))
	var many []ec2api.IpPermission
	for port := range int32(60) {
		many = append(many, permission("udp", port, port, "0.0.0.0/0"))
	}
	say("too many rules", authorize(many...))
	_, err = w.RevokeSecurityGroupIngress(ctx, &ec2api.RevokeSecurityGroupIngressInput{GroupId: &group, IpPermissions: many[:1]})
	say("unknown rule", err)
	_, err = w.RevokeSecurityGroupIngress(ctx, &ec2api.RevokeSecurityGroupIngressInput{GroupId: &group, SecurityGroupRuleIds: []string{"sgr-x"}})
	say("unknown rule id", err)
	_, err = w.ModifySecurityGroupRules(ctx, &ec2api.ModifySecurityGroupRulesInput{GroupId: &group, SecurityGroupRules: []ec2api.SecurityGroupRuleUpdate{{
		SecurityGroupRuleId: &ids[0], SecurityGroupRule: &ec2api.SecurityGroupRuleRequest{IpProtocol: new("-1"), CidrIpv4: new("10.0.0.0/8"), ReferencedGroupId: &referred},
	}}})
	say("rule with two peers", err)

	createRoute := func(in ec2api.CreateRouteInput) error {
		if in.DestinationCidrBlock == nil {
			in.DestinationCidrBlock = new("192.0.2.0/24")
		}
		in.RouteTableId = &table
		_, err := w.CreateRoute(ctx, &in)
		return err
	}
	say("route twice", createRoute(ec2api.CreateRouteInput{DestinationCidrBlock: new("0.0.0.0/0"), GatewayId: &gateway}))
	say("route in the VPC", createRoute(ec2api.CreateRouteInput{DestinationCidrBlock: new("10.1.7.0/24"), GatewayId: &gateway}))
	say("route to nothing", createRoute(ec2api.CreateRouteInput{}))
	say("route to two targets", createRoute(ec2api.CreateRouteInput{GatewayId: &gateway, NatGatewayId: &nat}))
	say("route to an unknown gateway", createRoute(ec2api.CreateRouteInput{GatewayId: new("igw-x")}))
	say("route to a detached gateway", createRoute(ec2api.CreateRouteInput{GatewayId: &freeGateway}))
	say("route to an unknown NAT gateway", createRoute(ec2api.CreateRouteInput{NatGatewayId: new("nat-x")}))
	say("route to a task", createRoute(ec2api.CreateRouteInput{NetworkInterfaceId: new("eni-task")}))
	say("route to a peer", createRoute(ec2api.CreateRouteInput{VpcPeeringConnectionId: new("pcx-1")}))
	say("IPv6 route", createRoute(ec2api.CreateRouteInput{DestinationIpv6CidrBlock: new("::/0")}))
	_, err = w.CreateRoute(ctx, &ec2api.CreateRouteInput{RouteTableId: &otherTable, DestinationCidrBlock: new("0.0.0.0/0"), NatGatewayId: &nat})
	say("route to another VPC", err)
	_, err = w.ReplaceRoute(ctx, &ec2api.ReplaceRouteInput{RouteTableId: &table, DestinationCidrBlock: new("192.0.2.0/24"), GatewayId: &gateway})
	say("replacing no route", err)
	deleteRoute := func(in ec2api.DeleteRouteInput) error {
		in.RouteTableId = &table
		_, err := w.DeleteRoute(ctx, &in)
		return err
	}
	say("unknown route", deleteRoute(ec2api.DeleteRouteInput{DestinationCidrBlock: new("192.0.2.0/24")}))
	say("unknown IPv6 route", deleteRoute(ec2api.DeleteRouteInput{DestinationIpv6CidrBlock: new("::/0")}))
	say("local route", deleteRoute(ec2api.DeleteRouteInput{DestinationCidrBlock: new("10.1.0.0/16")}))
	deleteTable := func(id string) error {
		_, err := w.DeleteRouteTable(ctx, &ec2api.DeleteRouteTableInput{RouteTableId: &id})
		return err
	}
	say("table in use", deleteTable(table))
	say("main table", deleteTable(mainTable))
	say("unknown route table", deleteTable("rtb-x"))
	associate := func(table, subnet string) error {
		_, err := w.AssociateRouteTable(ctx, &ec2api.AssociateRouteTableInput{RouteTableId: &table, SubnetId: &subnet})
		return err
	}
	say("second association", associate(freeTable, subnet))
	say("association across VPCs", associate(table, otherSubnet))
	_, err = w.DisassociateRouteTable(ctx, &ec2api.DisassociateRouteTableInput{AssociationId: &mainAssociation})
	say("main association", err)
	_, err = w.DisassociateRouteTable(ctx, &ec2api.DisassociateRouteTableInput{AssociationId: new("rtbassoc-x")})
	say("unknown association", err)
	_, err = w.ReplaceRouteTableAssociation(ctx, &ec2api.ReplaceRouteTableAssociationInput{AssociationId: &mainAssociation, RouteTableId: &otherTable})
	say("main table of another VPC", err)

	attach := func(gateway, vpc string) error {
		_, err := w.AttachInternetGateway(ctx, &ec2api.AttachInternetGatewayInput{InternetGatewayId: &gateway, VpcId: &vpc})
		return err
	}
	say("gateway attached twice", attach(gateway, other))
	say("second gateway of a VPC", attach(freeGateway, vpc))
	detach := func(vpc string) error {
		_, err := w.DetachInternetGateway(ctx, &ec2api.DetachInternetGatewayInput{InternetGatewayId: &gateway, VpcId: &vpc})
		return err
	}
	say("gateway not attached", detach(other))
	say("mapped addresses", detach(vpc))
	_, err = w.DeleteInternetGateway(ctx, &ec2api.DeleteInternetGatewayInput{InternetGatewayId: &gateway})
	say("gateway in use", err)

	createNAT := func(in ec2api.CreateNatGatewayInput) error { _, err := w.CreateNatGateway(ctx, &in); return err }
	say("NAT gateway without an address", createNAT(ec2api.CreateNatGatewayInput{SubnetId: &subnet}))
	say("private NAT gateway with an address", createNAT(ec2api.CreateNatGatewayInput{SubnetId: &subnet, ConnectivityType: "private", AllocationId: &allocation}))
	say("NAT gateway nowhere", createNAT(ec2api.CreateNatGatewayInput{AllocationId: &allocation}))
	say("NAT gateway with several addresses", createNAT(ec2api.CreateNatGatewayInput{SubnetId: &subnet, SecondaryAllocationIds: []string{allocation}, AllocationId: &allocation}))
	say("unknown allocation", createNAT(ec2api.CreateNatGatewayInput{SubnetId: &subnet, AllocationId: new("eipalloc-x")}))

	createInterface := func(in ec2api.CreateNetworkInterfaceInput) error {
		if in.SubnetId == nil {
			in.SubnetId = &subnet
		}
		_, err := w.CreateNetworkInterface(ctx, &in)
		return err
	}
	say("address in use", createInterface(ec2api.CreateNetworkInterfaceInput{PrivateIpAddress: new("10.1.0.50")}))
	say("address elsewhere", createInterface(ec2api.CreateNetworkInterfaceInput{PrivateIpAddress: new("10.9.0.9")}))
	say("AWS's address", createInterface(ec2api.CreateNetworkInterfaceInput{PrivateIpAddress: new("10.1.0.1")}))
	say("not an address", createInterface(ec2api.CreateNetworkInterfaceInput{PrivateIpAddress: new("me")}))
	say("several addresses", createInterface(ec2api.CreateNetworkInterfaceInput{SecondaryPrivateIpAddressCount: new(int32(1))}))
	say("group of another VPC", createInterface(ec2api.CreateNetworkInterfaceInput{Groups: []string{otherGroup}}))
	say("too many groups", createInterface(ec2api.CreateNetworkInterfaceInput{Groups: []string{"1", "2", "3", "4", "5", "6"}}))
	for range 11 {
		w.eni(otherSubnet)
	}
	say("subnet full", createInterface(ec2api.CreateNetworkInterfaceInput{SubnetId: &otherSubnet}))
	_, err = w.DeleteNetworkInterface(ctx, &ec2api.DeleteNetworkInterfaceInput{NetworkInterfaceId: new("eni-task")})
	say("interface in use", err)
	modifyInterface := func(in ec2api.ModifyNetworkInterfaceAttributeInput) error {
		in.NetworkInterfaceId = new("eni-task")
		_, err := w.ModifyNetworkInterfaceAttribute(ctx, &in)
		return err
	}
	say("interface of a service", modifyInterface(ec2api.ModifyNetworkInterfaceAttributeInput{Groups: []string{group}}))
	say("attachment of an interface", modifyInterface(ec2api.ModifyNetworkInterfaceAttributeInput{Attachment: &ec2api.NetworkInterfaceAttachmentChanges{}}))

	release := func(in ec2api.ReleaseAddressInput) error { _, err := w.ReleaseAddress(ctx, &in); return err }
	say("public address in use", release(ec2api.ReleaseAddressInput{AllocationId: &allocation}))
	say("no public address", release(ec2api.ReleaseAddressInput{}))
	say("not an Elastic IP", release(ec2api.ReleaseAddressInput{PublicIp: new("192.0.2.1")}))
	associateAddress := func(in ec2api.AssociateAddressInput) error { _, err := w.AssociateAddress(ctx, &in); return err }
	say("address of a task", associateAddress(ec2api.AssociateAddressInput{AllocationId: &used, NetworkInterfaceId: new("eni-task")}))
	say("address of an instance", associateAddress(ec2api.AssociateAddressInput{AllocationId: &used, InstanceId: new("i-1")}))
	say("address associated already", associateAddress(ec2api.AssociateAddressInput{PublicIp: &usedAddress, NetworkInterfaceId: &spare}))
	say("address of a NAT gateway", associateAddress(ec2api.AssociateAddressInput{PublicIp: &address, NetworkInterfaceId: &spare, AllowReassociation: new(true)}))
	say("address without a gateway", associateAddress(ec2api.AssociateAddressInput{AllocationId: &used, NetworkInterfaceId: new(w.otherENI(other))}))
	say("another private address", associateAddress(ec2api.AssociateAddressInput{AllocationId: &used, NetworkInterfaceId: &eni, PrivateIpAddress: new("10.1.0.200")}))
	disassociate := func(in ec2api.DisassociateAddressInput) error { _, err := w.DisassociateAddress(ctx, &in); return err }
	say("address of a NAT gateway taken away", disassociate(ec2api.DisassociateAddressInput{PublicIp: &address}))
	say("unknown address association", disassociate(ec2api.DisassociateAddressInput{AssociationId: new("eipassoc-x")}))
	if err := disassociate(ec2api.DisassociateAddressInput{AssociationId: &association}); err != nil {
		t.Fatal(said(err))
	}
	say("address associated no more", disassociate(ec2api.DisassociateAddressInput{PublicIp: &usedAddress}))
	allocate := func(p *ec2.Provider, in ec2api.AllocateAddressInput) error {
		_, err := p.AllocateAddress(ctx, &in)
		return err
	}
	say("address taken", allocate(w.Provider, ec2api.AllocateAddressInput{Address: &address}))
	say("address outside VPCs", allocate(w.Provider, ec2api.AllocateAddressInput{Domain: "standard"}))
	say("no pool", allocate(claimed, ec2api.AllocateAddressInput{}))
	for range 4 {
		w.eip()
	}
	say("no room", allocate(w.Provider, ec2api.AllocateAddressInput{}))

	createTags := func(id string, tags ...ec2api.Tag) error {
		_, err := w.CreateTags(ctx, &ec2api.CreateTagsInput{Resources: []string{vpc, id}, Tags: tags})
		return err
	}
	a := ec2api.Tag{Key: new("a")}
	say("tag of an unknown VPC", createTags("vpc-x", a))
	say("unknown tag resource", createTags("car-1", a))
	say("tag of a network ACL", createTags("acl-1", a))
	say("tag of an unknown rule", createTags("sgr-1", a))
	var tags []ec2api.Tag
	for i := range 51 {
		tags = append(tags, ec2api.Tag{Key: new(fmt.Sprint(i))})
	}
	say("too many tags", createTags(subnet, tags...))
	golden(t, "testdata/errors.golden", lines.String())
}
