package imagestore

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
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
	ErrReferenced   = errors.New("the manifest refers to what the repository does not have")
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
type Store struct{ cfg Config }

// Open returns the store of a directory.
func Open(cfg Config) (*Store, error) { return &Store{cfg}, nil }

// Run collects garbage until ctx ends.
func (s *Store) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// Layer is a blob of a repository.
type Layer struct {
	Digest string
	Size   int64
}

// Upload is a blob on its way in. One goroutine may use it at a time.
type Upload struct{}

// Begin starts an upload.
func (s *Store) Begin(ctx context.Context, repository string) (*Upload, error) {
	return nil, errors.ErrUnsupported
}

// Resume goes on with an upload that was begun, also by an earlier process.
func (s *Store) Resume(ctx context.Context, repository, id string) (*Upload, error) {
	return nil, errors.ErrUnsupported
}

// ID names the upload for Resume.
func (u *Upload) ID() string { return "" }

// Size is how many bytes have arrived.
func (u *Upload) Size() int64 { return 0 }

// Append adds what r has. What arrived before an error stays: Size says how much.
func (u *Upload) Append(ctx context.Context, r io.Reader) (int64, error) {
	return 0, errors.ErrUnsupported
}

// Commit ends the upload: the repository has the layer now. ErrDigest when the
// content has another digest; the upload is gone then.
func (u *Upload) Commit(ctx context.Context, digest string) (Layer, error) {
	return Layer{}, errors.ErrUnsupported
}

// Close lets go of the upload, which can be resumed.
func (u *Upload) Close() error { return nil }

// Cancel ends the upload and forgets what has arrived.
func (u *Upload) Cancel(ctx context.Context) error { return nil }

// Layer says whether the repository has a layer, and promises it for the grace time.
func (s *Store) Layer(ctx context.Context, repository, digest string) (Layer, error) {
	return Layer{}, ErrNoLayer
}

// Open reads a layer. The caller closes it.
func (s *Store) Open(ctx context.Context, repository, digest string) (io.ReadSeekCloser, Layer, error) {
	return nil, Layer{}, ErrNoLayer
}

// Mount gives a repository a layer that another has.
func (s *Store) Mount(ctx context.Context, from, to, digest string) (Layer, error) {
	return Layer{}, ErrNoLayer
}

// Push is an image to put.
type Push struct {
	Repository string
	Tag        string // may be empty
	Digest     string // when the client says it; checked
	MediaType  string // when the client says it; the manifest's own counts
	Manifest   []byte
}

// Put checks the manifest and all that it refers to, keeps it, and moves the
// tag, in one transaction. ErrSame when there was nothing to do, with the image.
func (s *Store) Put(ctx context.Context, now time.Time, push Push) (*model.Image, error) {
	return nil, errors.ErrUnsupported
}

// Get finds an image by tag or digest, with its manifest.
func (s *Store) Get(ctx context.Context, repository, reference string) (*model.Image, []byte, error) {
	return nil, nil, ErrNoImage
}

// Pulled notes that an image was pulled.
func (s *Store) Pulled(ctx context.Context, now time.Time, repository, digest string) error {
	return nil
}

// Delete takes away tags, and images with all of their tags, in tx: the content goes with the next collection. A
// manifest that an index in the repository needs is left, with ErrReferenced.
func Delete(tx *store.Tx, repository, digest string) error { return errors.ErrUnsupported }
