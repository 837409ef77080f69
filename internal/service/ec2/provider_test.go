package ec2_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ec2api"
)

func filter(name string, values ...string) ec2api.Filter {
	return ec2api.Filter{Name: &name, Values: values}
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
