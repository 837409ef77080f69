package cli

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/model"
)

// What a path of a container is.
type pathKind int

const (
	kindNone pathKind = iota
	kindFile
	kindDirectory
)

// linkLimit is how many links in a row are followed.
const linkLimit = 10

// kindOf finds out what a path of the container is: from the head of the
// archive of it, the rest of which is not asked for.
func (i *inside) kindOf(ctx context.Context, c *clients, at string) (pathKind, error) {
	for range linkLimit {
		if at == "/" {
			return kindDirectory, nil
		}
		stream, end, err := i.stream(ctx, c, model.DocumentRead, at)
		if err != nil {
			return kindNone, err
		}
		header, err := tar.NewReader(stream).Next()
		if err != nil {
			if wait := finished(stream); wait != nil {
				err = wait
			}
			end()
			if isMissing(err) {
				return kindNone, nil
			}
			return kindNone, copyEnd(ctx, i, at, err)
		}
		end()
		switch header.Typeflag {
		case tar.TypeDir:
			return kindDirectory, nil
		case tar.TypeSymlink:
			if at = header.Linkname; !path.IsAbs(at) {
				at = path.Join(path.Dir(at), header.Linkname)
			}
		default:
			return kindFile, nil
		}
	}
	return kindNone, fmt.Errorf("too many links at %s of %s", at, i)
}

// isMissing tells that the far end has no such file, in the kernel's words.
func isMissing(err error) bool {
	return strings.Contains(strings.ToLower(err.Error()), "no such file or directory")
}

// extraction writes an archive of a file or directory of a container to this
// host. Its entries begin with the name of what was copied.
type extraction struct {
	contents bool        // of a directory, not the directory itself
	told     func(int64) // how many bytes have come; may be nil

	count int
	bytes int64

	root   *os.Root
	first  string // the first component of the archive's names
	prefix string // what it becomes
	dirs   []*tar.Header
}

// to extracts into a place that is there, or makes it, by docker cp's rules.
// Nothing is written outside of it: paths are resolved by the kernel below a
// directory that is held open, whatever names and links say.
func (x *extraction) to(r io.Reader, into string) error {
	reader := tar.NewReader(r)
	head, err := reader.Next()
	if errors.Is(err, io.EOF) {
		return errors.New("nothing came")
	}
	if err != nil {
		return err
	}
	if err := x.open(head, into); err != nil {
		return err
	}
	defer x.root.Close() //nolint:errcheck // nothing was written to it itself
	for header := head; ; {
		if err := x.entry(header, reader); err != nil {
			return fmt.Errorf("%s: %w", header.Name, err)
		}
		if header, err = reader.Next(); errors.Is(err, io.EOF) {
			return x.finish()
		}
		if err != nil {
			return err
		}
	}
}

// open decides where the entries go.
func (x *extraction) open(head *tar.Header, into string) error {
	isDir := head.Typeflag == tar.TypeDir
	x.first, _, _ = strings.Cut(path.Clean("/" + head.Name)[1:], "/")
	info, err := os.Stat(into)
	switch {
	case err == nil && info.IsDir():
		if !isDir || !x.contents {
			x.prefix = x.first
		}
		x.root, err = os.OpenRoot(into)
		return err
	case err == nil && isDir:
		return fmt.Errorf("%s is a file; a directory cannot be copied over it", into)
	case err == nil && strings.HasSuffix(into, "/"), err != nil && !isDir && strings.HasSuffix(into, "/"):
		return fmt.Errorf("there is no directory %s", into)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	x.prefix = filepath.Base(into)
	if x.root, err = os.OpenRoot(filepath.Dir(filepath.Clean(into))); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no directory %s", filepath.Dir(filepath.Clean(into)))
	}
	return err
}

// place is where an entry goes, below root.
func (x *extraction) place(name string) (string, error) {
	clean := strings.TrimPrefix(name, "./")
	if !filepath.IsLocal(filepath.FromSlash(path.Clean(clean))) {
		return "", errors.New("the name leads out of what is copied")
	}
	clean = path.Clean(clean)
	if x.first != "" && x.first != "." {
		rest, below := strings.CutPrefix(clean, x.first)
		if !below || rest != "" && rest[0] != '/' {
			return "", errors.New("the name is not part of what is copied")
		}
		clean = strings.TrimPrefix(rest, "/")
	}
	return filepath.FromSlash(path.Join(".", x.prefix, clean)), nil
}

func (x *extraction) entry(header *tar.Header, r io.Reader) error {
	at, err := x.place(header.Name)
	if err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeDir:
		if err := x.root.MkdirAll(at, 0o700); err != nil {
			return err
		}
		kept := *header
		kept.Name = at
		if at != "." { // a directory that was there stays as it is
			x.dirs = append(x.dirs, &kept)
		}
		return nil
	case tar.TypeReg:
		x.count++
		return x.replace(at, func(temporary string) error { return x.file(temporary, header, r) })
	case tar.TypeSymlink:
		x.count++
		return x.replace(at, func(temporary string) error { return x.root.Symlink(header.Linkname, temporary) })
	case tar.TypeLink:
		from, err := x.place(header.Linkname)
		if err != nil {
			return err
		}
		x.count++
		return x.replace(at, func(temporary string) error { return x.root.Link(from, temporary) })
	}
	return nil // devices, pipes and sockets mean nothing outside of their container
}

// replace makes something beside its place and moves it there: what was there
// is replaced at once and as a whole, and a link that was there is not
// followed.
func (x *extraction) replace(at string, create func(temporary string) error) error {
	temporary := filepath.Join(filepath.Dir(at), ".berth-"+ident.Hex(16))
	err := create(temporary)
	if err == nil {
		err = x.root.Rename(temporary, at)
	}
	if err != nil {
		x.root.Remove(temporary) //nolint:errcheck,gosec // it may not be there
	}
	return err
}

func (x *extraction) file(at string, header *tar.Header, r io.Reader) error {
	file, err := x.root.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	before := x.bytes
	_, err = io.Copy(&progressWriter{file, func(n int64) {
		x.bytes = before + n
		if x.told != nil {
			x.told(x.bytes)
		}
	}, 0}, r)
	if err == nil {
		err = file.Chmod(header.FileInfo().Mode().Perm())
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return x.root.Chtimes(at, header.ModTime, header.ModTime)
}

// finish gives directories their modes and times, which filling them would
// change or forbid: inner ones first.
func (x *extraction) finish() error {
	for _, d := range slices.Backward(x.dirs) {
		if err := x.root.Chmod(d.Name, d.FileInfo().Mode().Perm()); err != nil {
			return err
		}
		if err := x.root.Chtimes(d.Name, d.ModTime, d.ModTime); err != nil {
			return err
		}
	}
	return nil
}

// packing writes a file or a directory of this host as an archive.
type packing struct {
	told func(int64)

	count int
	bytes int64
}

// from packs a path under a name; without a name it packs the members of a
// directory.
func (k *packing) from(w io.Writer, from, name string) error {
	archive := tar.NewWriter(w)
	err := filepath.WalkDir(from, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, at)
		if err != nil {
			return err
		}
		as := path.Join(name, filepath.ToSlash(below))
		if as == "." {
			return nil
		}
		return k.entry(archive, at, as, d)
	})
	return errors.Join(err, archive.Close())
}

func (k *packing) entry(archive *tar.Writer, at, as string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	link := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if link, err = os.Readlink(at); err != nil {
			return err
		}
	case !info.IsDir() && !info.Mode().IsRegular():
		return nil // sockets, pipes and devices mean nothing in a container
	}
	header, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	header.Name, header.Format = as, tar.FormatPAX
	if info.IsDir() {
		header.Name += "/"
	} else {
		k.count++
	}
	// The people of this host are not those of the container.
	header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	return k.content(archive, at, header.Size)
}

func (k *packing) content(w io.Writer, at string, size int64) error {
	file, err := os.Open(at)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only read
	before := k.bytes
	n, err := io.CopyN(&progressWriter{w, func(n int64) {
		k.bytes = before + n
		if k.told != nil {
			k.told(k.bytes)
		}
	}, 0}, file, size)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s became shorter while it was copied: %d of %d bytes", at, n, size)
	}
	return err
}
