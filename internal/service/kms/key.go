package kms

import (
	"context"
	"strings"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/keys"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/kmsapi"
)

// Bounds of the deletion window in days; unasked it is the longest.
const (
	minWindow, maxWindow = 7, 30
)

// CreateKey implements kmsapi.Service.
func (p *Provider) CreateKey(ctx context.Context, in *kmsapi.CreateKeyInput) (*kmsapi.CreateKeyOutput, error) {
	spec, usage, err := kind(in)
	if err != nil {
		return nil, err
	}
	tags, err := mergeTags(nil, in.Tags)
	if err != nil {
		return nil, err
	}
	id := ident.UUID()
	key := &model.KMSKey{
		ID: id, ARN: p.keys.ARN("key/" + id), Description: value(in.Description), Manager: model.KMSManagedByCustomer,
		Usage: usage, Spec: spec, State: model.KMSKeyEnabled, Policy: p.defaultPolicy(), Tags: tags,
	}
	if in.Policy != nil {
		key.Policy = *in.Policy
	}
	_, err = p.store.Update(ctx, func(tx *store.Tx) error {
		if in.Policy != nil {
			if err := p.checkPolicy(ctx, tx, key.ARN, *in.Policy, value(in.BypassPolicyLockoutSafetyCheck)); err != nil {
				return err
			}
		}
		material, err := p.keys.NewMaterial(id, spec, tx.Now(), false)
		if err != nil {
			return err
		}
		key.CreatedAt, key.Materials = tx.Now(), []model.KMSMaterial{material}
		records.KMSKeys.Put(tx, key)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kmsapi.CreateKeyOutput{KeyMetadata: p.metadata(key)}, nil
}

// kind is the spec and the usage of a key to make. What there is not here is
// refused.
func kind(in *kmsapi.CreateKeyInput) (spec, usage string, err error) {
	if in.KeySpec != "" && in.CustomerMasterKeySpec != "" {
		return "", "", invalid("You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated.")
	}
	spec, usage = string(in.KeySpec)+string(in.CustomerMasterKeySpec), string(in.KeyUsage)
	if spec == "" {
		spec = keys.SymmetricDefault
	}
	symmetric, mac := spec == keys.SymmetricDefault, strings.HasPrefix(spec, "HMAC_")
	switch {
	case in.CustomKeyStoreId != nil || in.XksKeyId != nil || in.Origin == kmsapi.OriginTypeAwsCloudhsm || in.Origin == kmsapi.OriginTypeExternalKeyStore:
		return "", "", unsupported("Custom key stores are not supported: Berth keeps key material itself.")
	case in.Origin == kmsapi.OriginTypeExternal:
		return "", "", unsupported("Imported key material is not supported: Berth makes the material of its keys.")
	case value(in.MultiRegion):
		return "", "", unsupported("Multi-Region keys are not supported: a Berth is one region.")
	case !symmetric && usage == "":
		return "", "", invalid("You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")
	case usage == "":
		usage = model.KMSEncryptDecrypt
	}
	switch {
	case !symmetric && !mac:
		return "", "", unsupported("KeySpec %s is not supported: Berth has no asymmetric keys. Use SYMMETRIC_DEFAULT, or HMAC_224, HMAC_256, HMAC_384 or HMAC_512.", spec)
	case symmetric != (usage == model.KMSEncryptDecrypt) || mac != (usage == model.KMSGenerateVerifyMAC):
		return "", "", invalid("KeyUsage %s is not compatible with KeySpec %s", usage, spec)
	}
	return spec, usage, nil
}

// metadata is a key as it is described.
func (p *Provider) metadata(key *model.KMSKey) *kmsapi.KeyMetadata {
	m := &kmsapi.KeyMetadata{
		AWSAccountId: &p.scope.AccountID, KeyId: &key.ID, Arn: &key.ARN, CreationDate: &key.CreatedAt, Enabled: new(key.State == model.KMSKeyEnabled),
		Description: &key.Description, KeyUsage: kmsapi.KeyUsageType(key.Usage), KeyState: kmsapi.KeyState(key.State), DeletionDate: key.DeletionDate,
		Origin: kmsapi.OriginTypeAwsKms, KeyManager: kmsapi.KeyManagerType(key.Manager), MultiRegion: new(false),
		KeySpec: kmsapi.KeySpec(key.Spec), CustomerMasterKeySpec: kmsapi.CustomerMasterKeySpec(key.Spec),
	}
	if key.Usage == model.KMSGenerateVerifyMAC {
		m.MacAlgorithms = []kmsapi.MacAlgorithmSpec{macAlgorithm(key)}
		return m
	}
	m.EncryptionAlgorithms = []kmsapi.EncryptionAlgorithmSpec{kmsapi.EncryptionAlgorithmSpecSymmetricDefault}
	m.CurrentKeyMaterialId = &key.Materials[len(key.Materials)-1].ID
	return m
}

// DescribeKey implements kmsapi.Service. The key of a service is made when it
// is asked for by its alias and not there yet.
func (p *Provider) DescribeKey(ctx context.Context, in *kmsapi.DescribeKeyInput) (*kmsapi.DescribeKeyOutput, error) {
	id, err := p.keys.Ensure(ctx, *in.KeyId)
	if err != nil {
		return nil, worded(err)
	}
	key, err := p.find(p.store.Snapshot(), &id)
	if err != nil {
		return nil, err
	}
	return &kmsapi.DescribeKeyOutput{KeyMetadata: p.metadata(key)}, nil
}

// ListKeys implements kmsapi.Service.
func (p *Provider) ListKeys(_ context.Context, in *kmsapi.ListKeysInput) (*kmsapi.ListKeysOutput, error) {
	out := &kmsapi.ListKeysOutput{Keys: []kmsapi.KeyListEntry{}}
	var err error
	page, err := pageOf("keys", records.KMSKeys.All(p.store.Snapshot()), (*model.KMSKey).Key, in.Marker, in.Limit, 100)
	if err != nil {
		return nil, err
	}
	for _, key := range page.items {
		out.Keys = append(out.Keys, kmsapi.KeyListEntry{KeyId: &key.ID, KeyArn: &key.ARN})
	}
	out.NextMarker, out.Truncated = page.next, page.truncated()
	return out, nil
}

// UpdateKeyDescription implements kmsapi.Service.
func (p *Provider) UpdateKeyDescription(ctx context.Context, in *kmsapi.UpdateKeyDescriptionInput) (*kmsapi.UpdateKeyDescriptionOutput, error) {
	_, err := p.change(ctx, in.KeyId, "UpdateKeyDescription", kept, func(_ *store.Tx, key *model.KMSKey) error {
		key.Description = *in.Description
		return nil
	})
	return &kmsapi.UpdateKeyDescriptionOutput{}, err
}

// EnableKey implements kmsapi.Service.
func (p *Provider) EnableKey(ctx context.Context, in *kmsapi.EnableKeyInput) (*kmsapi.EnableKeyOutput, error) {
	_, err := p.change(ctx, in.KeyId, "EnableKey", kept, func(_ *store.Tx, key *model.KMSKey) error {
		key.State = model.KMSKeyEnabled
		return nil
	})
	return &kmsapi.EnableKeyOutput{}, err
}

// DisableKey implements kmsapi.Service.
func (p *Provider) DisableKey(ctx context.Context, in *kmsapi.DisableKeyInput) (*kmsapi.DisableKeyOutput, error) {
	_, err := p.change(ctx, in.KeyId, "DisableKey", kept, func(_ *store.Tx, key *model.KMSKey) error {
		key.State = model.KMSKeyDisabled
		return nil
	})
	return &kmsapi.DisableKeyOutput{}, err
}

// ScheduleKeyDeletion implements kmsapi.Service. The key goes when the window
// is over (control/expiry).
func (p *Provider) ScheduleKeyDeletion(ctx context.Context, in *kmsapi.ScheduleKeyDeletionInput) (*kmsapi.ScheduleKeyDeletionOutput, error) {
	days := int32(maxWindow)
	if in.PendingWindowInDays != nil {
		days = *in.PendingWindowInDays
	}
	if days < minWindow || days > maxWindow {
		return nil, invalid("PendingWindowInDays must be between %d and %d days, but it is %d", minWindow, maxWindow, days)
	}
	key, err := p.change(ctx, in.KeyId, "ScheduleKeyDeletion", kept, func(tx *store.Tx, key *model.KMSKey) error {
		key.State, key.PendingWindowDays = model.KMSKeyPendingDeletion, days
		key.DeletionDate = new(tx.Now().AddDate(0, 0, int(days)))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kmsapi.ScheduleKeyDeletionOutput{KeyId: &key.ARN, DeletionDate: key.DeletionDate, KeyState: kmsapi.KeyState(key.State), PendingWindowInDays: &days}, nil
}

// CancelKeyDeletion implements kmsapi.Service. The key is disabled then.
func (p *Provider) CancelKeyDeletion(ctx context.Context, in *kmsapi.CancelKeyDeletionInput) (*kmsapi.CancelKeyDeletionOutput, error) {
	pending := func(key *model.KMSKey) error {
		if key.State != model.KMSKeyPendingDeletion {
			return invalidState("%s is not pending deletion.", key.ARN)
		}
		return nil
	}
	key, err := p.change(ctx, in.KeyId, "CancelKeyDeletion", pending, func(_ *store.Tx, key *model.KMSKey) error {
		key.State, key.DeletionDate, key.PendingWindowDays = model.KMSKeyDisabled, nil, 0
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kmsapi.CancelKeyDeletionOutput{KeyId: &key.ARN}, nil
}
