package express

import (
	"slices"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ec2api"
)

const anywhere = "0.0.0.0/0"

// wantBalancerGroup has the load balancer's group: anybody may come to its
// HTTPS port, and it may go to its services' ports alone.
func (v *view) wantBalancerGroup() *step {
	g := v.balancerGroup
	if g == nil {
		return v.makeGroup(balancerGroup, v.gateway.Name(), "ECS Express Mode load balancer "+v.gateway.Name())
	}
	https := model.SecurityGroupRule{Protocol: "tcp", FromPort: new(int32(httpsPort)), ToPort: new(int32(httpsPort)), CIDR: anywhere}
	if !has(g.Ingress, https) {
		return authorize(balancerGroup, "Ingress", g, https)
	}
	if open := (model.SecurityGroupRule{Protocol: "-1", CIDR: anywhere}); has(g.Egress, open) {
		return revoke(balancerGroup, "Egress", g, open)
	}
	return nil
}

func (v *view) wantServiceGroup() *step {
	if v.serviceGroup != nil {
		return nil
	}
	return v.makeGroup(serviceGroup, v.express.SecurityGroupName(), "ECS Express Mode service "+v.service.Name)
}

// wantPorts opens the way from the load balancer to the ports of the service's
// revisions, and closes what is of ports that no revision has any more.
func (v *view) wantPorts() *step {
	ports := v.ports()
	for _, port := range ports {
		if r := between(port, v.balancerGroup); !has(v.serviceGroup.Ingress, r) {
			return authorize(serviceGroup, "Ingress", v.serviceGroup, r)
		}
		if r := between(port, v.serviceGroup); !has(v.balancerGroup.Egress, r) {
			return authorize(balancerGroup, "Egress", v.balancerGroup, r)
		}
	}
	closed := func(r model.SecurityGroupRule, other *model.SecurityGroup) bool {
		return r.GroupID == other.ID && r.FromPort != nil && !slices.Contains(ports, *r.FromPort)
	}
	for _, r := range v.balancerGroup.Egress {
		if closed(r, v.serviceGroup) {
			return revoke(balancerGroup, "Egress", v.balancerGroup, r)
		}
	}
	for _, r := range v.serviceGroup.Ingress {
		if closed(r, v.balancerGroup) {
			return revoke(serviceGroup, "Ingress", v.serviceGroup, r)
		}
	}
	return nil
}

// between is the rule for a port from or to the interfaces of a group.
func between(port int32, other *model.SecurityGroup) model.SecurityGroupRule {
	return model.SecurityGroupRule{Protocol: "tcp", FromPort: &port, ToPort: &port, GroupID: other.ID}
}

func has(rules []model.SecurityGroupRule, wanted model.SecurityGroupRule) bool {
	return slices.ContainsFunc(rules, func(r model.SecurityGroupRule) bool {
		return r.Protocol == wanted.Protocol && samePort(r.FromPort, wanted.FromPort) && samePort(r.ToPort, wanted.ToPort) &&
			r.CIDR == wanted.CIDR && r.CIDRIPv6 == wanted.CIDRIPv6 && r.GroupID == wanted.GroupID
	})
}

func samePort(a, b *int32) bool { return a == b || a != nil && b != nil && *a == *b }

func (v *view) makeGroup(about, name, description string) *step {
	return &step{about: about, api: ec2api.API, operation: "CreateSecurityGroup", in: &ec2api.CreateSecurityGroupInput{
		GroupName: &name, Description: &description, VpcId: &v.express.VPCID, TagSpecifications: groupTags(ec2api.ResourceTypeSecurityGroup),
	}}
}

func groupTags(kind ec2api.ResourceType) []ec2api.TagSpecification {
	return []ec2api.TagSpecification{{ResourceType: kind, Tags: []ec2api.Tag{{Key: new(tagManaged), Value: new(managedValue)}}}}
}

// authorize adds a rule in a direction, "Ingress" or "Egress".
func authorize(about, direction string, g *model.SecurityGroup, r model.SecurityGroupRule) *step {
	s := &step{about: about, api: ec2api.API, operation: "AuthorizeSecurityGroup" + direction, done: "InvalidPermission.Duplicate"}
	tags := groupTags(ec2api.ResourceTypeSecurityGroupRule)
	if direction == "Egress" {
		s.in = &ec2api.AuthorizeSecurityGroupEgressInput{GroupId: &g.ID, IpPermissions: permission(r), TagSpecifications: tags}
	} else {
		s.in = &ec2api.AuthorizeSecurityGroupIngressInput{GroupId: &g.ID, IpPermissions: permission(r), TagSpecifications: tags}
	}
	return s
}

func revoke(about, direction string, g *model.SecurityGroup, r model.SecurityGroupRule) *step {
	s := &step{about: about, api: ec2api.API, operation: "RevokeSecurityGroup" + direction, done: "InvalidPermission.NotFound"}
	if direction == "Egress" {
		s.in = &ec2api.RevokeSecurityGroupEgressInput{GroupId: &g.ID, IpPermissions: permission(r)}
	} else {
		s.in = &ec2api.RevokeSecurityGroupIngressInput{GroupId: &g.ID, IpPermissions: permission(r)}
	}
	return s
}

func permission(r model.SecurityGroupRule) []ec2api.IpPermission {
	p := ec2api.IpPermission{IpProtocol: &r.Protocol, FromPort: r.FromPort, ToPort: r.ToPort}
	if r.CIDR != "" {
		p.IpRanges = []ec2api.IpRange{{CidrIp: &r.CIDR}}
	}
	if r.GroupID != "" {
		p.UserIdGroupPairs = []ec2api.UserIdGroupPair{{GroupId: &r.GroupID}}
	}
	return []ec2api.IpPermission{p}
}
