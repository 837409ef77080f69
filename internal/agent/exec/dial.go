package exec

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

const (
	// dialWithin is how long a connection may take to be made, its name's
	// resolution included.
	dialWithin = 10 * time.Second
	// keepAlive finds peers that are gone without a word.
	keepAlive = 30 * time.Second
)

// dial connects from a container's network namespace, which in network mode
// host is the host's.
func (s *Server) dial(ctx context.Context, t target, request model.StreamRequest) (work, error) {
	if request.Port == 0 {
		return nil, refuse("there is no port")
	}
	files, err := s.pin(ctx, t.id, "ns/net", "root")
	if err != nil {
		return nil, err
	}
	defer closeAll(files)
	from := space{path: fdPath(files[0]), root: rootfs{files[1]}}
	limited, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	conn, err := from.dial(limited, request.Host, request.Port)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, l *line) *nodeapi.StreamExit {
		// A connection to elsewhere does not notice that its container ends, and
		// would keep its namespace.
		ctx, cancel := s.withContainer(ctx, t)
		defer cancel()
		return join(ctx, l, conn)
	}, nil
}

// fdPath names an open file for whoever opens by name; it is good for as long
// as the file is open.
func fdPath(f *os.File) string {
	return "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(int(f.Fd())) //nolint:gosec // a small number
}

// space is a network namespace, with the files by which its programs resolve
// names.
type space struct {
	path string
	root rootfs
}

// dial connects to the first address of a host that answers. No host is the
// loopback.
func (s space) dial(ctx context.Context, host string, port uint16) (net.Conn, error) {
	addresses, err := s.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	var refused error
	for _, a := range addresses {
		to := netip.AddrPortFrom(a, port)
		conn, err := s.connect(ctx, "tcp", to)
		if err == nil {
			return conn, nil
		}
		if refused == nil {
			refused = refuse("cannot connect to %s: %s", to, reason(ctx, err))
		}
	}
	return nil, refused
}

// connect makes a socket of the namespace. to is an address, so nothing is
// looked up, and all of it happens on the thread that is in the namespace.
func (s space) connect(ctx context.Context, protocol string, to netip.AddrPort) (net.Conn, error) {
	var conn net.Conn
	err := network.In(s.path, func() (err error) {
		dialer := net.Dialer{KeepAlive: keepAlive}
		conn, err = dialer.DialContext(ctx, protocol, to.String())
		return err
	})
	return conn, err
}

// reason is the kernel's word for it, without Go's around it.
func reason(ctx context.Context, err error) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return "no answer"
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	return err.Error()
}

// join carries a connection until both directions have ended, or it breaks.
func join(ctx context.Context, l *line, conn net.Conn) *nodeapi.StreamExit {
	ctx, cancel := context.WithCancelCause(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer conn.Close() //nolint:errcheck // both sides have said all
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { conn.Close() }) //nolint:errcheck,gosec // as above
	defer stop()

	in, out := make(chan error, 1), make(chan error, 1)
	group.Go(func() {
		err := copyFrames(conn, l.reader(ctx))
		if half, ok := conn.(interface{ CloseWrite() error }); ok && err == nil {
			err = half.CloseWrite()
		}
		in <- err
	})
	group.Go(func() {
		err := copyFrames(writer{l, output}, conn)
		if err == nil {
			err = l.send(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_OutputEnd{OutputEnd: true}})
		}
		out <- err
	})
	for range 2 {
		var err error
		select {
		case err = <-in:
		case err = <-out:
		}
		if err != nil {
			return broken(ctx, fmt.Errorf("the connection was lost: %s", reason(ctx, err)))
		}
	}
	return &nodeapi.StreamExit{}
}
