package seal_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/agent/seal"
)

func open(t *testing.T, dir string) *seal.Key {
	t.Helper()
	k, err := seal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKey_OpensWhatItSealedAndNothingElse(t *testing.T) {
	k, other := open(t, t.TempDir()), open(t, t.TempDir())
	rapid.Check(t, func(t *rapid.T) {
		name, data := rapid.String().Draw(t, "name"), rapid.SliceOf(rapid.Byte()).Draw(t, "data")
		sealed, err := k.Seal(name, data)
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.Unseal(name, sealed)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("got %q, %v", got, err)
		}
		if _, err := other.Unseal(name, sealed); !errors.Is(err, seal.ErrSealed) {
			t.Fatalf("another node's key: %v", err)
		}
		if _, err := k.Unseal(name+"x", sealed); !errors.Is(err, seal.ErrSealed) {
			t.Fatalf("another name: %v", err)
		}
		sealed[rapid.IntRange(0, len(sealed)-1).Draw(t, "at")] ^= 1
		if _, err := k.Unseal(name, sealed); !errors.Is(err, seal.ErrSealed) {
			t.Fatalf("changed: %v", err)
		}
	})
}

func TestKey_SurvivesTheAgent(t *testing.T) {
	dir, secret := t.TempDir(), []byte("a canary in its cage")
	file := filepath.Join(dir, "document")
	if err := open(t, dir).WriteFile(file, secret); err != nil {
		t.Fatal(err)
	}
	if got, err := open(t, dir).ReadFile(file); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("got %q, %v", got, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Fatalf("%v, %v: want the file and the key", entries, err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil || bytes.Contains(data, secret) {
			t.Errorf("%s holds it in clear (%v)", e.Name(), err)
		}
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s may be read by others: %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if err := os.Rename(file, file+"2"); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, dir).ReadFile(file + "2"); !errors.Is(err, seal.ErrSealed) {
		t.Errorf("in another's place: %v", err)
	}
	if _, err := open(t, dir).ReadFile(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
}

func TestOpen_ADamagedKey(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "seal.key"), []byte(`{"canary":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.Open(dir); err == nil || bytes.Contains([]byte(err.Error()), []byte("canary")) {
		t.Errorf("got %v", err)
	}
}
