package records

import (
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// Principals and their policies.
var (
	Users  = store.NewTable("users", (*model.User).Key, UsersByGroup, UsersByPolicy, UsersCounted)
	Groups = store.NewTable("groups", (*model.Group).Key, GroupsByPolicy, GroupsCounted)
	Roles  = store.NewTable("roles", (*model.Role).Key, RolesByPolicy, RolesByTrusted, RolesCounted)

	// UsersByGroup finds the members of a group by its folded name.
	UsersByGroup = store.NewGuardedIndex("group", func(u *model.User) []string {
		names := make([]string, len(u.Groups))
		for i, name := range u.Groups {
			names[i] = model.FoldName(name)
		}
		return names
	})
	// UsersByPolicy finds the users to which a managed policy is attached, as
	// policy or as boundary, by its ARN; GroupsByPolicy and RolesByPolicy
	// likewise.
	UsersByPolicy  = store.NewGuardedIndex("policy", func(u *model.User) []string { return policiesOf(u.Attached, u.BoundaryARN) })
	GroupsByPolicy = store.NewGuardedIndex("policy", func(g *model.Group) []string { return policiesOf(g.Attached, "") })
	RolesByPolicy  = store.NewGuardedIndex("policy", func(r *model.Role) []string { return policiesOf(r.Attached, r.BoundaryARN) })

	// RolesByTrusted finds the roles whose trust names a user or role, by its
	// ARN.
	RolesByTrusted = store.NewGuardedIndex("trusted", func(r *model.Role) []string { return r.TrustedARNs })

	// UsersCounted and its like have all records of their tables under
	// Everything: who guards that may add one up to the account's quota.
	UsersCounted            = store.NewGuardedIndex("counted", everything[model.User])
	GroupsCounted           = store.NewGuardedIndex("counted", everything[model.Group])
	RolesCounted            = store.NewGuardedIndex("counted", everything[model.Role])
	PoliciesCounted         = store.NewGuardedIndex("counted", everything[model.Policy])
	InstanceProfilesCounted = store.NewGuardedIndex("counted", everything[model.InstanceProfile])
	OIDCProvidersCounted    = store.NewGuardedIndex("counted", everything[model.OIDCProvider])

	Policies = store.NewTable("policies", (*model.Policy).Key, PoliciesByName, PoliciesCounted)
	// PoliciesByName finds a policy by its folded name, which is unique
	// whatever its path.
	PoliciesByName = store.NewGuardedIndex("name", func(p *model.Policy) []string { return []string{model.FoldName(p.Name)} })

	InstanceProfiles = store.NewTable("instanceprofiles", (*model.InstanceProfile).Key, InstanceProfilesByRole, InstanceProfilesCounted)
	// InstanceProfilesByRole finds the profiles that hand out a role, by its
	// folded name.
	InstanceProfilesByRole = store.NewGuardedIndex("role", func(p *model.InstanceProfile) []string {
		if p.Role == "" {
			return nil
		}
		return []string{model.FoldName(p.Role)}
	})

	OIDCProviders = store.NewTable("oidcproviders", (*model.OIDCProvider).Key, OIDCProvidersCounted)

	AccountAliases = store.NewTable("accountaliases", (*model.AccountAlias).Key)

	AccessKeys = store.NewTable("accesskeys", (*model.AccessKey).Key, AccessKeysByUser)
	// AccessKeysByUser finds the keys of a user by the folded name; the root
	// user's are under the empty one.
	AccessKeysByUser = store.NewGuardedIndex("user", func(k *model.AccessKey) []string { return []string{model.FoldName(k.UserName)} })

	JoinTokens = store.NewTable("jointokens", (*model.JoinToken).Key)
)

// Everything is the one value of the indexes that count.
const Everything = "all"

func everything[T any](*T) []string { return []string{Everything} }

func policiesOf(attached []string, boundary string) []string {
	if boundary == "" {
		return attached
	}
	return append(append([]string(nil), attached...), boundary)
}
