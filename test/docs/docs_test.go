// Package docs_test holds the documentation to what the code says.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

func read(t *testing.T, elem ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{root}, elem...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Every direct dependency has a line that says what for.
func TestDecisions_NameEveryDependency(t *testing.T) {
	var text strings.Builder
	files, err := filepath.Glob(filepath.Join(root, "docs", "decisions", "*-dependencies-*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no decisions about dependencies: %v", err)
	}
	for _, file := range files {
		text.WriteString(read(t, "docs", "decisions", filepath.Base(file)))
	}
	direct := regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(read(t, "go.mod"), -1)
	if len(direct) == 0 {
		t.Fatal("go.mod has no direct dependency")
	}
	for _, m := range direct {
		// Modules of one repository share a line: /service/ecs, client/v3.
		parts := strings.Split(m[1], "/")
		if !strings.Contains(text.String(), strings.Join(parts[:min(3, len(parts))], "/")) && !strings.Contains(text.String(), parts[len(parts)-1]) {
			t.Errorf("%s: docs/decisions does not say what for", m[1])
		}
	}
}

// A link within the repository leads somewhere.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)`)
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".md" {
			if entry != nil && entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".." {
				return filepath.SkipDir
			}
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(data), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
