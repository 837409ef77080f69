package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/app/instance"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/rules/ipam"
	ec2service "berth.dev/berth/internal/service/ec2"
	ecsservice "berth.dev/berth/internal/service/ecs"
)

// bootstrap makes what every control plane has: root credentials, a default
// cluster, a default VPC. What is there stays as it is.
func (p *controlPlane) bootstrap(ctx context.Context) error {
	key, err := ensureRootKey(ctx, p.store, p.cfg.Scope)
	if err != nil {
		return err
	}
	if err := writeCredentials(p.cfg.Instance.CredentialsFile(), key); err != nil {
		return fmt.Errorf("writing the credentials file: %w", err)
	}
	if err := ecsservice.New(ecsservice.Config{Store: p.store, Scope: p.cfg.Scope}).EnsureDefaultCluster(ctx); err != nil {
		return fmt.Errorf("making the default cluster: %w", err)
	}
	if records.VPCs.Len(p.store.Snapshot()) > 0 {
		return nil
	}
	cidr, err := p.chooseRange(ctx)
	if err != nil {
		return err
	}
	if err := ec2service.Bootstrap(ctx, p.store, p.cfg.Scope, cidr); err != nil {
		return fmt.Errorf("making the default VPC: %w", err)
	}
	return nil
}

// chooseRange picks the default VPC's range: AWS's own unless the host routes
// there already, or another instance of this host has claimed it.
func (p *controlPlane) chooseRange(ctx context.Context) (netip.Prefix, error) {
	routes, err := network.HostRoutes()
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("reading the host's routes: %w", err)
	}
	candidates := ipam.DefaultRanges()
	cidr, err := network.ClaimRange(instance.RangesDir(), p.cfg.Instance.DataDir, candidates, routes)
	if err != nil {
		return netip.Prefix{}, errors.Join(errors.New("no range is free for the default VPC"), err)
	}
	if cidr != candidates[0] {
		p.cfg.Log.WarnContext(ctx, "the default VPC has another range than AWS's, because this host routes there already",
			"wanted", candidates[0].String(), "chosen", cidr.String())
	}
	return cidr, nil
}
