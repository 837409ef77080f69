package keys

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// keyID is the form of a key's id; those of multi-region keys begin with mrk-.
var keyID = regexp.MustCompile(`^([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|mrk-[0-9a-f]{32})$`)

// ARN is the ARN of what KMS has in this account: key/<id> or alias/<name>.
func (k *Keys) ARN(resource string) string {
	return k.cfg.Scope.Regional("kms", resource)
}

// Find resolves what users name a key by: id, ARN, alias or alias ARN. Its
// errors are *Error with ErrNotFound.
func (k *Keys) Find(r store.Reader, name string) (*model.KMSKey, error) {
	resource := name
	if arn.Is(name) {
		a, err := arn.Parse(name)
		switch {
		case err != nil || a.Service != "kms":
			return nil, notFound("Invalid arn %s", name)
		case a.Region != k.cfg.Scope.Region:
			return nil, notFound("Invalid arn %s", a.Region) // AWS names what is wrong with it
		case a.AccountID != k.cfg.Scope.AccountID || a.Partition != k.cfg.Scope.Partition:
			return nil, k.absent(name, a.Resource)
		}
		resource = a.Resource
		if id, ok := strings.CutPrefix(resource, "key/"); ok {
			resource = id
		} else if !strings.HasPrefix(resource, "alias/") {
			return nil, notFound("Invalid arn %s", name)
		}
	}
	if strings.HasPrefix(resource, "alias/") {
		alias, ok := records.KMSAliases.Get(r, resource)
		if !ok {
			return nil, notFound("Alias %s is not found.", k.ARN(resource))
		}
		return k.byID(r, alias.KeyID)
	}
	if !keyID.MatchString(resource) {
		return nil, notFound("Invalid keyId '%s'", resource)
	}
	return k.byID(r, resource)
}

// absent is the error for the ARN of what another account has.
func (k *Keys) absent(name, resource string) error {
	if strings.HasPrefix(resource, "alias/") {
		return notFound("Alias %s is not found.", name)
	}
	return notFound("Key '%s' does not exist", name)
}

// Ensure returns the id of the key behind name, and makes the AWS-managed ones
// when they are not there yet. It runs a transaction of its own.
func (k *Keys) Ensure(ctx context.Context, name string) (keyID string, err error) {
	key, err := k.Find(k.cfg.Store.Snapshot(), name)
	if err == nil {
		return key.ID, nil
	}
	alias, ok := k.managed(name)
	if !ok {
		return "", err
	}
	made, err := k.managedKey(alias)
	if err != nil {
		return "", err
	}
	_, err = k.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		if made, ok := records.KMSAliases.Get(tx, alias); ok { // somebody else was first
			keyID = made.KeyID
			return nil
		}
		now := tx.Now()
		keyID, made.CreatedAt, made.Materials[0].CreatedAt = made.ID, now, now
		made.NextRotation = new(now.AddDate(0, 0, int(made.RotationDays)))
		records.KMSKeys.Put(tx, made)
		records.KMSAliases.Put(tx, &model.KMSAlias{Name: alias, KeyID: made.ID, CreatedAt: now, UpdatedAt: now})
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("making the key of %s: %w", alias, err)
	}
	return keyID, nil
}
