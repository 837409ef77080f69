package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/control/dispatch"
	"berth.dev/berth/internal/edge/gateway"
)

// handover is a listener for connections that do not come from the network:
// nodes bring them on their own.
type handover struct {
	conns chan net.Conn
	done  chan struct{} // closed when no connection is taken any more
	once  sync.Once
	name  string
}

func newHandover(name string) *handover {
	return &handover{conns: make(chan net.Conn), done: make(chan struct{}), name: name}
}

// give hands conn over, or closes it when nobody takes it any more.
func (h *handover) give(ctx context.Context, conn net.Conn) {
	select {
	case h.conns <- conn:
	case <-h.done:
		conn.Close() //nolint:errcheck,gosec // its other end sees that
	case <-ctx.Done():
		conn.Close() //nolint:errcheck,gosec // its other end sees that
	}
}

// Accept, Close and Addr make it a net.Listener.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

// Addr is no address of a network.
func (h *handover) Addr() net.Addr { return handoverAddr(h.name) }

type handoverAddr string

func (handoverAddr) Network() string  { return "tunnel" }
func (a handoverAddr) String() string { return string(a) }

// tunnelled is a connection with where it comes from.
type tunnelled struct {
	net.Conn
	from gateway.Source
}

// serveTask takes a connection from inside a task to the AWS API.
func (p *controlPlane) serveTask(ctx context.Context, conn net.Conn, from dispatch.Origin) {
	source := gateway.Source{VPC: from.VPCID}
	if from.Address.IsValid() {
		source.Address = from.Address.String()
	}
	p.tasks.give(ctx, &tunnelled{conn, source})
}

// runTaskAPI serves the AWS API to containers, with the task as the source of
// each call, until ctx ends.
func (p *controlPlane) runTaskAPI(ctx context.Context) error {
	server := gateway.Server("tasks", p.front(), p.cfg.Log)
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if t, ok := c.(*tunnelled); ok {
			return gateway.WithSource(ctx, t.from)
		}
		return ctx
	}
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(grace); err != nil {
			p.cfg.Log.WarnContext(ctx, "requests of tasks were cut off at the end", telemetry.Error, err)
		}
	})
	defer stop()
	if err := server.Serve(p.tasks); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
