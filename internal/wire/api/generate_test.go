package api

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGenerate: what is committed is what tools/apigen makes of the models.
// The models lie outside the project and need not be there.
func TestGenerate(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	models := filepath.Join(root, "../shared/models")
	if _, err := os.Stat(models); err != nil {
		t.Skipf("skipped, since the service models are not there: %v", err)
	}
	out := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "run", ".", "-models", models, "-out", out)
	cmd.Dir = filepath.Join(root, "tools/apigen")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("apigen: %v\n%s", err, b)
	}
	if diff := cmp.Diff(generated(t, "."), generated(t, out)); diff != "" {
		t.Errorf("committed files are not what apigen writes; run make generate. -committed +generated:\n%.5000s", diff)
	}
}

// generated is the text of all generated files below dir.
func generated(t *testing.T, dir string) map[string]string {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_gen.go") {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		files[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no generated files in %s", dir)
	}
	return files
}
