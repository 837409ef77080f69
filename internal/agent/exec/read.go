package exec

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// read sends a path of a container as a tar archive. Names in it begin with the
// path's last element. A link at the path's end is followed when the path ends
// with a slash.
func (s *Server) read(ctx context.Context, t target, request model.StreamRequest) (work, error) {
	files, err := s.pin(ctx, t.id, "root")
	if err != nil {
		return nil, err
	}
	dir, name, base, err := locate(rootfs{files[0]}, request.Path)
	closeAll(files)
	if err != nil {
		return nil, refuse("cannot read %s in container %s: %s", request.Path, t.name, reason(ctx, err))
	}
	return func(ctx context.Context, l *line) *nodeapi.StreamExit {
		defer dir.Close() //nolint:errcheck // it was only looked at
		ctx, cancel := s.withContainer(ctx, t)
		defer cancel()
		a := archive{ctx: ctx, to: tar.NewWriter(writer{l, output}), links: map[inode]string{}}
		err := a.add(dir, name, base)
		if err == nil {
			err = a.to.Close()
		}
		if err != nil {
			return broken(ctx, fmt.Errorf("reading %s: %w", request.Path, err))
		}
		return &nodeapi.StreamExit{}
	}, nil
}

// locate opens the directory in which a path's last element is, as a path, and
// makes sure that it is there.
func locate(r rootfs, asked string) (dir *os.File, name, base string, err error) {
	clean := path.Join("/", asked)
	base = path.Base(clean)
	if clean == "/" {
		dir, err = r.open("/", unix.O_PATH|unix.O_DIRECTORY)
		return dir, ".", ".", err
	}
	if strings.HasSuffix(asked, "/") || strings.HasSuffix(asked, "/.") {
		dir, err = r.open(clean, unix.O_PATH|unix.O_DIRECTORY)
		return dir, ".", base, err
	}
	if dir, err = r.open(path.Dir(clean), unix.O_PATH|unix.O_DIRECTORY); err != nil {
		return nil, "", "", err
	}
	f, _, err := entry(dir, base)
	if err != nil {
		return nil, "", "", errors.Join(err, dir.Close())
	}
	return dir, base, base, f.Close()
}

// archive writes what is in directories.
type archive struct {
	ctx   context.Context //nolint:containedctx // of one archive
	to    *tar.Writer
	links map[inode]string // files of more than one name that are in it, under the first
}

type inode struct{ dev, ino uint64 }

// add writes what has a name in a directory under the name that it gets in the
// archive, with everything below.
func (a *archive) add(dir *os.File, name, as string) error {
	if a.ctx.Err() != nil {
		return context.Cause(a.ctx)
	}
	f, st, err := entry(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed meanwhile
	}
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only looked at
	h := &tar.Header{
		Name: as, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()), Format: tar.FormatPAX,
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, as+"/"
		return a.addDirectory(f, h, as)
	case unix.S_IFREG:
		return a.addFile(f, st, h)
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = readLink(f); err != nil {
			return err
		}
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	default:
		return nil // sockets and devices mean nothing elsewhere
	}
	return a.to.WriteHeader(h)
}

func readLink(f *os.File) (string, error) {
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fdOf(f), "", buffer)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: f.Name(), Err: err}
	}
	return string(buffer[:n]), nil
}

func (a *archive) addDirectory(f *os.File, h *tar.Header, as string) error {
	if err := a.to.WriteHeader(h); err != nil {
		return err
	}
	if kernels(f) {
		return nil
	}
	fd, err := unix.Openat(fdOf(f), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: as, Err: err}
	}
	listed := os.NewFile(uintptr(fd), as) //nolint:gosec // not negative
	defer listed.Close()                  //nolint:errcheck // it was only looked at
	names, err := listed.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		if err := a.add(listed, name, as+"/"+name); err != nil {
			return err
		}
	}
	return nil
}

// kernels reports whether a directory is of a file system that shows the
// kernel's state: that is in no archive.
func kernels(f *os.File) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(fdOf(f), &st) != nil {
		return false
	}
	switch st.Type {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC:
		return true
	}
	return false
}

// addFile writes as many bytes as the file had when it was looked at: one that
// has shrunk since ends in zeros, as with tar.
func (a *archive) addFile(at *os.File, st unix.Stat_t, h *tar.Header) error {
	if st.Nlink > 1 {
		id := inode{uint64(st.Dev), st.Ino} //nolint:unconvert // differs between architectures
		if first, ok := a.links[id]; ok {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return a.to.WriteHeader(h)
		}
		a.links[id] = h.Name
	}
	f, err := openPlain(at)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	h.Typeflag, h.Size = tar.TypeReg, st.Size
	if err := a.to.WriteHeader(h); err != nil {
		return err
	}
	from := &interrupted{a.ctx, io.MultiReader(f, zeros{})}
	_, err = io.CopyBuffer(onlyWriter{a.to}, onlyReader{io.LimitReader(from, st.Size)}, make([]byte, frameBytes))
	return err
}

// interrupted ends with its context.
type interrupted struct {
	ctx context.Context //nolint:containedctx // of one copy
	io.Reader
}

func (r *interrupted) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
