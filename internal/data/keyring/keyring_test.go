package keyring_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/data/keyring"
)

func generate(t *testing.T) []byte {
	t.Helper()
	text, err := keyring.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func parse(t *testing.T, text []byte) *keyring.Keyring {
	t.Helper()
	k, err := keyring.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSealOpen(t *testing.T) {
	ring, other := parse(t, generate(t)), parse(t, generate(t))
	rapid.Check(t, func(t *rapid.T) {
		plaintext := rapid.SliceOf(rapid.Byte()).Draw(t, "plaintext")
		purpose := rapid.String().Draw(t, "purpose")
		sealed, err := ring.Seal(plaintext, purpose)
		if err != nil {
			t.Fatal(err)
		}
		if len(plaintext) >= 8 && bytes.Contains(sealed, plaintext) {
			t.Fatal("the plaintext is in what was sealed")
		}
		opened, err := ring.Open(sealed, purpose)
		if err != nil || !bytes.Equal(opened, plaintext) {
			t.Fatalf("opened %q, %v; want %q", opened, err, plaintext)
		}
		if again, err := ring.Seal(plaintext, purpose); err != nil || bytes.Equal(again, sealed) {
			t.Fatal("sealing twice gave the same")
		}
		refused := func(why string, k *keyring.Keyring, sealed []byte, purpose string) {
			if _, err := k.Open(sealed, purpose); !errors.Is(err, keyring.ErrSealed) {
				t.Fatalf("%s: %v, want ErrSealed", why, err)
			}
		}
		refused("another purpose", ring, sealed, purpose+rapid.StringN(1, 5, -1).Draw(t, "more"))
		refused("another key", other, sealed, purpose)
		refused("cut", ring, sealed[:rapid.IntRange(0, len(sealed)-1).Draw(t, "cut")], purpose)
		changed := bytes.Clone(sealed)
		changed[rapid.IntRange(0, len(sealed)-1).Draw(t, "byte")] ^= byte(1 << rapid.IntRange(0, 7).Draw(t, "bit"))
		refused("changed", ring, changed, purpose)
	})
}

func TestRotate(t *testing.T) {
	first := generate(t)
	second, err := keyring.Rotate(first)
	if err != nil {
		t.Fatal(err)
	}
	old, rotated := parse(t, first), parse(t, second)
	before, err := old.Seal([]byte("v"), "p")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := rotated.Open(before, "p"); err != nil || string(got) != "v" {
		t.Errorf("what the older key sealed opens to %q, %v", got, err)
	}
	after, err := rotated.Seal([]byte("v"), "p")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.Open(after, "p"); !errors.Is(err, keyring.ErrSealed) {
		t.Errorf("the older key alone opens what the newer sealed: %v", err)
	}
	if _, err := keyring.Rotate([]byte("x")); err == nil {
		t.Error("no keyset was rotated")
	}
}

func TestParse_binary(t *testing.T) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	var binary, text bytes.Buffer
	if err := errors.Join(insecurecleartextkeyset.Write(handle, keyset.NewBinaryWriter(&binary)), insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&text))); err != nil {
		t.Fatal(err)
	}
	sealed, err := parse(t, binary.Bytes()).Seal([]byte("v"), "p")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parse(t, append([]byte("\n "), text.Bytes()...)).Open(sealed, "p"); err != nil || string(got) != "v" {
		t.Errorf("the same keyset as JSON opens to %q, %v", got, err)
	}
}

func TestParse_refuses(t *testing.T) {
	handle, err := keyset.NewHandle(mac.HMACSHA256Tag256KeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	var macs bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&macs)); err != nil {
		t.Fatal(err)
	}
	const canary = "hunter2hunter2"
	for name, text := range map[string]string{
		"nothing":               "",
		"words":                 canary,
		"JSON of something":     `{"password": "` + canary + `"}`,
		"half a keyset":         string(generate(t)[:100]),
		"a keyset for other":    macs.String(),
		"a key that is no key":  `{"primaryKeyId": 1, "key": [{"keyData": {"typeUrl": "` + canary + `"}, "status": "ENABLED", "keyId": 1, "outputPrefixType": "TINK"}]}`,
		"a keyset without keys": `{"primaryKeyId": 1}`,
	} {
		if _, err := keyring.Parse([]byte(text)); err == nil {
			t.Errorf("%s was taken for a keyset", name)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error quotes it: %v", name, err)
		}
	}
}

func TestOpen_file(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	open := func() *keyring.Keyring {
		t.Helper()
		k, err := keyring.Open(t.Context(), keyring.Config{File: path})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	// All that start at once end up with one key.
	var wg sync.WaitGroup
	rings := make([]*keyring.Keyring, 8)
	for i := range rings {
		wg.Go(func() {
			k, err := keyring.Open(t.Context(), keyring.Config{File: path})
			if err != nil {
				t.Error(err)
			}
			rings[i] = k
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	sealed, err := rings[0].Seal([]byte("v"), "p")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range append(rings, open()) {
		if got, err := k.Open(sealed, "p"); err != nil || string(got) != "v" {
			t.Fatalf("opened %q, %v", got, err)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left %v, %v; want the file alone", entries, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}

	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := keyring.Open(t.Context(), keyring.Config{File: path}); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %o: %v, want what to do", mode, err)
		}
	}
	for name, path := range map[string]string{"a directory": t.TempDir(), "below nothing": filepath.Join(path, "x"), "no such directory": filepath.Join(t.TempDir(), "a", "b")} {
		if _, err := keyring.Open(t.Context(), keyring.Config{File: path}); err == nil {
			t.Errorf("%s was opened", name)
		}
	}
	if _, err := keyring.Open(t.Context(), keyring.Config{}); err == nil {
		t.Error("a key from nowhere was opened")
	}
}

func TestOpen_damagedFileIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Open(t.Context(), keyring.Config{File: path}); err == nil {
		t.Error("a damaged file was opened")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "damaged" {
		t.Errorf("the file is now %q, %v", text, err)
	}
}

func TestOpen_command(t *testing.T) {
	path := filepath.Join(t.TempDir(), "it's the key")
	text := generate(t)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	sealed, err := parse(t, text).Seal([]byte("v"), "p")
	if err != nil {
		t.Fatal(err)
	}
	unused := filepath.Join(t.TempDir(), "unused")
	k, err := keyring.Open(t.Context(), keyring.Config{File: unused, Command: `cat "` + path + `"; echo asked the vault >&2`})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.Open(sealed, "p"); err != nil || string(got) != "v" {
		t.Errorf("opened %q, %v", got, err)
	}
	if _, err := os.Stat(unused); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was made beside the command: %v", err)
	}

	const canary = "hunter2hunter2"
	for name, command := range map[string]string{
		"fails":          "echo " + canary + "; echo " + canary + " >&2; exit 3",
		"prints nothing": "true",
		"prints words":   "echo " + canary,
		"prints on":      "yes " + canary,
		"is not there":   "/nonexistent/" + canary + " 2>&1",
	} {
		if _, err := keyring.Open(t.Context(), keyring.Config{Command: command}); err == nil {
			t.Errorf("a command that %s gave a key", name)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("a command that %s is quoted: %v", name, err)
		}
	}
}

// A command that hangs, also in what it started itself, ends with the context.
func TestOpen_commandHangs(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "started")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := keyring.Open(ctx, keyring.Config{Command: "sh -c 'echo started > " + fifo + "; cat < " + fifo + "'"})
		done <- err
	}()
	if said, err := os.ReadFile(fifo); err != nil || string(said) != "started\n" { // waits for who writes
		t.Errorf("the command said %q, %v", said, err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was cancelled", err)
	}
}

func TestEphemeral(t *testing.T) {
	a, err := keyring.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	b, err := keyring.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := a.Seal([]byte("v"), "p")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := a.Open(sealed, "p"); err != nil || string(got) != "v" {
		t.Errorf("opened %q, %v", got, err)
	}
	if _, err := b.Open(sealed, "p"); !errors.Is(err, keyring.ErrSealed) {
		t.Errorf("another's opens it: %v", err)
	}
}
