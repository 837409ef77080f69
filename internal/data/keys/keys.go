package keys

import (
	"context"
	"errors"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// Aliases of the keys that services use when the user names none. They are
// made at their first use.
const (
	SecretsManager = "alias/aws/secretsmanager"
	SSM            = "alias/aws/ssm"
)

// Config is what Keys is made of.
type Config struct {
	Store *store.Store
	Ring  *keyring.Keyring
	Scope arn.Scope
}

// Keys encrypts and decrypts under KMS keys. Where ctx belongs to a request
// and the key is a customer's, its caller must be allowed to use it
// (caller.Check with kms:Encrypt, kms:Decrypt or kms:GenerateDataKey, and
// kms:ViaService when a service asks).
type Keys struct{ cfg Config }

// New returns Keys.
func New(cfg Config) *Keys { return &Keys{cfg} }

// Find resolves what users name a key by: id, ARN, alias or alias ARN. Its
// errors are those below.
func (k *Keys) Find(r store.Reader, name string) (*model.KMSKey, error) {
	return nil, errors.New("not built")
}

// Ensure returns the id of the key behind name, and makes the AWS-managed ones
// when they are not there yet. It runs a transaction of its own.
func (k *Keys) Ensure(ctx context.Context, name string) (keyID string, err error) {
	return "", errors.New("not built")
}

// Seal encrypts plaintext of any length for a service (an envelope: a fresh
// data key under the KMS key). service is the one that asks, such as
// "secretsmanager", for kms:ViaService; empty for KMS itself.
func (k *Keys) Seal(ctx context.Context, service, keyName string, plaintext []byte, encryptionContext map[string]string) (sealed []byte, keyID string, err error) {
	return nil, "", errors.New("not built")
}

// Open decrypts what Seal made.
func (k *Keys) Open(ctx context.Context, service string, sealed []byte, encryptionContext map[string]string) ([]byte, error) {
	return nil, errors.New("not built")
}
