package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/spf13/cobra"
)

// mostSecret is the longest value that Secrets Manager takes, in bytes.
const mostSecret = 65536

func newSecrets(e *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use: "secrets", Short: "List secrets, or put one", Args: arguments(cobra.NoArgs),
		Long: `List the secrets of Secrets Manager, never their values. Containers get them by the
secrets member of a task definition. Secrets Manager and Parameter Store are there in full
for anything more: aws secretsmanager, aws ssm, SDKs, Terraform.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			return e.listSecrets(cmd.Context(), c)
		},
	}
	outputFlag(e, cmd)
	cmd.AddCommand(newSecretsPut(e))
	return cmd
}

func (e *environment) listSecrets(ctx context.Context, c *clients) error {
	secrets := []types.SecretListEntry{}
	for pages := secretsmanager.NewListSecretsPaginator(c.secrets, &secretsmanager.ListSecretsInput{}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("listing secrets: %w", explained(err))
		}
		secrets = append(secrets, page.SecretList...)
	}
	if e.output == formJSON {
		return e.writeJSON(secrets)
	}
	rows := [][]string{{"NAME", "CHANGED", "ARN"}}
	for _, s := range secrets {
		rows = append(rows, []string{aws.ToString(s.Name), aws.ToTime(s.LastChangedDate).Local().Format(time.DateTime), aws.ToString(s.ARN)})
	}
	_, err := fmt.Fprint(e.out, columns(rows))
	return err
}

func newSecretsPut(e *environment) *cobra.Command {
	return &cobra.Command{
		Use: "put NAME", Short: "Give a secret a new value, from standard input", Args: arguments(cobra.ExactArgs(1)),
		Long: `Give a secret a new value, read from standard input without its last line end, and make it
when it is not there. A value on the command line would be seen in the list of processes
and kept in the shell's history. The secret's ARN is printed: the valueFrom of a task
definition. Tasks that run keep the value that they began with.`,
		Example: `  pass show db | berth secrets put db-password
  berth secrets put db-creds < creds.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := readSecret(e.in)
			if err != nil {
				return err
			}
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			arn, err := c.putSecret(cmd.Context(), args[0], value)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(e.out, arn)
			return err
		},
	}
}

func readSecret(r io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, mostSecret+2))
	if err != nil {
		return "", fmt.Errorf("reading the value: %w", err)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case value == "":
		return "", misuse("the value is empty: write it to standard input")
	case len(value) > mostSecret:
		return "", misuse("the value is longer than %d bytes", mostSecret)
	}
	return value, nil
}

func (c *clients) putSecret(ctx context.Context, name, value string) (arn string, err error) {
	put, err := c.secrets.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: &value})
	if err == nil {
		return aws.ToString(put.ARN), nil
	}
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); !missing {
		return "", fmt.Errorf("putting %s: %w", name, explained(err))
	}
	made, err := c.secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: &value})
	if err != nil {
		return "", fmt.Errorf("making %s: %w", name, explained(err))
	}
	return aws.ToString(made.ARN), nil
}
