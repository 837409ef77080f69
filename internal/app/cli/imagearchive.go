package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// metadataLimit is how large the JSON documents of an archive may be: an
// index, a manifest or a configuration that is larger is no such thing.
const metadataLimit = 16 << 20

// archive is a tar archive of an image, as docker save, containerd and OCI
// tools write it, in a file that is read in any order.
type archive struct {
	file    *os.File
	size    int64
	entries map[string]section // regular files by their cleaned names
}

// section is where a file's content is.
type section struct{ offset, size int64 }

// spool copies a stream, compressed or not, to a file that nothing is left of
// when this process ends, however it ends.
func spool(r io.Reader, copied func(int64)) (*os.File, error) {
	file, err := os.CreateTemp("", "berth-image-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if _, err := io.Copy(&progressWriter{file, copied, 0}, r); err != nil {
		return nil, errors.Join(fmt.Errorf("copying the image to %s (TMPDIR names another place): %w", os.TempDir(), err), file.Close())
	}
	return file, nil
}

// progressWriter says how much has been written.
type progressWriter struct {
	w     io.Writer
	tell  func(int64)
	total int64
}

func (p *progressWriter) Write(data []byte) (int, error) {
	n, err := p.w.Write(data)
	p.total += int64(n)
	if p.tell != nil {
		p.tell(p.total)
	}
	return n, err
}

// openArchive indexes an archive; one that is compressed is unpacked to a
// temporary file first. It closes file when it fails.
func openArchive(file *os.File) (*archive, error) {
	a, err := indexArchive(file)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return a, nil
}

func indexArchive(file *os.File) (*archive, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	magic := make([]byte, 2)
	if _, err := io.ReadFull(file, magic); err != nil {
		return nil, errors.New("it is empty")
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if magic[0] == 0x1f && magic[1] == 0x8b {
		unpacked, err := gzip.NewReader(file)
		if err != nil {
			return nil, err
		}
		plain, err := spool(unpacked, nil)
		if err != nil {
			return nil, err
		}
		if err := file.Close(); err != nil {
			return nil, errors.Join(err, plain.Close())
		}
		return openArchive(plain)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	a := &archive{file: file, size: info.Size(), entries: map[string]section{}}
	reader := tar.NewReader(file)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			return nil, fmt.Errorf("it is no tar archive: %w", err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		offset, err := file.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		a.entries[path.Clean(header.Name)] = section{offset, header.Size}
	}
}

func (a *archive) close() error { return a.file.Close() }

// whole reads the archive from its beginning; any number of readers may.
func (a *archive) whole() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(a.file, 0, a.size)), nil
}

// document reads a small file of the archive.
func (a *archive) document(name string) ([]byte, error) {
	at, ok := a.entries[name]
	switch {
	case !ok:
		return nil, fmt.Errorf("the archive has no %s", name)
	case at.size > metadataLimit:
		return nil, fmt.Errorf("%s of the archive has %d bytes, which no image has", name, at.size)
	}
	data := make([]byte, at.size)
	_, err := a.file.ReadAt(data, at.offset)
	return data, err
}

func blobName(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

func (a *archive) has(h v1.Hash) bool {
	_, ok := a.entries[blobName(h)]
	return ok
}

// namedImage is an image, and what it is called where it comes from.
type namedImage struct {
	remote.Taggable
	name string
}

// images finds the archive's images. What is stored as it would be pushed keeps
// its digest; an image of an older Docker, whose layers are stored
// uncompressed, gets one when they are compressed.
func (a *archive) images() ([]namedImage, error) {
	if _, ok := a.entries["index.json"]; ok {
		images, err := a.oci()
		if err != nil || images != nil {
			return images, err
		}
	}
	if _, ok := a.entries["manifest.json"]; !ok {
		return nil, errors.New("it holds no image: neither an index.json nor a manifest.json")
	}
	manifest, err := tarball.LoadManifest(a.whole)
	switch {
	case err != nil:
		return nil, err
	case len(manifest) == 0:
		return nil, errNoImage
	case len(manifest) == 1:
		image, err := tarball.Image(a.whole, nil)
		return []namedImage{{image, firstName(manifest[0].RepoTags)}}, err
	}
	var images []namedImage
	for _, m := range manifest {
		for _, called := range m.RepoTags {
			tag, err := name.NewTag(called, name.WeakValidation)
			if err != nil {
				return nil, err
			}
			image, err := tarball.Image(a.whole, &tag)
			if err != nil {
				return nil, err
			}
			images = append(images, namedImage{image, called})
		}
	}
	if len(images) == 0 {
		return nil, fmt.Errorf("it holds %d images without names", len(manifest))
	}
	return images, nil
}

var errNoImage = errors.New("it holds no image")

func firstName(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// Annotations that say how an image of an OCI layout is called.
const (
	annotationName = "io.containerd.image.name"
	annotationRef  = "org.opencontainers.image.ref.name"
)

// oci finds the images of an OCI layout; nil when what is there cannot be
// pushed as it is, and docker's own description of it is there too.
func (a *archive) oci() ([]namedImage, error) {
	data, err := a.document("index.json")
	if err != nil {
		return nil, err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	if len(index.Manifests) == 0 {
		return nil, errNoImage
	}
	_, docker := a.entries["manifest.json"]
	var images []namedImage
	for _, top := range index.Manifests {
		image, whole, err := a.ociImage(top)
		if err != nil || docker && !whole {
			return nil, err
		}
		images = append(images, namedImage{image, layoutName(top.Annotations)})
	}
	return images, nil
}

func layoutName(annotations map[string]string) string {
	if name := annotations[annotationName]; name != "" {
		return name
	}
	return annotations[annotationRef]
}

// ociImage opens an image or an index, and tells whether all of it is there in
// the form in which it is pushed.
func (a *archive) ociImage(d v1.Descriptor) (remote.Taggable, bool, error) {
	data, err := a.document(blobName(d.Digest))
	if err != nil {
		return nil, false, err
	}
	if !d.MediaType.IsIndex() {
		image, err := partial.CompressedToImage(&archivedImage{a, d, data})
		if err != nil {
			return nil, false, err
		}
		whole, err := a.wholeImage(data)
		return image, whole, err
	}
	var children v1.IndexManifest
	if err := json.Unmarshal(data, &children); err != nil {
		return nil, false, fmt.Errorf("%s: %w", d.Digest, err)
	}
	for _, child := range children.Manifests {
		if !a.has(child.Digest) {
			return nil, false, nil
		}
		if _, whole, err := a.ociImage(child); err != nil || !whole {
			return nil, false, err
		}
	}
	return &archivedIndex{a, d, data}, true, nil
}

// wholeImage tells whether the layers of a manifest are there, compressed.
func (a *archive) wholeImage(manifest []byte) (bool, error) {
	m, err := v1.ParseManifest(bytes.NewReader(manifest))
	if err != nil {
		return false, err
	}
	for _, l := range m.Layers {
		if !a.has(l.Digest) || l.MediaType == types.OCIUncompressedLayer || l.MediaType == types.DockerUncompressedLayer {
			return false, nil
		}
	}
	return true, nil
}

// archivedImage is an image of an OCI layout in a tar archive.
type archivedImage struct {
	archive    *archive
	descriptor v1.Descriptor
	manifest   []byte
}

// MediaType is the manifest's.
func (i *archivedImage) MediaType() (types.MediaType, error) { return i.descriptor.MediaType, nil }

// RawManifest is the manifest, whose digest stays what it is.
func (i *archivedImage) RawManifest() ([]byte, error) { return i.manifest, nil }

// RawConfigFile is the configuration.
func (i *archivedImage) RawConfigFile() ([]byte, error) {
	m, err := v1.ParseManifest(bytes.NewReader(i.manifest))
	if err != nil {
		return nil, err
	}
	return i.archive.document(blobName(m.Config.Digest))
}

// LayerByDigest finds a layer.
func (i *archivedImage) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	m, err := v1.ParseManifest(bytes.NewReader(i.manifest))
	if err != nil {
		return nil, err
	}
	for _, d := range append(m.Layers, m.Config) {
		if d.Digest == h {
			return &archivedLayer{i.archive, d}, nil
		}
	}
	return nil, fmt.Errorf("the manifest has no layer %s", h)
}

// archivedLayer is a layer of an OCI layout in a tar archive.
type archivedLayer struct {
	archive    *archive
	descriptor v1.Descriptor
}

// Digest is the layer's.
func (l *archivedLayer) Digest() (v1.Hash, error) { return l.descriptor.Digest, nil }

// Size is that of the compressed layer in bytes.
func (l *archivedLayer) Size() (int64, error) { return l.descriptor.Size, nil }

// MediaType is the layer's.
func (l *archivedLayer) MediaType() (types.MediaType, error) { return l.descriptor.MediaType, nil }

// Compressed reads the layer.
func (l *archivedLayer) Compressed() (io.ReadCloser, error) {
	at, ok := l.archive.entries[blobName(l.descriptor.Digest)]
	if !ok {
		return nil, fmt.Errorf("the archive has no %s", l.descriptor.Digest)
	}
	return io.NopCloser(io.NewSectionReader(l.archive.file, at.offset, at.size)), nil
}

// archivedIndex is an index of an OCI layout in a tar archive.
type archivedIndex struct {
	archive    *archive
	descriptor v1.Descriptor
	manifest   []byte
}

// MediaType is the index's.
func (i *archivedIndex) MediaType() (types.MediaType, error) { return i.descriptor.MediaType, nil }

// Digest is the index's.
func (i *archivedIndex) Digest() (v1.Hash, error) { return i.descriptor.Digest, nil }

// Size is that of the index itself in bytes.
func (i *archivedIndex) Size() (int64, error) { return i.descriptor.Size, nil }

// RawManifest is the index, whose digest stays what it is.
func (i *archivedIndex) RawManifest() ([]byte, error) { return i.manifest, nil }

// IndexManifest is the index, parsed.
func (i *archivedIndex) IndexManifest() (*v1.IndexManifest, error) {
	return v1.ParseIndexManifest(bytes.NewReader(i.manifest))
}

func (i *archivedIndex) child(h v1.Hash) (remote.Taggable, error) {
	index, err := i.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, d := range index.Manifests {
		if d.Digest == h {
			found, _, err := i.archive.ociImage(d)
			return found, err
		}
	}
	return nil, fmt.Errorf("the index has no %s", h)
}

// Image is an image that the index refers to.
func (i *archivedIndex) Image(h v1.Hash) (v1.Image, error) {
	found, err := i.child(h)
	if err != nil {
		return nil, err
	}
	if image, ok := found.(v1.Image); ok {
		return image, nil
	}
	return nil, fmt.Errorf("%s is no image", h)
}

// ImageIndex is an index that the index refers to.
func (i *archivedIndex) ImageIndex(h v1.Hash) (v1.ImageIndex, error) {
	found, err := i.child(h)
	if err != nil {
		return nil, err
	}
	if index, ok := found.(v1.ImageIndex); ok {
		return index, nil
	}
	return nil, fmt.Errorf("%s is no index", h)
}

// openLayout opens a directory that is an OCI layout.
func openLayout(dir string) (remote.Taggable, string, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, "", fmt.Errorf("%s is no OCI layout: %w", dir, err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, "", err
	}
	switch len(m.Manifests) {
	case 0:
		return nil, "", fmt.Errorf("%s holds no image", dir)
	case 1:
	default:
		return nil, "", fmt.Errorf("%s holds %d images; push one at a time", dir, len(m.Manifests))
	}
	top := m.Manifests[0]
	if top.MediaType.IsIndex() {
		found, err := index.ImageIndex(top.Digest)
		return found, layoutName(top.Annotations), err
	}
	found, err := index.Image(top.Digest)
	return found, layoutName(top.Annotations), err
}

// isPath tells a file from the name of an image: names begin with a letter or
// a digit and have no such endings.
func isPath(s string) bool {
	if s == "-" || strings.HasPrefix(s, ".") || strings.HasPrefix(s, "/") {
		return true
	}
	for _, suffix := range []string{".tar", ".tar.gz", ".tgz"} {
		if strings.HasSuffix(s, suffix) {
			return true
		}
	}
	return false
}
