package elbv2

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/ipam"
	"berth.dev/berth/internal/wire/api/elbv2api"
)

func chance() uint64 { return rand.Uint64() }

const (
	schemeInternet = "internet-facing"
	schemeInternal = "internal"
)

// placement is where a load balancer has interfaces: subnets of one VPC, each
// with the private address that was asked for, if any.
type placement struct {
	vpcID   string
	subnets []*model.Subnet
	address map[string]string // by subnet id
}

// request names the subnets that a call gives in either of two ways.
func placementRequest(subnets []string, mappings []elbv2api.SubnetMapping) ([]elbv2api.SubnetMapping, error) {
	switch {
	case len(subnets) > 0 && len(mappings) > 0:
		return nil, failure(codeInvalidConfiguration, "Only one of subnets or subnet mappings can be specified")
	case len(subnets) == 0 && len(mappings) == 0:
		return nil, invalid("You must specify subnets or subnet mappings")
	case len(mappings) > 0:
		return mappings, nil
	}
	for i := range subnets {
		mappings = append(mappings, elbv2api.SubnetMapping{SubnetId: &subnets[i]})
	}
	return mappings, nil
}

// place checks the subnets of a load balancer of that type and scheme against
// what exists. The transaction depends on what it sees.
func (p *Provider) place(tx *store.Tx, kind, scheme string, mappings []elbv2api.SubnetMapping) (*placement, error) {
	pl := &placement{address: map[string]string{}}
	zones := map[string]bool{}
	for _, m := range mappings {
		subnet, err := findSubnet(tx, m.SubnetId)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(pl.subnets, func(s *model.Subnet) bool { return s.ID == subnet.ID }) {
			return nil, failure(codeInvalidConfiguration, "The subnet '%s' is specified more than once", subnet.ID)
		}
		if len(pl.subnets) > 0 && subnet.VPCID != pl.vpcID {
			return nil, failure(codeInvalidConfiguration, "All subnets must belong to the same VPC: '%s'", pl.vpcID)
		}
		if zones[subnet.AvailabilityZone] {
			return nil, failure(codeInvalidConfiguration, "A load balancer cannot be attached to multiple subnets in the same Availability Zone")
		}
		zones[subnet.AvailabilityZone] = true
		pl.vpcID = subnet.VPCID
		pl.subnets = append(pl.subnets, subnet)
		if err := pl.ask(kind, scheme, subnet, m); err != nil {
			return nil, err
		}
	}
	if kind == model.LoadBalancerApplication && len(zones) < 2 {
		return nil, invalid("At least two subnets in two different Availability Zones must be specified")
	}
	return pl, nil
}

func findSubnet(tx *store.Tx, id *string) (*model.Subnet, error) {
	if id == nil || *id == "" {
		return nil, invalid("A subnet ID must be specified")
	}
	subnet, found := records.Subnets.Get(tx, *id)
	if !found {
		return nil, failure(codeSubnetNotFound, "The subnet ID '%s' does not exist", *id)
	}
	records.Subnets.Guard(tx, subnet.ID)
	return subnet, nil
}

// ask notes what a mapping wants besides the subnet.
func (pl *placement) ask(kind, scheme string, subnet *model.Subnet, m elbv2api.SubnetMapping) error {
	switch {
	case m.IPv6Address != nil || m.SourceNatIpv6Prefix != nil:
		return unsupported("IPv6 addresses of load balancers")
	case m.AllocationId != nil:
		return unsupported("Elastic IP addresses of load balancers")
	case m.PrivateIPv4Address == nil:
		return nil
	case kind != model.LoadBalancerNetwork || scheme != schemeInternal:
		return failure(codeInvalidConfiguration, "Private IPv4 addresses can only be specified for internal Network Load Balancers")
	}
	prefix, err := netip.ParsePrefix(subnet.CIDR)
	if err != nil {
		return fmt.Errorf("subnet %s: %w", subnet.ID, err)
	}
	address, err := netip.ParseAddr(*m.PrivateIPv4Address)
	if err != nil || !ipam.Assignable(prefix, address) {
		return failure(codeInvalidConfiguration, "The private IPv4 address '%s' is not in the range of subnet '%s'", *m.PrivateIPv4Address, subnet.ID)
	}
	pl.address[subnet.ID] = address.String()
	return nil
}

// internetGateway is the gateway that is attached to the VPC, or "".
func internetGateway(tx *store.Tx, vpcID string) string {
	for g := range records.InternetGateways.All(tx) {
		if g.VPCID == vpcID {
			records.InternetGateways.Guard(tx, g.ID)
			return g.ID
		}
	}
	return ""
}

// attach makes the interface of a load balancer in a subnet. The claim's key
// is the address, so two transactions cannot both commit the same one.
func (p *Provider) attach(tx *store.Tx, lb *model.LoadBalancer, subnet *model.Subnet, wanted string) (model.BalancerZone, error) {
	prefix, err := netip.ParsePrefix(subnet.CIDR)
	if err != nil {
		return model.BalancerZone{}, fmt.Errorf("subnet %s: %w", subnet.ID, err)
	}
	taken := func(a netip.Addr) bool {
		return records.AddressClaims.Has(tx, model.AddressClaimKey(subnet.ID, a.String()))
	}
	var address netip.Addr
	if wanted != "" {
		if address = netip.MustParseAddr(wanted); taken(address) { // parsed before
			return model.BalancerZone{}, failure(codeInvalidConfiguration, "The private IPv4 address '%s' is already in use", wanted)
		}
	} else {
		var free bool
		if address, free = ipam.NextAddress(prefix, taken, ipam.Start(prefix, p.seed())); !free {
			return model.BalancerZone{}, failure(codeInvalidSubnet, "Not enough IP space available in %s. ELB requires at least 1 free IP address in each subnet.", subnet.ID)
		}
	}
	id := ident.EC2("eni")
	records.AddressClaims.Put(tx, &model.AddressClaim{SubnetID: subnet.ID, Address: address.String(), ENIID: id})
	records.NetworkInterfaces.Put(tx, &model.NetworkInterface{
		ID: id, AttachmentID: ident.UUID(), EC2AttachmentID: ident.EC2("eni-attach"),
		VPCID: subnet.VPCID, SubnetID: subnet.ID, AvailabilityZone: subnet.AvailabilityZone,
		Address: address.String(), MAC: ipam.MAC(id), GroupIDs: lb.SecurityGroups, CreatedAt: tx.Now(),
		Owner: model.InterfaceOfLoadBalancer, OwnerID: lb.ID, Description: "ELB " + lb.ID,
	})
	return model.BalancerZone{SubnetID: subnet.ID, AvailabilityZone: subnet.AvailabilityZone, ENIID: id, Address: address.String(), Chosen: wanted != ""}, nil
}

// claimPublic gives an internet-facing load balancer its address.
func (p *Provider) claimPublic(tx *store.Tx, lb *model.LoadBalancer) error {
	if lb.Scheme != schemeInternet {
		return nil
	}
	if !p.public.IsValid() {
		return failure(codeOperationNotPermitted, "This server has no range of public addresses for internet-facing load balancers.")
	}
	address, free := ipam.NextPublic(p.public, func(a netip.Addr) bool { return records.PublicAddresses.Has(tx, a.String()) }, netip.Addr{})
	if !free {
		return failure(codeInvalidSubnet, "There is no free public address left in %s.", p.public)
	}
	lb.PublicAddress = address.String()
	records.PublicAddresses.Put(tx, &model.PublicAddress{Address: lb.PublicAddress, LoadBalancerID: lb.ID, CreatedAt: tx.Now()})
	return nil
}

// groups checks the security groups of a load balancer in a VPC. An
// application load balancer that names none gets the VPC's default group.
func groups(tx *store.Tx, kind, vpcID string, ids []string) ([]string, error) {
	for _, id := range ids {
		g, found := records.SecurityGroups.Get(tx, id)
		if !found {
			return nil, failure(codeInvalidSecurityGroup, "One or more security groups are invalid")
		}
		if g.VPCID != vpcID {
			return nil, failure(codeInvalidConfiguration, "One or more security groups are invalid. Security groups must be in the same VPC as the subnets")
		}
		records.SecurityGroups.Guard(tx, id)
	}
	if len(ids) > maxGroups {
		return nil, failure(codeInvalidConfiguration, "A maximum of %d security groups can be specified", maxGroups)
	}
	if len(ids) > 0 || kind == model.LoadBalancerNetwork {
		return ids, nil
	}
	for g := range records.SecurityGroups.By(tx, records.SecurityGroupsByVPC, vpcID) {
		if g.Name == "default" {
			records.SecurityGroups.Guard(tx, g.ID)
			return []string{g.ID}, nil
		}
	}
	return nil, failure(codeInvalidSecurityGroup, "VPC %s has no default security group", vpcID)
}

// maxGroups is how many security groups an interface can be in.
const maxGroups = 5
