package node

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/agent/dns"
	"berth.dev/berth/internal/agent/metadata"
	"berth.dev/berth/internal/agent/peer"
	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/task"
	"berth.dev/berth/internal/agent/tunnel"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/model"
)

// endpoints answers DNS and metadata in tasks' namespaces, and carries
// connections from there to the AWS API.
type endpoints struct {
	resolver *dns.Resolver
	metadata *metadata.Server
	api      *tunnel.Server // nil: tasks have no endpoint
}

var _ task.Endpoints = (*endpoints)(nil)

// newEndpoints needs the engine before the engine can be made of it; the
// returned function closes the circle.
func newEndpoints(cfg Config, resolver *dns.Resolver, containers runtime.Runtime, roles *roles) (*endpoints, func(*task.Engine)) {
	source := &metadataSource{containers: containers, samples: map[string]metadata.Sample{}, roles: roles}
	e := &endpoints{
		resolver: resolver,
		metadata: metadata.New(metadata.Config{Source: source, Log: room(cfg.Log, "agent/metadata")}),
	}
	if cfg.TaskEndpoint == TaskEndpointHTTP {
		e.api = tunnel.New(tunnel.Config{
			Dial: func(ctx context.Context, taskID string) (tunnel.Conn, error) {
				return roles.client.DialAPI(ctx, taskID)
			},
			Log: room(cfg.Log, "agent/tunnel"),
		})
	}
	return e, func(e *task.Engine) { source.tasks, roles.tasks = e, e }
}

// Serve opens both before it calls ready, so that a container that asks at
// once is answered. In network mode bridge each container has a namespace that
// is in no VPC.
func (e *endpoints) Serve(ctx context.Context, a *model.Assignment, netnsPath string, ready func()) error {
	var vpc dns.VPC
	if eni := a.NetworkInterface; eni != nil {
		cidr, err := netip.ParsePrefix(eni.VPCCIDR)
		if err != nil {
			return fmt.Errorf("reading the VPC's range: %w", err)
		}
		vpc = dns.VPC{ID: eni.VPCID, CIDR: cidr}
	}
	resolver, err := e.resolver.Open(ctx, netnsPath, vpc)
	if err != nil {
		return err
	}
	answers, err := e.metadata.Open(ctx, netnsPath, a.Task.ID)
	if err != nil {
		resolver.Close()
		return err
	}
	g, runCtx := errgroup.WithContext(ctx)
	if e.api != nil {
		api, err := e.api.Open(ctx, netnsPath, a.Task.ID)
		if err != nil {
			resolver.Close()
			answers.Close()
			return err
		}
		g.Go(func() error { return api.Run(runCtx) })
	}
	ready()
	g.Go(func() error { return resolver.Run(runCtx) })
	g.Go(func() error { return answers.Run(runCtx) })
	return g.Wait()
}

// serveHost answers tasks in network mode host, which have no namespace of
// their own to answer in. A node where that is not possible runs other tasks.
func (e *endpoints) serveHost(ctx context.Context, instanceID string, engine *task.Engine, log *slog.Logger) error {
	address := metadata.HostAddress(instanceID)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		endpoint, err := e.metadata.OpenHost(ctx, address, engine.HostTask)
		if err != nil {
			log.WarnContext(ctx, "tasks in network mode host have no metadata and no credentials", telemetry.Error, err)
			<-ctx.Done()
			return nil
		}
		return endpoint.Run(ctx)
	})
	g.Go(func() error {
		if e.api == nil {
			<-ctx.Done()
			return nil
		}
		endpoint, err := e.api.OpenHost(ctx, address, func(conn net.Conn) (string, error) { return peer.Task(conn, engine.HostTask) })
		if err != nil {
			log.WarnContext(ctx, "tasks in network mode host have no endpoint of the AWS API", telemetry.Error, err)
			<-ctx.Done()
			return nil
		}
		return endpoint.Run(ctx)
	})
	return g.Wait()
}
