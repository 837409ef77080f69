package berth_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The laws of the house: what docs/ARCHITECTURE.md draws, checked. A law that
// is in the way is a question to the design, not to the test.

const module = "berth.dev/berth"

// floors lists the packages of each floor by prefix, lowest first. A package
// may import packages of lower floors only, and of its own room.
var floors = []struct {
	name  string
	rooms []string
}{
	{"base", []string{"internal/base/"}},
	{"wire", []string{"internal/wire/"}},
	{"model", []string{"internal/model"}},
	{"rules", []string{"internal/rules/"}},
	{"data", []string{"internal/data/"}},
	{"wings", []string{"internal/service/", "internal/control/", "internal/edge/", "internal/agent/"}},
	{"app", []string{"internal/app/"}},
	{"cmd", []string{"cmd/"}},
}

// neighbours are the packages of one floor that may import each other,
// because one is made of the other.
var neighbours = []struct{ from, to string }{
	{"internal/wire/", "internal/wire/smithy"},
	{"internal/wire/api/", "internal/wire/"},
	{"internal/data/", "internal/data/kv"},
	{"internal/data/kv/", "internal/data/kv"},
	{"internal/data/etcd", "internal/data/kv/etcdkv"},
	{"internal/data/records", "internal/data/store"},
	{"internal/data/launch", "internal/data/"},
	{"internal/data/imagestore", "internal/data/"},
	{"internal/data/keys", "internal/data/"},
	{"internal/data/sessions", "internal/data/keyring"},
	{"internal/control/dispatch", "internal/control/nodeca"},
	{"internal/edge/", "internal/edge/gateway"},
	{"internal/app/", "internal/app/"},
	{"internal/agent/", "internal/agent/"},
}

type pkg struct {
	ImportPath string
	Dir        string
	Doc        string
	Imports    []string
	GoFiles    []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Dir,Doc,Imports,GoFiles", "./...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []pkg
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var p pkg
		if err := decoder.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

func relative(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, module+"/")
	return rest, ok
}

func under(path, prefix string) bool {
	return path == strings.TrimSuffix(prefix, "/") || strings.HasPrefix(path, strings.TrimSuffix(prefix, "/")+"/")
}

func floorOf(path string) int {
	return slices.IndexFunc(floors, func(f struct {
		name  string
		rooms []string
	},
	) bool {
		return slices.ContainsFunc(f.rooms, func(room string) bool { return under(path, room) })
	})
}

// Law 1: imports go down the floors, and the four wings do not know each other.
func TestLaw_Floors(t *testing.T) {
	for _, p := range list(t) {
		from, ok := relative(p.ImportPath)
		if !ok || under(from, "test") || under(from, "examples") {
			continue // outside the house: they use it
		}
		floor := floorOf(from)
		if floor < 0 {
			t.Errorf("%s stands on no floor: give it one in docs/ARCHITECTURE.md and here", from)
			continue
		}
		for _, imported := range p.Imports {
			to, ok := relative(imported)
			if !ok {
				continue
			}
			switch target := floorOf(to); {
			case target < 0:
				t.Errorf("%s imports %s, which stands on no floor", from, to)
			case target > floor:
				t.Errorf("%s (%s) imports %s, which is above it (%s)", from, floors[floor].name, to, floors[target].name)
			case target == floor && !neighbour(from, to):
				t.Errorf("%s imports %s on its own floor: packages of one floor do not know each other", from, to)
			}
		}
	}
}

func neighbour(from, to string) bool {
	for _, n := range neighbours {
		if under(from, n.from) && under(to, n.to) {
			return true
		}
	}
	return false
}

// Law 2: agents have no access to the store, and only one package embeds etcd.
func TestLaw_ForbiddenImports(t *testing.T) {
	forbidden := []struct{ in, what, why string }{
		{"internal/agent/", module + "/internal/data", "a node knows the control plane by the node protocol only"},
		{"internal/rules/", "context", "rules are functions of values"},
		{"internal/rules/", "os", "rules do no I/O"},
		{"internal/rules/", "net", "rules do no I/O (net/netip is values)"},
		{"internal/rules/", "net/http", "rules do no I/O"},
		{"internal/rules/", "sync", "rules have no goroutines"},
		{"internal/rules/", "log/slog", "rules return their reasons"},
		{"internal/model", "context", "records are values"},
		{"internal/model", "os", "records are values"},
		{"internal/model", "sync", "records are values"},
		{"internal/model", "log/slog", "records are values"},
	}
	for _, p := range list(t) {
		from, ok := relative(p.ImportPath)
		if !ok {
			continue
		}
		for _, imported := range p.Imports {
			for _, law := range forbidden {
				if under(from, law.in) && (imported == law.what || strings.HasPrefix(law.what, module) && strings.HasPrefix(imported, law.what+"/")) {
					t.Errorf("%s imports %s: %s", from, imported, law.why)
				}
			}
			if strings.HasPrefix(imported, "go.etcd.io/etcd/server/") && from != "internal/data/etcd" {
				t.Errorf("%s imports %s: internal/data/etcd is the only package that embeds etcd", from, imported)
			}
		}
	}
}

// Law 3: every package says what it keeps true.
func TestLaw_PackageDocs(t *testing.T) {
	for _, p := range list(t) {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// Law 4: no clock in rules and model, no exit outside cmd, no init functions.
func TestLaw_ForbiddenCalls(t *testing.T) {
	forbidden := []struct {
		pkg, name string
		in        []string // empty: everywhere but cmd
	}{
		{"time", "Now", []string{"internal/rules/", "internal/model"}},
		{"time", "Since", []string{"internal/rules/", "internal/model"}},
		{"time", "Sleep", nil},
		{"os", "Exit", nil},
		{"log", "Fatal", nil},
		{"log", "Fatalf", nil},
	}
	eachFile(t, func(path string, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			if f, ok := n.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function", path)
			}
			if _, ok := n.(*ast.GoStmt); ok && (under(path, "internal/rules/") || under(path, "internal/model")) {
				t.Errorf("%s starts a goroutine", path)
			}
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			name, ok := call.X.(*ast.Ident)
			if !ok || name.Obj != nil {
				return true
			}
			for _, law := range forbidden {
				if name.Name != law.pkg || call.Sel.Name != law.name {
					continue
				}
				if law.in == nil && !under(path, "cmd/") || slices.ContainsFunc(law.in, func(in string) bool { return under(path, in) }) {
					t.Errorf("%s uses %s.%s", path, law.pkg, law.name)
				}
			}
			return true
		})
	})
}

// Law 5: a file is one thing; past 600 lines it is two.
func TestLaw_FileSizes(t *testing.T) {
	eachFile(t, func(path string, _ *ast.File) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if lines := bytes.Count(data, []byte("\n")); lines > 600 {
			t.Errorf("%s has %s lines", path, strconv.Itoa(lines))
		}
	})
}

// eachFile visits every hand-written file that is not a test.
func eachFile(t *testing.T, visit func(path string, file *ast.File)) {
	t.Helper()
	for _, root := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Name() == "testdata" {
				return fs.SkipDir
			}
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") {
				return err
			}
			if strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "_gen.go") || strings.HasSuffix(path, ".pb.go") {
				return nil
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			visit(filepath.ToSlash(path), file)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
