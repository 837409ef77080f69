package imagestore

import (
	"context"
	"time"
)

// Collect makes one pass of the collector.
func (s *Store) Collect(ctx context.Context) (time.Time, error) { return s.collect(ctx) }

// SetNow replaces the clock. Nothing else may use the store meanwhile.
func (s *Store) SetNow(now func() time.Time) { s.now = now }

// ParseManifest reads a manifest and returns what it refers to.
func ParseManifest(data []byte, claimed string) (mediaType string, refers []string, err error) {
	m, err := parseManifest(data, claimed)
	if err != nil {
		return "", nil, err
	}
	for _, d := range m.blobs() {
		refers = append(refers, string(d))
	}
	for _, d := range m.manifests {
		refers = append(refers, d.Digest)
	}
	return m.mediaType, refers, nil
}
