package exec

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// write takes a tar archive into a directory of a container.
func (s *Server) write(ctx context.Context, t target, request model.StreamRequest) (work, error) {
	files, err := s.pin(ctx, t.id, "root")
	if err != nil {
		return nil, err
	}
	r := rootfs{files[0]}
	dir, err := r.open(path.Join("/", request.Path), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		closeAll(files)
		return nil, refuse("cannot write to %s in container %s: %s", request.Path, t.name, reason(ctx, err))
	}
	closeAll([]*os.File{dir})
	return func(ctx context.Context, l *line) *nodeapi.StreamExit {
		defer closeAll(files)
		ctx, cancel := s.withContainer(ctx, t)
		defer cancel()
		in := l.reader(ctx)
		err := extract(r, request.Path, in)
		if err == nil {
			_, err = io.Copy(io.Discard, in) // what tar pads an archive with
		}
		if err != nil {
			return broken(ctx, fmt.Errorf("writing to %s: %w", request.Path, err))
		}
		return &nodeapi.StreamExit{}
	}, nil
}

// extract writes an archive below a directory. What is there is replaced, except
// that a directory is kept as it is, and kept a directory.
func extract(r rootfs, into string, from io.Reader) error {
	archive := tar.NewReader(from)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the archive cannot be read: %w", err)
		}
		if slices.Contains(strings.Split(h.Name, "/"), "..") {
			return fmt.Errorf("the archive has a name that leads out of it: %q", h.Name)
		}
		name := path.Join("/", h.Name)
		if name == "/" {
			continue // the directory itself
		}
		if err := place(r, into, name, h, archive); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

// place makes one entry.
func place(r rootfs, into, name string, h *tar.Header, content io.Reader) error {
	parent, err := r.directory(path.Join("/", into, path.Dir(name)))
	if err != nil {
		return err
	}
	defer parent.Close() //nolint:errcheck // it was only looked at
	base := path.Base(name)
	switch h.Typeflag {
	case tar.TypeDir:
		return makeDirectory(parent, base, h)
	case tar.TypeReg:
		return makeFile(parent, base, h, content)
	case tar.TypeSymlink:
		return replace(parent, base, func(temporary string) error {
			if err := unix.Symlinkat(h.Linkname, fdOf(parent), temporary); err != nil {
				return err
			}
			return unix.Fchownat(fdOf(parent), temporary, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW)
		})
	case tar.TypeLink:
		return makeLink(r, into, parent, base, h)
	case tar.TypeFifo:
		return replace(parent, base, func(temporary string) error {
			if err := unix.Mkfifoat(fdOf(parent), temporary, 0o600); err != nil {
				return err
			}
			return dress(parent, temporary, h)
		})
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeChar, tar.TypeBlock:
		return errors.New("device nodes are not written into containers")
	}
	return fmt.Errorf("entries of type %q are not written into containers", h.Typeflag)
}

// makeDirectory makes a directory; one that is there, also by a link, is left as
// it is.
func makeDirectory(parent *os.File, base string, h *tar.Header) error {
	err := unix.Mkdirat(fdOf(parent), base, 0o700)
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if err := unix.Fstatat(fdOf(parent), base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFDIR && kind != unix.S_IFLNK {
			return errors.New("is not a directory in the container")
		}
		return nil
	}
	if err != nil {
		return err
	}
	return dress(parent, base, h)
}

// dress gives a new directory or pipe its owner, mode and time. It works on what
// has the name now, and never on what a link there leads to.
func dress(parent *os.File, base string, h *tar.Header) error {
	f, _, err := entry(parent, base)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only looked at
	if err := unix.Fchownat(fdOf(f), "", h.Uid, h.Gid, unix.AT_EMPTY_PATH); err != nil {
		return err
	}
	if info, err := f.Stat(); err != nil || info.Mode()&fs.ModeSymlink != 0 {
		return err // somebody has put it there meanwhile
	}
	return os.Chmod(fdPath(f), h.FileInfo().Mode())
}

// makeFile writes a file beside its name and then puts it there whole.
func makeFile(parent *os.File, base string, h *tar.Header, content io.Reader) error {
	// Without a name nothing of it is left when the agent dies. Not every file
	// system has such files.
	fd, err := unix.Openat(fdOf(parent), ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		f := os.NewFile(uintptr(fd), base) //nolint:gosec // not negative
		defer f.Close()                    //nolint:errcheck // fill has closed what counts: see there
		if err := fill(f, h, content); err != nil {
			return err
		}
		return replace(parent, base, func(temporary string) error {
			return unix.Linkat(unix.AT_FDCWD, fdPath(f), fdOf(parent), temporary, unix.AT_SYMLINK_FOLLOW)
		})
	}
	return replace(parent, base, func(temporary string) error {
		fd, err := unix.Openat(fdOf(parent), temporary, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), base) //nolint:gosec // not negative
		return errors.Join(fill(f, h, content), f.Close())
	})
}

// fill gives a file its content, with holes where that is zeros, and what else
// is said of it.
func fill(f *os.File, h *tar.Header, content io.Reader) error {
	buffer, none := make([]byte, frameBytes), make([]byte, frameBytes)
	var size int64
	for {
		n, err := io.ReadFull(content, buffer)
		if n > 0 && !bytes.Equal(buffer[:n], none[:n]) {
			if _, err := f.WriteAt(buffer[:n], size); err != nil {
				return err
			}
		}
		size += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && size == h.Size {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	// The owner before the mode: changing it takes set-user-ID away.
	if err := errors.Join(f.Chown(h.Uid, h.Gid), f.Chmod(h.FileInfo().Mode())); err != nil {
		return err
	}
	if h.ModTime.Unix() <= 0 {
		return nil
	}
	when := unix.NsecToTimeval(h.ModTime.UnixNano())
	return unix.Futimes(fdOf(f), []unix.Timeval{when, when})
}

// makeLink gives a file that the archive has, or that is there, another name.
func makeLink(r rootfs, into string, parent *os.File, base string, h *tar.Header) error {
	if slices.Contains(strings.Split(h.Linkname, "/"), "..") {
		return fmt.Errorf("the archive has a link that leads out of it: %q", h.Linkname)
	}
	name := path.Join("/", into, path.Join("/", h.Linkname))
	dir, err := r.open(path.Dir(name), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // it was only looked at
	return replace(parent, base, func(temporary string) error {
		return unix.Linkat(fdOf(dir), path.Base(name), fdOf(parent), temporary, 0)
	})
}

// replace makes something under a temporary name and gives it its own, in place
// of what has it.
func replace(parent *os.File, base string, make func(temporary string) error) error {
	temporary := ".berth-" + rand.Text()
	err := make(temporary)
	if err == nil {
		err = unix.Renameat(fdOf(parent), temporary, fdOf(parent), base)
	}
	// Gone when all went well, unless both were names of one file already.
	if removed := unix.Unlinkat(fdOf(parent), temporary, 0); err == nil && removed != nil && !errors.Is(removed, unix.ENOENT) {
		err = removed
	}
	if errors.Is(err, unix.EISDIR) {
		return errors.New("is a directory in the container")
	}
	if errors.Is(err, unix.EBUSY) {
		return errors.New("is a mount of the container")
	}
	return err
}
