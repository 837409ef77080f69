package ecr

import (
	"context"
	"encoding/base64"
	"errors"

	"berth.dev/berth/internal/data/sessions"
	"berth.dev/berth/internal/wire/api/ecrapi"
	"berth.dev/berth/internal/wire/caller"
)

// GetAuthorizationToken implements ecrapi.Service. There is one registry: for
// each id that is asked for, which AWS lets be of other accounts, its token is
// the same, and what of another account would be there is not.
func (p *Provider) GetAuthorizationToken(ctx context.Context, in *ecrapi.GetAuthorizationTokenInput) (*ecrapi.GetAuthorizationTokenOutput, error) {
	for _, id := range in.RegistryIds {
		if id != p.scope.AccountID {
			return nil, invalid("registryIds", "The registry with id '%s' does not exist", id)
		}
	}
	who, ok := caller.From(ctx)
	if !ok {
		return nil, errors.New("ecr: the request has no caller")
	}
	password, expires, err := p.cfg.Sessions.IssueRegistry(who, p.cfg.Now())
	if errors.Is(err, sessions.ErrPasswordSize) {
		return nil, &ecrapi.InvalidParameterException{Message: new("The caller's session has policies and tags that are too large for an authorization token.")}
	} else if err != nil {
		return nil, err
	}
	return &ecrapi.GetAuthorizationTokenOutput{AuthorizationData: []ecrapi.AuthorizationData{{
		AuthorizationToken: new(base64.StdEncoding.EncodeToString([]byte("AWS:" + password))), ExpiresAt: &expires, ProxyEndpoint: new(p.endpoint()),
	}}}, nil
}

// DescribeRegistry implements ecrapi.Service. Nothing is replicated.
func (p *Provider) DescribeRegistry(context.Context, *ecrapi.DescribeRegistryInput) (*ecrapi.DescribeRegistryOutput, error) {
	return &ecrapi.DescribeRegistryOutput{
		RegistryId: &p.scope.AccountID, ReplicationConfiguration: &ecrapi.ReplicationConfiguration{Rules: []ecrapi.ReplicationRule{}},
	}, nil
}

// PutReplicationConfiguration implements ecrapi.Service: there is no registry
// to replicate to. To replicate nothing is what is done.
func (p *Provider) PutReplicationConfiguration(_ context.Context, in *ecrapi.PutReplicationConfigurationInput) (*ecrapi.PutReplicationConfigurationOutput, error) {
	if len(in.ReplicationConfiguration.Rules) > 0 {
		return nil, &ecrapi.ValidationException{Message: new("Replication is not available: there is no other registry.")}
	}
	return &ecrapi.PutReplicationConfigurationOutput{ReplicationConfiguration: in.ReplicationConfiguration}, nil
}

// DescribeImageReplicationStatus implements ecrapi.Service.
func (p *Provider) DescribeImageReplicationStatus(_ context.Context, in *ecrapi.DescribeImageReplicationStatusInput) (*ecrapi.DescribeImageReplicationStatusOutput, error) {
	id, err := p.described(in.RegistryId, in.RepositoryName, *in.ImageId)
	if err != nil {
		return nil, err
	}
	return &ecrapi.DescribeImageReplicationStatusOutput{
		RepositoryName: in.RepositoryName, ImageId: id, ReplicationStatuses: []ecrapi.ImageReplicationStatus{},
	}, nil
}

// accountSettings are the settings and what they always are here: basic scans
// would be AWS's own, the registry's policy is asked for every action, and a
// layer can be mounted by whoever may read it where it is.
var accountSettings = map[string]string{
	"BASIC_SCAN_TYPE_VERSION": "AWS_NATIVE",
	"REGISTRY_POLICY_SCOPE":   "V2",
	"BLOB_MOUNTING":           "ENABLED",
}

// GetAccountSetting implements ecrapi.Service.
func (p *Provider) GetAccountSetting(_ context.Context, in *ecrapi.GetAccountSettingInput) (*ecrapi.GetAccountSettingOutput, error) {
	setting, ok := accountSettings[*in.Name]
	if !ok {
		return nil, invalid("name", "Unknown account setting %s", *in.Name)
	}
	return &ecrapi.GetAccountSettingOutput{Name: in.Name, Value: &setting}, nil
}

// PutAccountSetting implements ecrapi.Service. A setting can be set to what it
// is.
func (p *Provider) PutAccountSetting(_ context.Context, in *ecrapi.PutAccountSettingInput) (*ecrapi.PutAccountSettingOutput, error) {
	setting, ok := accountSettings[*in.Name]
	switch {
	case !ok:
		return nil, invalid("name", "Unknown account setting %s", *in.Name)
	case *in.Value != setting:
		return nil, invalid("value", "%s is always %s in this registry", *in.Name, setting)
	}
	return &ecrapi.PutAccountSettingOutput{Name: in.Name, Value: in.Value}, nil
}
