package ec2

import (
	"context"
	"fmt"
	"net/netip"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/ipam"
)

// Bootstrap makes what an AWS account has from its start: a default VPC of the
// given range, a default subnet in each zone and a default security group. It
// does nothing when there is a VPC already, whatever its range.
func Bootstrap(ctx context.Context, s *store.Store, scope arn.Scope, vpcCIDR netip.Prefix) error {
	zones := Zones(scope.Region)
	ranges := ipam.SubnetRanges(vpcCIDR, len(zones))
	if len(ranges) < len(zones) {
		return fmt.Errorf("default VPC: %v has no room for %d subnets", vpcCIDR, len(zones))
	}
	_, err := s.Update(ctx, func(tx *store.Tx) error {
		// Two servers may start at once; the second must see the first's.
		records.VPCs.GuardPrefix(tx, "")
		if records.VPCs.Len(tx) > 0 {
			return nil
		}
		vpc := &model.VPC{ID: ident.EC2("vpc"), CIDR: vpcCIDR.Masked().String(), IsDefault: true}
		records.VPCs.Put(tx, vpc)
		for i, zone := range zones {
			records.Subnets.Put(tx, &model.Subnet{
				ID: ident.EC2("subnet"), VPCID: vpc.ID, CIDR: ranges[i].String(), AvailabilityZone: zone, DefaultForAZ: true, MapPublicIP: true,
			})
		}
		records.SecurityGroups.Put(tx, defaultGroup(vpc.ID))
		return nil
	})
	if err != nil {
		return fmt.Errorf("default VPC: %w", err)
	}
	return nil
}

// defaultGroup allows everything. On AWS a default group lets in only what
// comes from the group itself; but no packet is filtered here yet, and a group
// that says otherwise would be a promise that is not kept. Whoever enforces
// rules makes this AWS's again.
func defaultGroup(vpcID string) *model.SecurityGroup {
	everything := []model.SecurityGroupRule{{Protocol: "-1", CIDR: "0.0.0.0/0"}}
	return &model.SecurityGroup{
		ID: ident.EC2("sg"), Name: "default", Description: "default VPC security group", VPCID: vpcID,
		Ingress: everything, Egress: everything,
	}
}
