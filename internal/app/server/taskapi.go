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

// taskAPI serves the AWS API to containers: connections that nodes bring from
// inside tasks go to the gateway with the task as their source.
type taskAPI struct {
	conns chan net.Conn
	done  chan struct{} // closed when no connection is taken any more
	once  sync.Once
}

func newTaskAPI() *taskAPI { return &taskAPI{conns: make(chan net.Conn), done: make(chan struct{})} }

// tunnelled is a connection with where it comes from.
type tunnelled struct {
	net.Conn
	from gateway.Source
}

// serve hands conn over, or closes it when nobody takes it any more.
func (a *taskAPI) serve(ctx context.Context, conn net.Conn, from dispatch.Origin) {
	source := gateway.Source{VPC: from.VPCID}
	if from.Address.IsValid() {
		source.Address = from.Address.String()
	}
	select {
	case a.conns <- &tunnelled{conn, source}:
	case <-a.done:
		conn.Close() //nolint:errcheck,gosec // its other end sees that
	case <-ctx.Done():
		conn.Close() //nolint:errcheck,gosec // its other end sees that
	}
}

// runTaskAPI serves them until ctx ends.
func (p *controlPlane) runTaskAPI(ctx context.Context) error {
	server := gateway.Server("tasks", p.gateway, p.cfg.Log)
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

// Accept, Close and Addr make it a net.Listener.
func (a *taskAPI) Accept() (net.Conn, error) {
	select {
	case c := <-a.conns:
		return c, nil
	case <-a.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (a *taskAPI) Close() error {
	a.once.Do(func() { close(a.done) })
	return nil
}

// Addr is no address of a network.
func (a *taskAPI) Addr() net.Addr { return taskAddr{} }

type taskAddr struct{}

func (taskAddr) Network() string { return "tunnel" }
func (taskAddr) String() string  { return "tasks" }
