package ec2_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/ec2"
	"berth.dev/berth/internal/wire/api/ec2api"
)

// A VPC begins with what AWS gives it, is not deleted while anything is in it,
// and leaves nothing behind.
func TestVPC_Life(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	before := count(w)
	vpc := must[*ec2api.CreateVpcOutput](w)(w.CreateVpc(ctx, &ec2api.CreateVpcInput{
		CidrBlock:         new("10.1.2.3/16"),
		TagSpecifications: []ec2api.TagSpecification{{ResourceType: "vpc", Tags: []ec2api.Tag{{Key: new("Name"), Value: new("main")}}}},
	})).Vpc
	id := *vpc.VpcId
	if *vpc.CidrBlock != "10.1.0.0/16" || *vpc.IsDefault || *vpc.Tags[0].Value != "main" {
		t.Errorf("%+v", vpc)
	}
	inVPC := []ec2api.Filter{filter("vpc-id", id)}
	groups := must[*ec2api.DescribeSecurityGroupsOutput](w)(w.DescribeSecurityGroups(ctx, &ec2api.DescribeSecurityGroupsInput{Filters: inVPC})).SecurityGroups
	if len(groups) != 1 || *groups[0].GroupName != "default" || shown(groups[0]) != "in -1 from itself; out -1 to 0.0.0.0/0" {
		t.Errorf("groups: %+v", groups)
	}
	tables := must[*ec2api.DescribeRouteTablesOutput](w)(w.DescribeRouteTables(ctx, &ec2api.DescribeRouteTablesInput{Filters: inVPC})).RouteTables
	if len(tables) != 1 || !*tables[0].Associations[0].Main || len(tables[0].Routes) != 1 || *tables[0].Routes[0].GatewayId != "local" {
		t.Errorf("route tables: %+v", tables)
	}
	subnet := w.subnet(id, "10.1.0.0/24")
	acls := must[*ec2api.DescribeNetworkAclsOutput](w)(w.DescribeNetworkAcls(ctx, &ec2api.DescribeNetworkAclsInput{Filters: append(inVPC, filter("default", "true"))})).NetworkAcls
	if len(acls) != 1 || len(acls[0].Entries) != 4 || len(acls[0].Associations) != 1 || *acls[0].Associations[0].SubnetId != subnet {
		t.Errorf("network ACLs: %+v", acls)
	}
	gateway, table, group := w.gateway(id), w.table(id), w.group(id, "web")

	remove := func() error { _, err := w.DeleteVpc(ctx, &ec2api.DeleteVpcInput{VpcId: &id}); return err }
	for name, clear := range map[string]func() error{
		"subnet": func() error { _, err := w.DeleteSubnet(ctx, &ec2api.DeleteSubnetInput{SubnetId: &subnet}); return err },
		"gateway": func() error {
			_, err := w.DetachInternetGateway(ctx, &ec2api.DetachInternetGatewayInput{InternetGatewayId: &gateway, VpcId: &id})
			return err
		},
		"table": func() error {
			_, err := w.DeleteRouteTable(ctx, &ec2api.DeleteRouteTableInput{RouteTableId: &table})
			return err
		},
		"group": func() error {
			_, err := w.DeleteSecurityGroup(ctx, &ec2api.DeleteSecurityGroupInput{GroupId: &group})
			return err
		},
	} {
		if got := plain(said(remove())); got != "DependencyViolation: The vpc 'vpc-*' has dependencies and cannot be deleted." {
			t.Errorf("with a %s: %s", name, got)
		}
		if err := clear(); err != nil {
			t.Fatal(said(err))
		}
	}
	must[*ec2api.DeleteInternetGatewayOutput](w)(w.DeleteInternetGateway(ctx, &ec2api.DeleteInternetGatewayInput{InternetGatewayId: &gateway}))
	if err := remove(); err != nil {
		t.Fatal(said(err))
	}
	if after := count(w); after != before {
		t.Errorf("%d records remain, %d were there before", after, before)
	}
}

// count is how many records there are of what this package writes.
func count(w *world) int {
	r := w.store.Snapshot()
	return records.VPCs.Len(r) + records.Subnets.Len(r) + records.SecurityGroups.Len(r) + records.RouteTables.Len(r) +
		records.InternetGateways.Len(r) + records.NetworkInterfaces.Len(r) + records.AddressClaims.Len(r) + records.PublicAddresses.Len(r)
}

func TestVPC_Attributes(t *testing.T) {
	w := newWorld(t)
	id := w.vpc("10.1.0.0/16")
	attributes := func() string {
		var on []string
		for _, name := range []ec2api.VpcAttributeName{"enableDnsSupport", "enableDnsHostnames", "enableNetworkAddressUsageMetrics"} {
			out := must[*ec2api.DescribeVpcAttributeOutput](w)(w.DescribeVpcAttribute(t.Context(), &ec2api.DescribeVpcAttributeInput{VpcId: &id, Attribute: name}))
			for _, value := range []*ec2api.AttributeBooleanValue{out.EnableDnsSupport, out.EnableDnsHostnames, out.EnableNetworkAddressUsageMetrics} {
				if value != nil && *value.Value {
					on = append(on, string(name))
				}
			}
		}
		return strings.Join(on, " ")
	}
	if got := attributes(); got != "enableDnsSupport" {
		t.Errorf("of a new VPC: %s", got)
	}
	set := func(in ec2api.ModifyVpcAttributeInput) {
		in.VpcId = &id
		must[*ec2api.ModifyVpcAttributeOutput](w)(w.ModifyVpcAttribute(t.Context(), &in))
	}
	set(ec2api.ModifyVpcAttributeInput{EnableDnsHostnames: &ec2api.AttributeBooleanValue{Value: new(true)}})
	set(ec2api.ModifyVpcAttributeInput{EnableDnsSupport: &ec2api.AttributeBooleanValue{Value: new(false)}})
	if got := attributes(); got != "enableDnsHostnames" {
		t.Errorf("after changes: %s", got)
	}
}

// A range is claimed before a VPC has it and given back when none has it.
func TestVPC_ClaimsItsRange(t *testing.T) {
	s, _ := bootstrapped(t)
	var said []string
	w := &world{t, ec2.New(ec2.Config{
		Store: s, Scope: scope,
		ClaimRange: func(p netip.Prefix) error {
			said = append(said, "claim "+p.String())
			if p.Addr() == netip.MustParseAddr("10.9.0.0") {
				return errors.New("this host routes there already")
			}
			return nil
		},
		ReleaseRange: func(p netip.Prefix) { said = append(said, "release "+p.String()) },
	}), s}
	a, b := w.vpc("10.1.0.0/16"), w.vpc("10.1.0.0/16")
	for _, id := range []string{a, b} {
		must[*ec2api.DeleteVpcOutput](w)(w.DeleteVpc(t.Context(), &ec2api.DeleteVpcInput{VpcId: &id}))
	}
	if _, err := w.CreateVpc(t.Context(), &ec2api.CreateVpcInput{CidrBlock: new("10.9.0.0/16")}); err == nil || !strings.Contains(err.Error(), "routes there already") {
		t.Errorf("a range of the host's: %v", err)
	}
	if want := []string{"claim 10.1.0.0/16", "claim 10.1.0.0/16", "release 10.1.0.0/16", "claim 10.9.0.0/16"}; !slices.Equal(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}
}

// Without a zone a subnet goes where the VPC has the fewest.
func TestSubnet_Zones(t *testing.T) {
	w := newWorld(t)
	id := w.vpc("10.1.0.0/16")
	create := func(in ec2api.CreateSubnetInput) string {
		in.VpcId = &id
		return *must[*ec2api.CreateSubnetOutput](w)(w.CreateSubnet(t.Context(), &in)).Subnet.AvailabilityZone
	}
	got := []string{
		create(ec2api.CreateSubnetInput{CidrBlock: new("10.1.0.0/28"), AvailabilityZoneId: new("use1-az2")}),
		create(ec2api.CreateSubnetInput{CidrBlock: new("10.1.0.16/28")}),
		create(ec2api.CreateSubnetInput{CidrBlock: new("10.1.0.32/28")}),
		create(ec2api.CreateSubnetInput{CidrBlock: new("10.1.0.48/28"), AvailabilityZone: new("us-east-1c")}),
		create(ec2api.CreateSubnetInput{CidrBlock: new("10.1.0.64/28")}),
	}
	if want := []string{"us-east-1b", "us-east-1a", "us-east-1c", "us-east-1c", "us-east-1a"}; !slices.Equal(got, want) {
		t.Errorf("zones %q, want %q", got, want)
	}
}

func TestModifySubnetAttribute(t *testing.T) {
	w := newWorld(t)
	id := w.subnet(w.vpc("10.1.0.0/16"), "10.1.0.0/24")
	for _, on := range []bool{true, false} {
		must[*ec2api.ModifySubnetAttributeOutput](w)(w.ModifySubnetAttribute(t.Context(),
			&ec2api.ModifySubnetAttributeInput{SubnetId: &id, MapPublicIpOnLaunch: &ec2api.AttributeBooleanValue{Value: &on}}))
		s, _ := records.Subnets.Get(w.store.Snapshot(), id)
		if s.MapPublicIP != on {
			t.Errorf("set to %v, is %v", on, s.MapPublicIP)
		}
	}
}

// Tags of every kind of resource are set, replaced, found and removed.
func TestTags(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	vpc := w.vpc("10.1.0.0/16")
	subnet := w.subnet(vpc, "10.1.0.0/24")
	group := w.group(vpc, "web")
	allocation, _ := w.eip()
	g, _ := records.SecurityGroups.Get(w.store.Snapshot(), group)
	ids := []string{vpc, subnet, group, w.gateway(vpc), w.table(vpc), w.eni(subnet), allocation, g.Egress[0].ID, w.nat(subnet, allocation)}
	must[*ec2api.CreateTagsOutput](w)(w.CreateTags(ctx, &ec2api.CreateTagsInput{Resources: ids, Tags: []ec2api.Tag{{Key: new("a"), Value: new("1")}, {Key: new("b")}}}))
	must[*ec2api.CreateTagsOutput](w)(w.CreateTags(ctx, &ec2api.CreateTagsInput{Resources: ids, Tags: []ec2api.Tag{{Key: new("a"), Value: new("2")}}}))
	must[*ec2api.DeleteTagsOutput](w)(w.DeleteTags(ctx, &ec2api.DeleteTagsInput{Resources: ids, Tags: []ec2api.Tag{{Key: new("a"), Value: new("1")}, {Key: new("b")}}}))
	var got []string
	in := &ec2api.DescribeTagsInput{MaxResults: new(int32(5)), Filters: []ec2api.Filter{filter("tag:a", "2")}}
	for {
		out := must[*ec2api.DescribeTagsOutput](w)(w.DescribeTags(ctx, in))
		for _, tag := range out.Tags {
			got = append(got, *tag.ResourceId+" "+string(tag.ResourceType))
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	for i, kind := range []string{"vpc", "subnet", "security-group", "internet-gateway", "route-table", "network-interface", "elastic-ip", "security-group-rule", "natgateway"} {
		if !slices.Contains(got, ids[i]+" "+kind) {
			t.Errorf("%s is not tagged as a %s", ids[i], kind)
		}
	}
	if len(got) != len(ids) {
		t.Errorf("%d tags, want %d", len(got), len(ids))
	}
	must[*ec2api.DeleteTagsOutput](w)(w.DeleteTags(ctx, &ec2api.DeleteTagsInput{Resources: ids}))
	if out := must[*ec2api.DescribeTagsOutput](w)(w.DescribeTags(ctx, &ec2api.DescribeTagsInput{})); len(out.Tags) != 0 {
		t.Errorf("tags remain: %+v", out.Tags)
	}
}

// nat is a public NAT gateway.
func (w *world) nat(subnet, allocation string) string {
	w.Helper()
	return *must[*ec2api.CreateNatGatewayOutput](w)(w.CreateNatGateway(w.Context(), &ec2api.CreateNatGatewayInput{SubnetId: &subnet, AllocationId: &allocation})).NatGateway.NatGatewayId
}

func TestDescribeAccount(t *testing.T) {
	w := newWorld(t)
	out := must[*ec2api.DescribeAccountAttributesOutput](w)(w.DescribeAccountAttributes(t.Context(),
		&ec2api.DescribeAccountAttributesInput{AttributeNames: []ec2api.AccountAttributeName{"default-vpc"}}))
	var vpc *model.VPC
	for vpc = range records.VPCs.All(w.store.Snapshot()) {
		break
	}
	if len(out.AccountAttributes) != 1 || *out.AccountAttributes[0].AttributeValues[0].AttributeValue != vpc.ID {
		t.Errorf("%+v, want %s", out.AccountAttributes, vpc.ID)
	}
	dhcp := must[*ec2api.DescribeDhcpOptionsOutput](w)(w.DescribeDhcpOptions(t.Context(), &ec2api.DescribeDhcpOptionsInput{})).DhcpOptions
	vpcs := must[*ec2api.DescribeVpcsOutput](w)(w.DescribeVpcs(t.Context(), &ec2api.DescribeVpcsInput{Filters: []ec2api.Filter{filter("dhcp-options-id", *dhcp[0].DhcpOptionsId)}}))
	if len(dhcp) != 1 || len(vpcs.Vpcs) != 1 {
		t.Errorf("DHCP options %+v of %d VPCs", dhcp, len(vpcs.Vpcs))
	}
	if lists := must[*ec2api.DescribePrefixListsOutput](w)(w.DescribePrefixLists(t.Context(), &ec2api.DescribePrefixListsInput{})).PrefixLists; len(lists) != 0 {
		t.Errorf("prefix lists: %+v", lists)
	}
}
