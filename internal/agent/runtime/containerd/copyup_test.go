package containerd

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/runtime"
)

// TestCopyUp_Mount fills a volume that is a file system of its own, where an agent that was killed has left half a copy.
func TestCopyUp_Mount(t *testing.T) {
	s := newSandbox(t, runtime.Task{})
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Error(err)
		}
	})
	if err := os.Mkdir(filepath.Join(dir, partialCopy+"1"), 0o700); err != nil {
		t.Fatal(err)
	}
	spec := s.spec("stat", "/seed/file")
	spec.Mounts = []runtime.Mount{{Type: runtime.MountBind, Source: dir, Target: "/seed", CopyUp: true}}
	if lines, _ := s.output(spec); !slices.Equal(lines, []string{"o /seed/file -rw-r----- 1000 1000"}) {
		t.Errorf("the image's file in the volume: %q", lines)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("in the volume: %v, %v; want the image's file alone", entries, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec.ID, spec.Args = s.spec().ID, []string{"/probe", "cat", "/seed/file"}
	if lines, _ := s.output(spec); !slices.Equal(lines, []string{"o mine"}) {
		t.Errorf("a volume that is not empty: %q", lines)
	}
}
