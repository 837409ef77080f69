package containerd

import (
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/test/images"
)

// fakeDocker answers the two questions that are asked of a Docker engine, for one image.
type fakeDocker struct {
	mu    sync.Mutex
	name  string
	id    string
	image images.Image
	saves int
}

func (d *fakeDocker) set(id string, img images.Image) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.id, d.image = id, img
}

func (d *fakeDocker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w.Header().Set("Api-Version", "1.44")
	switch {
	case strings.HasSuffix(r.URL.Path, "/_ping"):
	case strings.HasSuffix(r.URL.Path, "/images/"+d.name+"/json"):
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"Id": d.id})
	case strings.HasSuffix(r.URL.Path, "/images/get") && r.URL.Query().Get("names") == d.name:
		d.saves++
		_ = images.Archive(w, d.image)
	default:
		w.Header().Set("Content-Type", "application/json")
		http.Error(w, `{"message":"No such image"}`, http.StatusNotFound)
	}
}

func TestDockerImages(t *testing.T) {
	h := requireHost(t)
	ref := uniqueName() + ":latest"
	engine := &fakeDocker{name: "docker.io/library/" + ref, id: "sha256:one", image: tiny(t, ref)}
	socket := filepath.Join(t.TempDir(), "d.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: engine}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })

	cfg := h.cfg
	cfg.Images.DockerHost = "unix://" + socket
	r, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ensure := func(source string) runtime.Image {
		t.Helper()
		img, err := r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: strings.TrimSuffix(ref, ":latest")})
		if err != nil || img.Source != source || img.User != "7" {
			t.Fatalf("image %+v, %v, want it from %s", img, err, source)
		}
		return img
	}
	first := ensure(runtime.SourceDocker)
	if again := ensure(runtime.SourceContainerd); again.Digest != first.Digest {
		t.Errorf("digest %s, was %s", again.Digest, first.Digest)
	}
	// Built again under the same name: the new one must run.
	engine.set("sha256:two", tiny(t, ref))
	if rebuilt := ensure(runtime.SourceDocker); rebuilt.Digest == first.Digest {
		t.Error("the image was built again and the old one is used")
	}
	if engine.saves != 2 {
		t.Errorf("the image was copied %d times, want 2", engine.saves)
	}
	// Docker goes away: what was copied stays.
	server.Close()
	ensure(runtime.SourceContainerd)
	// An image that was imported is not Docker's matter.
	if _, err := r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: probeImage}); err != nil {
		t.Error(err)
	}
}
