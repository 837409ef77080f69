package imagestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Layer is a blob of a repository.
type Layer struct {
	Digest string
	Size   int64
}

// Layer says whether the repository has a layer, and promises it for the grace time.
func (s *Store) Layer(_ context.Context, repository, text string) (Layer, error) {
	d, err := s.named(repository, text)
	if err != nil {
		return Layer{}, err
	}
	release := s.leases.hold(d)
	defer release()
	l, err := s.has(repository, d)
	if err != nil {
		return Layer{}, err
	}
	return l, s.promise(repository, d)
}

// Open reads a layer. The caller closes it. It can be read to its end even if
// the collector takes the layer meanwhile.
func (s *Store) Open(_ context.Context, repository, text string) (io.ReadSeekCloser, Layer, error) {
	d, err := s.named(repository, text)
	if err != nil {
		return nil, Layer{}, err
	}
	release := s.leases.hold(d)
	defer release()
	l, err := s.has(repository, d)
	if err != nil {
		return nil, Layer{}, err
	}
	// The library would read it through a buffer; a file goes to a socket
	// without passing through this process.
	f, err := os.Open(s.at.data(d))
	if err != nil {
		return nil, Layer{}, failed("reading a layer", err)
	}
	return f, l, nil
}

// Mount gives a repository a layer that another has, and promises it.
func (s *Store) Mount(ctx context.Context, from, to, text string) (Layer, error) {
	d, err := s.named(from, text)
	if err != nil {
		return Layer{}, err
	}
	if err := s.exists(to); err != nil {
		return Layer{}, err
	}
	release := s.leases.hold(d)
	defer release()
	l, err := s.has(from, d)
	if err != nil {
		return Layer{}, err
	}
	link := filepath.Join(strings.TrimPrefix(s.at.link(to, d), s.at.dir), "link")
	if err := s.disk.PutContent(ctx, link, []byte(d)); err != nil {
		return Layer{}, failed("mounting a layer", err)
	}
	return l, s.promise(to, d)
}

// named checks the names of a layer. A text that is no digest names no layer.
func (s *Store) named(repository, text string) (digest.Digest, error) {
	if err := s.exists(repository); err != nil {
		return "", err
	}
	d, err := parseDigest(text)
	if err != nil {
		return "", fmt.Errorf("%.80q: %w", text, ErrNoLayer)
	}
	return d, nil
}

// has finds a layer of the repository: by its link, because what others have
// is nothing of it.
func (s *Store) has(repository string, d digest.Digest) (Layer, error) {
	_, err := os.Stat(filepath.Join(s.at.link(repository, d), "link"))
	var info fs.FileInfo
	if err == nil {
		info, err = os.Stat(s.at.data(d))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Layer{}, fmt.Errorf("%s: %w", d, ErrNoLayer)
	case err != nil:
		return Layer{}, failed("looking for a layer", err)
	}
	return Layer{Digest: string(d), Size: info.Size()}, nil
}

// promise starts the grace time of a repository's layer again. The times of
// links, and of the blobs that nothing links, are when they were last promised.
func (s *Store) promise(repository string, d digest.Digest) error {
	now := s.now()
	if err := os.Chtimes(filepath.Join(s.at.link(repository, d), "link"), now, now); err != nil {
		return failed("promising a layer", err)
	}
	return nil
}

// unpromise lets the collector take a blob that nothing links or needs, at once.
func (s *Store) unpromise(d digest.Digest) error {
	long := time.Unix(0, 0)
	if err := os.Chtimes(s.at.data(d), long, long); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed("dropping a blob", err)
	}
	s.poke()
	return nil
}

func (s *Store) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
