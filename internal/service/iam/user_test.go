package iam_test

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	iamclient "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"berth.dev/berth/internal/data/records"
)

func TestUser_Lives(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	limit := w.policy("limit", allowLogs)
	made := must[*iamclient.CreateUserOutput](w)(w.CreateUser(ctx, &iamclient.CreateUserInput{
		UserName: aws.String("Ann"), Path: aws.String("/people/"), PermissionsBoundary: &limit,
		Tags: []types.Tag{{Key: aws.String("Team"), Value: aws.String("a")}},
	})).User
	if *made.Arn != "arn:aws:iam::"+account+":user/people/Ann" || *made.Path != "/people/" || !regexp.MustCompile(`^AIDA[A-Z2-7]{17}$`).MatchString(*made.UserId) ||
		!recent(made.CreateDate) || *made.PermissionsBoundary.PermissionsBoundaryArn != limit || made.PermissionsBoundary.PermissionsBoundaryType != "Policy" ||
		*made.Tags[0].Value != "a" {
		t.Errorf("made %+v", made)
	}
	if got := must[*iamclient.GetUserOutput](w)(w.GetUser(ctx, &iamclient.GetUserInput{UserName: aws.String("Ann")})).User; *got.UserId != *made.UserId || !got.CreateDate.Equal(*made.CreateDate) {
		t.Errorf("got %+v", got)
	}
	ok[*iamclient.UpdateUserOutput](w)(w.UpdateUser(ctx, &iamclient.UpdateUserInput{UserName: aws.String("Ann"), NewUserName: aws.String("Bea"), NewPath: aws.String("/")}))
	if got := must[*iamclient.GetUserOutput](w)(w.GetUser(ctx, &iamclient.GetUserInput{UserName: aws.String("Bea")})).User; *got.UserId != *made.UserId || *got.Arn != "arn:aws:iam::"+account+":user/Bea" {
		t.Errorf("renamed %+v", got)
	}
	ok[*iamclient.UpdateUserOutput](w)(w.UpdateUser(ctx, &iamclient.UpdateUserInput{UserName: aws.String("Bea"), NewUserName: aws.String("bea")}))

	listed := must[*iamclient.ListUsersOutput](w)(w.ListUsers(ctx, &iamclient.ListUsersInput{PathPrefix: aws.String("/")}))
	if len(listed.Users) != 1 || listed.Users[0].Tags != nil || listed.Users[0].PermissionsBoundary != nil || listed.IsTruncated {
		t.Errorf("listed %+v", listed)
	}
	if none := must[*iamclient.ListUsersOutput](w)(w.ListUsers(ctx, &iamclient.ListUsersInput{PathPrefix: aws.String("/people/")})); len(none.Users) != 0 {
		t.Errorf("listed %+v", none.Users)
	}
	ok[*iamclient.DeleteUserPermissionsBoundaryOutput](w)(w.DeleteUserPermissionsBoundary(ctx, &iamclient.DeleteUserPermissionsBoundaryInput{UserName: aws.String("bea")}))
	ok[*iamclient.PutUserPermissionsBoundaryOutput](w)(w.PutUserPermissionsBoundary(ctx, &iamclient.PutUserPermissionsBoundaryInput{UserName: aws.String("bea"), PermissionsBoundary: aws.String(readOnly)}))
	if got := must[*iamclient.GetUserOutput](w)(w.GetUser(ctx, &iamclient.GetUserInput{UserName: aws.String("bea")})).User; *got.PermissionsBoundary.PermissionsBoundaryArn != readOnly {
		t.Errorf("bounded by %+v", got.PermissionsBoundary)
	}
	ok[*iamclient.DeletePolicyOutput](w)(w.DeletePolicy(ctx, &iamclient.DeletePolicyInput{PolicyArn: &limit}))
	ok[*iamclient.DeleteUserOutput](w)(w.DeleteUser(ctx, &iamclient.DeleteUserInput{UserName: aws.String("bea")}))
	_, err := w.GetUser(ctx, &iamclient.GetUserInput{UserName: aws.String("bea")})
	w.wants(err, "NoSuchEntity: The user with name bea cannot be found.")
}

// Tag keys are compared without case and keep the last one.
func TestTags(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("ann")
	w.role("app")
	arn := w.policy("p", allowLogs)
	ok[*iamclient.CreateInstanceProfileOutput](w)(w.CreateInstanceProfile(ctx, &iamclient.CreateInstanceProfileInput{InstanceProfileName: aws.String("node")}))
	issuer := must[*iamclient.CreateOpenIDConnectProviderOutput](w)(w.CreateOpenIDConnectProvider(ctx, &iamclient.CreateOpenIDConnectProviderInput{Url: aws.String("https://issuer.example.com")})).OpenIDConnectProviderArn
	tags := func(pairs ...string) (all []types.Tag) {
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
		}
		return all
	}
	for name, how := range map[string]struct {
		tag   func([]types.Tag) error
		untag func(...string) error
		list  func() ([]types.Tag, error)
	}{
		"user": {
			func(all []types.Tag) error {
				_, err := w.TagUser(ctx, &iamclient.TagUserInput{UserName: aws.String("ann"), Tags: all})
				return err
			},
			func(keys ...string) error {
				_, err := w.UntagUser(ctx, &iamclient.UntagUserInput{UserName: aws.String("ann"), TagKeys: keys})
				return err
			},
			func() ([]types.Tag, error) {
				out, err := w.ListUserTags(ctx, &iamclient.ListUserTagsInput{UserName: aws.String("ann"), MaxItems: aws.Int32(10)})
				if err != nil {
					return nil, err
				}
				return out.Tags, nil
			},
		},
		"role": {
			func(all []types.Tag) error {
				_, err := w.TagRole(ctx, &iamclient.TagRoleInput{RoleName: aws.String("app"), Tags: all})
				return err
			},
			func(keys ...string) error {
				_, err := w.UntagRole(ctx, &iamclient.UntagRoleInput{RoleName: aws.String("app"), TagKeys: keys})
				return err
			},
			func() ([]types.Tag, error) {
				out, err := w.ListRoleTags(ctx, &iamclient.ListRoleTagsInput{RoleName: aws.String("app"), MaxItems: aws.Int32(10)})
				if err != nil {
					return nil, err
				}
				return out.Tags, nil
			},
		},
		"policy": {
			func(all []types.Tag) error {
				_, err := w.TagPolicy(ctx, &iamclient.TagPolicyInput{PolicyArn: &arn, Tags: all})
				return err
			},
			func(keys ...string) error {
				_, err := w.UntagPolicy(ctx, &iamclient.UntagPolicyInput{PolicyArn: &arn, TagKeys: keys})
				return err
			},
			func() ([]types.Tag, error) {
				out, err := w.ListPolicyTags(ctx, &iamclient.ListPolicyTagsInput{PolicyArn: &arn, MaxItems: aws.Int32(10)})
				if err != nil {
					return nil, err
				}
				return out.Tags, nil
			},
		},
		"instance profile": {
			func(all []types.Tag) error {
				_, err := w.TagInstanceProfile(ctx, &iamclient.TagInstanceProfileInput{InstanceProfileName: aws.String("node"), Tags: all})
				return err
			},
			func(keys ...string) error {
				_, err := w.UntagInstanceProfile(ctx, &iamclient.UntagInstanceProfileInput{InstanceProfileName: aws.String("node"), TagKeys: keys})
				return err
			},
			func() ([]types.Tag, error) {
				out, err := w.ListInstanceProfileTags(ctx, &iamclient.ListInstanceProfileTagsInput{InstanceProfileName: aws.String("node"), MaxItems: aws.Int32(10)})
				if err != nil {
					return nil, err
				}
				return out.Tags, nil
			},
		},
		"issuer": {
			func(all []types.Tag) error {
				_, err := w.TagOpenIDConnectProvider(ctx, &iamclient.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: issuer, Tags: all})
				return err
			},
			func(keys ...string) error {
				_, err := w.UntagOpenIDConnectProvider(ctx, &iamclient.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: issuer, TagKeys: keys})
				return err
			},
			func() ([]types.Tag, error) {
				out, err := w.ListOpenIDConnectProviderTags(ctx, &iamclient.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: issuer, MaxItems: aws.Int32(10)})
				if err != nil {
					return nil, err
				}
				return out.Tags, nil
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, err := range []error{how.tag(tags("Team", "a", "cost", "")), how.tag(tags("TEAM", "b", "x", "y")), how.untag("COST", "nothing")} {
				if err != nil {
					t.Fatal(err)
				}
			}
			got, err := how.list()
			if err != nil {
				t.Fatal(err)
			}
			var flat []string
			for _, tag := range got {
				flat = append(flat, *tag.Key+"="+*tag.Value)
			}
			if !slices.Equal(flat, []string{"TEAM=b", "x=y"}) {
				t.Errorf("tags %v", flat)
			}
		})
	}
}

// An access key signs for its user, follows a rename, and is refused when it is
// inactive or gone. The secret is nowhere in the store.
func TestAccessKey_Lives(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("ann")
	key := must[*iamclient.CreateAccessKeyOutput](w)(w.CreateAccessKey(ctx, &iamclient.CreateAccessKeyInput{UserName: aws.String("ann")})).AccessKey
	if *key.UserName != "ann" || key.Status != types.StatusTypeActive || len(*key.SecretAccessKey) != 40 || !regexp.MustCompile(`^AKIA[A-Z2-7]{16}$`).MatchString(*key.AccessKeyId) || !recent(key.CreateDate) {
		t.Fatalf("made %+v", key)
	}
	for stored := range records.AccessKeys.All(w.store.Snapshot()) {
		if strings.Contains(string(stored.Sealed), *key.SecretAccessKey) || stored.Clear != "" || len(stored.Sealed) == 0 {
			t.Error("the secret is stored in clear")
		}
	}
	ann := w.as(*key.AccessKeyId, *key.SecretAccessKey)
	if me, err := ann.GetUser(ctx, nil); err != nil || *me.User.UserName != "ann" {
		t.Fatalf("%+v, %v", me, err)
	}
	second, err := ann.CreateAccessKey(ctx, nil)
	if err != nil || *second.AccessKey.UserName != "ann" {
		t.Fatalf("%+v, %v", second, err)
	}
	_, err = ann.CreateAccessKey(ctx, nil)
	w.wants(err, "LimitExceeded: Cannot exceed quota for AccessKeysPerUser: 2")
	ok[*iamclient.UpdateAccessKeyOutput](w)(w.UpdateAccessKey(ctx, &iamclient.UpdateAccessKeyInput{UserName: aws.String("ann"), AccessKeyId: second.AccessKey.AccessKeyId, Status: types.StatusTypeInactive}))
	_, err = w.as(*second.AccessKey.AccessKeyId, *second.AccessKey.SecretAccessKey).GetUser(ctx, nil)
	w.wants(err, "InvalidClientTokenId: The security token included in the request is invalid.")

	ok[*iamclient.UpdateUserOutput](w)(w.UpdateUser(ctx, &iamclient.UpdateUserInput{UserName: aws.String("ann"), NewUserName: aws.String("bea")}))
	keys, err := ann.ListAccessKeys(ctx, &iamclient.ListAccessKeysInput{})
	if err != nil || len(keys.AccessKeyMetadata) != 2 || *keys.AccessKeyMetadata[0].UserName != "bea" {
		t.Fatalf("%+v, %v", keys, err)
	}
	page := must[*iamclient.ListAccessKeysOutput](w)(w.ListAccessKeys(ctx, &iamclient.ListAccessKeysInput{UserName: aws.String("bea"), MaxItems: aws.Int32(1)}))
	rest := must[*iamclient.ListAccessKeysOutput](w)(w.ListAccessKeys(ctx, &iamclient.ListAccessKeysInput{UserName: aws.String("bea"), Marker: page.Marker}))
	if !page.IsTruncated || rest.IsTruncated || *rest.AccessKeyMetadata[0].AccessKeyId == *page.AccessKeyMetadata[0].AccessKeyId {
		t.Errorf("%+v %+v", page, rest)
	}
	_, err = w.DeleteUser(ctx, &iamclient.DeleteUserInput{UserName: aws.String("bea")})
	w.wants(err, "DeleteConflict: Cannot delete entity, must delete access keys first.")
	for _, id := range []*string{key.AccessKeyId, second.AccessKey.AccessKeyId} {
		ok[*iamclient.DeleteAccessKeyOutput](w)(w.DeleteAccessKey(ctx, &iamclient.DeleteAccessKeyInput{UserName: aws.String("bea"), AccessKeyId: id}))
	}
	_, err = ann.GetUser(ctx, nil)
	w.wants(err, "InvalidClientTokenId: The security token included in the request is invalid.")
	ok[*iamclient.DeleteUserOutput](w)(w.DeleteUser(ctx, &iamclient.DeleteUserInput{UserName: aws.String("bea")}))
}

// The root user can have keys too, and is as old as they are.
func TestAccessKey_OfRoot(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	key := must[*iamclient.CreateAccessKeyOutput](w)(w.CreateAccessKey(ctx, nil)).AccessKey
	again := w.as(*key.AccessKeyId, *key.SecretAccessKey)
	me := must[*iamclient.GetUserOutput](w)(again.GetUser(ctx, nil)).User
	if *me.Arn != scope.Root() || *me.UserId != account || me.UserName != nil || !me.CreateDate.Equal(*key.CreateDate) {
		t.Errorf("%+v", me)
	}
	keys := must[*iamclient.ListAccessKeysOutput](w)(w.ListAccessKeys(ctx, nil))
	if len(keys.AccessKeyMetadata) != 1 || keys.AccessKeyMetadata[0].UserName != nil {
		t.Errorf("%+v", keys.AccessKeyMetadata)
	}
	ok[*iamclient.UpdateAccessKeyOutput](w)(w.UpdateAccessKey(ctx, &iamclient.UpdateAccessKeyInput{AccessKeyId: key.AccessKeyId, Status: types.StatusTypeInactive}))
	ok[*iamclient.DeleteAccessKeyOutput](w)(w.DeleteAccessKey(ctx, &iamclient.DeleteAccessKeyInput{AccessKeyId: key.AccessKeyId}))
}

func TestGroup_Lives(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	made := must[*iamclient.CreateGroupOutput](w)(w.CreateGroup(ctx, &iamclient.CreateGroupInput{GroupName: aws.String("devs"), Path: aws.String("/a/")})).Group
	if *made.Arn != "arn:aws:iam::"+account+":group/a/devs" || !regexp.MustCompile(`^AGPA[A-Z2-7]{17}$`).MatchString(*made.GroupId) || !recent(made.CreateDate) {
		t.Errorf("made %+v", made)
	}
	for _, name := range []string{"ann", "bea"} {
		w.user(name)
		for range 2 { // the second time changes nothing
			ok[*iamclient.AddUserToGroupOutput](w)(w.AddUserToGroup(ctx, &iamclient.AddUserToGroupInput{GroupName: aws.String("devs"), UserName: &name}))
		}
	}
	ok[*iamclient.UpdateGroupOutput](w)(w.UpdateGroup(ctx, &iamclient.UpdateGroupInput{GroupName: aws.String("devs"), NewGroupName: aws.String("Ops"), NewPath: aws.String("/")}))
	page := must[*iamclient.GetGroupOutput](w)(w.GetGroup(ctx, &iamclient.GetGroupInput{GroupName: aws.String("Ops"), MaxItems: aws.Int32(1)}))
	if *page.Group.GroupId != *made.GroupId || *page.Group.Path != "/" || !page.IsTruncated || *page.Users[0].UserName != "ann" {
		t.Errorf("%+v", page)
	}
	if rest := must[*iamclient.GetGroupOutput](w)(w.GetGroup(ctx, &iamclient.GetGroupInput{GroupName: aws.String("Ops"), Marker: page.Marker})); rest.IsTruncated || *rest.Users[0].UserName != "bea" {
		t.Errorf("%+v", rest)
	}
	of := must[*iamclient.ListGroupsForUserOutput](w)(w.ListGroupsForUser(ctx, &iamclient.ListGroupsForUserInput{UserName: aws.String("ann")}))
	if len(of.Groups) != 1 || *of.Groups[0].GroupName != "Ops" {
		t.Errorf("%+v", of.Groups)
	}
	_, err := w.DeleteGroup(ctx, &iamclient.DeleteGroupInput{GroupName: aws.String("Ops")})
	w.wants(err, "DeleteConflict: Cannot delete entity, must remove users from group first.")
	_, err = w.DeleteUser(ctx, &iamclient.DeleteUserInput{UserName: aws.String("ann")})
	w.wants(err, "DeleteConflict: Cannot delete entity, must remove users from group first.")
	for _, name := range []string{"ann", "bea", "ann"} { // who is no member is no error
		ok[*iamclient.RemoveUserFromGroupOutput](w)(w.RemoveUserFromGroup(ctx, &iamclient.RemoveUserFromGroupInput{GroupName: aws.String("Ops"), UserName: &name}))
	}
	if all := must[*iamclient.ListGroupsOutput](w)(w.ListGroups(ctx, &iamclient.ListGroupsInput{PathPrefix: aws.String("/")})); len(all.Groups) != 1 {
		t.Errorf("%+v", all.Groups)
	}
	ok[*iamclient.DeleteGroupOutput](w)(w.DeleteGroup(ctx, &iamclient.DeleteGroupInput{GroupName: aws.String("Ops")}))
	if all := must[*iamclient.ListGroupsOutput](w)(w.ListGroups(ctx, nil)); len(all.Groups) != 0 {
		t.Errorf("%+v", all.Groups)
	}
}

// Users have none of the credentials that only AWS has, and say so.
func TestWhatUsersCannotHave(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("ann")
	name := aws.String("ann")
	_, err := w.GetLoginProfile(ctx, &iamclient.GetLoginProfileInput{UserName: name})
	w.wants(err, "NoSuchEntity: Login Profile for User ann cannot be found.")
	_, err = w.DeleteLoginProfile(ctx, &iamclient.DeleteLoginProfileInput{UserName: name})
	w.wants(err, "NoSuchEntity: Login Profile for User ann cannot be found.")
	if out := must[*iamclient.ListMFADevicesOutput](w)(w.ListMFADevices(ctx, &iamclient.ListMFADevicesInput{UserName: name})); len(out.MFADevices) != 0 || out.IsTruncated {
		t.Errorf("%+v", out)
	}
	if out := must[*iamclient.ListVirtualMFADevicesOutput](w)(w.ListVirtualMFADevices(ctx, &iamclient.ListVirtualMFADevicesInput{AssignmentStatus: types.AssignmentStatusTypeAny})); len(out.VirtualMFADevices) != 0 {
		t.Errorf("%+v", out)
	}
	if out := must[*iamclient.ListSSHPublicKeysOutput](w)(w.ListSSHPublicKeys(ctx, &iamclient.ListSSHPublicKeysInput{UserName: name})); len(out.SSHPublicKeys) != 0 {
		t.Errorf("%+v", out)
	}
	if out := must[*iamclient.ListSigningCertificatesOutput](w)(w.ListSigningCertificates(ctx, &iamclient.ListSigningCertificatesInput{UserName: name})); len(out.Certificates) != 0 {
		t.Errorf("%+v", out)
	}
	if out := must[*iamclient.ListServiceSpecificCredentialsOutput](w)(w.ListServiceSpecificCredentials(ctx, &iamclient.ListServiceSpecificCredentialsInput{UserName: name})); len(out.ServiceSpecificCredentials) != 0 {
		t.Errorf("%+v", out)
	}
}

// A document comes back as it was sent, URL-encoded by RFC 3986.
func TestInlinePolicies(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("ann")
	w.group("devs")
	w.role("app")
	text := "{\n  \"Version\": \"2012-10-17\",\n\t\"Statement\": {\"Effect\": \"Allow\", \"Action\": \"s3:*\", \"Resource\": \"arn:aws:s3:::b+c/d e~\"}\n}"
	want := "%7B%0A%20%20%22Version%22%3A%20%222012-10-17%22%2C%0A%09%22Statement%22%3A%20%7B%22Effect%22%3A%20%22Allow%22%2C%20%22Action%22%3A%20%22s3%3A%2A%22%2C%20%22Resource%22%3A%20%22arn%3Aaws%3As3%3A%3A%3Ab%2Bc%2Fd%20e~%22%7D%0A%7D"
	check := func(document *string, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := url.PathUnescape(*document); *document != want || err != nil || back != text {
			t.Errorf("got %s", *document)
		}
	}
	for _, name := range []string{"b", "a", "b"} { // the last replaces the first
		ok[*iamclient.PutUserPolicyOutput](w)(w.PutUserPolicy(ctx, &iamclient.PutUserPolicyInput{UserName: aws.String("ann"), PolicyName: &name, PolicyDocument: &text}))
		ok[*iamclient.PutGroupPolicyOutput](w)(w.PutGroupPolicy(ctx, &iamclient.PutGroupPolicyInput{GroupName: aws.String("devs"), PolicyName: &name, PolicyDocument: &text}))
		ok[*iamclient.PutRolePolicyOutput](w)(w.PutRolePolicy(ctx, &iamclient.PutRolePolicyInput{RoleName: aws.String("app"), PolicyName: &name, PolicyDocument: &text}))
	}
	u := must[*iamclient.GetUserPolicyOutput](w)(w.GetUserPolicy(ctx, &iamclient.GetUserPolicyInput{UserName: aws.String("ann"), PolicyName: aws.String("a")}))
	check(u.PolicyDocument, nil)
	g := must[*iamclient.GetGroupPolicyOutput](w)(w.GetGroupPolicy(ctx, &iamclient.GetGroupPolicyInput{GroupName: aws.String("devs"), PolicyName: aws.String("a")}))
	check(g.PolicyDocument, nil)
	r := must[*iamclient.GetRolePolicyOutput](w)(w.GetRolePolicy(ctx, &iamclient.GetRolePolicyInput{RoleName: aws.String("app"), PolicyName: aws.String("a")}))
	check(r.PolicyDocument, nil)

	lists := [][]string{
		must[*iamclient.ListUserPoliciesOutput](w)(w.ListUserPolicies(ctx, &iamclient.ListUserPoliciesInput{UserName: aws.String("ann")})).PolicyNames,
		must[*iamclient.ListGroupPoliciesOutput](w)(w.ListGroupPolicies(ctx, &iamclient.ListGroupPoliciesInput{GroupName: aws.String("devs")})).PolicyNames,
		must[*iamclient.ListRolePoliciesOutput](w)(w.ListRolePolicies(ctx, &iamclient.ListRolePoliciesInput{RoleName: aws.String("app")})).PolicyNames,
	}
	for _, list := range lists {
		if !slices.Equal(list, []string{"a", "b"}) {
			t.Errorf("listed %v", list)
		}
	}
	page := must[*iamclient.ListRolePoliciesOutput](w)(w.ListRolePolicies(ctx, &iamclient.ListRolePoliciesInput{RoleName: aws.String("app"), MaxItems: aws.Int32(1)}))
	if next := must[*iamclient.ListRolePoliciesOutput](w)(w.ListRolePolicies(ctx, &iamclient.ListRolePoliciesInput{RoleName: aws.String("app"), Marker: page.Marker})); !page.IsTruncated || !slices.Equal(next.PolicyNames, []string{"b"}) {
		t.Errorf("%+v, %+v", page, next)
	}
	for _, name := range []string{"a", "b"} {
		_, err := w.DeleteUser(ctx, &iamclient.DeleteUserInput{UserName: aws.String("ann")})
		w.wants(err, "DeleteConflict: Cannot delete entity, must delete policies first.")
		ok[*iamclient.DeleteUserPolicyOutput](w)(w.DeleteUserPolicy(ctx, &iamclient.DeleteUserPolicyInput{UserName: aws.String("ann"), PolicyName: &name}))
		ok[*iamclient.DeleteGroupPolicyOutput](w)(w.DeleteGroupPolicy(ctx, &iamclient.DeleteGroupPolicyInput{GroupName: aws.String("devs"), PolicyName: &name}))
		ok[*iamclient.DeleteRolePolicyOutput](w)(w.DeleteRolePolicy(ctx, &iamclient.DeleteRolePolicyInput{RoleName: aws.String("app"), PolicyName: &name}))
	}
	ok[*iamclient.DeleteUserOutput](w)(w.DeleteUser(ctx, &iamclient.DeleteUserInput{UserName: aws.String("ann")}))
}
