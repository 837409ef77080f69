package ec2

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/ipam"
	"berth.dev/berth/internal/wire/api/ec2api"
)

const amazonPool = "amazon"

func seed() uint64 { return rand.Uint64() }

func (p *Provider) addresses(r store.Reader) *kind[model.PublicAddress] {
	type address = model.PublicAddress
	of := func(value func(*model.NetworkInterface) string) func(*address) []string {
		return func(a *address) []string {
			if n, found := records.NetworkInterfaces.Get(r, a.ENIID); found {
				return one(value(n))
			}
			return nil
		}
	}
	return &kind[address]{
		form: allocationForm, call: "DescribeAddresses", param: "allocationIds",
		id:   func(a *address) string { return a.AllocationID },
		tags: func(a *address) []model.Tag { return a.Tags },
		filters: map[string]func(*address) []string{
			"allocation-id":              func(a *address) []string { return one(a.AllocationID) },
			"association-id":             func(a *address) []string { return some(a.AssociationID) },
			"public-ip":                  func(a *address) []string { return one(a.Address) },
			"network-interface-id":       func(a *address) []string { return some(a.ENIID) },
			"private-ip-address":         of(func(n *model.NetworkInterface) string { return n.Address }),
			"network-interface-owner-id": of(func(*model.NetworkInterface) string { return p.scope.AccountID }),
			"network-border-group":       func(*address) []string { return one(p.scope.Region) },
			"domain":                     func(*address) []string { return one("vpc") },
			"instance-id":                func(*address) []string { return nil },
		},
	}
}

// some is no value for "".
func some(v string) []string {
	if v == "" {
		return nil
	}
	return one(v)
}

// elasticIPs are the addresses that a user owns, by allocation id.
func elasticIPs(r store.Reader) []*model.PublicAddress {
	all := slices.DeleteFunc(slices.Collect(records.PublicAddresses.All(r)), func(a *model.PublicAddress) bool { return a.AllocationID == "" })
	slices.SortFunc(all, func(a, b *model.PublicAddress) int { return strings.Compare(a.AllocationID, b.AllocationID) })
	return all
}

// findAddresses are the Elastic IPs that a request asks for, with addresses
// instead of ids too.
func (p *Provider) findAddresses(r store.Reader, ips []string, q query) ([]*model.PublicAddress, *string, error) { //nolint:unparam // its form is that of its siblings
	all := elasticIPs(r)
	for _, ip := range ips {
		i := slices.IndexFunc(all, func(a *model.PublicAddress) bool { return a.Address == ip })
		if i < 0 {
			return nil, nil, unknownAddress(ip)
		}
		q.ids = append(slices.Clone(q.ids), all[i].AllocationID)
	}
	return p.addresses(r).find(all, q)
}

func unknownAddress(ip string) error {
	return failure("InvalidAddress.NotFound", "Address '%s' not found.", ip)
}

// DescribeAddresses implements ec2api.Service.
func (p *Provider) DescribeAddresses(_ context.Context, in *ec2api.DescribeAddressesInput) (*ec2api.DescribeAddressesOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	page, _, err := p.findAddresses(snap, in.PublicIps, query{ids: in.AllocationIds, filters: in.Filters})
	if err != nil {
		return nil, err
	}
	out := &ec2api.DescribeAddressesOutput{Addresses: []ec2api.Address{}}
	for _, a := range page {
		shown := ec2api.Address{
			AllocationId: &a.AllocationID, PublicIp: &a.Address, Domain: ec2api.DomainTypeVpc, PublicIpv4Pool: new(amazonPool),
			NetworkBorderGroup: &p.scope.Region, AssociationId: empty(a.AssociationID), Tags: tagsOut(a.Tags),
		}
		if n, found := records.NetworkInterfaces.Get(snap, a.ENIID); found {
			shown.NetworkInterfaceId, shown.NetworkInterfaceOwnerId, shown.PrivateIpAddress, shown.SubnetId = &n.ID, &p.scope.AccountID, &n.Address, &n.SubnetID
		}
		out.Addresses = append(out.Addresses, shown)
	}
	return out, nil
}

// DescribeAddressesAttribute implements ec2api.Service. The only attribute is
// a name that leads back from the address, and no address has one.
func (p *Provider) DescribeAddressesAttribute(_ context.Context, in *ec2api.DescribeAddressesAttributeInput) (*ec2api.DescribeAddressesAttributeOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	if _, _, err := p.findAddresses(p.store.Snapshot(), nil, query{ids: in.AllocationIds, nextToken: in.NextToken}); err != nil {
		return nil, err
	}
	return &ec2api.DescribeAddressesAttributeOutput{Addresses: []ec2api.AddressAttribute{}}, nil
}

// AllocateAddress implements ec2api.Service.
func (p *Provider) AllocateAddress(ctx context.Context, in *ec2api.AllocateAddressInput) (*ec2api.AllocateAddressOutput, error) {
	if err := refuse(map[string]bool{
		"addresses outside VPCs":      in.Domain != "" && in.Domain != ec2api.DomainTypeVpc,
		"customer-owned addresses":    in.CustomerOwnedIpv4Pool != nil,
		"address pools of a user":     in.PublicIpv4Pool != nil && *in.PublicIpv4Pool != amazonPool || in.IpamPoolId != nil,
		"other network border groups": in.NetworkBorderGroup != nil && *in.NetworkBorderGroup != p.scope.Region,
	}); err != nil {
		return nil, err
	}
	tags, err := tagsIn(in.TagSpecifications, ec2api.ResourceTypeElasticIp)
	if err != nil {
		return nil, err
	}
	a := &model.PublicAddress{AllocationID: ident.EC2("eipalloc"), Tags: tags}
	err = p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		if a.Address, err = p.chooseAddress(tx, text(in.Address)); err != nil {
			return err
		}
		a.CreatedAt = tx.Now()
		records.PublicAddresses.Put(tx, a)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.AllocateAddressOutput{
		AllocationId: &a.AllocationID, PublicIp: &a.Address, Domain: ec2api.DomainTypeVpc, PublicIpv4Pool: new(amazonPool), NetworkBorderGroup: &p.scope.Region,
	}, nil
}

// chooseAddress is a free address of the pool: the wanted one, or any.
func (p *Provider) chooseAddress(tx *store.Tx, wanted string) (string, error) {
	if !p.pool.IsValid() {
		return "", unsupported("Elastic IPs without a pool of public addresses, which this server has not been given")
	}
	taken := func(a netip.Addr) bool { return records.PublicAddresses.Has(tx, a.String()) }
	if wanted == "" {
		address, free := ipam.NextPublic(p.pool, taken, ipam.Start(p.pool, seed()))
		if !free {
			return "", failure("AddressLimitExceeded", "The maximum number of addresses has been reached.")
		}
		return address.String(), nil
	}
	address, err := netip.ParseAddr(wanted)
	if err != nil || !p.pool.Contains(address) || taken(address) {
		return "", unknownAddress(wanted)
	}
	return address.String(), nil
}

// allocated is the Elastic IP with an allocation id.
func allocated(r store.Reader, id string) (*model.PublicAddress, error) {
	if err := allocationForm.check(id); err != nil {
		return nil, err
	}
	for a := range records.PublicAddresses.All(r) {
		if a.AllocationID == id {
			return a, nil
		}
	}
	return nil, allocationForm.missing(id)
}

// elasticIP is the Elastic IP that a request names in one of two ways.
func elasticIP(r store.Reader, allocationID, ip *string) (*model.PublicAddress, error) {
	switch {
	case text(allocationID) != "":
		return allocated(r, *allocationID)
	case text(ip) != "":
		if a, found := records.PublicAddresses.Get(r, *ip); found && a.AllocationID != "" {
			return a, nil
		}
		return nil, unknownAddress(*ip)
	default:
		return nil, missingParameter("allocationId")
	}
}

// ReleaseAddress implements ec2api.Service.
func (p *Provider) ReleaseAddress(ctx context.Context, in *ec2api.ReleaseAddressInput) (*ec2api.ReleaseAddressOutput, error) {
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		a, err := elasticIP(tx, in.AllocationId, in.PublicIp)
		if err != nil {
			return err
		}
		if a.ENIID != "" || a.LoadBalancerID != "" {
			return failure("InvalidIPAddress.InUse", "Address %s is in use.", a.Address)
		}
		records.PublicAddresses.Delete(tx, a.Address)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.ReleaseAddressOutput{}, nil
}

// AssociateAddress implements ec2api.Service. An Elastic IP takes the place of
// the public address that an interface had.
func (p *Provider) AssociateAddress(ctx context.Context, in *ec2api.AssociateAddressInput) (*ec2api.AssociateAddressOutput, error) {
	if in.InstanceId != nil {
		return nil, failure("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", *in.InstanceId)
	}
	var id string
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		a, err := elasticIP(tx, in.AllocationId, in.PublicIp)
		if err != nil {
			return err
		}
		n, err := named(tx, records.NetworkInterfaces, interfaceForm, "networkInterfaceId", in.NetworkInterfaceId)
		if err != nil {
			return err
		}
		if err := p.mayAssociate(tx, a, n, in); err != nil {
			return err
		}
		if a.ENIID == n.ID {
			id = a.AssociationID
			return nil
		}
		for _, old := range []string{a.ENIID, n.ID} { // whom the address led to, and what led to the interface
			if err := unlead(tx, old); err != nil {
				return err
			}
		}
		if err := records.NetworkInterfaces.Edit(tx, n.ID, func(n *model.NetworkInterface) error {
			n.PublicAddress = a.Address
			return nil
		}); err != nil {
			return err
		}
		if err := lead(tx, a, n.ID); err != nil {
			return err
		}
		a, _ = records.PublicAddresses.Get(tx, a.Address)
		id = a.AssociationID
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.AssociateAddressOutput{AssociationId: &id}, nil
}

func (p *Provider) mayAssociate(tx *store.Tx, a *model.PublicAddress, n *model.NetworkInterface, in *ec2api.AssociateAddressInput) error {
	switch {
	case n.Owner != model.InterfaceOfUser:
		return notYours()
	case in.PrivateIpAddress != nil && *in.PrivateIpAddress != n.Address:
		return failure("InvalidParameterValue", "Invalid value '%s' for PrivateIpAddress. It is not an address of %s", *in.PrivateIpAddress, n.ID)
	case !hasInternetGateway(tx, n.VPCID):
		return failure("Gateway.NotAttached", "Network %s is not attached to any internet gateway", n.VPCID)
	case a.ENIID == n.ID:
		return nil
	case a.LoadBalancerID != "" || a.ENIID != "" && !isTrue(in.AllowReassociation):
		return failure("Resource.AlreadyAssociated", "resource %s is already associated with associate-id %s", a.AllocationID, a.AssociationID)
	}
	if old, found := records.NetworkInterfaces.Get(tx, a.ENIID); found && old.Owner != model.InterfaceOfUser {
		return notYours()
	}
	return nil
}

// notYours refuses to touch what a service of AWS has made for the user.
func notYours() error {
	return failure("AuthFailure", "You do not have permission to access the specified resource.")
}

// lead makes an address lead to an interface.
func lead(tx *store.Tx, a *model.PublicAddress, eniID string) error {
	return records.PublicAddresses.Edit(tx, a.Address, func(a *model.PublicAddress) error {
		a.ENIID, a.AssociationID = eniID, ident.EC2("eipassoc")
		return nil
	})
}

// unlead takes an interface's public address away: an Elastic IP stays its
// owner's, any other goes back to the pool.
func unlead(tx *store.Tx, eniID string) error {
	n, found := records.NetworkInterfaces.Get(tx, eniID)
	if !found || n.PublicAddress == "" {
		return nil
	}
	if err := free(tx, n); err != nil {
		return err
	}
	return records.NetworkInterfaces.Edit(tx, eniID, func(n *model.NetworkInterface) error {
		n.PublicAddress = ""
		return nil
	})
}

// free ends the association of an interface's public address.
func free(tx *store.Tx, n *model.NetworkInterface) error {
	a, found := records.PublicAddresses.Get(tx, n.PublicAddress)
	switch {
	case !found || a.ENIID != n.ID:
		return nil
	case a.AllocationID == "":
		records.PublicAddresses.Delete(tx, a.Address)
		return nil
	}
	return records.PublicAddresses.Edit(tx, a.Address, func(a *model.PublicAddress) error {
		a.ENIID, a.AssociationID = "", ""
		return nil
	})
}

// DisassociateAddress implements ec2api.Service.
func (p *Provider) DisassociateAddress(ctx context.Context, in *ec2api.DisassociateAddressInput) (*ec2api.DisassociateAddressOutput, error) {
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		a, err := associatedAddress(tx, in)
		if err != nil {
			return err
		}
		if n, found := records.NetworkInterfaces.Get(tx, a.ENIID); found && n.Owner != model.InterfaceOfUser {
			return notYours()
		}
		return unlead(tx, a.ENIID)
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.DisassociateAddressOutput{}, nil
}

func associatedAddress(r store.Reader, in *ec2api.DisassociateAddressInput) (*model.PublicAddress, error) {
	if text(in.AssociationId) == "" {
		a, err := elasticIP(r, nil, in.PublicIp)
		if err == nil && a.ENIID == "" {
			err = failure("InvalidAddress.NotFound", "Address '%s' is not associated.", a.Address)
		}
		return a, err
	}
	for a := range records.PublicAddresses.All(r) {
		if a.AssociationID == *in.AssociationId {
			return a, nil
		}
	}
	return nil, failure("InvalidAssociationID.NotFound", "The association ID '%s' does not exist", *in.AssociationId)
}
