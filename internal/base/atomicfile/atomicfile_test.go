package atomicfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"berth.dev/berth/internal/base/atomicfile"
)

func TestWriteSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	for _, content := range []string{"first", "second, longer", "3"} {
		if err := atomicfile.WriteSecret(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != content {
			t.Fatalf("got %q, %v; want %q", got, err, content)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("mode %v, %v; want 0600", info.Mode(), err)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left %v, %v; want the file alone", entries, err)
	}
	if err := atomicfile.WriteSecret(filepath.Join(path, "below-a-file"), nil); err == nil {
		t.Error("a file below a file was written")
	}
}
