package ec2_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/ec2"
	"berth.dev/berth/internal/wire/api/ec2api"
)

func TestBootstrap(t *testing.T) {
	s, p := bootstrapped(t)
	// A second start, also with another range, changes nothing.
	before := s.Snapshot().Rev()
	if err := ec2.Bootstrap(t.Context(), s, scope, netip.MustParsePrefix("10.64.0.0/16")); err != nil {
		t.Fatal(err)
	}
	if after := s.Snapshot().Rev(); after != before {
		t.Errorf("the second start wrote something: revision %d, then %d", before, after)
	}
	vpcs, err := p.DescribeVpcs(t.Context(), &ec2api.DescribeVpcsInput{Filters: []ec2api.Filter{filter("is-default", "true")}})
	if err != nil {
		t.Fatal(err)
	}
	if len(vpcs.Vpcs) != 1 || *vpcs.Vpcs[0].CidrBlock != "172.31.0.0/16" {
		t.Fatalf("%+v", vpcs.Vpcs)
	}
	subnets, err := p.DescribeSubnets(t.Context(), &ec2api.DescribeSubnetsInput{Filters: []ec2api.Filter{filter("vpc-id", *vpcs.Vpcs[0].VpcId)}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range subnets.Subnets {
		got = append(got, fmt.Sprintf("%s %s %s %d", *s.AvailabilityZone, *s.AvailabilityZoneId, *s.CidrBlock, *s.AvailableIpAddressCount))
	}
	slices.Sort(got)
	want := []string{"us-east-1a use1-az1 172.31.0.0/20 4091", "us-east-1b use1-az2 172.31.16.0/20 4091", "us-east-1c use1-az3 172.31.32.0/20 4091"}
	if !slices.Equal(got, want) {
		t.Errorf("subnets\n got %q\nwant %q", got, want)
	}
	groups, err := p.DescribeSecurityGroups(t.Context(), &ec2api.DescribeSecurityGroupsInput{GroupNames: []string{"default"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(groups.SecurityGroups) != 1 || shown(groups.SecurityGroups[0]) != "in -1 from itself; out -1 to 0.0.0.0/0" {
		t.Fatalf("%+v", groups.SecurityGroups)
	}
	if err := ec2.Bootstrap(t.Context(), newStore(t), scope, netip.MustParsePrefix("10.0.0.0/28")); err == nil {
		t.Error("a VPC without room for three subnets was made")
	}
}

// shown is what a group lets in and out, in few words.
func shown(g ec2api.SecurityGroup) string {
	rule := func(verb string, permissions []ec2api.IpPermission) string {
		var words []string
		for _, p := range permissions {
			var word strings.Builder
			word.WriteString(*p.IpProtocol)
			if p.FromPort != nil {
				fmt.Fprintf(&word, " %d-%d", *p.FromPort, *p.ToPort)
			}
			for _, r := range p.IpRanges {
				word.WriteString(" " + verb + " " + *r.CidrIp)
			}
			for _, r := range p.Ipv6Ranges {
				word.WriteString(" " + verb + " " + *r.CidrIpv6)
			}
			for _, r := range p.UserIdGroupPairs {
				if *r.GroupId == *g.GroupId {
					word.WriteString(" " + verb + " itself")
				} else {
					word.WriteString(" " + verb + " " + plain(*r.GroupId))
				}
			}
			words = append(words, word.String())
		}
		if len(words) == 0 {
			return "nothing"
		}
		return strings.Join(words, ", ")
	}
	return "in " + rule("from", g.IpPermissions) + "; out " + rule("to", g.IpPermissionsEgress)
}

// The default VPC leads to the internet, and has a group that lets all in.
func TestBootstrap_DefaultVPC(t *testing.T) {
	w := newWorld(t)
	tables := must[*ec2api.DescribeRouteTablesOutput](w)(w.DescribeRouteTables(t.Context(), &ec2api.DescribeRouteTablesInput{Filters: []ec2api.Filter{filter("association.main", "true")}}))
	var routes []string
	for _, r := range tables.RouteTables[0].Routes {
		routes = append(routes, fmt.Sprintf("%s %s %s", *r.DestinationCidrBlock, plain(*r.GatewayId), r.State))
	}
	if want := []string{"172.31.0.0/16 local active", "0.0.0.0/0 igw-* active"}; !slices.Equal(routes, want) {
		t.Errorf("routes %q, want %q", routes, want)
	}
	groups := must[*ec2api.DescribeSecurityGroupsOutput](w)(w.DescribeSecurityGroups(t.Context(), &ec2api.DescribeSecurityGroupsInput{GroupNames: []string{ec2.OpenGroupName}}))
	if got := shown(groups.SecurityGroups[0]); got != "in -1 from 0.0.0.0/0; out -1 to 0.0.0.0/0" {
		t.Errorf("the open group: %s", got)
	}
}

// A data directory from before VPCs could be changed gets what it lacks, once.
func TestBootstrap_Upgrades(t *testing.T) {
	s := newStore(t)
	everything := []model.SecurityGroupRule{{Protocol: "-1", CIDR: "0.0.0.0/0"}}
	if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
		records.VPCs.Put(tx, &model.VPC{ID: "vpc-1", CIDR: "10.64.0.0/16", IsDefault: true})
		records.Subnets.Put(tx, &model.Subnet{ID: "subnet-1", VPCID: "vpc-1", CIDR: "10.64.0.0/20", AvailabilityZone: "us-east-1a", DefaultForAZ: true})
		records.SecurityGroups.Put(tx, &model.SecurityGroup{ID: "sg-1", Name: "default", VPCID: "vpc-1", Ingress: everything, Egress: everything})
		records.Tasks.Put(tx, &model.Task{ID: "t", ENIID: "eni-1", InstanceID: "node"})
		records.NetworkInterfaces.Put(tx, &model.NetworkInterface{ID: "eni-1", VPCID: "vpc-1", SubnetID: "subnet-1", TaskARN: "arn", GroupIDs: []string{"sg-1"}})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	upgrade := func() int64 {
		if err := ec2.Bootstrap(t.Context(), s, scope, netip.Prefix{}); err != nil {
			t.Fatal(err)
		}
		return s.Snapshot().Rev()
	}
	if first, second := upgrade(), upgrade(); first != second {
		t.Error("the second start wrote something")
	}
	w := &world{t, ec2.New(ec2.Config{Store: s, Scope: scope}), s}
	out := must[*ec2api.DescribeSecurityGroupsOutput](w)(w.DescribeSecurityGroups(t.Context(), &ec2api.DescribeSecurityGroupsInput{}))
	var groups []string
	for _, g := range out.SecurityGroups {
		groups = append(groups, *g.GroupName+": "+shown(g))
	}
	slices.Sort(groups)
	if want := []string{"berth-open: in -1 from 0.0.0.0/0; out -1 to 0.0.0.0/0", "default: in -1 from itself; out -1 to 0.0.0.0/0"}; !slices.Equal(groups, want) {
		t.Errorf("groups %q, want %q", groups, want)
	}
	if n, _ := records.NetworkInterfaces.Get(s.Snapshot(), "eni-1"); n.InstanceID != "node" {
		t.Errorf("the interface is on node %q", n.InstanceID)
	}
	if table, _ := w.mainTable("vpc-1"); records.RouteTables.Len(s.Snapshot()) != 1 {
		t.Errorf("%s is not the only table", table)
	}
}
