package ec2

import (
	"net/netip"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/wire/api/ec2api"
)

// Config is what a provider needs.
type Config struct {
	Store *store.Store
	// Scope is the account and region that everything belongs to.
	Scope arn.Scope
	// PublicAddresses is the pool of Elastic IPs. Without one there are none.
	PublicAddresses netip.Prefix
	// ClaimRange makes sure that a new VPC's range is nobody else's on this
	// host; its error is shown to users. ReleaseRange gives back a range that
	// no VPC has any more. Nil: every range may be had.
	ClaimRange   func(netip.Prefix) error
	ReleaseRange func(netip.Prefix)
}

// Provider implements ec2api.Service on the store.
type Provider struct {
	ec2api.Unimplemented

	store      *store.Store
	scope      arn.Scope
	pool       netip.Prefix
	claimRange func(netip.Prefix) error
	giveBack   func(netip.Prefix)
}

var _ ec2api.Service = (*Provider)(nil)

// New returns a provider. It holds no state of its own.
func New(cfg Config) *Provider {
	p := &Provider{store: cfg.Store, scope: cfg.Scope, pool: cfg.PublicAddresses, claimRange: cfg.ClaimRange, giveBack: cfg.ReleaseRange}
	if p.claimRange == nil {
		p.claimRange = func(netip.Prefix) error { return nil }
	}
	if p.giveBack == nil {
		p.giveBack = func(netip.Prefix) {}
	}
	return p
}
