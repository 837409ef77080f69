package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"berth.dev/berth/internal/base/atomicfile"
)

// keyFile is the name of the key in the directory given to Open.
const keyFile = "seal.key"

// ErrSealed says that a file cannot be opened: another key sealed it, it was
// written under another name, or it was changed.
var ErrSealed = errors.New("not sealed by this node under this name")

// Key seals and opens. It is safe for concurrent use.
type Key struct{ primitive tink.AEAD }

// Open reads the node's key from dir, or makes one at first. A key that is
// damaged is an error: what it sealed is lost, and whoever removes it says so.
func Open(dir string) (*Key, error) {
	file := filepath.Join(dir, keyFile)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = generate(file)
	}
	if err != nil {
		return nil, fmt.Errorf("the node's sealing key: %w", err)
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		// Not wrapped: it may say what the file holds.
		return nil, fmt.Errorf("%s is damaged: remove it, and what it sealed is fetched again", file)
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("%s holds no key for authenticated encryption", file)
	}
	return &Key{primitive}, nil
}

func generate(file string) ([]byte, error) {
	handle, err := keyset.NewHandle(aead.XAES256GCM192BitNonceKeyTemplate())
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&out)); err != nil {
		return nil, err
	}
	return out.Bytes(), atomicfile.WriteSecret(file, out.Bytes())
}

// Seal encrypts data for a name.
func (k *Key) Seal(name string, data []byte) ([]byte, error) {
	return k.primitive.Encrypt(data, []byte(name))
}

// Unseal is the inverse of Seal, or ErrSealed.
func (k *Key) Unseal(name string, sealed []byte) ([]byte, error) {
	data, err := k.primitive.Decrypt(sealed, []byte(name))
	if err != nil {
		return nil, ErrSealed
	}
	return data, nil
}

// WriteFile replaces a file with data, sealed under the file's own name. A
// crash leaves the old content or the new.
func (k *Key) WriteFile(path string, data []byte) error {
	sealed, err := k.Seal(filepath.Base(path), data)
	if err != nil {
		return err
	}
	return atomicfile.WriteSecret(path, sealed)
}

// ReadFile is the inverse of WriteFile. The error is one of the file system,
// or ErrSealed.
func (k *Key) ReadFile(path string) ([]byte, error) {
	sealed, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	data, err := k.Unseal(filepath.Base(path), sealed)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}
