package imageexpiry

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/imagestore"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/imagelifecycle"
)

const (
	// settle is how long a repository must be left alone before its policy is
	// run, but it is run after patience at the latest.
	settle   = 5 * time.Second
	patience = time.Minute
	// retryAfter is the pause after something could not be written.
	retryAfter = 5 * time.Second
	// longestWait bounds how long a date is missed on a machine that slept or
	// whose clock was set.
	longestWait = time.Hour
	// tagsAtOnce is how many tags one transaction takes.
	tagsAtOnce = 50

	repositoryKey = "repository" // in the log
)

// Config is what a Loop is made of; all members are required.
type Config struct {
	Store *store.Store
	Log   *slog.Logger
}

// Loop is the control loop of lifecycle policies.
type Loop struct {
	store *store.Store
	log   *slog.Logger
	due   map[string]date // by repository
}

// date is when a repository is to be looked at.
type date struct {
	at time.Time
	// since is when the first change came that at waits for; zero when it is
	// nothing but a date.
	since time.Time
}

// New returns a Loop.
func New(cfg Config) *Loop {
	return &Loop{store: cfg.Store, log: cfg.Log, due: map[string]date{}}
}

// Run keeps the package's promises until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	watch := l.store.Watch(ctx, records.Repositories, records.Images, records.ImageTags)
	for r := range records.Repositories.All(watch.Snapshot()) {
		l.changed(r.Name, time.Now())
	}
	for {
		for name, d := range l.due {
			if !d.at.After(time.Now()) {
				l.visit(ctx, name)
			}
		}
		select {
		case <-watch.Changed():
			_, changes := watch.Take()
			for _, c := range changes {
				l.changed(repositoryOf(c), time.Now())
			}
		case <-time.After(l.wait()):
		case <-ctx.Done():
			return nil
		}
	}
}

// repositoryOf is the repository that a changed record belongs to.
func repositoryOf(c store.Change) string {
	if c.Table == records.Repositories.Name() {
		return c.Key
	}
	// Names of repositories have neither.
	if i := strings.IndexAny(c.Key, "@:"); i >= 0 {
		return c.Key[:i]
	}
	return c.Key
}

// changed puts a repository off until it is left alone, though not for ever.
func (l *Loop) changed(name string, now time.Time) {
	d := l.due[name]
	if d.since.IsZero() {
		d.since = now
	}
	d.at = now.Add(settle)
	if latest := d.since.Add(patience); d.at.After(latest) {
		d.at = latest
	}
	l.due[name] = d
}

func (l *Loop) wait() time.Duration {
	wait := longestWait
	for _, d := range l.due {
		wait = min(wait, time.Until(d.at))
	}
	return wait
}

// visit runs a repository's policy, and notes when it is to be looked at again.
func (l *Loop) visit(ctx context.Context, name string) {
	delete(l.due, name)
	next, err := l.run(ctx, name)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		l.log.WarnContext(ctx, "a lifecycle policy could not be run; trying again", repositoryKey, name, telemetry.Error, err)
		l.due[name] = date{at: time.Now().Add(retryAfter)}
	case !next.IsZero():
		l.due[name] = date{at: next}
	}
}

// run does what a repository's policy says, and returns when it may say more;
// zero when only changes can make it.
func (l *Loop) run(ctx context.Context, name string) (time.Time, error) {
	snap := l.store.Snapshot()
	r, ok := records.Repositories.Get(snap, name)
	if !ok || r.LifecyclePolicy == "" {
		return time.Time{}, nil
	}
	policy, err := imagelifecycle.Parse(r.LifecyclePolicy)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the policy: %w", err)
	}
	now, images := time.Now(), records.LifecycleImages(snap, name)
	plan := policy.Plan(images, now)
	for _, e := range plan {
		if err := l.expire(ctx, r, e); err != nil {
			return time.Time{}, fmt.Errorf("expiring %s: %w", e.Digest, err)
		}
	}
	if err := l.note(ctx, r, now, len(plan) > 0); err != nil {
		return time.Time{}, err
	}
	return policy.Next(images, now), nil
}

// expire takes an image that a rule wants gone. What has changed since the rules
// were asked wakes the loop again, so that here only the worst is looked at: the
// policy is another, or the image was tagged, pulled or is needed.
func (l *Loop) expire(ctx context.Context, r *model.Repository, e imagelifecycle.Expiry) error {
	key := model.ImageKey(r.Name, e.Digest)
	before := l.store.Snapshot()
	image, there := records.Images.Get(before, key)
	if !there {
		return nil
	}
	tags := tagsOf(before, key)
	for done := false; !done; {
		gone := false
		_, err := l.store.Update(ctx, func(tx *store.Tx) error {
			gone, done = false, true
			now, ok := records.Images.Get(tx, key)
			repository, exists := records.Repositories.Get(tx, r.Name)
			if !ok || !exists || repository.LifecyclePolicy != r.LifecyclePolicy || now != image || !subset(tagsOf(tx, key), tags) ||
				records.Images.HasBy(tx, records.ImagesByManifest, key) {
				return nil
			}
			records.Repositories.Guard(tx, r.Name)
			records.Images.Guard(tx, key)
			left := tagsOf(tx, key)
			for _, tag := range left[:min(len(left), tagsAtOnce)] {
				if _, err := imagestore.Untag(tx, r.Name, tag); err != nil {
					return err
				}
			}
			if done = len(left) <= tagsAtOnce; done {
				gone = true
				if len(left) == 0 { // with its last tag it goes by itself
					return imagestore.Delete(tx, r.Name, e.Digest)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if gone {
			l.log.InfoContext(ctx, "a lifecycle policy expired an image",
				repositoryKey, r.Name, "digest", e.Digest, "tags", tags, "rule", e.Priority, "pushed", image.PushedAt)
		}
	}
	return nil
}

// tagsOf are those of an image, by the image's key.
func tagsOf(r store.Reader, key string) []string {
	var tags []string
	for t := range records.ImageTags.By(r, records.ImageTagsByImage, key) {
		tags = append(tags, t.Tag)
	}
	return tags
}

// subset reports whether all of a are in b.
func subset(a, b []string) bool {
	in := make(map[string]bool, len(b))
	for _, s := range b {
		in[s] = true
	}
	for _, s := range a {
		if !in[s] {
			return false
		}
	}
	return true
}

// noteEvery is how exactly it is kept when a policy was last run, when nothing
// came of it: each note wakes the loop once more.
const noteEvery = time.Hour

// note says when the policy was run.
func (l *Loop) note(ctx context.Context, r *model.Repository, now time.Time, expired bool) error {
	if at := r.LifecycleEvaluatedAt; at != nil && !expired && now.Sub(*at) < noteEvery {
		return nil
	}
	_, err := l.store.Update(ctx, func(tx *store.Tx) error {
		same, ok := records.Repositories.Get(tx, r.Name)
		if !ok || same.LifecyclePolicy != r.LifecyclePolicy {
			return nil
		}
		return records.Repositories.Edit(tx, r.Name, func(r *model.Repository) error {
			r.LifecycleEvaluatedAt = &now
			return nil
		})
	})
	return err
}
