package iam_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	iamclient "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

func TestOpenIDConnectProvider_Lives(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	const print1, print2 = "6938fd4d98bab03faadb97b34396831e3780aea1", "1c58a3a8518e8759bf075b76b750d4f2df264fcd"
	made := must[*iamclient.CreateOpenIDConnectProviderOutput](w)(w.CreateOpenIDConnectProvider(ctx, &iamclient.CreateOpenIDConnectProviderInput{
		Url: aws.String("https://token.actions.githubusercontent.com"), ClientIDList: []string{"sts.amazonaws.com"}, ThumbprintList: []string{print1},
		Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}},
	}))
	arn := made.OpenIDConnectProviderArn
	if *arn != "arn:aws:iam::"+account+":oidc-provider/token.actions.githubusercontent.com" || len(made.Tags) != 1 {
		t.Errorf("made %+v", made)
	}
	for _, id := range []string{"x", "x"} {
		ok[*iamclient.AddClientIDToOpenIDConnectProviderOutput](w)(w.AddClientIDToOpenIDConnectProvider(ctx, &iamclient.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: &id}))
	}
	for _, id := range []string{"sts.amazonaws.com", "never"} {
		ok[*iamclient.RemoveClientIDFromOpenIDConnectProviderOutput](w)(w.RemoveClientIDFromOpenIDConnectProvider(ctx, &iamclient.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: &id}))
	}
	ok[*iamclient.UpdateOpenIDConnectProviderThumbprintOutput](w)(w.UpdateOpenIDConnectProviderThumbprint(ctx, &iamclient.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: arn, ThumbprintList: []string{print2}}))
	got := must[*iamclient.GetOpenIDConnectProviderOutput](w)(w.GetOpenIDConnectProvider(ctx, &iamclient.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}))
	if *got.Url != "token.actions.githubusercontent.com" || !slices.Equal(got.ClientIDList, []string{"x"}) || !slices.Equal(got.ThumbprintList, []string{print2}) || !recent(got.CreateDate) {
		t.Errorf("got %+v", got)
	}
	if list := must[*iamclient.ListOpenIDConnectProvidersOutput](w)(w.ListOpenIDConnectProviders(ctx, nil)); len(list.OpenIDConnectProviderList) != 1 || *list.OpenIDConnectProviderList[0].Arn != *arn {
		t.Errorf("listed %+v", list)
	}
	for range 2 { // the second time it is gone already
		ok[*iamclient.DeleteOpenIDConnectProviderOutput](w)(w.DeleteOpenIDConnectProvider(ctx, &iamclient.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}))
	}
	// An issuer of the operator's may have a port.
	own := must[*iamclient.CreateOpenIDConnectProviderOutput](w)(w.CreateOpenIDConnectProvider(ctx, &iamclient.CreateOpenIDConnectProviderInput{Url: aws.String("https://idp.test:8443/realms/main/")}))
	if *own.OpenIDConnectProviderArn != "arn:aws:iam::"+account+":oidc-provider/idp.test:8443/realms/main/" {
		t.Errorf("made %s", *own.OpenIDConnectProviderArn)
	}
}

func TestAccountAlias_Lives(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	for _, name := range []string{"first", "second-one"} { // one takes the other's place
		ok[*iamclient.CreateAccountAliasOutput](w)(w.CreateAccountAlias(ctx, &iamclient.CreateAccountAliasInput{AccountAlias: &name}))
	}
	if got := must[*iamclient.ListAccountAliasesOutput](w)(w.ListAccountAliases(ctx, nil)); !slices.Equal(got.AccountAliases, []string{"second-one"}) || got.IsTruncated {
		t.Errorf("%+v", got)
	}
	_, err := w.DeleteAccountAlias(ctx, &iamclient.DeleteAccountAliasInput{AccountAlias: aws.String("first")})
	w.wants(err, "NoSuchEntity: The account alias first cannot be found.")
	ok[*iamclient.DeleteAccountAliasOutput](w)(w.DeleteAccountAlias(ctx, &iamclient.DeleteAccountAliasInput{AccountAlias: aws.String("second-one")}))
	if got := must[*iamclient.ListAccountAliasesOutput](w)(w.ListAccountAliases(ctx, nil)); len(got.AccountAliases) != 0 {
		t.Errorf("%+v", got)
	}
}

// peopled has one of each.
func peopled(t *testing.T) (w *world, policy string) {
	w = newWorld(t)
	ctx := t.Context()
	w.user("ann")
	w.group("devs")
	w.role("app")
	policy = w.policy("shared", allowLogs)
	ok[*iamclient.AddUserToGroupOutput](w)(w.AddUserToGroup(ctx, &iamclient.AddUserToGroupInput{GroupName: aws.String("devs"), UserName: aws.String("ann")}))
	ok[*iamclient.PutUserPolicyOutput](w)(w.PutUserPolicy(ctx, &iamclient.PutUserPolicyInput{UserName: aws.String("ann"), PolicyName: aws.String("own"), PolicyDocument: aws.String(allowLogs)}))
	ok[*iamclient.PutRolePolicyOutput](w)(w.PutRolePolicy(ctx, &iamclient.PutRolePolicyInput{RoleName: aws.String("app"), PolicyName: aws.String("own"), PolicyDocument: aws.String(allowLogs)}))
	ok[*iamclient.AttachGroupPolicyOutput](w)(w.AttachGroupPolicy(ctx, &iamclient.AttachGroupPolicyInput{GroupName: aws.String("devs"), PolicyArn: &policy}))
	ok[*iamclient.CreateInstanceProfileOutput](w)(w.CreateInstanceProfile(ctx, &iamclient.CreateInstanceProfileInput{InstanceProfileName: aws.String("node")}))
	ok[*iamclient.AddRoleToInstanceProfileOutput](w)(w.AddRoleToInstanceProfile(ctx, &iamclient.AddRoleToInstanceProfileInput{InstanceProfileName: aws.String("node"), RoleName: aws.String("app")}))
	return w, policy
}

func TestGetAccountSummary(t *testing.T) {
	w, _ := peopled(t)
	got := must[*iamclient.GetAccountSummaryOutput](w)(w.GetAccountSummary(t.Context(), nil)).SummaryMap
	for name, want := range map[string]int32{
		"Users": 1, "Groups": 1, "Roles": 1, "Policies": 1, "InstanceProfiles": 1, "Providers": 0, "PolicyVersionsInUse": 1, "AccountMFAEnabled": 0,
		"AccountAccessKeysPresent": 0, "UsersQuota": 5000, "AttachedPoliciesPerRoleQuota": 10, "AccessKeysPerUserQuota": 2,
	} {
		if n, has := got[name]; !has || n != want {
			t.Errorf("%s is %d, want %d", name, n, want)
		}
	}
}

func TestGetAccountAuthorizationDetails(t *testing.T) {
	w, policy := peopled(t)
	ctx := t.Context()
	var seen []string
	pages := iamclient.NewGetAccountAuthorizationDetailsPaginator(w.Client, &iamclient.GetAccountAuthorizationDetailsInput{MaxItems: aws.Int32(1), Filter: []types.EntityType{
		types.EntityTypeUser, types.EntityTypeRole, types.EntityTypeGroup, types.EntityTypeLocalManagedPolicy,
	}})
	for pages.HasMorePages() {
		page := must[*iamclient.GetAccountAuthorizationDetailsOutput](w)(pages.NextPage(ctx))
		for _, u := range page.UserDetailList {
			seen = append(seen, "user "+*u.UserName+" in "+strings.Join(u.GroupList, ",")+" has "+*u.UserPolicyList[0].PolicyName)
		}
		for _, r := range page.RoleDetailList {
			seen = append(seen, "role "+*r.RoleName+" in "+*r.InstanceProfileList[0].InstanceProfileName+" has "+*r.RolePolicyList[0].PolicyName)
			if !strings.Contains(*r.RolePolicyList[0].PolicyDocument, "%22logs%3APutLogEvents%22") || !strings.Contains(*r.AssumeRolePolicyDocument, "ecs-tasks") {
				t.Errorf("%+v", r)
			}
		}
		for _, g := range page.GroupDetailList {
			seen = append(seen, "group "+*g.GroupName+" has "+*g.AttachedManagedPolicies[0].PolicyArn)
		}
		for _, p := range page.Policies {
			seen = append(seen, "policy "+*p.PolicyName+" "+*p.PolicyVersionList[0].VersionId)
			if !p.IsAttachable || *p.AttachmentCount != 1 || !strings.Contains(*p.PolicyVersionList[0].Document, "PutLogEvents") {
				t.Errorf("%+v", p)
			}
		}
	}
	want := []string{"group devs has " + policy, "role app in node has own", "user ann in devs has own", "policy shared v1"}
	if !slices.Equal(seen, want) {
		t.Errorf("got %v, want %v", seen, want)
	}
	all := must[*iamclient.GetAccountAuthorizationDetailsOutput](w)(w.GetAccountAuthorizationDetails(ctx, &iamclient.GetAccountAuthorizationDetailsInput{MaxItems: aws.Int32(1000)}))
	if !slices.ContainsFunc(all.Policies, func(p types.ManagedPolicyDetail) bool { return *p.Arn == executionPolicy }) || all.IsTruncated {
		t.Error("AWS's policies are missing")
	}
}
