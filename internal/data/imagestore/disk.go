package imagestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

// disk is the library's file system driver, made so that what it reports as
// done outlives a loss of power: the driver syncs files, but not the directories
// that it makes and moves them to.
type disk struct {
	*filesystem.Driver
	at layout
	// dirs is held for writing while directories are made that are not yet sure
	// to stay, so that nobody takes them for granted.
	dirs sync.RWMutex
}

func newDisk(at layout) *disk {
	return &disk{Driver: filesystem.New(filesystem.DriverParameters{RootDirectory: at.dir, MaxThreads: 100}), at: at}
}

func (d *disk) full(path string) string { return filepath.Join(d.at.dir, path) }

// Move implements the driver: the file is at its new place for good. It was
// synced when its writer committed.
func (d *disk) Move(_ context.Context, from, to string) error {
	return d.place(d.full(from), d.full(to))
}

// PutContent implements the driver. The file has this content or the one before.
func (d *disk) PutContent(_ context.Context, path string, content []byte) error {
	// How far an upload has got is worth nothing without its process, which adopt
	// sees to, and costs more to sync than to find out again.
	if !strings.Contains(path, "/_uploads/") {
		return d.write(content, true, func(from string) error { return d.place(from, d.full(path)) })
	}
	err := d.write(content, false, func(from string) error {
		return d.retry(func() error {
			if err := os.MkdirAll(filepath.Dir(d.full(path)), 0o700); err != nil {
				return err
			}
			return os.Rename(from, d.full(path))
		})
	})
	if strings.Contains(path, "/hashstates/") {
		// The library would leave the content's file open over this. Without
		// the state it reads the content again.
		return nil
	}
	return err
}

// write makes a file that move takes to its place, and leaves nothing of it when
// that fails.
func (d *disk) write(content []byte, sync bool, move func(from string) error) error {
	f, err := os.CreateTemp(d.at.temporary(), "content-")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = move(f.Name())
	}
	if err != nil {
		return errors.Join(err, remove(f.Name()))
	}
	return nil
}

// Writer implements the driver.
func (d *disk) Writer(ctx context.Context, path string, appending bool) (w storagedriver.FileWriter, err error) {
	err = d.retry(func() error {
		w, err = d.Driver.Writer(ctx, path, appending)
		return err
	})
	return w, err
}

// place moves a synced file to where it belongs.
func (d *disk) place(from, to string) error {
	dir := filepath.Dir(to)
	return d.retry(func() error {
		if err := d.makeDirs(dir); err != nil {
			return err
		}
		if err := os.Rename(from, to); err != nil {
			return err
		}
		return syncDir(dir)
	})
}

// retry runs fn again when a directory that it made is gone: the collector takes
// away those that it finds empty.
func (d *disk) retry(fn func() error) error {
	for range 5 {
		if err := fn(); !errors.Is(unwrapped(err), fs.ErrNotExist) {
			return err
		}
	}
	return fn()
}

// makeDirs makes dir and its parents, so that they stay.
func (d *disk) makeDirs(dir string) error {
	d.dirs.RLock()
	_, err := os.Stat(dir)
	d.dirs.RUnlock()
	if err == nil {
		return nil
	}
	d.dirs.Lock()
	defer d.dirs.Unlock()
	var missing []string
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return err
		}
		missing = append(missing, dir)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		if err := os.Mkdir(missing[i], 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := syncDir(filepath.Dir(missing[i])); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// unwrapped looks into the errors of the library's drivers, which do not say
// what they wrap.
func unwrapped(err error) error {
	if e, ok := errors.AsType[storagedriver.Error](err); ok {
		return e.Detail
	}
	if e, ok := errors.AsType[storagedriver.PathNotFoundError](err); ok {
		return fmt.Errorf("%w: %w", e, fs.ErrNotExist)
	}
	return err
}

// failed is an error of the disk as callers see it.
func failed(what string, err error) error {
	if cause := unwrapped(err); errors.Is(cause, syscall.ENOSPC) || errors.Is(cause, syscall.EDQUOT) {
		return fmt.Errorf("%s: %w", what, ErrNoSpace)
	}
	return fmt.Errorf("image store: %s: %w", what, err)
}
