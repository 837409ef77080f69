package iam

import (
	"context"

	"berth.dev/berth/internal/wire/api/iamapi"
)

// There is no console and no sign-in other than by access keys, so a user has no
// password, no MFA device, and no other credential. Clients ask for them before
// they delete a user; they get the true answer: none.

// someUser makes sure that the user a call is about exists.
func (p *Provider) someUser(ctx context.Context, given *string) error {
	name, err := userOrCaller(ctx, given)
	if err != nil || name == "" {
		return err
	}
	_, err = user(p.store.Snapshot(), name)
	return err
}

func (p *Provider) noLoginProfile(ctx context.Context, given *string) error {
	if err := p.someUser(ctx, given); err != nil {
		return err
	}
	name, err := userOrCaller(ctx, given)
	if err != nil {
		return err
	}
	return noSuch("Login Profile for User %s cannot be found.", name)
}

// GetLoginProfile implements iamapi.Service.
func (p *Provider) GetLoginProfile(ctx context.Context, in *iamapi.GetLoginProfileInput) (*iamapi.GetLoginProfileOutput, error) {
	return nil, p.noLoginProfile(ctx, in.UserName)
}

// DeleteLoginProfile implements iamapi.Service.
func (p *Provider) DeleteLoginProfile(ctx context.Context, in *iamapi.DeleteLoginProfileInput) (*iamapi.DeleteLoginProfileOutput, error) {
	return nil, p.noLoginProfile(ctx, in.UserName)
}

// ListMFADevices implements iamapi.Service.
func (p *Provider) ListMFADevices(ctx context.Context, in *iamapi.ListMFADevicesInput) (*iamapi.ListMFADevicesOutput, error) {
	if err := p.someUser(ctx, in.UserName); err != nil {
		return nil, err
	}
	part, err := pageOf(asked{"ListMFADevices", in.Marker, in.MaxItems}, []iamapi.MFADevice{}, nil)
	if err != nil {
		return nil, err
	}
	return &iamapi.ListMFADevicesOutput{MFADevices: part.items, IsTruncated: part.truncated}, nil
}

// ListVirtualMFADevices implements iamapi.Service.
func (p *Provider) ListVirtualMFADevices(_ context.Context, in *iamapi.ListVirtualMFADevicesInput) (*iamapi.ListVirtualMFADevicesOutput, error) {
	part, err := pageOf(asked{"ListVirtualMFADevices", in.Marker, in.MaxItems}, []iamapi.VirtualMFADevice{}, nil)
	if err != nil {
		return nil, err
	}
	return &iamapi.ListVirtualMFADevicesOutput{VirtualMFADevices: part.items, IsTruncated: part.truncated}, nil
}

// ListSSHPublicKeys implements iamapi.Service.
func (p *Provider) ListSSHPublicKeys(ctx context.Context, in *iamapi.ListSSHPublicKeysInput) (*iamapi.ListSSHPublicKeysOutput, error) {
	if err := p.someUser(ctx, in.UserName); err != nil {
		return nil, err
	}
	part, err := pageOf(asked{"ListSSHPublicKeys", in.Marker, in.MaxItems}, []iamapi.SSHPublicKeyMetadata{}, nil)
	if err != nil {
		return nil, err
	}
	return &iamapi.ListSSHPublicKeysOutput{SSHPublicKeys: part.items, IsTruncated: part.truncated}, nil
}

// ListSigningCertificates implements iamapi.Service.
func (p *Provider) ListSigningCertificates(ctx context.Context, in *iamapi.ListSigningCertificatesInput) (*iamapi.ListSigningCertificatesOutput, error) {
	if err := p.someUser(ctx, in.UserName); err != nil {
		return nil, err
	}
	part, err := pageOf(asked{"ListSigningCertificates", in.Marker, in.MaxItems}, []iamapi.SigningCertificate{}, nil)
	if err != nil {
		return nil, err
	}
	return &iamapi.ListSigningCertificatesOutput{Certificates: part.items, IsTruncated: part.truncated}, nil
}

// ListServiceSpecificCredentials implements iamapi.Service.
func (p *Provider) ListServiceSpecificCredentials(ctx context.Context, in *iamapi.ListServiceSpecificCredentialsInput) (*iamapi.ListServiceSpecificCredentialsOutput, error) {
	if in.AllUsers == nil || !*in.AllUsers {
		if err := p.someUser(ctx, in.UserName); err != nil {
			return nil, err
		}
	}
	part, err := pageOf(asked{"ListServiceSpecificCredentials", in.Marker, in.MaxItems}, []iamapi.ServiceSpecificCredentialMetadata{}, nil)
	if err != nil {
		return nil, err
	}
	return &iamapi.ListServiceSpecificCredentialsOutput{ServiceSpecificCredentials: part.items, IsTruncated: part.truncated}, nil
}
