package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"berth.dev/berth/internal/app/instance"
)

// Exit codes.
const (
	exitOK         = 0
	exitFailed     = 1
	exitMisuse     = 2
	exitUndeployed = 3 // a deployment failed, and was rolled back where it could be
	exitTimed      = 4
)

// environment is what a command may touch of the outside world.
type environment struct {
	in       io.Reader
	out, err io.Writer

	dataDir string
	output  string // table or json
	verbose bool   // print calls that change something
}

// failure is an error with an exit code of its own.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// Main runs one command and returns its exit code.
func Main(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	e := &environment{in: in, out: out, err: errOut}
	root := newRoot(e)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if end, ok := errors.AsType[*exited](err); ok {
		return end.code
	}
	fmt.Fprintf(errOut, "berth: %v\n", err)
	if f, ok := errors.AsType[*failure](err); ok {
		return f.code
	}
	if strings.HasPrefix(err.Error(), "unknown command") { // cobra's own, without a type
		return exitMisuse
	}
	return exitFailed
}

func newRoot(e *environment) *cobra.Command {
	root := &cobra.Command{
		Use:   "berth",
		Short: "Amazon ECS that you run yourself",
		Long: `Berth is Amazon ECS that you run yourself. It speaks the AWS APIs, so the aws CLI,
the SDKs and Terraform drive it unmodified, and it runs real containers behind them.

  berth up                 start a whole Berth on this machine
  eval "$(berth env)"      point AWS clients of this shell to it
  berth run -f app.json    register a task definition, run it, follow it to RUNNING
  berth deploy -f svc.json a service that keeps running: created, or updated and followed
  berth services           services, where they answer and how their deployments are
  berth ps                 what runs
  berth why TASK|SERVICE   why a task or a service is as it is`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return &failure{exitMisuse, fmt.Errorf("%w; see --help", err)}
	})
	root.PersistentFlags().StringVar(&e.dataDir, "data-dir", defaultDataDir(), "where this Berth keeps everything (BERTH_DATA_DIR)")
	root.AddCommand(newUp(e), newDown(e), newServer(e), newAgent(e), newVersion(e))
	root.AddCommand(userCommands(e)...)
	return root
}

// defaultDataDir is the environment's choice, else the place that packages use.
func defaultDataDir() string {
	if dir := os.Getenv("BERTH_DATA_DIR"); dir != "" {
		return dir
	}
	return "/var/lib/berth"
}

// instance opens the instance of --data-dir for a command that runs a role.
func (e *environment) instance() (instance.Instance, error) {
	if os.Geteuid() != 0 {
		return instance.Instance{}, errors.New("containers and networks need root: run it with sudo")
	}
	return instance.Open(e.dataDir)
}

// existing finds the instance of --data-dir for a command that uses one.
func (e *environment) existing() (instance.Instance, error) {
	i, err := instance.Existing(e.dataDir)
	if errors.Is(err, os.ErrNotExist) {
		return i, fmt.Errorf("there is no Berth in %s: start one with `berth up`, or name another with --data-dir", e.dataDir)
	}
	if errors.Is(err, os.ErrPermission) {
		return i, fmt.Errorf("%s may not be read by this user: run it with sudo, or name another with --data-dir", e.dataDir)
	}
	return i, err
}

// Version is what `berth version` and agents say; the Makefile sets it.
var version = "devel" //nolint:gochecknoglobals // set by the linker

func buildVersion() string {
	if version != "devel" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "devel-" + s.Value[:12]
			}
		}
	}
	return version
}

func newVersion(e *environment) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(e.out, "berth "+buildVersion())
			return err
		},
	}
}

// logger writes one line of key=value pairs for each thing that a role says.
func logger(w io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, &failure{exitMisuse, fmt.Errorf("--log-level %q is not debug, info, warn or error", level)}
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l})), nil
}
