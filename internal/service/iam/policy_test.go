package iam_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	iamclient "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

func TestPolicy_Lives(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	made := must[*iamclient.CreatePolicyOutput](w)(w.CreatePolicy(ctx, &iamclient.CreatePolicyInput{
		PolicyName: aws.String("app"), Path: aws.String("/team/"), PolicyDocument: aws.String(allowLogs), Description: aws.String("The app's"),
		Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}},
	})).Policy
	if *made.Arn != "arn:aws:iam::"+account+":policy/team/app" || !regexp.MustCompile(`^ANPA[A-Z2-7]{17}$`).MatchString(*made.PolicyId) || *made.DefaultVersionId != "v1" ||
		*made.AttachmentCount != 0 || *made.PermissionsBoundaryUsageCount != 0 || !made.IsAttachable || !recent(made.CreateDate) || !made.UpdateDate.Equal(*made.CreateDate) || len(made.Tags) != 1 {
		t.Errorf("made %+v", made)
	}
	got := must[*iamclient.GetPolicyOutput](w)(w.GetPolicy(ctx, &iamclient.GetPolicyInput{PolicyArn: made.Arn})).Policy
	if *got.Description != "The app's" || *got.PolicyId != *made.PolicyId {
		t.Errorf("got %+v", got)
	}
	for i := range 4 {
		version := must[*iamclient.CreatePolicyVersionOutput](w)(w.CreatePolicyVersion(ctx, &iamclient.CreatePolicyVersionInput{
			PolicyArn: made.Arn, PolicyDocument: aws.String(strings.ReplaceAll(allowLogs, "PutLogEvents", fmt.Sprintf("Action%d", i))), SetAsDefault: i == 1,
		})).PolicyVersion
		if *version.VersionId != fmt.Sprintf("v%d", i+2) || version.IsDefaultVersion != (i == 1) || version.Document != nil {
			t.Errorf("made %+v", version)
		}
	}
	_, err := w.CreatePolicyVersion(ctx, &iamclient.CreatePolicyVersionInput{PolicyArn: made.Arn, PolicyDocument: aws.String(allowLogs)})
	w.wants(err, "LimitExceeded: A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.")
	third := must[*iamclient.GetPolicyVersionOutput](w)(w.GetPolicyVersion(ctx, &iamclient.GetPolicyVersionInput{PolicyArn: made.Arn, VersionId: aws.String("v3")})).PolicyVersion
	if !third.IsDefaultVersion || !strings.Contains(*third.Document, "logs%3AAction1%22") {
		t.Errorf("got %+v", third)
	}
	_, err = w.DeletePolicyVersion(ctx, &iamclient.DeletePolicyVersionInput{PolicyArn: made.Arn, VersionId: aws.String("v3")})
	w.wants(err, "DeleteConflict: Cannot delete the default version of a policy.")
	ok[*iamclient.SetDefaultPolicyVersionOutput](w)(w.SetDefaultPolicyVersion(ctx, &iamclient.SetDefaultPolicyVersionInput{PolicyArn: made.Arn, VersionId: aws.String("v1")}))
	_, err = w.DeletePolicy(ctx, &iamclient.DeletePolicyInput{PolicyArn: made.Arn})
	w.wants(err, "DeleteConflict: This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
	for _, id := range []string{"v5", "v3"} {
		ok[*iamclient.DeletePolicyVersionOutput](w)(w.DeletePolicyVersion(ctx, &iamclient.DeletePolicyVersionInput{PolicyArn: made.Arn, VersionId: &id}))
	}
	// A number that was used is not used again.
	ok[*iamclient.CreatePolicyVersionOutput](w)(w.CreatePolicyVersion(ctx, &iamclient.CreatePolicyVersionInput{PolicyArn: made.Arn, PolicyDocument: aws.String(allowLogs)}))
	var ids []string
	pages := iamclient.NewListPolicyVersionsPaginator(w.Client, &iamclient.ListPolicyVersionsInput{PolicyArn: made.Arn, MaxItems: aws.Int32(2)})
	for pages.HasMorePages() {
		for _, v := range must[*iamclient.ListPolicyVersionsOutput](w)(pages.NextPage(ctx)).Versions {
			ids = append(ids, *v.VersionId)
		}
	}
	if !slices.Equal(ids, []string{"v6", "v4", "v2", "v1"}) {
		t.Errorf("versions %v", ids)
	}
	for _, id := range []string{"v6", "v4", "v2"} {
		ok[*iamclient.DeletePolicyVersionOutput](w)(w.DeletePolicyVersion(ctx, &iamclient.DeletePolicyVersionInput{PolicyArn: made.Arn, VersionId: &id}))
	}
	ok[*iamclient.DeletePolicyOutput](w)(w.DeletePolicy(ctx, &iamclient.DeletePolicyInput{PolicyArn: made.Arn}))
}

// Attachments and boundaries are counted, listed from both sides, and keep a
// policy from being deleted.
func TestAttachments(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("ann")
	w.group("devs")
	w.role("app")
	arn := w.policy("app", allowLogs)
	for _, policy := range []*string{&arn, aws.String(executionPolicy), &arn} { // the last changes nothing
		ok[*iamclient.AttachUserPolicyOutput](w)(w.AttachUserPolicy(ctx, &iamclient.AttachUserPolicyInput{UserName: aws.String("ann"), PolicyArn: policy}))
		ok[*iamclient.AttachGroupPolicyOutput](w)(w.AttachGroupPolicy(ctx, &iamclient.AttachGroupPolicyInput{GroupName: aws.String("devs"), PolicyArn: policy}))
		ok[*iamclient.AttachRolePolicyOutput](w)(w.AttachRolePolicy(ctx, &iamclient.AttachRolePolicyInput{RoleName: aws.String("app"), PolicyArn: policy}))
	}
	ok[*iamclient.PutRolePermissionsBoundaryOutput](w)(w.PutRolePermissionsBoundary(ctx, &iamclient.PutRolePermissionsBoundaryInput{RoleName: aws.String("app"), PermissionsBoundary: &arn}))
	w.role("other", func(in *iamclient.CreateRoleInput) { in.PermissionsBoundary = &arn })
	for _, each := range []string{arn, executionPolicy} {
		bounds := int32(0)
		if each == arn {
			bounds = 2
		}
		if got := must[*iamclient.GetPolicyOutput](w)(w.GetPolicy(ctx, &iamclient.GetPolicyInput{PolicyArn: &each})).Policy; *got.AttachmentCount != 3 || *got.PermissionsBoundaryUsageCount != bounds {
			t.Errorf("%s: %d, %d", each, *got.AttachmentCount, *got.PermissionsBoundaryUsageCount)
		}
	}
	lists := [][]types.AttachedPolicy{
		must[*iamclient.ListAttachedUserPoliciesOutput](w)(w.ListAttachedUserPolicies(ctx, &iamclient.ListAttachedUserPoliciesInput{UserName: aws.String("ann")})).AttachedPolicies,
		must[*iamclient.ListAttachedGroupPoliciesOutput](w)(w.ListAttachedGroupPolicies(ctx, &iamclient.ListAttachedGroupPoliciesInput{GroupName: aws.String("devs")})).AttachedPolicies,
		must[*iamclient.ListAttachedRolePoliciesOutput](w)(w.ListAttachedRolePolicies(ctx, &iamclient.ListAttachedRolePoliciesInput{RoleName: aws.String("app")})).AttachedPolicies,
	}
	for _, list := range lists {
		if len(list) != 2 || *list[0].PolicyName != "AmazonECSTaskExecutionRolePolicy" || *list[1].PolicyArn != arn {
			t.Errorf("attached %+v", list)
		}
	}
	below := must[*iamclient.ListAttachedRolePoliciesOutput](w)(w.ListAttachedRolePolicies(ctx, &iamclient.ListAttachedRolePoliciesInput{RoleName: aws.String("app"), PathPrefix: aws.String("/service-role/")}))
	if len(below.AttachedPolicies) != 1 {
		t.Errorf("below /service-role/: %+v", below.AttachedPolicies)
	}
	entities := func(in iamclient.ListEntitiesForPolicyInput) string {
		in.PolicyArn = &arn
		var names []string
		pages := iamclient.NewListEntitiesForPolicyPaginator(w.Client, &in)
		for pages.HasMorePages() {
			page := must[*iamclient.ListEntitiesForPolicyOutput](w)(pages.NextPage(ctx))
			for _, g := range page.PolicyGroups {
				names = append(names, *g.GroupName)
			}
			for _, r := range page.PolicyRoles {
				names = append(names, *r.RoleName)
			}
			for _, u := range page.PolicyUsers {
				names = append(names, *u.UserName)
			}
		}
		return strings.Join(names, " ")
	}
	for want, in := range map[string]iamclient.ListEntitiesForPolicyInput{
		"devs app other ann": {MaxItems: aws.Int32(1)},
		"app other":          {EntityFilter: types.EntityTypeRole, PathPrefix: aws.String("/")},
		"devs app ann":       {PolicyUsageFilter: types.PolicyUsageTypePermissionsPolicy},
		"app other ":         {PolicyUsageFilter: types.PolicyUsageTypePermissionsBoundary},
		"":                   {PathPrefix: aws.String("/none/")},
	} {
		if got := entities(in); got != strings.TrimSpace(want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	const attached = "DeleteConflict: Cannot delete entity, must detach all policies first."
	_, err := w.DeleteUser(ctx, &iamclient.DeleteUserInput{UserName: aws.String("ann")})
	w.wants(err, attached)
	_, err = w.DeleteGroup(ctx, &iamclient.DeleteGroupInput{GroupName: aws.String("devs")})
	w.wants(err, attached)
	_, err = w.DeleteRole(ctx, &iamclient.DeleteRoleInput{RoleName: aws.String("app")})
	w.wants(err, attached)

	ok[*iamclient.DetachUserPolicyOutput](w)(w.DetachUserPolicy(ctx, &iamclient.DetachUserPolicyInput{UserName: aws.String("ann"), PolicyArn: &arn}))
	ok[*iamclient.DetachGroupPolicyOutput](w)(w.DetachGroupPolicy(ctx, &iamclient.DetachGroupPolicyInput{GroupName: aws.String("devs"), PolicyArn: &arn}))
	ok[*iamclient.DetachRolePolicyOutput](w)(w.DetachRolePolicy(ctx, &iamclient.DetachRolePolicyInput{RoleName: aws.String("app"), PolicyArn: &arn}))
	_, err = w.DeletePolicy(ctx, &iamclient.DeletePolicyInput{PolicyArn: &arn}) // it is two roles' boundary still
	w.wants(err, "DeleteConflict: Cannot delete a policy attached to entities.")
	for _, name := range []string{"app", "other"} {
		ok[*iamclient.DeleteRolePermissionsBoundaryOutput](w)(w.DeleteRolePermissionsBoundary(ctx, &iamclient.DeleteRolePermissionsBoundaryInput{RoleName: &name}))
	}
	ok[*iamclient.DeletePolicyOutput](w)(w.DeletePolicy(ctx, &iamclient.DeletePolicyInput{PolicyArn: &arn}))
}

// AWS's policies are there for all; a list tells them from the account's.
func TestListPolicies(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.policy("unused", allowLogs)
	bound := w.policy("bound", allowLogs)
	mine := w.policy("ReadOnlyAccess", allowLogs) // the name of one of AWS's
	w.role("app", func(in *iamclient.CreateRoleInput) { in.PermissionsBoundary = &bound })
	for _, each := range []string{mine, readOnly} {
		ok[*iamclient.AttachRolePolicyOutput](w)(w.AttachRolePolicy(ctx, &iamclient.AttachRolePolicyInput{RoleName: aws.String("app"), PolicyArn: &each}))
	}
	list := func(in iamclient.ListPoliciesInput) []string {
		var arns []string
		pages := iamclient.NewListPoliciesPaginator(w.Client, &in)
		for pages.HasMorePages() {
			for _, p := range must[*iamclient.ListPoliciesOutput](w)(pages.NextPage(ctx)).Policies {
				arns = append(arns, *p.Arn)
				if p.Description != nil || p.Tags != nil {
					t.Errorf("listed %+v", p)
				}
			}
		}
		return arns
	}
	local := []string{bound, mine, "arn:aws:iam::" + account + ":policy/unused"}
	if got := list(iamclient.ListPoliciesInput{Scope: types.PolicyScopeTypeLocal, MaxItems: aws.Int32(2)}); !slices.Equal(got, local) {
		t.Errorf("local: %v", got)
	}
	ofAWS := list(iamclient.ListPoliciesInput{Scope: types.PolicyScopeTypeAws})
	if !slices.Contains(ofAWS, readOnly) || !slices.Contains(ofAWS, executionPolicy) || slices.Contains(ofAWS, mine) {
		t.Errorf("AWS's: %v", ofAWS)
	}
	all := list(iamclient.ListPoliciesInput{MaxItems: aws.Int32(7)})
	slices.Sort(all)
	if want := slices.Sorted(slices.Values(slices.Concat(local, ofAWS))); !slices.Equal(all, want) {
		t.Errorf("all: %v", all)
	}
	for want, in := range map[string]iamclient.ListPoliciesInput{
		bound + " " + mine + " " + readOnly: {OnlyAttached: true},
		mine + " " + readOnly:               {PolicyUsageFilter: types.PolicyUsageTypePermissionsPolicy},
		bound:                               {PolicyUsageFilter: types.PolicyUsageTypePermissionsBoundary},
	} {
		if got := strings.Join(list(in), " "); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for _, each := range list(iamclient.ListPoliciesInput{PathPrefix: aws.String("/service-role/")}) {
		if !strings.HasPrefix(each, "arn:aws:iam::aws:policy/service-role/") {
			t.Errorf("below /service-role/: %s", each)
		}
	}
	aws1 := must[*iamclient.GetPolicyOutput](w)(w.GetPolicy(ctx, &iamclient.GetPolicyInput{PolicyArn: aws.String(readOnly)})).Policy
	version := must[*iamclient.GetPolicyVersionOutput](w)(w.GetPolicyVersion(ctx, &iamclient.GetPolicyVersionInput{PolicyArn: aws.String(readOnly), VersionId: aws1.DefaultVersionId})).PolicyVersion
	if !regexp.MustCompile(`^ANPA[A-Z2-7]{17}$`).MatchString(*aws1.PolicyId) || !version.IsDefaultVersion || !strings.Contains(*version.Document, "ecs%3A") {
		t.Errorf("%+v, %+v", aws1, version)
	}
}
