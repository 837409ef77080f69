package registry_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	upstreams "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// upstream is another registry, which counts what it is asked.
type upstream struct {
	*httptest.Server
	host              string
	down, corrupt     atomic.Bool
	layers, manifests atomic.Int64
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{}
	inner := upstreams.New(upstreams.Logger(log.New(io.Discard, "", 0)))
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u.down.Load() {
			http.Error(w, "secret trouble", http.StatusForbidden)
			return
		}
		switch {
		case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/"):
			u.layers.Add(1)
			if u.corrupt.Load() {
				w = corrupted{w}
			}
		case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/manifests/"):
			u.manifests.Add(1)
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(u.Close)
	u.host = strings.TrimPrefix(u.URL, "http://")
	return u
}

type corrupted struct{ http.ResponseWriter }

func (c corrupted) Write(b []byte) (int, error) {
	b = append([]byte(nil), b...)
	b[0] ^= 1
	return c.ResponseWriter.Write(b)
}

func (w *world) rule(r *model.PullThroughCacheRule) {
	w.t.Helper()
	if _, err := w.db.Update(context.Background(), func(tx *store.Tx) error { records.PullThroughCacheRules.Put(tx, r); return nil }); err != nil {
		w.t.Fatal(err)
	}
}

// kept waits until an image is stored.
func (w *world) kept(repository, tag, digest string) {
	w.t.Helper()
	watcher := w.db.Watch(context.Background(), records.ImageTags, records.Images)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for snap := watcher.Snapshot(); ; {
		if got, ok := records.ImageTags.Get(snap, model.ImageTagKey(repository, tag)); ok && got.Digest == digest {
			return
		}
		var err error
		if snap, _, err = watcher.Next(ctx); err != nil {
			w.t.Fatalf("%s:%s is not kept: %v", repository, tag, err)
		}
	}
}

func TestPullThrough(t *testing.T) {
	w, up := newWorld(t), newUpstream(t)
	w.rule(&model.PullThroughCacheRule{Prefix: "hub", UpstreamURL: up.host})
	image := testImage(t, 50<<10, 3)
	if err := crane.Push(image, up.host+"/library/nginx:1"); err != nil {
		t.Fatal(err)
	}
	w.deny("ecr:CreateRepository")
	w.do("GET", "/v2/hub/library/nginx/manifests/1", "").want(t, http.StatusForbidden, "ecr:CreateRepository")
	w.deny("ecr:BatchImportUpstreamImage")
	w.do("GET", "/v2/hub/library/nginx/manifests/1", "").want(t, http.StatusForbidden, "ecr:BatchImportUpstreamImage")
	if records.Repositories.Len(w.db.Snapshot()) != 0 {
		t.Error("a repository was made")
	}
	w.deny()
	w.do("GET", "/v2/hub/library/none/manifests/1", "").want(t, http.StatusNotFound, "MANIFEST_UNKNOWN")
	w.do("GET", "/v2/plain/manifests/1", "").want(t, http.StatusNotFound, "NAME_UNKNOWN")

	// Whoever asks at the same time has one download.
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			back, err := crane.Pull(w.host+"/hub/library/nginx:1", w.crane()...)
			if err == nil {
				err = validate.Image(back)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	w.kept("hub/library/nginx", "1", digestOf(t, image))
	if n := up.layers.Load(); n != 4 {
		t.Errorf("%d downloads of a configuration and three layers", n)
	}
	r, ok := records.Repositories.Get(w.db.Snapshot(), "hub/library/nginx")
	if !ok || r.PullThroughPrefix != "hub" {
		t.Errorf("%+v", r)
	}

	// What is kept is served without upstream, and a day later too when it is down.
	asked := up.manifests.Load()
	pull := func() string {
		t.Helper()
		d, err := crane.Pull(w.host+"/hub/library/nginx:1", w.crane()...)
		if err != nil {
			t.Fatal(err)
		}
		return digestOf(t, d)
	}
	pull()
	up.down.Store(true)
	w.advance(25 * time.Hour)
	if got := pull(); got != digestOf(t, image) {
		t.Errorf("%s was served", got)
	}
	a := w.do("GET", "/v2/hub/library/nginx/manifests/2", "").want(t, http.StatusBadGateway, "UNAVAILABLE")
	if strings.Contains(a.body, "secret trouble") {
		t.Errorf("the client hears %s", a.body)
	}
	up.down.Store(false)
	if pull(); up.manifests.Load() != asked {
		t.Errorf("the manifest was fetched again although it is the same")
	}
	next := testImage(t, 50<<10, 1)
	if err := crane.Push(next, up.host+"/library/nginx:1"); err != nil {
		t.Fatal(err)
	}
	if got := pull(); got != digestOf(t, image) {
		t.Errorf("upstream was asked within a day: %s", got)
	}
	w.advance(25 * time.Hour)
	if got := pull(); got != digestOf(t, next) {
		t.Errorf("a day later: %s", got)
	}
	w.kept("hub/library/nginx", "1", digestOf(t, next))
}

type logins struct{}

func (logins) Login(_ context.Context, credentialARN string) (string, string, error) {
	if credentialARN != "arn:the-secret" {
		return "", "", errors.New("no such secret")
	}
	return "me", "password", nil
}

func TestPullThrough_rules(t *testing.T) {
	w, up := newWorldIn(t, t.TempDir(), logins{}), newUpstream(t)
	image := testImage(t, 1<<10, 1)
	for _, repository := range []string{"team/app", "app", "x/app"} {
		if err := crane.Push(image, up.host+"/"+repository+":1"); err != nil {
			t.Fatal(err)
		}
	}
	w.rule(&model.PullThroughCacheRule{Prefix: "a", UpstreamURL: up.host, UpstreamPrefix: "team"})
	w.rule(&model.PullThroughCacheRule{Prefix: "a/b", UpstreamURL: up.host, UpstreamPrefix: "x"})
	w.do("HEAD", "/v2/a/app/manifests/1", "").want(t, http.StatusOK)
	if records.Repositories.Len(w.db.Snapshot()) != 0 {
		t.Error("looking made a repository")
	}
	w.do("GET", "/v2/a/app/manifests/1", "").want(t, http.StatusOK)
	w.do("GET", "/v2/a/b/app/manifests/1", "").want(t, http.StatusOK)
	w.do("GET", "/v2/app/manifests/1", "").want(t, http.StatusNotFound)
	w.rule(&model.PullThroughCacheRule{Prefix: "ROOT", UpstreamURL: up.host, CredentialARN: "arn:the-secret"})
	w.do("GET", "/v2/app/manifests/1", "").want(t, http.StatusOK)
	w.do("GET", "/v2/app/manifests/"+digestOf(t, image), "").want(t, http.StatusOK)
	w.kept("app", "1", digestOf(t, image))
	w.rule(&model.PullThroughCacheRule{Prefix: "ROOT", UpstreamURL: up.host, CredentialARN: "arn:another"})
	w.do("GET", "/v2/x/app/manifests/1", "").want(t, http.StatusBadGateway)
}

// What upstream gives with another digest is not kept and not passed on.
func TestPullThrough_corrupt(t *testing.T) {
	w, up := newWorld(t, "hub/app"), newUpstream(t)
	w.rule(&model.PullThroughCacheRule{Prefix: "hub", UpstreamURL: up.host})
	image := testImage(t, 10<<10, 1)
	if err := crane.Push(image, up.host+"/app:1"); err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	d := digestOf(t, layers[0])
	up.corrupt.Store(true)
	w.do("GET", "/v2/hub/app/blobs/"+d, "").want(t, http.StatusBadGateway)
	up.corrupt.Store(false)
	w.do("GET", "/v2/hub/app/blobs/"+d, "").want(t, http.StatusOK)
}

// Of an index what is pulled is kept.
func TestPullThrough_index(t *testing.T) {
	w, up := newWorld(t), newUpstream(t)
	w.rule(&model.PullThroughCacheRule{Prefix: "hub", UpstreamURL: up.host})
	index, err := random.Index(1<<10, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(up.host + "/app:all")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	w.do("GET", "/v2/hub/app/manifests/all", "").want(t, http.StatusOK)
	w.kept("hub/app", "all", digestOf(t, index))
	parts, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	back, err := crane.Pull(w.host+"/hub/app@"+parts.Manifests[0].Digest.String(), w.crane()...)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(back); err != nil {
		t.Error(err)
	}
}
