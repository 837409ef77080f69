package ec2

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/ipam"
	"berth.dev/berth/internal/wire/api/ec2api"
)

// natMemory is how long a gateway is shown after it was deleted or has failed:
// "about an hour" (the Amazon VPC user guide).
const natMemory = time.Hour

func (p *Provider) natGateways() *kind[model.NATGateway] {
	type gateway = model.NATGateway
	return &kind[gateway]{
		form: natForm, call: "DescribeNatGateways", param: "natGatewayIds",
		id:   (*gateway).Key,
		tags: func(g *gateway) []model.Tag { return g.Tags },
		filters: map[string]func(*gateway) []string{
			"nat-gateway-id":    func(g *gateway) []string { return one(g.ID) },
			"subnet-id":         func(g *gateway) []string { return one(g.SubnetID) },
			"vpc-id":            func(g *gateway) []string { return one(g.VPCID) },
			"state":             func(g *gateway) []string { return one(g.State) },
			"connectivity-type": func(g *gateway) []string { return one(g.Connectivity) },
		},
	}
}

// DescribeNatGateways implements ec2api.Service.
func (p *Provider) DescribeNatGateways(_ context.Context, in *ec2api.DescribeNatGatewaysInput) (*ec2api.DescribeNatGatewaysOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	all := slices.DeleteFunc(slices.Collect(records.NATGateways.All(snap)), func(g *model.NATGateway) bool { return forgotten(g, time.Now()) })
	page, next, err := p.natGateways().find(all, query{in.NatGatewayIds, in.Filter, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	out := &ec2api.DescribeNatGatewaysOutput{NatGateways: []ec2api.NatGateway{}, NextToken: next}
	for _, g := range page {
		out.NatGateways = append(out.NatGateways, natOut(snap, g))
	}
	return out, nil
}

// forgotten reports whether a gateway that is no more is not shown any longer.
func forgotten(g *model.NATGateway, now time.Time) bool {
	return g.DeletedAt != nil && now.Sub(*g.DeletedAt) > natMemory
}

func natOut(r store.Reader, g *model.NATGateway) ec2api.NatGateway {
	created := g.CreatedAt
	address := ec2api.NatGatewayAddress{
		NetworkInterfaceId: empty(g.ENIID), PrivateIp: empty(g.Address), PublicIp: empty(g.Public), AllocationId: empty(g.AllocationID), IsPrimary: new(true),
		Status: ec2api.NatGatewayAddressStatusSucceeded,
	}
	if a, found := records.PublicAddresses.Get(r, g.Public); found && a.ENIID == g.ENIID {
		address.AssociationId = empty(a.AssociationID)
	}
	if g.State == model.NATFailed {
		address.Status, address.FailureMessage = ec2api.NatGatewayAddressStatusFailed, empty(g.FailureMessage)
	}
	out := ec2api.NatGateway{
		NatGatewayId: &g.ID, VpcId: &g.VPCID, SubnetId: &g.SubnetID, State: ec2api.NatGatewayState(g.State), CreateTime: &created,
		ConnectivityType: ec2api.ConnectivityType(g.Connectivity), NatGatewayAddresses: []ec2api.NatGatewayAddress{address},
		FailureCode: empty(g.FailureCode), FailureMessage: empty(g.FailureMessage), Tags: tagsOut(g.Tags),
	}
	if g.State == model.NATDeleted {
		out.DeleteTime = g.DeletedAt
	}
	return out
}

// CreateNatGateway implements ec2api.Service. There is nothing to wait for:
// a gateway is available when the call returns, or has failed.
func (p *Provider) CreateNatGateway(ctx context.Context, in *ec2api.CreateNatGatewayInput) (*ec2api.CreateNatGatewayOutput, error) {
	g, err := natIn(in)
	if err != nil {
		return nil, err
	}
	err = p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		prune(tx)
		if made, found := natByToken(tx, g.ClientToken); found {
			g = made
			return nil
		}
		return p.putNAT(tx, g, in)
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.CreateNatGatewayOutput{NatGateway: new(natOut(p.store.Snapshot(), g)), ClientToken: in.ClientToken}, nil
}

// natIn checks what can be checked without looking.
func natIn(in *ec2api.CreateNatGatewayInput) (*model.NATGateway, error) {
	if err := refuse(map[string]bool{
		"regional NAT gateways":               in.AvailabilityMode != "" && in.AvailabilityMode != ec2api.AvailabilityModeZonal || len(in.AvailabilityZoneAddresses) > 0,
		"secondary addresses of NAT gateways": len(in.SecondaryAllocationIds) > 0 || len(in.SecondaryPrivateIpAddresses) > 0 || in.SecondaryPrivateIpAddressCount != nil,
	}); err != nil {
		return nil, err
	}
	tags, err := tagsIn(in.TagSpecifications, ec2api.ResourceTypeNatgateway)
	if err != nil {
		return nil, err
	}
	g := &model.NATGateway{Connectivity: string(in.ConnectivityType), AllocationID: text(in.AllocationId), ClientToken: text(in.ClientToken), Tags: tags}
	if g.Connectivity == "" {
		g.Connectivity = string(ec2api.ConnectivityTypePublic)
	}
	public := g.Connectivity == string(ec2api.ConnectivityTypePublic)
	switch {
	case public && g.AllocationID == "":
		return nil, missingParameter("allocationId")
	case !public && g.AllocationID != "":
		return nil, failure("InvalidParameterCombination", "The parameter allocationId cannot be used with a private NAT gateway")
	}
	return g, nil
}

// prune deletes the gateways that nobody is shown any more.
func prune(tx *store.Tx) {
	for g := range records.NATGateways.All(tx) {
		if forgotten(g, tx.Now()) {
			records.NATGateways.Delete(tx, g.ID)
		}
	}
}

func natByToken(tx *store.Tx, token string) (*model.NATGateway, bool) {
	if token == "" {
		return nil, false
	}
	records.NATGateways.GuardPrefix(tx, "")
	for g := range records.NATGateways.All(tx) {
		if g.ClientToken == token {
			return g, true
		}
	}
	return nil, false
}

// putNAT makes a gateway with its interface, or one that has failed where EC2
// finds out only later.
func (p *Provider) putNAT(tx *store.Tx, g *model.NATGateway, in *ec2api.CreateNatGatewayInput) error {
	subnet, err := guarded(tx, records.Subnets, subnetForm, "subnetId", in.SubnetId)
	if err != nil {
		return err
	}
	g.ID, g.SubnetID, g.VPCID, g.State, g.CreatedAt = ident.EC2("nat"), subnet.ID, subnet.VPCID, model.NATAvailable, tx.Now()
	var public *model.PublicAddress
	if g.AllocationID != "" {
		if public, err = allocated(tx, g.AllocationID); err != nil {
			return err
		}
		g.Public = public.Address
		switch {
		case !hasInternetGateway(tx, subnet.VPCID):
			g.FailureCode, g.FailureMessage = "Gateway.NotAttached", "Network "+subnet.VPCID+" has no Internet gateway attached"
		case public.ENIID != "":
			g.FailureCode, g.FailureMessage = "Resource.AlreadyAssociated", "Elastic IP address ["+g.AllocationID+"] is already associated"
		}
		if g.FailureCode != "" {
			g.State, g.DeletedAt, g.Public = model.NATFailed, new(tx.Now()), ""
			records.NATGateways.Put(tx, g)
			return nil
		}
	}
	n := &model.NetworkInterface{
		ID: ident.EC2("eni"), EC2AttachmentID: ident.EC2("eni-attach"), VPCID: g.VPCID, SubnetID: g.SubnetID, AvailabilityZone: subnet.AvailabilityZone,
		Owner: model.InterfaceOfNATGateway, OwnerID: g.ID, PublicAddress: g.Public, CreatedAt: tx.Now(),
	}
	n.MAC = ipam.MAC(n.ID)
	if n.Address, err = claimAddress(tx, subnet, text(in.PrivateIpAddress), n.ID); err != nil {
		return err
	}
	records.NetworkInterfaces.Put(tx, n)
	g.ENIID, g.Address = n.ID, n.Address
	if public != nil {
		if err := lead(tx, public, n.ID); err != nil {
			return err
		}
	}
	records.NATGateways.Put(tx, g)
	return nil
}

func hasInternetGateway(tx *store.Tx, vpcID string) bool {
	records.InternetGateways.GuardIndex(tx, records.InternetGatewaysByVPC, vpcID)
	for range records.InternetGateways.By(tx, records.InternetGatewaysByVPC, vpcID) {
		return true
	}
	return false
}

// DeleteNatGateway implements ec2api.Service. Routes that led to the gateway
// lead nowhere then.
func (p *Provider) DeleteNatGateway(ctx context.Context, in *ec2api.DeleteNatGatewayInput) (*ec2api.DeleteNatGatewayOutput, error) {
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		g, err := named(tx, records.NATGateways, natForm, "natGatewayId", in.NatGatewayId)
		if err != nil || g.State == model.NATDeleted {
			return err
		}
		if n, found := records.NetworkInterfaces.Get(tx, g.ENIID); found {
			if err := removeInterface(tx, n); err != nil {
				return err
			}
		}
		return records.NATGateways.Edit(tx, g.ID, func(g *model.NATGateway) error {
			g.State, g.DeletedAt = model.NATDeleted, new(tx.Now())
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.DeleteNatGatewayOutput{NatGatewayId: in.NatGatewayId}, nil
}

// claimAddress takes an address of a subnet for an interface: the wanted one,
// or any when none is.
func claimAddress(tx *store.Tx, subnet *model.Subnet, wanted, eniID string) (string, error) {
	prefix, err := netip.ParsePrefix(subnet.CIDR)
	if err != nil {
		return "", err
	}
	taken := func(a netip.Addr) bool {
		return records.AddressClaims.Has(tx, model.AddressClaimKey(subnet.ID, a.String()))
	}
	var address netip.Addr
	if wanted == "" {
		var free bool
		if address, free = ipam.NextAddress(prefix, taken, ipam.Start(prefix, seed())); !free {
			return "", failure("InsufficientFreeAddressesInSubnet", "The specified subnet does not have enough free addresses to satisfy the request.")
		}
	} else {
		address, err = netip.ParseAddr(wanted)
		switch {
		case err != nil:
			return "", failure("InvalidParameterValue", "invalid value for parameter address: %s", wanted)
		case !prefix.Contains(address):
			return "", failure("InvalidParameterValue", "Address %s does not fall within the subnet's address range", wanted)
		case !ipam.Assignable(prefix, address):
			return "", failure("InvalidParameterValue", "Address %s is in subnet's reserved address range", wanted)
		case taken(address):
			return "", failure("InvalidIPAddress.InUse", "Address %s is in use.", wanted)
		}
	}
	records.AddressClaims.Put(tx, &model.AddressClaim{SubnetID: subnet.ID, Address: address.String(), ENIID: eniID})
	return address.String(), nil
}
