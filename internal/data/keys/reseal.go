package keys

import (
	"context"
	"errors"
	"fmt"

	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// ErrOtherKeyring says that the store was sealed under another master key.
var ErrOtherKeyring = errors.New("the master key is not the one that sealed this state: give back the old keyset, or make it part of the new one")

// Reseal runs at every start, before anything is served. It seals what an
// older Berth stored in clear: secrets of access keys and private keys of
// certificates. And it opens one of each kind of sealed record, so that a
// control plane with a wrong master key does not start, instead of sealing
// anew what nobody can read together with the old.
func Reseal(ctx context.Context, s *store.Store, ring *keyring.Keyring) error {
	if err := verify(s.Snapshot(), ring); err != nil {
		return err
	}
	var accessKeys, certificates []string
	for k := range records.AccessKeys.All(s.Snapshot()) {
		if k.Clear != "" {
			accessKeys = append(accessKeys, k.Key())
		}
	}
	for c := range records.Certificates.All(s.Snapshot()) {
		if c.Clear != "" {
			certificates = append(certificates, c.Key())
		}
	}
	if _, err := store.Batch(ctx, s, accessKeys, func(tx *store.Tx, id string) error {
		return ignoreGone(records.AccessKeys.Edit(tx, id, func(k *model.AccessKey) (err error) {
			return reseal(ring, &k.Clear, &k.Sealed, keyring.AccessKey(k.ID))
		}))
	}); err != nil {
		return fmt.Errorf("sealing the secrets of access keys: %w", err)
	}
	if _, err := store.Batch(ctx, s, certificates, func(tx *store.Tx, arn string) error {
		return ignoreGone(records.Certificates.Edit(tx, arn, func(c *model.Certificate) (err error) {
			return reseal(ring, &c.Clear, &c.SealedKey, keyring.CertificateKey(c.ARN))
		}))
	}); err != nil {
		return fmt.Errorf("sealing the private keys of certificates: %w", err)
	}
	return nil
}

func reseal(ring *keyring.Keyring, text *string, sealed *[]byte, purpose string) (err error) {
	if *text == "" {
		return nil
	}
	*sealed, err = ring.Seal([]byte(*text), purpose)
	*text = ""
	return err
}

func ignoreGone(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// verify opens the first sealed record of each kind.
func verify(r store.Reader, ring *keyring.Keyring) error {
	try := func(sealed []byte, purpose string) error {
		if _, err := ring.Open(sealed, purpose); err != nil {
			return fmt.Errorf("%w: %w", ErrOtherKeyring, err)
		}
		return nil
	}
	for k := range records.AccessKeys.All(r) {
		if len(k.Sealed) > 0 {
			if err := try(k.Sealed, keyring.AccessKey(k.ID)); err != nil {
				return err
			}
			break
		}
	}
	for c := range records.Certificates.All(r) {
		if len(c.SealedKey) > 0 {
			if err := try(c.SealedKey, keyring.CertificateKey(c.ARN)); err != nil {
				return err
			}
			break
		}
	}
	for k := range records.KMSKeys.All(r) {
		for _, m := range k.Materials {
			return try(m.Sealed, purpose(k.ID, m.ID))
		}
	}
	return nil
}
