package exec

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// rootfs is the root directory of a container, as its first process sees it:
// with volumes, and with what is read-only there.
type rootfs struct{ dir *os.File }

// resolveTries bounds how often the kernel is asked again after it could not
// tell whether a path stays inside, because something was renamed meanwhile.
const resolveTries = 128

// open opens a path as if the directory were /, for links too.
func (r rootfs) open(name string, flags int) (*os.File, error) {
	how := unix.OpenHow{
		Flags: uint64(flags) | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS, //nolint:gosec // flags are not negative
	}
	var fd int
	var err error
	for range resolveTries {
		fd, err = unix.Openat2(int(r.dir.Fd()), name, &how) //nolint:gosec // a small number
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil //nolint:gosec // not negative
}

// maxSmall bounds what is read of a container's settings.
const maxSmall = 1 << 20

// readSmall reads a plain file; one that is not there, or is something else, is
// empty.
func (r rootfs) readSmall(name string) ([]byte, error) {
	at, err := r.open(name, unix.O_PATH)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer at.Close() //nolint:errcheck // it was only looked at
	f, err := openPlain(at)
	if err != nil || f == nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // as above
	return io.ReadAll(io.LimitReader(f, maxSmall))
}

// openPlain opens for reading what was opened as a path, when it is a plain
// file. Anything else (a device, a pipe) does things when it is opened, and is
// nil.
func openPlain(at *os.File) (*os.File, error) {
	info, err := at.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, err
	}
	return os.OpenFile(fdPath(at), os.O_RDONLY|unix.O_CLOEXEC, 0)
}

// directory opens a directory, which is made with its parents when it is not
// there.
func (r rootfs) directory(name string) (*os.File, error) {
	name = path.Join("/", name)
	f, err := r.open(name, unix.O_PATH|unix.O_DIRECTORY)
	if !errors.Is(err, fs.ErrNotExist) || name == "/" {
		return f, err
	}
	parent, err := r.directory(path.Dir(name))
	if err != nil {
		return nil, err
	}
	defer parent.Close() //nolint:errcheck // as above
	if err := unix.Mkdirat(fdOf(parent), path.Base(name), 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &fs.PathError{Op: "mkdir", Path: name, Err: err}
	}
	return r.open(name, unix.O_PATH|unix.O_DIRECTORY)
}

// entry opens what has a name in a directory as a path: a link is itself.
func entry(dir *os.File, name string) (*os.File, unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := unix.Openat(fdOf(dir), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		if err = unix.Fstat(fd, &st); err == nil {
			return os.NewFile(uintptr(fd), name), st, nil //nolint:gosec // not negative
		}
		unix.Close(fd) //nolint:errcheck,gosec // it was only looked at
	}
	return nil, st, &fs.PathError{Op: "open", Path: name, Err: err}
}

func fdOf(f *os.File) int { return int(f.Fd()) } //nolint:gosec // a small number
