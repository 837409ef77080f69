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

// Names of the groups that Berth makes.
const (
	defaultGroupName = "default"
	// OpenGroupName is the group of the default VPC that lets everything in.
	OpenGroupName = "berth-open"
)

// Bootstrap makes what an AWS account has from its start: a default VPC of the
// given range with a default subnet in each zone, a default security group and
// a main route table that leads to an internet gateway; and besides a security
// group that lets everything in, which `berth run` uses.
//
// When there is a VPC already, its range stays and vpcCIDR may be zero; what
// an earlier Berth did not make is added. A second call changes nothing.
func Bootstrap(ctx context.Context, s *store.Store, scope arn.Scope, vpcCIDR netip.Prefix) error {
	if err := makeDefaultVPC(ctx, s, scope, vpcCIDR); err != nil {
		return fmt.Errorf("default VPC: %w", err)
	}
	for vpc := range records.VPCs.All(s.Snapshot()) {
		if _, err := s.Update(ctx, func(tx *store.Tx) error { return complete(tx, vpc.ID) }); err != nil {
			return fmt.Errorf("bringing %s up to date: %w", vpc.ID, err)
		}
	}
	return nameNodes(ctx, s)
}

func makeDefaultVPC(ctx context.Context, s *store.Store, scope arn.Scope, cidr netip.Prefix) error {
	_, err := s.Update(ctx, func(tx *store.Tx) error {
		// Two servers may start at once; the second must see the first's.
		records.VPCs.GuardPrefix(tx, "")
		if records.VPCs.Len(tx) > 0 {
			return nil
		}
		zones := Zones(scope.Region)
		ranges := ipam.SubnetRanges(cidr, len(zones))
		if len(ranges) < len(zones) {
			return fmt.Errorf("%v has no room for %d subnets", cidr, len(zones))
		}
		vpc := &model.VPC{ID: ident.EC2("vpc"), CIDR: cidr.Masked().String(), IsDefault: true}
		records.VPCs.Put(tx, vpc)
		for i, zone := range zones {
			records.Subnets.Put(tx, &model.Subnet{
				ID: ident.EC2("subnet"), VPCID: vpc.ID, CIDR: ranges[i].String(), AvailabilityZone: zone, DefaultForAZ: true, MapPublicIP: true,
			})
		}
		records.SecurityGroups.Put(tx, defaultGroup(vpc.ID))
		return nil
	})
	return err
}

// complete adds to a VPC what it should have begun with.
func complete(tx *store.Tx, vpcID string) error {
	vpc, found := records.VPCs.Get(tx, vpcID)
	if !found {
		return nil
	}
	if err := completeRoutes(tx, vpc); err != nil {
		return err
	}
	return completeGroups(tx, vpc)
}

// completeRoutes gives a VPC its main route table, and the default VPC its way
// to the internet.
func completeRoutes(tx *store.Tx, vpc *model.VPC) error {
	records.RouteTables.GuardIndex(tx, records.RouteTablesByVPC, vpc.ID)
	for t := range records.RouteTables.By(tx, records.RouteTablesByVPC, vpc.ID) {
		if t.Main() {
			return nil
		}
	}
	main := mainTable(vpc.ID)
	if vpc.IsDefault {
		gateway := &model.InternetGateway{ID: ident.EC2("igw"), VPCID: vpc.ID}
		records.InternetGateways.Put(tx, gateway)
		main.Routes = []model.Route{{DestinationCIDR: everywhere, GatewayID: gateway.ID}}
		if err := records.VPCs.Edit(tx, vpc.ID, func(v *model.VPC) error {
			v.DNSHostnames = true
			return nil
		}); err != nil {
			return err
		}
	}
	records.RouteTables.Put(tx, main)
	return nil
}

func mainTable(vpcID string) *model.RouteTable {
	return &model.RouteTable{
		ID: ident.EC2("rtb"), VPCID: vpcID,
		Associations: []model.RouteTableAssociation{{ID: ident.EC2("rtbassoc"), Main: true}},
	}
}

// completeGroups replaces the rules of a default group from before rules had
// ids, when nothing enforced them and the group therefore allowed everything;
// and makes the open group.
func completeGroups(tx *store.Tx, vpc *model.VPC) error {
	records.SecurityGroups.GuardIndex(tx, records.SecurityGroupsByVPC, vpc.ID)
	open := false
	for g := range records.SecurityGroups.By(tx, records.SecurityGroupsByVPC, vpc.ID) {
		open = open || g.Name == OpenGroupName
		if g.Name != defaultGroupName || len(g.Ingress) == 0 || g.Ingress[0].ID != "" {
			continue
		}
		if err := records.SecurityGroups.Edit(tx, g.ID, func(g *model.SecurityGroup) error {
			g.Ingress, g.Egress = fromItself(g.ID), toEverywhere()
			return nil
		}); err != nil {
			return err
		}
	}
	if vpc.IsDefault && !open {
		records.SecurityGroups.Put(tx, openGroup(vpc.ID))
	}
	return nil
}

// nameNodes tells the interfaces of tasks from before nodes enforced anything
// which node has them.
func nameNodes(ctx context.Context, s *store.Store) error {
	snap := s.Snapshot()
	var nameless []string
	for n := range records.NetworkInterfaces.All(snap) {
		if n.InstanceID == "" && n.Owner == model.InterfaceOfTask {
			nameless = append(nameless, n.ID)
		}
	}
	_, err := store.Batch(ctx, s, nameless, func(tx *store.Tx, id string) error {
		for t := range records.Tasks.By(tx, records.TasksByENI, id) {
			if t.InstanceID == "" || !records.NetworkInterfaces.Has(tx, id) {
				continue
			}
			return records.NetworkInterfaces.Edit(tx, id, func(n *model.NetworkInterface) error {
				n.InstanceID = t.InstanceID
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("naming the nodes of network interfaces: %w", err)
	}
	return nil
}

// defaultGroup lets in what comes from the group itself, and everything out.
func defaultGroup(vpcID string) *model.SecurityGroup {
	id := ident.EC2("sg")
	return &model.SecurityGroup{
		ID: id, Name: defaultGroupName, Description: "default VPC security group", VPCID: vpcID,
		Ingress: fromItself(id), Egress: toEverywhere(),
	}
}

// openGroup lets in everything.
func openGroup(vpcID string) *model.SecurityGroup {
	return &model.SecurityGroup{
		ID: ident.EC2("sg"), Name: OpenGroupName, VPCID: vpcID,
		Description: "lets everything in; what berth run uses when no group is named",
		Ingress:     toEverywhere(), Egress: toEverywhere(),
	}
}

func fromItself(groupID string) []model.SecurityGroupRule {
	return []model.SecurityGroupRule{{ID: ident.EC2("sgr"), Protocol: allProtocols, GroupID: groupID}}
}

func toEverywhere() []model.SecurityGroupRule {
	return []model.SecurityGroupRule{{ID: ident.EC2("sgr"), Protocol: allProtocols, CIDR: everywhere}}
}
