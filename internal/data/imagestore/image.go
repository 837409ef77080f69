package imagestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// Push is an image to put.
type Push struct {
	Repository string
	Tag        string // may be empty
	Digest     string // when the client says it; checked
	MediaType  string // when the client says it; the manifest's own counts
	Manifest   []byte
	// Partial is set for an index of which only parts are wanted, from a pull
	// through cache: what it refers to need not be here.
	Partial bool
}

// Put checks the manifest and all that it refers to, keeps it, and moves the
// tag, in one transaction. ErrSame when there was nothing to do, with the image.
func (s *Store) Put(ctx context.Context, now time.Time, push Push) (*model.Image, error) {
	if err := s.exists(push.Repository); err != nil {
		return nil, err
	}
	if push.Tag != "" && !ValidTag(push.Tag) {
		return nil, fmt.Errorf("%.140q: %w", push.Tag, ErrTag)
	}
	m, err := parseManifest(push.Manifest, push.MediaType)
	if err != nil {
		return nil, err
	}
	d := digest.FromBytes(push.Manifest)
	if push.Digest != "" && push.Digest != string(d) {
		return nil, fmt.Errorf("%.80q: the manifest has %s: %w", push.Digest, d, ErrDigest)
	}
	image := &model.Image{
		Repository: push.Repository, Digest: string(d), MediaType: m.mediaType, ArtifactMediaType: m.artifactType,
		ManifestSize: int64(len(push.Manifest)), Subject: m.subject, PushedAt: now,
	}
	release := s.leases.hold(append(m.blobs(), d)...)
	defer release()
	if err := s.fill(image, m); err != nil {
		return nil, err
	}
	// From here the content is promised: whatever becomes of the transaction, the
	// collector has the grace time to wait.
	if err := s.keepManifest(ctx, d, push.Manifest); err != nil {
		return nil, err
	}
	p := put{image, m, push.Tag, push.Partial, now}
	var result *model.Image
	_, err = s.db.Update(ctx, func(tx *store.Tx) (err error) {
		result, err = p.apply(tx)
		return err
	})
	return result, err
}

// ValidTag reports whether a text can be a tag.
func ValidTag(tag string) bool { return wholeTag.MatchString(tag) }

var wholeTag = regexp.MustCompile(`^(?:` + reference.TagRegexp.String() + `)$`)

// blobs are those that the manifest refers to.
func (m *manifest) blobs() []digest.Digest {
	var all []digest.Digest
	if m.config != nil {
		all = append(all, m.config.digest())
	}
	for i := range m.layers {
		all = append(all, m.layers[i].digest())
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// fill finds and promises the image's blobs, and says of the image what they are.
func (s *Store) fill(image *model.Image, m *manifest) error {
	if m.config == nil {
		return nil
	}
	image.ConfigMediaType = m.config.MediaType
	if image.ArtifactMediaType == "" {
		image.ArtifactMediaType = m.config.MediaType
	}
	for _, of := range append([]descriptor{*m.config}, m.layers...) {
		l, err := s.has(image.Repository, of.digest())
		if errors.Is(err, ErrNoLayer) {
			if of.foreign() {
				continue
			}
			return fmt.Errorf("%w: layer %s", ErrReferenced, of.Digest)
		}
		if err != nil {
			return err
		}
		if l.Size != of.Size {
			return fmt.Errorf("%w: it says that %s has %d bytes; it has %d", ErrManifest, of.Digest, of.Size, l.Size)
		}
		if err := s.promise(image.Repository, of.digest()); err != nil {
			return err
		}
		image.Size += l.Size
		if !slices.Contains(image.Blobs, of.Digest) {
			image.Blobs = append(image.Blobs, of.Digest)
		}
	}
	return nil
}

// keepManifest writes a manifest, or promises the one that is there.
func (s *Store) keepManifest(ctx context.Context, d digest.Digest, content []byte) error {
	path := s.at.data(d)
	if info, err := os.Stat(path); err != nil || info.Size() != int64(len(content)) {
		if err := s.disk.PutContent(ctx, strings.TrimPrefix(path, s.at.dir), content); err != nil {
			return failed("keeping a manifest", err)
		}
	} else if err := syncDir(filepath.Dir(path)); err != nil {
		return failed("keeping a manifest", err)
	}
	now := s.now()
	if err := os.Chtimes(path, now, now); err != nil {
		return failed("keeping a manifest", err)
	}
	return nil
}

// put is the transaction of Put.
type put struct {
	image   *model.Image
	m       *manifest
	tag     string
	partial bool
	now     time.Time
}

// apply returns the image as it is stored, also with ErrSame.
func (p *put) apply(tx *store.Tx) (*model.Image, error) {
	name, key := p.image.Repository, p.image.Key()
	repository, ok := records.Repositories.Get(tx, name)
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, ErrNoRepository)
	}
	records.Repositories.Guard(tx, name)
	image, exists := records.Images.Get(tx, key)
	moved := p.tag != ""
	if old, taken := records.ImageTags.Get(tx, model.ImageTagKey(name, p.tag)); taken && moved {
		if moved = old.Digest != p.image.Digest; moved && Immutable(repository, p.tag) {
			return nil, fmt.Errorf("%s: %w", p.tag, ErrTagImmutable)
		}
	}
	switch {
	case exists && !moved:
		return image, ErrSame
	case exists:
		records.Images.Guard(tx, key)
	default:
		next := *p.image
		if err := p.children(tx, &next); err != nil {
			return nil, err
		}
		image = &next
		records.Images.Put(tx, image)
	}
	if p.tag != "" {
		records.ImageTags.Put(tx, &model.ImageTag{Repository: name, Tag: p.tag, Digest: image.Digest, TaggedAt: p.now})
	}
	return image, nil
}

// children checks what an index refers to, and guards it.
func (p *put) children(tx *store.Tx, image *model.Image) error {
	for _, of := range p.m.manifests {
		key := model.ImageKey(image.Repository, of.Digest)
		child, ok := records.Images.Get(tx, key)
		if !ok && p.partial {
			continue
		}
		if !ok {
			return fmt.Errorf("%w: manifest %s", ErrReferenced, of.Digest)
		}
		if child.ManifestSize != of.Size {
			return fmt.Errorf("%w: it says that %s has %d bytes; it has %d", ErrManifest, of.Digest, of.Size, child.ManifestSize)
		}
		records.Images.Guard(tx, key)
		if !slices.Contains(image.Manifests, of.Digest) {
			image.Manifests = append(image.Manifests, of.Digest)
		}
		// As AWS says of imageSizeInBytes: the largest of the list.
		image.Size = max(image.Size, child.Size)
	}
	return nil
}

// Immutable reports whether a repository's tag must not move once it is there.
func Immutable(r *model.Repository, tag string) bool {
	excluded := slices.ContainsFunc(r.MutabilityExclusions, func(pattern string) bool { return matches(pattern, tag) })
	switch r.TagMutability {
	case model.TagsImmutable:
		return true
	case model.TagsImmutableWithExclusion:
		return !excluded
	case model.TagsMutableWithExclusion:
		return excluded
	}
	return false
}

// matches compares with a pattern in which * stands for any text.
func matches(pattern, tag string) bool {
	parts := strings.Split(pattern, "*")
	rest, ok := strings.CutPrefix(tag, parts[0])
	if len(parts) == 1 {
		return ok && rest == ""
	}
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		var found bool
		_, rest, found = strings.Cut(rest, part)
		ok = ok && found
	}
	return ok && strings.HasSuffix(rest, last)
}

// Find looks for an image by tag or digest.
func Find(r store.Reader, repository, reference string) (*model.Image, error) {
	if !records.Repositories.Has(r, repository) {
		return nil, fmt.Errorf("%s: %w", repository, ErrNoRepository)
	}
	if !strings.Contains(reference, ":") {
		tag, ok := records.ImageTags.Get(r, model.ImageTagKey(repository, reference))
		if !ok {
			return nil, fmt.Errorf("%.140s: %w", reference, ErrNoImage)
		}
		reference = tag.Digest
	}
	image, ok := records.Images.Get(r, model.ImageKey(repository, reference))
	if !ok {
		return nil, fmt.Errorf("%.140s: %w", reference, ErrNoImage)
	}
	return image, nil
}

// Get finds an image by tag or digest, with its manifest.
func (s *Store) Get(ctx context.Context, repository, reference string) (*model.Image, []byte, error) {
	for {
		snap := s.db.Snapshot()
		image, err := Find(snap, repository, reference)
		if err != nil {
			return nil, nil, err
		}
		content, err := os.ReadFile(s.at.data(digest.Digest(image.Digest)))
		if errors.Is(err, fs.ErrNotExist) && s.db.Snapshot().Rev() > snap.Rev() && ctx.Err() == nil {
			continue // it may have been deleted and collected since
		}
		if err != nil {
			return nil, nil, failed("reading a manifest", err)
		}
		if digest.FromBytes(content) != digest.Digest(image.Digest) {
			return nil, nil, fmt.Errorf("image store: the disk has changed manifest %s", image.Digest)
		}
		return image, content, nil
	}
}

// pulledEvery is how exactly the time of a pull is kept: it is a write for what
// would else be a read.
const pulledEvery = time.Hour

// Pulled notes that an image was pulled.
func (s *Store) Pulled(ctx context.Context, now time.Time, repository, d string) error {
	key := model.ImageKey(repository, d)
	recent := func(r store.Reader) bool {
		image, ok := records.Images.Get(r, key)
		return !ok || image.LastPulledAt != nil && now.Sub(*image.LastPulledAt) < pulledEvery
	}
	if recent(s.db.Snapshot()) {
		return nil
	}
	_, err := s.db.Update(ctx, func(tx *store.Tx) error {
		if recent(tx) {
			return nil
		}
		return records.Images.Edit(tx, key, func(i *model.Image) error {
			i.LastPulledAt = &now
			return nil
		})
	})
	return err
}

// Checked notes that upstream says of a tag that it is still of the image.
func (s *Store) Checked(ctx context.Context, now time.Time, repository, tag string) error {
	_, err := s.db.Update(ctx, func(tx *store.Tx) error {
		return records.ImageTags.Edit(tx, model.ImageTagKey(repository, tag), func(t *model.ImageTag) error {
			t.CheckedAt = &now
			return nil
		})
	})
	return err
}

// Delete takes away an image with all of its tags in tx; the content goes with
// the next collection. An image that an index in the repository needs is left,
// with ErrReferenced. An image with more than a hundred tags does not fit into a
// transaction (store.ErrTooLarge): Untag some first.
func Delete(tx *store.Tx, repository, d string) error {
	image, err := Find(tx, repository, d)
	if err != nil {
		return err
	}
	// An index that is being put elsewhere guards its parts, not this: both see
	// that the other changed the repository's images.
	records.Images.GuardPrefix(tx, model.ImagesOf(repository))
	if records.Images.HasBy(tx, records.ImagesByManifest, image.Key()) {
		return fmt.Errorf("an index needs %s: %w", image.Digest, ErrReferenced)
	}
	records.ImageTags.GuardIndex(tx, records.ImageTagsByImage, image.Key())
	for tag := range records.ImageTags.By(tx, records.ImageTagsByImage, image.Key()) {
		records.ImageTags.Delete(tx, tag.Key())
	}
	records.Images.Delete(tx, image.Key())
	return nil
}

// Untag takes away a tag in tx, and the image with its last one, as
// BatchDeleteImage does on AWS. It returns the digest of the image.
func Untag(tx *store.Tx, repository, tag string) (string, error) {
	image, err := Find(tx, repository, tag)
	if err != nil {
		return "", err
	}
	records.ImageTags.GuardIndex(tx, records.ImageTagsByImage, image.Key())
	others := false
	for of := range records.ImageTags.By(tx, records.ImageTagsByImage, image.Key()) {
		others = others || of.Tag != tag
	}
	if !others {
		return image.Digest, Delete(tx, repository, image.Digest)
	}
	records.ImageTags.Delete(tx, model.ImageTagKey(repository, tag))
	return image.Digest, nil
}
