package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/app/instance"
	"berth.dev/berth/internal/app/server"
	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/control/liveness"
	"berth.dev/berth/internal/control/reaper"
)

// How much the control plane is filled with.
const (
	fleetSize = 1000
	taskCount = 10_000
)

// plane is a real control plane, in this process so that its work can be
// profiled, with a fleet of simulated nodes.
type plane struct {
	b        *bench
	instance instance.Instance
	listen   string
	end      context.CancelFunc
	ended    chan error
	fleet    *fleet
	ecs      *ecs.Client
	subnets  []string
}

// controlPlane measures what needs many nodes or many tasks, but no container.
// First RunTask is measured, which makes the tasks that are then read.
func (b *bench) controlPlane(ctx context.Context, wants func(...string) bool) (err error) {
	nodes, tasks := fleetSize, taskCount
	if b.quick {
		nodes, tasks = nodes/10, tasks/10
	}
	b.say("starting a control plane with %d simulated nodes", nodes)
	p, err := startPlane(ctx, b, nodes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	have := 0
	if wants("accept") {
		if have, err = b.accept(ctx, p, tasks); err != nil {
			return err
		}
	}
	if !wants("reads") {
		return nil
	}
	b.say("filling the store to %d tasks", tasks)
	if err := p.fill(ctx, tasks-have); err != nil {
		return err
	}
	return b.reads(ctx, p, tasks)
}

func startPlane(ctx context.Context, b *bench, nodes int) (*plane, error) {
	p := &plane{b: b, ended: make(chan error, 1)}
	var err error
	if p.listen, err = freeAddress(); err != nil {
		return nil, err
	}
	if p.instance, err = instance.Open(filepath.Join(b.dir, "plane")); err != nil {
		return nil, err
	}
	var serving context.Context
	serving, p.end = context.WithCancel(ctx)
	go func() {
		p.ended <- server.Run(serving, server.Config{
			Instance: p.instance, Listen: p.listen, Scope: arn.Scope{Partition: "aws", Region: "us-east-1", AccountID: "123456789012"},
			NodeLostAfter: liveness.DefaultLimit, Retention: reaper.DefaultRetention,
			Log: slog.New(slog.DiscardHandler),
		})
	}()
	if err := p.setUp(ctx, nodes); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *plane) setUp(ctx context.Context, nodes int) error {
	for !isReady(ctx, p.listen) {
		select {
		case err := <-p.ended:
			p.ended <- nil
			return errors.Join(errors.New("the control plane ended"), err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	cfg, err := awsConfig(ctx, p.instance, p.listen)
	if err != nil {
		return err
	}
	p.ecs = ecs.NewFromConfig(cfg)
	if p.subnets, err = subnetIDs(ctx, cfg); err != nil {
		return err
	}
	if err := register(ctx, p.ecs); err != nil {
		return err
	}
	if p.fleet, err = startFleet(ctx, p, nodes); err != nil {
		return fmt.Errorf("connecting the fleet: %w", err)
	}
	return nil
}

// fill runs tasks until there are so many more.
func (p *plane) fill(ctx context.Context, count int) error {
	_, err := drive(ctx, 8, (count+perCall-1)/perCall, func(ctx context.Context, i int) error {
		_, err := runTask(ctx, p.ecs, silentFamily, int32(min(perCall, count-i*perCall)), p.subnets)
		return err
	})
	return err
}

func (p *plane) close() error {
	var errs []error
	if p.fleet != nil {
		errs = append(errs, p.fleet.close())
	}
	p.end()
	return errors.Join(append(errs, <-p.ended, network.ReleaseRanges(network.ClaimDir, p.instance.DataDir), p.instance.Remove())...)
}
