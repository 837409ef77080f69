package containerd

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"berth.dev/berth/internal/agent/image"
	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/test/images"
)

// tiny is an image without a program, of a name and content that no other test has.
func tiny(t *testing.T, ref string) images.Image {
	t.Helper()
	return images.Image{
		Name: ref, Files: []images.File{{Name: "/only", Data: []byte(rand.Text())}},
		Config: v1.Config{
			Entrypoint: []string{"/e"}, Cmd: []string{"c"}, User: "7", WorkingDir: "/w", StopSignal: "SIGQUIT",
			Env: []string{"A=b"}, Volumes: map[string]struct{}{"/v2": {}, "/v1": {}},
		},
	}
}

func uniqueName() string { return "t" + strings.ToLower(rand.Text()) }

// testRegistry is a registry on loopback; with a password it lets nobody else in.
func testRegistry(t *testing.T, password string) (host string, manifests *atomic.Int32) {
	t.Helper()
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	manifests = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, given, _ := r.BasicAuth(); password != "" && given != password && r.Method != http.MethodPut && r.Method != http.MethodPost && r.Method != http.MethodPatch {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/manifests/") {
			manifests.Add(1)
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), manifests
}

func push(t *testing.T, img images.Image) {
	t.Helper()
	if err := images.Push(t.Context(), img); err != nil {
		t.Fatal(err)
	}
}

func TestPull(t *testing.T) {
	h := requireHost(t)
	r := h.connect(t)
	host, manifests := testRegistry(t, "")
	img := tiny(t, host+"/"+uniqueName()+":v1")
	push(t, img)
	var group sync.WaitGroup
	for range 5 {
		group.Go(func() {
			got, err := r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: img.Name})
			if err != nil {
				t.Error(err)
				return
			}
			if got.Ref != img.Name || got.Name != strings.TrimSuffix(img.Name, ":v1")+"@"+got.Digest || !strings.HasPrefix(got.Digest, "sha256:") || got.Size == 0 ||
				!slices.Equal(got.Entrypoint, []string{"/e"}) || !slices.Equal(got.Cmd, []string{"c"}) || got.User != "7" ||
				got.WorkingDir != "/w" || got.StopSignal != "SIGQUIT" || !slices.Equal(got.Env, []string{"A=b"}) ||
				!slices.Equal(got.Volumes, []string{"/v1", "/v2"}) {
				t.Errorf("image %+v", got)
			}
		})
	}
	group.Wait()
	if n := manifests.Load(); n != 1 {
		t.Errorf("the manifest was fetched %d times for 5 tasks", n)
	}
	again, err := r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: img.Name})
	if err != nil || again.Source != runtime.SourceContainerd {
		t.Errorf("second time: %+v, %v", again, err)
	}
	// The tag moves: by default the registry is asked, and what is here is not fetched again.
	moved := tiny(t, img.Name)
	push(t, moved)
	for _, policy := range []runtime.PullPolicy{runtime.PullOnce, runtime.PullPreferCached} {
		kept, err := r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: img.Name, Policy: policy})
		if err != nil || kept.Digest != again.Digest {
			t.Errorf("%s: %+v, %v", policy, kept, err)
		}
	}
	asked, err := r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: img.Name})
	if err != nil || asked.Digest == again.Digest || asked.Source != runtime.SourceRegistry {
		t.Errorf("default: %+v, %v", asked, err)
	}
	// What a service pinned before runs on, though its tag means another image now.
	old, err := r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: img.Name, Digest: again.Digest})
	if err != nil || old.Digest != again.Digest || old.Source != runtime.SourceContainerd {
		t.Errorf("the image that was pinned: %+v, %v", old, err)
	}
	push(t, tiny(t, img.Name))
	fresh, err := r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: img.Name, Policy: runtime.PullAlways})
	if err != nil || fresh.Digest == again.Digest || fresh.Source != runtime.SourceRegistry {
		t.Errorf("always: %+v, %v", fresh, err)
	}
	// A service pins digests.
	pinned, err := r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: strings.TrimSuffix(img.Name, ":v1") + "@" + fresh.Digest})
	if err != nil || pinned.Digest != fresh.Digest || pinned.Source != runtime.SourceContainerd {
		t.Errorf("by digest: %+v, %v", pinned, err)
	}
}

func TestPullFailures(t *testing.T) {
	h := requireHost(t)
	r := h.connect(t)
	open, _ := testRegistry(t, "")
	closed, _ := testRegistry(t, "secret")
	foreign := tiny(t, open+"/"+uniqueName()+":v1")
	foreign.Architecture = "s390x"
	if goruntime.GOARCH == "s390x" {
		foreign.Architecture = "amd64"
	}
	push(t, foreign)
	private := tiny(t, closed+"/"+uniqueName()+":v1")
	push(t, private)
	// A port that nobody listens on.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := listener.Addr().String()
	listener.Close()

	for _, tt := range []struct {
		ref   string
		auth  *runtime.Auth
		class runtime.PullClass
		words string
	}{
		{open + "/nothing:v1", nil, runtime.PullNotFound, "pull image manifest has been retried 1 time(s): failed to resolve ref " + open + "/nothing:v1: "},
		{private.Name, nil, runtime.PullUnauthorized, "failed to resolve ref " + private.Name + ": "},
		{private.Name, &runtime.Auth{Username: "u", Password: "wrong"}, runtime.PullUnauthorized, "failed to resolve ref "},
		{dead + "/x:v1", nil, runtime.PullUnreachable, "failed to resolve ref " + dead + "/x:v1: "},
		{foreign.Name, nil, runtime.PullPlatform, "image Manifest does not contain descriptor matching platform 'linux/"},
		{"Not A Reference", nil, runtime.PullInvalid, "invalid reference format"},
	} {
		_, err := r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: tt.ref, Auth: tt.auth})
		var pullErr *runtime.PullError
		if !errors.As(err, &pullErr) || pullErr.Class != tt.class || !strings.Contains(pullErr.Message, tt.words) {
			t.Errorf("%s: %v (%+v), want %s with %q", tt.ref, err, pullErr, tt.class, tt.words)
		}
		if tt.auth != nil && strings.Contains(err.Error(), tt.auth.Password) {
			t.Errorf("the password is in the error: %v", err)
		}
	}
	got, err := r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: private.Name, Auth: &runtime.Auth{Username: "u", Password: "secret"}})
	if err != nil || got.Source != runtime.SourceRegistry {
		t.Errorf("with the login: %+v, %v", got, err)
	}
	// Default falls back to what the host has when the registry fails.
	got, err = r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: private.Name, Policy: runtime.PullDefault})
	if err != nil || got.Source != runtime.SourceContainerd {
		t.Errorf("default without the login: %+v, %v", got, err)
	}
}

func TestImport(t *testing.T) {
	h := requireHost(t)
	r := h.connect(t)
	a, b := tiny(t, uniqueName()+":latest"), tiny(t, uniqueName()+":v2")
	var archive bytes.Buffer
	if err := images.Archive(&archive, a, b); err != nil {
		t.Fatal(err)
	}
	names, err := r.Import(t.Context(), &archive, "")
	want := []string{"docker.io/library/" + a.Name, "docker.io/library/" + b.Name}
	slices.Sort(want)
	if err != nil || !slices.Equal(names, want) {
		t.Fatalf("docker archive: %q, %v, want %q", names, err, want)
	}
	short := strings.TrimSuffix(a.Name, ":latest")
	for _, ref := range []string{a.Name, short, "docker.io/library/" + a.Name, b.Name} {
		if got, err := r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: ref}); err != nil || got.Source != runtime.SourceContainerd {
			t.Errorf("%s: %+v, %v", ref, got, err)
		}
	}
}

func TestImportLayout(t *testing.T) {
	h := requireHost(t)
	r := h.connect(t)
	named, tagged, unnamed := uniqueName()+":v3", uniqueName(), uniqueName()
	for _, tt := range []struct {
		ref, as, want string
	}{
		{named, "", "docker.io/library/" + named},
		{"latest", tagged, "docker.io/library/" + tagged + ":latest"},
		{"", unnamed, "docker.io/library/" + unnamed + ":latest"},
	} {
		var archive bytes.Buffer
		if err := images.Layout(&archive, t.TempDir(), []string{tt.ref}, tiny(t, "unused:v1")); err != nil {
			t.Fatal(err)
		}
		names, err := r.Import(t.Context(), &archive, tt.as)
		if err != nil || !slices.Equal(names, []string{tt.want}) {
			t.Errorf("layout with ref %q as %q: %q, %v, want %q", tt.ref, tt.as, names, err, tt.want)
			continue
		}
		if got, err := r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: tt.want}); err != nil || got.User != "7" {
			t.Errorf("%s: %+v, %v", tt.want, got, err)
		}
	}
	var archive bytes.Buffer
	if err := images.Layout(&archive, t.TempDir(), []string{""}, tiny(t, "unused:v1")); err != nil {
		t.Fatal(err)
	}
	if names, err := r.Import(t.Context(), &archive, ""); !errors.Is(err, image.ErrUnnamed) {
		t.Errorf("layout without any name: %q, %v", names, err)
	}
	if _, err := r.Import(t.Context(), strings.NewReader("not an archive"), ""); err == nil {
		t.Error("garbage was imported")
	}
}
