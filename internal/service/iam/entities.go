package iam

import (
	"context"
	"slices"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/iamapi"
)

// entity is a user, a group, a role or a policy in a list of several sorts.
// Exactly one is set.
type entity struct {
	user   *model.User
	group  *model.Group
	role   *model.Role
	policy *model.Policy
}

// order puts groups first, then roles, then users, then policies.
func (e entity) order() string {
	switch {
	case e.group != nil:
		return "1" + e.group.Key()
	case e.role != nil:
		return "2" + e.role.Key()
	case e.user != nil:
		return "3" + e.user.Key()
	default:
		return "4" + policyOrder(e.policy)
	}
}

// ListEntitiesForPolicy implements iamapi.Service.
func (p *Provider) ListEntitiesForPolicy(_ context.Context, in *iamapi.ListEntitiesForPolicyInput) (*iamapi.ListEntitiesForPolicyOutput, error) {
	snap := p.store.Snapshot()
	found, err := p.readPolicy(snap, *in.PolicyArn)
	if err != nil {
		return nil, err
	}
	part, err := pageOf(asked{"ListEntitiesForPolicy", in.Marker, in.MaxItems}, entitiesOf(snap, found.ARN, in), entity.order)
	if err != nil {
		return nil, err
	}
	out := &iamapi.ListEntitiesForPolicyOutput{
		PolicyGroups: []iamapi.PolicyGroup{}, PolicyRoles: []iamapi.PolicyRole{}, PolicyUsers: []iamapi.PolicyUser{},
		IsTruncated: part.truncated, Marker: part.marker,
	}
	for _, e := range part.items {
		switch {
		case e.group != nil:
			out.PolicyGroups = append(out.PolicyGroups, iamapi.PolicyGroup{GroupName: &e.group.Name, GroupId: &e.group.ID})
		case e.role != nil:
			out.PolicyRoles = append(out.PolicyRoles, iamapi.PolicyRole{RoleName: &e.role.Name, RoleId: &e.role.ID})
		case e.user != nil:
			out.PolicyUsers = append(out.PolicyUsers, iamapi.PolicyUser{UserName: &e.user.Name, UserId: &e.user.ID})
		}
	}
	return out, nil
}

func entitiesOf(r store.Reader, name string, in *iamapi.ListEntitiesForPolicyInput) []entity {
	wanted := func(kind iamapi.EntityType, path string, attached []string, boundary string) bool {
		if in.EntityFilter != "" && in.EntityFilter != kind || !under(path, in.PathPrefix) {
			return false
		}
		switch in.PolicyUsageFilter {
		case iamapi.PolicyUsageTypePermissionsPolicy:
			return slices.Contains(attached, name)
		case iamapi.PolicyUsageTypePermissionsBoundary:
			return boundary == name
		}
		return true
	}
	var found []entity
	for g := range records.Groups.By(r, records.GroupsByPolicy, name) {
		if wanted(iamapi.EntityTypeGroup, g.Path, g.Attached, "") {
			found = append(found, entity{group: g})
		}
	}
	for each := range records.Roles.By(r, records.RolesByPolicy, name) {
		if wanted(iamapi.EntityTypeRole, each.Path, each.Attached, each.BoundaryARN) {
			found = append(found, entity{role: each})
		}
	}
	for u := range records.Users.By(r, records.UsersByPolicy, name) {
		if wanted(iamapi.EntityTypeUser, u.Path, u.Attached, u.BoundaryARN) {
			found = append(found, entity{user: u})
		}
	}
	return found
}

// GetAccountAuthorizationDetails implements iamapi.Service: everybody and
// everything that decides what they may.
func (p *Provider) GetAccountAuthorizationDetails(_ context.Context, in *iamapi.GetAccountAuthorizationDetailsInput) (*iamapi.GetAccountAuthorizationDetailsOutput, error) {
	snap := p.store.Snapshot()
	part, err := pageOf(asked{"GetAccountAuthorizationDetails", in.Marker, in.MaxItems}, everything(snap, in.Filter), entity.order)
	if err != nil {
		return nil, err
	}
	out := &iamapi.GetAccountAuthorizationDetailsOutput{
		GroupDetailList: []iamapi.GroupDetail{}, RoleDetailList: []iamapi.RoleDetail{}, UserDetailList: []iamapi.UserDetail{},
		Policies: []iamapi.ManagedPolicyDetail{}, IsTruncated: part.truncated, Marker: part.marker,
	}
	for _, e := range part.items {
		switch {
		case e.group != nil:
			out.GroupDetailList = append(out.GroupDetailList, p.groupDetail(snap, e.group))
		case e.role != nil:
			out.RoleDetailList = append(out.RoleDetailList, p.roleDetail(snap, e.role))
		case e.user != nil:
			out.UserDetailList = append(out.UserDetailList, p.userDetail(snap, e.user))
		default:
			out.Policies = append(out.Policies, policyDetail(snap, e.policy))
		}
	}
	return out, nil
}

// everything is what the filter lets through, in order.
func everything(r store.Reader, filter []iamapi.EntityType) []entity {
	wanted := func(kind iamapi.EntityType) bool { return len(filter) == 0 || slices.Contains(filter, kind) }
	var found []entity
	if wanted(iamapi.EntityTypeGroup) {
		for g := range records.Groups.All(r) {
			found = append(found, entity{group: g})
		}
	}
	if wanted(iamapi.EntityTypeRole) {
		for each := range records.Roles.All(r) {
			found = append(found, entity{role: each})
		}
	}
	if wanted(iamapi.EntityTypeUser) {
		for u := range records.Users.All(r) {
			found = append(found, entity{user: u})
		}
	}
	for _, each := range allPolicies(r) {
		if isAWS(each.ARN) && wanted(iamapi.EntityTypeAWSManagedPolicy) || !isAWS(each.ARN) && wanted(iamapi.EntityTypeLocalManagedPolicy) {
			found = append(found, entity{policy: each})
		}
	}
	return found
}

func (p *Provider) userDetail(r store.Reader, u *model.User) iamapi.UserDetail {
	return iamapi.UserDetail{
		Path: &u.Path, UserName: &u.Name, UserId: &u.ID, Arn: new(p.userARN(u)), CreateDate: &u.CreatedAt,
		UserPolicyList:          inlineShapes(u.Inline),
		GroupList:               each(groupsOf(r, u), func(g *model.Group) string { return g.Name }),
		AttachedManagedPolicies: each(p.attachedTo(r, u.Attached), attachedShape),
		PermissionsBoundary:     boundaryShape(u.BoundaryARN), Tags: tagShapes(u.Tags),
	}
}

func (p *Provider) groupDetail(r store.Reader, g *model.Group) iamapi.GroupDetail {
	return iamapi.GroupDetail{
		Path: &g.Path, GroupName: &g.Name, GroupId: &g.ID, Arn: new(p.groupARN(g)), CreateDate: &g.CreatedAt,
		GroupPolicyList: inlineShapes(g.Inline), AttachedManagedPolicies: each(p.attachedTo(r, g.Attached), attachedShape),
	}
}

func (p *Provider) roleDetail(r store.Reader, held *model.Role) iamapi.RoleDetail {
	profiles := slices.Collect(records.InstanceProfiles.By(r, records.InstanceProfilesByRole, held.Key()))
	return iamapi.RoleDetail{
		Path: &held.Path, RoleName: &held.Name, RoleId: &held.ID, Arn: new(p.roleARN(held)), CreateDate: &held.CreatedAt,
		AssumeRolePolicyDocument: encoded(held.Trust), InstanceProfileList: p.bareProfiles(r, profiles),
		RolePolicyList: inlineShapes(held.Inline), AttachedManagedPolicies: each(p.attachedTo(r, held.Attached), attachedShape),
		PermissionsBoundary: boundaryShape(held.BoundaryARN), Tags: tagShapes(held.Tags),
	}
}

func policyDetail(r store.Reader, found *model.Policy) iamapi.ManagedPolicyDetail {
	shape := policyShape(r, found)
	detail := iamapi.ManagedPolicyDetail{
		PolicyName: shape.PolicyName, PolicyId: shape.PolicyId, Arn: shape.Arn, Path: shape.Path, DefaultVersionId: shape.DefaultVersionId,
		AttachmentCount: shape.AttachmentCount, PermissionsBoundaryUsageCount: shape.PermissionsBoundaryUsageCount,
		IsAttachable: shape.IsAttachable, CreateDate: shape.CreateDate, UpdateDate: shape.UpdateDate,
		PolicyVersionList: each(found.Versions, func(v model.PolicyVersion) iamapi.PolicyVersion {
			version := versionShape(found, v)
			version.Document = encoded(v.Document)
			return version
		}),
	}
	if found.Description != "" {
		detail.Description = &found.Description
	}
	return detail
}
