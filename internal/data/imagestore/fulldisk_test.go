package imagestore_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/data/imagestore"
)

// smallDisk moves the world to a file system of a few pages.
func (w *world) smallDisk(t *testing.T, size string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a file system needs root")
	}
	w.dir = t.TempDir()
	if err := unix.Mount("imagestore-test", w.dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(w.dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	w.reopen()
}

// A full disk is said so, takes nothing that was there, and is usable again when
// there is space.
func TestFullDisk(t *testing.T) {
	w := open(t, "app")
	w.smallDisk(t, "256k")
	ctx := t.Context()
	i, m := w.image("app", "v1", "small")
	before := w.files()
	large := make([]byte, 1<<20)
	if _, err := rand.Read(large); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		u, err := w.Begin(ctx, "app")
		if err != nil {
			t.Fatal(err)
		}
		_, err = u.Append(ctx, bytes.NewReader(large))
		wantErr(t, err, imagestore.ErrNoSpace)
		_, err = w.Resume(ctx, "app", u.ID())
		wantErr(t, err, imagestore.ErrNoUpload)
	}
	if after := w.files(); len(after) != len(before) {
		t.Errorf("left over: %v, before %v", after, before)
	}

	// Fill it to the last page: whatever step fails, it says why.
	var filling *os.File
	fill := func(leave int64) {
		t.Helper()
		var st unix.Statfs_t
		if err := unix.Statfs(w.dir, &st); err != nil {
			t.Fatal(err)
		}
		var err error
		if filling, err = os.Create(w.dir + "/filling"); err != nil {
			t.Fatal(err)
		}
		if err := unix.Fallocate(int(filling.Fd()), 0, 0, int64(st.Bavail)*st.Bsize-leave); err != nil {
			t.Fatal(err)
		}
	}
	other := manifest(w.layer("app", "config"), w.layer("app", strings.Repeat("l", 3000)))
	for pages := range int64(6) {
		if pages*4096 == 0 {
			fill(0)
		} else {
			fill(pages * 4096)
		}
		content := strings.Repeat(string(rune('a'+pages)), 5000)
		if u, err := w.Begin(ctx, "app"); err == nil {
			_, err = u.Append(ctx, strings.NewReader(content))
			if err == nil {
				_, err = u.Commit(ctx, digest.FromString(content).String())
			}
			if err != nil {
				wantErr(t, err, imagestore.ErrNoSpace)
			}
		} else {
			wantErr(t, err, imagestore.ErrNoSpace)
		}
		if _, err := w.Put(ctx, w.now, imagestore.Push{Repository: "app", Tag: "v2", Manifest: other}); err != nil && !errors.Is(err, imagestore.ErrSame) {
			wantErr(t, err, imagestore.ErrNoSpace)
		}
		if err := errors.Join(filling.Close(), os.Remove(filling.Name())); err != nil {
			t.Fatal(err)
		}
		w.whole(i)
		for _, f := range w.files() {
			if strings.Contains(f, "_uploads") || strings.HasPrefix(f, "tmp") {
				t.Errorf("%d pages: half-written: %s", pages, f)
			}
		}
	}
	if _, err := w.Put(ctx, w.now, imagestore.Push{Repository: "app", Tag: "v3", Manifest: other}); err != nil {
		t.Error(err)
	}
	if _, content, err := w.Get(ctx, "app", "v1"); err != nil || !equal(content, m) {
		t.Error(err)
	}
	w.now = w.now.Add(grace + time.Minute)
	w.collect()
	if n := len(w.files()); n != len(before)+5 { // the other image: two links, two layers, a manifest
		t.Errorf("%d files are left, before %d: %v", n, len(before), w.files())
	}
}
