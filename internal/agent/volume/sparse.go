package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/model"
)

// sparse keeps volumes in files that take of the disk what was written.
type sparse struct {
	dir        string
	overcommit bool
}

func (s *sparse) path(id string) string { return filepath.Join(s.dir, id+".img") }

func (s *sparse) ensure(ctx context.Context, v *model.TaskVolume, makeFS func(context.Context, string) error) (string, []string, error) {
	path, size := s.path(v.VolumeID), int64(v.SizeGiB)*gib
	// The loop device ends with its mount, so that none is left when the agent
	// is killed between the two.
	options := []string{"loop"}
	if _, err := os.Stat(path); err == nil {
		return path, options, nil
	}
	if err := s.room(size); err != nil {
		return "", nil, err
	}
	partial := path + ".new"
	if err := s.make(ctx, partial, size, makeFS); err != nil {
		return "", nil, errors.Join(err, remove(partial))
	}
	return path, options, os.Rename(partial, path)
}

func (s *sparse) make(ctx context.Context, path string, size int64, makeFS func(context.Context, string) error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // Sync tells
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("the node's disk takes no file of %d GiB: %w", size/gib, err)
	}
	if err := makeFS(ctx, path); err != nil {
		return err
	}
	return f.Sync()
}

// room refuses a volume that the disk has no room for, with what is promised
// to the others and not yet written.
func (s *sparse) room(size int64) error {
	if s.overcommit {
		return nil
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(s.dir, &disk); err != nil {
		return err
	}
	free := int64(disk.Bavail) * disk.Bsize
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	promised := int64(0)
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			promised += max(info.Size()-stat.Blocks*512, 0)
		}
	}
	if size > free-promised {
		return fmt.Errorf("InsufficientVolumeCapacity: the node's disk has %.1f GiB left for volumes of the %d GiB that this one needs; make room in %s, give the agent another --ebs-dir, or let it promise more than there is with --ebs-overcommit",
			float64(max(free-promised, 0))/gib, size/gib, s.dir)
	}
	return nil
}

func (s *sparse) remove(_ context.Context, id string) error { return remove(s.path(id)) }

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s *sparse) tidy(context.Context) error {
	partial, err := filepath.Glob(filepath.Join(s.dir, "*.img.new"))
	for _, path := range partial {
		err = errors.Join(err, remove(path))
	}
	return err
}

func (s *sparse) list(context.Context) ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".img"); ok {
			ids = append(ids, id)
		}
	}
	return ids, err
}
