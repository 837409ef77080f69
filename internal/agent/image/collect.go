package image

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/rules/imageref"
)

// Collection is when images that nobody uses are removed. Without pressure none is.
type Collection struct {
	// High is the share of the disk in percent from which on images go, Low the one at which that ends; zero is 85 and 80.
	High, Low int
	// MinAge is how long an image must not have been used; zero is an hour. It does not count when the disk is full.
	MinAge time.Duration
	// Every is the time between two looks at the disk; zero is a minute.
	Every time.Duration
}

func (c Collection) withDefaults() Collection {
	c.High, c.Low = cmp.Or(c.High, 85), cmp.Or(c.Low, 80)
	c.MinAge, c.Every = cmp.Or(c.MinAge, time.Hour), cmp.Or(c.Every, time.Minute)
	return c
}

// Check refuses watermarks that make no sense.
func (c Collection) Check() error {
	if c = c.withDefaults(); c.Low < 1 || c.High > 100 || c.Low >= c.High {
		return fmt.Errorf("images cannot be removed from %d%% to %d%% of the disk", c.High, c.Low)
	}
	return nil
}

// Held says who names the images that tasks hold, as runtime.Image.Name; containers are asked for theirs. Nothing is
// removed before.
func (s *Store) Held(inUse func() []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inUse = inUse
}

// Run removes images that nobody uses while the disk is under pressure, until ctx ends; inUse is for Held.
func (s *Store) Run(ctx context.Context, inUse func() []string) error {
	s.Held(inUse)
	ticker := time.NewTicker(s.cfg.Collection.Every)
	defer ticker.Stop()
	for {
		if _, err := s.Collect(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Logger.WarnContext(ctx, "unused images could not be removed", "error", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Collect removes unused images when the disk is fuller than the high watermark, until it is at the low one, and returns
// how many it removed.
func (s *Store) Collect(ctx context.Context) (int, error) {
	d, err := s.disk()
	if err != nil || d.used() < s.cfg.Collection.High {
		return 0, err
	}
	n, err := s.remove(ctx, s.cfg.Collection.MinAge, func(d Disk) bool { return d.used() <= s.cfg.Collection.Low })
	if err != nil {
		return n, err
	}
	if d, err = s.disk(); err == nil && d.used() >= s.cfg.Collection.High {
		s.cfg.Logger.WarnContext(ctx, "the disk for images is nearly full; images that are used, were used lately or were imported stay",
			"percent", d.used(), "removed", n)
	}
	return n, err
}

// justTaken is how long an image that a task was given stays even when the disk is full: the task is about to say so.
const justTaken = time.Minute

// makeRoom removes unused images because there was none left for one that is wanted, and returns how many.
func (s *Store) makeRoom(ctx context.Context, wanted string) int {
	n, err := s.remove(ctx, justTaken, func(d Disk) bool { return d.used() <= s.cfg.Collection.Low })
	if err != nil && ctx.Err() == nil {
		s.cfg.Logger.WarnContext(ctx, "no room could be made for an image", "image", wanted, "error", err)
	}
	return n
}

// candidate is all that containerd knows under one digest.
type candidate struct {
	digest   string
	names    []string
	tagged   bool
	imported bool // under a tag that still means it: it cannot be had again
	used     time.Time
}

// remove takes the images that may go, those first that no tag means any more, then those that were not used for longest,
// until enough is true of the disk.
func (s *Store) remove(ctx context.Context, minAge time.Duration, enough func(Disk) bool) (int, error) {
	if s.cfg.Policy == runtime.PullPreferCached {
		return 0, nil // as for ECS's agent: then the operator looks after images
	}
	used, err := s.used(ctx)
	if err != nil || used == nil {
		return 0, err
	}
	all, err := s.candidates(ctx)
	if err != nil {
		return 0, err
	}
	removed := 0
	for _, c := range all {
		d, err := s.disk()
		if err != nil || enough(d) {
			return removed, err
		}
		if used[c.digest] || time.Since(c.used) < minAge {
			continue
		}
		gone, err := s.removeOne(ctx, c)
		if err != nil {
			return removed, err
		}
		if gone {
			removed++
			s.cfg.Logger.InfoContext(ctx, "removed an unused image to make room on the disk",
				"image", c.names, "digest", c.digest, "lastUsed", c.used, "percent", d.used())
		}
	}
	return removed, nil
}

// removeOne removes an image unless a task has asked for it meanwhile. Its files are gone when it returns.
func (s *Store) removeOne(ctx context.Context, c candidate) (bool, error) {
	s.collecting.Lock()
	defer s.collecting.Unlock()
	s.mu.Lock()
	again := s.taken[c.digest].After(c.used)
	delete(s.details, c.digest)
	s.mu.Unlock()
	if again {
		return false, nil
	}
	service := s.cfg.Client.ImageService()
	for i, name := range c.names {
		var opts []images.DeleteOpt
		if i == len(c.names)-1 {
			opts = append(opts, images.SynchronousDelete())
		}
		if err := service.Delete(ctx, name, opts...); err != nil && !errdefs.IsNotFound(err) {
			return false, fmt.Errorf("remove image %s: %w", name, err)
		}
	}
	return true, nil
}

// used are the digests that containers and tasks use, or nil as long as nobody knows what tasks do.
func (s *Store) used(ctx context.Context) (map[string]bool, error) {
	s.mu.Lock()
	inUse := s.inUse
	s.mu.Unlock()
	if inUse == nil {
		return nil, nil
	}
	names := inUse()
	containers, err := s.cfg.Client.ContainerService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	for _, c := range containers {
		names = append(names, c.Image)
	}
	used := map[string]bool{}
	for _, n := range names {
		if name, err := imageref.Parse(n); err == nil && name.Digest != "" {
			used[name.Digest] = true
			continue
		}
		// One that was made before names had digests in them.
		if record, err := s.cfg.Client.ImageService().Get(ctx, n); err == nil {
			used[record.Target.Digest.String()] = true
		} else if !errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("look for image %s: %w", n, err)
		}
	}
	return used, nil
}

// candidates are the images that could be had again, in the order in which they go.
func (s *Store) candidates(ctx context.Context) ([]candidate, error) {
	records, err := s.cfg.Client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return rank(records, s.taken), nil
}

// rank gathers records by digest and orders what may go.
func rank(records []images.Image, taken map[string]time.Time) []candidate {
	byDigest := map[string]*candidate{}
	for _, record := range records {
		key := record.Target.Digest.String()
		c := byDigest[key]
		if c == nil {
			c = &candidate{digest: key, used: taken[key]}
			byDigest[key] = c
		}
		c.names = append(c.names, record.Name)
		if record.UpdatedAt.After(c.used) {
			c.used = record.UpdatedAt
		}
		if name, err := imageref.Parse(record.Name); err != nil || name.Digest == "" {
			c.tagged = true
			c.imported = c.imported || originOf(record) == runtime.SourceContainerd
		}
	}
	var out []candidate
	for _, c := range byDigest {
		if !c.imported {
			slices.Sort(c.names)
			out = append(out, *c)
		}
	}
	slices.SortFunc(out, func(a, b candidate) int {
		if a.tagged != b.tagged {
			if b.tagged {
				return -1
			}
			return 1
		}
		return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.digest, b.digest))
	})
	return out
}
