package imagestore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
)

// What callers tell apart. Errors may wrap these with what they are about.
var (
	ErrNoRepository = errors.New("the repository does not exist")
	ErrNoImage      = errors.New("the image does not exist")
	ErrNoLayer      = errors.New("the layer does not exist")
	ErrNoUpload     = errors.New("the upload does not exist")
	ErrDigest       = errors.New("the content does not have the digest")
	ErrRange        = errors.New("the part does not continue the upload")
	ErrManifest     = errors.New("the manifest is not valid")
	ErrTag          = errors.New("the tag is not valid")
	// ErrReferenced is of a manifest that names what is not there, and of taking
	// away what one names.
	ErrReferenced   = errors.New("an image would refer to what the repository does not have")
	ErrTagImmutable = errors.New("the tag exists and must not change")
	ErrSame         = errors.New("the image exists with that digest and tag")
	ErrTooLarge     = errors.New("too large")
	ErrNoSpace      = errors.New("no space left on the registry's disk")
)

// Config says where a Store works.
type Config struct {
	// Dir is the directory of the content; nobody else writes there.
	Dir   string
	Store *store.Store
	// Grace is how long a blob that no image needs is kept after it was last
	// promised to somebody; 0 is a day. Uploads that nobody continues end then.
	Grace time.Duration
	Log   *slog.Logger
}

// Store keeps the content of repositories. Its methods may be called
// concurrently. Repositories themselves are records that the caller makes.
type Store struct {
	db    *store.Store
	log   *slog.Logger
	grace time.Duration
	now   func() time.Time

	at      layout
	disk    *disk
	library distribution.Namespace
	leases  leases
	turns   turns
	wake    chan struct{} // holds one value when garbage is known to be there
}

// Open returns the store of a directory, which is made when it is not there.
func Open(cfg Config) (*Store, error) {
	s := &Store{
		db: cfg.Store, log: cfg.Log, grace: cfg.Grace, now: time.Now,
		at: layout{cfg.Dir}, leases: leases{of: make(map[string]*lease)}, turns: turns{of: make(map[string]*turn)},
		wake: make(chan struct{}, 1),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.grace == 0 {
		s.grace = 24 * time.Hour
	}
	// What is in there was never moved to its place: a process died over it.
	if err := os.RemoveAll(s.at.temporary()); err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	for _, dir := range []string{cfg.Dir, s.at.temporary()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("image store: %w", err)
		}
	}
	s.disk = newDisk(s.at)
	var err error
	if s.library, err = storage.NewRegistry(context.Background(), s.disk); err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	return s, nil
}

// blobs are the library's blobs of a repository, which must exist.
func (s *Store) blobs(ctx context.Context, repository string) (distribution.BlobStore, error) {
	if err := s.exists(repository); err != nil {
		return nil, err
	}
	name, err := reference.WithName(repository)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", repository, ErrNoRepository)
	}
	r, err := s.library.Repository(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	return r.Blobs(ctx), nil
}

// exists also keeps what a stranger calls a repository out of paths: whoever
// makes one checks its name.
func (s *Store) exists(repository string) error {
	if !records.Repositories.Has(s.db.Snapshot(), repository) {
		return fmt.Errorf("%s: %w", repository, ErrNoRepository)
	}
	return nil
}

// parseDigest reads a digest. SHA-256 is the only algorithm of AWS's registry,
// and of the library's layout one that every tool knows.
func parseDigest(text string) (digest.Digest, error) {
	d, err := digest.Parse(text)
	if err != nil || d.Algorithm() != digest.SHA256 {
		return "", fmt.Errorf("%.80q: %w", text, ErrDigest)
	}
	return d, nil
}

// layout is where things are below a directory: distribution/distribution's own
// layout (the comment of its registry/storage/paths.go), and a directory for
// files on their way in.
type layout struct{ dir string }

const libraryRoot = "docker/registry/v2"

func (l layout) temporary() string    { return filepath.Join(l.dir, "tmp") }
func (l layout) repositories() string { return filepath.Join(l.dir, libraryRoot, "repositories") }
func (l layout) allBlobs() string     { return filepath.Join(l.dir, libraryRoot, "blobs", "sha256") }

// blob is the directory of a blob, whose content is in the file "data" there.
func (l layout) blob(d digest.Digest) string {
	return filepath.Join(l.allBlobs(), d.Encoded()[:2], d.Encoded())
}

func (l layout) data(d digest.Digest) string { return filepath.Join(l.blob(d), "data") }

// link is the directory whose file "link" gives a repository a layer.
func (l layout) link(repository string, d digest.Digest) string {
	return filepath.Join(l.repositories(), repository, "_layers", "sha256", d.Encoded())
}

func (l layout) upload(repository, id string) string {
	return filepath.Join(l.repositories(), repository, "_uploads", id)
}
