package sts

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"time"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/sessions"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/caller"
)

// Config is what a provider needs.
type Config struct {
	Store    *store.Store
	Sessions *sessions.Sessions
	Scope    arn.Scope
	// Roots are trusted to vouch for issuers of web identity tokens, besides
	// their providers' thumbprints; nil means the host's.
	Roots *x509.CertPool
	// Now is the clock that sessions and tokens end by; nil means time.Now.
	Now func() time.Time
}

// Provider implements stsapi.Service.
type Provider struct {
	stsapi.Unimplemented

	store    *store.Store
	sessions *sessions.Sessions
	scope    arn.Scope
	now      func() time.Time
	issuers  *issuers
}

var _ stsapi.Service = (*Provider)(nil)

// New returns a provider. All that it holds are issuers' public keys.
func New(cfg Config) *Provider {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Provider{store: cfg.Store, sessions: cfg.Sessions, scope: cfg.Scope, now: cfg.Now, issuers: newIssuers(cfg.Roots, cfg.Now)}
}

// errNoCaller is a mistake in the program: but for web identities the gateway
// lets no request through without a verified caller.
var errNoCaller = errors.New("request has no caller")

// GetCallerIdentity implements stsapi.Service. No permission is needed for it.
func (p *Provider) GetCallerIdentity(ctx context.Context, _ *stsapi.GetCallerIdentityInput) (*stsapi.GetCallerIdentityOutput, error) {
	id, ok := caller.From(ctx)
	if !ok {
		return nil, errNoCaller
	}
	return &stsapi.GetCallerIdentityOutput{Account: &id.AccountID, Arn: &id.ARN, UserId: &id.UserID}, nil
}

// GetAccessKeyInfo implements stsapi.Service. AWS reads the account from the
// key id; here there is one account, and its keys are those that it knows and
// all temporary ones.
func (p *Provider) GetAccessKeyInfo(_ context.Context, in *stsapi.GetAccessKeyInfoInput) (*stsapi.GetAccessKeyInfoOutput, error) {
	if !strings.HasPrefix(*in.AccessKeyId, "ASIA") && !records.AccessKeys.Has(p.store.Snapshot(), *in.AccessKeyId) {
		return nil, invalid("The access key ID %s is not one of this account.", *in.AccessKeyId) // [GK]
	}
	return &stsapi.GetAccessKeyInfoOutput{Account: &p.scope.AccountID}, nil
}

// issue makes credentials and their shape on the wire.
func (p *Provider) issue(who caller.Identity) (*stsapi.Credentials, error) {
	c, err := p.sessions.Issue(who)
	if err != nil {
		return nil, err
	}
	return &stsapi.Credentials{AccessKeyId: &c.AccessKeyID, SecretAccessKey: &c.SecretAccessKey, SessionToken: &c.SessionToken, Expiration: &c.Expires}, nil
}

// lasting begins a session now. Times of sessions are whole seconds.
func (p *Provider) lasting(seconds int32) *caller.Session {
	now := p.now().UTC().Truncate(time.Second)
	return &caller.Session{IssuedAt: now, Expires: now.Add(time.Duration(seconds) * time.Second)}
}
