package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/spf13/cobra"

	"berth.dev/berth/internal/app/compose"
)

// projectFlags say which project is meant, as those of docker compose.
type projectFlags struct {
	files, profiles, envFiles []string
	dir, name                 string
}

func newCompose(e *environment) *cobra.Command {
	var f projectFlags
	cmd := &cobra.Command{
		Use: "compose", Short: "Deploy a Compose project, or convert it to ECS documents",
		Long: `Deploy a Compose project as it is: compose.yaml and its override, profiles, .env, includes.
Each service becomes an ECS service (one that runs once, a task), in the order of
depends_on. What ECS does not have is listed, with its path in the file and the reason;
nothing is left out silently. x-ecs, of a service or of the file, says the rest in AWS's
shape: {taskDefinition: {...}, service: {...}}.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := cmd.PersistentFlags()
	flags.StringArrayVarP(&f.files, "file", "f", nil, "compose file; may be repeated (default: compose.yaml and compose.override.yaml, COMPOSE_FILE)")
	flags.StringVarP(&f.name, "project-name", "p", "", "name of the project (default: the file's name, COMPOSE_PROJECT_NAME, else the directory's)")
	flags.StringVar(&f.dir, "project-directory", "", "directory that paths of the file begin from (default: that of the first file)")
	flags.StringArrayVar(&f.profiles, "profile", nil, "profile to enable; may be repeated")
	flags.StringArrayVar(&f.envFiles, "env-file", nil, "file of variables for the compose file (default: .env); may be repeated")
	cmd.AddCommand(newComposeUp(e, &f), newComposeConvert(e, &f), newComposeDown(e, &f))
	return cmd
}

// load reads the project, with the services that are named and what they
// depend on, or all. Known are the names of every service of the file.
func (f *projectFlags) load(ctx context.Context, services []string) (project *types.Project, known map[string]bool, err error) {
	project, err = compose.Load(ctx, compose.Source{
		Files: f.files, Dir: f.dir, Name: f.name, Profiles: f.profiles, EnvFiles: f.envFiles, Env: os.Environ(),
	})
	if err != nil {
		return nil, nil, err
	}
	known = map[string]bool{}
	for _, all := range []types.Services{project.Services, project.DisabledServices} {
		for name := range all {
			known[name] = true
		}
	}
	for _, name := range services {
		if !known[name] {
			return nil, nil, misuse("the project %s has no service %s", project.Name, name)
		}
	}
	if len(services) > 0 {
		if project, err = project.WithServicesEnabled(services...); err == nil {
			project, err = project.WithSelectedServices(services)
		}
	}
	return project, known, err
}

// tellUnmapped lists what ECS gets not as the file says it.
func tellUnmapped(p *printer, list []compose.Unmapped) {
	if len(list) == 0 {
		return
	}
	p.say("%s", p.paint("33", "Not as in the file"))
	for _, u := range list {
		p.say("   %s: %s", u.Path, p.paint("2", u.Reason))
	}
}

// defaultAccount is the account that a Berth is unless it is told otherwise.
const defaultAccount = "123456789012"

func newComposeConvert(e *environment, f *projectFlags) *cobra.Command {
	var output, region, account string
	cmd := &cobra.Command{
		Use: "convert [SERVICE...]", Aliases: []string{"config"}, Short: "Print what ECS would be asked for", Args: cobra.ArbitraryArgs,
		Long: `Print the inputs of RegisterTaskDefinition and CreateService for each service, as
aws ecs register-task-definition --cli-input-json and berth deploy -f take them, without
asking anybody. Services that run once have no createService. With -o a directory gets them
as SERVICE.taskdef.json and SERVICE.service.json.

berth compose up adds what has ids when it is made: subnets, security groups, load
balancers of published ports, names in Cloud Map, and the ARNs of secrets and roles.

What could not be converted is listed on standard error.`,
		Example: `  berth compose convert
  berth compose convert -o ecs/ && berth deploy -f ecs/web.taskdef.json -f ecs/web.service.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			project, _, err := f.load(cmd.Context(), args)
			if err != nil {
				return err
			}
			converted, err := compose.Convert(project, compose.Options{
				Region: region, ExecutionRoleARN: "arn:aws:iam::" + account + ":role/" + executionRole,
				SecretARN: func(name string) string {
					return "arn:aws:secretsmanager:" + region + ":" + account + ":secret:" + name
				},
			})
			if err != nil {
				return err
			}
			tellUnmapped(newPrinter(e.err), converted.Unmapped)
			if output == "-" {
				return e.printDocuments(converted)
			}
			return e.writeDocuments(output, converted)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "-", "directory for the documents, - for standard output")
	cmd.Flags().StringVar(&region, "region", env("AWS_REGION", "us-east-1"), "region of logs and secrets (AWS_REGION)")
	cmd.Flags().StringVar(&account, "account", defaultAccount, "account of roles and secrets")
	return cmd
}

// documents are one service's inputs to ECS.
type documents struct {
	Name       string `json:"name"`
	Definition any    `json:"registerTaskDefinition"`
	Service    any    `json:"createService,omitempty"`
}

func documentsOf(converted *compose.Conversion) []documents {
	all := []documents{}
	for i := range converted.Services {
		s := &converted.Services[i]
		one := documents{Name: s.Name, Definition: awsShape(s.Definition)}
		if !s.Job() {
			one.Service = awsShape(s.Create)
		}
		all = append(all, one)
	}
	return all
}

func (e *environment) printDocuments(converted *compose.Conversion) error {
	unmapped := converted.Unmapped
	if unmapped == nil {
		unmapped = []compose.Unmapped{}
	}
	return e.writeJSON(map[string]any{"project": converted.Project, "services": documentsOf(converted), "unmapped": unmapped})
}

func (e *environment) writeDocuments(dir string, converted *compose.Conversion) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // documents that are no secret
		return err
	}
	for _, one := range documentsOf(converted) {
		for kind, document := range map[string]any{"taskdef": one.Definition, "service": one.Service} {
			if document == nil {
				continue
			}
			name := filepath.Join(dir, fmt.Sprintf("%s.%s.json", one.Name, kind))
			if err := writeDocument(name, document); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeDocument(name string, document any) error {
	var text bytes.Buffer
	if err := (&environment{out: &text}).writeJSON(document); err != nil {
		return err
	}
	return os.WriteFile(name, text.Bytes(), 0o644) //nolint:gosec // a document that is no secret
}
