package keys

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	macsubtle "github.com/tink-crypto/tink-go/v2/mac/subtle"
	"github.com/tink-crypto/tink-go/v2/tink"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// SymmetricDefault is the spec of keys that encrypt, and the name of their
// algorithm.
const SymmetricDefault = "SYMMETRIC_DEFAULT"

// materialBytes is the length of a material's id, which AWS prints as 64
// hexadecimal digits.
const materialBytes = 32

// macOf is the hash of the keys of a spec for message authentication, and the
// length of key and tag in bytes.
func macOf(spec string) (hash string, size int, ok bool) {
	switch spec {
	case "HMAC_224":
		return "SHA224", 28, true
	case "HMAC_256":
		return "SHA256", 32, true
	case "HMAC_384":
		return "SHA384", 48, true
	case "HMAC_512":
		return "SHA512", 64, true
	}
	return "", 0, false
}

// purpose binds a material to its place: the record of one key, one generation.
func purpose(keyID, materialID string) string { return "KMS key " + keyID + " material " + materialID }

// NewMaterial makes a generation of a key.
func (k *Keys) NewMaterial(keyID, spec string, at time.Time, onDemand bool) (model.KMSMaterial, error) {
	secret, err := newSecret(spec)
	if err != nil {
		return model.KMSMaterial{}, err
	}
	defer clear(secret)
	m := model.KMSMaterial{ID: ident.Hex(2 * materialBytes), CreatedAt: at, OnDemand: onDemand}
	if m.Sealed, err = k.cfg.Ring.Seal(secret, purpose(keyID, m.ID)); err != nil {
		return model.KMSMaterial{}, err
	}
	return m, nil
}

// newSecret makes what a material seals: for a key that encrypts a Tink keyset
// of one AES-256-GCM key with derived keys and 192-bit nonces, so that the
// number of blobs under one generation has no limit in practice; for one that
// authenticates the key itself.
func newSecret(spec string) ([]byte, error) {
	if _, size, ok := macOf(spec); ok {
		secret := make([]byte, size)
		rand.Read(secret) //nolint:errcheck // crypto/rand.Read never fails since Go 1.24
		return secret, nil
	}
	if spec != SymmetricDefault {
		return nil, fmt.Errorf("keys of spec %s cannot be made", spec)
	}
	handle, err := keyset.NewHandle(aead.XAES256GCM192BitNonceNoPrefixKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("making key material: %w", err)
	}
	var out bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewBinaryWriter(&out)); err != nil {
		return nil, errors.New("key material cannot be encoded")
	}
	return out.Bytes(), nil
}

// reveal opens a generation of a key.
func (k *Keys) reveal(key *model.KMSKey, m model.KMSMaterial) ([]byte, error) {
	secret, err := k.cfg.Ring.Open(m.Sealed, purpose(key.ID, m.ID))
	if err != nil {
		return nil, fmt.Errorf("the material of %s: %w", key.ARN, err)
	}
	return secret, nil
}

// wrapper is the primitive that wraps data keys.
func (k *Keys) wrapper(key *model.KMSKey, m model.KMSMaterial) (tink.AEAD, error) {
	secret, err := k.reveal(key, m)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	handle, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(secret)))
	if err != nil {
		return nil, fmt.Errorf("the material of %s is damaged", key.ARN)
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("the material of %s is not for encryption", key.ARN)
	}
	return primitive, nil
}

// Encrypt makes a blob under the newest material of a key, which must be
// usable.
func (k *Keys) Encrypt(key *model.KMSKey, plaintext []byte, encryptionContext map[string]string) ([]byte, error) {
	if len(key.Materials) == 0 {
		return nil, fmt.Errorf("%s has no material", key.ARN)
	}
	newest := key.Materials[len(key.Materials)-1]
	wrapper, err := k.wrapper(key, newest)
	if err != nil {
		return nil, err
	}
	out, ok := header(key.ID, newest.ID)
	if !ok {
		return nil, fmt.Errorf("%s has a material of the wrong form", key.ARN)
	}
	dataKey := make([]byte, dataKeyBytes)
	defer clear(dataKey)
	rand.Read(dataKey) //nolint:errcheck // see newSecret
	wrapped, err := wrapper.Encrypt(dataKey, bind(out, encryptionContext))
	if err != nil {
		return nil, fmt.Errorf("wrapping a data key: %w", err)
	}
	if len(wrapped) > maxWrapped {
		return nil, fmt.Errorf("a wrapped data key has %d bytes", len(wrapped))
	}
	out = append(append(out, byte(len(wrapped))), wrapped...)
	envelope, err := subtle.NewAESGCM(dataKey)
	if err != nil {
		return nil, fmt.Errorf("making a data key: %w", err)
	}
	ciphertext, err := envelope.Encrypt(plaintext, bind(out, encryptionContext))
	if err != nil {
		return nil, fmt.Errorf("encrypting: %w", err)
	}
	return append(out, ciphertext...), nil
}

// KeyOf finds the key that made a blob. What is not a blob of a key of this
// account is ErrInvalidCiphertext.
func (k *Keys) KeyOf(r store.Reader, sealed []byte) (*model.KMSKey, error) {
	b, ok := parseBlob(sealed)
	if !ok {
		return nil, invalidCiphertext()
	}
	key, ok := records.KMSKeys.Get(r, b.keyID)
	if !ok {
		return nil, invalidCiphertext()
	}
	return key, nil
}

// Material returns the id of the generation that made a blob.
func Material(sealed []byte) (id string, ok bool) {
	b, ok := parseBlob(sealed)
	return b.materialID, ok
}

// Decrypt opens a blob of a key, which must be usable. Another key's blob,
// another encryption context and a changed blob are ErrInvalidCiphertext.
func (k *Keys) Decrypt(key *model.KMSKey, sealed []byte, encryptionContext map[string]string) ([]byte, error) {
	b, ok := parseBlob(sealed)
	if !ok || b.keyID != key.ID {
		return nil, invalidCiphertext()
	}
	i := slices.IndexFunc(key.Materials, func(m model.KMSMaterial) bool { return m.ID == b.materialID })
	if i < 0 {
		return nil, invalidCiphertext()
	}
	wrapper, err := k.wrapper(key, key.Materials[i])
	if err != nil {
		return nil, err
	}
	dataKey, err := wrapper.Decrypt(b.wrapped, bind(b.header, encryptionContext))
	if err != nil {
		return nil, invalidCiphertext()
	}
	defer clear(dataKey)
	envelope, err := subtle.NewAESGCM(dataKey)
	if err != nil {
		return nil, invalidCiphertext()
	}
	plaintext, err := envelope.Decrypt(b.ciphertext, bind(b.envelope, encryptionContext))
	if err != nil {
		return nil, invalidCiphertext()
	}
	return plaintext, nil
}

// MAC is the tag of a message under a key for message authentication, which
// must be usable. Tags of whole length are the only ones KMS has.
func (k *Keys) MAC(key *model.KMSKey, message []byte) ([]byte, error) {
	mac, err := k.mac(key)
	if err != nil {
		return nil, err
	}
	return mac.ComputeMAC(message)
}

// VerifyMAC reports, in constant time, whether a tag is that of the message.
func (k *Keys) VerifyMAC(key *model.KMSKey, message, tag []byte) (bool, error) {
	mac, err := k.mac(key)
	if err != nil {
		return false, err
	}
	return mac.VerifyMAC(tag, message) == nil, nil
}

func (k *Keys) mac(key *model.KMSKey) (tink.MAC, error) {
	hash, size, ok := macOf(key.Spec)
	if !ok || len(key.Materials) == 0 {
		return nil, fmt.Errorf("%s is not for message authentication", key.ARN)
	}
	secret, err := k.reveal(key, key.Materials[0]) // such keys do not rotate
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	mac, err := macsubtle.NewHMAC(hash, bytes.Clone(secret), uint32(size))
	if err != nil {
		return nil, fmt.Errorf("the material of %s is not for message authentication", key.ARN)
	}
	return mac, nil
}
