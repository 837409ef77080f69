package cli

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tarOf is an archive of entries: "name/" is a directory, "name -> to" a link,
// "name => to" a hard link, "name" a file whose content is its name.
func tarOf(t *testing.T, entries ...string) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e, Mode: 0o640, Typeflag: tar.TypeReg, Size: int64(len(e))}
		if name, to, ok := strings.Cut(e, " -> "); ok {
			h = &tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink}
		} else if name, to, ok := strings.Cut(e, " => "); ok {
			h = &tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeLink}
		} else if strings.HasSuffix(e, "/") {
			h = &tar.Header{Name: e, Mode: 0o750, Typeflag: tar.TypeDir}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(e)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// tree lists what is below a directory: files with their content, links with
// where they lead.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(at string, d fs.DirEntry, err error) error {
		if err != nil || at == dir {
			return err
		}
		name, err := filepath.Rel(dir, at)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			found[name+"/"] = ""
		case d.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(at)
			found[name] = "-> " + to
			return err
		default:
			data, err := os.ReadFile(at)
			found[name] = string(data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// docker cp's rules, from a container to this host.
func TestExtraction_GoesWhereDockerCPPutsIt(t *testing.T) {
	file, dir := []string{"f"}, []string{"d/", "d/a", "d/s/", "d/s/b"}
	for name, c := range map[string]struct {
		entries  []string
		contents bool
		into     string
		want     map[string]string
		err      string
	}{
		"a file into a directory":              {file, false, "have", map[string]string{"have/": "", "have/f": "f"}, ""},
		"a file under a new name":              {file, false, "new", map[string]string{"have/": "", "new": "f"}, ""},
		"a file over a file":                   {file, false, "have/../old", map[string]string{"have/": "", "old": "f"}, ""},
		"a file into no directory":             {file, false, "none/", nil, "there is no directory"},
		"a file below no directory":            {file, false, "none/f", nil, "there is no directory"},
		"a directory into a directory":         {dir, false, "have", map[string]string{"have/": "", "have/d/": "", "have/d/a": "d/a", "have/d/s/": "", "have/d/s/b": "d/s/b"}, ""},
		"a directory under a new name":         {dir, false, "new", map[string]string{"have/": "", "new/": "", "new/a": "d/a", "new/s/": "", "new/s/b": "d/s/b"}, ""},
		"the contents of a directory":          {dir, true, "have", map[string]string{"have/": "", "have/a": "d/a", "have/s/": "", "have/s/b": "d/s/b"}, ""},
		"a directory over a file":              {dir, false, "old", nil, "cannot be copied over it"},
		"the root":                             {[]string{"./", "./a"}, false, "new", map[string]string{"have/": "", "new/": "", "new/a": "./a"}, ""},
		"links as they are":                    {[]string{"d/", "d/l -> /etc/passwd", "d/a", "d/h => d/a"}, false, "new", map[string]string{"have/": "", "new/": "", "new/l": "-> /etc/passwd", "new/a": "d/a", "new/h": "d/a"}, ""},
		"a name that leads out":                {[]string{"d/", "../x"}, false, "have", nil, "leads out"},
		"a name that leads out further in":     {[]string{"d/", "d/../../x"}, false, "have", nil, "leads out"},
		"an absolute name":                     {[]string{"d/", "/x"}, false, "have", nil, "leads out"},
		"a name of something else":             {[]string{"d/", "e/x"}, false, "have", nil, "not part of"},
		"a name that begins alike":             {[]string{"d/", "dd/x"}, false, "have", nil, "not part of"},
		"a hard link that leads out":           {[]string{"d/", "d/h => ../../etc/passwd"}, false, "have", nil, "leads out"},
		"through a link that leads out":        {[]string{"d/", "d/l -> /tmp", "d/l/x"}, false, "have", nil, "escapes"},
		"through a link that leads up":         {[]string{"d/", "d/l -> ../../..", "d/l/x"}, false, "have", nil, "escapes"},
		"a directory through a link that does": {[]string{"d/", "d/l -> ../../..", "d/l/x/"}, false, "have", nil, "escapes"},
		"nothing":                              {nil, false, "have", nil, "nothing came"},
	} {
		t.Run(name, func(t *testing.T) {
			outside := t.TempDir()
			root := filepath.Join(outside, "root")
			if err := os.MkdirAll(filepath.Join(root, "have"), 0o755); err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(c.into, "old") {
				if err := os.WriteFile(filepath.Join(root, "old"), []byte("was there"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			x := &extraction{contents: c.contents}
			into := root + "/" + c.into
			err := x.to(tarOf(t, c.entries...), into)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
			} else if err != nil {
				t.Error(err)
			} else if diff := cmp.Diff(c.want, tree(t, root)); diff != "" {
				t.Error(diff)
			}
			if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
				t.Errorf("something is outside: %v %v", entries, err)
			}
		})
	}
}

func TestExtraction_DoesNotFollowALinkThatIsThere(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	into := filepath.Join(dir, "into")
	for _, err := range []error{os.WriteFile(precious, []byte("x"), 0o600), os.Mkdir(into, 0o755), os.Symlink(precious, filepath.Join(into, "f"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := (&extraction{}).to(tarOf(t, "f"), into); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"precious": "x", "into/": "", "into/f": "f"}, tree(t, dir)); diff != "" {
		t.Error(diff)
	}
	info, err := os.Stat(filepath.Join(into, "f"))
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// What is cut off leaves no half file.
func TestExtraction_CutOffLeavesNoHalfFile(t *testing.T) {
	dir := t.TempDir()
	whole := tarOf(t, "f").Bytes()
	if err := (&extraction{}).to(bytes.NewReader(whole[:512]), dir); err == nil {
		t.Error("no error")
	}
	if got := tree(t, dir); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
}

// What is packed and extracted again is the same.
func TestPacking_RoundTrip(t *testing.T) {
	from, into := t.TempDir(), t.TempDir()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(from, "d/s"), 0o755), os.WriteFile(filepath.Join(from, "d/a"), []byte("a\x00b"), 0o600),
		os.WriteFile(filepath.Join(from, "d/s/empty"), nil, 0o600), os.Symlink("../a", filepath.Join(from, "d/s/l")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	k := &packing{}
	if err := k.from(&b, filepath.Join(from, "d"), "d"); err != nil {
		t.Fatal(err)
	}
	if k.count != 3 || k.bytes != 3 {
		t.Errorf("%d files, %d bytes", k.count, k.bytes)
	}
	if err := (&extraction{}).to(&b, into); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree(t, from), tree(t, into)); diff != "" {
		t.Error(diff)
	}
}

func TestParseEndpoint(t *testing.T) {
	const arn = "arn:aws:ecs:us-east-1:123456789012:task/default/9f3c"
	for s, want := range map[string]endpoint{
		"web:/etc": {"web", "/etc"}, "./a:b": {"", "./a:b"}, "/a:b": {"", "/a:b"}, "-": {"", "-"}, "file": {"", "file"},
		"9f3c:a:b": {"9f3c", "a:b"}, arn + ":/x": {arn, "/x"}, "web:": {"web", ""},
	} {
		if got := parseEndpoint(s); got != want {
			t.Errorf("%q: %+v, want %+v", s, got, want)
		}
	}
}
