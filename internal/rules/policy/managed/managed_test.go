package managed_test

import (
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"

	"berth.dev/berth/internal/rules/policy"
	"berth.dev/berth/internal/rules/policy/managed"
)

func TestAll_AreWhole(t *testing.T) {
	t.Parallel()
	all := managed.All()
	last := ""
	for _, p := range all {
		if p.Name <= last {
			t.Errorf("%s after %s: Find searches an ordered table", p.Name, last)
		}
		last = p.Name
		if p.CreatedAt.IsZero() || p.UpdatedAt.Before(p.CreatedAt) {
			t.Errorf("%s: made %v, changed %v", p.Name, p.CreatedAt, p.UpdatedAt)
		}
		if n, err := strconv.Atoi(strings.TrimPrefix(p.DefaultVersionID, "v")); err != nil || n < 1 || p.Description == "" {
			t.Errorf("%s: version %q, description %q", p.Name, p.DefaultVersionID, p.Description)
		}
		d, err := policy.Parse(policy.Managed, p.Document)
		if err != nil {
			t.Errorf("%s: %v", p.Name, err)
			continue
		}
		if len(d.Statements()) == 0 {
			t.Errorf("%s says nothing", p.Name)
		}
		if found, ok := managed.Find(p.ARN); !ok || found != p {
			t.Errorf("%s is not found by its ARN %s", p.Name, p.ARN)
		}
	}
	files, err := fs.Glob(os.DirFS("documents"), "*.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(all) {
		t.Errorf("%d documents for %d policies", len(files), len(all))
	}
}

func TestFind_KnowsNoOther(t *testing.T) {
	t.Parallel()
	for _, arn := range []string{
		"", "arn:aws:iam::aws:policy", "arn:aws:iam::aws:policy/", "arn:aws:iam::aws:policy/NoSuchPolicy",
		"arn:aws:iam::123456789012:policy/AdministratorAccess",
		"arn:aws:iam::aws:policy/AmazonECSTaskExecutionRolePolicy", // its path is /service-role/
		"arn:aws:iam::aws:policy/service-role/AdministratorAccess",
	} {
		if p, ok := managed.Find(arn); ok {
			t.Errorf("%q is %s", arn, p.ARN)
		}
	}
}

// What AWS documents of the policies that ECS's users meet first.
func TestPolicies_Grant(t *testing.T) {
	t.Parallel()
	const (
		task   = "arn:aws:ecs:us-east-1:123456789012:task/default/0123456789abcdef0123456789abcdef"
		secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf"
		stream = "arn:aws:logs:us-east-1:123456789012:log-group:/ecs/web:log-stream:a"
		role   = "arn:aws:iam::123456789012:role/task"
	)
	tests := []struct {
		arn, action, resource string
		context               map[string][]string
		want                  policy.Outcome
	}{
		{"AdministratorAccess", "iam:CreateUser", "*", nil, policy.Allowed},
		{"PowerUserAccess", "ecs:RunTask", "*", nil, policy.Allowed},
		{"PowerUserAccess", "iam:CreateUser", "*", nil, policy.ImplicitDeny},
		{"PowerUserAccess", "iam:ListRoles", "*", nil, policy.Allowed},
		{"AWSDenyAll", "ecs:RunTask", "*", nil, policy.ExplicitDeny},
		{"service-role/AmazonECSTaskExecutionRolePolicy", "ecr:BatchGetImage", "*", nil, policy.Allowed},
		{"service-role/AmazonECSTaskExecutionRolePolicy", "logs:PutLogEvents", stream, nil, policy.Allowed},
		{"service-role/AmazonECSTaskExecutionRolePolicy", "logs:CreateLogGroup", stream, nil, policy.ImplicitDeny},
		{"service-role/AmazonECSTaskExecutionRolePolicy", "secretsmanager:GetSecretValue", secret, nil, policy.ImplicitDeny},
		{"service-role/AmazonEC2ContainerServiceforEC2Role", "ecs:RegisterContainerInstance", "*", nil, policy.Allowed},
		{"service-role/AmazonEC2ContainerServiceEventsRole", "ecs:RunTask", "*", nil, policy.Allowed},
		{"service-role/AmazonEC2ContainerServiceEventsRole", "iam:PassRole", role, map[string][]string{"iam:passedtoservice": {"ecs-tasks.amazonaws.com"}}, policy.Allowed},
		{"service-role/AmazonEC2ContainerServiceEventsRole", "iam:PassRole", role, map[string][]string{"iam:passedtoservice": {"ec2.amazonaws.com"}}, policy.ImplicitDeny},
		{"AmazonECS_FullAccess", "ecs:StopTask", task, nil, policy.Allowed},
		{"AmazonECS_FullAccess", "iam:PassRole", role, map[string][]string{"iam:passedtoservice": {"ecs-tasks.amazonaws.com"}}, policy.Allowed},
		{"AmazonECS_FullAccess", "iam:PassRole", role, nil, policy.ImplicitDeny},
		{"ReadOnlyAccess", "ecs:DescribeTasks", task, nil, policy.Allowed},
		{"ReadOnlyAccess", "ecs:StopTask", task, nil, policy.ImplicitDeny},
		{"ReadOnlyAccess", "secretsmanager:GetSecretValue", secret, nil, policy.ImplicitDeny},
		{"SecretsManagerReadWrite", "secretsmanager:GetSecretValue", secret, nil, policy.Allowed},
		{"CloudWatchLogsFullAccess", "logs:DeleteLogGroup", stream, nil, policy.Allowed},
		{"CloudWatchLogsReadOnlyAccess", "logs:GetLogEvents", stream, nil, policy.Allowed},
		{"CloudWatchLogsReadOnlyAccess", "logs:DeleteLogGroup", stream, nil, policy.ImplicitDeny},
		{"IAMReadOnlyAccess", "iam:GetRole", role, nil, policy.Allowed},
		{"IAMReadOnlyAccess", "iam:DeleteRole", role, nil, policy.ImplicitDeny},
		{"AmazonSSMReadOnlyAccess", "ssm:GetParameter", "*", nil, policy.Allowed},
		{"AmazonSSMReadOnlyAccess", "ssm:PutParameter", "*", nil, policy.ImplicitDeny},
	}
	for _, test := range tests {
		p, ok := managed.Find("arn:aws:iam::aws:policy/" + test.arn)
		if !ok {
			t.Errorf("no %s", test.arn)
			continue
		}
		d, err := policy.Parse(policy.Managed, p.Document)
		if err != nil {
			t.Fatal(err)
		}
		got := policy.Evaluate(policy.Request{
			Principal: policy.Principal{ARN: "arn:aws:iam::123456789012:user/u", AccountID: "123456789012"},
			Action:    test.action, Resource: test.resource, Context: test.context,
		}, policy.Policies{Identity: []policy.Source{{ARN: p.ARN, Document: d}}})
		if got.Outcome != test.want {
			t.Errorf("%s: %s on %s is %d, want %d", test.arn, test.action, test.resource, got.Outcome, test.want)
		}
	}
}
