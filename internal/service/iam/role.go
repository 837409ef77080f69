package iam

import (
	"context"
	"strings"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/policy"
	"berth.dev/berth/internal/wire/api/iamapi"
)

// defaultSession is how long a role's sessions may last, in seconds, when its
// maker does not say.
const defaultSession = 3600

func (p *Provider) roleARN(r *model.Role) string { return p.scope.IAM(kindRole, r.Path, r.Name) }

func role(r store.Reader, name string) (*model.Role, error) { return roles().find(r, name) }

// lockedRole refuses changes of a service-linked role: they are its service's.
func lockedRole(r *model.Role) error {
	if serviceLinked(r) {
		return unmodifiable(r.Name)
	}
	return nil
}

// CreateRole implements iamapi.Service.
func (p *Provider) CreateRole(ctx context.Context, in *iamapi.CreateRoleInput) (*iamapi.CreateRoleOutput, error) {
	tags, err := newTags("Role", in.Tags)
	if err != nil {
		return nil, err
	}
	if err := checkTrust(*in.AssumeRolePolicyDocument); err != nil {
		return nil, err
	}
	made := &model.Role{
		ID: uniqueID(prefixRole), Name: *in.RoleName, Path: pathOf(in.Path), Tags: tags, MaxSessionDuration: defaultSession,
	}
	if strings.HasPrefix(made.Path, serviceLinkedPath) {
		return nil, invalid("Paths that begin with %s are those of service-linked roles; use CreateServiceLinkedRole.", serviceLinkedPath)
	}
	if in.Description != nil {
		made.Description = *in.Description
	}
	if in.MaxSessionDuration != nil { // its bounds are in the model
		made.MaxSessionDuration = *in.MaxSessionDuration
	}
	if err := p.update(ctx, func(tx *store.Tx) (err error) {
		if made.Trust, made.TrustedARNs, err = p.trust(tx, *in.AssumeRolePolicyDocument); err != nil {
			return err
		}
		if in.PermissionsBoundary != nil {
			if err := p.boundary(tx, *in.PermissionsBoundary); err != nil {
				return err
			}
			made.BoundaryARN = *in.PermissionsBoundary
		}
		return putRole(tx, made)
	}); err != nil {
		return nil, err
	}
	return &iamapi.CreateRoleOutput{Role: new(p.roleShape(made))}, nil
}

// putRole stores a new role.
func putRole(tx *store.Tx, made *model.Role) error {
	if records.Roles.Has(tx, made.Key()) {
		return exists("Role with name %s already exists.", made.Name)
	}
	if err := room(tx, records.Roles, records.RolesCounted, maxRoles, "RolesPerAccount"); err != nil {
		return err
	}
	made.CreatedAt = tx.Now().Truncate(time.Second)
	records.Roles.Put(tx, made)
	return nil
}

// checkTrust checks all of a trust that is true or false for itself.
func checkTrust(text string) error {
	if err := check(policy.Trust, text); err != nil {
		return err
	}
	if policy.Length(text) > maxTrustSize {
		return overQuota("ACLSizePerRole", maxTrustSize)
	}
	return nil
}

// GetRole implements iamapi.Service. When the role was last used is not kept.
func (p *Provider) GetRole(_ context.Context, in *iamapi.GetRoleInput) (*iamapi.GetRoleOutput, error) {
	r, err := role(p.store.Snapshot(), *in.RoleName)
	if err != nil {
		return nil, err
	}
	return &iamapi.GetRoleOutput{Role: new(p.roleShape(r))}, nil
}

// UpdateRole implements iamapi.Service. What is not given stays. Of a
// service-linked role the description can be changed, and nothing else.
func (p *Provider) UpdateRole(ctx context.Context, in *iamapi.UpdateRoleInput) (*iamapi.UpdateRoleOutput, error) {
	if err := p.update(ctx, func(tx *store.Tx) error {
		return roles().edit(tx, *in.RoleName, func(r *model.Role) error {
			if in.Description != nil {
				r.Description = *in.Description
			}
			if in.MaxSessionDuration != nil {
				r.MaxSessionDuration = *in.MaxSessionDuration
				return lockedRole(r)
			}
			return nil
		})
	}); err != nil {
		return nil, err
	}
	return &iamapi.UpdateRoleOutput{}, nil
}

// UpdateRoleDescription implements iamapi.Service. It is also how the
// description of a service-linked role is changed.
func (p *Provider) UpdateRoleDescription(ctx context.Context, in *iamapi.UpdateRoleDescriptionInput) (*iamapi.UpdateRoleDescriptionOutput, error) {
	var shape iamapi.Role
	if err := p.update(ctx, func(tx *store.Tx) error {
		return roles().edit(tx, *in.RoleName, func(r *model.Role) error {
			r.Description = *in.Description
			shape = p.roleShape(r)
			return nil
		})
	}); err != nil {
		return nil, err
	}
	return &iamapi.UpdateRoleDescriptionOutput{Role: &shape}, nil
}

// UpdateAssumeRolePolicy implements iamapi.Service.
func (p *Provider) UpdateAssumeRolePolicy(ctx context.Context, in *iamapi.UpdateAssumeRolePolicyInput) (*iamapi.UpdateAssumeRolePolicyOutput, error) {
	if err := checkTrust(*in.PolicyDocument); err != nil {
		return nil, err
	}
	if err := p.update(ctx, func(tx *store.Tx) error {
		return roles().editFree(tx, *in.RoleName, func(r *model.Role) (err error) {
			r.Trust, r.TrustedARNs, err = p.trust(tx, *in.PolicyDocument)
			return err
		})
	}); err != nil {
		return nil, err
	}
	return &iamapi.UpdateAssumeRolePolicyOutput{}, nil
}

// DeleteRole implements iamapi.Service. What it refuses for is in AWS's order.
func (p *Provider) DeleteRole(ctx context.Context, in *iamapi.DeleteRoleInput) (*iamapi.DeleteRoleOutput, error) {
	if err := p.update(ctx, func(tx *store.Tx) error {
		r, err := role(tx, *in.RoleName)
		if err != nil {
			return err
		}
		if err := lockedRole(r); err != nil {
			return err
		}
		records.InstanceProfiles.GuardIndex(tx, records.InstanceProfilesByRole, r.Key())
		switch {
		case records.InstanceProfiles.HasBy(tx, records.InstanceProfilesByRole, r.Key()):
			return inUse("Cannot delete entity, must remove roles from instance profile first.")
		case len(r.Attached) > 0:
			return inUse("Cannot delete entity, must detach all policies first.")
		case len(r.Inline) > 0:
			return inUse("Cannot delete entity, must delete policies first.")
		}
		return p.dropRole(tx, r)
	}); err != nil {
		return nil, err
	}
	return &iamapi.DeleteRoleOutput{}, nil
}

func (p *Provider) dropRole(tx *store.Tx, r *model.Role) error {
	records.Roles.Delete(tx, r.Key())
	return p.follow(tx, p.roleARN(r), r.ID, r.Key())
}

// ListRoles implements iamapi.Service. Boundaries and tags are left out, as on
// AWS.
func (p *Provider) ListRoles(_ context.Context, in *iamapi.ListRolesInput) (*iamapi.ListRolesOutput, error) {
	var found []*model.Role
	for r := range records.Roles.All(p.store.Snapshot()) {
		if under(r.Path, in.PathPrefix) {
			found = append(found, r)
		}
	}
	part, err := pageOf(asked{"ListRoles", in.Marker, in.MaxItems}, found, (*model.Role).Key)
	if err != nil {
		return nil, err
	}
	return &iamapi.ListRolesOutput{Roles: each(part.items, p.bareRole), IsTruncated: part.truncated, Marker: part.marker}, nil
}

func roleTags() tagged[model.Role] {
	return tagged[model.Role]{kind: "Role", edit: roles().edit, tags: func(r *model.Role) *[]model.Tag { return &r.Tags }}
}

// TagRole implements iamapi.Service.
func (p *Provider) TagRole(ctx context.Context, in *iamapi.TagRoleInput) (*iamapi.TagRoleOutput, error) {
	if err := tag(ctx, p, roleTags(), *in.RoleName, in.Tags); err != nil {
		return nil, err
	}
	return &iamapi.TagRoleOutput{}, nil
}

// UntagRole implements iamapi.Service.
func (p *Provider) UntagRole(ctx context.Context, in *iamapi.UntagRoleInput) (*iamapi.UntagRoleOutput, error) {
	if err := untag(ctx, p, roleTags(), *in.RoleName, in.TagKeys); err != nil {
		return nil, err
	}
	return &iamapi.UntagRoleOutput{}, nil
}

// ListRoleTags implements iamapi.Service.
func (p *Provider) ListRoleTags(_ context.Context, in *iamapi.ListRoleTagsInput) (*iamapi.ListRoleTagsOutput, error) {
	r, err := role(p.store.Snapshot(), *in.RoleName)
	if err != nil {
		return nil, err
	}
	part, err := tagPage(asked{"ListRoleTags", in.Marker, in.MaxItems}, r.Tags)
	if err != nil {
		return nil, err
	}
	return &iamapi.ListRoleTagsOutput{Tags: part.items, IsTruncated: part.truncated, Marker: part.marker}, nil
}

// bareRole is a role as lists have it.
func (p *Provider) bareRole(r *model.Role) iamapi.Role {
	shape := iamapi.Role{
		Path: &r.Path, RoleName: &r.Name, RoleId: &r.ID, Arn: new(p.roleARN(r)), CreateDate: &r.CreatedAt,
		AssumeRolePolicyDocument: encoded(r.Trust), MaxSessionDuration: &r.MaxSessionDuration,
	}
	if r.Description != "" {
		shape.Description = &r.Description
	}
	return shape
}

func (p *Provider) roleShape(r *model.Role) iamapi.Role {
	shape := p.bareRole(r)
	shape.PermissionsBoundary = boundaryShape(r.BoundaryARN)
	shape.Tags = tagShapes(r.Tags)
	return shape
}
