package sts

import (
	"context"

	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/caller"
)

const (
	sessionDefault = 43200 // seconds, of GetSessionToken and GetFederationToken
	rootMost       = 3600  // of the root user's
)

// ofUser is the caller of an operation that sessions may not call.
func ofUser(ctx context.Context, operation string, serial, code *string) (caller.Identity, error) {
	who, ok := caller.From(ctx)
	switch {
	case !ok:
		return who, errNoCaller
	case who.Session != nil:
		return who, denied("Cannot call %s with session credentials", operation)
	case serial != nil || code != nil:
		return who, noDevices()
	}
	return who, nil
}

func noDevices() error {
	return denied("MultiFactorAuthentication failed, there are no MFA devices in Berth")
}

// seconds is how long a user's session lasts. Root's is an hour at most,
// whatever it asks for.
func seconds(who caller.Identity, asked *int32) int32 {
	lasts := int32(sessionDefault)
	if asked != nil {
		lasts = *asked
	}
	if who.UserName == "" {
		lasts = min(lasts, rootMost)
	}
	return lasts
}

// GetSessionToken implements stsapi.Service. The session is the caller, and may
// do what the caller may.
func (p *Provider) GetSessionToken(ctx context.Context, in *stsapi.GetSessionTokenInput) (*stsapi.GetSessionTokenOutput, error) {
	who, err := ofUser(ctx, "GetSessionToken", in.SerialNumber, in.TokenCode)
	if err != nil {
		return nil, err
	}
	who.Session = p.lasting(seconds(who, in.DurationSeconds))
	c, err := p.issue(who)
	if err != nil {
		return nil, err
	}
	return &stsapi.GetSessionTokenOutput{Credentials: c}, nil
}

// GetFederationToken implements stsapi.Service. The session may do what the
// calling user may and its policies allow; without policies it may do nothing
// but what resources allow it by name.
func (p *Provider) GetFederationToken(ctx context.Context, in *stsapi.GetFederationTokenInput) (*stsapi.GetFederationTokenOutput, error) {
	who, err := ofUser(ctx, "GetFederationToken", nil, nil)
	if err != nil {
		return nil, err
	}
	if who.UserName == "" {
		return nil, denied("GetFederationToken cannot be called by the root user in Berth: create a user whose permissions the token has")
	}
	session := p.lasting(seconds(who, in.DurationSeconds))
	packed, err := p.limit(session, in.Policy, in.PolicyArns, in.Tags)
	if err != nil {
		return nil, err
	}
	if len(session.Policies)+len(session.PolicyARNs) == 0 {
		session.Policies = []string{nothing}
	}
	session.Name = *in.Name
	user := p.scope.Global("sts", "federated-user/"+*in.Name)
	id := p.scope.AccountID + ":" + *in.Name
	who.ARN, who.UserID, who.Session = user, id, session
	c, err := p.issue(who)
	if err != nil {
		return nil, err
	}
	return &stsapi.GetFederationTokenOutput{
		Credentials: c, FederatedUser: &stsapi.FederatedUser{Arn: &user, FederatedUserId: &id}, PackedPolicySize: packed,
	}, nil
}

// nothing is a session policy that allows nothing.
const nothing = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`
