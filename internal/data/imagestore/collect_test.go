package imagestore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/data/imagestore"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

func TestCollect(t *testing.T) {
	w := open(t, "app", "other")
	ctx := t.Context()
	kept, _ := w.image("app", "kept", "kept")
	gone, _ := w.image("app", "gone", "gone")
	shared := gone.Blobs[1]
	if _, err := w.Mount(ctx, "app", "other", shared); err != nil {
		t.Fatal(err)
	}
	loose := w.layer("app", "loose")
	u, err := w.Begin(ctx, "app")
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	w.remove("app", gone.Digest)
	w.collect()
	if _, err := w.Layer(ctx, "app", string(loose.Digest)); err != nil { // within its grace time, and promised again
		t.Fatal(err)
	}
	reader, _, err := w.Open(ctx, "app", gone.Blobs[0])
	if err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(grace)
	if _, err := w.Layer(ctx, "other", shared); err != nil {
		t.Fatal(err)
	}
	w.collect()
	for _, d := range append(gone.Blobs, string(loose.Digest)) {
		_, err := w.Layer(ctx, "app", d)
		wantErr(t, err, imagestore.ErrNoLayer)
	}
	if content, err := io.ReadAll(reader); err != nil || string(content) != "config of gone" {
		t.Errorf("the layer that was being read: %q, %v", content, err)
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	if content, err := w.read("other", shared); err != nil || content != "gone" {
		t.Errorf("what another repository has: %q, %v", content, err)
	}
	_, err = w.Resume(ctx, "app", u.ID())
	wantErr(t, err, imagestore.ErrNoUpload)
	w.whole(kept)

	// A repository that is gone takes everything with it.
	w.update(func(tx *store.Tx) error {
		if err := imagestore.Delete(tx, "app", kept.Digest); err != nil {
			return err
		}
		records.Repositories.Delete(tx, "app")
		records.Repositories.Delete(tx, "other")
		return nil
	})
	w.collect()
	if left := w.files(); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// whole checks that everything of an image can be read.
func (w *world) whole(i *model.Image) {
	w.t.Helper()
	if _, _, err := w.Get(context.Background(), i.Repository, i.Digest); err != nil {
		w.t.Errorf("%s: %v", i.Key(), err)
	}
	for _, d := range i.Blobs {
		if content, err := w.read(i.Repository, d); err != nil || digest.FromString(content).String() != d {
			w.t.Errorf("%s: layer %s: %v", i.Key(), d, err)
		}
	}
}

// A pass of the collector that begins between the steps of a push leaves it alone.
func TestCollect_whileHeld(t *testing.T) {
	w := open(t, "app")
	layer := w.layer("app", "layer")
	w.now = w.now.Add(10 * grace)
	u, err := w.Begin(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Append(t.Context(), strings.NewReader("layer")); err != nil {
		t.Fatal(err)
	}
	w.collect() // takes the old link, but not the upload
	_, err = w.Layer(t.Context(), "app", string(layer.Digest))
	wantErr(t, err, imagestore.ErrNoLayer)
	if _, err := u.Commit(t.Context(), string(layer.Digest)); err != nil {
		t.Fatal(err)
	}
	if content, err := w.read("app", string(layer.Digest)); err != nil || content != "layer" {
		t.Errorf("%q, %v", content, err)
	}
}

func TestRun(t *testing.T) {
	db := database(t)
	w := &world{t: t, db: db, dir: directory(t), now: time.Now()}
	s, err := imagestore.Open(imagestore.Config{Dir: w.dir, Store: db, Grace: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	w.Store = s
	w.make(&model.Repository{Name: "app"})
	i, _ := w.image("app", "v1", "x")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.remove("app", i.Digest)
	for len(w.files()) > 0 && t.Context().Err() == nil {
		<-time.After(10 * time.Millisecond)
	}
	cancel()
	wantErr(t, <-done, context.Canceled)
}

// Pushes, mounts, deletions, passes of the collector, time and ends of the
// process in any order: what an image needs is there, and nothing else stays.
func TestCollect_model(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := open(t, "a", "b")
		repository := rapid.SampledFrom([]string{"a", "b"})
		content := rapid.SampledFrom([]string{"1", "2", "3", "4"})
		tag := rapid.SampledFrom([]string{"", "x", "y"})
		images := func() []*model.Image { return slices.Collect(records.Images.All(w.db.Snapshot())) }
		rt.Repeat(map[string]func(*rapid.T){
			"push": func(rt *rapid.T) {
				name := repository.Draw(rt, "repository")
				m := manifest(w.layer(name, content.Draw(rt, "config")), w.layer(name, content.Draw(rt, "layer")))
				if _, err := w.Put(context.Background(), w.now, imagestore.Push{Repository: name, Tag: tag.Draw(rt, "tag"), Manifest: m}); err != nil && !errors.Is(err, imagestore.ErrSame) {
					rt.Fatal(err)
				}
			},
			"put without pushing": func(rt *rapid.T) {
				name, c := repository.Draw(rt, "repository"), content.Draw(rt, "config")
				d := digest.FromString(c)
				of := descriptorOf(&model.Image{}, []byte(c))
				of.Digest = d
				_, err := w.Layer(context.Background(), name, string(d))
				_, perr := w.Put(context.Background(), w.now, imagestore.Push{Repository: name, Manifest: manifest(of)})
				if missing := errors.Is(err, imagestore.ErrNoLayer); missing != errors.Is(perr, imagestore.ErrReferenced) {
					rt.Fatalf("layer: %v; image: %v", err, perr)
				}
			},
			"index": func(rt *rapid.T) {
				all := images()
				if len(all) == 0 {
					return
				}
				i := rapid.SampledFrom(all).Draw(rt, "image")
				_, m, err := w.Get(context.Background(), i.Repository, i.Digest)
				if err != nil {
					rt.Fatal(err)
				}
				if _, err := w.Put(context.Background(), w.now, imagestore.Push{Repository: i.Repository, Tag: tag.Draw(rt, "tag"), Manifest: index(descriptorOf(i, m))}); err != nil && !errors.Is(err, imagestore.ErrSame) {
					rt.Fatal(err)
				}
			},
			"mount": func(rt *rapid.T) {
				_, err := w.Mount(context.Background(), "a", "b", digest.FromString(content.Draw(rt, "layer")).String())
				if err != nil && !errors.Is(err, imagestore.ErrNoLayer) {
					rt.Fatal(err)
				}
			},
			"abandon": func(rt *rapid.T) {
				u, err := w.Begin(context.Background(), repository.Draw(rt, "repository"))
				if err != nil {
					rt.Fatal(err)
				}
				if err := u.Close(); err != nil {
					rt.Fatal(err)
				}
			},
			"delete": func(rt *rapid.T) {
				all := images()
				if len(all) == 0 {
					return
				}
				i := rapid.SampledFrom(all).Draw(rt, "image")
				if _, err := w.db.Update(context.Background(), func(tx *store.Tx) error { return imagestore.Delete(tx, i.Repository, i.Digest) }); err != nil && !errors.Is(err, imagestore.ErrReferenced) {
					rt.Fatal(err)
				}
			},
			"time": func(rt *rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(1, 90).Draw(rt, "minutes")) * time.Minute)
			},
			"collect": func(*rapid.T) { w.collect() },
			"restart": func(*rapid.T) { w.reopen() },
			"": func(*rapid.T) {
				for _, i := range images() {
					w.whole(i)
				}
			},
		})
		w.now = w.now.Add(grace)
		w.collect()
		wanted := make(map[string]bool)
		for _, i := range images() {
			wanted[i.Digest] = true
			for _, d := range i.Blobs {
				wanted[d] = true
				wanted[i.Repository+" "+d] = true
			}
		}
		for _, f := range w.files() {
			parts := strings.Split(f, "/")
			what := "sha256:" + parts[len(parts)-2]
			if parts[3] == "repositories" {
				what = parts[4] + " " + what
			}
			if !wanted[what] {
				rt.Errorf("nothing needs %s", f)
			}
		}
	})
}

// Everything at once: what was acknowledged is there, at every moment.
func TestCollect_concurrent(t *testing.T) {
	w := open(t)
	names := []string{"a", "b", "c"}
	s, err := imagestore.Open(imagestore.Config{Dir: w.dir, Store: w.db, Grace: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	w.Store = s
	for _, name := range names {
		w.make(&model.Repository{Name: name})
	}
	ctx, cancel := context.WithCancel(t.Context())
	var collector, pushers sync.WaitGroup
	collector.Go(func() {
		for ctx.Err() == nil {
			if _, err := w.Collect(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("collect: %v", err)
			}
		}
	})
	for n := range 6 {
		pushers.Go(func() {
			for round := range 60 {
				content := fmt.Sprint("layer ", round%4)
				if err := churn(w, names[n%3], names[(n+1)%3], content); err != nil {
					t.Errorf("pusher %d: %v", n, err)
					return
				}
			}
		})
	}
	pushers.Wait()
	cancel()
	collector.Wait()
	for i := range records.Images.All(w.db.Snapshot()) {
		w.whole(i)
	}
}

// churn pushes, reads and deletes an image. Layers may be collected between the
// steps, as the grace time is short; an image that was put may not miss any.
func churn(w *world, name, other, content string) error {
	ctx := context.Background()
	config, layer := w.layer(name, "config"), w.layer(name, content)
	i, err := w.Put(ctx, time.Now(), imagestore.Push{Repository: name, Tag: "latest", Manifest: manifest(config, layer)})
	switch {
	case errors.Is(err, imagestore.ErrReferenced):
		return nil
	case err != nil && !errors.Is(err, imagestore.ErrSame):
		return err
	}
	if _, err := w.Mount(ctx, name, other, string(layer.Digest)); err != nil && !errors.Is(err, imagestore.ErrNoLayer) {
		return err
	}
	got, err := w.read(name, string(layer.Digest))
	_, exists := records.Images.Get(w.db.Snapshot(), i.Key())
	if exists && (err != nil || got != content) {
		return fmt.Errorf("an image's layer reads %q: %w", got, err)
	}
	_, err = w.db.Update(ctx, func(tx *store.Tx) error { return imagestore.Delete(tx, name, i.Digest) })
	if errors.Is(err, imagestore.ErrNoImage) {
		return nil
	}
	return err
}
