package images

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// ProbePackage is the program of the images that Probe describes.
const ProbePackage = "berth.dev/berth/test/images/probe"

// File is a file, a directory (a name that ends in "/") or a symbolic link of an image.
type File struct {
	Name string // absolute
	Data []byte
	Mode int64 // permission bits, and the set-user-ID bit as 0o4000; zero is 0o644, or 0o755 for a directory
	UID  int
	GID  int
	Link string // what a symbolic link points to
}

// Image describes an image.
type Image struct {
	// Name with tag, as `docker tag` takes it.
	Name string
	// Architecture is this machine's when it is empty.
	Architecture string
	Config       v1.Config
	Files        []File
}

// Probe describes an image with the compiled probe program at /probe, which is its entry point, and with a few users:
// root, "app" (1000, group 1000, also in "extra" 2000) and "nobody".
func Probe(image, program string) (Image, error) {
	data, err := os.ReadFile(program)
	if err != nil {
		return Image{}, fmt.Errorf("probe image: %w", err)
	}
	return Image{
		Name:   image,
		Config: v1.Config{Entrypoint: []string{"/probe"}, Env: []string{"PATH=/bin", "FROM_IMAGE=yes"}},
		Files: []File{
			{Name: "/probe", Data: data, Mode: 0o755},
			{Name: "/bin/"},
			{Name: "/bin/probe", Link: "/probe"},
			{Name: "/etc/"},
			{Name: "/etc/passwd", Data: []byte("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")},
			{Name: "/etc/group", Data: []byte("root:x:0:\napp:x:1000:\nextra:x:2000:app\nnogroup:x:65534:\n")},
			{Name: "/tmp/", Mode: 0o1777},
			{Name: "/seed/"},
			{Name: "/seed/file", Data: []byte("seeded"), UID: 1000, GID: 1000, Mode: 0o640},
		},
	}, nil
}

// Compile builds a package of this module as a static program.
func Compile(ctx context.Context, pkg, out string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile %s: %w: %s", pkg, err, output)
	}
	return nil
}

// Build makes the image. The same description makes the same digest.
func (i Image) Build() (v1.Image, error) {
	layer, err := i.layer()
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", i.Name, err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", i.Name, err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config = "linux", i.Architecture, i.Config
	if config.Architecture == "" {
		config.Architecture = runtime.GOARCH
	}
	img, err = mutate.ConfigFile(img, config)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", i.Name, err)
	}
	return img, nil
}

func (i Image) layer() (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range i.Files {
		if err := f.write(w); err != nil {
			return nil, fmt.Errorf("image %s: file %s: %w", i.Name, f.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("image %s: %w", i.Name, err)
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buf.Bytes())), nil
	})
}

func (f File) write(w *tar.Writer) error {
	header := &tar.Header{
		Name: strings.TrimPrefix(f.Name, "/"), Mode: f.Mode, Uid: f.UID, Gid: f.GID, Size: int64(len(f.Data)),
		Typeflag: tar.TypeReg, ModTime: time.Unix(0, 0), Format: tar.FormatPAX,
	}
	switch {
	case f.Link != "":
		header.Typeflag, header.Linkname, header.Size = tar.TypeSymlink, f.Link, 0
	case strings.HasSuffix(f.Name, "/"):
		header.Typeflag, header.Size = tar.TypeDir, 0
		if header.Mode == 0 {
			header.Mode = 0o755
		}
	}
	if header.Mode == 0 {
		header.Mode = 0o644
	}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	if header.Typeflag != tar.TypeReg {
		return nil
	}
	_, err := w.Write(f.Data)
	return err
}

// Archive writes images as `docker save` does.
func Archive(w io.Writer, all ...Image) error {
	refs := map[name.Reference]v1.Image{}
	for _, i := range all {
		ref, err := name.NewTag(i.Name, name.WeakValidation)
		if err != nil {
			return fmt.Errorf("image %s: %w", i.Name, err)
		}
		img, err := i.Build()
		if err != nil {
			return err
		}
		refs[ref] = img
	}
	if err := tarball.MultiRefWrite(refs, w); err != nil {
		return fmt.Errorf("write image archive: %w", err)
	}
	return nil
}

// ArchiveFile is Archive into a new file.
func ArchiveFile(path string, all ...Image) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := Archive(f, all...); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// Layout writes an OCI image layout as a tar. Refs become org.opencontainers.image.ref.name of the images at the same
// place; an empty one is left out.
func Layout(w io.Writer, dir string, refs []string, all ...Image) error {
	if err := writeLayout(dir, refs, all); err != nil {
		return err
	}
	out := tar.NewWriter(w)
	var paths []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.Sort(paths)
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if err := (File{Name: rel, Data: data}).write(out); err != nil {
			return err
		}
	}
	return out.Close()
}
