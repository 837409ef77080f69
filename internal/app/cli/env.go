package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// setting is one environment variable.
type setting struct{ name, value string }

// settings are what an AWS client needs in its environment. AWS_DISABLE_HOST_PREFIX_INJECTION keeps
// botocore from putting "data-" or "stream-" before the host of the endpoint,
// which resolves for nobody.
func (c connection) settings() []setting {
	settings := []setting{
		{endpointVariable, c.Endpoint},
		{"AWS_REGION", c.Region},
		{"AWS_DEFAULT_REGION", c.Region},
		{"AWS_ACCESS_KEY_ID", c.AccessKeyID},
		{"AWS_SECRET_ACCESS_KEY", c.SecretAccessKey},
		{"AWS_DISABLE_HOST_PREFIX_INJECTION", "true"},
	}
	if c.Authority != "" {
		settings = append(settings, setting{"AWS_CA_BUNDLE", c.Authority})
	}
	return settings
}

// inTheWay are variables that would win over ours.
var inTheWay = []string{"AWS_PROFILE", "AWS_SESSION_TOKEN"} //nolint:gochecknoglobals // a constant list

// shells are the forms of `berth env`; those that a shell evaluates can also
// be undone.
var shells = []string{"sh", "fish", "powershell", "json", "dotenv", "github", "terraform"} //nolint:gochecknoglobals // a constant list

func newEnv(e *environment) *cobra.Command {
	var shell string
	var unset bool
	cmd := &cobra.Command{
		Use: "env", Short: "Print what points AWS clients to this Berth", Args: arguments(cobra.NoArgs),
		Long: `Print what points AWS clients (the aws CLI, SDKs, Terraform) to the Berth of --data-dir.`,
		Example: `  eval "$(berth env)"
  eval "$(berth env --unset)"
  berth env --shell fish | source
  berth env --shell github >> "$GITHUB_ENV"
  berth env --shell terraform > provider.tf`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(shells, shell) {
				return misuse("--shell %q is not one of %s", shell, strings.Join(shells, ", "))
			}
			var text string
			if unset {
				if text = unsetFor(shell); text == "" {
					return misuse("--unset works with --shell sh, fish and powershell")
				}
			} else {
				c, err := e.localConnection(cmd.Context())
				if err != nil {
					return err
				}
				text = c.exportFor(shell)
			}
			_, err := fmt.Fprint(e.out, text)
			return err
		},
	}
	cmd.Flags().StringVar(&shell, "shell", "sh", strings.Join(shells, ", "))
	cmd.Flags().BoolVar(&unset, "unset", false, "undo it")
	cmd.RegisterFlagCompletionFunc("shell", cobra.FixedCompletions(shells, cobra.ShellCompDirectiveNoFileComp)) //nolint:errcheck,gosec // the flag was made above
	return cmd
}

// exportFor writes the settings as a shell, or a program, takes them.
func (c connection) exportFor(shell string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	switch shell {
	case "fish":
		for _, s := range c.settings() {
			line("set -gx %s %s", s.name, quoteFish(s.value))
		}
		line("set -e %s", strings.Join(inTheWay, " "))
	case "powershell":
		for _, s := range c.settings() {
			line("$Env:%s = '%s'", s.name, strings.ReplaceAll(s.value, "'", "''"))
		}
		line("Remove-Item -ErrorAction SilentlyContinue %s", envPaths(inTheWay))
	case "json":
		// An ordered object, so that two runs are equal byte for byte.
		line("{")
		all := c.settings()
		for i, s := range all {
			comma := ","
			if i == len(all)-1 {
				comma = ""
			}
			value, _ := json.Marshal(s.value) //nolint:errchkjson // a string has a form in JSON
			line("  %q: %s%s", s.name, value, comma)
		}
		line("}")
	case "dotenv", "github":
		for _, s := range c.settings() {
			line("%s=%s", s.name, s.value)
		}
	case "terraform":
		c.terraform(line)
	default:
		for _, s := range c.settings() {
			line("export %s=%s", s.name, quoteSh(s.value))
		}
		line("unset %s", strings.Join(inTheWay, " "))
		line(`# Use it with: eval "$(berth env)"; undo it with: eval "$(berth env --unset)"`)
	}
	return b.String()
}

// terraform writes a provider block that sends only what Berth serves to it.
func (c connection) terraform(line func(string, ...any)) {
	line("provider %q {", "aws")
	line("  region     = %q", c.Region)
	line("  access_key = %q", c.AccessKeyID)
	line("  secret_key = %q", c.SecretAccessKey)
	line("")
	line("  skip_credentials_validation = true")
	line("  skip_metadata_api_check     = true")
	line("")
	line("  endpoints {")
	for _, service := range []string{"acm", "cloudtrail", "ec2", "ecr", "ecs", "elbv2", "iam", "kms", "logs", "secretsmanager", "servicediscovery", "ssm", "sts"} {
		line("    %-16s = %q", service, c.Endpoint)
	}
	line("  }")
	line("}")
}

// unsetFor undoes exportFor; it is empty for what is no shell.
func unsetFor(shell string) string {
	var names []string
	for _, s := range (connection{Authority: "any"}).settings() {
		names = append(names, s.name)
	}
	switch shell {
	case "sh":
		return "unset " + strings.Join(names, " ") + "\n"
	case "fish":
		return "set -e " + strings.Join(names, " ") + "\n"
	case "powershell":
		return "Remove-Item -ErrorAction SilentlyContinue " + envPaths(names) + "\n"
	}
	return ""
}

func envPaths(names []string) string { return "Env:" + strings.Join(names, ",Env:") }

func quoteSh(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func quoteFish(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
