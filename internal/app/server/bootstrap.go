package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/keys"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/sessions"
	"berth.dev/berth/internal/rules/ipam"
	ec2service "berth.dev/berth/internal/service/ec2"
	ecsservice "berth.dev/berth/internal/service/ecs"
)

// bootstrap makes what every control plane has: root credentials, a default
// cluster, a default VPC. What is there stays as it is.
func (p *controlPlane) bootstrap(ctx context.Context) error {
	if err := keys.Reseal(ctx, p.store, p.ring); err != nil {
		return fmt.Errorf("opening what is sealed: %w", err)
	}
	p.keys = keys.New(keys.Config{Store: p.store, Ring: p.ring, Scope: p.cfg.Scope})
	p.sessions = sessions.New(p.ring)
	id, secret, err := ensureRootKey(ctx, p.store, p.ring, p.cfg.Scope)
	if err != nil {
		return err
	}
	if err := writeCredentials(p.cfg.Instance.CredentialsFile(), id, secret); err != nil {
		return fmt.Errorf("writing the credentials file: %w", err)
	}
	if err := ecsservice.New(ecsservice.Config{Store: p.store, Scope: p.cfg.Scope}).EnsureDefaultCluster(ctx); err != nil {
		return fmt.Errorf("making the default cluster: %w", err)
	}
	if p.public, err = p.choosePublic(); err != nil {
		return err
	}
	var cidr netip.Prefix
	if claimed, err := p.claimAgain(); err != nil {
		return err
	} else if !claimed {
		if cidr, err = p.chooseRange(ctx); err != nil {
			return err
		}
	}
	if err := ec2service.Bootstrap(ctx, p.store, p.cfg.Scope, cidr); err != nil {
		return fmt.Errorf("making the default VPC: %w", err)
	}
	return nil
}

// claimAgain claims the ranges of the VPCs that exist, because claims do not
// survive a reboot, and reports whether there are any.
func (p *controlPlane) claimAgain() (claimed bool, err error) {
	for vpc := range records.VPCs.All(p.store.Snapshot()) {
		cidr, err := netip.ParsePrefix(vpc.CIDR)
		if err != nil {
			return true, fmt.Errorf("reading the range of %s: %w", vpc.ID, err)
		}
		// When another instance has the range now, the agent's first task says
		// so: the control plane may run where no task does.
		owner := p.cfg.Instance.DataDir
		if !vpc.IsDefault {
			owner = p.ranges().owner(cidr)
			if err := os.MkdirAll(owner, 0o700); err != nil {
				return true, err
			}
		}
		if _, err := network.ClaimRange(network.ClaimDir, owner, []netip.Prefix{cidr}, nil); err != nil {
			p.cfg.Log.Warn("the range of a VPC is claimed by another Berth of this host", telemetry.VPC, vpc.ID, telemetry.Error, err)
		}
		claimed = true
	}
	return claimed, nil
}

// chooseRange picks the default VPC's range: AWS's own unless the host routes
// there already, or another instance of this host has claimed it.
func (p *controlPlane) chooseRange(ctx context.Context) (netip.Prefix, error) {
	routes, err := network.HostRoutes()
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("reading the host's routes: %w", err)
	}
	candidates := ipam.DefaultRanges()
	cidr, err := network.ClaimRange(network.ClaimDir, p.cfg.Instance.DataDir, candidates, routes)
	if err != nil {
		return netip.Prefix{}, errors.Join(errors.New("no range is free for the default VPC"), err)
	}
	if cidr != candidates[0] {
		p.cfg.Log.WarnContext(ctx, "the default VPC has another range than AWS's, because this host routes there already",
			"wanted", candidates[0].String(), "chosen", cidr.String())
	}
	return cidr, nil
}
