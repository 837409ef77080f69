package ec2_test

import (
	"fmt"
	"slices"
	"testing"

	"berth.dev/berth/internal/wire/api/ec2api"
)

// permission is a permission with one peer: a range, an IPv6 range or a group.
func permission(protocol string, from, to int32, peer string) ec2api.IpPermission {
	p := ec2api.IpPermission{IpProtocol: &protocol}
	if from != none {
		p.FromPort, p.ToPort = &from, &to
	}
	switch {
	case len(peer) > 3 && peer[:3] == "sg-":
		p.UserIdGroupPairs = []ec2api.UserIdGroupPair{{GroupId: &peer}}
	case peer == "::/0":
		p.Ipv6Ranges = []ec2api.Ipv6Range{{CidrIpv6: &peer}}
	default:
		p.IpRanges = []ec2api.IpRange{{CidrIp: &peer}}
	}
	return p
}

const none = -99 // no port

func (w *world) authorize(group string, permissions ...ec2api.IpPermission) ([]string, error) {
	w.Helper()
	out, err := w.AuthorizeSecurityGroupIngress(w.Context(), &ec2api.AuthorizeSecurityGroupIngressInput{GroupId: &group, IpPermissions: permissions})
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, r := range out.SecurityGroupRules {
		ids = append(ids, *r.SecurityGroupRuleId)
	}
	return ids, nil
}

func (w *world) shown(group string) string {
	w.Helper()
	out := must[*ec2api.DescribeSecurityGroupsOutput](w)(w.DescribeSecurityGroups(w.Context(), &ec2api.DescribeSecurityGroupsInput{GroupIds: []string{group}}))
	return shown(out.SecurityGroups[0])
}

// What requests say about rules, and what the group then has.
func TestAuthorize(t *testing.T) {
	w := newWorld(t)
	vpc := w.vpc("10.1.0.0/16")
	other := w.group(vpc, "other")
	for i, tc := range []struct {
		permission ec2api.IpPermission
		want       string
	}{
		{permission("tcp", 80, 443, "10.1.2.3/8"), "tcp 80-443 from 10.0.0.0/8"},
		{permission("6", 0, 65535, "0.0.0.0/0"), "tcp 0-65535 from 0.0.0.0/0"},
		{permission("TCP", -1, -1, "0.0.0.0/0"), "tcp 0-65535 from 0.0.0.0/0"},
		{permission("17", 53, 53, other), "udp 53-53 from sg-*"},
		{permission("icmp", 8, -1, "10.0.0.0/8"), "icmp 8--1 from 10.0.0.0/8"},
		{permission("1", none, none, "10.0.0.0/8"), "icmp -1--1 from 10.0.0.0/8"},
		{permission("-1", 1, 2, "10.0.0.0/8"), "-1 from 10.0.0.0/8"},
		{permission("all", none, none, "10.0.0.0/8"), "-1 from 10.0.0.0/8"},
		{permission("50", none, none, "10.0.0.0/8"), "50 from 10.0.0.0/8"},
		{permission("tcp", 1, 1, "::/0"), "tcp 1-1 from ::/0"},
	} {
		group := w.group(vpc, fmt.Sprint("g", i))
		if _, err := w.authorize(group, tc.permission); err != nil {
			t.Errorf("%s: %s", tc.want, said(err))
			continue
		}
		if got, want := w.shown(group), "in "+tc.want+"; out -1 to 0.0.0.0/0"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if out, err := w.RevokeSecurityGroupIngress(t.Context(), &ec2api.RevokeSecurityGroupIngressInput{GroupId: &group, IpPermissions: []ec2api.IpPermission{tc.permission}}); err != nil || len(out.RevokedSecurityGroupRules) != 1 {
			t.Errorf("revoking %s: %+v, %s", tc.want, out, said(err))
		}
		if got := w.shown(group); got != "in nothing; out -1 to 0.0.0.0/0" {
			t.Errorf("after revoking %s: %s", tc.want, got)
		}
	}
}

// The old parameters mean a permission, and a group of the default VPC has a name.
func TestAuthorize_OldForms(t *testing.T) {
	w := newWorld(t)
	id := *must[*ec2api.CreateSecurityGroupOutput](w)(w.CreateSecurityGroup(t.Context(), &ec2api.CreateSecurityGroupInput{GroupName: new("web"), Description: new("x")})).GroupId
	must[*ec2api.AuthorizeSecurityGroupIngressOutput](w)(w.AuthorizeSecurityGroupIngress(t.Context(), &ec2api.AuthorizeSecurityGroupIngressInput{
		GroupName: new("web"), IpProtocol: new("tcp"), FromPort: new(int32(22)), ToPort: new(int32(22)), CidrIp: new("10.0.0.0/8"),
	}))
	must[*ec2api.AuthorizeSecurityGroupIngressOutput](w)(w.AuthorizeSecurityGroupIngress(t.Context(), &ec2api.AuthorizeSecurityGroupIngressInput{
		GroupName: new("web"), SourceSecurityGroupName: new("web"),
	}))
	if got := w.shown(id); got != "in tcp 22-22 from 10.0.0.0/8, -1 from itself; out -1 to 0.0.0.0/0" {
		t.Error(got)
	}
}

// A call that cannot do all it was asked does nothing of it.
func TestAuthorize_AllOrNothing(t *testing.T) {
	w := newWorld(t)
	group := w.group(w.vpc("10.1.0.0/16"), "web")
	ssh, web := permission("tcp", 22, 22, "10.0.0.0/8"), permission("tcp", 80, 80, "0.0.0.0/0")
	if _, err := w.authorize(group, web); err != nil {
		t.Fatal(said(err))
	}
	if _, err := w.authorize(group, ssh, web); err == nil {
		t.Error("a rule that is there was added")
	}
	if _, err := w.RevokeSecurityGroupIngress(t.Context(), &ec2api.RevokeSecurityGroupIngressInput{GroupId: &group, IpPermissions: []ec2api.IpPermission{web, ssh}}); err == nil {
		t.Error("a rule that is not there was revoked")
	}
	if got := w.shown(group); got != "in tcp 80-80 from 0.0.0.0/0; out -1 to 0.0.0.0/0" {
		t.Error(got)
	}
}

// A rule is changed by its id and stays the same rule.
func TestModifyRules(t *testing.T) {
	w := newWorld(t)
	group := w.group(w.vpc("10.1.0.0/16"), "web")
	ids, err := w.authorize(group, permission("tcp", 22, 22, "10.0.0.0/8"), permission("tcp", 80, 80, "0.0.0.0/0"))
	if err != nil {
		t.Fatal(said(err))
	}
	change := func(id, protocol string, port int32, peer string) error {
		_, err := w.ModifySecurityGroupRules(t.Context(), &ec2api.ModifySecurityGroupRulesInput{GroupId: &group, SecurityGroupRules: []ec2api.SecurityGroupRuleUpdate{{
			SecurityGroupRuleId: &id,
			SecurityGroupRule:   &ec2api.SecurityGroupRuleRequest{IpProtocol: &protocol, FromPort: &port, ToPort: &port, ReferencedGroupId: &peer, Description: new("changed")},
		}}})
		return err
	}
	if err := change(ids[0], "udp", 53, group); err != nil {
		t.Fatal(said(err))
	}
	if got := w.shown(group); got != "in udp 53-53 from itself, tcp 80-80 from 0.0.0.0/0; out -1 to 0.0.0.0/0" {
		t.Error(got)
	}
	if got := said(change(ids[1], "udp", 53, group)); plain(got) != `InvalidPermission.Duplicate: the specified rule "peer: sg-*, UDP, from port: 53, to port: 53, ALLOW" already exists` {
		t.Error(got)
	}
	must[*ec2api.UpdateSecurityGroupRuleDescriptionsIngressOutput](w)(w.UpdateSecurityGroupRuleDescriptionsIngress(t.Context(), &ec2api.UpdateSecurityGroupRuleDescriptionsIngressInput{
		GroupId: &group, SecurityGroupRuleDescriptions: []ec2api.SecurityGroupRuleDescription{{SecurityGroupRuleId: &ids[1], Description: new("the web")}},
	}))
	out := must[*ec2api.DescribeSecurityGroupRulesOutput](w)(w.DescribeSecurityGroupRules(t.Context(), &ec2api.DescribeSecurityGroupRulesInput{Filters: []ec2api.Filter{filter("group-id", group)}}))
	var descriptions []string
	for _, r := range out.SecurityGroupRules {
		if !*r.IsEgress {
			descriptions = append(descriptions, *r.Description)
		}
	}
	slices.Sort(descriptions)
	if want := []string{"changed", "the web"}; !slices.Equal(descriptions, want) {
		t.Errorf("descriptions %q, want %q", descriptions, want)
	}
	must[*ec2api.RevokeSecurityGroupIngressOutput](w)(w.RevokeSecurityGroupIngress(t.Context(), &ec2api.RevokeSecurityGroupIngressInput{GroupId: &group, SecurityGroupRuleIds: ids}))
	if got := w.shown(group); got != "in nothing; out -1 to 0.0.0.0/0" {
		t.Error(got)
	}
}
