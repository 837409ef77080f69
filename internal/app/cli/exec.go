package cli

import (
	"errors"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"berth.dev/berth/internal/model"
)

// defaultShell is what runs when no command is typed.
const defaultShell = "/bin/sh"

// exitNotFound is what shells and runtimes end with when a program is not
// there.
const exitNotFound = 127

func newExec(e *environment) *cobra.Command {
	var f insideFlags
	var choice terminalChoice
	cmd := &cobra.Command{
		Use: "exec TASK|SERVICE [-- COMMAND [ARGUMENT...]]", Short: "Run a command in a running container", Args: arguments(cobra.MinimumNArgs(1)),
		Long: `Run a command in a container of a running task, /bin/sh unless one is given. Of a service,
a task is chosen and named.

With a terminal on both sides the program gets one, too, with its size and all keys: Ctrl-C
is the program's. Without one, or with -T, its bytes pass as they are, standard error apart,
and the end of input is passed on. The exit code is the program's.

The task must have been started with enableExecuteCommand, as berth run IMAGE does; of a
service, berth deploy SERVICE --enable-execute-command sees to it. It is ExecuteCommand of
the AWS API: the aws CLI with its session-manager-plugin does the same, and policies for
ecs:ExecuteCommand hold.`,
		Example: `  berth exec web
  berth exec 9f3c2a10 -c app -- ls -l /
  berth exec web -- sh -c 'env | sort'
  berth exec db -T -- pg_dump app > app.sql
  berth exec db -- psql app < fix.sql`,
		RunE: func(cmd *cobra.Command, args []string) error {
			terminal, err := choice.wanted(e)
			if err != nil {
				return err
			}
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			ctx, p := cmd.Context(), newPrinter(e.err)
			at, err := f.find(ctx, c, p, args[0])
			if err != nil {
				return err
			}
			words := args[1:]
			if len(words) == 0 {
				words = []string{defaultShell}
			}
			s, err := at.execute(ctx, c, commandLine(words), terminal)
			if err != nil {
				return err
			}
			err = e.converse(ctx, s, terminal)
			if isShell(words[0]) && isWithoutShell(err) {
				p.say("The image of %s seems to have no %s. Look into it with another image's tools:", at, words[0])
				p.hint("berth debug %s --image busybox%s", args[0], e.dataDirHint())
			}
			return err
		},
	}
	f.register(cmd)
	choice.register(cmd)
	dashFirst(cmd)
	cmd.ValidArgsFunction = e.completeTasksAndServices
	return cmd
}

// isShell tells whether somebody wants to look around.
func isShell(program string) bool {
	return slices.Contains([]string{"sh", "ash", "bash"}, path.Base(program))
}

// isWithoutShell tells from how a session ended that there was no shell: it did
// not start, or another shell said so.
func isWithoutShell(err error) bool {
	if end, ok := errors.AsType[*exited](err); ok {
		return end.code == exitNotFound
	}
	return err != nil && (isMissing(err) || strings.Contains(err.Error(), "executable file not found"))
}

func (t *terminalChoice) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVarP(&t.interactive, "interactive", "i", false, "pass input on; it is, so this is only for fingers that know docker")
	flags.BoolVarP(&t.terminal, "tty", "t", false, "give the program a terminal (default: when there is one)")
	flags.BoolVarP(&t.none, "no-tty", "T", false, "give the program no terminal")
}

func newDebug(e *environment) *cobra.Command {
	var f insideFlags
	var choice terminalChoice
	var image string
	cmd := &cobra.Command{
		Use: "debug TASK|SERVICE --image IMAGE [-- COMMAND [ARGUMENT...]]", Short: "Look into a container with the tools of another image", Args: arguments(cobra.MinimumNArgs(1)),
		Long: `Run a program of another image beside a container, in its namespaces: it sees the
container's processes, its network, and its files below /proc/1/root. So an image without a
shell can be looked into as well. The container goes on as it is; the tools are gone
when the program ends.

Without a command the image's own is run. As for berth exec, the task must have been started
with enableExecuteCommand; policies for ssm:StartSession on the document
` + model.DocumentDebug + ` hold.`,
		Example: `  berth debug web --image busybox
  berth debug 9f3c2a10 -c app --image nicolaka/netshoot -- tcpdump -i eth0 -n
  berth debug web --image busybox -- ls -l /proc/1/root/`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if image == "" {
				return misuse("which image has the tools? Name it: berth debug %s --image busybox", args[0])
			}
			terminal, err := choice.wanted(e)
			if err != nil {
				return err
			}
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			at, err := f.find(ctx, c, newPrinter(e.err), args[0])
			if err != nil {
				return err
			}
			parameters := map[string][]string{"image": {image}}
			if words := args[1:]; len(words) > 0 {
				parameters["command"] = words
			}
			s, err := at.start(ctx, c, model.DocumentDebug, parameters, terminal)
			if err != nil {
				return err
			}
			return e.converse(ctx, s, terminal)
		},
	}
	cmd.Flags().StringVar(&image, "image", "", "image that has the tools")
	f.register(cmd)
	choice.register(cmd)
	dashFirst(cmd)
	cmd.ValidArgsFunction = e.completeTasksAndServices
	return cmd
}

// dashFirst tells who typed a program's flag as ours how to write it.
func dashFirst(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return misuse("%w; flags of the command come after --: berth %s TASK -- COMMAND -FLAG", err, cmd.Name())
	})
}

// plainWord needs no quotes.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// commandLine joins words so that they are split into the same again:
// ExecuteCommand takes one string.
func commandLine(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		if plainWord.MatchString(w) {
			quoted[i] = w
		} else {
			quoted[i] = quoteSh(w)
		}
	}
	return strings.Join(quoted, " ")
}
