package iam

import (
	"context"
	"errors"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/wire/api/iamapi"
)

// Config is what a provider needs.
type Config struct {
	Store *store.Store
	// Scope has the account that everything belongs to. IAM has no region.
	Scope arn.Scope
	// Ring seals the secrets of access keys.
	Ring *keyring.Keyring
}

// Provider implements iamapi.Service on the store.
type Provider struct {
	iamapi.Unimplemented

	store *store.Store
	scope arn.Scope
	ring  *keyring.Keyring
}

var _ iamapi.Service = (*Provider)(nil)

// New returns a provider. It holds no state of its own.
func New(cfg Config) *Provider {
	p := &Provider{store: cfg.Store, scope: cfg.Scope, ring: cfg.Ring}
	if p.scope.Partition == "" {
		p.scope.Partition = "aws"
	}
	return p
}

// Kinds of resources, as ARNs name them.
const (
	kindUser            = "user"
	kindGroup           = "group"
	kindRole            = "role"
	kindPolicy          = "policy"
	kindInstanceProfile = "instance-profile"
	kindOIDCProvider    = "oidc-provider"
)

// uniqueID is an id that is never given twice: a prefix that tells the kind and
// 17 characters of the base-32 alphabet, 21 in all as AWS's are.
func uniqueID(prefix string) string { return prefix + strings.ToUpper(ident.Token(17)) }

// pathOf is the path of something new.
func pathOf(given *string) string {
	if given == nil {
		return "/"
	}
	return *given
}

// update runs one transaction. What must change at once but is more than one
// transaction can hold, such as the rename of a group with hundreds of members,
// is refused.
func (p *Provider) update(ctx context.Context, fn func(tx *store.Tx) error) error {
	_, err := p.store.Update(ctx, fn)
	if errors.Is(err, store.ErrTooLarge) {
		return limitExceeded("Berth cannot change everything that refers to this entity at once; remove some of the references first.")
	}
	return err
}

// room refuses what would exceed a quota of the account. Creations guard the
// count, so that of two at once the second sees the first.
func room[T any](tx *store.Tx, table *store.Table[T], counted *store.Index[T], quota int, name string) error {
	table.GuardIndex(tx, counted, records.Everything)
	if table.Len(tx) >= quota {
		return overQuota(name, quota)
	}
	return nil
}
