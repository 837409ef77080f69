package iam_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	iamclient "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// told is a result as a line: the decision, what decided it, what was missing.
func told(results []types.EvaluationResult) []string {
	var lines []string
	for _, r := range results {
		var line strings.Builder
		line.WriteString(*r.EvalActionName + " on " + *r.EvalResourceName + ": " + string(r.EvalDecision))
		for _, m := range r.MatchedStatements {
			fmt.Fprintf(&line, " by %s (%s) %d:%d-%d:%d", *m.SourcePolicyId, m.SourcePolicyType, m.StartPosition.Line, m.StartPosition.Column, m.EndPosition.Line, m.EndPosition.Column)
		}
		if len(r.MissingContextValues) > 0 {
			line.WriteString(" missing " + strings.Join(r.MissingContextValues, ","))
		}
		if b := r.PermissionsBoundaryDecisionDetail; b != nil {
			fmt.Fprintf(&line, " boundary %t", b.AllowedByPermissionsBoundary)
		}
		lines = append(lines, line.String())
	}
	return lines
}

func expectLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

const twoStatements = `{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Action": "ecs:*", "Resource": "*"},
    {"Effect": "Deny", "Action": "ecs:StopTask", "Resource": "*",
     "Condition": {"StringEquals": {"ecs:cluster": "prod"}}}
  ]
}`

func TestSimulateCustomPolicy(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	simulate := func(in iamclient.SimulateCustomPolicyInput) []string {
		t.Helper()
		return told(must[*iamclient.SimulateCustomPolicyOutput](w)(w.SimulateCustomPolicy(ctx, &in)).EvaluationResults)
	}
	base := iamclient.SimulateCustomPolicyInput{PolicyInputList: []string{twoStatements}, ActionNames: []string{"ecs:StopTask", "s3:GetObject"}}
	expectLines(t, simulate(base),
		"ecs:StopTask on *: allowed by PolicyInputList.1 (none) 4:5-4:59 missing ecs:cluster",
		"s3:GetObject on *: implicitDeny")

	denied := base
	denied.ActionNames = denied.ActionNames[:1]
	denied.ResourceArns = []string{"arn:aws:ecs:us-east-1:123456789012:task/a/1", "arn:aws:ecs:us-east-1:123456789012:task/b/2"}
	denied.ContextEntries = []types.ContextEntry{{ContextKeyName: aws.String("ECS:Cluster"), ContextKeyType: types.ContextKeyTypeEnumString, ContextKeyValues: []string{"prod"}}}
	expectLines(t, simulate(denied),
		"ecs:StopTask on arn:aws:ecs:us-east-1:123456789012:task/a/1: explicitDeny by PolicyInputList.1 (none) 5:5-6:60",
		"ecs:StopTask on arn:aws:ecs:us-east-1:123456789012:task/b/2: explicitDeny by PolicyInputList.1 (none) 5:5-6:60")

	bounded := iamclient.SimulateCustomPolicyInput{
		PolicyInputList: []string{twoStatements}, PermissionsBoundaryPolicyInputList: []string{`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecs:Describe*","Resource":"*"}]}`},
		ActionNames: []string{"ecs:DescribeTasks", "ecs:RunTask"},
	}
	expectLines(t, simulate(bounded),
		"ecs:DescribeTasks on *: allowed by PolicyInputList.1 (none) 4:5-4:59 by PermissionsBoundaryPolicyInputList.1 (none) 1:38-1:95 boundary true",
		"ecs:RunTask on *: implicitDeny boundary false")

	const secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-abcdef"
	shared := iamclient.SimulateCustomPolicyInput{
		PolicyInputList: []string{allowLogs}, ActionNames: []string{"secretsmanager:GetSecretValue"}, ResourceArns: []string{secret},
		ResourcePolicy: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/ann"},"Action":"*","Resource":"*"}]}`),
		CallerArn:      aws.String("arn:aws:iam::123456789012:user/ann"), ResourceOwner: aws.String("arn:aws:iam::123456789012:root"),
	}
	expectLines(t, simulate(shared), "secretsmanager:GetSecretValue on "+secret+": allowed by ResourcePolicy (resource) 1:38-1:140")
	other := shared
	other.CallerArn = aws.String("arn:aws:iam::123456789012:user/bea")
	expectLines(t, simulate(other), "secretsmanager:GetSecretValue on "+secret+": implicitDeny")

	// The pages together are the whole.
	pages := iamclient.NewSimulateCustomPolicyPaginator(w.Client, &iamclient.SimulateCustomPolicyInput{
		PolicyInputList: []string{twoStatements}, ActionNames: []string{"a:A", "b:B", "c:C"}, ResourceArns: []string{"*", secret}, MaxItems: aws.Int32(4),
	})
	var paged []string
	for pages.HasMorePages() {
		paged = append(paged, told(must[*iamclient.SimulateCustomPolicyOutput](w)(pages.NextPage(ctx)).EvaluationResults)...)
	}
	if len(paged) != 6 || paged[5] != "c:C on "+secret+": implicitDeny" {
		t.Errorf("paged %v", paged)
	}
}

func TestSimulatePrincipalPolicy(t *testing.T) {
	w, shared := peopled(t)
	ctx := t.Context()
	simulate := func(in iamclient.SimulatePrincipalPolicyInput) []string {
		t.Helper()
		return told(must[*iamclient.SimulatePrincipalPolicyOutput](w)(w.SimulatePrincipalPolicy(ctx, &in)).EvaluationResults)
	}
	const prefix = "arn:aws:iam::" + account
	logs := []string{"logs:PutLogEvents"}
	// A user has the groups' policies too.
	expectLines(t, simulate(iamclient.SimulatePrincipalPolicyInput{PolicySourceArn: aws.String(prefix + ":user/ann"), ActionNames: logs}),
		"logs:PutLogEvents on *: allowed by user_ann_own (user) 1:38-1:101 by shared (user-managed) 1:38-1:101")
	expectLines(t, simulate(iamclient.SimulatePrincipalPolicyInput{PolicySourceArn: aws.String(prefix + ":group/devs"), ActionNames: logs}),
		"logs:PutLogEvents on *: allowed by shared (user-managed) 1:38-1:101")
	ok[*iamclient.PutRolePermissionsBoundaryOutput](w)(w.PutRolePermissionsBoundary(ctx, &iamclient.PutRolePermissionsBoundaryInput{RoleName: aws.String("app"), PermissionsBoundary: &shared}))
	ok[*iamclient.AttachRolePolicyOutput](w)(w.AttachRolePolicy(ctx, &iamclient.AttachRolePolicyInput{RoleName: aws.String("app"), PolicyArn: aws.String("arn:aws:iam::aws:policy/AdministratorAccess")}))
	got := simulate(iamclient.SimulatePrincipalPolicyInput{PolicySourceArn: aws.String(prefix + ":role/app"), ActionNames: []string{"logs:PutLogEvents", "ecs:RunTask"}})
	if len(got) != 2 || !strings.HasPrefix(got[0], "logs:PutLogEvents on *: allowed by role_app_own (role) 1:38-1:101 by AdministratorAccess (aws-managed) ") || got[1] != "ecs:RunTask on *: implicitDeny boundary false" {
		t.Errorf("got %v", got)
	}
	// A boundary of the request takes the place of the role's.
	got = simulate(iamclient.SimulatePrincipalPolicyInput{
		PolicySourceArn: aws.String(prefix + ":role/app"), ActionNames: []string{"ecs:RunTask"}, PermissionsBoundaryPolicyInputList: []string{twoStatements},
	})
	if len(got) != 1 || !strings.Contains(got[0], ": allowed by AdministratorAccess") || !strings.HasSuffix(got[0], "boundary true") {
		t.Errorf("got %v", got)
	}
	// The principal's own keys need not be given; others are missing.
	named := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::home/${aws:username}/${aws:PrincipalTag/Team}/*"}]}`
	ok[*iamclient.TagUserOutput](w)(w.TagUser(ctx, &iamclient.TagUserInput{UserName: aws.String("ann"), Tags: []types.Tag{{Key: aws.String("Team"), Value: aws.String("x")}}}))
	in := iamclient.SimulatePrincipalPolicyInput{
		PolicySourceArn: aws.String(prefix + ":user/ann"), PolicyInputList: []string{named}, ActionNames: []string{"s3:GetObject"},
		ResourceArns: []string{"arn:aws:s3:::home/ann/x/1", "arn:aws:s3:::home/bea/x/1"},
	}
	expectLines(t, simulate(in),
		"s3:GetObject on arn:aws:s3:::home/ann/x/1: allowed by PolicyInputList.1 (none) 1:38-1:145",
		"s3:GetObject on arn:aws:s3:::home/bea/x/1: implicitDeny")

	keys := must[*iamclient.GetContextKeysForPrincipalPolicyOutput](w)(w.GetContextKeysForPrincipalPolicy(ctx, &iamclient.GetContextKeysForPrincipalPolicyInput{
		PolicySourceArn: aws.String(prefix + ":user/ann"), PolicyInputList: []string{named, twoStatements},
	})).ContextKeyNames
	if !slices.Equal(keys, []string{"aws:PrincipalTag/Team", "aws:username", "ecs:cluster"}) {
		t.Errorf("keys %v", keys)
	}
}

func TestGetContextKeysForCustomPolicy(t *testing.T) {
	w := newWorld(t)
	out := must[*iamclient.GetContextKeysForCustomPolicyOutput](w)(w.GetContextKeysForCustomPolicy(t.Context(), &iamclient.GetContextKeysForCustomPolicyInput{
		PolicyInputList: []string{twoStatements, strings.ReplaceAll(twoStatements, "ecs:cluster", "ECS:Cluster")},
	}))
	if !slices.Equal(out.ContextKeyNames, []string{"ecs:cluster"}) {
		t.Errorf("keys %v", out.ContextKeyNames)
	}
}
