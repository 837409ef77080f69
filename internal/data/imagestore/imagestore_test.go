package imagestore_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"berth.dev/berth/internal/data/imagestore"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

func TestPushAndPull(t *testing.T) {
	w := open(t, "app")
	i, m := w.image("app", "v1", "layer")
	if i.Digest != digest.FromBytes(m).String() || i.Size != int64(len("layer")+len("config of layer")) || i.ManifestSize != int64(len(m)) {
		t.Fatalf("%+v", i)
	}
	for _, reference := range []string{"v1", i.Digest} {
		got, content, err := w.Get(t.Context(), "app", reference)
		if err != nil || !equal(content, m) || got.Digest != i.Digest {
			t.Fatalf("%s: %+v, %v", reference, got, err)
		}
	}
	for _, d := range i.Blobs {
		content, err := w.read("app", d)
		if err != nil || digest.FromString(content).String() != d {
			t.Fatalf("%s: %q, %v", d, content, err)
		}
	}
	same, err := w.Put(t.Context(), w.now, imagestore.Push{Repository: "app", Tag: "v1", Manifest: m})
	wantErr(t, err, imagestore.ErrSame)
	if same.Digest != i.Digest {
		t.Errorf("ErrSame came with %+v", same)
	}
	if _, err := w.Put(t.Context(), w.now, imagestore.Push{Repository: "app", Tag: "v2", Manifest: m}); err != nil {
		t.Fatal(err)
	}
	_, err = w.Put(t.Context(), w.now, imagestore.Push{Repository: "app", Manifest: m})
	wantErr(t, err, imagestore.ErrSame)
	_, _, err = w.Get(t.Context(), "app", "v3")
	wantErr(t, err, imagestore.ErrNoImage)
	_, _, err = w.Get(t.Context(), "other", "v1")
	wantErr(t, err, imagestore.ErrNoRepository)
	if left := slices.DeleteFunc(w.files(), func(f string) bool { return !strings.Contains(f, "_uploads") && !strings.HasPrefix(f, "tmp") }); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestPut_refuses(t *testing.T) {
	w := open(t, "app", "other")
	i, m := w.image("app", "v1", "layer")
	config, layer := w.layer("app", "c"), w.layer("app", "l")
	elsewhere := w.layer("other", "elsewhere")
	wrong := layer
	wrong.Size++
	child := descriptorOf(i, m)
	child.Size--
	for name, tc := range map[string]struct {
		push imagestore.Push
		want error
	}{
		"no repository":      {imagestore.Push{Repository: "none", Manifest: m}, imagestore.ErrNoRepository},
		"path as repository": {imagestore.Push{Repository: "../app", Manifest: m}, imagestore.ErrNoRepository},
		"other digest":       {imagestore.Push{Repository: "app", Digest: string(layer.Digest), Manifest: m}, imagestore.ErrDigest},
		"tag":                {imagestore.Push{Repository: "app", Tag: "a/b", Manifest: m}, imagestore.ErrTag},
		"another's layer":    {imagestore.Push{Repository: "app", Manifest: manifest(config, elsewhere)}, imagestore.ErrReferenced},
		"size":               {imagestore.Push{Repository: "app", Manifest: manifest(config, wrong)}, imagestore.ErrManifest},
		"another's manifest": {imagestore.Push{Repository: "other", Manifest: index(descriptorOf(i, m))}, imagestore.ErrReferenced},
		"manifest's size":    {imagestore.Push{Repository: "app", Manifest: index(child)}, imagestore.ErrManifest},
		"layer as manifest":  {imagestore.Push{Repository: "app", Manifest: index(layer)}, imagestore.ErrReferenced},
		"no manifest":        {imagestore.Push{Repository: "app", Manifest: []byte("{}")}, imagestore.ErrManifest},
		"too large":          {imagestore.Push{Repository: "app", Manifest: make([]byte, imagestore.MaxManifest+1)}, imagestore.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.Put(t.Context(), w.now, tc.push)
			wantErr(t, err, tc.want)
		})
	}
	if n := records.Images.Len(w.db.Snapshot()); n != 1 {
		t.Errorf("%d images", n)
	}
}

func TestImmutable(t *testing.T) {
	for _, tc := range []struct {
		mutability, pattern, tag string
		want                     bool
	}{
		{model.TagsMutable, "", "v1", false},
		{model.TagsImmutable, "", "v1", true},
		{model.TagsImmutableWithExclusion, "latest", "latest", false},
		{model.TagsImmutableWithExclusion, "latest", "latest2", true},
		{model.TagsImmutableWithExclusion, "dev-*", "dev-1", false},
		{model.TagsImmutableWithExclusion, "*-rc*", "1-rc2", false},
		{model.TagsImmutableWithExclusion, "a*b*a", "aba", false},
		{model.TagsImmutableWithExclusion, "a*a", "a", true},
		{model.TagsImmutableWithExclusion, "*", "x", false},
		{model.TagsMutableWithExclusion, "release-*", "release-1", true},
		{model.TagsMutableWithExclusion, "release-*", "dev", false},
	} {
		r := &model.Repository{TagMutability: tc.mutability, MutabilityExclusions: []string{tc.pattern}}
		if got := imagestore.Immutable(r, tc.tag); got != tc.want {
			t.Errorf("%s %q %q: %t", tc.mutability, tc.pattern, tc.tag, got)
		}
	}
	w := open(t)
	w.make(&model.Repository{Name: "app", TagMutability: model.TagsImmutable})
	_, first := w.image("app", "v1", "one")
	i, second := w.image("app", "", "two")
	_, err := w.Put(t.Context(), w.now, imagestore.Push{Repository: "app", Tag: "v1", Manifest: second})
	wantErr(t, err, imagestore.ErrTagImmutable)
	_, err = w.Put(t.Context(), w.now, imagestore.Push{Repository: "app", Tag: "v1", Manifest: first})
	wantErr(t, err, imagestore.ErrSame)
	w.remove("app", i.Digest)
}

func TestIndex(t *testing.T) {
	w := open(t, "app")
	one, m1 := w.image("app", "", "one")
	two, m2 := w.image("app", "", "two and more")
	list := index(descriptorOf(one, m1), descriptorOf(two, m2))
	all, err := w.Put(t.Context(), w.now, imagestore.Push{Repository: "app", Tag: "all", Manifest: list})
	if err != nil {
		t.Fatal(err)
	}
	if all.Size != two.Size || !slices.Equal(all.Manifests, []string{one.Digest, two.Digest}) {
		t.Errorf("%+v", all)
	}
	_, err = w.db.Update(t.Context(), func(tx *store.Tx) error { return imagestore.Delete(tx, "app", one.Digest) })
	wantErr(t, err, imagestore.ErrReferenced)
	w.remove("app", all.Digest)
	w.remove("app", one.Digest)
	_, _, err = w.Get(t.Context(), "app", "all")
	wantErr(t, err, imagestore.ErrNoImage)
}

func TestUntag(t *testing.T) {
	w := open(t, "app")
	i, m := w.image("app", "a", "x")
	if _, err := w.Put(t.Context(), w.now, imagestore.Push{Repository: "app", Tag: "b", Manifest: m}); err != nil {
		t.Fatal(err)
	}
	untag := func(tag string) {
		w.update(func(tx *store.Tx) error {
			d, err := imagestore.Untag(tx, "app", tag)
			if d != i.Digest {
				t.Errorf("%s was of %s", tag, d)
			}
			return err
		})
	}
	untag("a")
	if _, _, err := w.Get(t.Context(), "app", i.Digest); err != nil {
		t.Fatalf("gone with one of two tags: %v", err)
	}
	untag("b")
	_, _, err := w.Get(t.Context(), "app", i.Digest)
	wantErr(t, err, imagestore.ErrNoImage)
}

func TestUpload(t *testing.T) {
	w := open(t, "app")
	ctx := t.Context()
	_, err := w.Begin(ctx, "none")
	wantErr(t, err, imagestore.ErrNoRepository)
	for _, id := range []string{"", "..", "../../x", "0b6a5a4e-0000-4000-8000-000000000000", "{0b6a5a4e-0000-4000-8000-000000000000}"} {
		_, err := w.Resume(ctx, "app", id)
		wantErr(t, err, imagestore.ErrNoUpload)
	}
	u, err := w.Begin(ctx, "app")
	if err != nil {
		t.Fatal(err)
	}
	cut := errors.New("cut")
	n, err := u.Append(ctx, io.MultiReader(strings.NewReader("half "), iotestErr{cut}))
	if wantErr(t, err, cut); n != 5 || u.Size() != 5 {
		t.Fatalf("%d of %d", n, u.Size())
	}
	waiting, cancel := context.WithCancel(ctx)
	cancel()
	_, err = w.Resume(waiting, "app", u.ID())
	wantErr(t, err, context.Canceled)
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	if u, err = w.Resume(ctx, "app", u.ID()); err != nil || u.Size() != 5 {
		t.Fatalf("%v, %d bytes", err, u.Size())
	}
	if _, err := u.Append(ctx, strings.NewReader("and half")); err != nil {
		t.Fatal(err)
	}
	l, err := u.Commit(ctx, digest.FromString("half and half").String())
	if err != nil || l.Size != 13 {
		t.Fatalf("%+v, %v", l, err)
	}
	_, err = u.Append(ctx, strings.NewReader("x"))
	wantErr(t, err, imagestore.ErrNoUpload)
	_, err = w.Resume(ctx, "app", u.ID())
	wantErr(t, err, imagestore.ErrNoUpload)
	if err := errors.Join(u.Close(), u.Cancel(ctx)); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

type iotestErr struct{ err error }

func (r iotestErr) Read([]byte) (int, error) { return 0, r.err }

func TestUpload_digest(t *testing.T) {
	w := open(t, "app")
	ctx := t.Context()
	for _, d := range []string{digest.FromString("y").String(), "", "sha256:xyz", "sha512:" + strings.Repeat("0", 128), "md5:00"} {
		u, err := w.Begin(ctx, "app")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Append(ctx, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		_, err = u.Commit(ctx, d)
		wantErr(t, err, imagestore.ErrDigest)
		_, err = w.Resume(ctx, "app", u.ID())
		wantErr(t, err, imagestore.ErrNoUpload)
	}
	if left := w.files(); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	empty := w.layer("app", "")
	if content, err := w.read("app", string(empty.Digest)); err != nil || content != "" {
		t.Errorf("an empty layer reads %q, %v", content, err)
	}
}

func TestLayersAreTheirRepositorys(t *testing.T) {
	w := open(t, "a", "b", "a/b")
	ctx := t.Context()
	l := w.layer("a", "secret")
	for _, name := range []string{"b", "a/b"} {
		_, err := w.Layer(ctx, name, string(l.Digest))
		wantErr(t, err, imagestore.ErrNoLayer)
		_, _, err = w.Open(ctx, name, string(l.Digest))
		wantErr(t, err, imagestore.ErrNoLayer)
		_, err = w.Mount(ctx, name, "a", string(l.Digest))
		wantErr(t, err, imagestore.ErrNoLayer)
	}
	_, err := w.Mount(ctx, "a", "none", string(l.Digest))
	wantErr(t, err, imagestore.ErrNoRepository)
	if got, err := w.Mount(ctx, "a", "b", string(l.Digest)); err != nil || got.Size != l.Size {
		t.Fatalf("%+v, %v", got, err)
	}
	if content, err := w.read("b", string(l.Digest)); err != nil || content != "secret" {
		t.Errorf("%q, %v", content, err)
	}
}

func TestPulled(t *testing.T) {
	w := open(t, "app")
	i, _ := w.image("app", "v1", "x")
	var rev int64
	for n, at := range []time.Duration{0, time.Minute, 2 * time.Hour} {
		if err := w.Pulled(t.Context(), w.now.Add(at), "app", i.Digest); err != nil {
			t.Fatal(err)
		}
		got, _, err := w.Get(t.Context(), "app", "v1")
		if err != nil {
			t.Fatal(err)
		}
		next := records.Images.Rev(w.db.Snapshot(), i.Key())
		if wrote := next != rev; wrote != (n != 1) || got.LastPulledAt == nil {
			t.Errorf("pull %d: %v", n, got.LastPulledAt)
		}
		rev = next
	}
	if err := w.Pulled(t.Context(), w.now, "app", "sha256:gone"); err != nil {
		t.Errorf("an image that is gone: %v", err)
	}
}
