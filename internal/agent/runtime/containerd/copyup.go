package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/continuity/fs"
	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/runtime"
)

// partialCopy begins the names of directories into which an image's files are
// copied before they are put in their place.
const partialCopy = ".berth-copy-"

// copyUp fills empty volumes with what the image has in their place.
func (r *Runtime) copyUp(ctx context.Context, chainID string, mounts []runtime.Mount) error {
	r.copying.Lock()
	defer r.copying.Unlock()
	var empty []runtime.Mount
	for _, m := range mounts {
		if !m.CopyUp {
			continue
		}
		isEmpty, err := emptyVolume(m.Source)
		if err != nil {
			return fmt.Errorf("volume for %s: %w", m.Target, err)
		}
		if isEmpty {
			empty = append(empty, m)
		}
	}
	if len(empty) == 0 {
		return nil
	}
	return r.view(ctx, chainID, func(root string) error {
		for _, m := range empty {
			if err := copyVolume(root, m); err != nil {
				return fmt.Errorf("copy the image's %s into its volume: %w", m.Target, err)
			}
		}
		return nil
	})
}

func copyVolume(root string, m runtime.Mount) error {
	source, err := fs.RootPath(root, m.Target)
	if err != nil {
		return err
	}
	info, err := os.Stat(source)
	if errors.Is(err, os.ErrNotExist) || (err == nil && !info.IsDir()) {
		return nil
	}
	if err != nil {
		return err
	}
	// Into a sibling first, so that a volume is either empty or complete when the agent dies in between.
	partial, err := os.MkdirTemp(filepath.Dir(m.Source), partialCopy+"*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(partial)
	full := filepath.Join(partial, "data")
	if err := fs.CopyDir(full, source); err != nil {
		return err
	}
	// An empty directory may be replaced by rename; if someone has put something there since, it stays.
	// The system call itself: os.Rename refuses every directory.
	err = unix.Rename(full, m.Source)
	switch {
	case errors.Is(err, os.ErrExist):
		return nil
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EBUSY):
		return fillMount(source, m.Source) // it is a file system of its own
	case err != nil:
		return &os.LinkError{Op: "rename", Old: full, New: m.Source, Err: err}
	}
	return nil
}

// fillMount fills a volume that is a mount: it cannot be replaced, so its entries are, one by one. The copy is what takes
// long; only an agent that dies between two of the entries leaves a part of them.
func fillMount(source, target string) error {
	partial, err := os.MkdirTemp(target, partialCopy+"*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(partial)
	if err := fs.CopyDir(partial, source); err != nil {
		return err
	}
	entries, err := os.ReadDir(partial)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(partial, e.Name()), filepath.Join(target, e.Name())); err != nil {
			return err
		}
	}
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if err := os.Chmod(target, info.Mode()); err != nil {
		return err
	}
	var stat unix.Stat_t
	if err := unix.Stat(source, &stat); err != nil {
		return &os.PathError{Op: "stat", Path: source, Err: err}
	}
	return os.Chown(target, int(stat.Uid), int(stat.Gid))
}

// emptyVolume reports whether nothing is in a volume but what a copy left that did not end.
func emptyVolume(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), partialCopy) {
			return false, nil
		}
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return false, err
		}
	}
	return true, nil
}
