package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Config says where the master key is.
type Config struct {
	// File holds the master keyset with mode 0600; it is made when it is not
	// there and Command is empty.
	File string
	// Command is run with sh -c and prints the master keyset; then there is no
	// file.
	Command string
}

// ErrSealed says that a value cannot be opened: another master key sealed it,
// it was sealed for another purpose, or it was changed.
var ErrSealed = errors.New("not sealed by this master key for this purpose")

// Keyring seals and opens under the master key. It is safe for concurrent use.
type Keyring struct{ primitive tink.AEAD }

// Open reads the master key, or makes one at first.
func Open(ctx context.Context, cfg Config) (*Keyring, error) {
	var text []byte
	var err error
	switch {
	case cfg.Command != "":
		text, err = run(ctx, cfg.Command)
	case cfg.File != "":
		text, err = load(cfg.File)
	default:
		return nil, errors.New("master key: neither a file nor a command is configured")
	}
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	k, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	return k, nil
}

// Parse makes a keyring of the text of a keyset: Tink's JSON, or its binary
// form.
func Parse(text []byte) (*Keyring, error) {
	handle, err := parse(text)
	if err != nil {
		return nil, err
	}
	primitive, err := aead.New(handle)
	if err != nil {
		// As above: the error is of what the keyset says.
		return nil, errors.New("the keyset has a key that is not for authenticated encryption (Tink's AEAD)")
	}
	return &Keyring{primitive}, nil
}

// Ephemeral makes a keyring of a key that nobody keeps: what it seals is lost
// with the process.
func Ephemeral() (*Keyring, error) {
	text, err := Generate()
	if err != nil {
		return nil, err
	}
	return Parse(text)
}

// masterTemplate is AES-256-GCM with keys derived from 192-bit nonces: session
// tokens are sealed with every AssumeRole, and plain GCM with its random 96-bit
// nonces must not seal more than 2³² messages under one key.
func masterTemplate() *tinkpb.KeyTemplate { return aead.XAES256GCM192BitNonceKeyTemplate() }

// Generate makes a keyset with one key, as JSON.
func Generate() ([]byte, error) {
	handle, err := keyset.NewHandle(masterTemplate())
	if err != nil {
		return nil, fmt.Errorf("making a keyset: %w", err)
	}
	return encode(handle)
}

// Rotate adds a key to a keyset and makes it the primary one. The older keys
// stay, so that what they sealed can be opened.
func Rotate(text []byte) ([]byte, error) {
	handle, err := parse(text)
	if err != nil {
		return nil, err
	}
	manager := keyset.NewManagerFromHandle(handle)
	id, err := manager.Add(masterTemplate())
	if err != nil {
		return nil, fmt.Errorf("adding a key to the keyset: %w", err)
	}
	if err := manager.SetPrimary(id); err != nil {
		return nil, fmt.Errorf("making the new key the primary one: %w", err)
	}
	if handle, err = manager.Handle(); err != nil {
		return nil, fmt.Errorf("making a keyset: %w", err)
	}
	return encode(handle)
}

func parse(text []byte) (*keyset.Handle, error) {
	text = bytes.Clone(text)
	defer clear(text)
	var reader keyset.Reader
	if trimmed := bytes.TrimSpace(text); bytes.HasPrefix(trimmed, []byte("{")) {
		reader = keyset.NewJSONReader(bytes.NewReader(trimmed))
	} else {
		reader = keyset.NewBinaryReader(bytes.NewReader(text))
	}
	// The decoder's error quotes the input, which is the key: it is dropped.
	handle, err := insecurecleartextkeyset.Read(reader)
	if err != nil {
		return nil, errors.New("not a Tink keyset; berth makes one as JSON")
	}
	return handle, nil
}

func encode(handle *keyset.Handle) ([]byte, error) {
	var out bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&out)); err != nil {
		return nil, errors.New("the keyset cannot be encoded")
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// bind keeps what the keyring seals apart from whatever else the operator
// may use the same keyset for.
func bind(purpose string) []byte { return []byte("berth/keyring/v1/" + purpose) }

// Seal encrypts plaintext. What is sealed can be opened with the same purpose
// only, such as "access key AKIA…": a sealed value is worth nothing elsewhere.
func (k *Keyring) Seal(plaintext []byte, purpose string) ([]byte, error) {
	sealed, err := k.primitive.Encrypt(plaintext, bind(purpose))
	if err != nil {
		return nil, fmt.Errorf("sealing %s: %w", purpose, err)
	}
	return sealed, nil
}

// Open decrypts. An error says nothing about the content; it is ErrSealed.
func (k *Keyring) Open(sealed []byte, purpose string) ([]byte, error) {
	plaintext, err := k.primitive.Decrypt(sealed, bind(purpose))
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", purpose, ErrSealed)
	}
	return plaintext, nil
}
