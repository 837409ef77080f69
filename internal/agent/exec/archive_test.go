package exec

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// container makes a directory that is a container's root, and opens it.
func container(t interface {
	Helper()
	Fatal(...any)
	Cleanup(func())
}, dir string,
) rootfs {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return rootfs{f}
}

func pack(r rootfs, asked string) ([]byte, error) {
	dir, name, base, err := locate(r, asked)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var out bytes.Buffer
	a := archive{ctx: context.Background(), to: tar.NewWriter(&out), links: map[inode]string{}}
	err = errors.Join(a.add(dir, name, base), a.to.Close())
	return out.Bytes(), err
}

func names(t *testing.T, data []byte) string {
	t.Helper()
	var out []string
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return strings.Join(out, " ")
		}
		if err != nil {
			t.Fatal(err)
		}
		name := h.Name
		if h.Linkname != "" {
			name += "->" + h.Linkname
		}
		out = append(out, name)
	}
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root for owners")
	}
}

// shell makes a container's files.
func shell(t *testing.T, dir, script string) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// The names in an archive, and what a path means.
func TestRead_Names(t *testing.T) {
	needsRoot(t)
	r := container(t, t.TempDir())
	shell(t, r.dir.Name(), `mkdir -p a/b; echo 1 >a/b/f; ln a/b/f a/b/g; ln -s /a/b link; ln -s f a/b/l; mkfifo a/p; mknod a/null c 1 3; ln -s ../../../../etc/passwd out; ln -s / top`)
	for asked, want := range map[string]string{
		"/a":       "a/ a/b/ a/b/f a/b/g->a/b/f a/b/l->f a/p",
		"a/b/f":    "f",
		"/link":    "link->/a/b",
		"/link/":   "link/ link/f link/g->link/f link/l->f",
		"/link/f":  "f",
		"/a/b/.":   "b/ b/f b/g->b/f b/l->f",
		"/top/a/p": "p",
		"/a/null":  "",
		"/out":     "out->../../../../etc/passwd",
	} {
		data, err := pack(r, asked)
		if got := names(t, data); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", asked, got, err, want)
		}
	}
	if data, err := pack(r, "/"); err != nil || !strings.HasPrefix(names(t, data), "./ ./a/ ./a/b/") {
		t.Errorf("/: %q, %v", names(t, data), err)
	}
	for _, asked := range []string{"/none", "/a/none/x", "/out/", "/a/b/f/"} {
		if _, err := pack(r, asked); err == nil {
			t.Errorf("%s was read", asked)
		}
	}
}

// Owners, modes, times, links and holes come back as they were.
func TestCopy_Keeps(t *testing.T) {
	needsRoot(t)
	from, to := container(t, t.TempDir()), container(t, t.TempDir())
	shell(t, from.dir.Name(), `mkdir -m 1777 d; echo hello >d/f; chown 1000:1001 d/f; chmod 4755 d/f; touch -d 2001-02-03 d/f
		ln d/f d/hard; ln -s /nowhere d/soft; chown -h 7:8 d/soft; mkfifo -m 640 d/p; truncate -s 50M d/sparse; : >d/empty; chown 5:6 d`)
	data, err := pack(from, "/d")
	if err != nil {
		t.Fatal(err)
	}
	shell(t, to.dir.Name(), "mkdir -p into")
	if err := extract(to, "/into", bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	list := func(dir string) string {
		cmd := exec.Command("find", ".", "-printf", "%P %y %m %U:%G %s %l %n\n", "!", "-type", "d", "-printf", "%T@\n")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	strip := func(s string) string { // times of directories, links and pipes are not kept, nor sizes of directories
		var out []string
		for line := range strings.Lines(s) {
			if f := strings.Fields(line); len(f) > 3 {
				out = append(out, strings.Join(f[:4], " "))
			}
		}
		return strings.Join(out, "\n")
	}
	was, is := filepath.Join(from.dir.Name(), "d"), filepath.Join(to.dir.Name(), "into", "d")
	sorted := func(s string) string { return strings.Join(strings.Split(s, "\n"), "\n") }
	if a, b := sorted(strip(list(was))), sorted(strip(list(is))); len(a) == 0 || !sameLines(a, b) {
		t.Errorf("was\n%s\nis\n%s", a, b)
	}
	var st, hard unix.Stat_t
	if err := errors.Join(unix.Lstat(is+"/sparse", &st), unix.Lstat(is+"/hard", &hard)); err != nil || st.Size != 50<<20 || st.Blocks*512 > 1<<20 || hard.Nlink != 2 {
		t.Errorf("sparse has %d bytes in %d blocks, hard %d names, %v", st.Size, st.Blocks, hard.Nlink, err)
	}
	if info, err := os.Stat(is + "/f"); err != nil || info.ModTime().Year() != 2001 || info.Mode()&fs.ModeSetuid == 0 {
		t.Errorf("f: %v, %v", info, err)
	}
}

func sameLines(a, b string) bool {
	count := map[string]int{}
	for l := range strings.SplitSeq(a, "\n") {
		count[l]++
	}
	for l := range strings.SplitSeq(b, "\n") {
		count[l]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

// entries makes an archive.
func entries(t *testing.T, headers ...tar.Header) io.Reader {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content = "content"
		}
		h.Size, h.Mode = int64(len(content)), 0o644
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, content)
	}
	w.Close()
	return &out
}

// Nothing outside of a container is touched, whatever its links and an archive
// say; and what is not allowed is refused.
func TestWrite_StaysInside(t *testing.T) {
	needsRoot(t)
	outside := t.TempDir()
	r := container(t, filepath.Join(outside, "root"))
	if err := os.WriteFile(outside+"/victim", []byte("safe"), 0o600); err != nil {
		t.Fatal(err)
	}
	shell(t, r.dir.Name(), `mkdir -p d etc; ln -s ../../victim d/up; ln -s `+outside+` d/abs; ln -s ../../.. d/far; ln -s /proc/self/root d/magic`)
	for name, test := range map[string]struct {
		into string
		h    []tar.Header
		fail string // empty: it is written, inside
	}{
		"over a link":        {"/d", []tar.Header{{Typeflag: tar.TypeReg, Name: "up"}}, ""},
		"through far":        {"/d", []tar.Header{{Typeflag: tar.TypeReg, Name: "far/victim"}}, ""},
		"through an abs":     {"/d", []tar.Header{{Typeflag: tar.TypeReg, Name: "abs/victim"}}, "no such file"},
		"absolute":           {"/d", []tar.Header{{Typeflag: tar.TypeReg, Name: outside + "/victim"}}, ""},
		"dots":               {"/d", []tar.Header{{Typeflag: tar.TypeReg, Name: "../../victim"}}, "leads out"},
		"own link":           {"/d", []tar.Header{{Typeflag: tar.TypeSymlink, Name: "own", Linkname: outside}, {Typeflag: tar.TypeReg, Name: "own/victim"}}, "no such file"},
		"hard link out":      {"/d", []tar.Header{{Typeflag: tar.TypeLink, Name: "hard", Linkname: "../../victim"}}, "leads out"},
		"hard link up":       {"/d", []tar.Header{{Typeflag: tar.TypeLink, Name: "hard", Linkname: "abs/nothing"}}, "no such file"},
		"device":             {"/d", []tar.Header{{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}}, "device nodes"},
		"block device":       {"/d", []tar.Header{{Typeflag: tar.TypeBlock, Name: "disk", Devmajor: 8}}, "device nodes"},
		"file over dir":      {"/", []tar.Header{{Typeflag: tar.TypeReg, Name: "etc"}}, "is a directory"},
		"dir over file":      {"/d", []tar.Header{{Typeflag: tar.TypeReg, Name: "f"}, {Typeflag: tar.TypeDir, Name: "f"}}, "is not a directory"},
		"through a file":     {"/d", []tar.Header{{Typeflag: tar.TypeReg, Name: "f"}, {Typeflag: tar.TypeReg, Name: "f/x"}}, "not a directory"},
		"through magic link": {"/d", []tar.Header{{Typeflag: tar.TypeReg, Name: "magic" + outside + "/victim"}}, "no such file"},
	} {
		err := extract(r, test.into, entries(t, test.h...))
		switch {
		case test.fail == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.fail != "" && (err == nil || !strings.Contains(err.Error(), test.fail)):
			t.Errorf("%s: %v, want %q", name, err, test.fail)
		}
		if data, err := os.ReadFile(outside + "/victim"); err != nil || string(data) != "safe" {
			t.Fatalf("%s: a file outside has %q, %v", name, data, err)
		}
		all, err := os.ReadDir(outside)
		if err != nil || len(all) != 2 {
			t.Fatalf("%s: outside there are %v, %v", name, all, err)
		}
	}
	err := filepath.WalkDir(r.dir.Name(), func(path string, _ fs.DirEntry, err error) error {
		if strings.Contains(filepath.Base(path), ".berth-") {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A link that changes under our hands leads nowhere else.
func TestWrite_Race(t *testing.T) {
	needsRoot(t)
	outside := t.TempDir()
	r := container(t, filepath.Join(outside, "root"))
	shell(t, r.dir.Name(), "mkdir d real; mkdir -p .."+"/target")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		at := filepath.Join(r.dir.Name(), "d", "x")
		for {
			select {
			case <-stop:
				return
			default:
			}
			os.Remove(at)
			os.Symlink(outside+"/target", at)
			os.Remove(at)
			os.Symlink("../../target", at)
			os.Remove(at)
			os.Mkdir(at, 0o755)
			os.RemoveAll(at)
		}
	}()
	for range 300 {
		extract(r, "/d", entries(t, tar.Header{Typeflag: tar.TypeReg, Name: "x/file"}, tar.Header{Typeflag: tar.TypeDir, Name: "x/dir"}))
	}
	close(stop)
	<-stopped
	if all, err := os.ReadDir(outside + "/target"); err != nil || len(all) > 0 {
		t.Errorf("outside there are %v, %v", all, err)
	}
}

// An archive that ends early leaves no half of a file; nor does a full disk.
func TestWrite_NothingHalf(t *testing.T) {
	needsRoot(t)
	var whole bytes.Buffer
	w := tar.NewWriter(&whole)
	w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "big", Size: 4 << 20, Mode: 0o644})
	w.Write(bytes.Repeat([]byte("x"), 4<<20))
	w.Close()
	small := filepath.Join(t.TempDir(), "small")
	if err := errors.Join(os.MkdirAll(small, 0o755), unix.Mount("tmpfs", small, "tmpfs", 0, "size=1m")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(small, unix.MNT_DETACH) })
	for dir, test := range map[string]struct {
		from io.Reader
		want error
	}{
		t.TempDir(): {bytes.NewReader(whole.Bytes()[:2<<20]), io.ErrUnexpectedEOF},
		small:       {bytes.NewReader(whole.Bytes()), syscall.ENOSPC},
	} {
		r := container(t, dir)
		shell(t, dir, "echo old >big")
		if err := extract(r, "/", test.from); !errors.Is(err, test.want) {
			t.Errorf("%v, want %v", err, test.want)
		}
		if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
			t.Errorf("there are %v, %v", all, err)
		}
		if data, err := os.ReadFile(dir + "/big"); string(data) != "old\n" {
			t.Errorf("the file has %d bytes, %v", len(data), err)
		}
		r.dir.Close()
	}
}

// Reading opens nothing but plain files: a pipe would wait, a device do things.
func TestReadSmall(t *testing.T) {
	needsRoot(t)
	r := container(t, t.TempDir())
	shell(t, r.dir.Name(), "mkdir etc; mkfifo etc/hosts; mknod etc/zero c 1 5; ln -s /etc/zero etc/resolv.conf; echo x >etc/file; ln -s ../../../../etc/file link; mkdir dir")
	for name, want := range map[string]string{"/etc/hosts": "", "/etc/resolv.conf": "", "/none": "", "/dir": "", "/link": "x\n"} {
		if got, err := r.readSmall(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// What an archive holds, a container has afterwards, and the other way round.
func TestCopy_RoundTrip(t *testing.T) {
	needsRoot(t)
	base := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(base, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		from, to := container(t, dir+"/from"), container(t, dir+"/to")
		want := map[string]string{}
		for _, name := range rapid.SliceOfDistinct(rapid.StringMatching(`[a-c]/[a-cé ]{1,3}|[x-z]{1,120}`), rapid.ID).Draw(t, "names") {
			content := string(rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "content"))
			if rapid.Bool().Draw(t, "large") {
				content += strings.Repeat("\x00", 70_000) + content
			}
			if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, "from", name)), 0o755), os.WriteFile(filepath.Join(dir, "from", name), []byte(content), 0o600)); err != nil {
				t.Fatal(err)
			}
			want[name] = content
		}
		data, err := pack(from, "/")
		if err == nil {
			err = extract(to, "/", bytes.NewReader(data))
		}
		if err != nil {
			t.Fatal(err)
		}
		for name, content := range want {
			if got, err := os.ReadFile(filepath.Join(dir, "to", name)); err != nil || string(got) != content {
				t.Fatalf("%q: %d bytes of %d, %v", name, len(got), len(content), err)
			}
		}
	})
}

func TestInHosts(t *testing.T) {
	file := []byte("127.0.0.1 localhost\n# 1.1.1.1 db\n10.0.0.1 db.internal DB # the database\nnonsense db\n10.0.0.1 db\nfd00::1 db\n\n10.0.0.2\n")
	for host, want := range map[string]string{"db": "10.0.0.1 fd00::1", "DB.internal.": "10.0.0.1", "localhost": "127.0.0.1", "10.0.0.2": "", "x": ""} {
		var got []string
		for _, a := range inHosts(file, host) {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %q", host, got, want)
		}
	}
}
