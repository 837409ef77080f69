package ec2

import (
	"context"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ec2api"
)

// direction picks the rules of a group that a call is about.
type direction struct {
	egress bool
	of     func(*model.SecurityGroup) *[]model.SecurityGroupRule
}

var (
	ingress = direction{false, func(g *model.SecurityGroup) *[]model.SecurityGroupRule { return &g.Ingress }}
	egress  = direction{true, func(g *model.SecurityGroup) *[]model.SecurityGroupRule { return &g.Egress }}
)

// AuthorizeSecurityGroupIngress implements ec2api.Service.
func (p *Provider) AuthorizeSecurityGroupIngress(ctx context.Context, in *ec2api.AuthorizeSecurityGroupIngressInput) (*ec2api.AuthorizeSecurityGroupIngressOutput, error) {
	rules, err := p.authorize(ctx, in.DryRun, ingress, in.GroupId, in.GroupName, in.TagSpecifications, wish{
		permissions: in.IpPermissions, protocol: in.IpProtocol, from: in.FromPort, to: in.ToPort, cidr: in.CidrIp,
		sourceGroup: in.SourceSecurityGroupName, sourceGroupOwner: in.SourceSecurityGroupOwnerId,
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.AuthorizeSecurityGroupIngressOutput{Return: new(true), SecurityGroupRules: rules}, nil
}

// AuthorizeSecurityGroupEgress implements ec2api.Service.
func (p *Provider) AuthorizeSecurityGroupEgress(ctx context.Context, in *ec2api.AuthorizeSecurityGroupEgressInput) (*ec2api.AuthorizeSecurityGroupEgressOutput, error) {
	rules, err := p.authorize(ctx, in.DryRun, egress, in.GroupId, nil, in.TagSpecifications, wish{
		permissions: in.IpPermissions, protocol: in.IpProtocol, from: in.FromPort, to: in.ToPort, cidr: in.CidrIp,
		sourceGroup: in.SourceSecurityGroupName, sourceGroupOwner: in.SourceSecurityGroupOwnerId,
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.AuthorizeSecurityGroupEgressOutput{Return: new(true), SecurityGroupRules: rules}, nil
}

func (p *Provider) authorize(ctx context.Context, dry *bool, d direction, id, name *string, specs []ec2api.TagSpecification, w wish) ([]ec2api.SecurityGroupRule, error) {
	tags, err := tagsIn(specs, ec2api.ResourceTypeSecurityGroupRule)
	if err != nil {
		return nil, err
	}
	var out []ec2api.SecurityGroupRule
	err = p.change(ctx, dry, func(tx *store.Tx) error {
		g, err := groupIn(tx, id, name)
		if err != nil {
			return err
		}
		rules, err := p.rules(tx, g, w.all())
		if err != nil {
			return err
		}
		return records.SecurityGroups.Edit(tx, g.ID, func(g *model.SecurityGroup) error {
			has := d.of(g)
			next, err := authorize(*has, rules, tags)
			if err != nil {
				return err
			}
			out = []ec2api.SecurityGroupRule{}
			for _, rule := range next[len(*has):] {
				out = append(out, p.ruleOut(g, rule, d.egress))
			}
			*has = next
			return nil
		})
	})
	return out, err
}

// RevokeSecurityGroupIngress implements ec2api.Service.
func (p *Provider) RevokeSecurityGroupIngress(ctx context.Context, in *ec2api.RevokeSecurityGroupIngressInput) (*ec2api.RevokeSecurityGroupIngressOutput, error) {
	revoked, err := p.revoke(ctx, in.DryRun, ingress, in.GroupId, in.GroupName, wish{
		permissions: in.IpPermissions, ids: in.SecurityGroupRuleIds, protocol: in.IpProtocol, from: in.FromPort, to: in.ToPort, cidr: in.CidrIp,
		sourceGroup: in.SourceSecurityGroupName, sourceGroupOwner: in.SourceSecurityGroupOwnerId,
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.RevokeSecurityGroupIngressOutput{Return: new(true), RevokedSecurityGroupRules: revoked, UnknownIpPermissions: []ec2api.IpPermission{}}, nil
}

// RevokeSecurityGroupEgress implements ec2api.Service.
func (p *Provider) RevokeSecurityGroupEgress(ctx context.Context, in *ec2api.RevokeSecurityGroupEgressInput) (*ec2api.RevokeSecurityGroupEgressOutput, error) {
	revoked, err := p.revoke(ctx, in.DryRun, egress, in.GroupId, nil, wish{
		permissions: in.IpPermissions, ids: in.SecurityGroupRuleIds, protocol: in.IpProtocol, from: in.FromPort, to: in.ToPort, cidr: in.CidrIp,
		sourceGroup: in.SourceSecurityGroupName, sourceGroupOwner: in.SourceSecurityGroupOwnerId,
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.RevokeSecurityGroupEgressOutput{Return: new(true), RevokedSecurityGroupRules: revoked, UnknownIpPermissions: []ec2api.IpPermission{}}, nil
}

// revoke removes rules; all of them are there, or none is removed.
func (p *Provider) revoke(ctx context.Context, dry *bool, d direction, id, name *string, w wish) ([]ec2api.RevokedSecurityGroupRule, error) {
	var out []ec2api.RevokedSecurityGroupRule
	err := p.change(ctx, dry, func(tx *store.Tx) error {
		out = []ec2api.RevokedSecurityGroupRule{}
		g, err := groupIn(tx, id, name)
		if err != nil {
			return err
		}
		var find []func(model.SecurityGroupRule) bool
		for _, id := range w.ids {
			find = append(find, func(r model.SecurityGroupRule) bool { return r.ID == id })
		}
		if len(find) == 0 {
			rules, err := p.rules(tx, g, w.all())
			if err != nil {
				return err
			}
			for _, rule := range rules {
				find = append(find, func(r model.SecurityGroupRule) bool { return same(r, rule) })
			}
		}
		return records.SecurityGroups.Edit(tx, g.ID, func(g *model.SecurityGroup) error {
			has := d.of(g)
			for i, is := range find {
				at := slices.IndexFunc(*has, is)
				if at < 0 {
					if len(w.ids) > 0 {
						return ruleForm.missing(w.ids[i])
					}
					return unknownRule()
				}
				out = append(out, revokedOut(g, (*has)[at], d.egress))
				*has = slices.Delete(*has, at, at+1)
			}
			return nil
		})
	})
	return out, err
}

func revokedOut(g *model.SecurityGroup, r model.SecurityGroupRule, egress bool) ec2api.RevokedSecurityGroupRule {
	return ec2api.RevokedSecurityGroupRule{
		SecurityGroupRuleId: &r.ID, GroupId: &g.ID, IsEgress: &egress, IpProtocol: &r.Protocol, FromPort: shownPort(r.FromPort), ToPort: shownPort(r.ToPort),
		CidrIpv4: empty(r.CIDR), CidrIpv6: empty(r.CIDRIPv6), ReferencedGroupId: empty(r.GroupID), Description: empty(r.Description),
	}
}

// shownPort is -1 where a rule is about no ports: rules of their own show that,
// permissions leave it out.
func shownPort(n *int32) *int32 {
	if n == nil {
		return new(int32(-1))
	}
	return n
}

func (p *Provider) ruleOut(g *model.SecurityGroup, r model.SecurityGroupRule, egress bool) ec2api.SecurityGroupRule {
	out := ec2api.SecurityGroupRule{
		SecurityGroupRuleId: &r.ID, GroupId: &g.ID, GroupOwnerId: &p.scope.AccountID, IsEgress: &egress, IpProtocol: &r.Protocol,
		FromPort: shownPort(r.FromPort), ToPort: shownPort(r.ToPort), CidrIpv4: empty(r.CIDR), CidrIpv6: empty(r.CIDRIPv6),
		Description: empty(r.Description), Tags: tagsOut(r.Tags), SecurityGroupRuleArn: new(p.scope.EC2("security-group-rule", r.ID)),
	}
	if r.GroupID != "" {
		out.ReferencedGroupInfo = &ec2api.ReferencedSecurityGroup{GroupId: &r.GroupID, UserId: &p.scope.AccountID}
	}
	return out
}

// ruled is a rule with its group.
type ruled struct {
	group  *model.SecurityGroup
	rule   model.SecurityGroupRule
	egress bool
}

// DescribeSecurityGroupRules implements ec2api.Service.
func (p *Provider) DescribeSecurityGroupRules(_ context.Context, in *ec2api.DescribeSecurityGroupRulesInput) (*ec2api.DescribeSecurityGroupRulesOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	k := &kind[ruled]{
		form: ruleForm, call: "DescribeSecurityGroupRules", param: "securityGroupRuleIds",
		id:   func(r *ruled) string { return r.rule.ID },
		tags: func(r *ruled) []model.Tag { return r.rule.Tags },
		filters: map[string]func(*ruled) []string{
			"group-id":               func(r *ruled) []string { return one(r.group.ID) },
			"security-group-rule-id": func(r *ruled) []string { return one(r.rule.ID) },
		},
	}
	page, next, err := k.find(allRules(p.store.Snapshot()), query{in.SecurityGroupRuleIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	out := &ec2api.DescribeSecurityGroupRulesOutput{SecurityGroupRules: []ec2api.SecurityGroupRule{}, NextToken: next}
	for _, r := range page {
		out.SecurityGroupRules = append(out.SecurityGroupRules, p.ruleOut(r.group, r.rule, r.egress))
	}
	return out, nil
}

// allRules lists every rule of every group, by id.
func allRules(r store.Reader) []*ruled {
	var all []*ruled
	for g := range records.SecurityGroups.All(r) {
		for _, d := range []direction{ingress, egress} {
			for _, rule := range *d.of(g) {
				all = append(all, &ruled{g, rule, d.egress})
			}
		}
	}
	slices.SortFunc(all, func(a, b *ruled) int { return strings.Compare(a.rule.ID, b.rule.ID) })
	return all
}

// ModifySecurityGroupRules implements ec2api.Service. It changes all of the
// rules or none; a rule keeps its id, its direction and its tags.
func (p *Provider) ModifySecurityGroupRules(ctx context.Context, in *ec2api.ModifySecurityGroupRulesInput) (*ec2api.ModifySecurityGroupRulesOutput, error) {
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		g, err := groupIn(tx, in.GroupId, nil)
		if err != nil {
			return err
		}
		changed := map[string]model.SecurityGroupRule{}
		for _, update := range in.SecurityGroupRules {
			rules, err := p.rules(tx, g, []ec2api.IpPermission{permissionOf(update.SecurityGroupRule)})
			if err != nil {
				return err
			}
			if len(rules) != 1 {
				return failure("InvalidParameterCombination", "A security group rule has exactly one source or destination.")
			}
			changed[text(update.SecurityGroupRuleId)] = rules[0]
		}
		return records.SecurityGroups.Edit(tx, g.ID, func(g *model.SecurityGroup) error { return modify(g, changed) })
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.ModifySecurityGroupRulesOutput{Return: new(true)}, nil
}

func permissionOf(r *ec2api.SecurityGroupRuleRequest) ec2api.IpPermission {
	if r == nil {
		return ec2api.IpPermission{}
	}
	out := ec2api.IpPermission{IpProtocol: r.IpProtocol, FromPort: r.FromPort, ToPort: r.ToPort}
	if r.CidrIpv4 != nil {
		out.IpRanges = []ec2api.IpRange{{CidrIp: r.CidrIpv4, Description: r.Description}}
	}
	if r.CidrIpv6 != nil {
		out.Ipv6Ranges = []ec2api.Ipv6Range{{CidrIpv6: r.CidrIpv6, Description: r.Description}}
	}
	if r.ReferencedGroupId != nil {
		out.UserIdGroupPairs = []ec2api.UserIdGroupPair{{GroupId: r.ReferencedGroupId, Description: r.Description}}
	}
	if r.PrefixListId != nil {
		out.PrefixListIds = []ec2api.PrefixListId{{PrefixListId: r.PrefixListId}}
	}
	return out
}

func modify(g *model.SecurityGroup, changed map[string]model.SecurityGroupRule) error {
	for id, next := range changed {
		rule := ruleByID(g, id)
		if rule == nil {
			return ruleForm.missing(id)
		}
		next.ID, next.Tags = rule.ID, rule.Tags
		*rule = next
	}
	for _, rules := range [][]model.SecurityGroupRule{g.Ingress, g.Egress} {
		for i, rule := range rules {
			if indexOf(rules[:i], rule) >= 0 {
				return duplicate(rule)
			}
		}
	}
	return nil
}

// UpdateSecurityGroupRuleDescriptionsIngress implements ec2api.Service.
func (p *Provider) UpdateSecurityGroupRuleDescriptionsIngress(ctx context.Context, in *ec2api.UpdateSecurityGroupRuleDescriptionsIngressInput) (*ec2api.UpdateSecurityGroupRuleDescriptionsIngressOutput, error) {
	if err := p.describe(ctx, in.DryRun, ingress, in.GroupId, in.GroupName, in.IpPermissions, in.SecurityGroupRuleDescriptions); err != nil {
		return nil, err
	}
	return &ec2api.UpdateSecurityGroupRuleDescriptionsIngressOutput{Return: new(true)}, nil
}

// UpdateSecurityGroupRuleDescriptionsEgress implements ec2api.Service.
func (p *Provider) UpdateSecurityGroupRuleDescriptionsEgress(ctx context.Context, in *ec2api.UpdateSecurityGroupRuleDescriptionsEgressInput) (*ec2api.UpdateSecurityGroupRuleDescriptionsEgressOutput, error) {
	if err := p.describe(ctx, in.DryRun, egress, in.GroupId, in.GroupName, in.IpPermissions, in.SecurityGroupRuleDescriptions); err != nil {
		return nil, err
	}
	return &ec2api.UpdateSecurityGroupRuleDescriptionsEgressOutput{Return: new(true)}, nil
}

// describe changes the descriptions of rules that are there.
func (p *Provider) describe(ctx context.Context, dry *bool, d direction, id, name *string, permissions []ec2api.IpPermission, byID []ec2api.SecurityGroupRuleDescription) error {
	return p.change(ctx, dry, func(tx *store.Tx) error {
		g, err := groupIn(tx, id, name)
		if err != nil {
			return err
		}
		var rules []model.SecurityGroupRule
		if len(byID) == 0 {
			if rules, err = p.rules(tx, g, permissions); err != nil {
				return err
			}
		}
		return records.SecurityGroups.Edit(tx, g.ID, func(g *model.SecurityGroup) error {
			has := *d.of(g)
			for _, rule := range rules {
				at := indexOf(has, rule)
				if at < 0 {
					return unknownRule()
				}
				has[at].Description = rule.Description
			}
			for _, update := range byID {
				at := slices.IndexFunc(has, func(r model.SecurityGroupRule) bool { return r.ID == text(update.SecurityGroupRuleId) })
				if at < 0 {
					return ruleForm.missing(text(update.SecurityGroupRuleId))
				}
				has[at].Description = text(update.Description)
			}
			return nil
		})
	})
}
