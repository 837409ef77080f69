package ec2

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ec2api"
)

func (p *Provider) securityGroups() *kind[model.SecurityGroup] {
	k := &kind[model.SecurityGroup]{
		call: "DescribeSecurityGroups", form: groupForm, param: "groupIds",
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
			"ipv6-cidr": func(r model.SecurityGroupRule) string { return r.CIDRIPv6 },
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
		if r.CIDRIPv6 != "" {
			out[i].Ipv6Ranges = append(out[i].Ipv6Ranges, ec2api.Ipv6Range{CidrIpv6: &r.CIDRIPv6, Description: description})
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

// CreateSecurityGroup implements ec2api.Service. A new group lets nothing in
// and everything out.
func (p *Provider) CreateSecurityGroup(ctx context.Context, in *ec2api.CreateSecurityGroupInput) (*ec2api.CreateSecurityGroupOutput, error) {
	tags, err := tagsIn(in.TagSpecifications, ec2api.ResourceTypeSecurityGroup)
	if err != nil {
		return nil, err
	}
	name, description := text(in.GroupName), text(in.Description)
	if err := checkGroupTexts(name, description); err != nil {
		return nil, err
	}
	g := &model.SecurityGroup{ID: ident.EC2("sg"), Name: name, Description: description, Egress: toEverywhere(), Tags: tags}
	err = p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		vpcID := in.VpcId
		if vpcID == nil {
			vpc, found := defaultVPC(tx)
			if !found {
				return failure("VPCIdNotSpecified", "No default VPC for this user")
			}
			vpcID = &vpc.ID
		}
		vpc, err := guarded(tx, records.VPCs, vpcForm, "vpcId", vpcID)
		if err != nil {
			return err
		}
		g.VPCID = vpc.ID
		records.SecurityGroups.GuardIndex(tx, records.SecurityGroupsByVPC, vpc.ID)
		for other := range records.SecurityGroups.By(tx, records.SecurityGroupsByVPC, vpc.ID) {
			if other.Name == name {
				return failure("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", name, vpc.ID)
			}
		}
		records.SecurityGroups.Put(tx, g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.CreateSecurityGroupOutput{GroupId: &g.ID, Tags: tagsOut(g.Tags), SecurityGroupArn: new(p.scope.EC2("security-group", g.ID))}, nil
}

// groupText is what names and descriptions may be made of.
var groupText = regexp.MustCompile(`^[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]*$`)

func checkGroupTexts(name, description string) error {
	const longest = 255
	switch {
	case name == "":
		return missingParameter("groupName")
	case description == "":
		return missingParameter("groupDescription")
	case name == defaultGroupName:
		return failure("InvalidParameterValue", "Cannot use reserved security group name: %s", name)
	case strings.HasPrefix(name, groupForm.prefix):
		return failure("InvalidParameterValue", "invalid value for parameter groupName: %s. Group names may not be in the format sg-*", name)
	case len(name) > longest || !groupText.MatchString(name):
		return failure("InvalidParameterValue", "Value (%s) for parameter GroupName is invalid. Character sets beyond ASCII are not supported.", name)
	case len(description) > longest || !groupText.MatchString(description):
		return failure("InvalidParameterValue", "Value (%s) for parameter GroupDescription is invalid. Character sets beyond ASCII are not supported.", description)
	}
	return nil
}

// groupIn is the group that a request names, by its id or, in the default VPC,
// by its name.
func groupIn(r store.Reader, id, name *string) (*model.SecurityGroup, error) {
	if text(id) != "" || text(name) == "" {
		return named(r, records.SecurityGroups, groupForm, "groupId", id)
	}
	if vpc, found := defaultVPC(r); found {
		if g, found := groupByName(r, vpc.ID, *name); found {
			return g, nil
		}
	}
	return nil, groupForm.missing(*name)
}

func groupByName(r store.Reader, vpcID, name string) (*model.SecurityGroup, bool) {
	for g := range records.SecurityGroups.By(r, records.SecurityGroupsByVPC, vpcID) {
		if g.Name == name {
			return g, true
		}
	}
	return nil, false
}

// DeleteSecurityGroup implements ec2api.Service. Whoever refers to a group
// guards its record; the deletion is guarded against such references.
func (p *Provider) DeleteSecurityGroup(ctx context.Context, in *ec2api.DeleteSecurityGroupInput) (*ec2api.DeleteSecurityGroupOutput, error) {
	var id string
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		g, err := groupIn(tx, in.GroupId, in.GroupName)
		if err != nil {
			return err
		}
		id = g.ID
		if g.Name == defaultGroupName {
			return failure("CannotDelete", "the specified group: \"%s\" name: \"%s\" cannot be deleted by a user", g.ID, g.Name)
		}
		dependent := failure("DependencyViolation", "resource %s has a dependent object", g.ID)
		records.NetworkInterfaces.GuardIndex(tx, records.NetworkInterfacesByGroup, g.ID)
		for range records.NetworkInterfaces.By(tx, records.NetworkInterfacesByGroup, g.ID) {
			return dependent
		}
		records.SecurityGroups.GuardIndex(tx, records.SecurityGroupsByReference, g.ID)
		for other := range records.SecurityGroups.By(tx, records.SecurityGroupsByReference, g.ID) {
			if other.ID != g.ID {
				return dependent
			}
		}
		records.SecurityGroups.Delete(tx, g.ID)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.DeleteSecurityGroupOutput{Return: new(true), GroupId: &id}, nil
}
