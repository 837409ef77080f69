package elbv2

import (
	"context"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/elbv2api"
)

// Target types that have a data plane.
const (
	targetInstance = "instance"
	targetIP       = "ip"
)

// CreateTargetGroup implements elbv2api.Service. The same name with the same
// settings is the same target group.
func (p *Provider) CreateTargetGroup(ctx context.Context, in *elbv2api.CreateTargetGroupInput) (*elbv2api.CreateTargetGroupOutput, error) {
	spec, err := groupSpec(in)
	if err != nil {
		return nil, err
	}
	var made *model.TargetGroup
	var out elbv2api.TargetGroup
	_, err = p.store.Update(ctx, func(tx *store.Tx) error {
		made = new(*spec)
		if !records.VPCs.Has(tx, made.VPCID) {
			return invalid("The VPC ID '%s' is not found", made.VPCID)
		}
		records.VPCs.Guard(tx, made.VPCID)
		records.TargetGroups.GuardIndex(tx, records.TargetGroupsByName, made.Name)
		for existing := range records.TargetGroups.By(tx, records.TargetGroupsByName, made.Name) {
			if !sameGroup(existing, made) {
				return failure(codeDuplicateTargetGroup, "A target group with the same name '%s' exists, but with different settings", made.Name)
			}
			made = existing
			return nil
		}
		if records.TargetGroups.Len(tx) >= maxTargetGroups {
			return failure(codeTooManyTargetGroups, "The maximum number of target groups has been reached")
		}
		made.ID = kindTargetGroup + "/" + made.Name + "/" + ident.Hex(16)
		made.ARN = p.arn(made.ID)
		made.CreatedAt = tx.Now()
		records.TargetGroups.Put(tx, made)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out = groupOut(p.store.Snapshot(), made)
	return &elbv2api.CreateTargetGroupOutput{TargetGroups: []elbv2api.TargetGroup{out}}, nil
}

// groupSpec is what a request says by itself, with AWS's defaults.
func groupSpec(in *elbv2api.CreateTargetGroupInput) (*model.TargetGroup, error) {
	g := &model.TargetGroup{
		Name: *in.Name, Protocol: string(in.Protocol), TargetType: string(in.TargetType), IPAddressType: string(in.IpAddressType),
	}
	if g.TargetType == "" {
		g.TargetType = targetInstance
	}
	if g.IPAddressType == "" {
		g.IPAddressType = "ipv4"
	}
	switch {
	case len(g.Name) > 32:
		return nil, invalid("Target group name '%s' cannot be longer than '32' characters", g.Name)
	case !balancerName.MatchString(g.Name):
		return nil, invalid("Target group name '%s' can only contain characters that are alphanumeric characters or hyphens(-), and cannot begin or end with a hyphen", g.Name)
	case g.TargetType != targetInstance && g.TargetType != targetIP:
		return nil, unsupported("target groups of type '" + g.TargetType + "'")
	case g.IPAddressType != "ipv4":
		return nil, unsupported("target groups with IP address type '" + g.IPAddressType + "'")
	case g.Protocol == "":
		return nil, invalid("A protocol must be specified")
	case in.Port == nil:
		return nil, invalid("A port must be specified")
	case in.VpcId == nil || *in.VpcId == "":
		return nil, invalid("A VPC ID must be specified")
	case in.TargetControlPort != nil:
		return nil, unsupported("target control ports")
	}
	g.Port, g.VPCID = *in.Port, *in.VpcId
	if err := protocolOf(g, in.ProtocolVersion); err != nil {
		return nil, err
	}
	g.HealthCheck = defaultCheck(g, string(in.HealthCheckProtocol))
	if err := changeCheck(g, checkChange{
		protocol: string(in.HealthCheckProtocol), port: in.HealthCheckPort, path: in.HealthCheckPath, enabled: in.HealthCheckEnabled,
		interval: in.HealthCheckIntervalSeconds, timeout: in.HealthCheckTimeoutSeconds,
		healthy: in.HealthyThresholdCount, unhealthy: in.UnhealthyThresholdCount, matcher: in.Matcher,
	}); err != nil {
		return nil, err
	}
	var err error
	g.Tags, err = newTags(in.Tags)
	return g, err
}

// protocolOf checks a group's protocol and its version, which only groups of
// application load balancers have.
func protocolOf(g *model.TargetGroup, version *string) error {
	switch g.Protocol {
	case "HTTP", "HTTPS":
		g.ProtocolVersion = "HTTP1"
		if version != nil && *version != "" { // Terraform says nothing with an empty one
			g.ProtocolVersion = *version
		}
		if !slices.Contains([]string{"HTTP1", "HTTP2", "GRPC"}, g.ProtocolVersion) {
			return invalid("Protocol version '%s' must be one of 'HTTP1, HTTP2, GRPC'", g.ProtocolVersion)
		}
	case "TCP", "UDP", "TCP_UDP", "TLS":
		if version != nil {
			return invalid("Protocol version cannot be specified for target groups with the %s protocol", g.Protocol)
		}
	default:
		return unsupported("target groups with protocol '" + g.Protocol + "'")
	}
	return nil
}

func sameGroup(a, b *model.TargetGroup) bool {
	return a.Protocol == b.Protocol && a.ProtocolVersion == b.ProtocolVersion && a.Port == b.Port && a.VPCID == b.VPCID &&
		a.TargetType == b.TargetType && a.IPAddressType == b.IPAddressType && a.HealthCheck == b.HealthCheck
}

// ModifyTargetGroup implements elbv2api.Service: it changes the health check.
func (p *Provider) ModifyTargetGroup(ctx context.Context, in *elbv2api.ModifyTargetGroupInput) (*elbv2api.ModifyTargetGroupOutput, error) {
	group, err := p.editGroup(ctx, in.TargetGroupArn, func(g *model.TargetGroup) error {
		return changeCheck(g, checkChange{
			protocol: string(in.HealthCheckProtocol), port: in.HealthCheckPort, path: in.HealthCheckPath, enabled: in.HealthCheckEnabled,
			interval: in.HealthCheckIntervalSeconds, timeout: in.HealthCheckTimeoutSeconds,
			healthy: in.HealthyThresholdCount, unhealthy: in.UnhealthyThresholdCount, matcher: in.Matcher,
		})
	})
	if err != nil {
		return nil, err
	}
	return &elbv2api.ModifyTargetGroupOutput{TargetGroups: []elbv2api.TargetGroup{groupOut(p.store.Snapshot(), group)}}, nil
}

func (p *Provider) editGroup(ctx context.Context, name *string, change func(*model.TargetGroup) error) (*model.TargetGroup, error) {
	var group *model.TargetGroup
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		g, err := p.targetGroup(tx, name)
		if err != nil {
			return err
		}
		if err := records.TargetGroups.Edit(tx, g.ID, change); err != nil {
			return err
		}
		group, _ = records.TargetGroups.Get(tx, g.ID)
		return nil
	})
	return group, err
}

// DeleteTargetGroup implements elbv2api.Service. One that does not exist is
// gone already.
func (p *Provider) DeleteTargetGroup(ctx context.Context, in *elbv2api.DeleteTargetGroupInput) (*elbv2api.DeleteTargetGroupOutput, error) {
	id, err := p.groupID(in.TargetGroupArn)
	if err != nil {
		return nil, err
	}
	// Its targets may be more than a transaction can delete; those of a group
	// that is gone are nobody's, and swept up if this server dies now.
	_, err = p.store.Update(ctx, func(tx *store.Tx) error {
		g, found := records.TargetGroups.Get(tx, id)
		if !found {
			return nil
		}
		records.Listeners.GuardIndex(tx, records.ListenersByTargetGroup, g.ARN)
		records.ListenerRules.GuardIndex(tx, records.RulesByTargetGroup, g.ARN)
		if len(balancersOf(tx, g.ARN)) > 0 {
			return failure(codeResourceInUse, "Target group '%s' is currently in use by a listener or a rule", g.ARN)
		}
		records.TargetGroups.Delete(tx, id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var targets []string
	for t := range records.Targets.Prefix(p.store.Snapshot(), id+"|") {
		targets = append(targets, t.Key())
	}
	if err := remove(ctx, p.store, records.Targets, targets); err != nil {
		return nil, err
	}
	return &elbv2api.DeleteTargetGroupOutput{}, nil
}

// balancersOf are the load balancers that forward to a target group, by its
// ARN; the API keeps them to one.
func balancersOf(r store.Reader, group string) []*model.LoadBalancer {
	ids := map[string]bool{}
	for l := range records.Listeners.By(r, records.ListenersByTargetGroup, group) {
		ids[l.LoadBalancerID] = true
	}
	for rule := range records.ListenerRules.By(r, records.RulesByTargetGroup, group) {
		if l, ok := records.Listeners.Get(r, rule.ListenerID); ok {
			ids[l.LoadBalancerID] = true
		}
	}
	var found []*model.LoadBalancer
	for id := range ids {
		if lb, ok := records.LoadBalancers.Get(r, id); ok { // a listener outlives it for a moment
			found = append(found, lb)
		}
	}
	slices.SortFunc(found, func(a, b *model.LoadBalancer) int { return strings.Compare(a.ID, b.ID) })
	return found
}

// DescribeTargetGroups implements elbv2api.Service.
func (p *Provider) DescribeTargetGroups(_ context.Context, in *elbv2api.DescribeTargetGroupsInput) (*elbv2api.DescribeTargetGroupsOutput, error) {
	snap := p.store.Snapshot()
	found, err := p.selectGroups(snap, in)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b *model.TargetGroup) int { return strings.Compare(a.ID, b.ID) })
	page, next, err := pageOf("DescribeTargetGroups", slices.Compact(found), (*model.TargetGroup).Key, in.Marker, in.PageSize)
	if err != nil {
		return nil, err
	}
	out := &elbv2api.DescribeTargetGroupsOutput{TargetGroups: []elbv2api.TargetGroup{}, NextMarker: next}
	for _, g := range page {
		out.TargetGroups = append(out.TargetGroups, groupOut(snap, g))
	}
	return out, nil
}

func (p *Provider) selectGroups(snap *store.Snapshot, in *elbv2api.DescribeTargetGroupsInput) ([]*model.TargetGroup, error) {
	ways := 0
	for _, given := range []bool{in.LoadBalancerArn != nil, len(in.TargetGroupArns) > 0, len(in.Names) > 0} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		return nil, invalid("Only one of a load balancer ARN, target group ARNs or target group names can be specified")
	}
	var found []*model.TargetGroup
	for _, name := range in.TargetGroupArns {
		g, err := p.targetGroup(snap, &name)
		if err != nil {
			return nil, err
		}
		found = append(found, g)
	}
	for _, name := range in.Names {
		before := len(found)
		found = slices.AppendSeq(found, records.TargetGroups.By(snap, records.TargetGroupsByName, name))
		if len(found) == before {
			return nil, failure(codeTargetGroupNotFound, "One or more target groups not found")
		}
	}
	if ways > 0 && in.LoadBalancerArn == nil {
		return found, nil
	}
	if in.LoadBalancerArn != nil {
		if _, err := p.balancer(snap, in.LoadBalancerArn); err != nil {
			return nil, err
		}
	}
	for g := range records.TargetGroups.All(snap) {
		if in.LoadBalancerArn == nil || slices.ContainsFunc(balancersOf(snap, g.ARN), func(lb *model.LoadBalancer) bool { return lb.ARN == *in.LoadBalancerArn }) {
			found = append(found, g)
		}
	}
	return found, nil
}

func (p *Provider) groupID(name *string) (string, error) {
	id, ok := p.resource(kindTargetGroup, *name)
	if !ok {
		return "", invalid("'%s' is not a valid target group ARN", *name)
	}
	return id, nil
}

// targetGroup finds a target group by its ARN.
func (p *Provider) targetGroup(r store.Reader, name *string) (*model.TargetGroup, error) {
	id, err := p.groupID(name)
	if err != nil {
		return nil, err
	}
	g, found := records.TargetGroups.Get(r, id)
	if !found {
		return nil, failure(codeTargetGroupNotFound, "One or more target groups not found")
	}
	return g, nil
}

func groupOut(r store.Reader, g *model.TargetGroup) elbv2api.TargetGroup {
	check := &g.HealthCheck
	out := elbv2api.TargetGroup{
		TargetGroupArn: &g.ARN, TargetGroupName: &g.Name, Protocol: elbv2api.ProtocolEnum(g.Protocol), Port: &g.Port, VpcId: &g.VPCID,
		HealthCheckProtocol: elbv2api.ProtocolEnum(check.Protocol), HealthCheckPort: &check.Port, HealthCheckEnabled: &check.Enabled,
		HealthCheckIntervalSeconds: &check.IntervalSeconds, HealthCheckTimeoutSeconds: &check.TimeoutSeconds,
		HealthyThresholdCount: &check.HealthyThreshold, UnhealthyThresholdCount: &check.UnhealthyThreshold,
		LoadBalancerArns: []string{}, TargetType: elbv2api.TargetTypeEnum(g.TargetType), IpAddressType: elbv2api.TargetGroupIpAddressTypeEnum(g.IPAddressType),
	}
	if g.ProtocolVersion != "" {
		out.ProtocolVersion = &g.ProtocolVersion
	}
	if check.Path != "" {
		out.HealthCheckPath = &check.Path
	}
	switch {
	case check.GRPCCodes != "":
		out.Matcher = &elbv2api.Matcher{GrpcCode: &check.GRPCCodes}
	case check.HTTPCodes != "":
		out.Matcher = &elbv2api.Matcher{HttpCode: &check.HTTPCodes}
	}
	for _, lb := range balancersOf(r, g.ARN) {
		out.LoadBalancerArns = append(out.LoadBalancerArns, lb.ARN)
	}
	return out
}
