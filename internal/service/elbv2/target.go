package elbv2

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/elbv2api"
)

// RegisterTargets implements elbv2api.Service. A target that drains is
// registered anew; one that is registered stays as it is.
func (p *Provider) RegisterTargets(ctx context.Context, in *elbv2api.RegisterTargetsInput) (*elbv2api.RegisterTargetsOutput, error) {
	snap := p.store.Snapshot()
	group, err := p.targetGroup(snap, in.TargetGroupArn)
	if err != nil {
		return nil, err
	}
	known := 0
	for range records.Targets.Prefix(snap, group.ID+"|") {
		known++
	}
	var targets []model.Target
	for i := range in.Targets {
		t, err := resolveTarget(snap, group, &in.Targets[i])
		if err != nil {
			return nil, err
		}
		if !records.Targets.Has(snap, t.Key()) {
			known++
		}
		targets = append(targets, *t)
	}
	if known > maxTargets {
		return nil, failure(codeTooManyTargets, "The maximum number of targets per target group is %d", maxTargets)
	}
	_, err = store.Batch(ctx, p.store, targets, func(tx *store.Tx, t model.Target) error {
		records.TargetGroups.Guard(tx, group.ID)
		if !records.TargetGroups.Has(tx, group.ID) {
			return failure(codeTargetGroupNotFound, "One or more target groups not found")
		}
		if old, found := records.Targets.Get(tx, t.Key()); found && old.DeregisteredAt == nil {
			return nil
		}
		t.RegisteredAt = tx.Now()
		records.Targets.Put(tx, &t)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &elbv2api.RegisterTargetsOutput{}, nil
}

// resolveTarget checks a target and finds out where its packets go.
func resolveTarget(r store.Reader, group *model.TargetGroup, d *elbv2api.TargetDescription) (*model.Target, error) {
	t := &model.Target{TargetGroupID: group.ID, TargetID: *d.Id, Port: group.Port}
	if d.Port != nil {
		t.Port = *d.Port
	}
	if d.QuicServerId != nil {
		return nil, unsupported("QUIC targets")
	}
	if group.TargetType == targetInstance {
		return t, instanceTarget(r, t, d.AvailabilityZone)
	}
	return t, addressTarget(r, group, t, d.AvailabilityZone)
}

func instanceTarget(r store.Reader, t *model.Target, zone *string) error {
	if zone != nil {
		return invalid("You cannot specify an Availability Zone for targets of type 'instance'")
	}
	for i := range records.Instances.All(r) {
		if i.EC2InstanceID != t.TargetID {
			continue
		}
		if i.Address == "" {
			return failure(codeInvalidTarget, "The following targets are not in a running state and cannot be registered: '%s'", t.TargetID)
		}
		t.Address, t.AvailabilityZone = i.Address, i.Zone
		return nil
	}
	return failure(codeInvalidTarget, "The instance ID '%s' is not valid", t.TargetID)
}

// zoneAll is the zone of targets that are not in the VPC.
const zoneAll = "all"

func addressTarget(r store.Reader, group *model.TargetGroup, t *model.Target, zone *string) error {
	address, err := netip.ParseAddr(t.TargetID)
	if err != nil || !address.Is4() {
		return invalid("The IP address '%s' is not a valid IPv4 address", t.TargetID)
	}
	t.Address = address.String()
	if subnet := subnetOf(r, group.VPCID, address); subnet != nil {
		t.AvailabilityZone = subnet.AvailabilityZone
		if zone != nil && *zone != zoneAll && *zone != subnet.AvailabilityZone {
			return failure(codeInvalidTarget, "The Availability Zone '%s' is not that of the target '%s', which is '%s'", *zone, t.TargetID, subnet.AvailabilityZone)
		}
		if zone != nil {
			t.AvailabilityZone = *zone
		}
		return nil
	}
	if !reachable(r, address) {
		return failure(codeInvalidTarget, "The IP address '%s' is not within the VPC of the target group and not a private address", t.TargetID)
	}
	if zone == nil || *zone != zoneAll {
		return failure(codeInvalidTarget, "You must specify 'all' as the Availability Zone of the target '%s', which is outside of the VPC", t.TargetID)
	}
	t.AvailabilityZone = zoneAll
	return nil
}

func subnetOf(r store.Reader, vpcID string, address netip.Addr) *model.Subnet {
	for s := range records.Subnets.By(r, records.SubnetsByVPC, vpcID) {
		if prefix, err := netip.ParsePrefix(s.CIDR); err == nil && prefix.Contains(address) {
			return s
		}
	}
	return nil
}

// reachable reports whether a load balancer may send packets to an address
// outside its VPC: private ranges as on AWS, and the nodes' own addresses.
func reachable(r store.Reader, address netip.Addr) bool {
	if address.IsPrivate() || netip.MustParsePrefix("100.64.0.0/10").Contains(address) {
		return true
	}
	for i := range records.Instances.All(r) {
		if i.Address == address.String() {
			return true
		}
	}
	return false
}

// DeregisterTargets implements elbv2api.Service. A target that is not
// registered is no error. The targets' end is control/balancing's.
func (p *Provider) DeregisterTargets(ctx context.Context, in *elbv2api.DeregisterTargetsInput) (*elbv2api.DeregisterTargetsOutput, error) {
	group, err := p.targetGroup(p.store.Snapshot(), in.TargetGroupArn)
	if err != nil {
		return nil, err
	}
	_, err = store.Batch(ctx, p.store, in.Targets, func(tx *store.Tx, d elbv2api.TargetDescription) error {
		key := model.TargetKey(group.ID, *d.Id, portOf(group, &d))
		t, found := records.Targets.Get(tx, key)
		if !found || t.DeregisteredAt != nil {
			return nil
		}
		return records.Targets.Edit(tx, key, func(t *model.Target) error {
			t.DeregisteredAt = new(tx.Now())
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return &elbv2api.DeregisterTargetsOutput{}, nil
}

func portOf(group *model.TargetGroup, d *elbv2api.TargetDescription) int32 {
	if d.Port != nil {
		return *d.Port
	}
	return group.Port
}

// DescribeTargetHealth implements elbv2api.Service.
func (p *Provider) DescribeTargetHealth(_ context.Context, in *elbv2api.DescribeTargetHealthInput) (*elbv2api.DescribeTargetHealthOutput, error) {
	snap := p.store.Snapshot()
	group, err := p.targetGroup(snap, in.TargetGroupArn)
	if err != nil {
		return nil, err
	}
	balancers := balancersOf(snap, group.ARN)
	out := &elbv2api.DescribeTargetHealthOutput{TargetHealthDescriptions: []elbv2api.TargetHealthDescription{}}
	for i := range in.Targets {
		t, found := records.Targets.Get(snap, model.TargetKey(group.ID, *in.Targets[i].Id, portOf(group, &in.Targets[i])))
		if !found {
			t = &model.Target{TargetID: *in.Targets[i].Id, Port: portOf(group, &in.Targets[i])}
		}
		out.TargetHealthDescriptions = append(out.TargetHealthDescriptions, targetOut(group, t, balancers))
	}
	if len(in.Targets) > 0 {
		return out, nil
	}
	for t := range records.Targets.Prefix(snap, group.ID+"|") {
		if t.DeregisteredAt != nil && len(balancers) == 0 {
			continue // has nothing to drain, and is about to go
		}
		out.TargetHealthDescriptions = append(out.TargetHealthDescriptions, targetOut(group, t, balancers))
	}
	return out, nil
}

func targetOut(group *model.TargetGroup, t *model.Target, balancers []*model.LoadBalancer) elbv2api.TargetHealthDescription {
	health := healthOf(t, balancers)
	out := elbv2api.TargetHealthDescription{
		Target:          &elbv2api.TargetDescription{Id: &t.TargetID, Port: &t.Port},
		HealthCheckPort: new(group.HealthCheck.Port),
		TargetHealth:    &elbv2api.TargetHealth{State: elbv2api.TargetHealthStateEnum(health.State), Reason: elbv2api.TargetHealthReasonEnum(health.Reason)},
	}
	if group.HealthCheck.Port == trafficPort {
		out.HealthCheckPort = new(strconv.Itoa(int(t.Port)))
	}
	if t.AvailabilityZone != "" && group.TargetType == targetIP {
		out.Target.AvailabilityZone = &t.AvailabilityZone
	}
	if health.Description != "" {
		out.TargetHealth.Description = &health.Description
	}
	return out
}

// healthOf is the state that users see: what the node observed counts only
// while the target is registered with a group that is in use.
func healthOf(t *model.Target, balancers []*model.LoadBalancer) model.TargetHealth {
	switch {
	case t.RegisteredAt.Equal(time.Time{}), t.DeregisteredAt != nil && len(balancers) == 0:
		return model.TargetHealth{State: model.TargetUnused, Reason: "Target.NotRegistered", Description: "Target is not registered to the target group"}
	case len(balancers) == 0:
		return model.TargetHealth{State: model.TargetUnused, Reason: "Target.NotInUse", Description: "Target group is not configured to receive traffic from the load balancer"}
	case !slices.ContainsFunc(balancers, func(lb *model.LoadBalancer) bool { return lb.Serves(t.AvailabilityZone) }):
		return model.TargetHealth{State: model.TargetUnused, Reason: "Target.NotInUse", Description: "Target is in an Availability Zone that is not enabled for the load balancer"}
	case t.DeregisteredAt != nil:
		return model.TargetHealth{State: model.TargetDraining, Reason: "Target.DeregistrationInProgress", Description: "Target deregistration is in progress"}
	case t.Health.State == "":
		return model.TargetHealth{State: model.TargetInitial, Reason: "Elb.RegistrationInProgress", Description: "Target registration is in progress"}
	case t.Health.State == model.TargetInitial && t.Health.Reason == "":
		return model.TargetHealth{State: model.TargetInitial, Reason: "Elb.InitialHealthChecking", Description: "Initial health checks in progress"}
	}
	return t.Health
}
