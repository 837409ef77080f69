package keys

import (
	"context"
	"maps"
	"slices"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/caller"
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
func New(cfg Config) *Keys {
	if cfg.Scope.Partition == "" {
		cfg.Scope.Partition = "aws"
	}
	return &Keys{cfg}
}

// Seal encrypts plaintext of any length for a service (an envelope: a fresh
// data key under the KMS key). service is the one that asks, such as
// "secretsmanager", for kms:ViaService; empty for KMS itself.
//
// Errors are an *Error, the guard's refusal (fault.Denied), or the store's.
func (k *Keys) Seal(ctx context.Context, service, keyName string, plaintext []byte, encryptionContext map[string]string) (sealed []byte, keyID string, err error) {
	if keyID, err = k.Ensure(ctx, keyName); err != nil {
		return nil, "", err
	}
	key, err := k.byID(k.cfg.Store.Snapshot(), keyID)
	if err != nil {
		return nil, "", err
	}
	actions := []string{"kms:GenerateDataKey", "kms:Decrypt"} // Secrets Manager asks for both, whatever it does
	if service == "ssm" {
		actions = []string{"kms:Encrypt"}
	}
	if err := k.check(ctx, service, key, encryptionContext, actions...); err != nil {
		return nil, "", err
	}
	if err := k.Usable(key, model.KMSEncryptDecrypt, "Encrypt"); err != nil {
		return nil, "", err
	}
	sealed, err = k.Encrypt(key, plaintext, encryptionContext)
	return sealed, keyID, err
}

// Open decrypts what Seal made. Errors are as Seal's.
func (k *Keys) Open(ctx context.Context, service string, sealed []byte, encryptionContext map[string]string) ([]byte, error) {
	key, err := k.KeyOf(k.cfg.Store.Snapshot(), sealed)
	if err != nil {
		return nil, err
	}
	if err := k.check(ctx, service, key, encryptionContext, "kms:Decrypt"); err != nil {
		return nil, err
	}
	if err := k.Usable(key, model.KMSEncryptDecrypt, "Decrypt"); err != nil {
		return nil, err
	}
	return k.Decrypt(key, sealed, encryptionContext)
}

// check asks whether the sender of the request that ctx belongs to may use the
// key through the service. KMS's own calls were authorised by the gateway.
func (k *Keys) check(ctx context.Context, service string, key *model.KMSKey, encryptionContext map[string]string, actions ...string) error {
	if service == "" || key.Manager == model.KMSManagedByAWS {
		return nil
	}
	conditions := k.conditions(ctx, service, encryptionContext)
	for _, action := range actions {
		if err := caller.Check(ctx, action, key.ARN, conditions); err != nil {
			return err
		}
	}
	return nil
}

// conditions are the condition keys that a service's use of a key has.
func (k *Keys) conditions(ctx context.Context, service string, encryptionContext map[string]string) map[string][]string {
	out := map[string][]string{
		"kms:ViaService":          {service + "." + k.cfg.Scope.Region + ".amazonaws.com"},
		"kms:EncryptionAlgorithm": {SymmetricDefault},
	}
	if who, ok := caller.From(ctx); ok {
		out["kms:CallerAccount"] = []string{who.AccountID}
	}
	if len(encryptionContext) > 0 {
		out["kms:EncryptionContextKeys"] = slices.Sorted(maps.Keys(encryptionContext))
	}
	for name, value := range encryptionContext {
		out["kms:EncryptionContext:"+name] = []string{value}
	}
	return out
}

// byID finds a key by its id, which was valid a moment ago.
func (k *Keys) byID(r store.Reader, id string) (*model.KMSKey, error) {
	key, ok := records.KMSKeys.Get(r, id)
	if !ok {
		return nil, notFound("Key '%s' does not exist", k.ARN("key/"+id))
	}
	return key, nil
}
