package node

import (
	"context"
	"fmt"
	"net/netip"

	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/agent/dns"
	"berth.dev/berth/internal/agent/metadata"
	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/task"
	"berth.dev/berth/internal/model"
)

// endpoints answers DNS and metadata in tasks' namespaces.
type endpoints struct {
	resolver *dns.Resolver
	metadata *metadata.Server
}

var _ task.Endpoints = (*endpoints)(nil)

// newEndpoints needs the engine before the engine can be made of it; the
// returned function closes the circle.
func newEndpoints(cfg Config, resolver *dns.Resolver, containers runtime.Runtime) (*endpoints, func(*task.Engine)) {
	source := &metadataSource{containers: containers, samples: map[string]metadata.Sample{}}
	return &endpoints{
		resolver: resolver,
		metadata: metadata.New(metadata.Config{Source: source, Log: room(cfg.Log, "agent/metadata")}),
	}, func(e *task.Engine) { source.tasks = e }
}

// Serve opens both before it calls ready, so that a container that asks at
// once is answered.
func (e *endpoints) Serve(ctx context.Context, a *model.Assignment, netnsPath string, ready func()) error {
	vpc, err := netip.ParsePrefix(a.NetworkInterface.VPCCIDR)
	if err != nil {
		return fmt.Errorf("reading the VPC's range: %w", err)
	}
	resolver, err := e.resolver.Open(ctx, netnsPath, dns.VPC{ID: a.NetworkInterface.VPCID, CIDR: vpc})
	if err != nil {
		return err
	}
	answers, err := e.metadata.Open(ctx, netnsPath, a.Task.ID)
	if err != nil {
		resolver.Close()
		return err
	}
	ready()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return resolver.Run(ctx) })
	g.Go(func() error { return answers.Run(ctx) })
	return g.Wait()
}
