package iam

import (
	"context"
	"slices"
	"strings"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/iamapi"
)

func (p *Provider) groupARN(g *model.Group) string { return p.scope.IAM(kindGroup, g.Path, g.Name) }

func group(r store.Reader, name string) (*model.Group, error) { return groups().find(r, name) }

// CreateGroup implements iamapi.Service.
func (p *Provider) CreateGroup(ctx context.Context, in *iamapi.CreateGroupInput) (*iamapi.CreateGroupOutput, error) {
	made := &model.Group{ID: uniqueID(prefixGroup), Name: *in.GroupName, Path: pathOf(in.Path)}
	if err := p.update(ctx, func(tx *store.Tx) error {
		if records.Groups.Has(tx, made.Key()) {
			return exists("Group with name %s already exists.", made.Name)
		}
		if err := room(tx, records.Groups, records.GroupsCounted, maxGroups, "GroupsPerAccount"); err != nil {
			return err
		}
		made.CreatedAt = tx.Now().Truncate(time.Second)
		records.Groups.Put(tx, made)
		return nil
	}); err != nil {
		return nil, err
	}
	return &iamapi.CreateGroupOutput{Group: new(p.groupShape(made))}, nil
}

// GetGroup implements iamapi.Service: the group and its members.
func (p *Provider) GetGroup(_ context.Context, in *iamapi.GetGroupInput) (*iamapi.GetGroupOutput, error) {
	snap := p.store.Snapshot()
	g, err := group(snap, *in.GroupName)
	if err != nil {
		return nil, err
	}
	members := slices.Collect(records.Users.By(snap, records.UsersByGroup, g.Key()))
	part, err := pageOf(asked{"GetGroup", in.Marker, in.MaxItems}, members, (*model.User).Key)
	if err != nil {
		return nil, err
	}
	return &iamapi.GetGroupOutput{Group: new(p.groupShape(g)), Users: each(part.items, p.bareUser), IsTruncated: part.truncated, Marker: part.marker}, nil
}

// UpdateGroup implements iamapi.Service. Its members follow it to its new name
// in the same transaction, so a group of hundreds cannot be renamed.
func (p *Provider) UpdateGroup(ctx context.Context, in *iamapi.UpdateGroupInput) (*iamapi.UpdateGroupOutput, error) {
	if err := p.update(ctx, func(tx *store.Tx) error {
		old, err := group(tx, *in.GroupName)
		if err != nil {
			return err
		}
		next := *old
		if in.NewPath != nil {
			next.Path = *in.NewPath
		}
		if in.NewGroupName != nil {
			next.Name = *in.NewGroupName
		}
		if next.Key() != old.Key() {
			if records.Groups.Has(tx, next.Key()) {
				return exists("Group with name %s already exists.", next.Name)
			}
			records.Groups.Delete(tx, old.Key())
		}
		records.Groups.Put(tx, &next)
		return renameMembership(tx, old, &next)
	}); err != nil {
		return nil, err
	}
	return &iamapi.UpdateGroupOutput{}, nil
}

func renameMembership(tx *store.Tx, old, next *model.Group) error {
	if old.Name == next.Name {
		return nil
	}
	records.Users.GuardIndex(tx, records.UsersByGroup, old.Key())
	for u := range records.Users.By(tx, records.UsersByGroup, old.Key()) {
		if err := records.Users.Edit(tx, u.Key(), func(u *model.User) error {
			u.Groups[slices.Index(u.Groups, old.Name)] = next.Name
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// DeleteGroup implements iamapi.Service.
func (p *Provider) DeleteGroup(ctx context.Context, in *iamapi.DeleteGroupInput) (*iamapi.DeleteGroupOutput, error) {
	if err := p.update(ctx, func(tx *store.Tx) error {
		g, err := group(tx, *in.GroupName)
		if err != nil {
			return err
		}
		records.Users.GuardIndex(tx, records.UsersByGroup, g.Key())
		switch {
		case records.Users.HasBy(tx, records.UsersByGroup, g.Key()):
			return inUse("Cannot delete entity, must remove users from group first.")
		case len(g.Attached) > 0:
			return inUse("Cannot delete entity, must detach all policies first.")
		case len(g.Inline) > 0:
			return inUse("Cannot delete entity, must delete policies first.")
		}
		records.Groups.Delete(tx, g.Key())
		return nil
	}); err != nil {
		return nil, err
	}
	return &iamapi.DeleteGroupOutput{}, nil
}

// ListGroups implements iamapi.Service.
func (p *Provider) ListGroups(_ context.Context, in *iamapi.ListGroupsInput) (*iamapi.ListGroupsOutput, error) {
	var found []*model.Group
	for g := range records.Groups.All(p.store.Snapshot()) {
		if under(g.Path, in.PathPrefix) {
			found = append(found, g)
		}
	}
	part, err := pageOf(asked{"ListGroups", in.Marker, in.MaxItems}, found, (*model.Group).Key)
	if err != nil {
		return nil, err
	}
	return &iamapi.ListGroupsOutput{Groups: each(part.items, p.groupShape), IsTruncated: part.truncated, Marker: part.marker}, nil
}

// ListGroupsForUser implements iamapi.Service.
func (p *Provider) ListGroupsForUser(_ context.Context, in *iamapi.ListGroupsForUserInput) (*iamapi.ListGroupsForUserOutput, error) {
	snap := p.store.Snapshot()
	u, err := user(snap, *in.UserName)
	if err != nil {
		return nil, err
	}
	part, err := pageOf(asked{"ListGroupsForUser", in.Marker, in.MaxItems}, groupsOf(snap, u), (*model.Group).Key)
	if err != nil {
		return nil, err
	}
	return &iamapi.ListGroupsForUserOutput{Groups: each(part.items, p.groupShape), IsTruncated: part.truncated, Marker: part.marker}, nil
}

// groupsOf are the groups of a user, by name.
func groupsOf(r store.Reader, u *model.User) []*model.Group {
	var found []*model.Group
	for _, name := range u.Groups {
		if g, ok := records.Groups.Get(r, model.FoldName(name)); ok {
			found = append(found, g)
		}
	}
	slices.SortFunc(found, func(a, b *model.Group) int { return strings.Compare(a.Key(), b.Key()) })
	return found
}

// AddUserToGroup implements iamapi.Service. A member stays one.
func (p *Provider) AddUserToGroup(ctx context.Context, in *iamapi.AddUserToGroupInput) (*iamapi.AddUserToGroupOutput, error) {
	if err := p.update(ctx, func(tx *store.Tx) error {
		g, err := group(tx, *in.GroupName)
		if err != nil {
			return err
		}
		records.Groups.Guard(tx, g.Key())
		return users().edit(tx, *in.UserName, func(u *model.User) error {
			switch {
			case slices.Contains(u.Groups, g.Name):
				return nil
			case len(u.Groups) >= maxGroupsPerUser:
				return overQuota("GroupsPerUser", maxGroupsPerUser)
			}
			u.Groups = append(u.Groups, g.Name)
			return nil
		})
	}); err != nil {
		return nil, err
	}
	return &iamapi.AddUserToGroupOutput{}, nil
}

// RemoveUserFromGroup implements iamapi.Service. Who is no member is no error.
func (p *Provider) RemoveUserFromGroup(ctx context.Context, in *iamapi.RemoveUserFromGroupInput) (*iamapi.RemoveUserFromGroupOutput, error) {
	if err := p.update(ctx, func(tx *store.Tx) error {
		g, err := group(tx, *in.GroupName)
		if err != nil {
			return err
		}
		return users().edit(tx, *in.UserName, func(u *model.User) error {
			u.Groups = slices.DeleteFunc(u.Groups, func(name string) bool { return name == g.Name })
			return nil
		})
	}); err != nil {
		return nil, err
	}
	return &iamapi.RemoveUserFromGroupOutput{}, nil
}

func (p *Provider) groupShape(g *model.Group) iamapi.Group {
	return iamapi.Group{Path: &g.Path, GroupName: &g.Name, GroupId: &g.ID, Arn: new(p.groupARN(g)), CreateDate: &g.CreatedAt}
}
