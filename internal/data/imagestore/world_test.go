package imagestore_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth.dev/berth/internal/data/imagestore"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// world is an image store with its records and a clock that a test moves.
type world struct {
	*imagestore.Store
	t   testing.TB
	db  *store.Store
	dir string
	now time.Time
}

const grace = time.Hour

func database(t testing.TB) *store.Store {
	t.Helper()
	db, err := store.Open(memkv.New(0), "/berth/", store.Options{CheckMutation: true}, records.All()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := db.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("store: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	<-db.Ready()
	return db
}

func open(t testing.TB, repositories ...string) *world {
	t.Helper()
	w := &world{t: t, db: database(t), dir: directory(t), now: time.Now()}
	w.reopen()
	for _, name := range repositories {
		w.make(&model.Repository{Name: name, TagMutability: model.TagsMutable})
	}
	return w
}

// directory is one in memory where there is such a thing: what these tests are
// about is not how long a disk takes to sync.
func directory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "imagestore-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// reopen is what a process that died leaves to the next.
func (w *world) reopen() {
	w.t.Helper()
	s, err := imagestore.Open(imagestore.Config{Dir: w.dir, Store: w.db, Grace: grace})
	if err != nil {
		w.t.Fatal(err)
	}
	s.SetNow(func() time.Time { return w.now })
	w.Store = s
}

func (w *world) make(r *model.Repository) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error { records.Repositories.Put(tx, r); return nil })
}

func (w *world) update(fn func(tx *store.Tx) error) {
	w.t.Helper()
	if _, err := w.db.Update(context.Background(), fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) remove(repository, digest string) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error { return imagestore.Delete(tx, repository, digest) })
}

func (w *world) collect() {
	w.t.Helper()
	if _, err := w.Collect(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) layer(repository, content string) v1.Descriptor {
	w.t.Helper()
	ctx := context.Background()
	u, err := w.Begin(ctx, repository)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := u.Append(ctx, strings.NewReader(content)); err != nil {
		w.t.Fatal(err)
	}
	d := digest.FromString(content)
	l, err := u.Commit(ctx, string(d))
	if err != nil {
		w.t.Fatal(err)
	}
	return v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: digest.Digest(l.Digest), Size: l.Size}
}

// manifest is one of an image with a configuration and layers.
func manifest(config v1.Descriptor, layers ...v1.Descriptor) []byte {
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: config, Layers: layers}
	m.SchemaVersion = 2
	m.Config.MediaType = v1.MediaTypeImageConfig
	return encode(m)
}

func index(manifests ...v1.Descriptor) []byte {
	m := v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: manifests}
	m.SchemaVersion = 2
	return encode(m)
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// image pushes an image of one layer.
func (w *world) image(repository, tag, content string) (*model.Image, []byte) {
	w.t.Helper()
	m := manifest(w.layer(repository, "config of "+content), w.layer(repository, content))
	i, err := w.Put(context.Background(), w.now, imagestore.Push{Repository: repository, Tag: tag, Manifest: m})
	if err != nil {
		w.t.Fatal(err)
	}
	return i, m
}

func (w *world) read(repository, digest string) (string, error) {
	r, _, err := w.Open(context.Background(), repository, digest)
	if err != nil {
		return "", err
	}
	content, err := io.ReadAll(r)
	return string(content), errors.Join(err, r.Close())
}

// files are those on disk that hold content: blobs, links, uploads, temporary ones.
func (w *world) files() []string {
	w.t.Helper()
	var all []string
	err := filepath.WalkDir(w.dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			all = append(all, strings.TrimPrefix(path, w.dir+"/"))
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func descriptorOf(i *model.Image, m []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: i.MediaType, Digest: digest.FromBytes(m), Size: int64(len(m))}
}

func equal(a, b []byte) bool { return bytes.Equal(a, b) }
