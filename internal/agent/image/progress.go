package image

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"berth.dev/berth/internal/model"
)

// progress counts what of one image has arrived. The zero value knows nothing yet.
type progress struct {
	mu     sync.Mutex
	layers []digest.Digest
	sizes  map[digest.Digest]int64
	at     map[digest.Digest]int64 // how far the download is
}

// expect sets the layers of the image, when its manifest is there.
func (p *progress) expect(layers []ocispec.Descriptor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.layers, p.sizes, p.at = nil, map[digest.Digest]int64{}, map[digest.Digest]int64{}
	for _, layer := range layers {
		if _, twice := p.sizes[layer.Digest]; !twice {
			p.layers = append(p.layers, layer.Digest)
			p.sizes[layer.Digest] = layer.Size
		}
	}
}

// arrived says how many bytes of a blob are here. Blobs that are no layers do not count.
func (p *progress) arrived(blob digest.Digest, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	size, ok := p.sizes[blob]
	if !ok {
		return
	}
	if _, seen := p.at[blob]; !seen {
		// Layers are fetched from the first that is missing on: those below are unpacked already.
		for _, below := range p.layers[:slices.Index(p.layers, blob)] {
			if _, seen := p.at[below]; !seen {
				p.at[below] = p.sizes[below]
			}
		}
	}
	p.at[blob] = min(n, size)
}

// bytes is what has arrived of everything: it grows while a pull gets anywhere.
func (p *progress) bytes() int64 { return p.snapshot().Bytes }

func (p *progress) snapshot() model.PullProgress {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := model.PullProgress{Layers: len(p.layers)}
	for _, layer := range p.layers {
		out.Total += p.sizes[layer]
		out.Bytes += p.at[layer]
		if at, seen := p.at[layer]; seen && at == p.sizes[layer] {
			out.LayersDone++
		}
	}
	return out
}

// counting is a fetcher that tells what arrives, and stops when there is no room for more.
type counting struct {
	remotes.Fetcher
	progress *progress
	room     *room
}

func (c counting) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	r, err := c.Fetcher.Fetch(ctx, desc)
	if err != nil {
		return nil, err
	}
	return &countedReader{ReadCloser: r, desc: desc, progress: c.progress, room: c.room}, nil
}

// countedReader is one blob on its way. It can be positioned, so that a download goes on where an earlier one was cut.
type countedReader struct {
	io.ReadCloser
	desc     ocispec.Descriptor
	at       int64
	progress *progress
	room     *room
}

func (r *countedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.at += int64(n)
	r.progress.arrived(r.desc.Digest, r.at)
	if full := r.room.take(n); full != nil {
		return 0, full
	}
	if errors.Is(err, io.EOF) && r.at < r.desc.Size {
		// A connection that was cut does not end like this, and asking again gives no more.
		return n, wrong("%s has %d bytes at the registry, and %d by its manifest", r.desc.Digest, r.at, r.desc.Size)
	}
	return n, err
}

func (r *countedReader) Seek(offset int64, whence int) (int64, error) {
	seeker, ok := r.ReadCloser.(io.Seeker)
	if !ok {
		return 0, errNoSeek
	}
	at, err := seeker.Seek(offset, whence)
	r.at = at
	r.progress.arrived(r.desc.Digest, r.at)
	return at, err
}
