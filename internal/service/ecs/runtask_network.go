package ecs

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
	"berth.dev/berth/internal/rules/taskspec"
)

// network is where the interfaces of a call's tasks go.
type network struct {
	subnets []subnet
	groups  []string
}

type subnet struct {
	*model.Subnet
	prefix netip.Prefix
	used   int // interfaces that this call has made in it
}

// networkOf checks a call's network configuration against the task definition
// and what exists.
func networkOf(tx *store.Tx, l *launch, r *runRequest) (*network, error) {
	if mode := l.effective.NetworkMode; mode != taskspec.NetworkAwsvpc {
		if r.Network != nil {
			return nil, parameterError("Network Configuration is not valid for the given networkMode of this task definition.")
		}
		return nil, parameterError("Berth cannot run tasks with network mode '%s' yet. Register the task definition with network mode 'awsvpc'.", mode)
	}
	if r.Network == nil {
		return nil, parameterError("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
	}
	if r.Network.PublicIP && l.kind != model.LaunchFargate {
		return nil, parameterError("Assign public IP is not supported for this launch type.")
	}
	n := &network{}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(r.Network.Subnets))) {
		s, found := records.Subnets.Get(tx, id)
		if !found {
			return nil, parameterError("Error retrieving subnet information for [%s]: The subnet ID '%s' does not exist (ErrorCode: InvalidSubnetID.NotFound)", id, id)
		}
		prefix, err := netip.ParsePrefix(s.CIDR)
		if err != nil {
			return nil, fmt.Errorf("subnet %s: %w", id, err)
		}
		if len(n.subnets) > 0 && n.subnets[0].VPCID != s.VPCID {
			return nil, parameterError("The specified subnets are not all in the same VPC.")
		}
		records.Subnets.Guard(tx, id)
		n.subnets = append(n.subnets, subnet{Subnet: s, prefix: prefix})
	}
	// Subnets of one zone take turns within a call; between calls chance
	// spreads them.
	rand.Shuffle(len(n.subnets), func(i, j int) { n.subnets[i], n.subnets[j] = n.subnets[j], n.subnets[i] })
	return n, n.addGroups(tx, r.Network.SecurityGroups)
}

// addGroups resolves the security groups; none given means the VPC's default.
func (n *network) addGroups(tx *store.Tx, ids []string) error {
	vpc := n.subnets[0].VPCID
	for _, id := range ids {
		g, found := records.SecurityGroups.Get(tx, id)
		if !found {
			return parameterError("Error retrieving security group information for [%s]: The security group '%s' does not exist (ErrorCode: InvalidGroup.NotFound)", id, id)
		}
		if g.VPCID != vpc {
			return parameterError("Security group %s does not appear to belong to the same VPC as the input subnets.", id)
		}
		records.SecurityGroups.Guard(tx, id)
		n.groups = append(n.groups, id)
	}
	if len(ids) > 0 {
		return nil
	}
	for g := range records.SecurityGroups.By(tx, records.SecurityGroupsByVPC, vpc) {
		if g.Name == "default" {
			records.SecurityGroups.Guard(tx, g.ID)
			n.groups = []string{g.ID}
		}
	}
	return nil
}

// zones are those of the subnets that have room.
func (n *network) zones(tx *store.Tx, p *Provider) []string {
	var all, free []string
	for i := range n.subnets {
		s := &n.subnets[i]
		all = append(all, s.AvailabilityZone)
		if _, ok := p.freeAddress(tx, s); ok && !slices.Contains(free, s.AvailabilityZone) {
			free = append(free, s.AvailabilityZone)
		}
	}
	if len(free) == 0 { // attach will say that there is no room
		return slices.Compact(slices.Sorted(slices.Values(all)))
	}
	return free
}

// attach makes the network interface of a task in a zone, in the subnet with
// the fewest, or in another zone when those are full. The claim's key is the
// address, so two transactions cannot both commit the same one.
func (n *network) attach(tx *store.Tx, p *Provider, task *model.Task, zone string) (*model.NetworkInterface, bool) {
	order := make([]*subnet, 0, len(n.subnets))
	for i := range n.subnets {
		order = append(order, &n.subnets[i])
	}
	slices.SortStableFunc(order, func(a, b *subnet) int {
		if (a.AvailabilityZone == zone) != (b.AvailabilityZone == zone) {
			if a.AvailabilityZone == zone {
				return -1
			}
			return 1
		}
		return a.used - b.used
	})
	for _, s := range order {
		if s.AvailabilityZone != zone {
			// The host was chosen for its zone; it may not serve another.
			if i, found := records.Instances.Get(tx, task.InstanceID); !found || i.Zone != "" {
				continue
			}
		}
		address, free := p.freeAddress(tx, s)
		if !free {
			continue
		}
		s.used++
		return n.claim(tx, task, s, address), true
	}
	return nil, false
}

func (n *network) claim(tx *store.Tx, task *model.Task, s *subnet, address netip.Addr) *model.NetworkInterface {
	id := ident.EC2("eni")
	eni := &model.NetworkInterface{
		ID: id, AttachmentID: ident.UUID(), EC2AttachmentID: ident.EC2("eni-attach"),
		VPCID: s.VPCID, SubnetID: s.ID, AvailabilityZone: s.AvailabilityZone,
		Address: address.String(), MAC: ipam.MAC(id), GroupIDs: n.groups,
		TaskARN: task.ARN, CreatedAt: tx.Now(),
	}
	records.AddressClaims.Put(tx, &model.AddressClaim{SubnetID: s.ID, Address: eni.Address, ENIID: id})
	records.NetworkInterfaces.Put(tx, eni)
	return eni
}

// freeAddress finds an address that nobody has claimed.
func (p *Provider) freeAddress(tx *store.Tx, s *subnet) (netip.Addr, bool) {
	return ipam.NextAddress(s.prefix, func(a netip.Addr) bool {
		return records.AddressClaims.Has(tx, model.AddressClaimKey(s.ID, a.String()))
	}, p.someAddress(s.prefix))
}

// someAddress is where the search for a free address begins. It is anywhere in
// the subnet, so that an address that was just given back is seldom the next
// one out: neighbours and resolvers may still remember its last holder.
func (p *Provider) someAddress(subnet netip.Prefix) netip.Addr {
	b := subnet.Masked().Addr().As4()
	host := uint32(p.seed()) & (1<<(32-subnet.Bits()) - 1)
	for i := range 4 {
		b[i] |= byte(host >> (8 * (3 - i)))
	}
	return netip.AddrFrom4(b)
}
