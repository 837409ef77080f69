package containerd

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// shelf is a registry that has whatever a test puts there, right or wrong, and that can break.
type shelf struct {
	*httptest.Server
	mu        sync.Mutex
	blobs     map[string][]byte
	tags      map[string]ocispec.Descriptor // by repository:tag
	served    int64                         // bytes of layers
	manifests int                           // how often one was fetched
	resolved  int                           // how often one was asked for
	breakAt   int64                         // the connection breaks when so many bytes were served, once; 0 is never
	broken    func()                        // called then, without the lock
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{blobs: map[string][]byte{}, tags: map[string]ocispec.Descriptor{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

func (s *shelf) host() string { return strings.TrimPrefix(s.URL, "http://") }

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
	if len(parts) < 3 {
		return // the probe of the protocol
	}
	kind, ref := parts[len(parts)-2], parts[len(parts)-1]
	s.mu.Lock()
	desc := ocispec.Descriptor{Digest: digest.Digest(ref)}
	if kind == "manifests" {
		if s.resolved++; r.Method == http.MethodGet {
			s.manifests++
		}
		for name, d := range s.tags {
			if name == strings.Join(parts[:len(parts)-2], "/")+":"+ref || d.Digest.String() == ref {
				desc = d
			}
		}
		w.Header().Set("Content-Type", desc.MediaType)
		w.Header().Set("Docker-Content-Digest", desc.Digest.String())
	}
	data, ok := s.blobs[desc.Digest.String()]
	s.mu.Unlock()
	if !ok {
		http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, http.StatusNotFound)
		return
	}
	if kind == "blobs" {
		w = &shelfWriter{w, s}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

type shelfWriter struct {
	http.ResponseWriter
	s *shelf
}

func (w *shelfWriter) Write(p []byte) (int, error) {
	w.s.mu.Lock()
	breaks := w.s.breakAt > 0 && w.s.served+int64(len(p)) > w.s.breakAt
	broken := w.s.broken
	if breaks {
		w.s.breakAt = 0
	} else {
		w.s.served += int64(len(p))
	}
	w.s.mu.Unlock()
	if breaks {
		w.ResponseWriter.(http.Flusher).Flush()
		if broken != nil {
			broken()
		}
		panic(http.ErrAbortHandler)
	}
	return w.ResponseWriter.Write(p)
}

// count is what was served since the last time.
func (s *shelf) count() (bytes int64, manifests int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	bytes, manifests = s.served, s.manifests
	s.served, s.manifests = 0, 0
	return bytes, manifests
}

func (s *shelf) breakAfter(n int64, broken func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.breakAt, s.broken = n, broken
}

// put keeps data under its own digest.
func (s *shelf) put(mediaType string, data []byte) ocispec.Descriptor {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	s.blobs[d.Digest.String()] = data
	return d
}

// replace puts other data where a digest is.
func (s *shelf) replace(d ocispec.Descriptor, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[d.Digest.String()] = data
}

// image makes an image of layers and returns its reference. Change may spoil it before its manifest is made.
func (s *shelf) image(t *testing.T, layers []layer, change func(*ocispec.Manifest, *ocispec.Image)) string {
	t.Helper()
	config := ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: goruntime.GOARCH}, RootFS: ocispec.RootFS{Type: "layers"},
		Config: ocispec.ImageConfig{Entrypoint: []string{"/e"}, User: "7"},
	}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, l := range layers {
		manifest.Layers = append(manifest.Layers, s.put(ocispec.MediaTypeImageLayerGzip, l.data))
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.diff)
	}
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	manifest.Config = s.put(ocispec.MediaTypeImageConfig, raw)
	if change != nil {
		before := config
		change(&manifest, &config)
		if raw, err = json.Marshal(config); err != nil {
			t.Fatal(err)
		}
		if same, err := json.Marshal(before); err == nil && !bytes.Equal(raw, same) {
			manifest.Config = s.put(ocispec.MediaTypeImageConfig, raw)
		}
	}
	if raw, err = json.Marshal(manifest); err != nil {
		t.Fatal(err)
	}
	name := uniqueName() + ":v1"
	desc := s.put(manifest.MediaType, raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tags[name] = desc
	return s.host() + "/" + name
}

// layer is a compressed archive and the digest of what is in it.
type layer struct {
	data []byte
	diff digest.Digest
}

// layerOf makes a layer of files; one without a type is a regular file with the body.
func layerOf(t *testing.T, body []byte, headers ...tar.Header) layer {
	t.Helper()
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag, h.Size = tar.TypeReg, int64(len(body))
		}
		h.Mode = 0o644
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(body); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return compress(t, plain.Bytes())
}

func compress(t *testing.T, plain []byte) layer {
	t.Helper()
	var out bytes.Buffer
	level := gzip.BestSpeed
	if !bytes.Contains(plain, make([]byte, 4096)) {
		level = gzip.NoCompression // noise
	}
	w, err := gzip.NewWriterLevel(&out, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, bytes.NewReader(plain)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return layer{out.Bytes(), digest.FromBytes(plain)}
}

// noise is data that no compression makes smaller.
func noise(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.Read(data) // never fails
	return data
}

// noiseLayer is a layer of n bytes that no other image has.
func noiseLayer(t *testing.T, n int) layer {
	t.Helper()
	return layerOf(t, noise(n), tar.Header{Name: "noise"})
}
