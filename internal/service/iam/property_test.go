package iam_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/kv"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/iam"
	"berth.dev/berth/internal/wire/api/iamapi"
	"berth.dev/berth/internal/wire/smithy"
)

// action is one call on a few names, so that calls meet each other.
type action struct {
	kind, a, b int
}

var names = []string{"one", "One", "two"}

func (a action) name() *string  { return &names[a.a%len(names)] }
func (a action) other() *string { return &names[a.b%len(names)] }
func (a action) path() *string  { return new([]string{"/", "/x/"}[a.b%2]) }

// policy is the ARN of a policy that may or may not exist.
func (a action) policy() *string {
	return new("arn:aws:iam::" + account + ":policy" + *a.path() + *a.name())
}

// trust names a user and a role that may or may not exist.
func (a action) trust() *string {
	prefix := "arn:aws:iam::" + account
	return new(fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["%s:user%s%s","%s:root"]},"Action":"sts:AssumeRole"}]}`,
		prefix, *a.path(), *a.other(), prefix))
}

var rootOnly = fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"%s"},"Action":"sts:AssumeRole"}]}`, account)

// calls are all that an action can be. They may be refused.
var calls = []func(context.Context, *iam.Provider, action) error{
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.CreateUser(ctx, &iamapi.CreateUserInput{UserName: a.name(), Path: a.path()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.UpdateUser(ctx, &iamapi.UpdateUserInput{UserName: a.name(), NewUserName: a.other(), NewPath: a.path()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.DeleteUser(ctx, &iamapi.DeleteUserInput{UserName: a.name()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.CreateAccessKey(ctx, &iamapi.CreateAccessKeyInput{UserName: a.name()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.CreateGroup(ctx, &iamapi.CreateGroupInput{GroupName: a.name()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.UpdateGroup(ctx, &iamapi.UpdateGroupInput{GroupName: a.name(), NewGroupName: a.other()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.DeleteGroup(ctx, &iamapi.DeleteGroupInput{GroupName: a.name()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.AddUserToGroup(ctx, &iamapi.AddUserToGroupInput{GroupName: a.name(), UserName: a.other()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.RemoveUserFromGroup(ctx, &iamapi.RemoveUserFromGroupInput{GroupName: a.name(), UserName: a.other()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.CreateRole(ctx, &iamapi.CreateRoleInput{RoleName: a.name(), AssumeRolePolicyDocument: &rootOnly, Path: a.path()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.UpdateAssumeRolePolicy(ctx, &iamapi.UpdateAssumeRolePolicyInput{RoleName: a.name(), PolicyDocument: a.trust()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.DeleteRole(ctx, &iamapi.DeleteRoleInput{RoleName: a.name()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.PutRolePermissionsBoundary(ctx, &iamapi.PutRolePermissionsBoundaryInput{RoleName: a.other(), PermissionsBoundary: a.policy()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.DeleteRolePermissionsBoundary(ctx, &iamapi.DeleteRolePermissionsBoundaryInput{RoleName: a.name()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.CreateInstanceProfile(ctx, &iamapi.CreateInstanceProfileInput{InstanceProfileName: a.name()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.AddRoleToInstanceProfile(ctx, &iamapi.AddRoleToInstanceProfileInput{InstanceProfileName: a.name(), RoleName: a.other()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.RemoveRoleFromInstanceProfile(ctx, &iamapi.RemoveRoleFromInstanceProfileInput{InstanceProfileName: a.name(), RoleName: a.other()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.DeleteInstanceProfile(ctx, &iamapi.DeleteInstanceProfileInput{InstanceProfileName: a.name()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.CreatePolicy(ctx, &iamapi.CreatePolicyInput{PolicyName: a.name(), Path: a.path(), PolicyDocument: new(allowLogs)})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.CreatePolicyVersion(ctx, &iamapi.CreatePolicyVersionInput{PolicyArn: a.policy(), PolicyDocument: new(allowLogs), SetAsDefault: new(a.b == 0)})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.DeletePolicyVersion(ctx, &iamapi.DeletePolicyVersionInput{PolicyArn: a.policy(), VersionId: new(fmt.Sprintf("v%d", a.b+1))})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.DeletePolicy(ctx, &iamapi.DeletePolicyInput{PolicyArn: a.policy()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.AttachUserPolicy(ctx, &iamapi.AttachUserPolicyInput{UserName: a.other(), PolicyArn: a.policy()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.AttachGroupPolicy(ctx, &iamapi.AttachGroupPolicyInput{GroupName: a.other(), PolicyArn: a.policy()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.DetachUserPolicy(ctx, &iamapi.DetachUserPolicyInput{UserName: a.other(), PolicyArn: a.policy()})
		return err
	},
	func(ctx context.Context, p *iam.Provider, a action) error {
		_, err := p.DetachGroupPolicy(ctx, &iamapi.DetachGroupPolicyInput{GroupName: a.other(), PolicyArn: a.policy()})
		return err
	},
}

// interleaved is a kv in which something happens between what a transaction
// has read and its commit.
type interleaved struct {
	kv.KV
	before func()
}

// Txn implements kv.KV.
func (k *interleaved) Txn(ctx context.Context, txn kv.Txn) (kv.TxnResult, error) {
	if before := k.before; before != nil {
		k.before = nil
		before()
	}
	return k.KV.Txn(ctx, txn)
}

// bench is a provider whose calls can be interleaved.
type bench struct {
	t     testing.TB
	db    *interleaved
	store *store.Store
	*iam.Provider
}

func newBench(t testing.TB, fail func(error)) (b *bench, stop func()) {
	ring, err := keyring.Ephemeral()
	if err != nil {
		fail(err)
	}
	b = &bench{t: t, db: &interleaved{KV: memkv.New(0)}}
	if b.store, err = store.Open(b.db, "/berth/", store.Options{}, records.All()...); err != nil {
		fail(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.store.Run(ctx); err != nil {
			b.t.Error(err)
		}
	})
	<-b.store.Ready()
	b.Provider = iam.New(iam.Config{Store: b.store, Scope: scope, Ring: ring})
	return b, func() { cancel(); wg.Wait() }
}

// during makes a call, and another one between what it reads and its commit.
// Both may be refused, but not fail.
func (b *bench) during(first, second action) error {
	var other error
	b.db.before = func() { other = b.make(second) }
	err := b.make(first)
	b.db.before = nil
	return errors.Join(err, other)
}

func (b *bench) make(a action) error {
	err := calls[a.kind](context.Background(), b.Provider, a)
	if _, refused := errors.AsType[smithy.APIError](err); refused {
		return nil
	}
	return err
}

// Property: after any calls, and calls in the middle of others, nothing refers
// to what is gone, no quota is exceeded, and no call has failed for a reason of
// ours.
func TestCallsAtOnce_KeepReferencesWhole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b, stop := newBench(t, func(err error) { rt.Fatal(err) })
		defer stop()
		draw := rapid.Custom(func(rt *rapid.T) action {
			return action{rapid.IntRange(0, len(calls)-1).Draw(rt, "call"), rapid.IntRange(0, 2).Draw(rt, "a"), rapid.IntRange(0, 2).Draw(rt, "b")}
		})
		for range rapid.IntRange(1, 60).Draw(rt, "calls") {
			if err := b.during(draw.Draw(rt, "first"), draw.Draw(rt, "second")); err != nil {
				rt.Fatal(err)
			}
		}
		if problems := whole(b.store.Snapshot()); len(problems) > 0 {
			rt.Fatal(problems)
		}
	})
}

// Every call in the middle of every other, on one of each thing: the same, and
// not left to chance.
func TestCallsAtOnce_EveryPair(t *testing.T) {
	b, stop := newBench(t, func(err error) { t.Fatal(err) })
	defer stop()
	for first := range calls {
		for second := range calls {
			for i := range 16 {
				b.reset(i&8 == 0)
				x, y := action{first, i & 1 * 2, i >> 1 & 1 * 2}, action{second, i >> 2 & 1 * 2, i >> 3 & 1 * 2}
				if err := b.during(x, y); err != nil {
					t.Fatalf("%+v and %+v: %v", x, y, err)
				}
				if problems := whole(b.store.Snapshot()); len(problems) > 0 {
					t.Fatalf("%+v and %+v: %v", x, y, problems)
				}
			}
		}
	}
}

// reset leaves one of each thing, called "one", that nothing refers to but, if
// keyed, an access key.
func (b *bench) reset(keyed bool) {
	if _, err := b.store.Update(context.Background(), func(tx *store.Tx) error {
		clear(tx, records.Users, (*model.User).Key)
		clear(tx, records.Groups, (*model.Group).Key)
		clear(tx, records.Roles, (*model.Role).Key)
		clear(tx, records.InstanceProfiles, (*model.InstanceProfile).Key)
		clear(tx, records.Policies, (*model.Policy).Key)
		clear(tx, records.AccessKeys, (*model.AccessKey).Key)
		records.Users.Put(tx, &model.User{ID: "AIDA1", Name: "one", Path: "/"})
		if keyed {
			records.AccessKeys.Put(tx, &model.AccessKey{ID: "AKIA1", UserName: "one"})
		}
		records.Groups.Put(tx, &model.Group{ID: "AGPA1", Name: "one", Path: "/"})
		records.Roles.Put(tx, &model.Role{ID: "AROA1", Name: "one", Path: "/", Trust: rootOnly})
		records.InstanceProfiles.Put(tx, &model.InstanceProfile{ID: "AIPA1", Name: "one", Path: "/"})
		records.Policies.Put(tx, &model.Policy{
			ID: "ANPA1", ARN: "arn:aws:iam::" + account + ":policy/one", Name: "one", Path: "/", DefaultID: "v1", LastVersion: 4,
			Versions: []model.PolicyVersion{{ID: "v1"}, {ID: "v2"}, {ID: "v3"}, {ID: "v4"}},
		})
		return nil
	}); err != nil {
		b.t.Fatal(err)
	}
}

func clear[T any](tx *store.Tx, table *store.Table[T], key func(*T) string) {
	for rec := range table.All(tx) {
		table.Delete(tx, key(rec))
	}
}

// whole checks every reference between records.
func whole(r store.Reader) (problems []string) {
	must := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	policies := func(whose string, attached []string, boundary string) {
		for _, name := range attached {
			must(records.Policies.Has(r, name), "%s has policy %s, which is gone", whose, name)
		}
		must(boundary == "" || records.Policies.Has(r, boundary), "%s has boundary %s, which is gone", whose, boundary)
	}
	for u := range records.Users.All(r) {
		for _, name := range u.Groups {
			g, ok := records.Groups.Get(r, model.FoldName(name))
			must(ok && g.Name == name, "user %s is in group %s, which is gone", u.Name, name)
		}
		policies(u.Name, u.Attached, u.BoundaryARN)
	}
	for g := range records.Groups.All(r) {
		policies(g.Name, g.Attached, "")
	}
	for held := range records.Roles.All(r) {
		policies(held.Name, held.Attached, held.BoundaryARN)
		problems = append(problems, trusts(r, held)...)
	}
	for each := range records.InstanceProfiles.All(r) {
		held, ok := records.Roles.Get(r, model.FoldName(each.Role))
		must(each.Role == "" || ok && held.Name == each.Role, "profile %s has role %s, which is gone", each.Name, each.Role)
	}
	keys := map[string]int{}
	for k := range records.AccessKeys.All(r) {
		u, ok := records.Users.Get(r, model.FoldName(k.UserName))
		must(ok && u.Name == k.UserName, "key of user %s, who is gone", k.UserName)
		keys[k.UserName]++
		must(keys[k.UserName] <= 2, "user %s has %d keys", k.UserName, keys[k.UserName])
	}
	folded := map[string]bool{}
	for each := range records.Policies.All(r) {
		name := model.FoldName(each.Name)
		must(!folded[name], "two policies are called %s", name)
		folded[name] = true
		must(each.Default() != nil && len(each.Versions) <= 5, "versions of %s: %+v", each.ARN, each.Versions)
	}
	return problems
}

// trusts checks that a trust names users that exist, and unique ids of those
// that are gone.
func trusts(r store.Reader, held *model.Role) (problems []string) {
	for _, name := range held.TrustedARNs {
		a, err := arn.Parse(name)
		if err != nil {
			return []string{err.Error()}
		}
		path := a.Path()
		u, ok := records.Users.Get(r, model.FoldName(path[len(path)-1]))
		if !ok || a.Resource != "user"+u.Path+u.Name {
			problems = append(problems, fmt.Sprintf("role %s trusts %s, who is gone", held.Name, name))
		}
	}
	if strings.Contains(held.Trust, ":user/") != (len(held.TrustedARNs) > 0) {
		problems = append(problems, fmt.Sprintf("role %s: %s trusts %v", held.Name, held.Trust, held.TrustedARNs))
	}
	return problems
}

// Of two calls for the last place one succeeds.
func TestCallsAtOnce_KeepQuotas(t *testing.T) {
	b, stop := newBench(t, func(err error) { t.Fatal(err) })
	defer stop()
	ctx := t.Context()
	if _, err := b.store.Update(ctx, func(tx *store.Tx) error {
		for i := range 99 {
			records.OIDCProviders.Put(tx, &model.OIDCProvider{ARN: fmt.Sprintf("arn:aws:iam::%s:oidc-provider/%d", account, i)})
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	create := func(name string) error {
		_, err := b.CreateOpenIDConnectProvider(ctx, &iamapi.CreateOpenIDConnectProviderInput{Url: new("https://" + name + ".example.com")})
		return err
	}
	var second error
	b.db.before = func() { second = create("second") }
	first := create("first")
	if second != nil || first == nil || !strings.Contains(first.Error(), "Cannot exceed quota for OpenIdConnectProvidersPerAccount: 100") {
		t.Errorf("%v, %v", first, second)
	}
}
