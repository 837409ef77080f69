package ecs

import (
	"context"
	"log/slog"
	"net/netip"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/caller"
)

// Config is what a provider needs.
type Config struct {
	Store *store.Store
	// Scope is the account and region that every ARN is made in.
	Scope  arn.Scope
	Logger *slog.Logger
	// PublicAddresses are those that assignPublicIp gives to tasks; with the
	// zero Prefix there are none and it is refused.
	PublicAddresses netip.Prefix
	// Tokens opens the data channels of ExecuteCommand, which fails without.
	Tokens Tokens
	// Seed breaks ties of placement and says where the search for a free
	// address begins. Nil is random.
	Seed func() uint64
}

// Provider implements ecsapi.Service on the store.
type Provider struct {
	ecsapi.Unimplemented

	store *store.Store
	scope arn.Scope
	log   *slog.Logger

	tokens   Tokens
	launcher *launch.Launcher

	// placing lets one RunTask decide at a time (see turn). The store would
	// refuse the second of two that chose the same instance and run it again;
	// in turns nobody decides in vain. It is no lock on state: another
	// server's placements are told apart by the store as ever.
	placing chan struct{}
}

var _ ecsapi.Service = (*Provider)(nil)

// New returns a provider. It holds no state of its own.
func New(cfg Config) *Provider {
	p := &Provider{store: cfg.Store, scope: cfg.Scope, log: cfg.Logger, tokens: cfg.Tokens, placing: make(chan struct{}, 1)}
	p.launcher = launch.New(launch.Config{Scope: cfg.Scope, PublicAddresses: cfg.PublicAddresses, Seed: cfg.Seed})
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	return p
}

// principal is who calls: the account's root outside a request.
func (p *Provider) principal(ctx context.Context) string {
	if id, ok := caller.From(ctx); ok && id.ARN != "" {
		return id.ARN
	}
	return p.scope.Root()
}
