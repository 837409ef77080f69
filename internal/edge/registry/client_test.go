package registry_test

import (
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/platforms"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	containers "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func testImage(t testing.TB, size int64, layers int64) containers.Image {
	t.Helper()
	image, err := random.Image(size, layers)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func digestOf(t testing.TB, image interface {
	Digest() (containers.Hash, error)
},
) string {
	t.Helper()
	h, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

func TestCrane(t *testing.T) {
	w := newWorld(t, "app", "team/web")
	image := testImage(t, 100<<10, 3)
	ref := w.host + "/app:v1"
	if err := crane.Push(image, ref, w.crane()...); err != nil {
		t.Fatal(err)
	}
	back, err := crane.Pull(ref, w.crane()...)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(back); err != nil {
		t.Error(err)
	}
	if digestOf(t, back) != digestOf(t, image) {
		t.Error("another image came back")
	}
	if err := crane.Copy(ref, w.host+"/team/web:v1", w.crane()...); err != nil {
		t.Fatal(err)
	}
	if err := crane.Tag(ref, "v2", w.crane()...); err != nil {
		t.Fatal(err)
	}
	tags, err := crane.ListTags(w.host+"/app", w.crane()...)
	if err != nil || !slices.Equal(tags, []string{"v1", "v2"}) {
		t.Errorf("%v, %v", tags, err)
	}
	if d, err := crane.Digest(w.host+"/team/web:v1", w.crane()...); err != nil || d != digestOf(t, image) {
		t.Errorf("%s, %v", d, err)
	}
	if err := crane.Delete(w.host+"/app@"+digestOf(t, image), w.crane()...); err != nil {
		t.Error(err)
	}
	if _, err := crane.Pull(w.host+"/team/web:v1", w.crane()...); err != nil {
		t.Errorf("the copy: %v", err)
	}
}

func TestCrane_index(t *testing.T) {
	w := newWorld(t, "app")
	index, err := random.Index(10<<10, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(w.host + "/app:all")
	if err != nil {
		t.Fatal(err)
	}
	options := crane.GetOptions(w.crane()...).Remote
	if err := remote.WriteIndex(ref, index, options...); err != nil {
		t.Fatal(err)
	}
	back, err := remote.Index(ref, options...)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(back); err != nil {
		t.Error(err)
	}
}

// Many clients at once push images that share layers.
func TestCrane_several(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	image := testImage(t, 300<<10, 4)
	var group sync.WaitGroup
	for _, repository := range []string{"a", "b", "c", "a", "b", "c"} {
		group.Go(func() {
			ref := w.host + "/" + repository + ":latest"
			if err := crane.Push(image, ref, w.crane()...); err != nil {
				t.Errorf("push to %s: %v", repository, err)
				return
			}
			back, err := crane.Pull(ref, w.crane()...)
			if err == nil {
				err = validate.Image(back)
			}
			if err != nil {
				t.Errorf("pull from %s: %v", repository, err)
			}
		})
	}
	group.Wait()
}

// containerd's own client pushes what it pulled.
func TestContainerd(t *testing.T) {
	w := newWorld(t, "app", "copy")
	image := testImage(t, 100<<10, 3)
	if err := crane.Push(image, w.host+"/app:v1", w.crane()...); err != nil {
		t.Fatal(err)
	}
	resolver := docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(
			docker.WithPlainHTTP(docker.MatchLocalhost),
			docker.WithAuthorizer(docker.NewDockerAuthorizer(docker.WithAuthCreds(func(string) (string, string, error) { return "AWS", "secret", nil }))),
		),
	})
	store, err := local.NewStore(filepath.Join(t.TempDir(), "content"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	resolved, desc, err := resolver.Resolve(ctx, w.host+"/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	if desc.Digest.String() != digestOf(t, image) {
		t.Fatalf("resolved to %s", desc.Digest)
	}
	fetcher, err := resolver.Fetcher(ctx, resolved)
	if err != nil {
		t.Fatal(err)
	}
	fetch := images.Handlers(remotes.FetchHandler(store, fetcher), images.ChildrenHandler(store))
	if err := images.Dispatch(ctx, fetch, nil, desc); err != nil {
		t.Fatal(err)
	}
	pusher, err := resolver.Pusher(ctx, w.host+"/copy:v1@"+desc.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := remotes.PushContent(ctx, pusher, desc, content.Store(store), nil, platforms.All, nil); err != nil {
		t.Fatal(err)
	}
	back, err := crane.Pull(w.host+"/copy:v1", w.crane()...)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(back); err != nil {
		t.Error(err)
	}
}
