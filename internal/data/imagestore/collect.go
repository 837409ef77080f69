package imagestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// Run collects garbage until ctx ends: when it starts, when images or
// repositories were deleted, and when grace times end.
func (s *Store) Run(ctx context.Context) error {
	// An empty mirror would make everything garbage.
	select {
	case <-s.db.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	w := s.db.Watch(ctx, records.Repositories, records.Images)
	timer := time.NewTimer(0)
	defer timer.Stop()
	// A pass reads every directory: those that many deletions ask for are to take
	// a tenth of the time at most.
	var rested time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.Changed():
			if snap, changes := w.Take(); deleted(snap, changes) {
				timer.Reset(max(0, rested.Sub(s.now())))
			}
		case <-s.wake:
			timer.Reset(max(0, rested.Sub(s.now())))
		case <-timer.C:
			began := s.now()
			next, err := s.collect(ctx)
			if err != nil && ctx.Err() == nil {
				s.log.Error("collecting the registry's garbage failed", slog.Any(telemetry.Error, err))
			}
			ended := s.now()
			rested = ended.Add(10 * ended.Sub(began))
			timer.Reset(max(time.Second, next.Sub(ended)))
		}
	}
}

func deleted(snap *store.Snapshot, changes []store.Change) bool {
	for _, c := range changes {
		if c.Table == records.Images.Name() && !records.Images.Has(snap, c.Key) ||
			c.Table == records.Repositories.Name() && !records.Repositories.Has(snap, c.Key) {
			return true
		}
	}
	return false
}

// pass is one look at everything on disk.
type pass struct {
	*Store
	snap   *store.Snapshot
	began  time.Time
	linked map[string]struct{} // blobs that repositories keep, in hexadecimal
	next   time.Time           // when there may be something to do again

	links, blobs, uploads int
	bytes                 int64
}

// collect makes one pass and returns when the next is due: what is found to be
// in its grace time ends then, and what begins one later ends later.
func (s *Store) collect(ctx context.Context) (time.Time, error) {
	s.leases.begin()
	defer s.leases.end()
	// The order matters: an image that is put after the snapshot held its blobs
	// after begin, and without leaves those alone.
	p := &pass{Store: s, snap: s.db.Snapshot(), began: s.now(), linked: make(map[string]struct{})}
	p.next = p.began.Add(s.grace)
	err := p.repositories(ctx, "")
	if err == nil { // else a link may have been missed
		err = p.unlinked(ctx)
	}
	if p.links+p.blobs+p.uploads > 0 {
		s.log.Info("collected the registry's garbage", slog.Int("layers", p.links), slog.Int("blobs", p.blobs),
			slog.Int("uploads", p.uploads), slog.Int64("bytes", p.bytes))
	}
	return p.next, err
}

// over reports whether a grace time that began at from has ended, and else
// remembers when it does.
func (p *pass) over(from time.Time) bool {
	end := from.Add(p.grace)
	if end.After(p.began) {
		p.due(end)
		return false
	}
	return true
}

func (p *pass) due(at time.Time) {
	if at.Before(p.next) {
		p.next = at
	}
}

// again asks for another pass, for what somebody held during this one.
func (p *pass) again() { p.due(p.began.Add(min(p.grace, time.Minute))) }

// entries reads a directory that may not be there.
func entries(dir string) ([]fs.DirEntry, error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return list, err
}

// repositories goes through the repositories at and below a name.
func (p *pass) repositories(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	list, err := entries(filepath.Join(p.at.repositories(), name))
	if err != nil {
		return err
	}
	for _, e := range list {
		if !strings.HasPrefix(e.Name(), "_") {
			if err := p.repositories(ctx, filepath.Join(name, e.Name())); err != nil {
				return err
			}
		}
	}
	if name == "" {
		return nil
	}
	if err := p.layers(ctx, name); err != nil {
		return fmt.Errorf("layers of %s: %w", name, err)
	}
	if err := p.abandoned(ctx, name); err != nil {
		return fmt.Errorf("uploads to %s: %w", name, err)
	}
	if !records.Repositories.Has(p.snap, name) {
		p.tidy(name)
	}
	return nil
}

// tidy takes away the directories of a repository that is gone, as far as they
// are empty.
func (p *pass) tidy(name string) {
	for _, dir := range []string{"_layers/sha256", "_layers", "_uploads", ""} {
		_ = os.Remove(filepath.Join(p.at.repositories(), name, dir)) // fails when something is in there, which is fine
	}
}

// layers takes away a repository's links to layers that none of its images needs.
func (p *pass) layers(ctx context.Context, name string) error {
	list, err := entries(filepath.Join(p.at.repositories(), name, "_layers", "sha256"))
	if err != nil || len(list) == 0 {
		return err
	}
	needed := make(map[string]struct{})
	for image := range records.Images.Prefix(p.snap, model.ImagesOf(name)) {
		for _, d := range image.Blobs {
			needed[d] = struct{}{}
		}
	}
	for _, e := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		d := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
		if _, ok := needed[string(d)]; ok || d.Validate() != nil {
			p.linked[e.Name()] = struct{}{}
			continue
		}
		gone, err := p.unlink(name, d)
		if err != nil {
			return err
		}
		if gone {
			p.links++
		} else {
			p.linked[e.Name()] = struct{}{}
		}
	}
	return nil
}

// unlink takes a layer from a repository whose images do not need it, if its
// grace time is over. Nothing is promised of a repository that is gone.
func (p *pass) unlink(name string, d digest.Digest) (gone bool, err error) {
	dir := p.at.link(name, d)
	free, err := p.leases.without(d, func() error {
		info, err := os.Stat(filepath.Join(dir, "link"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil && records.Repositories.Has(p.db.Snapshot(), name) && !p.over(info.ModTime()) {
			return nil
		}
		gone = true
		return os.RemoveAll(dir)
	})
	if !free {
		p.again()
	}
	return gone, err
}

// abandoned takes away uploads that nobody has continued.
func (p *pass) abandoned(ctx context.Context, name string) error {
	list, err := entries(filepath.Join(p.at.repositories(), name, "_uploads"))
	for _, e := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		of, free := p.turns.try(e.Name())
		if !free {
			p.again()
			continue
		}
		gone, err := p.abandon(name, e.Name())
		p.turns.release(e.Name(), of, gone)
		if err != nil {
			return err
		}
	}
	return err
}

// abandon takes away an upload whose content was last added to, or let go of, a
// grace time ago.
func (p *pass) abandon(name, id string) (gone bool, err error) {
	dir := p.at.upload(name, id)
	info, err := os.Stat(filepath.Join(dir, "data"))
	if errors.Is(err, fs.ErrNotExist) {
		info, err = os.Stat(dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil // it was ended just now
	}
	if err != nil {
		return false, err
	}
	if records.Repositories.Has(p.db.Snapshot(), name) && !p.over(info.ModTime()) {
		return false, nil
	}
	p.uploads++
	p.bytes += info.Size()
	return true, os.RemoveAll(dir)
}

// unlinked takes away the blobs that no repository has and no image is.
func (p *pass) unlinked(ctx context.Context) error {
	prefixes, err := entries(p.at.allBlobs())
	for _, prefix := range prefixes {
		list, err := entries(filepath.Join(p.at.allBlobs(), prefix.Name()))
		if err != nil {
			return err
		}
		for _, e := range list {
			if err := ctx.Err(); err != nil {
				return err
			}
			d := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
			if _, ok := p.linked[e.Name()]; ok || d.Validate() != nil || records.Images.HasBy(p.snap, records.ImagesByBlob, string(d)) {
				continue
			}
			if err := p.drop(d); err != nil {
				return err
			}
		}
	}
	return err
}

func (p *pass) drop(d digest.Digest) error {
	free, err := p.leases.without(d, func() error {
		info, err := os.Stat(p.at.data(d))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil {
			if !p.over(info.ModTime()) {
				return nil
			}
			p.blobs++
			p.bytes += info.Size()
		}
		return os.RemoveAll(p.at.blob(d))
	})
	if !free {
		p.again()
	}
	return err
}
