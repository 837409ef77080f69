package main

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// secretNames are what the containers of secretFamily get: a whole secret, a
// member of one, and a parameter.
var secretNames = []string{
	"arn:aws:secretsmanager:us-east-1:123456789012:secret:bench/password",
	"arn:aws:secretsmanager:us-east-1:123456789012:secret:bench/credentials:token::",
	"/bench/key",
}

// furnish makes the execution role and the secrets that launches need.
func (w *berth) furnish(ctx context.Context) error {
	roles, name := iam.NewFromConfig(w.aws), aws.String("ecsTaskExecutionRole")
	if _, err := roles.CreateRole(ctx, &iam.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)}); err != nil {
		return fmt.Errorf("making the execution role: %w", err)
	}
	if _, err := roles.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: name, PolicyName: aws.String("bench"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["logs:*","secretsmanager:GetSecretValue","ssm:GetParameters","ecr:*"],"Resource":"*"}]}`)}); err != nil {
		return fmt.Errorf("letting the execution role: %w", err)
	}
	secrets := secretsmanager.NewFromConfig(w.aws)
	for secret, value := range map[string]string{"bench/password": "p", "bench/credentials": `{"user":"u","token":"t"}`} {
		if _, err := secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &secret, SecretString: &value}); err != nil {
			return fmt.Errorf("making the secret %s: %w", secret, err)
		}
	}
	_, err := ssm.NewFromConfig(w.aws).PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String("/bench/key"), Type: types.ParameterTypeSecureString, Value: aws.String("k")})
	return err
}
