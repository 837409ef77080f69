package ec2

import (
	"context"
	"slices"
	"strconv"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ec2api"
)

func (p *Provider) securityGroups() *kind[model.SecurityGroup] {
	k := &kind[model.SecurityGroup]{
		call: "DescribeSecurityGroups", prefix: "sg-", noun: "security group", param: "groupIds", notFound: "InvalidGroup.NotFound", badID: "InvalidGroupId.Malformed",
		id:   (*model.SecurityGroup).Key,
		tags: func(g *model.SecurityGroup) []model.Tag { return g.Tags },
		filters: map[string]func(*model.SecurityGroup) []string{
			"group-id":    func(g *model.SecurityGroup) []string { return one(g.ID) },
			"group-name":  func(g *model.SecurityGroup) []string { return one(g.Name) },
			"description": func(g *model.SecurityGroup) []string { return one(g.Description) },
			"vpc-id":      func(g *model.SecurityGroup) []string { return one(g.VPCID) },
			"owner-id":    func(*model.SecurityGroup) []string { return one(p.scope.AccountID) },
		},
	}
	for prefix, rules := range map[string]func(*model.SecurityGroup) []model.SecurityGroupRule{
		"ip-permission.":        func(g *model.SecurityGroup) []model.SecurityGroupRule { return g.Ingress },
		"egress.ip-permission.": func(g *model.SecurityGroup) []model.SecurityGroupRule { return g.Egress },
	} {
		for name, of := range map[string]func(model.SecurityGroupRule) string{
			"cidr":      func(r model.SecurityGroupRule) string { return r.CIDR },
			"group-id":  func(r model.SecurityGroupRule) string { return r.GroupID },
			"protocol":  func(r model.SecurityGroupRule) string { return r.Protocol },
			"from-port": func(r model.SecurityGroupRule) string { return port(r.FromPort) },
			"to-port":   func(r model.SecurityGroupRule) string { return port(r.ToPort) },
		} {
			k.filters[prefix+name] = func(g *model.SecurityGroup) []string {
				var values []string
				for _, r := range rules(g) {
					values = append(values, of(r))
				}
				return values
			}
		}
	}
	return k
}

func port(n *int32) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(int(*n))
}

// DescribeSecurityGroups implements ec2api.Service. Names are those of the
// default VPC, as on AWS.
func (p *Provider) DescribeSecurityGroups(_ context.Context, in *ec2api.DescribeSecurityGroupsInput) (*ec2api.DescribeSecurityGroupsOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	all := slices.Collect(records.SecurityGroups.All(snap))
	ids, err := namedGroups(snap, all, in.GroupNames)
	if err != nil {
		return nil, err
	}
	page, next, err := p.securityGroups().find(all, query{slices.Concat(in.GroupIds, ids), in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	out := &ec2api.DescribeSecurityGroupsOutput{SecurityGroups: []ec2api.SecurityGroup{}, NextToken: next}
	for _, g := range page {
		out.SecurityGroups = append(out.SecurityGroups, ec2api.SecurityGroup{
			GroupId: &g.ID, GroupName: &g.Name, Description: &g.Description, VpcId: &g.VPCID, OwnerId: &p.scope.AccountID,
			SecurityGroupArn: new(p.scope.EC2("security-group", g.ID)), Tags: tagsOut(g.Tags),
			IpPermissions: p.permissions(g.Ingress), IpPermissionsEgress: p.permissions(g.Egress),
		})
	}
	return out, nil
}

// namedGroups finds the ids of groups of the default VPC by their names.
func namedGroups(r store.Reader, all []*model.SecurityGroup, names []string) ([]string, error) {
	var ids []string
	for _, name := range names {
		found := slices.IndexFunc(all, func(g *model.SecurityGroup) bool {
			vpc, ok := records.VPCs.Get(r, g.VPCID)
			return g.Name == name && ok && vpc.IsDefault
		})
		if found < 0 {
			return nil, failure("InvalidGroup.NotFound", "The security group '%s' does not exist", name)
		}
		ids = append(ids, all[found].ID)
	}
	return ids, nil
}

// permissions gathers the rules of one protocol and port range, as EC2 shows
// them.
func (p *Provider) permissions(rules []model.SecurityGroupRule) []ec2api.IpPermission {
	out := []ec2api.IpPermission{}
	for _, r := range rules {
		i := slices.IndexFunc(out, func(e ec2api.IpPermission) bool {
			return *e.IpProtocol == r.Protocol && port(e.FromPort) == port(r.FromPort) && port(e.ToPort) == port(r.ToPort)
		})
		if i < 0 {
			i = len(out)
			out = append(out, ec2api.IpPermission{
				IpProtocol: &r.Protocol, FromPort: r.FromPort, ToPort: r.ToPort,
				IpRanges: []ec2api.IpRange{}, Ipv6Ranges: []ec2api.Ipv6Range{}, PrefixListIds: []ec2api.PrefixListId{}, UserIdGroupPairs: []ec2api.UserIdGroupPair{},
			})
		}
		var description *string
		if r.Description != "" {
			description = &r.Description
		}
		if r.CIDR != "" {
			out[i].IpRanges = append(out[i].IpRanges, ec2api.IpRange{CidrIp: &r.CIDR, Description: description})
		}
		if r.GroupID != "" {
			out[i].UserIdGroupPairs = append(out[i].UserIdGroupPairs, ec2api.UserIdGroupPair{GroupId: &r.GroupID, UserId: &p.scope.AccountID, Description: description})
		}
	}
	return out
}
