package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/agent/session"
	"berth.dev/berth/internal/control/nodeca"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// fleet is many nodes of which only the session is real: each has joined with
// a key of its own and holds a gRPC stream over mTLS to the control plane. A
// node runs nothing. It says that a task runs as soon as it is assigned, or,
// while the fleet is silent, says nothing.
type fleet struct {
	silent atomic.Bool
	end    context.CancelFunc
	group  *errgroup.Group
}

// simulated is one node of a fleet.
type simulated struct {
	fleet  *fleet
	client *session.Client
	hello  chan struct{} // closed when the control plane has sent the complete set
	loaded chan struct{}
}

func startFleet(ctx context.Context, p *plane, size int) (*fleet, error) {
	authority, err := nodeca.Open(p.instance.Path("server", "pki"), time.Now())
	if err != nil {
		return nil, err
	}
	token := authority.Token().String()
	living, end := context.WithCancel(ctx)
	f := &fleet{end: end}
	f.group, living = errgroup.WithContext(living)
	joining, joinCtx := errgroup.WithContext(ctx)
	joining.SetLimit(8)
	for i := range size {
		joining.Go(func() error { return f.join(joinCtx, living, p, token, i) })
	}
	if err := joining.Wait(); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// join brings one node into the cluster; it lives until living ends.
func (f *fleet) join(ctx, living context.Context, p *plane, token string, i int) error {
	name := fmt.Sprintf("node-%04d", i)
	dir := filepath.Join(p.b.dir, "fleet", name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	server := "unix:" + p.instance.NodeSocket()
	identity, err := session.Join(ctx, dir, server, token, nil)
	if err != nil {
		return err
	}
	n := &simulated{fleet: f, hello: make(chan struct{}), loaded: make(chan struct{})}
	close(n.loaded)
	n.client, err = session.New(session.Config{
		Server: server, Identity: identity, Log: slog.New(slog.DiscardHandler),
		Hello: &nodeapi.Hello{
			Name: name, Cluster: "default", CpuUnits: 65536, MemoryMib: 262144, AgentVersion: "bench", Runtime: "none",
			Attributes: map[string]string{"ecs.os-type": "linux", "ecs.os-family": "LINUX", "ecs.cpu-architecture": "x86_64"},
		},
	})
	if err != nil {
		return err
	}
	f.group.Go(func() error { return n.client.Run(living, n) })
	select {
	case <-n.hello:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fleet) close() error {
	f.end()
	return f.group.Wait()
}

var _ session.Tasks = (*simulated)(nil)

// Loaded implements session.Tasks.
func (n *simulated) Loaded() <-chan struct{} { return n.loaded }

// Assign implements session.Tasks.
func (n *simulated) Assign(assignments []model.Assignment, complete bool) {
	if complete {
		close(n.hello)
	}
	if n.fleet.silent.Load() {
		return
	}
	for _, a := range assignments {
		now := time.Now()
		n.client.Report(a.Task.ID, model.TaskObserved{
			Seq: 1, Status: model.TaskRunning, ENIAttached: true, ConnectivityAt: &now, StartedAt: &now,
			Containers: []model.ContainerObserved{{Name: "app", Status: model.ContainerRunning}},
		})
	}
}

// Acknowledge implements session.Tasks.
func (n *simulated) Acknowledge(string, uint64) {}

// Reports implements session.Tasks.
func (n *simulated) Reports() map[string]model.TaskObserved { return nil }
