package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// taskTrust is the trust policy of every role of a task.
const taskTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`

// executionPolicy is what the execution role of tests may do unless a test is about that: pull, log, and make log groups.
var executionPolicy = allow("*", "ecr:GetAuthorizationToken", "ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage",
	"logs:CreateLogStream", "logs:PutLogEvents", "logs:CreateLogGroup", "secretsmanager:GetSecretValue", "ssm:GetParameters", "kms:Decrypt")

// allow writes a policy with one statement.
func allow(resource string, actions ...string) string {
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{"Effect": "Allow", "Action": actions, "Resource": resource}}})
	if err != nil {
		panic(err) // strings have a form in JSON
	}
	return string(text)
}

// ensureRole makes a role with one inline policy, or gives an existing one that policy.
func (b *berth) ensureRole(ctx context.Context, name, trust, policy string) error {
	_, err := b.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	if _, exists := errors.AsType[*iamtypes.EntityAlreadyExistsException](err); err != nil && !exists {
		return fmt.Errorf("making the role %s: %w", name, err)
	}
	_, err = b.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("allowed"), PolicyDocument: &policy})
	return err
}

// newRole makes a role of the test's own, and returns its ARN.
func (b *berth) newRole(t *testing.T, trust string, policy string) (name, arn string) {
	t.Helper()
	name = "e2e-" + random()
	if err := b.ensureRole(t.Context(), name, trust, policy); err != nil {
		t.Fatal(err)
	}
	return name, "arn:aws:iam::123456789012:role/" + name
}

// as is this Berth with somebody else's credentials.
func (b *berth) as(t *testing.T, accessKeyID, secret, token string) *berth {
	t.Helper()
	other := &berth{dir: b.dir, listen: b.listen, id: b.id}
	other.clients(aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String("http://" + b.listen), Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		Credentials: credentials.NewStaticCredentialsProvider(accessKeyID, secret, token),
	})
	return other
}
