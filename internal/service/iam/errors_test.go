package iam_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	iamclient "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Where a text is from: seen in AWS's answers that users reported, in AWS's
// documentation, in another implementation, a guess at AWS's words for a rule
// that it documents, or Berth's own where AWS has no such refusal.
const (
	observed   = "seen  "
	documented = "docs  "
	moto       = "moto  "
	guessed    = "guess "
	ours       = "berth "
)

// refusals collects what refused calls say.
type refusals struct {
	*world
	lines strings.Builder
	short *strings.Replacer
}

func (r *refusals) section(name string) { fmt.Fprintf(&r.lines, "\n# %s\n", name) }

// refused notes the error of a call, which must have one.
func refused[T any](r *refusals, source string) func(T, error) {
	return func(_ T, err error) {
		r.Helper()
		if err == nil {
			r.Errorf("not refused; after\n%s", r.lines.String())
		}
		fmt.Fprintln(&r.lines, source+r.line(err))
	}
}

// line is an error with its HTTP status. What repeats is cut short.
func (r *refusals) line(err error) string {
	r.Helper()
	answer, ok := errors.AsType[*smithyhttp.ResponseError](err)
	if !ok {
		r.Errorf("no answer: %v", err)
		return ""
	}
	return fmt.Sprint(answer.HTTPStatusCode(), " ", r.short.Replace(said(err)))
}

const (
	nobody   = "nobody"
	absent   = "arn:aws:iam::" + account + ":policy/absent"
	stranger = "arn:aws:iam::999999999999:policy/theirs"
)

// Every refusal, in the words that clients see. -update writes the file.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	r := &refusals{world: w, short: strings.NewReplacer(strings.Repeat("d", 1001), "d…", strings.Repeat("r", 65), "r…", strings.Repeat("a", 65), "a…")}
	r.lines.WriteString("# What the IAM API refuses, and where the words are from:\n# seen, docs, moto; guess: AWS documents the rule; berth: no such refusal at AWS.\n")
	w.user("ann")
	w.group("devs")
	w.role("app")
	ok[*iamclient.CreateServiceLinkedRoleOutput](w)(w.CreateServiceLinkedRole(t.Context(), &iamclient.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("ecs.amazonaws.com")}))
	refuseUsers(r)
	refuseKeys(r)
	refuseGroups(r)
	refuseRoles(r)
	refuseTrusts(r)
	refuseServiceLinked(r)
	refuseProfiles(r)
	refusePolicies(r)
	refuseAttachments(r)
	refuseInline(r)
	refuseTags(r)
	refuseIssuers(r)
	refuseAccount(r)
	refuseSimulations(r)
	compareGolden(t, "testdata/errors.golden", r.lines.String())
}

func refuseUsers(r *refusals) {
	ctx := r.Context()
	r.section("users")
	create := refused[*iamclient.CreateUserOutput]
	create(r, observed)(r.CreateUser(ctx, &iamclient.CreateUserInput{UserName: aws.String("ann")}))
	create(r, observed)(r.CreateUser(ctx, &iamclient.CreateUserInput{UserName: aws.String("ANN")}))
	create(r, observed)(r.CreateUser(ctx, &iamclient.CreateUserInput{UserName: aws.String("a b")}))
	create(r, observed)(r.CreateUser(ctx, &iamclient.CreateUserInput{UserName: aws.String(strings.Repeat("a", 65))}))
	create(r, observed)(r.CreateUser(ctx, &iamclient.CreateUserInput{UserName: aws.String("bea"), Path: aws.String("no-slash")}))
	create(r, observed)(r.CreateUser(ctx, &iamclient.CreateUserInput{UserName: aws.String("bea"), PermissionsBoundary: aws.String(absent)}))
	create(r, observed)(r.CreateUser(ctx, &iamclient.CreateUserInput{UserName: aws.String("bea"), PermissionsBoundary: aws.String("arn:aws:s3:::not-a-policy")}))
	refused[*iamclient.GetUserOutput](r, observed)(r.GetUser(ctx, &iamclient.GetUserInput{UserName: aws.String(nobody)}))
	refused[*iamclient.GetUserOutput](r, guessed)(r.GetUser(ctx, &iamclient.GetUserInput{UserName: aws.String("Ann")}))
	refused[*iamclient.GetUserOutput](r, observed)(r.as(sessionKey, "secret").GetUser(ctx, nil))
	refused[*iamclient.DeleteUserOutput](r, observed)(r.DeleteUser(ctx, &iamclient.DeleteUserInput{UserName: aws.String(nobody)}))
	refused[*iamclient.UpdateUserOutput](r, observed)(r.UpdateUser(ctx, &iamclient.UpdateUserInput{UserName: aws.String(nobody), NewPath: aws.String("/")}))
	r.user("bea")
	refused[*iamclient.UpdateUserOutput](r, observed)(r.UpdateUser(ctx, &iamclient.UpdateUserInput{UserName: aws.String("bea"), NewUserName: aws.String("Ann")}))
	refused[*iamclient.PutUserPermissionsBoundaryOutput](r, observed)(r.PutUserPermissionsBoundary(ctx, &iamclient.PutUserPermissionsBoundaryInput{UserName: aws.String("ann"), PermissionsBoundary: aws.String(absent)}))
	refused[*iamclient.PutUserPermissionsBoundaryOutput](r, observed)(r.PutUserPermissionsBoundary(ctx, &iamclient.PutUserPermissionsBoundaryInput{UserName: aws.String(nobody), PermissionsBoundary: aws.String(readOnly)}))
	refused[*iamclient.DeleteUserPermissionsBoundaryOutput](r, observed)(r.DeleteUserPermissionsBoundary(ctx, &iamclient.DeleteUserPermissionsBoundaryInput{UserName: aws.String(nobody)}))
	refused[*iamclient.ListUsersOutput](r, guessed)(r.ListUsers(ctx, &iamclient.ListUsersInput{Marker: aws.String("xyz")}))
	refused[*iamclient.ListUsersOutput](r, observed)(r.ListUsers(ctx, &iamclient.ListUsersInput{MaxItems: aws.Int32(1001)}))
	refused[*iamclient.ListUserTagsOutput](r, observed)(r.ListUserTags(ctx, &iamclient.ListUserTagsInput{UserName: aws.String(nobody)}))
	refused[*iamclient.GetLoginProfileOutput](r, observed)(r.GetLoginProfile(ctx, &iamclient.GetLoginProfileInput{UserName: aws.String("ann")}))
	refused[*iamclient.DeleteLoginProfileOutput](r, observed)(r.DeleteLoginProfile(ctx, &iamclient.DeleteLoginProfileInput{UserName: aws.String("ann")}))
	refused[*iamclient.ListMFADevicesOutput](r, observed)(r.ListMFADevices(ctx, &iamclient.ListMFADevicesInput{UserName: aws.String(nobody)}))
	refused[*iamclient.ListSSHPublicKeysOutput](r, observed)(r.ListSSHPublicKeys(ctx, &iamclient.ListSSHPublicKeysInput{UserName: aws.String(nobody)}))
	refused[*iamclient.ListSigningCertificatesOutput](r, observed)(r.ListSigningCertificates(ctx, &iamclient.ListSigningCertificatesInput{UserName: aws.String(nobody)}))
	refused[*iamclient.ListServiceSpecificCredentialsOutput](r, observed)(r.ListServiceSpecificCredentials(ctx, &iamclient.ListServiceSpecificCredentialsInput{UserName: aws.String(nobody)}))
}

func refuseKeys(r *refusals) {
	ctx := r.Context()
	r.section("access keys")
	r.user("holder")
	holder := aws.String("holder")
	one := must[*iamclient.CreateAccessKeyOutput](r.world)(r.CreateAccessKey(ctx, &iamclient.CreateAccessKeyInput{UserName: holder})).AccessKey
	ok[*iamclient.CreateAccessKeyOutput](r.world)(r.CreateAccessKey(ctx, &iamclient.CreateAccessKeyInput{UserName: holder}))
	refused[*iamclient.CreateAccessKeyOutput](r, observed)(r.CreateAccessKey(ctx, &iamclient.CreateAccessKeyInput{UserName: holder}))
	refused[*iamclient.CreateAccessKeyOutput](r, observed)(r.CreateAccessKey(ctx, &iamclient.CreateAccessKeyInput{UserName: aws.String(nobody)}))
	refused[*iamclient.CreateAccessKeyOutput](r, observed)(r.as(sessionKey, "secret").CreateAccessKey(ctx, nil))
	refused[*iamclient.DeleteAccessKeyOutput](r, observed)(r.DeleteAccessKey(ctx, &iamclient.DeleteAccessKeyInput{UserName: holder, AccessKeyId: aws.String("AKIAAAAAAAAAAAAAAAAA")}))
	fmt.Fprintln(&r.lines, "# another user's key, named by its id")
	_, err := r.DeleteAccessKey(ctx, &iamclient.DeleteAccessKeyInput{UserName: aws.String("ann"), AccessKeyId: one.AccessKeyId})
	fmt.Fprintln(&r.lines, observed+strings.ReplaceAll(r.line(err), *one.AccessKeyId, "AKIA…"))
	_, err = r.DeleteAccessKey(ctx, &iamclient.DeleteAccessKeyInput{AccessKeyId: one.AccessKeyId}) // nor is it root's
	fmt.Fprintln(&r.lines, observed+strings.ReplaceAll(r.line(err), *one.AccessKeyId, "AKIA…"))
	refused[*iamclient.UpdateAccessKeyOutput](r, observed)(r.UpdateAccessKey(ctx, &iamclient.UpdateAccessKeyInput{UserName: holder, AccessKeyId: aws.String("AKIAAAAAAAAAAAAAAAAA"), Status: types.StatusTypeActive}))
	refused[*iamclient.UpdateAccessKeyOutput](r, ours)(r.UpdateAccessKey(ctx, &iamclient.UpdateAccessKeyInput{UserName: holder, AccessKeyId: one.AccessKeyId, Status: types.StatusTypeExpired}))
	refused[*iamclient.UpdateAccessKeyOutput](r, observed)(r.UpdateAccessKey(ctx, &iamclient.UpdateAccessKeyInput{UserName: holder, AccessKeyId: one.AccessKeyId, Status: "Off"}))
	refused[*iamclient.ListAccessKeysOutput](r, observed)(r.ListAccessKeys(ctx, &iamclient.ListAccessKeysInput{UserName: aws.String(nobody)}))
	refused[*iamclient.DeleteUserOutput](r, observed)(r.DeleteUser(ctx, &iamclient.DeleteUserInput{UserName: holder}))
}

func refuseGroups(r *refusals) {
	ctx := r.Context()
	r.section("groups")
	refused[*iamclient.CreateGroupOutput](r, observed)(r.CreateGroup(ctx, &iamclient.CreateGroupInput{GroupName: aws.String("Devs")}))
	refused[*iamclient.CreateGroupOutput](r, observed)(r.CreateGroup(ctx, &iamclient.CreateGroupInput{GroupName: aws.String("a/b")}))
	refused[*iamclient.GetGroupOutput](r, observed)(r.GetGroup(ctx, &iamclient.GetGroupInput{GroupName: aws.String(nobody)}))
	refused[*iamclient.DeleteGroupOutput](r, observed)(r.DeleteGroup(ctx, &iamclient.DeleteGroupInput{GroupName: aws.String(nobody)}))
	refused[*iamclient.UpdateGroupOutput](r, observed)(r.UpdateGroup(ctx, &iamclient.UpdateGroupInput{GroupName: aws.String(nobody)}))
	r.group("ops")
	refused[*iamclient.UpdateGroupOutput](r, observed)(r.UpdateGroup(ctx, &iamclient.UpdateGroupInput{GroupName: aws.String("ops"), NewGroupName: aws.String("devs")}))
	refused[*iamclient.AddUserToGroupOutput](r, observed)(r.AddUserToGroup(ctx, &iamclient.AddUserToGroupInput{GroupName: aws.String(nobody), UserName: aws.String("ann")}))
	refused[*iamclient.AddUserToGroupOutput](r, observed)(r.AddUserToGroup(ctx, &iamclient.AddUserToGroupInput{GroupName: aws.String("devs"), UserName: aws.String(nobody)}))
	refused[*iamclient.RemoveUserFromGroupOutput](r, observed)(r.RemoveUserFromGroup(ctx, &iamclient.RemoveUserFromGroupInput{GroupName: aws.String(nobody), UserName: aws.String("ann")}))
	refused[*iamclient.RemoveUserFromGroupOutput](r, observed)(r.RemoveUserFromGroup(ctx, &iamclient.RemoveUserFromGroupInput{GroupName: aws.String("devs"), UserName: aws.String(nobody)}))
	refused[*iamclient.ListGroupsForUserOutput](r, observed)(r.ListGroupsForUser(ctx, &iamclient.ListGroupsForUserInput{UserName: aws.String(nobody)}))
	refused[*iamclient.ListGroupsOutput](r, guessed)(r.ListGroups(ctx, &iamclient.ListGroupsInput{Marker: aws.String("eA==")}))
	r.user("busy")
	for i := range 10 {
		name := fmt.Sprintf("g%d", i)
		r.group(name)
		ok[*iamclient.AddUserToGroupOutput](r.world)(r.AddUserToGroup(ctx, &iamclient.AddUserToGroupInput{GroupName: &name, UserName: aws.String("busy")}))
	}
	refused[*iamclient.AddUserToGroupOutput](r, observed)(r.AddUserToGroup(ctx, &iamclient.AddUserToGroupInput{GroupName: aws.String("devs"), UserName: aws.String("busy")}))
	refused[*iamclient.DeleteGroupOutput](r, observed)(r.DeleteGroup(ctx, &iamclient.DeleteGroupInput{GroupName: aws.String("g1")}))
	refused[*iamclient.DeleteUserOutput](r, observed)(r.DeleteUser(ctx, &iamclient.DeleteUserInput{UserName: aws.String("busy")}))
}

func refuseRoles(r *refusals) {
	ctx := r.Context()
	r.section("roles")
	create := func(source, name string, edit func(*iamclient.CreateRoleInput)) {
		in := &iamclient.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(trustTasks)}
		edit(in)
		refused[*iamclient.CreateRoleOutput](r, source)(r.CreateRole(ctx, in))
	}
	create(observed, "app", func(*iamclient.CreateRoleInput) {})
	create(observed, "APP", func(*iamclient.CreateRoleInput) {})
	create(observed, strings.Repeat("r", 65), func(*iamclient.CreateRoleInput) {})
	create(observed, "x", func(in *iamclient.CreateRoleInput) { in.MaxSessionDuration = aws.Int32(3599) })
	create(observed, "x", func(in *iamclient.CreateRoleInput) { in.MaxSessionDuration = aws.Int32(43201) })
	create(observed, "x", func(in *iamclient.CreateRoleInput) { in.Path = aws.String("/a") })
	create(guessed, "x", func(in *iamclient.CreateRoleInput) { in.Path = aws.String("/aws-service-role/ecs.amazonaws.com/") })
	create(observed, "x", func(in *iamclient.CreateRoleInput) { in.Description = aws.String(strings.Repeat("d", 1001)) })
	create(observed, "x", func(in *iamclient.CreateRoleInput) { in.PermissionsBoundary = aws.String(absent) })
	create(observed, "x", func(in *iamclient.CreateRoleInput) {
		in.PermissionsBoundary = aws.String("arn:aws:iam::aws:policy/aws-service-role/AmazonECSServiceRolePolicy")
	})
	refused[*iamclient.GetRoleOutput](r, observed)(r.GetRole(ctx, &iamclient.GetRoleInput{RoleName: aws.String(nobody)}))
	refused[*iamclient.UpdateRoleOutput](r, observed)(r.UpdateRole(ctx, &iamclient.UpdateRoleInput{RoleName: aws.String(nobody)}))
	refused[*iamclient.UpdateRoleOutput](r, observed)(r.UpdateRole(ctx, &iamclient.UpdateRoleInput{RoleName: aws.String("app"), MaxSessionDuration: aws.Int32(1)}))
	refused[*iamclient.UpdateRoleDescriptionOutput](r, observed)(r.UpdateRoleDescription(ctx, &iamclient.UpdateRoleDescriptionInput{RoleName: aws.String(nobody), Description: aws.String("d")}))
	refused[*iamclient.UpdateAssumeRolePolicyOutput](r, observed)(r.UpdateAssumeRolePolicy(ctx, &iamclient.UpdateAssumeRolePolicyInput{RoleName: aws.String(nobody), PolicyDocument: aws.String(trustTasks)}))
	refused[*iamclient.DeleteRoleOutput](r, observed)(r.DeleteRole(ctx, &iamclient.DeleteRoleInput{RoleName: aws.String(nobody)}))
	refused[*iamclient.PutRolePermissionsBoundaryOutput](r, observed)(r.PutRolePermissionsBoundary(ctx, &iamclient.PutRolePermissionsBoundaryInput{RoleName: aws.String("app"), PermissionsBoundary: aws.String(stranger)}))
	refused[*iamclient.DeleteRolePermissionsBoundaryOutput](r, observed)(r.DeleteRolePermissionsBoundary(ctx, &iamclient.DeleteRolePermissionsBoundaryInput{RoleName: aws.String(nobody)}))
	refused[*iamclient.ListRolesOutput](r, guessed)(r.ListRoles(ctx, &iamclient.ListRolesInput{Marker: aws.String("TGlzdFVzZXJzAHg=")})) // another list's
	refused[*iamclient.ListRoleTagsOutput](r, observed)(r.ListRoleTags(ctx, &iamclient.ListRoleTagsInput{RoleName: aws.String(nobody)}))
	refused[*iamclient.ListInstanceProfilesForRoleOutput](r, observed)(r.ListInstanceProfilesForRole(ctx, &iamclient.ListInstanceProfilesForRoleInput{RoleName: aws.String(nobody)}))
}

func refuseTrusts(r *refusals) {
	ctx := r.Context()
	r.section("trusts")
	trust := func(source, document string) {
		refused[*iamclient.CreateRoleOutput](r, source)(r.CreateRole(ctx, &iamclient.CreateRoleInput{RoleName: aws.String("x"), AssumeRolePolicyDocument: &document}))
	}
	principal := func(source, principal string) {
		trust(source, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":`+principal+`,"Action":"sts:AssumeRole"}]}`)
	}
	trust(observed, `{`)
	trust(observed, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Resource":"*","Action":"sts:AssumeRole"}]}`)
	trust(observed, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject"}]}`)
	trust(observed, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole"}]}`)
	trust(observed, strings.Replace(trustTasks, `"Effect"`, `"Sid":"`+strings.Repeat("x", 2048)+`","Effect"`, 1))
	principal(observed, `{"AWS":"arn:aws:iam::123456789012:user/nobody"}`)
	principal(observed, `{"AWS":["arn:aws:iam::123456789012:user/ann","arn:aws:iam::123456789012:role/nobody"]}`)
	principal(observed, `{"AWS":"arn:aws:iam::123456789012:role/x"}`) // itself, before it exists
	principal(observed, `{"AWS":"arn:aws:iam::123456789012:user/path/ann"}`)
	principal(guessed, `{"AWS":"arn:aws:iam::123456789012:user/ANN"}`)
	principal(observed, `{"AWS":"arn:aws:iam::123456789012:group/devs"}`)
	principal(observed, `{"AWS":"arn:aws:iam::123456789012:user/*"}`)
	principal(observed, `{"AWS":"arn:aws:iam::123456789012:role/"}`)
	principal(observed, `{"AWS":"arn:aws:iam::123456789012:root/x"}`)
	principal(observed, `{"AWS":"arn:aws:iam::999999999999:nothing"}`)
	principal(observed, `{"AWS":"arn:aws-cn:iam::123456789012:root"}`)
	principal(observed, `{"AWS":"arn:aws:iam::12345:root"}`)
	principal(observed, `{"AWS":"arn:aws:s3:::bucket"}`)
	principal(observed, `{"AWS":"arn:aws:sts::123456789012:assumed-role/nobody/session"}`)
	principal(observed, `{"AWS":"arn:aws:sts::123456789012:assumed-role/app"}`)
	principal(observed, `{"AWS":"AIDAAAAAAAAAAAAAAAAAA"}`)
	principal(observed, `{"AWS":"AROAAAAAAAAAAAAAAAAAA"}`)
	principal(observed, `{"AWS":"ann"}`)
	refused[*iamclient.UpdateAssumeRolePolicyOutput](r, observed)(r.UpdateAssumeRolePolicy(ctx, &iamclient.UpdateAssumeRolePolicyInput{RoleName: aws.String("app"), PolicyDocument: aws.String(`{"Version":"2012-10-17"}`)}))
}

func refuseServiceLinked(r *refusals) {
	ctx := r.Context()
	r.section("service-linked roles")
	name := aws.String("AWSServiceRoleForECS")
	refused[*iamclient.CreateServiceLinkedRoleOutput](r, observed)(r.CreateServiceLinkedRole(ctx, &iamclient.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("ecs.amazonaws.com")}))
	refused[*iamclient.CreateServiceLinkedRoleOutput](r, observed)(r.CreateServiceLinkedRole(ctx, &iamclient.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("ecs.amazonaws.com"), CustomSuffix: aws.String("x")}))
	refused[*iamclient.CreateServiceLinkedRoleOutput](r, ours)(r.CreateServiceLinkedRole(ctx, &iamclient.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("lex.amazonaws.com")}))
	refused[*iamclient.DeleteServiceLinkedRoleOutput](r, observed)(r.DeleteServiceLinkedRole(ctx, &iamclient.DeleteServiceLinkedRoleInput{RoleName: aws.String(nobody)}))
	refused[*iamclient.DeleteServiceLinkedRoleOutput](r, guessed)(r.DeleteServiceLinkedRole(ctx, &iamclient.DeleteServiceLinkedRoleInput{RoleName: aws.String("app")}))
	refused[*iamclient.GetServiceLinkedRoleDeletionStatusOutput](r, guessed)(r.GetServiceLinkedRoleDeletionStatus(ctx, &iamclient.GetServiceLinkedRoleDeletionStatusInput{DeletionTaskId: aws.String("task/x/%")}))
	refused[*iamclient.DeleteRoleOutput](r, observed)(r.DeleteRole(ctx, &iamclient.DeleteRoleInput{RoleName: name}))
	refused[*iamclient.UpdateRoleOutput](r, observed)(r.UpdateRole(ctx, &iamclient.UpdateRoleInput{RoleName: name, MaxSessionDuration: aws.Int32(7200)}))
	refused[*iamclient.UpdateAssumeRolePolicyOutput](r, observed)(r.UpdateAssumeRolePolicy(ctx, &iamclient.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: aws.String(trustTasks)}))
	refused[*iamclient.AttachRolePolicyOutput](r, observed)(r.AttachRolePolicy(ctx, &iamclient.AttachRolePolicyInput{RoleName: name, PolicyArn: aws.String(readOnly)}))
	refused[*iamclient.DetachRolePolicyOutput](r, observed)(r.DetachRolePolicy(ctx, &iamclient.DetachRolePolicyInput{RoleName: name, PolicyArn: aws.String("arn:aws:iam::aws:policy/aws-service-role/AmazonECSServiceRolePolicy")}))
	refused[*iamclient.PutRolePolicyOutput](r, observed)(r.PutRolePolicy(ctx, &iamclient.PutRolePolicyInput{RoleName: name, PolicyName: aws.String("p"), PolicyDocument: aws.String(allowLogs)}))
	refused[*iamclient.DeleteRolePolicyOutput](r, observed)(r.DeleteRolePolicy(ctx, &iamclient.DeleteRolePolicyInput{RoleName: name, PolicyName: aws.String("p")}))
	refused[*iamclient.PutRolePermissionsBoundaryOutput](r, observed)(r.PutRolePermissionsBoundary(ctx, &iamclient.PutRolePermissionsBoundaryInput{RoleName: name, PermissionsBoundary: aws.String(readOnly)}))
}

func refuseProfiles(r *refusals) {
	ctx := r.Context()
	r.section("instance profiles")
	ok[*iamclient.CreateInstanceProfileOutput](r.world)(r.CreateInstanceProfile(ctx, &iamclient.CreateInstanceProfileInput{InstanceProfileName: aws.String("node")}))
	r.role("held")
	node, held := aws.String("node"), aws.String("held")
	add := refused[*iamclient.AddRoleToInstanceProfileOutput]
	remove := refused[*iamclient.RemoveRoleFromInstanceProfileOutput]
	refused[*iamclient.CreateInstanceProfileOutput](r, observed)(r.CreateInstanceProfile(ctx, &iamclient.CreateInstanceProfileInput{InstanceProfileName: aws.String("NODE")}))
	refused[*iamclient.GetInstanceProfileOutput](r, observed)(r.GetInstanceProfile(ctx, &iamclient.GetInstanceProfileInput{InstanceProfileName: aws.String(nobody)}))
	refused[*iamclient.DeleteInstanceProfileOutput](r, observed)(r.DeleteInstanceProfile(ctx, &iamclient.DeleteInstanceProfileInput{InstanceProfileName: aws.String(nobody)}))
	add(r, observed)(r.AddRoleToInstanceProfile(ctx, &iamclient.AddRoleToInstanceProfileInput{InstanceProfileName: aws.String(nobody), RoleName: held}))
	add(r, observed)(r.AddRoleToInstanceProfile(ctx, &iamclient.AddRoleToInstanceProfileInput{InstanceProfileName: node, RoleName: aws.String(nobody)}))
	add(r, observed)(r.AddRoleToInstanceProfile(ctx, &iamclient.AddRoleToInstanceProfileInput{InstanceProfileName: node, RoleName: aws.String("AWSServiceRoleForECS")}))
	remove(r, guessed)(r.RemoveRoleFromInstanceProfile(ctx, &iamclient.RemoveRoleFromInstanceProfileInput{InstanceProfileName: node, RoleName: held}))
	ok[*iamclient.AddRoleToInstanceProfileOutput](r.world)(r.AddRoleToInstanceProfile(ctx, &iamclient.AddRoleToInstanceProfileInput{InstanceProfileName: node, RoleName: held}))
	add(r, observed)(r.AddRoleToInstanceProfile(ctx, &iamclient.AddRoleToInstanceProfileInput{InstanceProfileName: node, RoleName: aws.String("app")}))
	add(r, observed)(r.AddRoleToInstanceProfile(ctx, &iamclient.AddRoleToInstanceProfileInput{InstanceProfileName: node, RoleName: held}))
	remove(r, observed)(r.RemoveRoleFromInstanceProfile(ctx, &iamclient.RemoveRoleFromInstanceProfileInput{InstanceProfileName: aws.String(nobody), RoleName: held}))
	refused[*iamclient.DeleteInstanceProfileOutput](r, observed)(r.DeleteInstanceProfile(ctx, &iamclient.DeleteInstanceProfileInput{InstanceProfileName: node}))
	refused[*iamclient.DeleteRoleOutput](r, observed)(r.DeleteRole(ctx, &iamclient.DeleteRoleInput{RoleName: held}))
	refused[*iamclient.ListInstanceProfileTagsOutput](r, observed)(r.ListInstanceProfileTags(ctx, &iamclient.ListInstanceProfileTagsInput{InstanceProfileName: aws.String(nobody)}))
}
