package ec2

import (
	"context"
	"net/netip"
	"slices"
	"strconv"

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
		call: "DescribeSubnets", prefix: "subnet-", noun: "subnet ID", param: "subnetIds", notFound: "InvalidSubnetID.NotFound", badID: "InvalidSubnetID.Malformed",
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
