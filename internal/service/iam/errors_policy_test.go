package iam_test

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	iamclient "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// large is a policy of n characters that count, and some that do not.
func large(n int) *string {
	const begin, end = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"`, `:*","Resource":"*"}]}`
	return aws.String(begin + strings.Repeat("a", n-len(begin)-len(end)) + end + strings.Repeat(" \n\t", 100))
}

func refusePolicies(r *refusals) {
	ctx := r.Context()
	r.section("managed policies")
	arn := r.policy("taken", allowLogs)
	create := func(source, name string, document *string) {
		refused[*iamclient.CreatePolicyOutput](r, source)(r.CreatePolicy(ctx, &iamclient.CreatePolicyInput{PolicyName: &name, PolicyDocument: document}))
	}
	create(observed, "taken", aws.String(allowLogs))
	create(observed, "TAKEN", aws.String(allowLogs))
	refused[*iamclient.CreatePolicyOutput](r, observed)(r.CreatePolicy(ctx, &iamclient.CreatePolicyInput{PolicyName: aws.String("taken"), Path: aws.String("/other/"), PolicyDocument: aws.String(allowLogs)}))
	create(observed, "a b", aws.String(allowLogs))
	create(observed, "p", aws.String("not json"))
	create(observed, "p", aws.String(strings.Replace(allowLogs, "2012-10-17", "2008-10-17", 1)))
	create(observed, "p", aws.String(strings.Replace(allowLogs, `,"Resource":"*"`, "", 1)))
	create(observed, "p", aws.String(strings.Replace(allowLogs, `"Effect"`, `"Principal":"*","Effect"`, 1)))
	create(observed, "p", aws.String(strings.Replace(allowLogs, "Allow", "allow", 1)))
	create(observed, "p", large(6145))
	ok[*iamclient.CreatePolicyOutput](r.world)(r.CreatePolicy(ctx, &iamclient.CreatePolicyInput{PolicyName: aws.String("largest"), PolicyDocument: large(6144)}))
	refused[*iamclient.CreatePolicyOutput](r, observed)(r.CreatePolicy(ctx, &iamclient.CreatePolicyInput{PolicyName: aws.String("p"), Path: aws.String("/a b/"), PolicyDocument: aws.String(allowLogs)}))

	refused[*iamclient.GetPolicyOutput](r, observed)(r.GetPolicy(ctx, &iamclient.GetPolicyInput{PolicyArn: aws.String(absent)}))
	refused[*iamclient.GetPolicyOutput](r, observed)(r.GetPolicy(ctx, &iamclient.GetPolicyInput{PolicyArn: aws.String(stranger)}))
	refused[*iamclient.GetPolicyOutput](r, observed)(r.GetPolicy(ctx, &iamclient.GetPolicyInput{PolicyArn: aws.String("arn:aws:iam::aws:policy/NoSuchPolicy")}))
	refused[*iamclient.GetPolicyOutput](r, observed)(r.GetPolicy(ctx, &iamclient.GetPolicyInput{PolicyArn: aws.String("not-an-arn-of-anything")}))
	refused[*iamclient.GetPolicyOutput](r, observed)(r.GetPolicy(ctx, &iamclient.GetPolicyInput{PolicyArn: aws.String("arn:aws:iam::123456789012:role/app")}))
	refused[*iamclient.GetPolicyOutput](r, observed)(r.GetPolicy(ctx, &iamclient.GetPolicyInput{PolicyArn: aws.String("short")}))
	refused[*iamclient.DeletePolicyOutput](r, observed)(r.DeletePolicy(ctx, &iamclient.DeletePolicyInput{PolicyArn: aws.String(absent)}))
	refused[*iamclient.DeletePolicyOutput](r, guessed)(r.DeletePolicy(ctx, &iamclient.DeletePolicyInput{PolicyArn: aws.String(readOnly)}))
	refused[*iamclient.ListEntitiesForPolicyOutput](r, observed)(r.ListEntitiesForPolicy(ctx, &iamclient.ListEntitiesForPolicyInput{PolicyArn: aws.String(absent)}))
	refused[*iamclient.ListPolicyTagsOutput](r, observed)(r.ListPolicyTags(ctx, &iamclient.ListPolicyTagsInput{PolicyArn: aws.String(absent)}))
	refused[*iamclient.ListPoliciesOutput](r, observed)(r.ListPolicies(ctx, &iamclient.ListPoliciesInput{Scope: "Mine"}))

	r.section("versions")
	refused[*iamclient.CreatePolicyVersionOutput](r, observed)(r.CreatePolicyVersion(ctx, &iamclient.CreatePolicyVersionInput{PolicyArn: aws.String(absent), PolicyDocument: aws.String(allowLogs)}))
	refused[*iamclient.CreatePolicyVersionOutput](r, guessed)(r.CreatePolicyVersion(ctx, &iamclient.CreatePolicyVersionInput{PolicyArn: aws.String(readOnly), PolicyDocument: aws.String(allowLogs)}))
	refused[*iamclient.CreatePolicyVersionOutput](r, observed)(r.CreatePolicyVersion(ctx, &iamclient.CreatePolicyVersionInput{PolicyArn: &arn, PolicyDocument: large(6145)}))
	refused[*iamclient.CreatePolicyVersionOutput](r, observed)(r.CreatePolicyVersion(ctx, &iamclient.CreatePolicyVersionInput{PolicyArn: &arn, PolicyDocument: aws.String("{}")}))
	for range 4 {
		ok[*iamclient.CreatePolicyVersionOutput](r.world)(r.CreatePolicyVersion(ctx, &iamclient.CreatePolicyVersionInput{PolicyArn: &arn, PolicyDocument: aws.String(allowLogs)}))
	}
	refused[*iamclient.CreatePolicyVersionOutput](r, observed)(r.CreatePolicyVersion(ctx, &iamclient.CreatePolicyVersionInput{PolicyArn: &arn, PolicyDocument: aws.String(allowLogs)}))
	refused[*iamclient.GetPolicyVersionOutput](r, observed)(r.GetPolicyVersion(ctx, &iamclient.GetPolicyVersionInput{PolicyArn: &arn, VersionId: aws.String("v9")}))
	refused[*iamclient.GetPolicyVersionOutput](r, observed)(r.GetPolicyVersion(ctx, &iamclient.GetPolicyVersionInput{PolicyArn: &arn, VersionId: aws.String("nine")}))
	refused[*iamclient.DeletePolicyVersionOutput](r, observed)(r.DeletePolicyVersion(ctx, &iamclient.DeletePolicyVersionInput{PolicyArn: &arn, VersionId: aws.String("v9")}))
	refused[*iamclient.DeletePolicyVersionOutput](r, observed)(r.DeletePolicyVersion(ctx, &iamclient.DeletePolicyVersionInput{PolicyArn: &arn, VersionId: aws.String("v1")}))
	refused[*iamclient.SetDefaultPolicyVersionOutput](r, observed)(r.SetDefaultPolicyVersion(ctx, &iamclient.SetDefaultPolicyVersionInput{PolicyArn: &arn, VersionId: aws.String("v9")}))
	refused[*iamclient.SetDefaultPolicyVersionOutput](r, guessed)(r.SetDefaultPolicyVersion(ctx, &iamclient.SetDefaultPolicyVersionInput{PolicyArn: aws.String(readOnly), VersionId: aws.String("v1")}))
	refused[*iamclient.ListPolicyVersionsOutput](r, observed)(r.ListPolicyVersions(ctx, &iamclient.ListPolicyVersionsInput{PolicyArn: aws.String(absent)}))
	refused[*iamclient.DeletePolicyOutput](r, observed)(r.DeletePolicy(ctx, &iamclient.DeletePolicyInput{PolicyArn: &arn}))
	ok[*iamclient.AttachRolePolicyOutput](r.world)(r.AttachRolePolicy(ctx, &iamclient.AttachRolePolicyInput{RoleName: aws.String("app"), PolicyArn: &arn}))
	refused[*iamclient.DeletePolicyOutput](r, observed)(r.DeletePolicy(ctx, &iamclient.DeletePolicyInput{PolicyArn: &arn}))
	refused[*iamclient.DeleteRoleOutput](r, observed)(r.DeleteRole(ctx, &iamclient.DeleteRoleInput{RoleName: aws.String("app")}))
}

func refuseAttachments(r *refusals) {
	ctx := r.Context()
	r.section("attachments")
	serviceRole := aws.String("arn:aws:iam::aws:policy/aws-service-role/AmazonECSServiceRolePolicy")
	for _, arn := range []string{absent, "arn:aws:iam::aws:policy/NoSuchPolicy", "arn:aws:iam::123456789012:user/ann", "not-an-arn-of-anything"} {
		refused[*iamclient.AttachRolePolicyOutput](r, observed)(r.AttachRolePolicy(ctx, &iamclient.AttachRolePolicyInput{RoleName: aws.String("app"), PolicyArn: &arn}))
		refused[*iamclient.DetachRolePolicyOutput](r, observed)(r.DetachRolePolicy(ctx, &iamclient.DetachRolePolicyInput{RoleName: aws.String("app"), PolicyArn: &arn}))
	}
	refused[*iamclient.AttachRolePolicyOutput](r, observed)(r.AttachRolePolicy(ctx, &iamclient.AttachRolePolicyInput{RoleName: aws.String("app"), PolicyArn: serviceRole}))
	refused[*iamclient.AttachRolePolicyOutput](r, observed)(r.AttachRolePolicy(ctx, &iamclient.AttachRolePolicyInput{RoleName: aws.String(nobody), PolicyArn: aws.String(readOnly)}))
	refused[*iamclient.AttachUserPolicyOutput](r, observed)(r.AttachUserPolicy(ctx, &iamclient.AttachUserPolicyInput{UserName: aws.String(nobody), PolicyArn: aws.String(readOnly)}))
	refused[*iamclient.AttachGroupPolicyOutput](r, observed)(r.AttachGroupPolicy(ctx, &iamclient.AttachGroupPolicyInput{GroupName: aws.String(nobody), PolicyArn: aws.String(readOnly)}))
	refused[*iamclient.DetachUserPolicyOutput](r, observed)(r.DetachUserPolicy(ctx, &iamclient.DetachUserPolicyInput{UserName: aws.String("ann"), PolicyArn: aws.String(readOnly)}))
	refused[*iamclient.DetachGroupPolicyOutput](r, observed)(r.DetachGroupPolicy(ctx, &iamclient.DetachGroupPolicyInput{GroupName: aws.String("devs"), PolicyArn: aws.String(readOnly)}))
	refused[*iamclient.ListAttachedUserPoliciesOutput](r, observed)(r.ListAttachedUserPolicies(ctx, &iamclient.ListAttachedUserPoliciesInput{UserName: aws.String(nobody)}))
	refused[*iamclient.ListAttachedGroupPoliciesOutput](r, observed)(r.ListAttachedGroupPolicies(ctx, &iamclient.ListAttachedGroupPoliciesInput{GroupName: aws.String(nobody)}))
	refused[*iamclient.ListAttachedRolePoliciesOutput](r, observed)(r.ListAttachedRolePolicies(ctx, &iamclient.ListAttachedRolePoliciesInput{RoleName: aws.String(nobody)}))
	r.role("full")
	r.user("full")
	r.group("full")
	full := aws.String("full")
	for i := range 10 {
		arn := r.policy(fmt.Sprintf("many%d", i), allowLogs)
		ok[*iamclient.AttachRolePolicyOutput](r.world)(r.AttachRolePolicy(ctx, &iamclient.AttachRolePolicyInput{RoleName: full, PolicyArn: &arn}))
		ok[*iamclient.AttachUserPolicyOutput](r.world)(r.AttachUserPolicy(ctx, &iamclient.AttachUserPolicyInput{UserName: full, PolicyArn: &arn}))
		ok[*iamclient.AttachGroupPolicyOutput](r.world)(r.AttachGroupPolicy(ctx, &iamclient.AttachGroupPolicyInput{GroupName: full, PolicyArn: &arn}))
	}
	refused[*iamclient.AttachRolePolicyOutput](r, observed)(r.AttachRolePolicy(ctx, &iamclient.AttachRolePolicyInput{RoleName: full, PolicyArn: aws.String(readOnly)}))
	refused[*iamclient.AttachUserPolicyOutput](r, observed)(r.AttachUserPolicy(ctx, &iamclient.AttachUserPolicyInput{UserName: full, PolicyArn: aws.String(readOnly)}))
	refused[*iamclient.AttachGroupPolicyOutput](r, observed)(r.AttachGroupPolicy(ctx, &iamclient.AttachGroupPolicyInput{GroupName: full, PolicyArn: aws.String(readOnly)}))
	refused[*iamclient.DeleteUserOutput](r, observed)(r.DeleteUser(ctx, &iamclient.DeleteUserInput{UserName: full}))
	refused[*iamclient.DeleteGroupOutput](r, observed)(r.DeleteGroup(ctx, &iamclient.DeleteGroupInput{GroupName: full}))
}

func refuseInline(r *refusals) {
	ctx := r.Context()
	r.section("inline policies")
	p := aws.String("p")
	userPolicy := refused[*iamclient.PutUserPolicyOutput]
	rolePolicy := refused[*iamclient.PutRolePolicyOutput]
	groupPolicy := refused[*iamclient.PutGroupPolicyOutput]
	userPolicy(r, observed)(r.PutUserPolicy(ctx, &iamclient.PutUserPolicyInput{UserName: aws.String(nobody), PolicyName: p, PolicyDocument: aws.String(allowLogs)}))
	groupPolicy(r, observed)(r.PutGroupPolicy(ctx, &iamclient.PutGroupPolicyInput{GroupName: aws.String(nobody), PolicyName: p, PolicyDocument: aws.String(allowLogs)}))
	rolePolicy(r, observed)(r.PutRolePolicy(ctx, &iamclient.PutRolePolicyInput{RoleName: aws.String(nobody), PolicyName: p, PolicyDocument: aws.String(allowLogs)}))
	rolePolicy(r, observed)(r.PutRolePolicy(ctx, &iamclient.PutRolePolicyInput{RoleName: aws.String("app"), PolicyName: p, PolicyDocument: aws.String(`{"Statement":[]}`)}))
	rolePolicy(r, observed)(r.PutRolePolicy(ctx, &iamclient.PutRolePolicyInput{RoleName: aws.String("app"), PolicyName: aws.String("a/b"), PolicyDocument: aws.String(allowLogs)}))
	rolePolicy(r, observed)(r.PutRolePolicy(ctx, &iamclient.PutRolePolicyInput{RoleName: aws.String("app"), PolicyName: p, PolicyDocument: aws.String("ключ")}))
	userPolicy(r, observed)(r.PutUserPolicy(ctx, &iamclient.PutUserPolicyInput{UserName: aws.String("ann"), PolicyName: p, PolicyDocument: large(2049)}))
	groupPolicy(r, observed)(r.PutGroupPolicy(ctx, &iamclient.PutGroupPolicyInput{GroupName: aws.String("devs"), PolicyName: p, PolicyDocument: large(5121)}))
	// All of an entity's inline policies count together.
	ok[*iamclient.PutRolePolicyOutput](r.world)(r.PutRolePolicy(ctx, &iamclient.PutRolePolicyInput{RoleName: aws.String("app"), PolicyName: p, PolicyDocument: large(10000)}))
	ok[*iamclient.PutRolePolicyOutput](r.world)(r.PutRolePolicy(ctx, &iamclient.PutRolePolicyInput{RoleName: aws.String("app"), PolicyName: aws.String("q"), PolicyDocument: large(240)}))
	rolePolicy(r, observed)(r.PutRolePolicy(ctx, &iamclient.PutRolePolicyInput{RoleName: aws.String("app"), PolicyName: aws.String("q"), PolicyDocument: large(241)}))

	refused[*iamclient.GetUserPolicyOutput](r, observed)(r.GetUserPolicy(ctx, &iamclient.GetUserPolicyInput{UserName: aws.String("ann"), PolicyName: p}))
	refused[*iamclient.GetGroupPolicyOutput](r, observed)(r.GetGroupPolicy(ctx, &iamclient.GetGroupPolicyInput{GroupName: aws.String("devs"), PolicyName: p}))
	refused[*iamclient.GetRolePolicyOutput](r, observed)(r.GetRolePolicy(ctx, &iamclient.GetRolePolicyInput{RoleName: aws.String("app"), PolicyName: aws.String("none")}))
	refused[*iamclient.GetRolePolicyOutput](r, observed)(r.GetRolePolicy(ctx, &iamclient.GetRolePolicyInput{RoleName: aws.String(nobody), PolicyName: p}))
	refused[*iamclient.DeleteUserPolicyOutput](r, observed)(r.DeleteUserPolicy(ctx, &iamclient.DeleteUserPolicyInput{UserName: aws.String("ann"), PolicyName: p}))
	refused[*iamclient.DeleteGroupPolicyOutput](r, observed)(r.DeleteGroupPolicy(ctx, &iamclient.DeleteGroupPolicyInput{GroupName: aws.String("devs"), PolicyName: p}))
	refused[*iamclient.DeleteRolePolicyOutput](r, observed)(r.DeleteRolePolicy(ctx, &iamclient.DeleteRolePolicyInput{RoleName: aws.String("app"), PolicyName: aws.String("none")}))
	refused[*iamclient.ListUserPoliciesOutput](r, observed)(r.ListUserPolicies(ctx, &iamclient.ListUserPoliciesInput{UserName: aws.String(nobody)}))
	refused[*iamclient.ListGroupPoliciesOutput](r, observed)(r.ListGroupPolicies(ctx, &iamclient.ListGroupPoliciesInput{GroupName: aws.String(nobody)}))
	refused[*iamclient.ListRolePoliciesOutput](r, observed)(r.ListRolePolicies(ctx, &iamclient.ListRolePoliciesInput{RoleName: aws.String(nobody)}))
}

func refuseTags(r *refusals) {
	ctx := r.Context()
	r.section("tags")
	tags := func(keys ...string) (all []types.Tag) {
		for _, key := range keys {
			all = append(all, types.Tag{Key: &key, Value: aws.String("")})
		}
		return all
	}
	var many []string
	for i := range 51 {
		many = append(many, fmt.Sprintf("k%d", i))
	}
	tagUser := refused[*iamclient.TagUserOutput]
	tagUser(r, observed)(r.TagUser(ctx, &iamclient.TagUserInput{UserName: aws.String("ann"), Tags: tags("Team", "team")}))
	tagUser(r, guessed)(r.TagUser(ctx, &iamclient.TagUserInput{UserName: aws.String("ann"), Tags: tags("aws:x")}))
	tagUser(r, observed)(r.TagUser(ctx, &iamclient.TagUserInput{UserName: aws.String("ann"), Tags: tags("a#b")}))
	tagUser(r, observed)(r.TagUser(ctx, &iamclient.TagUserInput{UserName: aws.String(nobody), Tags: tags("a")}))
	ok[*iamclient.TagUserOutput](r.world)(r.TagUser(ctx, &iamclient.TagUserInput{UserName: aws.String("ann"), Tags: tags(many[:50]...)}))
	tagUser(r, guessed)(r.TagUser(ctx, &iamclient.TagUserInput{UserName: aws.String("ann"), Tags: tags(many[50:]...)}))
	refused[*iamclient.UntagUserOutput](r, observed)(r.UntagUser(ctx, &iamclient.UntagUserInput{UserName: aws.String(nobody), TagKeys: []string{"a"}}))
	refused[*iamclient.TagRoleOutput](r, observed)(r.TagRole(ctx, &iamclient.TagRoleInput{RoleName: aws.String(nobody), Tags: tags("a")}))
	refused[*iamclient.UntagRoleOutput](r, observed)(r.UntagRole(ctx, &iamclient.UntagRoleInput{RoleName: aws.String(nobody), TagKeys: []string{"a"}}))
	refused[*iamclient.TagPolicyOutput](r, observed)(r.TagPolicy(ctx, &iamclient.TagPolicyInput{PolicyArn: aws.String(absent), Tags: tags("a")}))
	refused[*iamclient.TagPolicyOutput](r, guessed)(r.TagPolicy(ctx, &iamclient.TagPolicyInput{PolicyArn: aws.String(readOnly), Tags: tags("a")}))
	refused[*iamclient.UntagPolicyOutput](r, observed)(r.UntagPolicy(ctx, &iamclient.UntagPolicyInput{PolicyArn: aws.String(absent), TagKeys: []string{"a"}}))
	refused[*iamclient.TagInstanceProfileOutput](r, observed)(r.TagInstanceProfile(ctx, &iamclient.TagInstanceProfileInput{InstanceProfileName: aws.String(nobody), Tags: tags("a")}))
	refused[*iamclient.UntagInstanceProfileOutput](r, observed)(r.UntagInstanceProfile(ctx, &iamclient.UntagInstanceProfileInput{InstanceProfileName: aws.String(nobody), TagKeys: []string{"a"}}))
	refused[*iamclient.CreateRoleOutput](r, observed)(r.CreateRole(ctx, &iamclient.CreateRoleInput{RoleName: aws.String("x"), AssumeRolePolicyDocument: aws.String(trustTasks), Tags: tags("a", "A")}))
}

func refuseIssuers(r *refusals) {
	ctx := r.Context()
	r.section("OpenID Connect providers")
	const url = "https://issuer.example.com"
	arn := aws.String("arn:aws:iam::123456789012:oidc-provider/nowhere.example.com")
	ok[*iamclient.CreateOpenIDConnectProviderOutput](r.world)(r.CreateOpenIDConnectProvider(ctx, &iamclient.CreateOpenIDConnectProviderInput{Url: aws.String(url)}))
	create := func(source, url string, prints ...string) {
		refused[*iamclient.CreateOpenIDConnectProviderOutput](r, source)(r.CreateOpenIDConnectProvider(ctx, &iamclient.CreateOpenIDConnectProviderInput{Url: &url, ThumbprintList: prints}))
	}
	one := strings.Repeat("a", 40)
	create(observed, url)
	create(moto, "http://issuer.example.com")
	create(moto, "issuer.example.com")
	create(moto, "https://issuer.example.com/?a=b")
	create(moto, "https://me@issuer.example.com/")
	create(moto, "https://other.example.com", one, one, one, one, one, one)
	create(guessed, "https://other.example.com", strings.Repeat("g", 40))
	create(observed, "https://other.example.com", "abc")
	var ids []string
	for i := range 101 {
		ids = append(ids, fmt.Sprint("id", i))
	}
	refused[*iamclient.CreateOpenIDConnectProviderOutput](r, moto)(r.CreateOpenIDConnectProvider(ctx, &iamclient.CreateOpenIDConnectProviderInput{Url: aws.String("https://other.example.com"), ClientIDList: ids}))
	refused[*iamclient.GetOpenIDConnectProviderOutput](r, observed)(r.GetOpenIDConnectProvider(ctx, &iamclient.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}))
	refused[*iamclient.AddClientIDToOpenIDConnectProviderOutput](r, observed)(r.AddClientIDToOpenIDConnectProvider(ctx, &iamclient.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: aws.String("x")}))
	refused[*iamclient.RemoveClientIDFromOpenIDConnectProviderOutput](r, observed)(r.RemoveClientIDFromOpenIDConnectProvider(ctx, &iamclient.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: aws.String("x")}))
	refused[*iamclient.UpdateOpenIDConnectProviderThumbprintOutput](r, observed)(r.UpdateOpenIDConnectProviderThumbprint(ctx, &iamclient.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: arn, ThumbprintList: []string{one}}))
	refused[*iamclient.TagOpenIDConnectProviderOutput](r, observed)(r.TagOpenIDConnectProvider(ctx, &iamclient.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}))
	refused[*iamclient.UntagOpenIDConnectProviderOutput](r, observed)(r.UntagOpenIDConnectProvider(ctx, &iamclient.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, TagKeys: []string{"a"}}))
	refused[*iamclient.ListOpenIDConnectProviderTagsOutput](r, observed)(r.ListOpenIDConnectProviderTags(ctx, &iamclient.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: arn}))
}

func refuseAccount(r *refusals) {
	ctx := r.Context()
	r.section("the account")
	refused[*iamclient.CreateAccountAliasOutput](r, observed)(r.CreateAccountAlias(ctx, &iamclient.CreateAccountAliasInput{AccountAlias: aws.String("Upper")}))
	refused[*iamclient.CreateAccountAliasOutput](r, observed)(r.CreateAccountAlias(ctx, &iamclient.CreateAccountAliasInput{AccountAlias: aws.String("a--b")}))
	refused[*iamclient.DeleteAccountAliasOutput](r, guessed)(r.DeleteAccountAlias(ctx, &iamclient.DeleteAccountAliasInput{AccountAlias: aws.String("absent")}))
	refused[*iamclient.GetAccountAuthorizationDetailsOutput](r, guessed)(r.GetAccountAuthorizationDetails(ctx, &iamclient.GetAccountAuthorizationDetailsInput{Marker: aws.String("x")}))
}

func refuseSimulations(r *refusals) {
	ctx := r.Context()
	r.section("simulations")
	custom := func(source string, edit func(*iamclient.SimulateCustomPolicyInput)) {
		in := &iamclient.SimulateCustomPolicyInput{PolicyInputList: []string{allowLogs}, ActionNames: []string{"logs:PutLogEvents"}}
		edit(in)
		refused[*iamclient.SimulateCustomPolicyOutput](r, source)(r.SimulateCustomPolicy(ctx, in))
	}
	custom(guessed, func(in *iamclient.SimulateCustomPolicyInput) { in.PolicyInputList = []string{"{"} })
	custom(guessed, func(in *iamclient.SimulateCustomPolicyInput) { in.ActionNames = []string{"RunTask"} })
	custom(documented, func(in *iamclient.SimulateCustomPolicyInput) {
		in.PermissionsBoundaryPolicyInputList = []string{allowLogs, allowLogs}
	})
	custom(documented, func(in *iamclient.SimulateCustomPolicyInput) {
		in.ResourcePolicy = aws.String(strings.Replace(allowLogs, `"Effect"`, `"Principal":"*","Effect"`, 1))
	})
	custom(documented, func(in *iamclient.SimulateCustomPolicyInput) { in.ResourcePolicy = aws.String(allowLogs) })
	custom(documented, func(in *iamclient.SimulateCustomPolicyInput) {
		in.CallerArn = aws.String("arn:aws:iam::123456789012:role/app")
	})
	custom(ours, func(in *iamclient.SimulateCustomPolicyInput) {
		in.ResourceHandlingOption = aws.String("EC2-VPC-InstanceStore")
	})
	custom(guessed, func(in *iamclient.SimulateCustomPolicyInput) {
		in.ContextEntries = []types.ContextEntry{{ContextKeyName: aws.String("aws:SourceIp"), ContextKeyType: types.ContextKeyTypeEnumIp, ContextKeyValues: []string{"192.0.2.1", "192.0.2.2"}}}
	})
	custom(guessed, func(in *iamclient.SimulateCustomPolicyInput) {
		in.ContextEntries = []types.ContextEntry{{ContextKeyValues: []string{"x"}}}
	})
	custom(guessed, func(in *iamclient.SimulateCustomPolicyInput) { in.Marker = aws.String("x") })
	for _, arn := range []string{"arn:aws:iam::123456789012:root", "arn:aws:iam::123456789012:policy/p", "arn:aws:ecs:us-east-1:123456789012:cluster/c"} {
		refused[*iamclient.SimulatePrincipalPolicyOutput](r, observed)(r.SimulatePrincipalPolicy(ctx, &iamclient.SimulatePrincipalPolicyInput{PolicySourceArn: &arn, ActionNames: []string{"logs:PutLogEvents"}}))
	}
	for _, arn := range []string{"arn:aws:iam::123456789012:user/nobody", "arn:aws:iam::123456789012:group/nobody", "arn:aws:iam::123456789012:role/other/app", "arn:aws:iam::999999999999:role/app"} {
		refused[*iamclient.SimulatePrincipalPolicyOutput](r, guessed)(r.SimulatePrincipalPolicy(ctx, &iamclient.SimulatePrincipalPolicyInput{PolicySourceArn: &arn, ActionNames: []string{"logs:PutLogEvents"}}))
	}
	refused[*iamclient.GetContextKeysForCustomPolicyOutput](r, guessed)(r.GetContextKeysForCustomPolicy(ctx, &iamclient.GetContextKeysForCustomPolicyInput{PolicyInputList: []string{"[]"}}))
	refused[*iamclient.GetContextKeysForPrincipalPolicyOutput](r, guessed)(r.GetContextKeysForPrincipalPolicy(ctx, &iamclient.GetContextKeysForPrincipalPolicyInput{PolicySourceArn: aws.String("arn:aws:iam::123456789012:user/nobody")}))
}
