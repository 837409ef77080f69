package ec2

import (
	"context"
	"slices"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ec2api"
)

// requester is who makes the interfaces of tasks, in the user's name.
const requester = "amazon-ecs"

func (p *Provider) networkInterfaces(r store.Reader) *kind[model.NetworkInterface] {
	type eni = model.NetworkInterface
	address := func(n *eni) []string { return one(n.Address) }
	dns := func(n *eni) []string { return one(n.PrivateDNSName(p.scope.Region)) }
	return &kind[eni]{
		call: "DescribeNetworkInterfaces", prefix: "eni-", noun: "networkInterface ID", param: "networkInterfaceIds",
		notFound: "InvalidNetworkInterfaceID.NotFound", badID: "InvalidNetworkInterfaceId.Malformed",
		id:   (*eni).Key,
		tags: func(*eni) []model.Tag { return nil },
		filters: map[string]func(*eni) []string{
			"network-interface-id":         func(n *eni) []string { return one(n.ID) },
			"subnet-id":                    func(n *eni) []string { return one(n.SubnetID) },
			"vpc-id":                       func(n *eni) []string { return one(n.VPCID) },
			"availability-zone":            func(n *eni) []string { return one(n.AvailabilityZone) },
			"availability-zone-id":         func(n *eni) []string { return one(zoneID(p.scope.Region, n.AvailabilityZone)) },
			"private-ip-address":           address,
			"addresses.private-ip-address": address,
			"addresses.primary":            func(*eni) []string { return yes(true) },
			"private-dns-name":             dns,
			"mac-address":                  func(n *eni) []string { return one(n.MAC) },
			"description":                  func(n *eni) []string { return one(p.description(n)) },
			"group-id":                     func(n *eni) []string { return n.GroupIDs },
			"group-name":                   func(n *eni) []string { return groupNames(r, n) },
			"owner-id":                     func(*eni) []string { return one(p.scope.AccountID) },
			"requester-id":                 func(*eni) []string { return one(requester) },
			"requester-managed":            func(*eni) []string { return yes(true) },
			"status":                       func(*eni) []string { return one("in-use") },
			"interface-type":               func(*eni) []string { return one("interface") },
			"source-dest-check":            func(*eni) []string { return yes(true) },
			"attachment.attachment-id":     func(n *eni) []string { return one(n.EC2AttachmentID) },
			"attachment.status":            func(*eni) []string { return one("attached") },
			"attachment.instance-owner-id": func(*eni) []string { return one(requester) },
			"attachment.device-index":      func(*eni) []string { return one("1") },
		},
	}
}

func groupNames(r store.Reader, n *model.NetworkInterface) []string {
	var names []string
	for _, id := range n.GroupIDs {
		if g, found := records.SecurityGroups.Get(r, id); found {
			names = append(names, g.Name)
		}
	}
	return names
}

// description is the ARN of the task's attachment, as ECS writes it.
func (p *Provider) description(n *model.NetworkInterface) string {
	return "arn:" + partition(p.scope.Partition) + ":ecs:" + p.scope.Region + ":" + p.scope.AccountID + ":attachment/" + n.AttachmentID
}

func partition(name string) string {
	if name == "" {
		return "aws"
	}
	return name
}

// DescribeNetworkInterfaces implements ec2api.Service.
func (p *Provider) DescribeNetworkInterfaces(_ context.Context, in *ec2api.DescribeNetworkInterfacesInput) (*ec2api.DescribeNetworkInterfacesOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	all := slices.Collect(records.NetworkInterfaces.All(snap))
	page, next, err := p.networkInterfaces(snap).find(all, query{in.NetworkInterfaceIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	out := &ec2api.DescribeNetworkInterfacesOutput{NetworkInterfaces: []ec2api.NetworkInterface{}, NextToken: next}
	for _, n := range page {
		out.NetworkInterfaces = append(out.NetworkInterfaces, p.interfaceOut(snap, n))
	}
	return out, nil
}

func (p *Provider) interfaceOut(r store.Reader, n *model.NetworkInterface) ec2api.NetworkInterface {
	created := n.CreatedAt
	dns := n.PrivateDNSName(p.scope.Region)
	out := ec2api.NetworkInterface{
		NetworkInterfaceId: &n.ID, InterfaceType: ec2api.NetworkInterfaceTypeInterface, Status: ec2api.NetworkInterfaceStatusInUse,
		Description: new(p.description(n)), OwnerId: &p.scope.AccountID, RequesterId: new(requester), RequesterManaged: new(true),
		VpcId: &n.VPCID, SubnetId: &n.SubnetID, AvailabilityZone: &n.AvailabilityZone,
		AvailabilityZoneId: new(zoneID(p.scope.Region, n.AvailabilityZone)),
		MacAddress:         &n.MAC, PrivateIpAddress: &n.Address, PrivateDnsName: &dns, SourceDestCheck: new(true),
		Groups: []ec2api.GroupIdentifier{}, TagSet: []ec2api.Tag{}, Ipv6Addresses: []ec2api.NetworkInterfaceIpv6Address{},
		PrivateIpAddresses: []ec2api.NetworkInterfacePrivateIpAddress{{Primary: new(true), PrivateDnsName: &dns, PrivateIpAddress: &n.Address}},
		Attachment: &ec2api.NetworkInterfaceAttachment{
			AttachmentId: &n.EC2AttachmentID, AttachTime: &created, DeleteOnTermination: new(false), DeviceIndex: new(int32(1)),
			NetworkCardIndex: new(int32(0)), InstanceOwnerId: new(requester), Status: ec2api.AttachmentStatusAttached,
		},
	}
	for _, id := range n.GroupIDs {
		group := ec2api.GroupIdentifier{GroupId: &id}
		if g, found := records.SecurityGroups.Get(r, id); found {
			group.GroupName = &g.Name
		}
		out.Groups = append(out.Groups, group)
	}
	return out
}
