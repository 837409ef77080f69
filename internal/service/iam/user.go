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

// Prefixes of unique ids, as AWS has them.
const (
	prefixUser            = "AIDA"
	prefixGroup           = "AGPA"
	prefixRole            = "AROA"
	prefixPolicy          = "ANPA"
	prefixInstanceProfile = "AIPA"
)

func (p *Provider) userARN(u *model.User) string { return p.scope.IAM(kindUser, u.Path, u.Name) }

// user finds a user by the name that was given, whose case counts.
func user(r store.Reader, name string) (*model.User, error) { return users().find(r, name) }

// CreateUser implements iamapi.Service.
func (p *Provider) CreateUser(ctx context.Context, in *iamapi.CreateUserInput) (*iamapi.CreateUserOutput, error) {
	tags, err := newTags("User", in.Tags)
	if err != nil {
		return nil, err
	}
	made := &model.User{ID: uniqueID(prefixUser), Name: *in.UserName, Path: pathOf(in.Path), Tags: tags}
	if err := p.update(ctx, func(tx *store.Tx) error {
		if records.Users.Has(tx, made.Key()) {
			return exists("User with name %s already exists.", made.Name)
		}
		if err := room(tx, records.Users, records.UsersCounted, maxUsers, "UsersPerAccount"); err != nil {
			return err
		}
		if in.PermissionsBoundary != nil {
			if err := p.boundary(tx, *in.PermissionsBoundary); err != nil {
				return err
			}
			made.BoundaryARN = *in.PermissionsBoundary
		}
		made.CreatedAt = tx.Now().Truncate(time.Second)
		records.Users.Put(tx, made)
		return nil
	}); err != nil {
		return nil, err
	}
	return &iamapi.CreateUserOutput{User: new(p.userShape(made))}, nil
}

// GetUser implements iamapi.Service. Without a name it is the caller.
func (p *Provider) GetUser(ctx context.Context, in *iamapi.GetUserInput) (*iamapi.GetUserOutput, error) {
	snap := p.store.Snapshot()
	name, err := userOrCaller(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return &iamapi.GetUserOutput{User: p.rootShape(snap)}, nil
	}
	u, err := user(snap, name)
	if err != nil {
		return nil, err
	}
	return &iamapi.GetUserOutput{User: new(p.userShape(u))}, nil
}

// userOrCaller is the user that a call means when it may leave out the name:
// the caller. It is empty for the root user.
func userOrCaller(ctx context.Context, given *string) (string, error) {
	if given != nil {
		return *given, nil
	}
	id, ok := caller.From(ctx)
	switch {
	case ok && id.UserName != "":
		return id.UserName, nil
	case ok && (id.Session == nil || id.Session.RoleARN == ""):
		return "", nil
	}
	return "", invalid("Must specify userName when calling with non-User credentials")
}

// UpdateUser implements iamapi.Service. What belongs to the user follows it to
// its new name.
func (p *Provider) UpdateUser(ctx context.Context, in *iamapi.UpdateUserInput) (*iamapi.UpdateUserOutput, error) {
	if err := p.update(ctx, func(tx *store.Tx) error {
		old, err := user(tx, *in.UserName)
		if err != nil {
			return err
		}
		next := *old
		if in.NewPath != nil {
			next.Path = *in.NewPath
		}
		if in.NewUserName != nil {
			next.Name = *in.NewUserName
		}
		if next.Key() != old.Key() {
			if records.Users.Has(tx, next.Key()) {
				return exists("User with name %s already exists.", next.Name)
			}
			records.Users.Delete(tx, old.Key())
		}
		records.Users.Put(tx, &next)
		if err := p.moveKeys(tx, old, &next); err != nil {
			return err
		}
		if p.userARN(old) == p.userARN(&next) {
			return nil
		}
		return p.follow(tx, p.userARN(old), p.userARN(&next), "")
	}); err != nil {
		return nil, err
	}
	return &iamapi.UpdateUserOutput{}, nil
}

// moveKeys gives the access keys of a renamed user its new name.
func (p *Provider) moveKeys(tx *store.Tx, old, next *model.User) error {
	if old.Name == next.Name {
		return nil
	}
	records.AccessKeys.GuardIndex(tx, records.AccessKeysByUser, old.Key())
	for k := range records.AccessKeys.By(tx, records.AccessKeysByUser, old.Key()) {
		if err := records.AccessKeys.Edit(tx, k.Key(), func(k *model.AccessKey) error { k.UserName = next.Name; return nil }); err != nil {
			return err
		}
	}
	return nil
}

// DeleteUser implements iamapi.Service. What it refuses for is in AWS's order.
func (p *Provider) DeleteUser(ctx context.Context, in *iamapi.DeleteUserInput) (*iamapi.DeleteUserOutput, error) {
	if err := p.update(ctx, func(tx *store.Tx) error {
		u, err := user(tx, *in.UserName)
		if err != nil {
			return err
		}
		records.AccessKeys.GuardIndex(tx, records.AccessKeysByUser, u.Key())
		switch {
		case records.AccessKeys.HasBy(tx, records.AccessKeysByUser, u.Key()):
			return inUse("Cannot delete entity, must delete access keys first.")
		case len(u.Groups) > 0:
			return inUse("Cannot delete entity, must remove users from group first.")
		case len(u.Attached) > 0:
			return inUse("Cannot delete entity, must detach all policies first.")
		case len(u.Inline) > 0:
			return inUse("Cannot delete entity, must delete policies first.")
		}
		records.Users.Delete(tx, u.Key())
		return p.follow(tx, p.userARN(u), u.ID, "")
	}); err != nil {
		return nil, err
	}
	return &iamapi.DeleteUserOutput{}, nil
}

// ListUsers implements iamapi.Service. Boundaries and tags are left out, as on
// AWS.
func (p *Provider) ListUsers(_ context.Context, in *iamapi.ListUsersInput) (*iamapi.ListUsersOutput, error) {
	var found []*model.User
	for u := range records.Users.All(p.store.Snapshot()) {
		if under(u.Path, in.PathPrefix) {
			found = append(found, u)
		}
	}
	part, err := pageOf(asked{"ListUsers", in.Marker, in.MaxItems}, found, (*model.User).Key)
	if err != nil {
		return nil, err
	}
	return &iamapi.ListUsersOutput{Users: each(part.items, p.bareUser), IsTruncated: part.truncated, Marker: part.marker}, nil
}

func userTags() tagged[model.User] {
	return tagged[model.User]{kind: "User", edit: users().edit, tags: func(u *model.User) *[]model.Tag { return &u.Tags }}
}

// TagUser implements iamapi.Service.
func (p *Provider) TagUser(ctx context.Context, in *iamapi.TagUserInput) (*iamapi.TagUserOutput, error) {
	if err := tag(ctx, p, userTags(), *in.UserName, in.Tags); err != nil {
		return nil, err
	}
	return &iamapi.TagUserOutput{}, nil
}

// UntagUser implements iamapi.Service.
func (p *Provider) UntagUser(ctx context.Context, in *iamapi.UntagUserInput) (*iamapi.UntagUserOutput, error) {
	if err := untag(ctx, p, userTags(), *in.UserName, in.TagKeys); err != nil {
		return nil, err
	}
	return &iamapi.UntagUserOutput{}, nil
}

// ListUserTags implements iamapi.Service.
func (p *Provider) ListUserTags(_ context.Context, in *iamapi.ListUserTagsInput) (*iamapi.ListUserTagsOutput, error) {
	u, err := user(p.store.Snapshot(), *in.UserName)
	if err != nil {
		return nil, err
	}
	part, err := tagPage(asked{"ListUserTags", in.Marker, in.MaxItems}, u.Tags)
	if err != nil {
		return nil, err
	}
	return &iamapi.ListUserTagsOutput{Tags: part.items, IsTruncated: part.truncated, Marker: part.marker}, nil
}

// bareUser is a user as lists have it.
func (p *Provider) bareUser(u *model.User) iamapi.User {
	return iamapi.User{Path: &u.Path, UserName: &u.Name, UserId: &u.ID, Arn: new(p.userARN(u)), CreateDate: &u.CreatedAt}
}

func (p *Provider) userShape(u *model.User) iamapi.User {
	shape := p.bareUser(u)
	shape.PermissionsBoundary = boundaryShape(u.BoundaryARN)
	shape.Tags = tagShapes(u.Tags)
	return shape
}

// rootShape is the root user, who has no name and no path. He is as old as the
// oldest of his keys that is left.
func (p *Provider) rootShape(r store.Reader) *iamapi.User {
	shape := &iamapi.User{UserId: &p.scope.AccountID, Arn: new(p.scope.Root())}
	keys := slices.Collect(records.AccessKeys.By(r, records.AccessKeysByUser, ""))
	if len(keys) > 0 {
		oldest := slices.MinFunc(keys, func(a, b *model.AccessKey) int { return a.CreatedAt.Compare(b.CreatedAt) })
		shape.CreateDate = &oldest.CreatedAt
	}
	return shape
}
