package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	containers "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/imagestore"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

const (
	maxDownloads = 6                // layers from upstreams at a time
	maxJobs      = 256              // images that wait to be kept
	maxWait      = 30 * time.Minute // for one layer
	attempts     = 3                // at a layer whose connection breaks
)

// through is what the clients of pull through caches share: who asks for what
// somebody is fetching waits for it.
type through struct {
	h         *Handler
	life      context.Context // of fetches: they outlive the request that began them
	end       context.CancelFunc
	downloads *semaphore.Weighted
	jobs      chan job

	mu      sync.Mutex
	flights map[string]*flight
}

type flight struct {
	done chan struct{}
	err  error
}

// job is a manifest that was passed on and is to be kept with its layers.
type job struct {
	up       *upstream
	tag      string
	manifest found
}

func newThrough(h *Handler) *through {
	t := &through{h: h, downloads: semaphore.NewWeighted(maxDownloads), jobs: make(chan job, maxJobs), flights: make(map[string]*flight)}
	t.life, t.end = context.WithCancel(context.Background())
	return t
}

func (t *through) run(ctx context.Context) error {
	defer t.end()
	var group sync.WaitGroup
	defer group.Wait()
	for range 2 {
		group.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case j := <-t.jobs:
					if err := t.keep(ctx, j); err != nil && ctx.Err() == nil {
						t.h.Logger.Warn("an image that was pulled through is not kept", "repository", j.up.repository,
							"digest", j.manifest.digest, telemetry.Error, err)
					}
				}
			}
		})
	}
	<-ctx.Done()
	return ctx.Err()
}

// once runs fn for all who ask for key at the same time.
func (t *through) once(ctx context.Context, key string, fn func(context.Context) error) error {
	t.mu.Lock()
	f, ok := t.flights[key]
	if !ok {
		f = &flight{done: make(chan struct{})}
		t.flights[key] = f
		go func() {
			ctx, cancel := context.WithTimeout(t.life, maxWait)
			defer cancel()
			f.err = fn(ctx)
			t.mu.Lock()
			defer t.mu.Unlock()
			delete(t.flights, key)
			close(f.done)
		}()
	}
	t.mu.Unlock()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// manifest asks upstream. known is the digest that is kept here: when it is still
// that, nothing is fetched. Of what is only looked at (HEAD) nothing is kept.
func (t *through) manifest(ctx context.Context, up *upstream, reference, known string, look bool) (found, error) {
	ref, err := up.reference(reference)
	if err != nil {
		return found{}, imagestore.ErrNoImage
	}
	options, err := t.options(ctx, up)
	if err != nil {
		return found{}, err
	}
	if look || known != "" {
		d, err := remote.Head(ref, options...)
		if err != nil {
			return found{}, err
		}
		if look && d.Digest.String() != known {
			return found{mediaType: string(d.MediaType), digest: d.Digest.String(), size: d.Size}, nil
		}
		if d.Digest.String() == known {
			return found{digest: known}, t.h.Images.Checked(ctx, t.h.Now(), up.repository, reference)
		}
	}
	d, err := remote.Get(ref, options...)
	if err != nil {
		return found{}, err
	}
	f := found{mediaType: string(d.MediaType), digest: d.Digest.String(), size: int64(len(d.Manifest)), content: d.Manifest}
	if f.size > imagestore.MaxManifest {
		return found{}, imagestore.ErrTooLarge
	}
	if err := t.repository(ctx, up); err != nil {
		return found{}, err
	}
	j := job{up: up, manifest: f}
	if imagestore.ValidTag(reference) {
		j.tag = reference
	}
	select {
	case t.jobs <- j:
	default: // it is fetched again by the next who asks
		t.h.Logger.Warn("an image that was pulled through is not kept: too many are waiting", "repository", up.repository)
	}
	return f, nil
}

// repository makes the repository that a rule fills.
func (t *through) repository(ctx context.Context, up *upstream) error {
	if records.Repositories.Has(t.h.Store.Snapshot(), up.repository) {
		return nil
	}
	_, err := t.h.Store.Update(ctx, func(tx *store.Tx) error {
		if !records.Repositories.Has(tx, up.repository) {
			records.Repositories.Put(tx, &model.Repository{
				Name: up.repository, CreatedAt: t.h.Now().UTC(), TagMutability: model.TagsMutable,
				EncryptionType: "AES256", PullThroughPrefix: up.rule.Prefix,
			})
		}
		return nil
	})
	return err
}

// keep stores an image with its layers. Of an index only what somebody pulls is
// kept, not what it has for other platforms.
func (t *through) keep(ctx context.Context, j job) error {
	push := imagestore.Push{Repository: j.up.repository, Tag: j.tag, MediaType: j.manifest.mediaType, Manifest: j.manifest.content, Digest: j.manifest.digest, Partial: true}
	m, err := containers.ParseManifest(bytes.NewReader(j.manifest.content))
	if err != nil {
		return err
	}
	if m.Config.Digest != (containers.Hash{}) {
		group, ctx := errgroup.WithContext(ctx)
		for _, of := range append([]containers.Descriptor{m.Config}, m.Layers...) {
			if len(of.URLs) > 0 {
				continue // its content is elsewhere by its nature
			}
			group.Go(func() error { return t.layer(ctx, j.up, of.Digest.String()) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	if _, err := t.h.Images.Put(ctx, t.h.Now(), push); err != nil && !errors.Is(err, imagestore.ErrSame) {
		return err
	}
	return nil
}

// layer makes sure that the repository has a layer of its upstream.
func (t *through) layer(ctx context.Context, up *upstream, digest string) error {
	if _, err := t.h.Images.Layer(ctx, up.repository, digest); !errors.Is(err, imagestore.ErrNoLayer) {
		return err
	}
	return t.once(ctx, up.repository+"@"+digest, func(ctx context.Context) (err error) {
		if err := t.downloads.Acquire(ctx, 1); err != nil {
			return err
		}
		defer t.downloads.Release(1)
		for range attempts {
			if err = t.download(ctx, up, digest); err == nil || errors.Is(err, imagestore.ErrNoSpace) || ctx.Err() != nil {
				return err
			}
		}
		return err
	})
}

func (t *through) download(ctx context.Context, up *upstream, digest string) (err error) {
	if _, err := t.h.Images.Layer(ctx, up.repository, digest); err == nil {
		return nil // by the one before us
	}
	options, err := t.options(ctx, up)
	if err != nil {
		return err
	}
	l, err := remote.Layer(up.remote.Digest(digest), options...)
	if err != nil {
		return err
	}
	content, err := l.Compressed()
	if err != nil {
		return err
	}
	defer content.Close() //nolint:errcheck // it was only read
	u, err := t.h.Images.Begin(ctx, up.repository)
	if err != nil {
		return err
	}
	if _, err := u.Append(ctx, content); err != nil {
		return errors.Join(fmt.Errorf("layer %s: %w", digest, err), u.Cancel(ctx))
	}
	_, err = u.Commit(ctx, digest)
	return err
}
