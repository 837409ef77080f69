package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// errOutside says that a layer names a file outside of the image.
var errOutside = errors.New("the layer reaches out of the image")

// applier unpacks layers into snapshots, in this process and not in containerd's: so the bytes can be counted while they
// are written, and an image that is too large, or that tries to reach out of its own file system, is refused with the
// reason. Snapshots are written to where they lie, without a mount that somebody would have to take away again.
type applier struct {
	content content.Provider
	room    *room
}

var _ diff.Applier = (*applier)(nil)

// Apply implements diff.Applier.
func (a *applier) Apply(ctx context.Context, layer ocispec.Descriptor, mounts []mount.Mount, _ ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	target, opts, err := snapshotPath(mounts)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if err := a.room.check(); err != nil {
		return ocispec.Descriptor{}, err
	}
	blob, err := a.content.ReaderAt(ctx, layer)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("read layer %s: %w", layer.Digest, err)
	}
	defer blob.Close()
	stream, err := compression.DecompressStream(content.NewReader(blob))
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("layer %s: %w", layer.Digest, err)
	}
	defer stream.Close()
	digester := digest.Canonical.Digester()
	in := &boundedReader{Reader: io.TeeReader(stream, digester.Hash()), room: a.room}
	if _, err := archive.Apply(ctx, target, in, append(opts, archive.WithFilter(inside))...); err != nil {
		return ocispec.Descriptor{}, err
	}
	// What follows the archive's end belongs to its digest.
	if _, err := io.Copy(io.Discard, in); err != nil {
		return ocispec.Descriptor{}, err
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Size: in.n, Digest: digester.Digest()}, nil
}

// snapshotPath is where the files of a snapshot are written to, and how what a layer deletes is written down there.
func snapshotPath(mounts []mount.Mount) (string, []archive.ApplyOpt, error) {
	if len(mounts) == 1 {
		switch m := mounts[0]; m.Type {
		case "bind":
			return m.Source, nil, nil
		case "overlay":
			opts := []archive.ApplyOpt{archive.WithConvertWhiteout(archive.OverlayConvertWhiteout)}
			upper := ""
			for _, o := range m.Options {
				if dir, ok := strings.CutPrefix(o, "upperdir="); ok {
					upper = dir
				} else if dirs, ok := strings.CutPrefix(o, "lowerdir="); ok {
					opts = append(opts, archive.WithParents(strings.Split(dirs, ":")))
				}
			}
			if upper != "" {
				return upper, opts, nil
			}
		}
	}
	return "", nil, fmt.Errorf("images cannot be unpacked with this snapshotter, which mounts %v", mounts)
}

// inside refuses what names a file outside of the image. Symbolic links may point anywhere: they are followed inside the
// image's file system only, by archive.Apply as by the container.
func inside(h *tar.Header) (bool, error) {
	if escapes(h.Name) {
		return false, fmt.Errorf("file %q: %w", h.Name, errOutside)
	}
	if h.Typeflag == tar.TypeLink && escapes(h.Linkname) {
		return false, fmt.Errorf("file %q is a link to %q: %w", h.Name, h.Linkname, errOutside)
	}
	return true, nil
}

// escapes reports whether a name leads above its root.
func escapes(name string) bool {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	return clean == ".." || strings.HasPrefix(clean, "../")
}
