package iam

import (
	"context"
	"slices"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/iamapi"
	"berth.dev/berth/internal/wire/caller"
)

func profile(r store.Reader, name string) (*model.InstanceProfile, error) {
	found, ok := records.InstanceProfiles.Get(r, model.FoldName(name))
	if !ok || found.Name != name {
		return nil, noSuch("Instance Profile %s cannot be found.", name)
	}
	return found, nil
}

func editProfile(tx *store.Tx, name string, change func(*model.InstanceProfile) error) error {
	if _, err := profile(tx, name); err != nil {
		return err
	}
	return records.InstanceProfiles.Edit(tx, model.FoldName(name), change)
}

// CreateInstanceProfile implements iamapi.Service.
func (p *Provider) CreateInstanceProfile(ctx context.Context, in *iamapi.CreateInstanceProfileInput) (*iamapi.CreateInstanceProfileOutput, error) {
	tags, err := newTags("InstanceProfile", in.Tags)
	if err != nil {
		return nil, err
	}
	made := &model.InstanceProfile{ID: uniqueID(prefixInstanceProfile), Name: *in.InstanceProfileName, Path: pathOf(in.Path), Tags: tags}
	if err := p.update(ctx, func(tx *store.Tx) error {
		if records.InstanceProfiles.Has(tx, made.Key()) {
			return exists("Instance Profile %s already exists.", made.Name)
		}
		if err := room(tx, records.InstanceProfiles, records.InstanceProfilesCounted, maxInstanceProfiles, "InstanceProfilesPerAccount"); err != nil {
			return err
		}
		made.CreatedAt = tx.Now().Truncate(time.Second)
		records.InstanceProfiles.Put(tx, made)
		return nil
	}); err != nil {
		return nil, err
	}
	return &iamapi.CreateInstanceProfileOutput{InstanceProfile: new(p.profileShape(p.store.Snapshot(), made))}, nil
}

// GetInstanceProfile implements iamapi.Service.
func (p *Provider) GetInstanceProfile(_ context.Context, in *iamapi.GetInstanceProfileInput) (*iamapi.GetInstanceProfileOutput, error) {
	snap := p.store.Snapshot()
	found, err := profile(snap, *in.InstanceProfileName)
	if err != nil {
		return nil, err
	}
	return &iamapi.GetInstanceProfileOutput{InstanceProfile: new(p.profileShape(snap, found))}, nil
}

// DeleteInstanceProfile implements iamapi.Service.
func (p *Provider) DeleteInstanceProfile(ctx context.Context, in *iamapi.DeleteInstanceProfileInput) (*iamapi.DeleteInstanceProfileOutput, error) {
	if err := p.update(ctx, func(tx *store.Tx) error {
		found, err := profile(tx, *in.InstanceProfileName)
		if err != nil {
			return err
		}
		if found.Role != "" {
			return inUse("Cannot delete entity, must remove roles from instance profile first.")
		}
		records.InstanceProfiles.Delete(tx, found.Key())
		return nil
	}); err != nil {
		return nil, err
	}
	return &iamapi.DeleteInstanceProfileOutput{}, nil
}

// AddRoleToInstanceProfile implements iamapi.Service. Who hands a role to hosts
// must be allowed to pass it.
func (p *Provider) AddRoleToInstanceProfile(ctx context.Context, in *iamapi.AddRoleToInstanceProfileInput) (*iamapi.AddRoleToInstanceProfileOutput, error) {
	if err := p.update(ctx, func(tx *store.Tx) error {
		r, err := role(tx, *in.RoleName)
		if err != nil {
			return err
		}
		if err := caller.Check(ctx, "iam:PassRole", p.roleARN(r), map[string][]string{"iam:passedtoservice": {"ec2.amazonaws.com"}}); err != nil {
			return err
		}
		if err := lockedRole(r); err != nil {
			return err
		}
		records.Roles.Guard(tx, r.Key())
		return editProfile(tx, *in.InstanceProfileName, func(found *model.InstanceProfile) error {
			if found.Role != "" {
				return overQuota("InstanceSessionsPerInstanceProfile", maxRolesPerProfile)
			}
			found.Role = r.Name
			return nil
		})
	}); err != nil {
		return nil, err
	}
	return &iamapi.AddRoleToInstanceProfileOutput{}, nil
}

// RemoveRoleFromInstanceProfile implements iamapi.Service.
func (p *Provider) RemoveRoleFromInstanceProfile(ctx context.Context, in *iamapi.RemoveRoleFromInstanceProfileInput) (*iamapi.RemoveRoleFromInstanceProfileOutput, error) {
	if err := p.update(ctx, func(tx *store.Tx) error {
		return editProfile(tx, *in.InstanceProfileName, func(found *model.InstanceProfile) error {
			if found.Role != *in.RoleName {
				return noSuch("The role with name %s cannot be found.", *in.RoleName)
			}
			found.Role = ""
			return nil
		})
	}); err != nil {
		return nil, err
	}
	return &iamapi.RemoveRoleFromInstanceProfileOutput{}, nil
}

// ListInstanceProfiles implements iamapi.Service.
func (p *Provider) ListInstanceProfiles(_ context.Context, in *iamapi.ListInstanceProfilesInput) (*iamapi.ListInstanceProfilesOutput, error) {
	snap := p.store.Snapshot()
	var found []*model.InstanceProfile
	for each := range records.InstanceProfiles.All(snap) {
		if under(each.Path, in.PathPrefix) {
			found = append(found, each)
		}
	}
	part, err := pageOf(asked{"ListInstanceProfiles", in.Marker, in.MaxItems}, found, (*model.InstanceProfile).Key)
	if err != nil {
		return nil, err
	}
	return &iamapi.ListInstanceProfilesOutput{InstanceProfiles: p.bareProfiles(snap, part.items), IsTruncated: part.truncated, Marker: part.marker}, nil
}

// ListInstanceProfilesForRole implements iamapi.Service.
func (p *Provider) ListInstanceProfilesForRole(_ context.Context, in *iamapi.ListInstanceProfilesForRoleInput) (*iamapi.ListInstanceProfilesForRoleOutput, error) {
	snap := p.store.Snapshot()
	r, err := role(snap, *in.RoleName)
	if err != nil {
		return nil, err
	}
	found := slices.Collect(records.InstanceProfiles.By(snap, records.InstanceProfilesByRole, r.Key()))
	part, err := pageOf(asked{"ListInstanceProfilesForRole", in.Marker, in.MaxItems}, found, (*model.InstanceProfile).Key)
	if err != nil {
		return nil, err
	}
	return &iamapi.ListInstanceProfilesForRoleOutput{InstanceProfiles: p.bareProfiles(snap, part.items), IsTruncated: part.truncated, Marker: part.marker}, nil
}

func profileTags() tagged[model.InstanceProfile] {
	return tagged[model.InstanceProfile]{kind: "InstanceProfile", edit: editProfile, tags: func(p *model.InstanceProfile) *[]model.Tag { return &p.Tags }}
}

// TagInstanceProfile implements iamapi.Service.
func (p *Provider) TagInstanceProfile(ctx context.Context, in *iamapi.TagInstanceProfileInput) (*iamapi.TagInstanceProfileOutput, error) {
	if err := tag(ctx, p, profileTags(), *in.InstanceProfileName, in.Tags); err != nil {
		return nil, err
	}
	return &iamapi.TagInstanceProfileOutput{}, nil
}

// UntagInstanceProfile implements iamapi.Service.
func (p *Provider) UntagInstanceProfile(ctx context.Context, in *iamapi.UntagInstanceProfileInput) (*iamapi.UntagInstanceProfileOutput, error) {
	if err := untag(ctx, p, profileTags(), *in.InstanceProfileName, in.TagKeys); err != nil {
		return nil, err
	}
	return &iamapi.UntagInstanceProfileOutput{}, nil
}

// ListInstanceProfileTags implements iamapi.Service.
func (p *Provider) ListInstanceProfileTags(_ context.Context, in *iamapi.ListInstanceProfileTagsInput) (*iamapi.ListInstanceProfileTagsOutput, error) {
	found, err := profile(p.store.Snapshot(), *in.InstanceProfileName)
	if err != nil {
		return nil, err
	}
	part, err := tagPage(asked{"ListInstanceProfileTags", in.Marker, in.MaxItems}, found.Tags)
	if err != nil {
		return nil, err
	}
	return &iamapi.ListInstanceProfileTagsOutput{Tags: part.items, IsTruncated: part.truncated, Marker: part.marker}, nil
}

// bareProfiles are instance profiles as lists have them: without tags.
func (p *Provider) bareProfiles(r store.Reader, found []*model.InstanceProfile) []iamapi.InstanceProfile {
	return each(found, func(f *model.InstanceProfile) iamapi.InstanceProfile {
		shape := iamapi.InstanceProfile{
			Path: &f.Path, InstanceProfileName: &f.Name, InstanceProfileId: &f.ID, Arn: new(p.scope.IAM(kindInstanceProfile, f.Path, f.Name)),
			CreateDate: &f.CreatedAt, Roles: []iamapi.Role{},
		}
		if held, ok := records.Roles.Get(r, model.FoldName(f.Role)); ok {
			shape.Roles = append(shape.Roles, p.bareRole(held))
		}
		return shape
	})
}

func (p *Provider) profileShape(r store.Reader, f *model.InstanceProfile) iamapi.InstanceProfile {
	shape := p.bareProfiles(r, []*model.InstanceProfile{f})[0]
	shape.Tags = tagShapes(f.Tags)
	return shape
}
