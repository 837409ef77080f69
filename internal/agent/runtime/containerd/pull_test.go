package containerd

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"berth.dev/berth/internal/agent/image"
	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/model"
)

const mib = 1 << 20

// remains lists what pulls have left besides images: half-made snapshots, half-read blobs, and blobs of the given sizes.
func remains(t *testing.T, r *Runtime, downloads bool, blobs ...ocispec.Descriptor) []string {
	t.Helper()
	ctx := r.scoped(t.Context())
	var out []string
	err := r.client.SnapshotService(r.snapshotter).Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if strings.HasPrefix(info.Name, snapshots.UnpackKeyPrefix) {
			out = append(out, "snapshot "+info.Name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if downloads {
		statuses, err := r.client.ContentStore().ListStatuses(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range statuses {
			out = append(out, "download "+s.Ref)
		}
		leases, err := r.client.LeasesService().List(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range leases {
			out = append(out, "lease "+l.ID)
		}
	}
	err = r.client.ContentStore().Walk(ctx, func(info content.Info) error {
		for _, b := range blobs {
			if b.Digest == info.Digest {
				out = append(out, "blob "+b.Digest.String())
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func ensure(t *testing.T, r *Runtime, ref string) (runtime.Image, error) {
	t.Helper()
	return r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: ref})
}

// A connection that is cut goes on where it was; so does a pull of the next agent.
func TestPullResumes(t *testing.T) {
	h := requireHost(t)
	const size = 16 * mib
	t.Run("connection", func(t *testing.T) {
		r, s := h.connect(t), newShelf(t)
		ref := s.image(t, []layer{noiseLayer(t, size)}, nil)
		s.breakAfter(8*mib, nil)
		if _, err := ensure(t, r, ref); err != nil {
			t.Fatal(err)
		}
		if n, _ := s.count(); n > size+2*mib {
			t.Errorf("%d bytes were served of a layer of %d", n, size)
		}
	})
	t.Run("registry", func(t *testing.T) {
		r, s := h.connect(t), newShelf(t)
		ref := s.image(t, []layer{noiseLayer(t, size)}, nil)
		listener := s.Listener.Addr().String()
		s.breakAfter(12*mib, func() { s.Listener.Close() })
		_, err := ensure(t, r, ref)
		var pullErr *runtime.PullError
		if !errors.As(err, &pullErr) || pullErr.Class != runtime.PullUnreachable {
			t.Fatalf("while the registry is away: %v (%+v)", err, pullErr)
		}
		if left := remains(t, r, false); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
		first, _ := s.count()
		back, err := net.Listen("tcp", listener)
		if err != nil {
			t.Skip("the port was taken meanwhile:", err)
		}
		go s.Config.Serve(back) //nolint:errcheck // it ends with the server
		if _, err := ensure(t, h.connect(t), ref); err != nil {
			t.Fatal(err)
		}
		// What was in flight when the connection broke is lost.
		if second, _ := s.count(); first < 6*mib || second > size-4*mib {
			t.Errorf("%d bytes were served at first and %d then, of a layer of %d", first, second, size)
		}
		if left := remains(t, r, true); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// pullVariable has TestMain be an agent that pulls an image, so that it can be killed.
const pullVariable = "BERTH_TEST_PULL"

type pullOrder struct {
	Instance, DataDir, Ref string
}

// pullAsAgent is the life of that agent.
func pullAsAgent(order string) error {
	var o pullOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		return err
	}
	r, err := New(context.Background(), Config{
		Instance: o.Instance, DataDir: o.DataDir, Address: AddressPrivate, Images: image.Config{DockerHost: "none"},
	})
	if err != nil {
		return err
	}
	_, err = r.EnsureImage(context.Background(), runtime.ImageRequest{Ref: o.Ref})
	return err
}

// awaitDownload returns when so many bytes of layers have been written down.
func awaitDownload(t *testing.T, r *Runtime, n int64) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		statuses, err := r.client.ContentStore().ListStatuses(r.scoped(t.Context()))
		if err != nil {
			t.Error(err)
			return
		}
		var sum int64
		for _, s := range statuses {
			sum += s.Offset
		}
		if sum >= n {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			return
		}
	}
}

// An agent that is killed in the middle of a download loses nothing, and leaves nothing half-made.
func TestPullSurvivesKill(t *testing.T) {
	h := requireHost(t)
	const size = 16 * mib
	s := newShelf(t)
	first := noiseLayer(t, mib)
	ref := s.image(t, []layer{first, noiseLayer(t, size)}, nil)
	order, err := json.Marshal(pullOrder{h.cfg.Instance, h.cfg.DataDir, ref})
	if err != nil {
		t.Fatal(err)
	}
	agent := exec.CommandContext(t.Context(), os.Args[0])
	agent.Env = append(os.Environ(), pullVariable+"="+string(order))
	started, dead := make(chan struct{}), make(chan struct{})
	watching := h.connect(t)
	s.breakAfter(12*mib, func() {
		<-started
		awaitDownload(t, watching, 8*mib)
		if err := agent.Process.Kill(); err != nil {
			t.Error(err)
		}
		<-dead
	})
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	close(started)
	err = agent.Wait()
	close(dead)
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the agent was not killed: %v", err)
	}
	before, _ := s.count()
	r := h.connect(t)
	if left := remains(t, r, false); len(left) > 0 {
		t.Errorf("after the next agent's start: %q", left)
	}
	if _, err := ensure(t, r, ref); err != nil {
		t.Fatal(err)
	}
	if after, _ := s.count(); after > size-6*mib {
		t.Errorf("%d bytes were served to the first agent and %d to the second, of a layer of %d", before, after, size)
	}
	if left := remains(t, r, true); len(left) > 0 {
		t.Errorf("in the end: %q", left)
	}
}

// What is wrong with an image is said, and nothing of it stays.
func TestPullRefuses(t *testing.T) {
	h := requireHost(t)
	outside := filepath.Join(t.TempDir(), "outside")
	link := tar.Header{Name: "door", Typeflag: tar.TypeSymlink, Linkname: filepath.Dir(outside)}
	good := noiseLayer(t, mib)
	truncated := good.data[:len(good.data)/2]
	many := make([]layer, 128)
	for i := range many {
		many[i] = layerOf(t, nil, tar.Header{Name: "same"})
	}
	for _, tt := range []struct {
		name   string
		layers []layer
		change func(*ocispec.Manifest, *ocispec.Image)
		spoil  func(s *shelf, m *ocispec.Manifest)
		class  runtime.PullClass
		words  string
	}{
		{name: "another content", layers: []layer{good}, class: runtime.PullCorrupt, words: "unexpected commit digest", spoil: func(s *shelf, m *ocispec.Manifest) {
			wrong := append([]byte(nil), good.data...)
			wrong[len(wrong)/2]++
			s.replace(m.Layers[0], wrong)
		}},
		{name: "a truncated layer", layers: []layer{good}, class: runtime.PullCorrupt, words: "bytes at the registry", spoil: func(s *shelf, m *ocispec.Manifest) {
			s.replace(m.Layers[0], truncated)
		}},
		{name: "a layer cut before it was pushed", layers: []layer{{truncated, good.diff}}, class: runtime.PullCorrupt, words: "failed to extract layer"},
		{name: "another archive than the configuration says", layers: []layer{{good.data, layerOf(t, nil, tar.Header{Name: "x"}).diff}}, class: runtime.PullCorrupt, words: "wrong diff id"},
		{name: "no archive", layers: []layer{compress(t, noise(2000))}, class: runtime.PullCorrupt, words: "failed to extract layer"},
		{name: "a path that leads out", layers: []layer{layerOf(t, nil, tar.Header{Name: "../../../../../../../../" + outside})}, class: runtime.PullCorrupt, words: "the layer reaches out of the image"},
		{name: "a link that leads out", layers: []layer{layerOf(t, nil, tar.Header{Name: "x", Typeflag: tar.TypeLink, Linkname: "../../../../../etc/passwd"})}, class: runtime.PullCorrupt, words: `is a link to "../../../../../etc/passwd": the layer reaches out of the image`},
		{name: "too large", layers: []layer{layerOf(t, make([]byte, 80*mib), tar.Header{Name: "zeros"})}, class: runtime.PullTooLarge, words: "it unpacks to more than 64 MiB"},
		{name: "too many layers", layers: many, class: runtime.PullCorrupt, words: "the image has 128 layers"},
		{name: "layers and configuration differ", layers: []layer{good}, class: runtime.PullCorrupt, words: "names 2 layers and its manifest 1", change: func(_ *ocispec.Manifest, c *ocispec.Image) {
			c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, good.diff)
		}},
		{name: "another platform", layers: []layer{good}, class: runtime.PullPlatform, words: "does not contain descriptor matching platform", change: func(_ *ocispec.Manifest, c *ocispec.Image) {
			c.Architecture = "s390x"
		}},
		{name: "a huge document", layers: []layer{good}, class: runtime.PullCorrupt, words: "more than the 8388608 that are allowed", change: func(m *ocispec.Manifest, _ *ocispec.Image) {
			m.Config.Size = 9 * mib
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := h.cfg
			cfg.Images.MaxSize = 64 * mib
			r, err := New(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			s := newShelf(t)
			var manifest ocispec.Manifest
			ref := s.image(t, tt.layers, func(m *ocispec.Manifest, c *ocispec.Image) {
				if tt.change != nil {
					tt.change(m, c)
				}
				if tt.spoil != nil {
					tt.spoil(s, m)
				}
				manifest = *m
			})
			_, err = ensure(t, r, ref)
			pullErr, ok := errors.AsType[*runtime.PullError](err)
			if !ok || pullErr.Class != tt.class || !strings.Contains(pullErr.Message, tt.words) {
				t.Errorf("%v (%+v), want %s with %q", err, pullErr, tt.class, tt.words)
			}
			if left := remains(t, r, true, manifest.Layers...); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
	t.Run("a link and a file behind it", func(t *testing.T) {
		r, s := h.connect(t), newShelf(t)
		ref := s.image(t, []layer{layerOf(t, []byte("!"), link, tar.Header{Name: "door/outside"})}, nil)
		if _, err := ensure(t, r, ref); err != nil {
			t.Log("refused:", err)
		}
		if _, err := os.Stat(outside); err == nil {
			t.Error("the layer wrote to the host")
		}
	})
	t.Run("a configuration that is no JSON", func(t *testing.T) {
		r, s := h.connect(t), newShelf(t)
		ref := s.image(t, []layer{good}, func(m *ocispec.Manifest, _ *ocispec.Image) {
			m.Config = s.put(ocispec.MediaTypeImageConfig, []byte("<html>"))
		})
		if _, err := ensure(t, r, ref); err == nil || !strings.Contains(err.Error(), "the image's configuration is not JSON") {
			t.Errorf("got %v", err)
		}
		if left := remains(t, r, true); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// ownRegistry is the control plane's registry behind the node protocol.
type ownRegistry struct {
	mu    sync.Mutex
	s     *shelf
	away  error
	dials map[string]int // by task and container
}

func (o *ownRegistry) Owns(host string) bool { return host == "registry.internal" }

func (o *ownRegistry) Dial(ctx context.Context, taskID, container string) (net.Conn, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dials[taskID+" "+container]++
	if o.away != nil {
		return nil, o.away
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", o.s.host())
}

func (o *ownRegistry) set(away error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away = away
}

// Names of ECR and of the control plane's hosts come through the node protocol, and a registry sees one pull however
// many tasks wait.
func TestPullOwn(t *testing.T) {
	h := requireHost(t)
	own := &ownRegistry{s: newShelf(t), dials: map[string]int{}}
	cfg := h.cfg
	cfg.Images.Registry = own
	r, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	on := func(host, ref string) string { return host + "/" + ref[strings.IndexByte(ref, '/')+1:] }
	const ecr = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
	first := own.s.image(t, []layer{noiseLayer(t, mib)}, nil)
	ref := on(ecr, first)

	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			img, err := r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: ref, TaskID: "t1", Container: "app", Progress: func(model.PullProgress) {}})
			if err != nil || img.User != "7" || !strings.HasPrefix(img.Name, ecr) {
				t.Errorf("%+v, %v", img, err)
			}
		})
	}
	group.Wait()
	if n, manifests := own.s.count(); manifests != 1 || n > 2*mib {
		t.Errorf("for 50 tasks the registry gave %d manifests and %d bytes", manifests, n)
	}
	if len(own.dials) != 1 || own.dials["t1 app"] == 0 {
		t.Errorf("dialled for %v", own.dials)
	}
	ask := func(ref, pin string) (runtime.Image, error) {
		return r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: ref, Digest: pin, TaskID: "t2", Container: "app"})
	}
	// The tag moves: the registry is asked, whatever the host has.
	before, err := ask(ref, "")
	if err != nil {
		t.Fatal(err)
	}
	second := own.s.image(t, []layer{noiseLayer(t, mib)}, nil)
	tag := func(ref string) string { return ref[strings.IndexByte(ref, '/')+1:] }
	own.s.mu.Lock()
	own.s.tags[tag(first)] = own.s.tags[tag(second)]
	own.s.mu.Unlock()
	after, err := ask(ref, "")
	if err != nil || after.Digest == before.Digest || after.Source != runtime.SourceRegistry {
		t.Errorf("after the tag moved: %+v, %v", after, err)
	}
	// A pinned digest needs no registry, and neither does a tag while there is none to ask.
	own.set(errors.New("connection refused"))
	if img, err := ask(ref, before.Digest); err != nil || img.Digest != before.Digest {
		t.Errorf("pinned: %+v, %v", img, err)
	}
	if img, err := ask(ref, ""); err != nil || img.Digest != after.Digest || img.Source != runtime.SourceContainerd {
		t.Errorf("without the control plane: %+v, %v", img, err)
	}
	// Another name of the same image costs no layer.
	own.set(nil)
	own.s.count()
	if img, err := ask(on("registry.internal", ref), ""); err != nil || img.Digest != after.Digest {
		t.Errorf("under another name: %+v, %v", img, err)
	}
	if n, _ := own.s.count(); n > 0 {
		t.Errorf("it cost %d bytes", n)
	}
	// A final no is said in its own words.
	own.set(&runtime.PullError{Class: runtime.PullUnauthorized, Message: "the role may not"})
	if _, err := ask(ecr+"/other:v1", ""); err == nil || err.Error() != "the role may not" {
		t.Errorf("refused: %v", err)
	}
}
