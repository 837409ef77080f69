package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mounted reports whether something is mounted on path itself.
func mounted(path string) (bool, error) {
	infos, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(path))
	return len(infos) > 0, err
}

// unmount takes everything off path and removes the directory. What still uses
// it keeps it until it ends: containers are gone by then, and nobody else's
// open file may keep a task from ending.
func (m *Manager) unmount(path string) error {
	if err := detach(path); err != nil {
		return err
	}
	err := unix.Rmdir(path)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fmt.Errorf("remove mount point %s: %w", path, err)
}

// detach takes everything off path.
func detach(path string) error {
	for {
		there, err := mounted(path)
		if err != nil || !there {
			return err
		}
		err = unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EBUSY) {
			err = unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
		if err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
}

// removeAll removes a directory with everything in it, but never through a
// mount: what is mounted somewhere below it is not ours to delete.
func removeAll(dir string) error {
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return err
	}
	for _, info := range infos {
		return fmt.Errorf("%s is still mounted", info.Mountpoint)
	}
	return os.RemoveAll(dir)
}

// removeEmpty removes a directory if nothing is in it.
func (m *Manager) removeEmpty(dir string) error {
	err := unix.Rmdir(dir)
	if err == nil || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTEMPTY) {
		return nil
	}
	return fmt.Errorf("remove %s: %w", dir, err)
}

// makeMountPoint makes a directory to mount on that nobody can write to as long
// as nothing is mounted.
func makeMountPoint(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil { //nolint:gosec // containers reach their volumes below
		return err
	}
	if err := os.Mkdir(path, 0o555); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // as above
		return err
	}
	return nil
}

// openBelow opens a directory as if root were the root of the file system:
// neither ".." nor symbolic links lead out of it.
func openBelow(root, path string) (*os.File, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(dir) //nolint:errcheck // nothing was written
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(dir, filepath.Join(".", path), &how)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue // somebody renames beside us
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}

// descriptor is a path that leads to an open file, whatever its name is by now.
func descriptor(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
