package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	crand "crypto/rand"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"berth.dev/berth/test/images"
)

const megabyte = 1_000_000

// newRandom is a source whose content nobody has seen before, so that no
// registry and no node has a part of it already.
func newRandom() (*rand.ChaCha8, error) {
	var seed [32]byte
	_, err := crand.Read(seed[:])
	return rand.NewChaCha8(seed), err
}

// blobImage is an image for registries only: what its layers hold is noise and
// no archive.
func blobImage(size, layers int) (v1.Image, error) {
	random, err := newRandom()
	if err != nil {
		return nil, err
	}
	image := empty.Image
	for range layers {
		content := make([]byte, size/layers)
		random.Read(content) //nolint:errcheck,gosec // it never fails
		if image, err = mutate.AppendLayers(image, static.NewLayer(content, types.DockerLayer)); err != nil {
			return nil, err
		}
	}
	return image, nil
}

// fileImage is an image that can be run, with so many bytes of files: half of
// them noise in large files, half of them words in small ones, in two layers
// each and compressed as `docker push` does, though faster.
func (b *bench) fileImage(size int) (v1.Image, error) {
	program, err := images.Probe(imageName, filepath.Join(b.dir, "probe"))
	if err != nil {
		return nil, err
	}
	image, err := program.Build()
	if err != nil {
		return nil, err
	}
	layers := make([]v1.Layer, 4)
	var g errgroup.Group
	for i := range layers {
		g.Go(func() (err error) {
			layers[i], err = fileLayer(fmt.Sprintf("layer%d", i), size/len(layers), i%2 == 0)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return mutate.AppendLayers(image, layers...)
}

func fileLayer(dir string, size int, noise bool) (v1.Layer, error) {
	random, err := newRandom()
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	each, fill := 64<<10, words
	if noise {
		each, fill = 1<<20, func(random *rand.ChaCha8, content []byte) { random.Read(content) } //nolint:errcheck,gosec // it never fails
	}
	content := make([]byte, each)
	for n := 0; size > 0; n++ {
		content = content[:min(size, each)]
		fill(random, content)
		size -= len(content)
		if err := w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: fmt.Sprintf("%s/%d", dir, n), Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(0, 0),
		}); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	}, tarball.WithCompressionLevel(gzip.BestSpeed), tarball.WithCompressedCaching)
}

// words fills content with what compresses as text does.
func words(random *rand.ChaCha8, content []byte) {
	const syllables = "bacadafagahajakalamanaparasatavawaxayazebecedefegehejekelemenepe"
	for at := 0; at < len(content); {
		bits := random.Uint64()
		for range 2 + bits%4 {
			bits >>= 2
			from := 2 * (bits % (uint64(len(syllables)) / 2))
			at += copy(content[at:], syllables[from:from+2])
			bits >>= 5
		}
		at += copy(content[at:], " ")
	}
}

// sizeOf is how many bytes of an image a registry carries.
func sizeOf(image v1.Image) (total int64, err error) {
	layers, err := image.Layers()
	if err != nil {
		return 0, err
	}
	for _, layer := range layers {
		size, err := layer.Size()
		if err != nil {
			return 0, err
		}
		total += size
	}
	return total, nil
}
