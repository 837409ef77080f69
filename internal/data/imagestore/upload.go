package imagestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Upload is a blob on its way in. One goroutine may use it at a time.
type Upload struct {
	store          *Store
	repository, id string
	writer         distribution.BlobWriter
	turn           *turn
}

// Begin starts an upload.
func (s *Store) Begin(ctx context.Context, repository string) (*Upload, error) {
	blobs, err := s.blobs(ctx, repository)
	if err != nil {
		return nil, err
	}
	w, err := blobs.Create(ctx)
	if err != nil {
		return nil, failed("starting an upload", err)
	}
	of, err := s.turns.take(ctx, w.ID())
	if err != nil {
		return nil, errors.Join(err, w.Close(), os.RemoveAll(s.at.upload(repository, w.ID())))
	}
	of.adopted = true
	u := &Upload{s, repository, w.ID(), w, of}
	// With a grace time of next to nothing, the collector may have come first.
	if _, err := os.Stat(filepath.Join(s.at.upload(repository, u.id), "data")); err != nil {
		return nil, errors.Join(failed("starting an upload", err), u.discard())
	}
	return u, nil
}

// Resume goes on with an upload that was begun, also by an earlier process. While
// somebody else is at it, Resume waits for him.
func (s *Store) Resume(ctx context.Context, repository, id string) (*Upload, error) {
	if u, err := uuid.Parse(id); err != nil || u.String() != id { // it becomes part of a path
		return nil, ErrNoUpload
	}
	blobs, err := s.blobs(ctx, repository)
	if err != nil {
		return nil, err
	}
	of, err := s.turns.take(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("waiting for another request to end: %w", err)
	}
	if !of.adopted {
		err = s.adopt(repository, id)
	}
	var w distribution.BlobWriter
	if err == nil {
		w, err = blobs.Resume(ctx, id)
	}
	if err != nil {
		s.turns.release(id, of, true)
		if errors.Is(err, distribution.ErrBlobUploadUnknown) || errors.Is(err, ErrNoUpload) {
			return nil, ErrNoUpload
		}
		return nil, failed("going on with an upload", err)
	}
	of.adopted = true
	return &Upload{s, repository, id, w, of}, nil
}

// adopt prepares an upload that an earlier process began. The library keeps
// states of the digest by the length they were made at and believes them; they
// were not synced and the content's end may be lost. Without them it reads the
// content again.
func (s *Store) adopt(repository, id string) error {
	dir := s.at.upload(repository, id)
	started, err := os.ReadFile(filepath.Join(dir, "startedat"))
	if errors.Is(err, os.ErrNotExist) {
		return ErrNoUpload
	} else if err != nil {
		return err
	}
	if _, err := time.Parse(time.RFC3339, string(started)); err != nil {
		return errors.Join(ErrNoUpload, os.RemoveAll(dir))
	}
	return os.RemoveAll(filepath.Join(dir, "hashstates"))
}

// ID names the upload for Resume.
func (u *Upload) ID() string { return u.id }

// Size is how many bytes have arrived.
func (u *Upload) Size() int64 {
	if u.writer == nil {
		return 0
	}
	return u.writer.Size()
}

// Append adds what r has. What arrived before r's error stays: Size says how much.
// When it cannot be written, the upload is gone: a full disk gets its space back.
func (u *Upload) Append(ctx context.Context, r io.Reader) (int64, error) {
	if u.writer == nil {
		return 0, ErrNoUpload
	}
	src := &source{ctx: ctx, from: r}
	n, err := u.writer.ReadFrom(src)
	switch {
	case err == nil:
		return n, nil
	case src.err != nil:
		return n, fmt.Errorf("reading the part: %w", src.err)
	}
	return 0, errors.Join(failed("writing the part", err), u.discard())
}

// source tells errors of reading from those of writing, and ends with its context.
type source struct {
	ctx  context.Context
	from io.Reader
	err  error
}

func (s *source) Read(p []byte) (int, error) {
	if s.err = s.ctx.Err(); s.err != nil {
		return 0, s.err
	}
	n, err := s.from.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// Commit ends the upload: the repository has the layer now, and it is promised.
// ErrDigest when the content has another digest. After any error the upload is
// gone.
func (u *Upload) Commit(ctx context.Context, text string) (Layer, error) {
	if u.writer == nil {
		return Layer{}, ErrNoUpload
	}
	d, err := parseDigest(text)
	if err != nil {
		return Layer{}, errors.Join(err, u.discard())
	}
	s := u.store
	release := s.leases.hold(d)
	defer release()
	desc, err := u.commit(ctx, d)
	if err != nil {
		err = errors.Join(err, u.discard())
		if !errors.Is(err, ErrDigest) {
			// The content may have reached its place before it could not be linked.
			err = errors.Join(err, s.unpromise(d))
		}
		return Layer{}, err
	}
	u.writer = nil
	s.turns.release(u.id, u.turn, true)
	if err := s.promise(u.repository, d); err != nil {
		return Layer{}, err
	}
	return Layer{Digest: text, Size: desc.Size}, nil
}

func (u *Upload) commit(ctx context.Context, d digest.Digest) (v1.Descriptor, error) {
	// A client that goes away now must not leave half of this.
	desc, err := u.writer.Commit(context.WithoutCancel(ctx), v1.Descriptor{Digest: d})
	if err != nil {
		if _, ok := errors.AsType[distribution.ErrBlobInvalidDigest](err); ok || errors.Is(err, distribution.ErrBlobInvalidLength) {
			return desc, fmt.Errorf("%s: %w", d, ErrDigest)
		}
		return desc, failed("keeping a layer", err)
	}
	// When the content was there already, nobody has synced its directory since
	// this process began.
	now := u.store.now()
	if err := errors.Join(os.Chtimes(u.store.at.data(d), now, now), syncDir(u.store.at.blob(d))); err != nil {
		return desc, failed("keeping a layer", err)
	}
	return desc, nil
}

// Close lets go of the upload, which can be resumed.
func (u *Upload) Close() error {
	if u.writer == nil {
		return nil
	}
	err := u.writer.Close()
	u.writer = nil
	if err != nil {
		return errors.Join(failed("keeping an upload", err), u.end())
	}
	now := u.store.now()
	err = os.Chtimes(filepath.Join(u.store.at.upload(u.repository, u.id), "data"), now, now)
	u.store.turns.release(u.id, u.turn, false)
	return err
}

// Cancel ends the upload and forgets what has arrived.
func (u *Upload) Cancel(context.Context) error {
	if u.writer == nil {
		return nil
	}
	return u.discard()
}

func (u *Upload) discard() error {
	// The library closes the file; that what it then writes fails is no news.
	_ = u.writer.Close()
	u.writer = nil
	return u.end()
}

func (u *Upload) end() error {
	err := os.RemoveAll(u.store.at.upload(u.repository, u.id))
	u.store.turns.release(u.id, u.turn, true)
	return err
}
