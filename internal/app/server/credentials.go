package server

import (
	"context"
	"errors"
	"fmt"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/atomicfile"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/sessions"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
)

// ensureRootKey returns the root user's access key and its secret, and makes
// one at first.
func ensureRootKey(ctx context.Context, s *store.Store, ring *keyring.Keyring, scope arn.Scope) (id, secret string, err error) {
	fresh := &model.AccessKey{ID: ident.AccessKeyID(), PrincipalARN: scope.Root()}
	secret = ident.SecretAccessKey()
	if fresh.Sealed, err = ring.Seal([]byte(secret), keyring.AccessKey(fresh.ID)); err != nil {
		return "", "", fmt.Errorf("sealing the root credentials: %w", err)
	}
	root := fresh
	_, err = s.Update(ctx, func(tx *store.Tx) error {
		for k := range records.AccessKeys.By(tx, records.AccessKeysByUser, "") {
			if k.PrincipalARN == scope.Root() && !k.Inactive {
				root = k
				return nil
			}
		}
		root = fresh
		root.CreatedAt = tx.Now()
		records.AccessKeys.Put(tx, root)
		return nil
	})
	if err != nil {
		return "", "", fmt.Errorf("making the root credentials: %w", err)
	}
	if root == fresh {
		return root.ID, secret, nil
	}
	kept, err := ring.Open(root.Sealed, keyring.AccessKey(root.ID))
	if err != nil {
		return "", "", fmt.Errorf("opening the root credentials: %w", err)
	}
	return root.ID, string(kept), nil
}

// writeCredentials writes a shared credentials file with one profile, default,
// readable by its owner alone. The file is there whole or not at all.
func writeCredentials(file, id, secret string) error {
	return atomicfile.WriteSecret(file, fmt.Appendf(nil, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", id, secret))
}

// credentials finds the secret of an access key for the gateway.
type credentials struct {
	store    *store.Store
	ring     *keyring.Keyring
	sessions *sessions.Sessions
	scope    arn.Scope
}

// Credentials returns the key's secret and whom it speaks for. The error is
// fault.NotFound of a key that does not exist or is inactive, of a token that
// is not the key's, and of a principal that is gone: whoever has the
// credentials of a deleted role learns no more than a stranger.
func (c credentials) Credentials(_ context.Context, accessKeyID, token string) (sigv4.Credential, caller.Identity, error) {
	if token != "" {
		return c.temporary(accessKeyID, token)
	}
	r := c.store.Snapshot()
	key, ok := records.AccessKeys.Get(r, accessKeyID)
	if !ok || key.Inactive {
		return sigv4.Credential{}, caller.Identity{}, fault.New(fault.NotFound, "access key %s", accessKeyID)
	}
	who, ok := c.owner(r, key)
	if !ok {
		return sigv4.Credential{}, caller.Identity{}, fault.New(fault.NotFound, "the user of access key %s", accessKeyID)
	}
	secret, err := c.ring.Open(key.Sealed, keyring.AccessKey(key.ID))
	if err != nil {
		return sigv4.Credential{}, caller.Identity{}, fmt.Errorf("opening access key %s: %w", accessKeyID, err)
	}
	return sigv4.Credential{SecretAccessKey: string(secret)}, who, nil
}

// owner is whom a long-lived key speaks for.
func (c credentials) owner(r store.Reader, key *model.AccessKey) (caller.Identity, bool) {
	if key.UserName == "" {
		return caller.Identity{AccountID: c.scope.AccountID, ARN: key.PrincipalARN, UserID: c.scope.AccountID}, key.PrincipalARN == c.scope.Root()
	}
	user, ok := records.Users.Get(r, model.FoldName(key.UserName))
	if !ok {
		return caller.Identity{}, false
	}
	return caller.Identity{AccountID: c.scope.AccountID, ARN: c.scope.IAM("user", user.Path, user.Name), UserID: user.ID, UserName: user.Name}, true
}

// temporary reads a session token, and makes sure that the principal that it
// was given to is the one that has its name now.
func (c credentials) temporary(accessKeyID, token string) (sigv4.Credential, caller.Identity, error) {
	secret, who, err := c.sessions.Open(accessKeyID, token)
	if err != nil {
		return sigv4.Credential{}, caller.Identity{}, err
	}
	if who.Session == nil {
		return sigv4.Credential{}, caller.Identity{}, errors.New("a session token describes no session")
	}
	if _, _, ok := records.Holder(c.store.Snapshot(), &who); !ok {
		return sigv4.Credential{}, caller.Identity{}, fault.New(fault.NotFound, "the principal of session %s", accessKeyID)
	}
	return sigv4.Credential{SecretAccessKey: secret, SessionToken: token, Expires: who.Session.Expires}, who, nil
}
