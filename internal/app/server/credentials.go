package server

import (
	"context"
	"fmt"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/atomicfile"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
)

// ensureRootKey returns the root user's access key and makes one at first.
func ensureRootKey(ctx context.Context, s *store.Store, scope arn.Scope) (*model.AccessKey, error) {
	var root *model.AccessKey
	_, err := s.Update(ctx, func(tx *store.Tx) error {
		for k := range records.AccessKeys.All(tx) {
			if k.PrincipalARN == scope.Root() {
				root = k
				return nil
			}
		}
		root = &model.AccessKey{
			ID: ident.AccessKeyID(), Clear: ident.SecretAccessKey(),
			PrincipalARN: scope.Root(), CreatedAt: tx.Now(),
		}
		records.AccessKeys.Put(tx, root)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("making the root credentials: %w", err)
	}
	return root, nil
}

// writeCredentials writes a shared credentials file with one profile, default,
// readable by its owner alone. The file is there whole or not at all.
func writeCredentials(file string, key *model.AccessKey) error {
	return atomicfile.WriteSecret(file, fmt.Appendf(nil, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", key.ID, key.Clear))
}

// credentials finds the secret of an access key for the gateway.
type credentials struct {
	store *store.Store
	scope arn.Scope
}

// Credentials returns the key's secret and whom it speaks for; the error of an
// unknown key is fault.NotFound.
func (c credentials) Credentials(_ context.Context, accessKeyID, _ string) (sigv4.Credential, caller.Identity, error) {
	key, ok := records.AccessKeys.Get(c.store.Snapshot(), accessKeyID)
	if !ok {
		return sigv4.Credential{}, caller.Identity{}, fault.New(fault.NotFound, "access key %s", accessKeyID)
	}
	who := caller.Identity{AccountID: c.scope.AccountID, ARN: key.PrincipalARN, UserID: c.scope.AccountID}
	return sigv4.Credential{SecretAccessKey: key.Clear}, who, nil
}
