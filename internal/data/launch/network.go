package launch

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

// network is where the interfaces of a request's tasks go.
type network struct {
	subnets []subnet
	groups  []string
	public  bool
}

type subnet struct {
	*model.Subnet
	prefix netip.Prefix
	used   int // interfaces that this request has made in it
}

// networkOf checks a request's network configuration against the task
// definition and what exists. It is nil for a task without an interface of its
// own: in mode bridge, host or none.
func (l *Launcher) networkOf(r store.Reader, p *plan) (*network, error) {
	c := p.Network
	switch {
	case p.def.NetworkMode != taskspec.NetworkAwsvpc && c != nil:
		return nil, parameter("Network Configuration is not valid for the given networkMode of this task definition.")
	case p.def.NetworkMode != taskspec.NetworkAwsvpc:
		return nil, nil
	case c == nil:
		return nil, parameter("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
	case c.PublicIP && p.LaunchType != model.LaunchFargate:
		return nil, parameter("Assign public IP is not supported for this launch type.")
	case c.PublicIP && !l.cfg.PublicAddresses.IsValid():
		return nil, parameter("assignPublicIp is not supported: this Berth has no public addresses.")
	}
	n := &network{public: c.PublicIP}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(c.Subnets))) {
		s, found := records.Subnets.Get(r, id)
		if !found {
			return nil, parameter("Error retrieving subnet information for [%s]: The subnet ID '%s' does not exist (ErrorCode: InvalidSubnetID.NotFound)", id, id)
		}
		prefix, err := netip.ParsePrefix(s.CIDR)
		if err != nil {
			return nil, fmt.Errorf("launch: subnet %s: %w", id, err)
		}
		if len(n.subnets) > 0 && n.subnets[0].VPCID != s.VPCID {
			return nil, parameter("The specified subnets are not all in the same VPC.")
		}
		n.subnets = append(n.subnets, subnet{Subnet: s, prefix: prefix})
	}
	// Subnets of one zone take turns within a request; between requests chance
	// spreads them.
	rand.Shuffle(len(n.subnets), func(i, j int) { n.subnets[i], n.subnets[j] = n.subnets[j], n.subnets[i] })
	return n, n.addGroups(r, c.SecurityGroups)
}

// addGroups resolves the security groups; none given means the VPC's default.
func (n *network) addGroups(r store.Reader, ids []string) error {
	if len(n.subnets) == 0 {
		return parameter("subnets can not be empty.")
	}
	vpc := n.subnets[0].VPCID
	for _, id := range ids {
		g, found := records.SecurityGroups.Get(r, id)
		if !found {
			return parameter("Error retrieving security group information for [%s]: The security group '%s' does not exist (ErrorCode: InvalidGroup.NotFound)", id, id)
		}
		if g.VPCID != vpc {
			return parameter("Security group %s does not appear to belong to the same VPC as the input subnets.", id)
		}
		n.groups = append(n.groups, id)
	}
	if len(ids) > 0 {
		return nil
	}
	for g := range records.SecurityGroups.By(r, records.SecurityGroupsByVPC, vpc) {
		if g.Name == "default" {
			n.groups = []string{g.ID}
		}
	}
	return nil
}

func (n *network) guard(tx *store.Tx) {
	for i := range n.subnets {
		records.Subnets.Guard(tx, n.subnets[i].ID)
	}
	for _, id := range n.groups {
		records.SecurityGroups.Guard(tx, id)
	}
}

// zones are those of the subnets that have room, of the wanted ones if any.
func (n *network) zones(r store.Reader, l *Launcher, wanted []string) []string {
	var all, free []string
	for i := range n.subnets {
		s := &n.subnets[i]
		if len(wanted) > 0 && !slices.Contains(wanted, s.AvailabilityZone) {
			continue
		}
		all = append(all, s.AvailabilityZone)
		if _, ok := l.freeAddress(r, s); ok && !slices.Contains(free, s.AvailabilityZone) {
			free = append(free, s.AvailabilityZone)
		}
	}
	switch {
	case len(all) == 0:
		return wanted // no subnet is there: no instance will do
	case len(free) == 0: // attach will say that there is no room
		return slices.Compact(slices.Sorted(slices.Values(all)))
	}
	return free
}

// attach makes the network interface of a task, in a subnet of the zone with
// the fewest, or in another zone when those are full. It returns why it could
// not, empty if it could or if the task needs none.
func (l *Launcher) attach(tx *store.Tx, p *plan, task *model.Task, zone string) (reason string) {
	n := p.network
	if n == nil {
		return ""
	}
	order := make([]*subnet, 0, len(n.subnets))
	for i := range n.subnets {
		s := &n.subnets[i]
		if s.AvailabilityZone == zone || len(p.Zones) == 0 {
			order = append(order, s)
		}
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
		address, free := l.freeAddress(tx, s)
		if !free {
			continue
		}
		var public netip.Addr
		if n.public {
			if public, free = l.freePublic(tx); !free {
				return "There are no free public addresses."
			}
		}
		s.used++
		eni := l.claim(tx, task, s, n.groups, address, public)
		task.ENIID, task.NetworkInterface, task.AvailabilityZone = eni.ID, eni, eni.AvailabilityZone
		return ""
	}
	return "The subnets have no free addresses."
}

// claim writes the interface and the addresses that it holds. A claim's key is
// the address, so two transactions cannot both commit the same one.
func (l *Launcher) claim(tx *store.Tx, task *model.Task, s *subnet, groups []string, address, public netip.Addr) *model.NetworkInterface {
	id := ident.EC2("eni")
	eni := &model.NetworkInterface{
		ID: id, AttachmentID: ident.UUID(), EC2AttachmentID: ident.EC2("eni-attach"),
		VPCID: s.VPCID, SubnetID: s.ID, AvailabilityZone: s.AvailabilityZone,
		Address: address.String(), MAC: ipam.MAC(id), GroupIDs: groups,
		TaskARN: task.ARN, CreatedAt: tx.Now(), InstanceID: task.InstanceID,
	}
	if public.IsValid() {
		eni.PublicAddress = public.String()
		records.PublicAddresses.Put(tx, &model.PublicAddress{Address: eni.PublicAddress, ENIID: id, CreatedAt: tx.Now()})
	}
	records.AddressClaims.Put(tx, &model.AddressClaim{SubnetID: s.ID, Address: eni.Address, ENIID: id})
	records.NetworkInterfaces.Put(tx, eni)
	return eni
}

// freeAddress finds an address of a subnet that nobody has claimed. The search
// begins anywhere, so that an address that was just given back is seldom the
// next one out: neighbours and resolvers may still remember its last holder.
func (l *Launcher) freeAddress(r store.Reader, s *subnet) (netip.Addr, bool) {
	return ipam.NextAddress(s.prefix, func(a netip.Addr) bool {
		return records.AddressClaims.Has(r, model.AddressClaimKey(s.ID, a.String()))
	}, ipam.Start(s.prefix, l.cfg.Seed()))
}

func (l *Launcher) freePublic(tx *store.Tx) (netip.Addr, bool) {
	pool := l.cfg.PublicAddresses
	return ipam.NextPublic(pool, func(a netip.Addr) bool {
		return records.PublicAddresses.Has(tx, a.String())
	}, ipam.Start(pool, l.cfg.Seed()))
}
