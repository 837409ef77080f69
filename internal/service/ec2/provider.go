package ec2

import (
	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/wire/api/ec2api"
)

// Config is what a provider needs.
type Config struct {
	Store *store.Store
	// Scope is the account and region that everything belongs to.
	Scope arn.Scope
}

// Provider implements ec2api.Service on the store.
type Provider struct {
	ec2api.Unimplemented

	store *store.Store
	scope arn.Scope
}

var _ ec2api.Service = (*Provider)(nil)

// New returns a provider. It holds no state of its own.
func New(cfg Config) *Provider { return &Provider{store: cfg.Store, scope: cfg.Scope} }
