package sts

import (
	"context"
	"errors"

	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/caller"
)

// Provider implements stsapi.Service.
type Provider struct{ stsapi.Unimplemented }

var _ stsapi.Service = (*Provider)(nil)

// Config is what a provider needs: nothing yet.
type Config struct{}

// New returns a provider.
func New(Config) *Provider { return &Provider{} }

// errNoCaller is a mistake in the program: the gateway lets no request through
// without a verified caller.
var errNoCaller = errors.New("request has no caller")

// GetCallerIdentity implements stsapi.Service. No permission is needed for it.
func (p *Provider) GetCallerIdentity(ctx context.Context, _ *stsapi.GetCallerIdentityInput) (*stsapi.GetCallerIdentityOutput, error) {
	id, ok := caller.From(ctx)
	if !ok {
		return nil, errNoCaller
	}
	return &stsapi.GetCallerIdentityOutput{Account: &id.AccountID, Arn: &id.ARN, UserId: &id.UserID}, nil
}
