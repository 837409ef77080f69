package ec2

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/ipam"
	"berth.dev/berth/internal/wire/api/ec2api"
)

func (p *Provider) subnets(r store.Reader) *kind[model.Subnet] {
	zone := func(s *model.Subnet) []string { return one(s.AvailabilityZone) }
	byDefault := func(s *model.Subnet) []string { return yes(s.DefaultForAZ) }
	cidr := func(s *model.Subnet) []string { return one(s.CIDR) }
	return &kind[model.Subnet]{
		call: "DescribeSubnets", form: subnetForm, param: "subnetIds",
		id:   (*model.Subnet).Key,
		tags: func(s *model.Subnet) []model.Tag { return s.Tags },
		filters: map[string]func(*model.Subnet) []string{
			"subnet-id":               func(s *model.Subnet) []string { return one(s.ID) },
			"subnet-arn":              func(s *model.Subnet) []string { return one(p.scope.EC2("subnet", s.ID)) },
			"vpc-id":                  func(s *model.Subnet) []string { return one(s.VPCID) },
			"availability-zone":       zone,
			"availabilityZone":        zone,
			"availability-zone-id":    func(s *model.Subnet) []string { return one(zoneID(p.scope.Region, s.AvailabilityZone)) },
			"default-for-az":          byDefault,
			"defaultForAz":            byDefault,
			"cidr-block":              cidr,
			"cidr":                    cidr,
			"cidrBlock":               cidr,
			"map-public-ip-on-launch": func(s *model.Subnet) []string { return yes(s.MapPublicIP) },
			"state":                   func(*model.Subnet) []string { return one("available") },
			"owner-id":                func(*model.Subnet) []string { return one(p.scope.AccountID) },
			"ipv6-native":             func(*model.Subnet) []string { return yes(false) },
			"available-ip-address-count": func(s *model.Subnet) []string {
				return one(strconv.Itoa(int(available(r, s))))
			},
		},
	}
}

// available counts the addresses that a new interface could have.
func available(r store.Reader, s *model.Subnet) int32 {
	prefix, err := netip.ParsePrefix(s.CIDR)
	if err != nil {
		return 0
	}
	n := ipam.Capacity(prefix)
	for range records.AddressClaims.Prefix(r, model.AddressClaimKey(s.ID, "")) {
		n--
	}
	return int32(n)
}

// DescribeSubnets implements ec2api.Service.
func (p *Provider) DescribeSubnets(_ context.Context, in *ec2api.DescribeSubnetsInput) (*ec2api.DescribeSubnetsOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	all := slices.Collect(records.Subnets.All(snap))
	page, next, err := p.subnets(snap).find(all, query{in.SubnetIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	out := &ec2api.DescribeSubnetsOutput{Subnets: []ec2api.Subnet{}, NextToken: next}
	for _, s := range page {
		out.Subnets = append(out.Subnets, p.subnetOut(snap, s))
	}
	return out, nil
}

func (p *Provider) subnetOut(r store.Reader, s *model.Subnet) ec2api.Subnet {
	return ec2api.Subnet{
		SubnetId: &s.ID, SubnetArn: new(p.scope.EC2("subnet", s.ID)), VpcId: &s.VPCID, OwnerId: &p.scope.AccountID,
		CidrBlock: &s.CIDR, AvailabilityZone: &s.AvailabilityZone, AvailabilityZoneId: new(zoneID(p.scope.Region, s.AvailabilityZone)),
		AvailableIpAddressCount: new(available(r, s)), DefaultForAz: &s.DefaultForAZ, MapPublicIpOnLaunch: &s.MapPublicIP,
		MapCustomerOwnedIpOnLaunch: new(false), AssignIpv6AddressOnCreation: new(false), EnableDns64: new(false), Ipv6Native: new(false),
		State: ec2api.SubnetStateAvailable, Tags: tagsOut(s.Tags), Ipv6CidrBlockAssociationSet: []ec2api.SubnetIpv6CidrBlockAssociation{},
		PrivateDnsNameOptionsOnLaunch: &ec2api.PrivateDnsNameOptionsOnLaunch{
			HostnameType: ec2api.HostnameTypeIpName, EnableResourceNameDnsARecord: new(false), EnableResourceNameDnsAAAARecord: new(false),
		},
	}
}

// CreateSubnet implements ec2api.Service. Without a zone it takes the one in
// which the VPC has the fewest subnets.
func (p *Provider) CreateSubnet(ctx context.Context, in *ec2api.CreateSubnetInput) (*ec2api.CreateSubnetOutput, error) {
	if err := refuse(map[string]bool{
		"IPv6 ranges of subnets": in.Ipv6CidrBlock != nil || isTrue(in.Ipv6Native) || in.Ipv6IpamPoolId != nil || in.Ipv6NetmaskLength != nil,
		"IPAM pools":             in.Ipv4IpamPoolId != nil || in.Ipv4NetmaskLength != nil,
		"Outposts":               in.OutpostArn != nil,
	}); err != nil {
		return nil, err
	}
	tags, err := tagsIn(in.TagSpecifications, ec2api.ResourceTypeSubnet)
	if err != nil {
		return nil, err
	}
	cidr, err := parseRange("cidrBlock", in.CidrBlock)
	if err != nil {
		return nil, err
	}
	zone, err := p.zoneIn(in.AvailabilityZone, in.AvailabilityZoneId)
	if err != nil {
		return nil, err
	}
	subnet := &model.Subnet{CIDR: cidr.String(), AvailabilityZone: zone, Tags: tags}
	err = p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		vpc, err := guarded(tx, records.VPCs, vpcForm, "vpcId", in.VpcId)
		if err != nil {
			return err
		}
		if err := fits(tx, vpc, cidr); err != nil {
			return err
		}
		subnet.ID, subnet.VPCID, subnet.ACLAssociationID = ident.EC2("subnet"), vpc.ID, ident.EC2("aclassoc")
		if zone == "" {
			subnet.AvailabilityZone = p.emptiestZone(tx, vpc)
		}
		records.Subnets.Put(tx, subnet)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.CreateSubnetOutput{Subnet: new(p.subnetOut(p.store.Snapshot(), subnet))}, nil
}

// fits makes the transaction depend on a range being free in its VPC.
func fits(tx *store.Tx, vpc *model.VPC, cidr netip.Prefix) error {
	whole, err := netip.ParsePrefix(vpc.CIDR)
	if err != nil || cidr.Bits() < whole.Bits() || cidr.Bits() > longestPrefix || !whole.Contains(cidr.Addr()) {
		return failure("InvalidSubnet.Range", "The CIDR '%s' is invalid.", cidr)
	}
	records.Subnets.GuardIndex(tx, records.SubnetsByVPC, vpc.ID)
	for other := range records.Subnets.By(tx, records.SubnetsByVPC, vpc.ID) {
		if taken, err := netip.ParsePrefix(other.CIDR); err == nil && taken.Overlaps(cidr) {
			return failure("InvalidSubnet.Conflict", "The CIDR '%s' conflicts with another subnet", cidr)
		}
	}
	return nil
}

// zoneIn is the zone that a request names by name or by id; empty for none.
func (p *Provider) zoneIn(name, id *string) (string, error) {
	zones := Zones(p.scope.Region)
	for _, z := range zones {
		if text(name) == z || text(name) == "" && text(id) == zoneID(p.scope.Region, z) {
			return z, nil
		}
	}
	if text(name) == "" && text(id) == "" {
		return "", nil
	}
	param, value := "availabilityZone", text(name)
	if value == "" {
		param, value = "availabilityZoneId", text(id)
	}
	return "", failure("InvalidParameterValue", "Value (%s) for parameter %s is invalid. Subnets can currently only be created in the following availability zones: %s.",
		value, param, strings.Join(zones, ", "))
}

func (p *Provider) emptiestZone(r store.Reader, vpc *model.VPC) string {
	zones, count := Zones(p.scope.Region), map[string]int{}
	for s := range records.Subnets.By(r, records.SubnetsByVPC, vpc.ID) {
		count[s.AvailabilityZone]++
	}
	return slices.MinFunc(zones, func(a, b string) int { return count[a] - count[b] })
}

// DeleteSubnet implements ec2api.Service. Whoever puts an interface into a
// subnet guards its record and claims an address; the deletion is guarded
// against such claims. So either way round the later of the two sees the other.
func (p *Provider) DeleteSubnet(ctx context.Context, in *ec2api.DeleteSubnetInput) (*ec2api.DeleteSubnetOutput, error) {
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		subnet, err := named(tx, records.Subnets, subnetForm, "subnetId", in.SubnetId)
		if err != nil {
			return err
		}
		records.AddressClaims.GuardPrefix(tx, model.AddressClaimKey(subnet.ID, ""))
		guardTables(tx, subnet.VPCID)
		for range records.NetworkInterfaces.By(tx, records.NetworkInterfacesBySubnet, subnet.ID) {
			return inUse("subnet", subnet.ID)
		}
		if table, i := tableOf(tx, subnet); i >= 0 {
			if err := records.RouteTables.Edit(tx, table.ID, func(t *model.RouteTable) error {
				t.Associations = slices.Delete(t.Associations, i, i+1)
				return nil
			}); err != nil {
				return err
			}
		}
		records.Subnets.Delete(tx, subnet.ID)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.DeleteSubnetOutput{}, nil
}

// ModifySubnetAttribute implements ec2api.Service.
func (p *Provider) ModifySubnetAttribute(ctx context.Context, in *ec2api.ModifySubnetAttributeInput) (*ec2api.ModifySubnetAttributeOutput, error) {
	on := func(a *ec2api.AttributeBooleanValue) bool { return a != nil && isTrue(a.Value) }
	if err := refuse(map[string]bool{
		"IPv6 addresses of interfaces":   on(in.AssignIpv6AddressOnCreation) || on(in.EnableDns64),
		"customer-owned addresses":       on(in.MapCustomerOwnedIpOnLaunch) || in.CustomerOwnedIpv4Pool != nil,
		"local network interfaces":       in.EnableLniAtDeviceIndex != nil,
		"DNS names of EC2 instances":     on(in.EnableResourceNameDnsARecordOnLaunch) || on(in.EnableResourceNameDnsAAAARecordOnLaunch),
		"host names by EC2 resource ids": in.PrivateDnsHostnameTypeOnLaunch == ec2api.HostnameTypeResourceName,
	}); err != nil {
		return nil, err
	}
	err := p.change(ctx, nil, func(tx *store.Tx) error {
		if _, err := named(tx, records.Subnets, subnetForm, "subnetId", in.SubnetId); err != nil || in.MapPublicIpOnLaunch == nil {
			return err
		}
		return records.Subnets.Edit(tx, *in.SubnetId, func(s *model.Subnet) error {
			s.MapPublicIP = on(in.MapPublicIpOnLaunch)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.ModifySubnetAttributeOutput{}, nil
}
