package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
)

// userCommands are the verbs that talk to a running Berth, and those that look
// at this host.
func userCommands(e *environment) []*cobra.Command {
	return []*cobra.Command{
		newEnv(e), newPS(e), newRun(e), newStop(e), newLogs(e), newWhy(e), newImage(e), newDoctor(e),
		newServices(e), newDeploy(e), newRollback(e), newScale(e), newRestart(e), newEvents(e), newOpen(e), newTop(e),
		newRoles(e), newSecrets(e), newAudit(e), newToken(e),
		newExec(e), newPortForward(e), newCopy(e), newDebug(e), newPush(e), newImages(e), newLogin(e), newCompose(e),
	}
}

// Forms of output.
const (
	formTable = "table"
	formJSON  = "json"
)

// outputFlag adds -o to a command and checks what it gets before the command
// runs.
func outputFlag(e *environment, cmd *cobra.Command) {
	cmd.Flags().StringVarP(&e.output, "output", "o", formTable, "table or json")
	cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{formTable, formJSON}, cobra.ShellCompDirectiveNoFileComp)) //nolint:errcheck,gosec // the flag was made in the line above
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if e.output != formTable && e.output != formJSON {
			return misuse("--output %q is not table or json", e.output)
		}
		return nil
	}
}

// clusterFlag adds --cluster, with the environment variable that other ECS
// tools read too.
func clusterFlag(cmd *cobra.Command, cluster *string) {
	cmd.Flags().StringVar(cluster, "cluster", env("ECS_CLUSTER", "default"), "cluster, by name or ARN (ECS_CLUSTER)")
}

// misuse is an error of whoever typed the command.
func misuse(format string, args ...any) error {
	return &failure{exitMisuse, fmt.Errorf(format, args...)}
}

// arguments makes a wrong number of arguments a misuse that shows the usage.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return misuse("%w; usage: %s", err, cmd.UseLine())
		}
		return nil
	}
}

// writeJSON writes one indented document to standard output.
func (e *environment) writeJSON(v any) error {
	encoder := json.NewEncoder(e.out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
