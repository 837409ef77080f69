package containerd

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth.dev/berth/internal/agent/image"
	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/test/images"
)

// smallHost is a private containerd of its own on a disk of that size.
func smallHost(t *testing.T, size string) Config {
	t.Helper()
	requireHost(t)
	dir, err := os.MkdirTemp("", "berth-small-")
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Instance: "t" + strings.ToLower(rand.Text()[:10]), DataDir: data, Address: AddressPrivate,
		Images: image.Config{DockerHost: "none", PullAttempts: 1, Collection: image.Collection{MinAge: time.Nanosecond}},
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if r, err := New(ctx, cfg); err != nil {
			t.Error(err)
		} else if err := errors.Join(r.Purge(ctx), r.Close()); err != nil {
			t.Error(err)
		}
		if err := errors.Join(StopPrivate(ctx, cfg), syscall.Unmount(data, 0), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return cfg
}

// collect has unused images removed as the agent does while a task holds one.
func collect(t *testing.T, r *Runtime, held runtime.Image) {
	t.Helper()
	r.images.Held(func() []string { return []string{held.Name} })
	if _, err := r.images.Collect(r.scoped(t.Context())); err != nil {
		t.Error(err)
	}
}

// A full disk is said, nothing of the image stays, and the next pull succeeds when there is room, without a hand.
func TestPullOntoFullDisk(t *testing.T) {
	cfg := smallHost(t, "96m")
	r, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := newShelf(t)
	ballast := filepath.Join(cfg.DataDir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 60*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]layer{
		"while it is downloaded": noiseLayer(t, 40*mib),
		"while it is unpacked":   layerOf(t, make([]byte, 64*mib), tar.Header{Name: "zeros"}),
	} {
		ref := s.image(t, []layer{l}, nil)
		_, err := ensure(t, r, ref)
		pullErr, ok := errors.AsType[*runtime.PullError](err)
		if !ok || pullErr.Class != runtime.PullNoSpace || !strings.Contains(pullErr.Message, "no space left on device") {
			t.Errorf("%s: %v (%+v)", name, err, pullErr)
		}
		if left := remains(t, r, true); len(left) > 0 {
			t.Errorf("%s: left: %q", name, left)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if _, err := ensure(t, r, s.image(t, []layer{noiseLayer(t, 20*mib)}, nil)); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// Under pressure, images go that nobody uses: those first that no tag means any more. Never those of a task, of a
// container, or that were imported.
func TestCollect(t *testing.T) {
	cfg := smallHost(t, "256m")
	r, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := newShelf(t)
	pull := func() runtime.Image {
		img, err := ensure(t, r, s.image(t, []layer{noiseLayer(t, 12*mib)}, nil))
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	has := func(img runtime.Image) bool {
		_, err := r.images.Details(r.scoped(t.Context()), img.Name)
		return err == nil
	}
	var archive bytes.Buffer
	imported := tiny(t, uniqueName()+":v1")
	if err := images.Archive(&archive, imported); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Import(t.Context(), &archive, ""); err != nil {
		t.Fatal(err)
	}
	held, contained, old, fresh := pull(), pull(), pull(), pull()
	if err := r.Create(t.Context(), runtime.Spec{ID: "c-1", TaskID: "c", Name: "c", Image: contained.Name, Args: []string{"/e"}}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Remove(context.WithoutCancel(t.Context()), "c-1"); err != nil {
			t.Error(err)
		}
	}()
	// Without pressure nothing happens.
	collect(t, r, held)
	for _, img := range []runtime.Image{held, contained, old, fresh} {
		if !has(img) {
			t.Fatalf("%s went without need", img.Name)
		}
	}
	free := func() uint64 {
		d, err := diskOf(cfg.DataDir)
		if err != nil {
			t.Fatal(err)
		}
		return d.Free
	}
	before := free()
	ballast := filepath.Join(cfg.DataDir, "ballast")
	// 86 % of the disk: the next watermark is 15 MiB away, which one image holds twice, packed and unpacked.
	if err := os.WriteFile(ballast, make([]byte, int(before)-256*mib*14/100), 0o600); err != nil {
		t.Fatal(err)
	}
	collect(t, r, held)
	if has(old) || !has(fresh) || !has(held) || !has(contained) {
		t.Errorf("old %t, fresh %t, of a task %t, of a container %t", has(old), has(fresh), has(held), has(contained))
	}
	if err := os.WriteFile(ballast, make([]byte, int(before)-1*mib), 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	collect(t, r, held)
	if has(fresh) || !has(held) || !has(contained) {
		t.Errorf("on a full disk: fresh %t, of a task %t, of a container %t", has(fresh), has(held), has(contained))
	}
	if _, err := ensure(t, r, imported.Name); err != nil {
		t.Errorf("the imported image: %v", err)
	}
}
