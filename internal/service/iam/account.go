package iam

import (
	"context"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/iamapi"
)

// CreateAccountAlias implements iamapi.Service. An account has one alias: a new
// one takes the place of the old.
func (p *Provider) CreateAccountAlias(ctx context.Context, in *iamapi.CreateAccountAliasInput) (*iamapi.CreateAccountAliasOutput, error) {
	if err := p.update(ctx, func(tx *store.Tx) error {
		records.AccountAliases.Put(tx, &model.AccountAlias{Name: *in.AccountAlias})
		return nil
	}); err != nil {
		return nil, err
	}
	return &iamapi.CreateAccountAliasOutput{}, nil
}

// DeleteAccountAlias implements iamapi.Service.
func (p *Provider) DeleteAccountAlias(ctx context.Context, in *iamapi.DeleteAccountAliasInput) (*iamapi.DeleteAccountAliasOutput, error) {
	if err := p.update(ctx, func(tx *store.Tx) error {
		key := (*model.AccountAlias)(nil).Key()
		if alias, ok := records.AccountAliases.Get(tx, key); !ok || alias.Name != *in.AccountAlias {
			return noSuch("The account alias %s cannot be found.", *in.AccountAlias)
		}
		records.AccountAliases.Delete(tx, key)
		return nil
	}); err != nil {
		return nil, err
	}
	return &iamapi.DeleteAccountAliasOutput{}, nil
}

// ListAccountAliases implements iamapi.Service.
func (p *Provider) ListAccountAliases(_ context.Context, in *iamapi.ListAccountAliasesInput) (*iamapi.ListAccountAliasesOutput, error) {
	var names []string
	for alias := range records.AccountAliases.All(p.store.Snapshot()) {
		names = append(names, alias.Name)
	}
	part, err := pageOf(asked{"ListAccountAliases", in.Marker, in.MaxItems}, names, func(name string) string { return name })
	if err != nil {
		return nil, err
	}
	return &iamapi.ListAccountAliasesOutput{AccountAliases: append([]string{}, part.items...), IsTruncated: part.truncated, Marker: part.marker}, nil
}

// GetAccountSummary implements iamapi.Service: what there is and how much there
// can be.
func (p *Provider) GetAccountSummary(context.Context, *iamapi.GetAccountSummaryInput) (*iamapi.GetAccountSummaryOutput, error) {
	snap := p.store.Snapshot()
	versions := 0
	for each := range records.Policies.All(snap) {
		versions += len(each.Versions)
	}
	rootKeys := 0
	if records.AccessKeys.HasBy(snap, records.AccessKeysByUser, "") {
		rootKeys = 1
	}
	out := &iamapi.GetAccountSummaryOutput{SummaryMap: map[string]int32{}}
	for name, n := range map[string]int{
		"Users": records.Users.Len(snap), "UsersQuota": maxUsers,
		"Groups": records.Groups.Len(snap), "GroupsQuota": maxGroups,
		"Roles": records.Roles.Len(snap), "RolesQuota": maxRoles,
		"Policies": records.Policies.Len(snap), "PoliciesQuota": maxPolicies,
		"InstanceProfiles": records.InstanceProfiles.Len(snap), "InstanceProfilesQuota": maxInstanceProfiles,
		"Providers":           records.OIDCProviders.Len(snap),
		"PolicyVersionsInUse": versions, "PolicyVersionsInUseQuota": maxPolicies * maxVersions,
		"VersionsPerPolicyQuota": maxVersions, "PolicySizeQuota": maxPolicySize, "AssumeRolePolicySizeQuota": maxTrustSize,
		"UserPolicySizeQuota": maxUserInlineSize, "GroupPolicySizeQuota": maxGroupInlineSize, "RolePolicySizeQuota": maxRoleInlineSize,
		"AttachedPoliciesPerUserQuota": maxAttached, "AttachedPoliciesPerGroupQuota": maxAttached, "AttachedPoliciesPerRoleQuota": maxAttached,
		"GroupsPerUserQuota": maxGroupsPerUser, "AccessKeysPerUserQuota": maxKeysPerUser, "AccountAccessKeysPresent": rootKeys,
		// What an account cannot have here.
		"ServerCertificates": 0, "ServerCertificatesQuota": 0, "SigningCertificatesPerUserQuota": 0, "AccountSigningCertificatesPresent": 0,
		"MFADevices": 0, "MFADevicesInUse": 0, "AccountMFAEnabled": 0, "AccountPasswordPresent": 0,
	} {
		out.SummaryMap[name] = int32(n) //nolint:gosec // counts of records and quotas
	}
	return out, nil
}
