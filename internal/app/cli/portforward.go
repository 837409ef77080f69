package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/datachannel"
)

// forwardFlags are the options of `berth port-forward`.
type forwardFlags struct {
	insideFlags
	host, address string
}

// forwarding is one port of this host that leads to one of the task.
type forwarding struct{ local, remote int32 }

func newPortForward(e *environment) *cobra.Command {
	var f forwardFlags
	cmd := &cobra.Command{
		Use: "port-forward TASK|SERVICE [LOCAL:]REMOTE...", Short: "Forward ports of this host into a task", Args: arguments(cobra.MinimumNArgs(2)),
		Long: `Forward ports of this host to ports of a task, or with --host through a task to another
host, until Ctrl-C. The local port is the same unless one is given; 0 is any that is free.
Of a service, a task is chosen and named. Security groups do not matter: the connection is
made inside the task.

The task must have been started with enableExecuteCommand, see berth exec. It is StartSession
of the AWS API: aws ssm start-session with its plugin does the same, and policies for
ssm:StartSession on ` + model.DocumentPortForward + ` hold.`,
		Example: `  berth port-forward web 8080:80
  berth port-forward 9f3c2a10 3000 9229
  berth port-forward web 0:80
  berth port-forward web 5432 --host db.internal
  berth port-forward web 8080:80 --address 0.0.0.0`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var ports []forwarding
			for _, arg := range args[1:] {
				port, err := parseForwarding(arg)
				if err != nil {
					return err
				}
				ports = append(ports, port)
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
			return f.forward(ctx, e, c, at, ports)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&f.host, "host", "", "host to connect to from the task (default: the task itself)")
	cmd.Flags().StringVar(&f.address, "address", "127.0.0.1", "address of this host to listen at")
	cmd.ValidArgsFunction = e.completeTasksAndServices
	return cmd
}

// parseForwarding reads [LOCAL:]REMOTE.
func parseForwarding(s string) (forwarding, error) {
	local, remote, both := strings.Cut(s, ":")
	if !both {
		remote = local
	}
	to, ok := portNumber(remote)
	from, err := strconv.ParseUint(local, 10, 16)
	if !ok || err != nil {
		return forwarding{}, misuse("%q is not [LOCAL:]REMOTE, such as 8080:80, 80 or 0:80", s)
	}
	return forwarding{int32(from), to}, nil //nolint:gosec // 16 bits
}

// forward listens at all ports before the first session begins, and forwards
// until ctx ends or a session does.
func (f *forwardFlags) forward(ctx context.Context, e *environment, c *clients, at *inside, ports []forwarding) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			l.Close() //nolint:errcheck // it may be closed already
		}
	}()
	for _, port := range ports {
		l, err := net.Listen("tcp", net.JoinHostPort(f.address, strconv.Itoa(int(port.local))))
		if err != nil {
			return fmt.Errorf("%w; choose another port: berth port-forward … 0:%d takes any that is free", err, port.remote)
		}
		listeners = append(listeners, l)
	}
	p := &lockedPrinter{p: newPrinter(e.err)}
	var group sync.WaitGroup
	defer group.Wait()
	for i, port := range ports {
		mux, err := f.open(ctx, c, at, port.remote)
		if err != nil {
			cancel(err)
			return err
		}
		l := listeners[i]
		stop := context.AfterFunc(ctx, func() {
			l.Close()   //nolint:errcheck,gosec // ends accepting
			mux.Close() //nolint:errcheck,gosec // ends forwarding
		})
		defer stop()
		where := strconv.Itoa(int(port.remote))
		if f.host != "" {
			where = net.JoinHostPort(f.host, where)
		}
		if _, err := fmt.Fprintf(e.out, "Forwarding from %s -> %s\n", l.Addr(), where); err != nil {
			cancel(err)
			return err
		}
		group.Go(func() { accept(l, mux, p, where) })
		group.Go(func() { cancel(mux.Wait()) })
	}
	<-ctx.Done()
	return forwardEnd(ctx, at)
}

// forwardEnd says why forwarding has ended: Ctrl-C is no error.
func forwardEnd(ctx context.Context, at *inside) error {
	err := context.Cause(ctx)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	if closed, ok := errors.AsType[*datachannel.ClosedError](err); ok {
		if closed.Text == "" {
			return fmt.Errorf("the session into %s was ended", at)
		}
		return fmt.Errorf("the session into %s has ended: %s", at, closed.Text)
	}
	return fmt.Errorf("the session into %s was cut off: %w", at, err)
}

// open starts the session of one remote port.
func (f *forwardFlags) open(ctx context.Context, c *clients, at *inside, port int32) (*datachannel.Mux, error) {
	document := model.DocumentPortForward
	parameters := map[string][]string{"portNumber": {strconv.Itoa(int(port))}}
	if f.host != "" {
		document, parameters["host"] = model.DocumentPortForwardRemote, []string{f.host}
	}
	s, err := at.start(ctx, c, document, parameters, true)
	if err != nil {
		return nil, err
	}
	mux, err := s.Mux()
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return mux, nil
}

// accept forwards every connection until the listener ends, and waits for
// those that are open. A connection that the far end refuses is told, and ends
// alone.
func accept(l net.Listener, mux *datachannel.Mux, p *lockedPrinter, where string) {
	var group sync.WaitGroup
	defer group.Wait()
	for {
		local, err := l.Accept()
		if err != nil {
			return
		}
		remote, err := mux.Open()
		if err != nil {
			local.Close() //nolint:errcheck // the session is over, which is told elsewhere
			return
		}
		group.Go(func() {
			if err := splice(local, remote); err != nil {
				p.failed("%s: %v", where, err)
			}
		})
	}
}

// halfCloser is a connection whose halves end one by one.
type halfCloser interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// splice copies both ways until both halves have ended. Its error is that the
// far end refused the connection.
func splice(local net.Conn, remote *datachannel.Conn) error {
	defer local.Close()  //nolint:errcheck // both halves have ended
	defer remote.Close() //nolint:errcheck // as above
	var sending sync.WaitGroup
	sending.Go(func() {
		if _, err := io.Copy(remote, onlyReader{local}); err == nil {
			remote.CloseWrite() //nolint:errcheck,gosec // the other half notices
		}
	})
	_, err := io.Copy(onlyWriter{local}, onlyReader{remote})
	half, ok := local.(halfCloser)
	if err == nil && ok && half.CloseWrite() == nil {
		sending.Wait() // what is still being sent may be what the far end waits for
		return nil
	}
	local.Close() //nolint:errcheck,gosec // ends sending
	sending.Wait()
	if refused, ok := errors.AsType[*datachannel.RefusedError](err); ok {
		return refused
	}
	return nil
}

// lockedPrinter lets connections speak one at a time.
type lockedPrinter struct {
	mu sync.Mutex
	p  *printer
}

func (l *lockedPrinter) failed(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.p.failed(format, args...)
}
