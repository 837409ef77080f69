package secrets

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// replace puts a file into a directory, with the directory's owner and for its
// eyes only. Who reads it finds the old content or the new.
func replace(dir, name string, data []byte) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-") // made with mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		err = errors.Join(err, f.Chown(int(owner.Uid), int(owner.Gid)))
	}
	err = errors.Join(err, f.Chmod(0o400), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// tmpfsBytes bounds what the secrets of a host's tasks may take of its memory.
const tmpfsBytes = 256 << 20

// Mount makes dir a tmpfs that root alone may look into, unless it is one.
func Mount(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	mounted, err := isTmpfs(dir)
	if err != nil || mounted {
		return err
	}
	options := fmt.Sprintf("mode=0700,size=%d", tmpfsBytes)
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	// The option is Linux 6.4's; before it, what must not be in swap needs a
	// host whose swap is encrypted, or none.
	err = unix.Mount("berth-secrets", dir, "tmpfs", flags, options+",noswap")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("berth-secrets", dir, "tmpfs", flags, options)
	}
	if err != nil {
		return fmt.Errorf("mount a tmpfs for secrets at %s: %w", dir, err)
	}
	return nil
}

// Unmount undoes Mount, with everything in it. Without a mount it does nothing.
func Unmount(dir string) error {
	for {
		mounted, err := isTmpfs(dir)
		if err != nil || !mounted {
			return err
		}
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount the tmpfs for secrets at %s: %w", dir, err)
		}
	}
}

// isTmpfs reports whether a tmpfs is mounted on dir itself: its parent may be
// one too.
func isTmpfs(dir string) (bool, error) {
	var at, parent unix.Stat_t
	err := unix.Stat(dir, &at)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err == nil {
		err = unix.Stat(filepath.Dir(dir), &parent)
	}
	var kind unix.Statfs_t
	if err == nil {
		err = unix.Statfs(dir, &kind)
	}
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", dir, err)
	}
	return at.Dev != parent.Dev && kind.Type == unix.TMPFS_MAGIC, nil
}
