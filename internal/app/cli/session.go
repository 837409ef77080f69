package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"berth.dev/berth/internal/wire/datachannel"
)

// exited is the end of somebody else's program, whose exit code is ours, too.
// The program has said what there is to say.
type exited struct{ code int }

func (x *exited) Error() string { return fmt.Sprintf("exit code %d", x.code) }

// withoutTerminal asks the data channel for the program's bytes as they are:
// no terminal is between, and standard error stays apart.
const withoutTerminal = "&tty=0"

// start opens a session with a document.
func (i *inside) start(ctx context.Context, c *clients, document string, parameters map[string][]string, terminal bool) (*datachannel.Session, error) {
	out, err := c.ssm.StartSession(ctx, &ssm.StartSessionInput{
		Target: aws.String(i.target()), DocumentName: &document, Parameters: parameters,
	})
	if err != nil {
		return nil, i.explainSession(err)
	}
	return c.connectSession(ctx, aws.ToString(out.StreamUrl), aws.ToString(out.TokenValue), terminal)
}

// execute opens a session with a command.
func (i *inside) execute(ctx context.Context, c *clients, command string, terminal bool) (*datachannel.Session, error) {
	out, err := c.ecs.ExecuteCommand(ctx, &ecs.ExecuteCommandInput{
		Cluster: &i.cluster, Task: i.task.TaskArn, Container: i.container.Name, Command: &command, Interactive: true,
	})
	if err != nil {
		return nil, i.explainSession(err)
	}
	if out.Session == nil {
		return nil, errors.New("the server answered without a session")
	}
	return c.connectSession(ctx, aws.ToString(out.Session.StreamUrl), aws.ToString(out.Session.TokenValue), terminal)
}

func (c *clients) connectSession(ctx context.Context, url, token string, terminal bool) (*datachannel.Session, error) {
	if !terminal {
		url += withoutTerminal
	}
	return datachannel.Connect(ctx, datachannel.ClientConfig{URL: url, Token: token, HTTPClient: c.http})
}

// terminalChoice is how -i, -t and -T are meant.
type terminalChoice struct{ interactive, terminal, none bool }

// wanted tells whether the program gets a terminal: when it is asked for, else
// when input and output are one.
func (t terminalChoice) wanted(e *environment) (bool, error) {
	has := isTerminalReader(e.in) && isTerminal(e.out)
	switch {
	case t.terminal && t.none:
		return false, misuse("-t and -T exclude each other")
	case t.terminal && !isTerminalReader(e.in):
		return false, misuse("-t wants a terminal, and standard input is none; leave it out, or write -T")
	case t.none:
		return false, nil
	}
	return t.terminal || has, nil
}

func isTerminalReader(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// converse joins the command's input and output to a session's program until
// it ends, and returns how: *exited unless its exit code is 0.
func (e *environment) converse(ctx context.Context, s *datachannel.Session, terminal bool) error {
	// When this process is to end, so is the session: the far end stops what
	// runs, and receiving ends.
	stop := context.AfterFunc(ctx, func() { s.Close() }) //nolint:errcheck // it never fails
	defer stop()
	defer s.Close() //nolint:errcheck // it never fails
	if terminal {
		restore, err := e.rawTerminal(s)
		if err != nil {
			return err
		}
		defer restore()
	}
	go e.passInput(s)
	return e.receive(ctx, s)
}

// passInput sends input until it ends. It may outlive the session: nobody can
// take a read from a terminal back.
func (e *environment) passInput(s *datachannel.Session) {
	if _, err := io.CopyBuffer(onlyWriter{s}, onlyReader{e.in}, make([]byte, 32<<10)); err == nil {
		s.CloseInput() //nolint:errcheck,gosec // receiving tells what is wrong with the session
	}
}

// onlyReader and onlyWriter hide what else io.Copy might use.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)

// receive writes what the program says.
func (e *environment) receive(ctx context.Context, s *datachannel.Session) error {
	var code *int
	for {
		event, err := s.Recv()
		if err != nil {
			return sessionEnd(ctx, code, err)
		}
		switch {
		case event.ExitCode != nil:
			code = event.ExitCode
		case event.Error != nil:
			_, err = e.err.Write(event.Error)
		case event.Output != nil:
			_, err = e.out.Write(event.Output)
		}
		if err != nil {
			return fmt.Errorf("writing what the program says: %w", err)
		}
	}
}

// sessionEnd says how a session ended after err.
func sessionEnd(ctx context.Context, code *int, err error) error {
	closed, told := errors.AsType[*datachannel.ClosedError](err)
	switch {
	case code != nil && *code == 0:
		return nil
	case code != nil:
		return &exited{*code}
	case ctx.Err() != nil:
		return &exited{128 + int(syscall.SIGINT)}
	case told && closed.Text != "":
		return fmt.Errorf("the session has ended: %s", closed.Text)
	case told:
		return nil
	}
	return fmt.Errorf("the session was cut off: %w", err)
}

// rawTerminal passes every key to the program, and the terminal's size
// whenever it changes, until restore is called.
func (e *environment) rawTerminal(s *datachannel.Session) (restore func(), err error) {
	file, ok := e.in.(*os.File)
	if !ok {
		return nil, errors.New("standard input is no terminal")
	}
	fd := int(file.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("preparing the terminal: %w", err)
	}
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGWINCH)
	changed <- unix.SIGWINCH // the size that it has now
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-changed:
				if width, height, err := term.GetSize(fd); err == nil {
					s.Resize(uint16(height), uint16(width)) //nolint:errcheck,gosec // 16 bits hold it; receiving tells what is wrong
				}
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(changed)
		close(done)
		term.Restore(fd, before) //nolint:errcheck,gosec // nothing is left to do
	}, nil
}
