package iam

import (
	"context"
	"fmt"
	"slices"
	"time"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/iamapi"
)

// keyOwner makes sure that the owner of access keys exists, and makes the
// transaction depend on that. The root user, whose name is empty, always does.
func keyOwner(tx *store.Tx, name string) error {
	if name == "" {
		return nil
	}
	u, err := user(tx, name)
	if err != nil {
		return err
	}
	records.Users.Guard(tx, u.Key())
	return nil
}

// CreateAccessKey implements iamapi.Service. Without a name it is the caller's.
// The secret is in the answer and nowhere else in clear.
func (p *Provider) CreateAccessKey(ctx context.Context, in *iamapi.CreateAccessKeyInput) (*iamapi.CreateAccessKeyOutput, error) {
	name, err := userOrCaller(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	made, secret := &model.AccessKey{ID: ident.AccessKeyID(), UserName: name}, ident.SecretAccessKey()
	if name == "" {
		made.PrincipalARN = p.scope.Root()
	}
	if made.Sealed, err = p.ring.Seal([]byte(secret), keyring.AccessKey(made.ID)); err != nil {
		return nil, fmt.Errorf("seal an access key: %w", err)
	}
	if err := p.update(ctx, func(tx *store.Tx) error {
		if err := keyOwner(tx, name); err != nil {
			return err
		}
		folded := model.FoldName(name)
		records.AccessKeys.GuardIndex(tx, records.AccessKeysByUser, folded)
		if len(slices.Collect(records.AccessKeys.By(tx, records.AccessKeysByUser, folded))) >= maxKeysPerUser {
			return overQuota("AccessKeysPerUser", maxKeysPerUser)
		}
		made.CreatedAt = tx.Now().Truncate(time.Second)
		records.AccessKeys.Put(tx, made)
		return nil
	}); err != nil {
		return nil, err
	}
	return &iamapi.CreateAccessKeyOutput{AccessKey: &iamapi.AccessKey{
		UserName: &made.UserName, AccessKeyId: &made.ID, Status: iamapi.StatusTypeActive, SecretAccessKey: &secret, CreateDate: &made.CreatedAt,
	}}, nil
}

// accessKey finds a key of an owner.
func accessKey(tx *store.Tx, name, id string) (*model.AccessKey, error) {
	if name != "" {
		if _, err := user(tx, name); err != nil {
			return nil, err
		}
	}
	found, ok := records.AccessKeys.Get(tx, id)
	if !ok || found.UserName != name {
		return nil, noSuch("The Access Key with id %s cannot be found.", id)
	}
	return found, nil
}

// UpdateAccessKey implements iamapi.Service.
func (p *Provider) UpdateAccessKey(ctx context.Context, in *iamapi.UpdateAccessKeyInput) (*iamapi.UpdateAccessKeyOutput, error) {
	name, err := userOrCaller(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	if in.Status == iamapi.StatusTypeExpired {
		return nil, invalid("Access keys do not expire: Status must be Active or Inactive.")
	}
	if err := p.update(ctx, func(tx *store.Tx) error {
		found, err := accessKey(tx, name, *in.AccessKeyId)
		if err != nil {
			return err
		}
		return records.AccessKeys.Edit(tx, found.Key(), func(k *model.AccessKey) error {
			k.Inactive = in.Status == iamapi.StatusTypeInactive
			return nil
		})
	}); err != nil {
		return nil, err
	}
	return &iamapi.UpdateAccessKeyOutput{}, nil
}

// DeleteAccessKey implements iamapi.Service.
func (p *Provider) DeleteAccessKey(ctx context.Context, in *iamapi.DeleteAccessKeyInput) (*iamapi.DeleteAccessKeyOutput, error) {
	name, err := userOrCaller(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	if err := p.update(ctx, func(tx *store.Tx) error {
		found, err := accessKey(tx, name, *in.AccessKeyId)
		if err != nil {
			return err
		}
		records.AccessKeys.Delete(tx, found.Key())
		return nil
	}); err != nil {
		return nil, err
	}
	return &iamapi.DeleteAccessKeyOutput{}, nil
}

// ListAccessKeys implements iamapi.Service.
func (p *Provider) ListAccessKeys(ctx context.Context, in *iamapi.ListAccessKeysInput) (*iamapi.ListAccessKeysOutput, error) {
	name, err := userOrCaller(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	if name != "" {
		if _, err := user(snap, name); err != nil {
			return nil, err
		}
	}
	found := slices.Collect(records.AccessKeys.By(snap, records.AccessKeysByUser, model.FoldName(name)))
	part, err := pageOf(asked{"ListAccessKeys", in.Marker, in.MaxItems}, found, (*model.AccessKey).Key)
	if err != nil {
		return nil, err
	}
	return &iamapi.ListAccessKeysOutput{AccessKeyMetadata: each(part.items, keyShape), IsTruncated: part.truncated, Marker: part.marker}, nil
}

func keyShape(k *model.AccessKey) iamapi.AccessKeyMetadata {
	shape := iamapi.AccessKeyMetadata{AccessKeyId: &k.ID, Status: iamapi.StatusTypeActive, CreateDate: &k.CreatedAt}
	if k.UserName != "" {
		shape.UserName = &k.UserName
	}
	if k.Inactive {
		shape.Status = iamapi.StatusTypeInactive
	}
	return shape
}
