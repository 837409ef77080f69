package iam_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/keyring"
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

// Property: whatever is asked at once, nothing refers to what is gone, no quota
// is exceeded, and no call fails for a reason of ours.
func TestCallsAtOnce_KeepReferencesWhole(t *testing.T) {
	ring, err := keyring.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		s, stop := openFor(rt)
		defer stop()
		p := iam.New(iam.Config{Store: s, Scope: scope, Ring: ring})
		draw := rapid.Custom(func(rt *rapid.T) action {
			return action{rapid.IntRange(0, len(calls)-1).Draw(rt, "call"), rapid.IntRange(0, 2).Draw(rt, "a"), rapid.IntRange(0, 2).Draw(rt, "b")}
		})
		var wg sync.WaitGroup
		failed := make(chan error, 1)
		for i := range 4 {
			actions := rapid.SliceOfN(draw, 0, 40).Draw(rt, fmt.Sprint("client", i))
			wg.Go(func() {
				for _, a := range actions {
					err := calls[a.kind](context.Background(), p, a)
					if _, expected := err.(smithy.APIError); err != nil && !expected { //nolint:errorlint // providers return them unwrapped
						select {
						case failed <- fmt.Errorf("%+v: %w", a, err):
						default:
						}
					}
				}
			})
		}
		wg.Wait()
		select {
		case err := <-failed:
			rt.Fatal(err)
		default:
		}
		whole(rt, s.Snapshot())
	})
}

func openFor(rt *rapid.T) (*store.Store, func()) {
	s, err := store.Open(memkv.New(0), "/berth/", store.Options{}, records.All()...)
	if err != nil {
		rt.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			rt.Error(err)
		}
	})
	<-s.Ready()
	return s, func() { cancel(); wg.Wait() }
}

// whole checks every reference between records.
func whole(rt *rapid.T, r store.Reader) {
	must := func(ok bool, format string, args ...any) {
		if !ok {
			rt.Errorf(format, args...)
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
		trusts(rt, r, held)
	}
	for each := range records.InstanceProfiles.All(r) {
		held, ok := records.Roles.Get(r, model.FoldName(each.Role))
		must(each.Role == "" || ok && held.Name == each.Role, "profile %s has role %s, which is gone", each.Name, each.Role)
	}
	keys := map[string]int{}
	for k := range records.AccessKeys.All(r) {
		u, ok := records.Users.Get(r, model.FoldName(k.UserName))
		must(ok && u.Name == k.UserName, "key of user %s, who is gone", k.UserName)
		if keys[k.UserName]++; keys[k.UserName] > 2 {
			rt.Errorf("user %s has %d keys", k.UserName, keys[k.UserName])
		}
	}
	folded := map[string]bool{}
	for each := range records.Policies.All(r) {
		name := model.FoldName(each.Name)
		must(!folded[name], "two policies are called %s", name)
		folded[name] = true
		must(each.Default() != nil && len(each.Versions) <= 5, "versions of %s: %+v", each.ARN, each.Versions)
	}
}

// trusts checks that a trust names users that exist, and unique ids of those
// that are gone.
func trusts(rt *rapid.T, r store.Reader, held *model.Role) {
	for _, name := range held.TrustedARNs {
		a, err := arn.Parse(name)
		if err != nil {
			rt.Fatal(err)
		}
		path := a.Path()
		u, ok := records.Users.Get(r, model.FoldName(path[len(path)-1]))
		if !ok || a.Resource != "user"+u.Path+u.Name {
			rt.Errorf("role %s trusts %s, who is gone", held.Name, name)
		}
	}
	if strings.Contains(held.Trust, ":user/") != (len(held.TrustedARNs) > 0) {
		rt.Errorf("role %s: %s trusts %v", held.Name, held.Trust, held.TrustedARNs)
	}
}

// Of many calls for the last places, as many succeed as there are places.
func TestCallsAtOnce_KeepQuotas(t *testing.T) {
	w := newWorld(t)
	p := iam.New(iam.Config{Store: w.store, Scope: scope, Ring: w.ring})
	ctx := t.Context()
	w.user("ann")
	if _, err := w.store.Update(ctx, func(tx *store.Tx) error {
		for i := range 98 {
			o := &model.OIDCProvider{ARN: fmt.Sprintf("arn:aws:iam::%s:oidc-provider/%d", account, i)}
			records.OIDCProviders.Put(tx, o)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func(i int) error{
		"access keys": func(int) error {
			_, err := p.CreateAccessKey(ctx, &iamapi.CreateAccessKeyInput{UserName: new("ann")})
			return err
		},
		"issuers": func(i int) error {
			_, err := p.CreateOpenIDConnectProvider(ctx, &iamapi.CreateOpenIDConnectProviderInput{Url: new(fmt.Sprintf("https://issuer%d.example.com", i))})
			return err
		},
	} {
		var wg sync.WaitGroup
		said := make([]string, 12)
		for i := range said {
			wg.Go(func() {
				if err := call(i); err != nil {
					said[i] = err.Error()
				}
			})
		}
		wg.Wait()
		if n := len(slices.DeleteFunc(slices.Clone(said), func(s string) bool { return s != "" })); n != 2 {
			t.Errorf("%s: %d succeeded: %q", name, n, said)
		}
		for _, s := range said {
			if s != "" && !strings.Contains(s, "Cannot exceed quota for ") {
				t.Errorf("%s: %s", name, s)
			}
		}
	}
}
