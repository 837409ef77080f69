package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/base/telemetry"
)

// Port is where a task finds the AWS API; see the package for the choice.
const Port = 51680

const (
	// maxConnections is what a task may have at once, as the control plane has it too. An SDK's pool has 10 to
	// 50 per client; each costs two goroutines and their buffers.
	maxConnections = 128
	bufferBytes    = 16 << 10
	// keepAlive finds clients that are gone without a word, as a container that
	// was killed with its namespace still open is.
	keepAlive = 30 * time.Second
	// farewell is how long a client may take to end a connection that the API
	// has ended.
	farewell = 5 * time.Second
)

// Conn is a connection to the AWS API.
type Conn interface {
	io.ReadWriteCloser
	// CloseWrite says that nothing more will be written.
	CloseWrite() error
}

// Config is what a Server needs.
type Config struct {
	// Dial connects a task to the AWS API, or fails at once when there is none.
	Dial func(ctx context.Context, taskID string) (Conn, error)
	Log  *slog.Logger
}

// Server answers for all tasks of a node, each on its own socket.
type Server struct{ cfg Config }

// New returns a Server.
func New(cfg Config) *Server { return &Server{cfg} }

// URL is what a task that reaches the address a finds in AWS_ENDPOINT_URL.
func URL(a netip.Addr) string { return "http://" + netip.AddrPortFrom(a, Port).String() }

// Endpoint is a socket that is open, and Run, which serves it.
type Endpoint struct {
	server   *Server
	listener net.Listener
	taskOf   func(net.Conn) (string, error)
}

// Open opens the socket of a task in a network namespace. From then on
// connections wait in it, so containers may start. The caller must call Run,
// which closes it, or Close.
func (s *Server) Open(ctx context.Context, netnsPath, taskID string) (*Endpoint, error) {
	return s.open(ctx, netnsPath, netip.MustParseAddr(network.MetadataAddress), func(net.Conn) (string, error) { return taskID, nil })
}

// OpenHost opens the socket of all tasks in network mode host, at an address
// of the host. They have no namespace that tells them apart, and whoever else
// is on the host may connect too: taskOf says which task a connection is from,
// and those of none are reset.
func (s *Server) OpenHost(ctx context.Context, address netip.Addr, taskOf func(net.Conn) (string, error)) (*Endpoint, error) {
	return s.open(ctx, "", address, taskOf)
}

func (s *Server) open(ctx context.Context, netnsPath string, address netip.Addr, taskOf func(net.Conn) (string, error)) (*Endpoint, error) {
	listener, err := network.ListenTCP(ctx, netnsPath, netip.AddrPortFrom(address, Port).String())
	if err != nil {
		return nil, fmt.Errorf("open the AWS API's endpoint: %w", err)
	}
	return &Endpoint{server: s, listener: listener, taskOf: taskOf}, nil
}

// Close closes the socket of an Endpoint that is not running.
func (e *Endpoint) Close() { e.listener.Close() } //nolint:errcheck,gosec // nobody is connected

// Run serves until ctx ends, then ends all connections, because they hold the
// namespace, and returns ctx's error.
func (e *Endpoint) Run(ctx context.Context) error {
	defer e.Close()
	var group sync.WaitGroup
	defer group.Wait()
	// The socket closes after this context has ended, not beside it: whoever
	// finds it closed must also find out why.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, e.Close)()
	slots := make(chan struct{}, maxConnections)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		conn, err := e.listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("serve the AWS API's endpoint: %w", err)
		}
		group.Go(func() {
			defer func() { <-slots }()
			e.serve(ctx, conn)
		})
	}
}

// serve carries one connection.
func (e *Endpoint) serve(ctx context.Context, local net.Conn) {
	defer local.Close() //nolint:errcheck // both sides have said all
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { local.Close() })() //nolint:errcheck // as above
	if tcp, ok := local.(*net.TCPConn); ok {
		tcp.SetKeepAlivePeriod(keepAlive) //nolint:errcheck,gosec // a refinement
	}
	taskID, err := e.taskOf(local)
	var remote Conn
	if err == nil {
		remote, err = e.server.cfg.Dial(ctx, taskID)
	}
	if err != nil {
		e.server.cfg.Log.DebugContext(ctx, "a task's connection to the AWS API was not made", telemetry.TaskID, taskID, telemetry.Error, err)
		reset(local)
		return
	}
	defer remote.Close()                                      //nolint:errcheck // as above
	defer context.AfterFunc(ctx, func() { remote.Close() })() //nolint:errcheck // as above
	var group sync.WaitGroup
	group.Go(func() {
		// The control plane hears of the task's end of writing, and goes on answering.
		_, err := io.CopyBuffer(onlyWriter{remote}, onlyReader{local}, make([]byte, bufferBytes))
		if err == nil {
			err = remote.CloseWrite()
		}
		if err != nil && !errors.Is(err, io.EOF) { // io.EOF: the other direction knows why
			cancel()
		}
	})
	_, err = io.CopyBuffer(onlyWriter{local}, onlyReader{remote}, make([]byte, bufferBytes))
	if err != nil {
		// Cut off: the task must not take what it has for the whole answer.
		reset(local)
		cancel()
	} else {
		// The API ends both directions at once. The client gets to read what it
		// was sent: closing at once would take that from it.
		if half, ok := local.(interface{ CloseWrite() error }); ok {
			half.CloseWrite() //nolint:errcheck,gosec // a client that is gone needs no farewell
		}
		local.SetReadDeadline(time.Now().Add(farewell)) //nolint:errcheck,gosec // of a connection that is open
	}
	group.Wait()
}

// reset ends a connection so that its client sees an error.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0) //nolint:errcheck,gosec // closing it is what counts
	}
	conn.Close() //nolint:errcheck,gosec // as above
}

// onlyReader and onlyWriter hide the shortcuts by which io.Copy would leave
// the buffer, and its bound, aside.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)
