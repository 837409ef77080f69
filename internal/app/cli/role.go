package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/spf13/cobra"
)

const (
	// executionRole is the role that AWS's console makes when a first task
	// definition needs one.
	executionRole       = "ecsTaskExecutionRole"
	executionRolePolicy = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
	// taskTrust lets tasks assume a role, and nobody else.
	taskTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
)

// statement is one statement of a policy that the CLI writes.
type statement struct {
	Effect   string
	Action   []string
	Resource []string
}

func policyOf(statements ...statement) (string, error) {
	text, err := json.Marshal(struct {
		Version   string
		Statement []statement
	}{"2012-10-17", statements})
	return string(text), err
}

// ensureExecutionRole makes the execution role of a definition when it is the
// one that AWS's console would make and it is not there: a definition that
// works on AWS works on an empty Berth too. Other roles are the user's to make.
func (c *clients) ensureExecutionRole(ctx context.Context, p *printer, def *ecs.RegisterTaskDefinitionInput) error {
	if !strings.HasSuffix(aws.ToString(def.ExecutionRoleArn), ":role/"+executionRole) {
		return nil
	}
	_, err := c.executionRoleFor(ctx, p, def)
	return err
}

// executionRoleFor finds the role that AWS's console would make, or makes it
// for a definition.
func (c *clients) executionRoleFor(ctx context.Context, p *printer, def *ecs.RegisterTaskDefinitionInput) (*types.Role, error) {
	found, err := c.role(ctx, executionRole)
	if err != nil || found != nil {
		return found, err
	}
	made, err := c.createTaskRole(ctx, executionRole, "Allows ECS tasks to call AWS services on your behalf.", []string{executionRolePolicy})
	if err != nil {
		return nil, err
	}
	// What the managed policy leaves to the user, for this definition.
	needs, err := policyFor(def)
	if err != nil {
		return nil, err
	}
	if _, err := c.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String(executionRole), PolicyName: def.Family, PolicyDocument: &needs}); err != nil {
		return nil, fmt.Errorf("letting %s do what %s needs: %w", executionRole, aws.ToString(def.Family), explained(err))
	}
	p.done("Made the role %s, as AWS's console does: it may pull images, write logs, and read the secrets of %s", aws.ToString(made.RoleName), aws.ToString(def.Family))
	return made, nil
}

// execRole is a role for tasks that need none but for being stepped into:
// ECS wants a task role of those.
const execRole = "ecsExecTaskRole"

// ensureExecRole finds or makes execRole.
func (c *clients) ensureExecRole(ctx context.Context, p *printer) (*types.Role, error) {
	found, err := c.role(ctx, execRole)
	if err != nil || found != nil {
		return found, err
	}
	made, err := c.createTaskRole(ctx, execRole, "Lets people into ECS tasks with ECS Exec.", nil)
	if err != nil {
		return nil, err
	}
	// The permissions that AWS's guide of ECS Exec names.
	policy, err := policyOf(statement{"Allow", []string{
		"ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
	}, []string{"*"}})
	if err != nil {
		return nil, err
	}
	if _, err := c.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: made.RoleName, PolicyName: aws.String("exec"), PolicyDocument: &policy}); err != nil {
		return nil, fmt.Errorf("writing the policy of %s: %w", execRole, explained(err))
	}
	p.done("Made the role %s, with which berth exec works and nothing else is allowed", execRole)
	return made, nil
}

// policyFor allows the execution role of a definition to make its log groups
// and to read its secrets, and no others.
func policyFor(def *ecs.RegisterTaskDefinitionInput) (string, error) {
	statements := []statement{{"Allow", []string{"logs:CreateLogGroup"}, []string{"*"}}}
	var secrets, parameters []string
	for _, container := range def.ContainerDefinitions {
		for _, s := range container.Secrets {
			switch from := aws.ToString(s.ValueFrom); {
			case strings.HasPrefix(from, "arn:aws:secretsmanager:"):
				// Without a JSON key, stage and version, with and without the
				// six characters that end a secret's ARN.
				fields := strings.Split(from, ":")
				arn := strings.Join(fields[:min(7, len(fields))], ":")
				secrets = append(secrets, arn, arn+"-??????")
			case strings.HasPrefix(from, "arn:"):
				parameters = append(parameters, from)
			default:
				parameters = append(parameters, "arn:aws:ssm:*:*:parameter/"+strings.TrimPrefix(from, "/"))
			}
		}
	}
	if len(secrets) > 0 {
		statements = append(statements, statement{"Allow", []string{"secretsmanager:GetSecretValue"}, secrets})
	}
	if len(parameters) > 0 {
		statements = append(statements, statement{"Allow", []string{"ssm:GetParameters"}, parameters})
	}
	return policyOf(statements...)
}

// role finds a role; nil when there is none.
func (c *clients) role(ctx context.Context, name string) (*types.Role, error) {
	out, err := c.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
	if _, missing := errors.AsType[*types.NoSuchEntityException](err); missing {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the role %s: %w", name, explained(err))
	}
	return out.Role, nil
}

// createTaskRole makes a role that tasks can have, with managed policies.
func (c *clients) createTaskRole(ctx context.Context, name, description string, policies []string) (*types.Role, error) {
	in := &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(taskTrust)}
	if description != "" {
		in.Description = &description
	}
	out, err := c.iam.CreateRole(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("making the role %s: %w", name, explained(err))
	}
	for _, arn := range policies {
		if _, err := c.iam.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: &name, PolicyArn: &arn}); err != nil {
			return nil, fmt.Errorf("attaching %s to the role %s: %w", arn, name, explained(err))
		}
	}
	return out.Role, nil
}

func newRoles(e *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use: "roles", Short: "List the roles that tasks can have, or make one", Args: arguments(cobra.NoArgs),
		Long: `List the roles that tasks can have: those whose trust policy names ecs-tasks.amazonaws.com.
IAM is there in full for anything more: aws iam, SDKs, Terraform.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			return e.listRoles(cmd.Context(), c)
		},
	}
	outputFlag(e, cmd)
	cmd.AddCommand(newRolesCreate(e))
	return cmd
}

// taskRole is a line of `berth roles`.
type taskRole struct {
	Name     string   `json:"roleName"`
	ARN      string   `json:"arn"`
	Policies []string `json:"policies"`
}

func (e *environment) listRoles(ctx context.Context, c *clients) error {
	roles := []taskRole{}
	for pages := iam.NewListRolesPaginator(c.iam, &iam.ListRolesInput{}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("listing roles: %w", explained(err))
		}
		for _, r := range page.Roles {
			if !strings.Contains(aws.ToString(r.AssumeRolePolicyDocument), "ecs-tasks.amazonaws.com") {
				continue
			}
			policies, err := c.policiesOf(ctx, r.RoleName)
			if err != nil {
				return err
			}
			roles = append(roles, taskRole{aws.ToString(r.RoleName), aws.ToString(r.Arn), policies})
		}
	}
	if e.output == formJSON {
		return e.writeJSON(roles)
	}
	rows := [][]string{{"ROLE", "POLICIES"}}
	for _, r := range roles {
		rows = append(rows, []string{r.Name, strings.Join(r.Policies, ", ")})
	}
	_, err := fmt.Fprint(e.out, columns(rows))
	return err
}

// policiesOf names a role's managed and inline policies.
func (c *clients) policiesOf(ctx context.Context, role *string) ([]string, error) {
	attached, err := c.iam.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: role})
	if err != nil {
		return nil, fmt.Errorf("listing the policies of %s: %w", *role, explained(err))
	}
	inline, err := c.iam.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: role})
	if err != nil {
		return nil, fmt.Errorf("listing the policies of %s: %w", *role, explained(err))
	}
	names := []string{}
	for _, p := range attached.AttachedPolicies {
		names = append(names, aws.ToString(p.PolicyName))
	}
	names = append(names, inline.PolicyNames...)
	slices.Sort(names)
	return names, nil
}

func newRolesCreate(e *environment) *cobra.Command {
	var policies, allow, on []string
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a role that tasks can have", Args: arguments(cobra.ExactArgs(1)),
		Example: `  berth roles create my-app-task-role --allow s3:GetObject,s3:PutObject --on 'arn:aws:s3:::my-bucket/*'
  berth roles create reader --policy arn:aws:iam::aws:policy/ReadOnlyAccess`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			ctx, name := cmd.Context(), args[0]
			role, err := c.createTaskRole(ctx, name, "", policies)
			if err != nil {
				return err
			}
			if len(allow) > 0 {
				document, err := policyOf(statement{"Allow", allow, on})
				if err != nil {
					return err
				}
				if _, err := c.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("allowed"), PolicyDocument: &document}); err != nil {
					return fmt.Errorf("writing the policy of %s: %w", name, explained(err))
				}
			}
			_, err = fmt.Fprintln(e.out, aws.ToString(role.Arn))
			return err
		},
	}
	cmd.Flags().StringArrayVar(&policies, "policy", nil, "managed policy to attach, by ARN; may be repeated")
	cmd.Flags().StringSliceVar(&allow, "allow", nil, "actions to allow, comma-separated, such as s3:GetObject")
	cmd.Flags().StringSliceVar(&on, "on", []string{"*"}, "resources to allow them on, by ARN")
	return cmd
}
