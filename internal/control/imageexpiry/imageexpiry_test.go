package imageexpiry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/control/imageexpiry"
	"berth.dev/berth/internal/data/kv"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/imagelifecycle"
)

// world is a store, and the loop on it, in a bubble.
type world struct {
	t     *testing.T
	store *store.Store
	kv    *broken
	begin time.Time
	log   *output
}

// output collects what is logged.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// broken is a kv whose writes fail while told to.
type broken struct {
	kv.KV
	fails atomic.Bool
}

// Txn implements kv.KV.
func (b *broken) Txn(ctx context.Context, t kv.Txn) (kv.TxnResult, error) {
	if b.fails.Load() {
		return kv.TxnResult{}, errors.New("no quorum")
	}
	return b.KV.Txn(ctx, t)
}

func newWorld(t *testing.T) (w *world, stop func()) {
	t.Helper()
	w = &world{t: t, kv: &broken{KV: memkv.New(0)}, begin: time.Now(), log: &output{}}
	s, err := store.Open(w.kv, "/berth/", store.Options{CheckMutation: true}, records.All()...)
	if err != nil {
		t.Fatal(err)
	}
	w.store = s
	ctx, cancel := context.WithCancel(context.Background())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(ctx) })
	<-s.Ready()
	return w, func() {
		cancel()
		if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

// run starts the loop; the result ends it.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- imageexpiry.New(imageexpiry.Config{Store: w.store, Log: slog.New(slog.NewTextHandler(w.log, nil))}).Run(ctx)
	}()
	return func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
}

func (w *world) write(fn func(*store.Tx)) {
	w.t.Helper()
	if _, err := w.store.Update(context.Background(), func(tx *store.Tx) error { fn(tx); return nil }); err != nil {
		w.t.Fatal(err)
	}
}

// push puts an image with tags, which other images lose.
func push(tx *store.Tx, repository, name string, at time.Time, tags ...string) {
	records.Images.Put(tx, &model.Image{Repository: repository, Digest: digest(name), PushedAt: at})
	for _, tag := range tags {
		records.ImageTags.Put(tx, &model.ImageTag{Repository: repository, Tag: tag, Digest: digest(name)})
	}
}

// pushIndex puts an index of images.
func pushIndex(tx *store.Tx, repository, name string, at time.Time, of ...string) {
	i := &model.Image{Repository: repository, Digest: digest(name), PushedAt: at}
	for _, part := range of {
		i.Manifests = append(i.Manifests, digest(part))
	}
	records.Images.Put(tx, i)
}

// digest is an image's, who is known by a name in the tests.
func digest(name string) string { return "sha256:" + name }

// images are those of a repository, in words.
func (w *world) images(repository string) string {
	synctest.Wait()
	var all []string
	snap := w.store.Snapshot()
	for i := range records.Images.Prefix(snap, model.ImagesOf(repository)) {
		n := len(slices.Collect(records.ImageTags.By(snap, records.ImageTagsByImage, i.Key())))
		all = append(all, fmt.Sprintf("%s:%d", strings.TrimPrefix(i.Digest, "sha256:"), n))
	}
	return strings.Join(all, " ")
}

func (w *world) expect(when, repository, want string) {
	w.t.Helper()
	if got := w.images(repository); got != want {
		w.t.Errorf("%s: %s, want %s", when, got, want)
	}
}

const (
	keepTwo = `{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":2},"action":{"type":"expire"}}]}`
	oneDay  = `{"rules":[{"rulePriority":1,"selection":{"tagStatus":"untagged","countType":"sinceImagePushed","countUnit":"days","countNumber":1},"action":{"type":"expire"}}]}`
)

func TestRun_Count(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := newWorld(t)
		defer stop()
		at := func(n int) time.Time { return w.begin.Add(time.Duration(n) * time.Second) }
		w.write(func(tx *store.Tx) {
			records.Repositories.Put(tx, &model.Repository{Name: "app"})
			records.Repositories.Put(tx, &model.Repository{Name: "app/other"})
			push(tx, "app", "a", at(1), "v1", "v1.0")
			push(tx, "app", "b", at(2))
			push(tx, "app", "c", at(3), "v3")
			push(tx, "app/other", "a", at(1))
		})
		defer w.run()()
		time.Sleep(time.Hour) // of the bubble
		w.expect("without a policy", "app", "a:2 b:0 c:1")

		w.write(func(tx *store.Tx) {
			if err := records.Repositories.Edit(tx, "app", func(r *model.Repository) error { r.LifecyclePolicy = keepTwo; return nil }); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(6 * time.Second)
		w.expect("with one", "app", "b:0 c:1")
		w.expect("another repository", "app/other", "a:0")
		if said := w.log.String(); strings.Count(said, "expired an image") != 1 || !strings.Contains(said, `digest=sha256:a tags="[v1 v1.0]" rule=1`) {
			t.Errorf("logged %s", said)
		}
		r, _ := records.Repositories.Get(w.store.Snapshot(), "app")
		if r.LifecycleEvaluatedAt == nil {
			t.Error("nobody knows that the policy was run")
		}

		// Pushes one after the other are looked at once it is quiet, or after a minute.
		for n := range 100 {
			w.write(func(tx *store.Tx) { push(tx, "app", fmt.Sprint("x", 100+n), at(4000+n)) })
			time.Sleep(time.Second)
			if n == 50 {
				if got := len(strings.Fields(w.images("app"))); got != 53 {
					t.Errorf("after 51 pushes there are %d images", got)
				}
			}
		}
		time.Sleep(5 * time.Second)
		w.expect("after many", "app", "x198:0 x199:0")
	})
}

func TestRun_Age(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := newWorld(t)
		defer stop()
		w.write(func(tx *store.Tx) {
			records.Repositories.Put(tx, &model.Repository{Name: "app", LifecyclePolicy: oneDay})
			pushIndex(tx, "app", "index", w.begin, "part")
			push(tx, "app", "part", w.begin)
			push(tx, "app", "tagged", w.begin, "v1")
			push(tx, "app", "young", w.begin.Add(time.Hour))
		})
		end := w.run()
		time.Sleep(24 * time.Hour)
		w.expect("a day old", "app", "index:0 part:0 tagged:1 young:0")
		time.Sleep(time.Second)
		w.expect("older", "app", "tagged:1 young:0")
		end()
		time.Sleep(2 * time.Hour)
		w.expect("while nobody looks", "app", "tagged:1 young:0")
		defer w.run()()
		time.Sleep(6 * time.Second)
		w.expect("after a start", "app", "tagged:1")

		// An image is no better off for having had a tag once.
		w.write(func(tx *store.Tx) { records.ImageTags.Delete(tx, model.ImageTagKey("app", "v1")) })
		time.Sleep(6 * time.Second)
		w.expect("without its tag", "app", "")
	})
}

func TestRun_TriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := newWorld(t)
		defer stop()
		w.write(func(tx *store.Tx) {
			records.Repositories.Put(tx, &model.Repository{Name: "app", LifecyclePolicy: oneDay})
			push(tx, "app", "a", w.begin.AddDate(0, 0, -2))
		})
		w.kv.fails.Store(true)
		defer w.run()()
		time.Sleep(time.Minute)
		w.expect("while nothing can be written", "app", "a:0")
		w.kv.fails.Store(false)
		time.Sleep(10 * time.Second)
		w.expect("when it can", "app", "")
		if !strings.Contains(w.log.String(), "could not be run") {
			t.Error("nobody was told")
		}
	})
}

// An image with more tags than a transaction takes goes too.
func TestRun_ManyTags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := newWorld(t)
		defer stop()
		w.write(func(tx *store.Tx) { push(tx, "app", "a", w.begin.AddDate(0, 0, -2)) })
		for n := range 4 {
			w.write(func(tx *store.Tx) {
				for i := range 50 {
					records.ImageTags.Put(tx, &model.ImageTag{Repository: "app", Tag: fmt.Sprint("t", n*50+i), Digest: digest("a")})
				}
			})
		}
		w.write(func(tx *store.Tx) {
			records.Repositories.Put(tx, &model.Repository{Name: "app", LifecyclePolicy: strings.Replace(oneDay, "untagged", "any", 1)})
		})
		defer w.run()()
		time.Sleep(10 * time.Second)
		w.expect("at last", "app", "")
		if n := records.ImageTags.Len(w.store.Snapshot()); n > 0 {
			t.Errorf("%d tags are left of nothing", n)
		}
	})
}

// Whatever happens, what is there in the end is what the rules leave.
func TestRun_Converges(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.IntRange(0, 5), 1, 20).Draw(rt, "steps")
		which := rapid.SliceOfN(rapid.IntRange(0, 7), len(steps), len(steps)).Draw(rt, "which")
		pauses := rapid.SliceOfN(rapid.IntRange(0, 90), len(steps), len(steps)).Draw(rt, "minutes")
		synctest.Test(t, func(t *testing.T) {
			w, stop := newWorld(t)
			defer stop()
			w.write(func(tx *store.Tx) { records.Repositories.Put(tx, &model.Repository{Name: "app"}) })
			defer w.run()()
			for i, step := range steps {
				w.write(func(tx *store.Tx) {
					name := fmt.Sprint("d", which[i])
					switch step {
					case 0, 1:
						push(tx, "app", name, tx.Now())
					case 2:
						push(tx, "app", name, tx.Now(), "v1")
					case 3:
						var of []string
						if records.Images.Has(tx, model.ImageKey("app", digest(name))) {
							of = append(of, name)
						}
						pushIndex(tx, "app", "index"+name, tx.Now(), of...)
					case 4:
						records.ImageTags.Delete(tx, model.ImageTagKey("app", "v1"))
					case 5:
						_ = records.Repositories.Edit(tx, "app", func(r *model.Repository) error {
							r.LifecyclePolicy = []string{keepTwo, oneDay}[which[i]%2]
							return nil
						})
					}
				})
				time.Sleep(time.Duration(pauses[i]) * time.Minute)
			}
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			snap := w.store.Snapshot()
			r, _ := records.Repositories.Get(snap, "app")
			if r.LifecyclePolicy == "" {
				return
			}
			p, err := imagelifecycle.Parse(r.LifecyclePolicy)
			if err != nil {
				t.Fatal(err)
			}
			if plan := p.Plan(records.LifecycleImages(snap, "app"), time.Now().Add(-time.Second)); len(plan) > 0 {
				t.Errorf("%v are left", plan)
			}
		})
	})
}
