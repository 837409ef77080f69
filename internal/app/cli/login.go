package cli

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"
)

func newLogin(e *environment) *cobra.Command {
	var only bool
	cmd := &cobra.Command{
		Use: "login", Short: "Log Docker in to Berth's registry", Args: arguments(cobra.NoArgs),
		Long: `Log the docker command in to Berth's registry, at the address of the API, so that docker
push and docker pull work with it: docker push HOST/my-app:latest is the image that task
definitions call ACCOUNT.dkr.ecr.REGION.amazonaws.com/my-app:latest.

Without docker, or with --print, the command is printed, in which aws, crane, skopeo or
nerdctl can take its place. berth push needs no login.`,
		Example: `  berth login && docker push 127.0.0.1:8577/my-app:latest
  berth login --print`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			r, err := c.registry(ctx)
			if err != nil {
				return err
			}
			program, missing := exec.LookPath("docker")
			if only || missing != nil {
				_, err := fmt.Fprintf(e.out, "aws ecr get-login-password | docker login --username %s --password-stdin %s\n", r.login.Username, r.host)
				return err
			}
			login := exec.CommandContext(ctx, program, "login", "--username", r.login.Username, "--password-stdin", r.host)
			login.Stdin = strings.NewReader(r.login.Password)
			said, err := login.CombinedOutput()
			if err != nil {
				return loginFailure(r, string(said), err)
			}
			p := newPrinter(e.err)
			p.done("docker is logged in to %s", r.host)
			p.hint("docker tag my-app %[1]s/my-app && docker push %[1]s/my-app", r.host)
			return nil
		},
	}
	cmd.Flags().BoolVar(&only, "print", false, "print the command and do nothing")
	return cmd
}

// loginFailure says what to do about a docker that does not get in.
func loginFailure(r *registry, said string, err error) error {
	said = strings.TrimSpace(said)
	if ended, ok := errors.AsType[*exec.ExitError](err); !ok || ended == nil {
		return fmt.Errorf("docker login: %w", err)
	}
	switch {
	case strings.Contains(said, "HTTP response to HTTPS client"):
		said += fmt.Sprintf("\n(the registry is served without TLS, which Docker accepts of 127.0.0.0/8 alone: add %q to insecure-registries of /etc/docker/daemon.json, or start Berth with --tls)", r.host)
	case strings.Contains(said, "certificate"):
		said += fmt.Sprintf("\n(put the authority that `berth env` names as AWS_CA_BUNDLE into /etc/docker/certs.d/%s/ca.crt)", r.host)
	}
	return fmt.Errorf("docker login: %s", said)
}
