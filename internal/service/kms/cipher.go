package kms

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/keys"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/kmsapi"
	"berth.dev/berth/internal/wire/caller"
)

// algorithm checks the algorithm that a request names. Keys here have one.
func algorithm(named kmsapi.EncryptionAlgorithmSpec, key *model.KMSKey) error {
	if named != "" && named != kmsapi.EncryptionAlgorithmSpecSymmetricDefault {
		return &kmsapi.InvalidKeyUsageException{Message: new("Algorithm " + string(named) + " is incompatible with key spec " + key.Spec + ".")}
	}
	return nil
}

// rehearsed is the answer to a request that would have succeeded.
func rehearsed(dryRun *bool) error {
	if value(dryRun) {
		return &kmsapi.DryRunOperationException{Message: new("The request would have succeeded, but the DryRun option is set.")}
	}
	return nil
}

// noEnclave refuses to encrypt an answer for an enclave.
func noEnclave(recipient *kmsapi.RecipientInfo) error {
	if recipient != nil {
		return invalid("Recipient is not supported: Berth has no Nitro Enclaves.")
	}
	return nil
}

// noModifiers refuses to rehearse a call without its ciphertext.
func noModifiers(modifiers []kmsapi.DryRunModifierType) error {
	if len(modifiers) > 0 {
		return invalid("DryRunModifiers are not supported: a dry run needs the ciphertext.")
	}
	return nil
}

// encrypting finds the key of an operation that encrypts.
func (p *Provider) encrypting(name *string, operation string) (*model.KMSKey, error) {
	key, err := p.find(p.store.Snapshot(), name)
	if err != nil {
		return nil, err
	}
	return key, worded(p.keys.Usable(key, model.KMSEncryptDecrypt, operation))
}

// Encrypt implements kmsapi.Service.
func (p *Provider) Encrypt(_ context.Context, in *kmsapi.EncryptInput) (*kmsapi.EncryptOutput, error) {
	key, err := p.encrypting(in.KeyId, "Encrypt")
	if err != nil {
		return nil, err
	}
	if err := algorithm(in.EncryptionAlgorithm, key); err != nil {
		return nil, err
	}
	if err := rehearsed(in.DryRun); err != nil {
		return nil, err
	}
	blob, err := p.keys.Encrypt(key, in.Plaintext, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	return &kmsapi.EncryptOutput{CiphertextBlob: blob, KeyId: &key.ARN, EncryptionAlgorithm: kmsapi.EncryptionAlgorithmSpecSymmetricDefault}, nil
}

// decrypting is what an operation needs to open a ciphertext.
type decrypting struct {
	operation, action string
	blob              []byte
	keyID             *string
	context           map[string]string
	algorithm         kmsapi.EncryptionAlgorithmSpec
}

// errNoAccess is what AWS says of a ciphertext that names a key which the
// caller may not use, or which is not here.
func errNoAccess() error {
	return fault.New(fault.Denied, "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.")
}

// key finds the key of a ciphertext. When the request names none, the gateway
// could not ask whether the caller may use it; then this does.
func (p *Provider) key(ctx context.Context, d decrypting) (*model.KMSKey, error) {
	if len(d.blob) == 0 {
		return nil, invalid("1 validation error detected: Value at 'ciphertextBlob' failed to satisfy constraint: Member must not be null")
	}
	snap := p.store.Snapshot()
	if d.keyID != nil {
		named, err := p.find(snap, d.keyID)
		if err != nil {
			return nil, err
		}
		key, err := p.keys.KeyOf(snap, d.blob)
		if named.Usage != model.KMSEncryptDecrypt || err == nil && key.ID != named.ID {
			return nil, &kmsapi.IncorrectKeyException{Message: new("The key ID in the request does not identify a CMK that can perform this operation.")}
		}
		return key, worded(err)
	}
	key, err := p.keys.KeyOf(snap, d.blob)
	if err != nil {
		if _, ok := keys.Material(d.blob); ok {
			return nil, errNoAccess()
		}
		return nil, worded(err)
	}
	conditions := map[string][]string{"kms:EncryptionAlgorithm": {keys.SymmetricDefault}}
	if len(d.context) > 0 {
		conditions["kms:EncryptionContextKeys"] = slices.Sorted(maps.Keys(d.context))
	}
	for name, value := range d.context {
		conditions["kms:EncryptionContext:"+name] = []string{value}
	}
	if err := caller.Check(ctx, d.action, key.ARN, conditions); errors.Is(err, fault.Denied) {
		return nil, errNoAccess()
	} else if err != nil {
		return nil, err
	}
	return key, nil
}

// decrypt opens a ciphertext.
func (p *Provider) decrypt(ctx context.Context, d decrypting) (*model.KMSKey, []byte, error) {
	key, err := p.key(ctx, d)
	if err != nil {
		return nil, nil, err
	}
	if err := p.keys.Usable(key, model.KMSEncryptDecrypt, d.operation); err != nil {
		return nil, nil, worded(err)
	}
	if err := algorithm(d.algorithm, key); err != nil {
		return nil, nil, err
	}
	plaintext, err := p.keys.Decrypt(key, d.blob, d.context)
	return key, plaintext, worded(err)
}

// material is the id of the generation of a key that made a ciphertext.
func material(blob []byte) *string {
	id, _ := keys.Material(blob)
	return &id
}

// Decrypt implements kmsapi.Service.
func (p *Provider) Decrypt(ctx context.Context, in *kmsapi.DecryptInput) (*kmsapi.DecryptOutput, error) {
	if err := cmp.Or(noEnclave(in.Recipient), noModifiers(in.DryRunModifiers)); err != nil {
		return nil, err
	}
	key, plaintext, err := p.decrypt(ctx, decrypting{"Decrypt", "kms:Decrypt", in.CiphertextBlob, in.KeyId, in.EncryptionContext, in.EncryptionAlgorithm})
	if err != nil {
		return nil, err
	}
	if err := rehearsed(in.DryRun); err != nil {
		return nil, err
	}
	return &kmsapi.DecryptOutput{
		KeyId: &key.ARN, Plaintext: plaintext, EncryptionAlgorithm: kmsapi.EncryptionAlgorithmSpecSymmetricDefault, KeyMaterialId: material(in.CiphertextBlob),
	}, nil
}

// ReEncrypt implements kmsapi.Service.
func (p *Provider) ReEncrypt(ctx context.Context, in *kmsapi.ReEncryptInput) (*kmsapi.ReEncryptOutput, error) {
	if err := noModifiers(in.DryRunModifiers); err != nil {
		return nil, err
	}
	from, plaintext, err := p.decrypt(ctx, decrypting{"ReEncryptFrom", "kms:ReEncryptFrom", in.CiphertextBlob, in.SourceKeyId, in.SourceEncryptionContext, in.SourceEncryptionAlgorithm})
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	to, err := p.encrypting(in.DestinationKeyId, "ReEncryptTo")
	if err != nil {
		return nil, err
	}
	if err := algorithm(in.DestinationEncryptionAlgorithm, to); err != nil {
		return nil, err
	}
	if err := rehearsed(in.DryRun); err != nil {
		return nil, err
	}
	blob, err := p.keys.Encrypt(to, plaintext, in.DestinationEncryptionContext)
	if err != nil {
		return nil, err
	}
	const symmetric = kmsapi.EncryptionAlgorithmSpecSymmetricDefault
	return &kmsapi.ReEncryptOutput{
		CiphertextBlob: blob, SourceKeyId: &from.ARN, KeyId: &to.ARN, SourceEncryptionAlgorithm: symmetric, DestinationEncryptionAlgorithm: symmetric,
		SourceKeyMaterialId: material(in.CiphertextBlob), DestinationKeyMaterialId: material(blob),
	}, nil
}

// dataKey makes a data key and its ciphertext.
func (p *Provider) dataKey(in *kmsapi.GenerateDataKeyInput, operation string) (*kmsapi.GenerateDataKeyOutput, error) {
	if err := noEnclave(in.Recipient); err != nil {
		return nil, err
	}
	if (in.KeySpec == "") == (in.NumberOfBytes == nil) {
		return nil, invalid("Please specify either number of bytes or key spec.")
	}
	key, err := p.encrypting(in.KeyId, operation)
	if err != nil {
		return nil, err
	}
	if err := rehearsed(in.DryRun); err != nil {
		return nil, err
	}
	size := value(in.NumberOfBytes) // its bounds are in the model
	switch in.KeySpec {
	case kmsapi.DataKeySpecAes128:
		size = 16
	case kmsapi.DataKeySpecAes256:
		size = 32
	}
	plaintext := make([]byte, size)
	rand.Read(plaintext) //nolint:errcheck // crypto/rand.Read never fails since Go 1.24
	blob, err := p.keys.Encrypt(key, plaintext, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	return &kmsapi.GenerateDataKeyOutput{CiphertextBlob: blob, Plaintext: plaintext, KeyId: &key.ARN, KeyMaterialId: material(blob)}, nil
}

// GenerateDataKey implements kmsapi.Service.
func (p *Provider) GenerateDataKey(_ context.Context, in *kmsapi.GenerateDataKeyInput) (*kmsapi.GenerateDataKeyOutput, error) {
	return p.dataKey(in, "GenerateDataKey")
}

// GenerateDataKeyWithoutPlaintext implements kmsapi.Service.
func (p *Provider) GenerateDataKeyWithoutPlaintext(_ context.Context, in *kmsapi.GenerateDataKeyWithoutPlaintextInput) (*kmsapi.GenerateDataKeyWithoutPlaintextOutput, error) {
	out, err := p.dataKey(&kmsapi.GenerateDataKeyInput{
		KeyId: in.KeyId, EncryptionContext: in.EncryptionContext, NumberOfBytes: in.NumberOfBytes, KeySpec: in.KeySpec, DryRun: in.DryRun,
	}, "GenerateDataKeyWithoutPlaintext")
	if err != nil {
		return nil, err
	}
	clear(out.Plaintext)
	return &kmsapi.GenerateDataKeyWithoutPlaintextOutput{CiphertextBlob: out.CiphertextBlob, KeyId: out.KeyId, KeyMaterialId: out.KeyMaterialId}, nil
}

// GenerateRandom implements kmsapi.Service.
func (p *Provider) GenerateRandom(_ context.Context, in *kmsapi.GenerateRandomInput) (*kmsapi.GenerateRandomOutput, error) {
	if err := noEnclave(in.Recipient); err != nil {
		return nil, err
	}
	if in.CustomKeyStoreId != nil {
		return nil, unsupported("Custom key stores are not supported: Berth makes random bytes itself.")
	}
	if in.NumberOfBytes == nil {
		return nil, invalid("NumberOfBytes is required.")
	}
	random := make([]byte, *in.NumberOfBytes)
	rand.Read(random) //nolint:errcheck // see dataKey
	return &kmsapi.GenerateRandomOutput{Plaintext: random}, nil
}
