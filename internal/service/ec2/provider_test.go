package ec2_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/ec2"
	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/smithy"
)

var scope = arn.Scope{Region: "us-east-1", AccountID: "123456789012"}

func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(memkv.New(0), "/berth/", store.Options{}, records.All()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return s
}

func bootstrapped(t *testing.T) (*store.Store, *ec2.Provider) {
	t.Helper()
	s := newStore(t)
	if err := ec2.Bootstrap(t.Context(), s, scope, netip.MustParsePrefix("172.31.0.0/16")); err != nil {
		t.Fatal(err)
	}
	return s, ec2.New(ec2.Config{Store: s, Scope: scope})
}

func filter(name string, values ...string) ec2api.Filter {
	return ec2api.Filter{Name: &name, Values: values}
}

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
	if len(groups.SecurityGroups) != 1 || len(groups.SecurityGroups[0].IpPermissions) != 1 || len(groups.SecurityGroups[0].IpPermissionsEgress) != 1 {
		t.Fatalf("%+v", groups.SecurityGroups)
	}
	if err := ec2.Bootstrap(t.Context(), newStore(t), scope, netip.MustParsePrefix("10.0.0.0/28")); err == nil {
		t.Error("a VPC without room for three subnets was made")
	}
}

func TestDescribeNetworkInterfaces(t *testing.T) {
	s, p := bootstrapped(t)
	groups := slices.DeleteFunc(slices.Collect(records.SecurityGroups.All(s.Snapshot())), func(g *model.SecurityGroup) bool { return g.Name != "default" })
	var subnet *model.Subnet
	for subnet = range records.Subnets.All(s.Snapshot()) {
		break
	}
	eni := &model.NetworkInterface{
		ID: "eni-0123456789abcdef0", AttachmentID: "5f3f7d0c-0000-4000-8000-000000000000", EC2AttachmentID: "eni-attach-0123456789abcdef0",
		VPCID: subnet.VPCID, SubnetID: subnet.ID, AvailabilityZone: subnet.AvailabilityZone,
		Address: "172.31.0.9", MAC: "0a:00:00:00:00:01", GroupIDs: []string{groups[0].ID}, CreatedAt: time.Unix(1, 0),
	}
	if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
		records.NetworkInterfaces.Put(tx, eni)
		records.AddressClaims.Put(tx, &model.AddressClaim{SubnetID: subnet.ID, Address: eni.Address, ENIID: eni.ID})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	out, err := p.DescribeNetworkInterfaces(t.Context(), &ec2api.DescribeNetworkInterfacesInput{Filters: []ec2api.Filter{
		filter("addresses.private-ip-address", "172.31.*"), filter("group-name", "default"), filter("status", "in-use", "available"),
		filter("description", "arn:aws:ecs:us-east-1:123456789012:attachment/5f3f7d0c-0000-4000-8000-000000000000"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.NetworkInterfaces) != 1 {
		t.Fatalf("found %d", len(out.NetworkInterfaces))
	}
	n := out.NetworkInterfaces[0]
	if *n.PrivateDnsName != "ip-172-31-0-9.ec2.internal" || *n.Groups[0].GroupName != "default" || *n.Attachment.AttachmentId != eni.EC2AttachmentID || string(n.InterfaceType) != "interface" {
		t.Errorf("%+v", n)
	}
	if out, err = p.DescribeNetworkInterfaces(t.Context(), &ec2api.DescribeNetworkInterfacesInput{Filters: []ec2api.Filter{filter("tag-key", "x")}}); err != nil || len(out.NetworkInterfaces) != 0 {
		t.Errorf("%v, %v", out, err)
	}
	subnets, err := p.DescribeSubnets(t.Context(), &ec2api.DescribeSubnetsInput{SubnetIds: []string{subnet.ID}})
	if err != nil {
		t.Fatal(err)
	}
	if n := *subnets.Subnets[0].AvailableIpAddressCount; n != 4090 {
		t.Errorf("%d addresses left", n)
	}
}

func TestDescribeAvailabilityZones(t *testing.T) {
	_, p := bootstrapped(t)
	out, err := p.DescribeAvailabilityZones(t.Context(), &ec2api.DescribeAvailabilityZonesInput{Filters: []ec2api.Filter{filter("state", "available"), filter("zone-name", "us-east-1?")}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.AvailabilityZones) != 3 {
		t.Errorf("%d zones", len(out.AvailabilityZones))
	}
	out, err = p.DescribeAvailabilityZones(t.Context(), &ec2api.DescribeAvailabilityZonesInput{ZoneIds: []string{"use1-az2"}})
	if err != nil || len(out.AvailabilityZones) != 1 || *out.AvailabilityZones[0].ZoneName != "us-east-1b" {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestPages(t *testing.T) {
	s, p := bootstrapped(t)
	if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
		for i := range 12 {
			records.VPCs.Put(tx, &model.VPC{ID: fmt.Sprintf("vpc-%017d", i), CIDR: "10.0.0.0/16", Tags: []model.Tag{{Key: "n", Value: fmt.Sprint(i)}}})
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var ids []string
	in := &ec2api.DescribeVpcsInput{MaxResults: new(int32(5)), Filters: []ec2api.Filter{filter("tag-key", "n")}}
	for {
		out, err := p.DescribeVpcs(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range out.Vpcs {
			ids = append(ids, *v.VpcId)
		}
		if out.NextToken == nil {
			break
		}
		in.NextToken = out.NextToken
	}
	if len(ids) != 12 || !slices.IsSorted(ids) || len(slices.Compact(ids)) != 12 {
		t.Errorf("%d: %v", len(ids), ids)
	}
	out, err := p.DescribeVpcs(t.Context(), &ec2api.DescribeVpcsInput{Filters: []ec2api.Filter{filter("tag:n", "1*")}})
	if err != nil || len(out.Vpcs) != 3 { // 1, 10, 11
		t.Errorf("%d, %v", len(out.Vpcs), err)
	}
}

func TestErrors(t *testing.T) {
	_, p := bootstrapped(t)
	ctx := t.Context()
	vpc := func(in ec2api.DescribeVpcsInput) error { _, err := p.DescribeVpcs(ctx, &in); return err }
	subnet := func(in ec2api.DescribeSubnetsInput) error { _, err := p.DescribeSubnets(ctx, &in); return err }
	group := func(in ec2api.DescribeSecurityGroupsInput) error {
		_, err := p.DescribeSecurityGroups(ctx, &in)
		return err
	}
	eni := func(in ec2api.DescribeNetworkInterfacesInput) error {
		_, err := p.DescribeNetworkInterfaces(ctx, &in)
		return err
	}
	zone := func(in ec2api.DescribeAvailabilityZonesInput) error {
		_, err := p.DescribeAvailabilityZones(ctx, &in)
		return err
	}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{vpc(ec2api.DescribeVpcsInput{VpcIds: []string{"vpc-1"}}), "InvalidVpcID.NotFound: The vpc ID 'vpc-1' does not exist"},
		{vpc(ec2api.DescribeVpcsInput{VpcIds: []string{"x"}}), `InvalidVpcID.Malformed: Invalid id: "x" (expecting "vpc-...")`},
		{vpc(ec2api.DescribeVpcsInput{Filters: []ec2api.Filter{filter("colour", "red")}}), "InvalidParameterValue: The filter 'colour' is invalid"},
		{vpc(ec2api.DescribeVpcsInput{MaxResults: new(int32(4))}), "InvalidParameterValue: Value ( 4 ) for parameter maxResults is invalid. Expecting a value between 5 and 1000."},
		{vpc(ec2api.DescribeVpcsInput{NextToken: new("x")}), "InvalidNextToken: The token 'x' is invalid"},
		{vpc(ec2api.DescribeVpcsInput{DryRun: new(true)}), "DryRunOperation: Request would have succeeded, but DryRun flag is set."},
		{vpc(ec2api.DescribeVpcsInput{VpcIds: []string{"vpc-1"}, MaxResults: new(int32(5))}), "InvalidParameterCombination: The parameter vpcIds cannot be used with the parameter maxResults"},
		{subnet(ec2api.DescribeSubnetsInput{SubnetIds: []string{"subnet-x", "subnet-y"}}), "InvalidSubnetID.NotFound: The subnet IDs 'subnet-x, subnet-y' do not exist"},
		{group(ec2api.DescribeSecurityGroupsInput{GroupIds: []string{"sg-x"}}), "InvalidGroup.NotFound: The security group 'sg-x' does not exist"},
		{group(ec2api.DescribeSecurityGroupsInput{GroupNames: []string{"web"}}), "InvalidGroup.NotFound: The security group 'web' does not exist"},
		{eni(ec2api.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{"eni-x"}}), "InvalidNetworkInterfaceID.NotFound: The networkInterface ID 'eni-x' does not exist"},
		{zone(ec2api.DescribeAvailabilityZonesInput{ZoneNames: []string{"mars-1a"}}), "InvalidParameterValue: Invalid availability zone: [mars-1a]"},
	} {
		var api smithy.APIError
		if !errors.As(tc.err, &api) {
			t.Errorf("got %v, want %s", tc.err, tc.want)
			continue
		}
		if got := api.ErrorCode() + ": " + api.ErrorMessage(); got != tc.want {
			t.Errorf("got %s\nwant %s", got, tc.want)
		}
		if strings.Contains(tc.want, "DryRun") != (api.HTTPStatus() == 412) {
			t.Errorf("%s: HTTP %d", tc.want, api.HTTPStatus())
		}
	}
}
