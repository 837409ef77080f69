package iam_test

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	iamclient "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

func TestRole_Lives(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	limit := w.policy("limit", allowLogs)
	made := must[*iamclient.CreateRoleOutput](w)(w.CreateRole(ctx, &iamclient.CreateRoleInput{
		RoleName: aws.String("app"), Path: aws.String("/team/"), AssumeRolePolicyDocument: aws.String(trustTasks), Description: aws.String("The app's"),
		MaxSessionDuration: aws.Int32(7200), PermissionsBoundary: &limit, Tags: []types.Tag{{Key: aws.String("Team"), Value: aws.String("a")}},
	})).Role
	if *made.Arn != "arn:aws:iam::"+account+":role/team/app" || *made.MaxSessionDuration != 7200 || !regexp.MustCompile(`^AROA[A-Z2-7]{17}$`).MatchString(*made.RoleId) ||
		*made.Description != "The app's" || !recent(made.CreateDate) || *made.PermissionsBoundary.PermissionsBoundaryArn != limit || *made.Tags[0].Key != "Team" {
		t.Errorf("made %+v", made)
	}
	if document, err := url.PathUnescape(*made.AssumeRolePolicyDocument); err != nil || document != trustTasks {
		t.Errorf("trust %s, %v", document, err)
	}
	ok[*iamclient.UpdateRoleOutput](w)(w.UpdateRole(ctx, &iamclient.UpdateRoleInput{RoleName: aws.String("app"), MaxSessionDuration: aws.Int32(3600)}))
	if got := w.got("app"); *got.MaxSessionDuration != 3600 || *got.Description != "The app's" {
		t.Errorf("%+v", got)
	}
	ok[*iamclient.UpdateRoleOutput](w)(w.UpdateRole(ctx, &iamclient.UpdateRoleInput{RoleName: aws.String("app"), Description: aws.String("x")}))
	again := must[*iamclient.UpdateRoleDescriptionOutput](w)(w.UpdateRoleDescription(ctx, &iamclient.UpdateRoleDescriptionInput{RoleName: aws.String("app"), Description: aws.String("y")}))
	if *again.Role.Description != "y" || *again.Role.RoleId != *made.RoleId {
		t.Errorf("%+v", again.Role)
	}
	other := strings.ReplaceAll(trustTasks, "ecs-tasks", "ec2")
	ok[*iamclient.UpdateAssumeRolePolicyOutput](w)(w.UpdateAssumeRolePolicy(ctx, &iamclient.UpdateAssumeRolePolicyInput{RoleName: aws.String("app"), PolicyDocument: &other}))
	if got := w.trust("app"); got != other {
		t.Errorf("trust %s", got)
	}
	ok[*iamclient.PutRolePermissionsBoundaryOutput](w)(w.PutRolePermissionsBoundary(ctx, &iamclient.PutRolePermissionsBoundaryInput{RoleName: aws.String("app"), PermissionsBoundary: aws.String(readOnly)}))
	ok[*iamclient.DeleteRolePermissionsBoundaryOutput](w)(w.DeleteRolePermissionsBoundary(ctx, &iamclient.DeleteRolePermissionsBoundaryInput{RoleName: aws.String("app")}))
	if got := w.got("app"); got.PermissionsBoundary != nil {
		t.Errorf("%+v", got)
	}
	ok[*iamclient.DeleteRoleOutput](w)(w.DeleteRole(ctx, &iamclient.DeleteRoleInput{RoleName: aws.String("app")}))
	_, err := w.GetRole(ctx, &iamclient.GetRoleInput{RoleName: aws.String("app")})
	w.wants(err, "NoSuchEntity: The role with name app cannot be found.")
}

func (w *world) got(name string) *types.Role {
	w.Helper()
	return must[*iamclient.GetRoleOutput](w)(w.GetRole(w.Context(), &iamclient.GetRoleInput{RoleName: &name})).Role
}

// trust is a role's trust as its user wrote it.
func (w *world) trust(name string) string {
	w.Helper()
	document, err := url.PathUnescape(*w.got(name).AssumeRolePolicyDocument)
	if err != nil {
		w.Fatal(err)
	}
	return document
}

// A list comes in pages, each role once, in the order of names.
func TestListRoles_Pages(t *testing.T) {
	w := newWorld(t)
	for i := range 7 {
		w.role(fmt.Sprintf("Role%d", i), func(in *iamclient.CreateRoleInput) { in.Path = aws.String(fmt.Sprintf("/p%d/", i%2)) })
	}
	for _, each := range []struct {
		prefix string
		want   string
	}{{"/", "Role0 Role1 Role2 Role3 Role4 Role5 Role6"}, {"/p0/", "Role0 Role2 Role4 Role6"}, {"/none/", ""}} {
		var names []string
		pages := iamclient.NewListRolesPaginator(w.Client, &iamclient.ListRolesInput{MaxItems: aws.Int32(2), PathPrefix: &each.prefix})
		for pages.HasMorePages() {
			page := must[*iamclient.ListRolesOutput](w)(pages.NextPage(t.Context()))
			for _, r := range page.Roles {
				names = append(names, *r.RoleName)
				if r.Tags != nil || r.PermissionsBoundary != nil || *r.AssumeRolePolicyDocument == "" {
					t.Errorf("listed %+v", r)
				}
			}
		}
		if got := strings.Join(names, " "); got != each.want {
			t.Errorf("%s: %s", each.prefix, got)
		}
	}
}

// A trust means the principals it names, not whoever is called so later.
func TestTrust_FollowsPrincipals(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("ann")
	w.role("ci")
	doc := func(ann, ci string) string {
		return fmt.Sprintf(`{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Principal": {"AWS": [%q, "arn:aws:iam::123456789012:root"]}, "Action": "sts:AssumeRole",
   "Condition": {"StringEquals": {"aws:PrincipalArn": "arn:aws:iam::123456789012:user/ann"}}},
  {"Effect": "Allow", "Principal": {"AWS": %q, "Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]}`, ann, ci)
	}
	ann := must[*iamclient.GetUserOutput](w)(w.GetUser(ctx, &iamclient.GetUserInput{UserName: aws.String("ann")})).User
	const prefix = "arn:aws:iam::" + account
	w.role("app", func(in *iamclient.CreateRoleInput) {
		in.AssumeRolePolicyDocument = aws.String(doc(prefix+":user/ann", prefix+":role/ci"))
	})
	// A unique id is shown as the ARN.
	w.role("by-id", func(in *iamclient.CreateRoleInput) {
		in.AssumeRolePolicyDocument = aws.String(doc(*ann.UserId, *w.got("ci").RoleId))
	})
	expect := func(want string) {
		t.Helper()
		for _, name := range []string{"app", "by-id"} {
			if got := w.trust(name); got != want {
				t.Errorf("%s: got %s\nwant %s", name, got, want)
			}
		}
	}
	expect(doc(prefix+":user/ann", prefix+":role/ci"))
	ok[*iamclient.UpdateUserOutput](w)(w.UpdateUser(ctx, &iamclient.UpdateUserInput{UserName: aws.String("ann"), NewUserName: aws.String("bea"), NewPath: aws.String("/x/")}))
	expect(doc(prefix+":user/x/bea", prefix+":role/ci"))
	ok[*iamclient.DeleteUserOutput](w)(w.DeleteUser(ctx, &iamclient.DeleteUserInput{UserName: aws.String("bea")}))
	expect(doc(*ann.UserId, prefix+":role/ci"))
	ci := *w.got("ci").RoleId
	ok[*iamclient.DeleteRoleOutput](w)(w.DeleteRole(ctx, &iamclient.DeleteRoleInput{RoleName: aws.String("ci")}))
	expect(doc(*ann.UserId, ci))
	w.role("ci")
	expect(doc(*ann.UserId, ci))

	// Nobody can name one that is gone.
	_, err := w.UpdateAssumeRolePolicy(ctx, &iamclient.UpdateAssumeRolePolicyInput{RoleName: aws.String("app"), PolicyDocument: aws.String(doc(*ann.UserId, prefix+":role/ci"))})
	w.wants(err, `MalformedPolicyDocument: Invalid principal in policy: "AWS":"`+*ann.UserId+`"`)

	// A role may trust itself once it is there, and can be deleted all the same.
	ok[*iamclient.UpdateAssumeRolePolicyOutput](w)(w.UpdateAssumeRolePolicy(ctx, &iamclient.UpdateAssumeRolePolicyInput{
		RoleName: aws.String("app"), PolicyDocument: aws.String(doc(prefix+":role/app", prefix+":root")),
	}))
	ok[*iamclient.DeleteRoleOutput](w)(w.DeleteRole(ctx, &iamclient.DeleteRoleInput{RoleName: aws.String("app")}))
}

func TestServiceLinkedRole_Lives(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	made := must[*iamclient.CreateServiceLinkedRoleOutput](w)(w.CreateServiceLinkedRole(ctx, &iamclient.CreateServiceLinkedRoleInput{
		AWSServiceName: aws.String("ecs.amazonaws.com"), Description: aws.String("d"),
	})).Role
	if *made.Arn != scope.ServiceLinkedRole() || *made.Description != "d" || *made.Path != "/aws-service-role/ecs.amazonaws.com/" {
		t.Errorf("made %+v", made)
	}
	if got := w.trust("AWSServiceRoleForECS"); got != `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":["ecs.amazonaws.com"]},"Action":["sts:AssumeRole"]}]}` {
		t.Errorf("trust %s", got)
	}
	attached := must[*iamclient.ListAttachedRolePoliciesOutput](w)(w.ListAttachedRolePolicies(ctx, &iamclient.ListAttachedRolePoliciesInput{RoleName: made.RoleName}))
	if len(attached.AttachedPolicies) != 1 || *attached.AttachedPolicies[0].PolicyArn != "arn:aws:iam::aws:policy/aws-service-role/AmazonECSServiceRolePolicy" {
		t.Errorf("attached %+v", attached.AttachedPolicies)
	}
	suffixed := must[*iamclient.CreateServiceLinkedRoleOutput](w)(w.CreateServiceLinkedRole(ctx, &iamclient.CreateServiceLinkedRoleInput{
		AWSServiceName: aws.String("autoscaling.amazonaws.com"), CustomSuffix: aws.String("web"),
	})).Role
	if *suffixed.RoleName != "AWSServiceRoleForAutoScaling_web" {
		t.Errorf("made %+v", suffixed)
	}
	const locked = "UnmodifiableEntity: Cannot perform the operation on the protected role 'AWSServiceRoleForECS' - this role is only modifiable by AWS"
	_, err := w.DeleteRole(ctx, &iamclient.DeleteRoleInput{RoleName: made.RoleName})
	w.wants(err, locked)
	_, err = w.AttachRolePolicy(ctx, &iamclient.AttachRolePolicyInput{RoleName: made.RoleName, PolicyArn: aws.String(readOnly)})
	w.wants(err, locked)
	ok[*iamclient.UpdateRoleOutput](w)(w.UpdateRole(ctx, &iamclient.UpdateRoleInput{RoleName: made.RoleName, Description: aws.String("e")}))

	task := must[*iamclient.DeleteServiceLinkedRoleOutput](w)(w.DeleteServiceLinkedRole(ctx, &iamclient.DeleteServiceLinkedRoleInput{RoleName: made.RoleName})).DeletionTaskId
	if !strings.HasPrefix(*task, "task/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS/") {
		t.Errorf("task %s", *task)
	}
	for range 2 { // the second time another role has the name
		status := must[*iamclient.GetServiceLinkedRoleDeletionStatusOutput](w)(w.GetServiceLinkedRoleDeletionStatus(ctx, &iamclient.GetServiceLinkedRoleDeletionStatusInput{DeletionTaskId: task}))
		if status.Status != types.DeletionTaskStatusTypeSucceeded {
			t.Errorf("status %s", status.Status)
		}
		_, _ = w.CreateServiceLinkedRole(ctx, &iamclient.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("ecs.amazonaws.com")})
	}
	_, err = w.GetServiceLinkedRoleDeletionStatus(ctx, &iamclient.GetServiceLinkedRoleDeletionStatusInput{DeletionTaskId: aws.String("task/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS/bWFkZSB1cA")})
	w.wants(err, "NoSuchEntity: The deletion task id task/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS/bWFkZSB1cA is not valid.")
}

func TestInstanceProfile_Lives(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.role("node")
	name := aws.String("nodes")
	made := must[*iamclient.CreateInstanceProfileOutput](w)(w.CreateInstanceProfile(ctx, &iamclient.CreateInstanceProfileInput{
		InstanceProfileName: name, Path: aws.String("/ec2/"), Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}},
	})).InstanceProfile
	if *made.Arn != "arn:aws:iam::"+account+":instance-profile/ec2/nodes" || !regexp.MustCompile(`^AIPA[A-Z2-7]{17}$`).MatchString(*made.InstanceProfileId) || len(made.Roles) != 0 || len(made.Tags) != 1 {
		t.Errorf("made %+v", made)
	}
	ok[*iamclient.AddRoleToInstanceProfileOutput](w)(w.AddRoleToInstanceProfile(ctx, &iamclient.AddRoleToInstanceProfileInput{InstanceProfileName: name, RoleName: aws.String("node")}))
	got := must[*iamclient.GetInstanceProfileOutput](w)(w.GetInstanceProfile(ctx, &iamclient.GetInstanceProfileInput{InstanceProfileName: name})).InstanceProfile
	if len(got.Roles) != 1 || *got.Roles[0].Arn != "arn:aws:iam::"+account+":role/node" {
		t.Errorf("got %+v", got)
	}
	of := must[*iamclient.ListInstanceProfilesForRoleOutput](w)(w.ListInstanceProfilesForRole(ctx, &iamclient.ListInstanceProfilesForRoleInput{RoleName: aws.String("node")}))
	all := must[*iamclient.ListInstanceProfilesOutput](w)(w.ListInstanceProfiles(ctx, &iamclient.ListInstanceProfilesInput{PathPrefix: aws.String("/ec2/")}))
	if len(of.InstanceProfiles) != 1 || len(all.InstanceProfiles) != 1 || all.InstanceProfiles[0].Tags != nil {
		t.Errorf("%+v, %+v", of, all)
	}
	_, err := w.DeleteRole(ctx, &iamclient.DeleteRoleInput{RoleName: aws.String("node")})
	w.wants(err, "DeleteConflict: Cannot delete entity, must remove roles from instance profile first.")
	_, err = w.DeleteInstanceProfile(ctx, &iamclient.DeleteInstanceProfileInput{InstanceProfileName: name})
	w.wants(err, "DeleteConflict: Cannot delete entity, must remove roles from instance profile first.")
	ok[*iamclient.RemoveRoleFromInstanceProfileOutput](w)(w.RemoveRoleFromInstanceProfile(ctx, &iamclient.RemoveRoleFromInstanceProfileInput{InstanceProfileName: name, RoleName: aws.String("node")}))
	ok[*iamclient.DeleteInstanceProfileOutput](w)(w.DeleteInstanceProfile(ctx, &iamclient.DeleteInstanceProfileInput{InstanceProfileName: name}))
	ok[*iamclient.DeleteRoleOutput](w)(w.DeleteRole(ctx, &iamclient.DeleteRoleInput{RoleName: aws.String("node")}))

	// Who hands out a role must be allowed to pass it.
	w.role("Guarded")
	ok[*iamclient.CreateInstanceProfileOutput](w)(w.CreateInstanceProfile(ctx, &iamclient.CreateInstanceProfileInput{InstanceProfileName: name}))
	_, err = w.AddRoleToInstanceProfile(ctx, &iamclient.AddRoleToInstanceProfileInput{InstanceProfileName: name, RoleName: aws.String("Guarded")})
	w.wants(err, "AccessDenied: not authorized to perform: iam:PassRole on resource: arn:aws:iam::"+account+":role/Guarded")
}
