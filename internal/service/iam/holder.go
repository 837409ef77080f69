package iam

import (
	"slices"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// holder is one sort of entity that policies are put on: what users, groups and
// roles have in common.
type holder[T any] struct {
	noun  string // in errors: "user"
	kind  string // in names of quotas: "User"
	table *store.Table[T]
	name  func(*T) string
	// inline and attached are its policies; boundary is nil for groups.
	inline   func(*T) *[]model.InlinePolicy
	attached func(*T) *[]string
	boundary func(*T) *string
	// inlineSize is how large its inline policies may be together.
	inlineSize int
	// locked refuses changes by users.
	locked func(*T) error
}

func free[T any](*T) error { return nil }

func users() holder[model.User] {
	return holder[model.User]{
		noun: "user", kind: "User", table: records.Users, inlineSize: maxUserInlineSize, locked: free[model.User],
		name:     func(u *model.User) string { return u.Name },
		inline:   func(u *model.User) *[]model.InlinePolicy { return &u.Inline },
		attached: func(u *model.User) *[]string { return &u.Attached },
		boundary: func(u *model.User) *string { return &u.BoundaryARN },
	}
}

func groups() holder[model.Group] {
	return holder[model.Group]{
		noun: "group", kind: "Group", table: records.Groups, inlineSize: maxGroupInlineSize, locked: free[model.Group],
		name:     func(g *model.Group) string { return g.Name },
		inline:   func(g *model.Group) *[]model.InlinePolicy { return &g.Inline },
		attached: func(g *model.Group) *[]string { return &g.Attached },
	}
}

func roles() holder[model.Role] {
	return holder[model.Role]{
		noun: "role", kind: "Role", table: records.Roles, inlineSize: maxRoleInlineSize, locked: lockedRole,
		name:     func(r *model.Role) string { return r.Name },
		inline:   func(r *model.Role) *[]model.InlinePolicy { return &r.Inline },
		attached: func(r *model.Role) *[]string { return &r.Attached },
		boundary: func(r *model.Role) *string { return &r.BoundaryARN },
	}
}

// find is the entity with the name that was given. Names are unique without
// case, but case counts here [GK]: what a policy allows is named by the ARN, and
// the ARN has the entity's own.
func (h holder[T]) find(r store.Reader, name string) (*T, error) {
	rec, ok := h.table.Get(r, model.FoldName(name))
	if !ok || h.name(rec) != name {
		return nil, noSuch("The %s with name %s cannot be found.", h.noun, name)
	}
	return rec, nil
}

// edit changes the entity with a name.
func (h holder[T]) edit(tx *store.Tx, name string, change func(*T) error) error {
	if _, err := h.find(tx, name); err != nil {
		return err
	}
	return h.table.Edit(tx, model.FoldName(name), change)
}

// editFree is edit for what AWS's own roles refuse.
func (h holder[T]) editFree(tx *store.Tx, name string, change func(*T) error) error {
	return h.edit(tx, name, func(rec *T) error {
		if err := h.locked(rec); err != nil {
			return err
		}
		return change(rec)
	})
}

// inlinePolicy is where the entity's inline policy with a name is.
func (h holder[T]) inlinePolicy(rec *T, name string) (int, error) {
	i := slices.IndexFunc(*h.inline(rec), func(p model.InlinePolicy) bool { return p.Name == name })
	if i < 0 {
		return 0, noSuch("The %s policy with name %s cannot be found.", h.noun, name)
	}
	return i, nil
}
