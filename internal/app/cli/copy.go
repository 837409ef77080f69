package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/datachannel"
)

// copyFlags are the options of `berth cp`.
type copyFlags struct {
	insideFlags
	follow, quiet bool
}

func newCopy(e *environment) *cobra.Command {
	var f copyFlags
	cmd := &cobra.Command{
		Use: "cp TASK|SERVICE:PATH PATH|-  or  cp PATH|- TASK|SERVICE:PATH", Short: "Copy files out of a container, or into it", Args: arguments(cobra.ExactArgs(2)),
		Long: `Copy a file or a directory out of a container, or into it, as docker cp does: into a
directory that is there it is copied as a member, to a name that is not there it gets that
name, and the contents of a directory are SRC/. alone. With - a tar archive is written to
standard output, or read from standard input and extracted into the directory of the
container.

Modes and times are kept, owners inside the container are root. Links are copied as links.
Nothing is ever written outside of the place that was named, whatever the names and links of
an archive say.

The image needs neither tar nor a shell. The task must have been started with
enableExecuteCommand, see berth exec; policies for ssm:StartSession on the documents
` + model.DocumentRead + ` and ` + model.DocumentWrite + ` hold.`,
		Example: `  berth cp web:/etc/nginx/nginx.conf .
  berth cp 9f3c2a10:/var/log ./logs
  berth cp ./public/. web:/usr/share/nginx/html
  berth cp -c app web:/data - | tar tv`,
		RunE: func(cmd *cobra.Command, args []string) error {
			from, into := parseEndpoint(args[0]), parseEndpoint(args[1])
			switch {
			case from.task == "" && into.task == "":
				return misuse("neither %q nor %q is in a task: write TASK:PATH or SERVICE:PATH", args[0], args[1])
			case from.task != "" && into.task != "":
				return misuse("one of both must be on this host; between tasks: berth cp %s - | berth cp - %s", args[0], args[1])
			}
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			ctx, p := cmd.Context(), newPrinter(e.err)
			at, err := f.find(ctx, c, p, from.task+into.task)
			if err != nil {
				return err
			}
			if from.task != "" {
				return f.out(ctx, e, c, p, at, from.path, into.path)
			}
			return f.in(ctx, e, c, p, at, from.path, into.path)
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVarP(&f.follow, "follow-link", "L", false, "when SRC is a link of this host, copy what it points to")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "do not say how far it is")
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return cmd
}

// endpoint is one side of a copy; without a task it is on this host.
type endpoint struct{ task, path string }

// parseEndpoint reads TASK:PATH. What begins with . or / is a path of this
// host, colons and all, as for docker cp; an ARN has colons of its own.
func parseEndpoint(s string) endpoint {
	if s == "-" || strings.HasPrefix(s, ".") || strings.HasPrefix(s, "/") {
		return endpoint{"", s}
	}
	from := 0
	if strings.HasPrefix(s, "arn:") {
		if from = strings.IndexByte(s, '/'); from < 0 {
			return endpoint{"", s}
		}
	}
	i := strings.IndexByte(s[from:], ':')
	if i < 0 {
		return endpoint{"", s}
	}
	return endpoint{s[:from+i], s[from+i+1:]}
}

// inContainer makes a path of a container absolute, as docker cp does, and
// tells whether it means the contents of a directory.
func inContainer(typed string) (clean string, contents bool) {
	return path.Clean("/" + typed), typed == "." || strings.HasSuffix(typed, "/.")
}

// stream opens the session of a document that reads or writes a path.
func (i *inside) stream(ctx context.Context, c *clients, document, at string) (*datachannel.Stream, func(), error) {
	s, err := i.start(ctx, c, document, map[string][]string{"path": {at}}, false)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { s.Close() }) //nolint:errcheck // it never fails
	return s.Stream(), func() {
		stop()
		s.Close() //nolint:errcheck,gosec // it never fails
	}, nil
}

// out copies from the container to this host.
func (f *copyFlags) out(ctx context.Context, e *environment, c *clients, p *printer, at *inside, from, into string) error {
	source, contents := inContainer(from)
	stream, end, err := at.stream(ctx, c, model.DocumentRead, source)
	if err != nil {
		return err
	}
	defer end()
	if into == "-" {
		if isTerminal(e.out) {
			return misuse("a tar archive is nothing for a terminal: write it to a file or to tar")
		}
		_, err := io.Copy(onlyWriter{e.out}, stream)
		return copyEnd(ctx, at, source, errors.Join(stream.Wait(), err))
	}
	x := &extraction{contents: contents, told: f.teller(p, at.String()+":"+source)}
	err = x.to(stream, into)
	p.clear()
	if err != nil {
		if wait := finished(stream); wait != nil {
			err = wait // the far end knows better what went wrong
		}
		return copyEnd(ctx, at, source, err)
	}
	if err := stream.Wait(); err != nil {
		return copyEnd(ctx, at, source, err)
	}
	f.say(p, "%s:%s → %s  %s, %s", at, source, into, files(x.count), megabytes(x.bytes))
	return nil
}

// finished is how the far end ended when it ended badly, and said so.
func finished(stream *datachannel.Stream) error {
	err := stream.Wait()
	if _, closed := errors.AsType[*datachannel.ClosedError](err); closed {
		return nil
	}
	return err
}

func (f *copyFlags) teller(p *printer, what string) func(int64) {
	if f.quiet {
		return nil
	}
	return func(n int64) { p.live(" … %s  %s", what, megabytes(n)) }
}

func (f *copyFlags) say(p *printer, format string, args ...any) {
	if !f.quiet {
		p.done(format, args...)
	}
}

func files(n int) string {
	if n == 1 {
		return "1 file"
	}
	return fmt.Sprintf("%d files", n)
}

// copyEnd names the place that an error is about.
func copyEnd(ctx context.Context, at *inside, where string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return &exited{128 + 2} // of SIGINT
	}
	return fmt.Errorf("copying %s of %s: %w", where, at, err)
}

// in copies from this host into the container.
func (f *copyFlags) in(ctx context.Context, e *environment, c *clients, p *printer, at *inside, from, into string) error {
	target, _ := inContainer(into)
	if from == "-" {
		if isTerminalReader(e.in) {
			return misuse("a tar archive is nothing to type: pipe one in")
		}
		return f.send(ctx, c, at, target, func(w io.Writer) error {
			_, err := io.Copy(w, onlyReader{e.in})
			return err
		})
	}
	source := from
	if f.follow {
		var err error
		if source, err = filepath.EvalSymlinks(from); err != nil {
			return err
		}
	}
	info, err := os.Lstat(source)
	if err != nil {
		return err
	}
	dir, name, err := f.destinationIn(ctx, c, at, info, from, into, target)
	if err != nil {
		return err
	}
	pack := &packing{told: f.teller(p, from)}
	err = f.send(ctx, c, at, dir, func(w io.Writer) error { return pack.from(w, source, name) })
	p.clear()
	if err == nil {
		f.say(p, "%s → %s:%s  %s, %s", from, at, path.Join(dir, name), files(pack.count), megabytes(pack.bytes))
	}
	return err
}

// destinationIn finds the directory of the container that is extracted into,
// and the name that the source gets there; empty is the contents of a
// directory alone. These are docker cp's rules.
func (f *copyFlags) destinationIn(ctx context.Context, c *clients, at *inside, info os.FileInfo, from, into, target string) (dir, name string, err error) {
	_, contents := inContainer(from)
	kind, err := at.kindOf(ctx, c, target)
	if err != nil {
		return "", "", err
	}
	base := filepath.Base(filepath.Clean(from))
	if base == "." || base == ".." || base == string(filepath.Separator) {
		contents = true
	}
	switch {
	case kind == kindFile && info.IsDir():
		return "", "", fmt.Errorf("%s is a file of %s; a directory cannot be copied over it", target, at)
	case kind == kindFile && strings.HasSuffix(into, "/"):
		return "", "", fmt.Errorf("%s is a file of %s, not a directory", target, at)
	case kind == kindDirectory && info.IsDir() && contents:
		return target, "", nil
	case kind == kindDirectory:
		return target, base, nil
	case kind == kindNone && !info.IsDir() && strings.HasSuffix(into, "/"):
		return "", "", fmt.Errorf("%s has no directory %s", at, target)
	}
	return path.Dir(target), path.Base(target), nil
}

// send packs into the container's directory.
func (f *copyFlags) send(ctx context.Context, c *clients, at *inside, dir string, pack func(io.Writer) error) error {
	stream, end, err := at.stream(ctx, c, model.DocumentWrite, dir)
	if err != nil {
		return err
	}
	defer end()
	err = pack(stream)
	if err == nil {
		err = stream.CloseWrite()
	}
	if err != nil {
		if wait := finished(stream); wait != nil {
			err = wait
		}
		return copyEnd(ctx, at, dir, err)
	}
	return copyEnd(ctx, at, dir, stream.Wait())
}
