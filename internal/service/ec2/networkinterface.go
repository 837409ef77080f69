package ec2

import (
	"context"
	"slices"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/ipam"
	"berth.dev/berth/internal/wire/api/ec2api"
)

// owner is who made an interface, as EC2 shows it.
type owner struct {
	requester   string // who asked for it
	description string
	kind        ec2api.NetworkInterfaceType
}

// owner tells whose an interface is. That ECS and Elastic Load Balancing call
// themselves amazon-ecs and amazon-elb is AWS's; the requester of a NAT
// gateway's interface is an account of AWS's there.
func (p *Provider) owner(r store.Reader, n *model.NetworkInterface) owner {
	o := owner{requester: p.scope.AccountID, description: n.Description, kind: ec2api.NetworkInterfaceTypeInterface}
	switch n.Owner {
	case model.InterfaceOfTask:
		o.requester, o.description = "amazon-ecs", p.attachment(n)
	case model.InterfaceOfLoadBalancer:
		o.requester, o.description = "amazon-elb", "ELB "+n.OwnerID
		if l, found := records.LoadBalancers.Get(r, n.OwnerID); found && l.Type == model.LoadBalancerNetwork {
			o.kind = ec2api.NetworkInterfaceTypeNetworkLoadBalancer
		}
	case model.InterfaceOfNATGateway:
		// EC2 says nat_gateway, though its model has natGateway.
		o.requester, o.description, o.kind = "amazon-vpc", "Interface for NAT Gateway "+n.OwnerID, "nat_gateway"
	}
	return o
}

// attachment is the ARN of the task's attachment, as ECS writes it.
func (p *Provider) attachment(n *model.NetworkInterface) string {
	return "arn:" + partition(p.scope.Partition) + ":ecs:" + p.scope.Region + ":" + p.scope.AccountID + ":attachment/" + n.AttachmentID
}

func partition(name string) string {
	if name == "" {
		return "aws"
	}
	return name
}

// status is in-use for what services made: it is attached to what they made it
// for. Interfaces that a user makes are attached to nothing.
func status(n *model.NetworkInterface) ec2api.NetworkInterfaceStatus {
	if n.Owner == model.InterfaceOfUser {
		return ec2api.NetworkInterfaceStatusAvailable
	}
	return ec2api.NetworkInterfaceStatusInUse
}

// attachmentID is empty for an interface that is attached to nothing.
func attachmentID(n *model.NetworkInterface) string {
	switch {
	case n.Owner == model.InterfaceOfUser:
		return ""
	case n.EC2AttachmentID != "":
		return n.EC2AttachmentID
	}
	return derived("eni-attach", n.ID)
}

// publicAddress is what leads to an interface from outside: its own public
// address, or that of the load balancer whose it is.
func publicAddress(r store.Reader, n *model.NetworkInterface) (*model.PublicAddress, bool) {
	address := n.PublicAddress
	if l, found := records.LoadBalancers.Get(r, n.OwnerID); found && n.Owner == model.InterfaceOfLoadBalancer && address == "" {
		address = l.PublicAddress
	}
	if address == "" {
		return nil, false
	}
	if a, found := records.PublicAddresses.Get(r, address); found {
		return a, true
	}
	return &model.PublicAddress{Address: address}, true
}

func (p *Provider) networkInterfaces(r store.Reader) *kind[model.NetworkInterface] {
	type eni = model.NetworkInterface
	address := func(n *eni) []string { return one(n.Address) }
	dns := func(n *eni) []string { return one(n.PrivateDNSName(p.scope.Region)) }
	requester := func(n *eni) []string { return one(p.owner(r, n).requester) }
	attached := func(value string) func(*eni) []string {
		return func(n *eni) []string {
			if attachmentID(n) == "" {
				return nil
			}
			return one(value)
		}
	}
	association := func(value func(*model.PublicAddress) string) func(*eni) []string {
		return func(n *eni) []string {
			if a, found := publicAddress(r, n); found {
				return some(value(a))
			}
			return nil
		}
	}
	public := association((*model.PublicAddress).Key)
	return &kind[eni]{
		call: "DescribeNetworkInterfaces", form: interfaceForm, param: "networkInterfaceIds",
		id:   (*eni).Key,
		tags: func(n *eni) []model.Tag { return n.Tags },
		filters: map[string]func(*eni) []string{
			"network-interface-id":            func(n *eni) []string { return one(n.ID) },
			"subnet-id":                       func(n *eni) []string { return one(n.SubnetID) },
			"vpc-id":                          func(n *eni) []string { return one(n.VPCID) },
			"availability-zone":               func(n *eni) []string { return one(n.AvailabilityZone) },
			"availability-zone-id":            func(n *eni) []string { return one(zoneID(p.scope.Region, n.AvailabilityZone)) },
			"private-ip-address":              address,
			"addresses.private-ip-address":    address,
			"addresses.primary":               func(*eni) []string { return yes(true) },
			"private-dns-name":                dns,
			"mac-address":                     func(n *eni) []string { return one(n.MAC) },
			"description":                     func(n *eni) []string { return one(p.owner(r, n).description) },
			"group-id":                        func(n *eni) []string { return n.GroupIDs },
			"group-name":                      func(n *eni) []string { return groupNames(r, n) },
			"owner-id":                        func(*eni) []string { return one(p.scope.AccountID) },
			"requester-id":                    requester,
			"requester-managed":               func(n *eni) []string { return yes(n.Owner != model.InterfaceOfUser) },
			"status":                          func(n *eni) []string { return one(string(status(n))) },
			"interface-type":                  func(n *eni) []string { return one(string(p.owner(r, n).kind)) },
			"source-dest-check":               func(n *eni) []string { return yes(!n.NoSourceDestCheck) },
			"attachment.attachment-id":        func(n *eni) []string { return some(attachmentID(n)) },
			"attachment.status":               attached("attached"),
			"attachment.device-index":         attached("1"),
			"attachment.instance-owner-id":    func(n *eni) []string { return attached(p.owner(r, n).requester)(n) },
			"attachment.instance-id":          func(*eni) []string { return nil },
			"association.public-ip":           public,
			"addresses.association.public-ip": public,
			"association.allocation-id":       association(func(a *model.PublicAddress) string { return a.AllocationID }),
			"association.association-id":      association(func(a *model.PublicAddress) string { return a.AssociationID }),
			"association.ip-owner-id":         association(p.ipOwner),
		},
	}
}

// ipOwner is the account for an Elastic IP, else AWS.
func (p *Provider) ipOwner(a *model.PublicAddress) string {
	if a.AllocationID == "" {
		return "amazon"
	}
	return p.scope.AccountID
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
	o := p.owner(r, n)
	out := ec2api.NetworkInterface{
		NetworkInterfaceId: &n.ID, InterfaceType: o.kind, Status: status(n),
		Description: &o.description, OwnerId: &p.scope.AccountID, RequesterId: &o.requester, RequesterManaged: new(n.Owner != model.InterfaceOfUser),
		VpcId: &n.VPCID, SubnetId: &n.SubnetID, AvailabilityZone: &n.AvailabilityZone,
		AvailabilityZoneId: new(zoneID(p.scope.Region, n.AvailabilityZone)),
		MacAddress:         &n.MAC, PrivateIpAddress: &n.Address, PrivateDnsName: &dns, SourceDestCheck: new(!n.NoSourceDestCheck),
		Groups: []ec2api.GroupIdentifier{}, TagSet: tagsOut(n.Tags), Ipv6Addresses: []ec2api.NetworkInterfaceIpv6Address{},
		PrivateIpAddresses: []ec2api.NetworkInterfacePrivateIpAddress{{Primary: new(true), PrivateDnsName: &dns, PrivateIpAddress: &n.Address}},
	}
	if id := attachmentID(n); id != "" {
		out.Attachment = &ec2api.NetworkInterfaceAttachment{
			AttachmentId: &id, AttachTime: &created, DeleteOnTermination: new(false), DeviceIndex: new(int32(1)),
			NetworkCardIndex: new(int32(0)), InstanceOwnerId: &o.requester, Status: ec2api.AttachmentStatusAttached,
		}
	}
	if a, found := publicAddress(r, n); found {
		out.Association = &ec2api.NetworkInterfaceAssociation{
			PublicIp: &a.Address, PublicDnsName: new(""), IpOwnerId: new(p.ipOwner(a)), AllocationId: empty(a.AllocationID), AssociationId: empty(a.AssociationID),
		}
		out.PrivateIpAddresses[0].Association = out.Association
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

// CreateNetworkInterface implements ec2api.Service. Nothing here takes such an
// interface yet; it holds its address.
func (p *Provider) CreateNetworkInterface(ctx context.Context, in *ec2api.CreateNetworkInterfaceInput) (*ec2api.CreateNetworkInterfaceOutput, error) {
	wanted, err := interfaceIn(in)
	if err != nil {
		return nil, err
	}
	tags, err := tagsIn(in.TagSpecifications, ec2api.ResourceTypeNetworkInterface)
	if err != nil {
		return nil, err
	}
	var n *model.NetworkInterface
	err = p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		if token := text(in.ClientToken); token != "" {
			records.NetworkInterfaces.GuardIndex(tx, records.NetworkInterfacesByClientToken, token)
			for n = range records.NetworkInterfaces.By(tx, records.NetworkInterfacesByClientToken, token) {
				return nil
			}
		}
		subnet, err := guarded(tx, records.Subnets, subnetForm, "subnetId", in.SubnetId)
		if err != nil {
			return err
		}
		n = &model.NetworkInterface{
			ID: ident.EC2("eni"), VPCID: subnet.VPCID, SubnetID: subnet.ID, AvailabilityZone: subnet.AvailabilityZone, CreatedAt: tx.Now(),
			Owner: model.InterfaceOfUser, Description: text(in.Description), ClientToken: text(in.ClientToken), Tags: tags,
		}
		n.MAC = ipam.MAC(n.ID)
		if n.GroupIDs, err = groupsFor(tx, subnet.VPCID, in.Groups); err != nil {
			return err
		}
		if n.Address, err = claimAddress(tx, subnet, wanted, n.ID); err != nil {
			return err
		}
		records.NetworkInterfaces.Put(tx, n)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.CreateNetworkInterfaceOutput{NetworkInterface: new(p.interfaceOut(p.store.Snapshot(), n)), ClientToken: in.ClientToken}, nil
}

// interfaceIn checks what can be checked without looking, and returns the
// address that the interface shall have; empty for any.
func interfaceIn(in *ec2api.CreateNetworkInterfaceInput) (string, error) {
	if err := refuse(map[string]bool{
		"IPv6 addresses of interfaces":       len(in.Ipv6Addresses) > 0 || in.Ipv6AddressCount != nil && *in.Ipv6AddressCount > 0 || isTrue(in.EnablePrimaryIpv6),
		"prefixes of interfaces":             len(in.Ipv4Prefixes) > 0 || in.Ipv4PrefixCount != nil || len(in.Ipv6Prefixes) > 0 || in.Ipv6PrefixCount != nil,
		"several addresses of one interface": len(in.PrivateIpAddresses) > 1 || in.SecondaryPrivateIpAddressCount != nil && *in.SecondaryPrivateIpAddressCount > 0,
		"interfaces of special types":        in.InterfaceType != "" && in.InterfaceType != "interface",
		"connection tracking settings":       in.ConnectionTrackingSpecification != nil,
		"operators of interfaces":            in.Operator != nil,
	}); err != nil {
		return "", err
	}
	if len(in.PrivateIpAddresses) == 1 {
		return text(in.PrivateIpAddresses[0].PrivateIpAddress), nil
	}
	return text(in.PrivateIpAddress), nil
}

// groupsFor makes the transaction depend on the groups of an interface; none
// named means the VPC's default one.
func groupsFor(tx *store.Tx, vpcID string, ids []string) ([]string, error) {
	if len(ids) > groupsPerENI {
		return nil, failure("SecurityGroupsPerInterfaceLimitExceeded", "The maximum number of security groups per interface has been reached.")
	}
	for _, id := range ids {
		g, err := guarded(tx, records.SecurityGroups, groupForm, "groupId", &id)
		if err != nil {
			return nil, err
		}
		if g.VPCID != vpcID {
			return nil, otherNetworks()
		}
	}
	if len(ids) > 0 {
		return ids, nil
	}
	for g := range records.SecurityGroups.By(tx, records.SecurityGroupsByVPC, vpcID) {
		if g.Name == defaultGroupName {
			records.SecurityGroups.Guard(tx, g.ID)
			return []string{g.ID}, nil
		}
	}
	return nil, nil
}

func otherNetworks() error {
	return failure("InvalidGroup.NotFound", "You have specified two resources that belong to different networks.")
}

// ModifyNetworkInterfaceAttribute implements ec2api.Service.
func (p *Provider) ModifyNetworkInterfaceAttribute(ctx context.Context, in *ec2api.ModifyNetworkInterfaceAttributeInput) (*ec2api.ModifyNetworkInterfaceAttributeOutput, error) {
	if err := refuse(map[string]bool{
		"attachments of interfaces":                           in.Attachment != nil,
		"ENA settings":                                        in.EnaSrdSpecification != nil,
		"IPv6 addresses of interfaces":                        isTrue(in.EnablePrimaryIpv6),
		"connection tracking settings":                        in.ConnectionTrackingSpecification != nil,
		"interfaces in several subnets":                       len(in.AssociatedSubnetIds) > 0,
		"public addresses by ModifyNetworkInterfaceAttribute": in.AssociatePublicIpAddress != nil,
	}); err != nil {
		return nil, err
	}
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		n, err := named(tx, records.NetworkInterfaces, interfaceForm, "networkInterfaceId", in.NetworkInterfaceId)
		if err != nil {
			return err
		}
		if n.Owner != model.InterfaceOfUser {
			return notYours()
		}
		groups := n.GroupIDs
		if len(in.Groups) > 0 {
			if groups, err = groupsFor(tx, n.VPCID, in.Groups); err != nil {
				return err
			}
		}
		return records.NetworkInterfaces.Edit(tx, n.ID, func(n *model.NetworkInterface) error {
			n.GroupIDs = groups
			if in.Description != nil {
				n.Description = text(in.Description.Value)
			}
			if in.SourceDestCheck != nil {
				n.NoSourceDestCheck = !isTrue(in.SourceDestCheck.Value)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.ModifyNetworkInterfaceAttributeOutput{}, nil
}

// DeleteNetworkInterface implements ec2api.Service.
func (p *Provider) DeleteNetworkInterface(ctx context.Context, in *ec2api.DeleteNetworkInterfaceInput) (*ec2api.DeleteNetworkInterfaceOutput, error) {
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		n, err := named(tx, records.NetworkInterfaces, interfaceForm, "networkInterfaceId", in.NetworkInterfaceId)
		if err != nil {
			return err
		}
		if n.Owner != model.InterfaceOfUser {
			return failure("InvalidParameterValue", "Network interface '%s' is currently in use.", n.ID)
		}
		return removeInterface(tx, n)
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.DeleteNetworkInterfaceOutput{}, nil
}

// removeInterface deletes an interface and gives its addresses back.
func removeInterface(tx *store.Tx, n *model.NetworkInterface) error {
	if err := free(tx, n); err != nil {
		return err
	}
	records.AddressClaims.Delete(tx, model.AddressClaimKey(n.SubnetID, n.Address))
	records.NetworkInterfaces.Delete(tx, n.ID)
	return nil
}
