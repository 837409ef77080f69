package records

import (
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/caller"
)

// RoleByARN finds a role by its whole ARN, which has the role's path.
func RoleByARN(r store.Reader, scope arn.Scope, name string) (*model.Role, bool) {
	role, ok := Roles.Get(r, model.FoldName(name[strings.LastIndexByte(name, '/')+1:]))
	if !ok || scope.IAM("role", role.Path, role.Name) != name {
		return nil, false
	}
	return role, true
}

// Holder finds whom a caller's credentials were given to: a role, a user, or
// neither for the root user and for services. It reports false when that role
// or user is gone, or another has its name now: the credentials are worth
// nothing then. A federated user has an id of its own; the user that vouched
// for it must be there.
func Holder(r store.Reader, who *caller.Identity) (role *model.Role, user *model.User, ok bool) {
	switch {
	case who.Session != nil && who.Session.RoleARN != "":
		name := who.Session.RoleARN[strings.LastIndexByte(who.Session.RoleARN, '/')+1:]
		role, ok = Roles.Get(r, model.FoldName(name))
		return role, nil, ok && role.ID == who.Session.RoleID
	case who.UserName != "":
		user, ok = Users.Get(r, model.FoldName(who.UserName))
		return nil, user, ok && (user.ID == who.UserID || who.Federated())
	}
	return nil, nil, true
}
