package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// rotate gives a secret a new password. Secrets Manager runs a task to rotate a
// secret whose rotation is set up with the ARN of a task definition, and makes
// the new version the current one when the task has ended with 0. The task role
// needs secretsmanager:GetRandomPassword and, for the secret,
// secretsmanager:GetSecretValue and secretsmanager:PutSecretValue.
//
// A rotation that fails is tried again with the same version id, so every step
// can be repeated.
func rotate(ctx context.Context) (said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	secret, version := os.Getenv("SECRET_ARN"), os.Getenv("SECRET_VERSION_ID")
	if secret == "" || version == "" {
		return "", errors.New("SECRET_ARN and SECRET_VERSION_ID are not set: this is for a secret's rotation to run")
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return "", err
	}
	client := secretsmanager.NewFromConfig(cfg)

	// An attempt before this one may have come as far as to store a value, which
	// may be in use by now: it is not to be made anew.
	_, err = client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &secret, VersionId: &version})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); err != nil && !missing {
		return "", fmt.Errorf("looking for version %s: %w", version, err)
	}
	if err != nil {
		password, err := client.GetRandomPassword(ctx, &secretsmanager.GetRandomPasswordInput{PasswordLength: aws.Int64(32), ExcludePunctuation: aws.Bool(true)})
		if err != nil {
			return "", fmt.Errorf("making a password: %w", err)
		}
		// The version id is the token: two attempts at once store one value.
		_, err = client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
			SecretId: &secret, ClientRequestToken: &version, SecretString: password.RandomPassword, VersionStages: []string{"AWSPENDING"},
		})
		if err != nil {
			return "", fmt.Errorf("storing version %s: %w", version, err)
		}
	}
	// Here a real program sets the password where it is used, and tests it.
	return fmt.Sprintf("version %s of %s is ready", version, secret), nil
}
