package imagestore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/distribution/distribution/v3/manifest/manifestlist"
	"github.com/distribution/distribution/v3/manifest/schema2"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Limits of a manifest. MaxManifest is the distribution protocol's own; the
// others keep an image's record, and the transaction that checks what it refers
// to, within what the store takes at once.
const (
	MaxManifest  = 4 << 20
	maxLayers    = 2000
	maxManifests = 100
	maxDepth     = 32
)

// manifest is what an image's manifest or an index says, as far as the registry
// is concerned.
type manifest struct {
	mediaType    string
	artifactType string
	config       *descriptor
	layers       []descriptor
	manifests    []descriptor
	subject      string
}

type descriptor struct {
	MediaType string   `json:"mediaType"`
	Digest    string   `json:"digest"`
	Size      int64    `json:"size"`
	URLs      []string `json:"urls"`
}

func (m *manifest) index() bool {
	return m.mediaType == v1.MediaTypeImageIndex || m.mediaType == manifestlist.MediaTypeManifestList
}

// foreign reports whether the layer is kept elsewhere by its nature.
func (d *descriptor) foreign() bool {
	return d.MediaType == schema2.MediaTypeForeignLayer || strings.Contains(d.MediaType, ".nondistributable.")
}

// parseManifest reads a manifest of the four kinds that clients push: Docker's
// schema 2 and list, OCI's manifest and index. claimed is the media type that
// the client says, which counts only when the manifest is silent.
func parseManifest(data []byte, claimed string) (*manifest, error) {
	if len(data) > MaxManifest {
		return nil, fmt.Errorf("%w: the manifest has %d bytes, more than %d", ErrTooLarge, len(data), MaxManifest)
	}
	m, err := readManifest(data, claimed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	return m, nil
}

func readManifest(data []byte, claimed string) (*manifest, error) {
	if err := unambiguous(data); err != nil {
		return nil, err
	}
	var raw struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		ArtifactType  string          `json:"artifactType"`
		Config        *descriptor     `json:"config"`
		Layers        []descriptor    `json:"layers"`
		Manifests     []descriptor    `json:"manifests"`
		Subject       *descriptor     `json:"subject"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, err
	}
	if raw.SchemaVersion == 1 || raw.FSLayers != nil {
		return nil, errors.New("schema version 1 is not supported; push the image with a newer client")
	}
	if raw.SchemaVersion != 2 {
		return nil, fmt.Errorf("schema version %d is not supported", raw.SchemaVersion)
	}
	m := &manifest{
		mediaType: kind(raw.MediaType, claimed, raw.Manifests != nil), artifactType: raw.ArtifactType,
		config: raw.Config, layers: raw.Layers, manifests: raw.Manifests,
	}
	if raw.Subject != nil {
		m.subject = raw.Subject.Digest
		if err := raw.Subject.check(); err != nil {
			return nil, fmt.Errorf("subject: %w", err)
		}
	}
	return m, m.check()
}

// kind is the media type of a manifest. OCI's may leave it out.
func kind(own, claimed string, index bool) string {
	claimed, _, _ = strings.Cut(claimed, ";")
	switch {
	case own != "":
		return own
	case claimed == v1.MediaTypeImageManifest || claimed == v1.MediaTypeImageIndex:
		return claimed
	case index:
		return v1.MediaTypeImageIndex
	}
	return v1.MediaTypeImageManifest
}

func (m *manifest) check() error {
	switch m.mediaType {
	case v1.MediaTypeImageIndex, manifestlist.MediaTypeManifestList:
		if m.config != nil || m.layers != nil {
			return errors.New("it is an index and has layers")
		}
		if len(m.manifests) > maxManifests {
			return fmt.Errorf("it refers to %d manifests, more than %d", len(m.manifests), maxManifests)
		}
	case v1.MediaTypeImageManifest, schema2.MediaTypeManifest:
		if m.manifests != nil {
			return errors.New("it is no index and has manifests")
		}
		if m.config == nil {
			return errors.New("it has no config")
		}
		if len(m.layers) > maxLayers {
			return fmt.Errorf("it has %d layers, more than %d", len(m.layers), maxLayers)
		}
		if err := m.config.check(); err != nil {
			return fmt.Errorf("config: %w", err)
		}
	default:
		return fmt.Errorf("media type %.100q is not supported", m.mediaType)
	}
	for i, list := range [][]descriptor{m.layers, m.manifests} {
		for j := range list {
			if err := list[j].check(); err != nil {
				return fmt.Errorf("%s %d: %w", [...]string{"layer", "manifest"}[i], j, err)
			}
		}
	}
	return nil
}

func (d *descriptor) check() error {
	if _, err := parseDigest(d.Digest); err != nil {
		return fmt.Errorf("digest %.80q is not supported: it must be sha256: and 64 hexadecimal digits", d.Digest)
	}
	if d.Size < 0 {
		return fmt.Errorf("%s has size %d", d.Digest, d.Size)
	}
	return nil
}

// digest of a descriptor that was checked.
func (d *descriptor) digest() digest.Digest { return digest.Digest(d.Digest) }

// unambiguous refuses JSON that two readers may understand in two ways: with a
// key twice, with a key that differs from one of ours by case only, which Go's
// decoder takes for it, or with something behind it.
func unambiguous(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	first, err := dec.Token()
	if err != nil {
		return fmt.Errorf("it is not JSON: %w", err)
	}
	if first != json.Delim('{') {
		return errors.New("it is not a JSON object")
	}
	if err := object(dec, 1, false); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("something follows the JSON object")
	}
	return nil
}

// object reads the rest of an object. In annotations any key may stand.
func object(dec *json.Decoder, depth int, free bool) error {
	seen := make(map[string]bool)
	for {
		token, err := dec.Token()
		if err != nil {
			return fmt.Errorf("it is not JSON: %w", err)
		}
		key, ok := token.(string)
		if !ok {
			return nil // the closing brace
		}
		if seen[key] {
			return fmt.Errorf("key %.80q is there twice", key)
		}
		seen[key] = true
		if !free && disguised(key) {
			return fmt.Errorf("key %.80q differs from a known one by case", key)
		}
		if err := value(dec, depth, free || key == "annotations"); err != nil {
			return err
		}
	}
}

func value(dec *json.Decoder, depth int, free bool) error {
	if depth == maxDepth {
		return fmt.Errorf("it is nested more than %d deep", maxDepth)
	}
	token, err := dec.Token()
	if err != nil {
		return fmt.Errorf("it is not JSON: %w", err)
	}
	switch token {
	case json.Delim('{'):
		return object(dec, depth+1, free)
	case json.Delim('['):
		for dec.More() {
			if err := value(dec, depth+1, free); err != nil {
				return err
			}
		}
		if _, err := dec.Token(); err != nil {
			return fmt.Errorf("it is not JSON: %w", err)
		}
	}
	return nil
}

func disguised(key string) bool {
	for _, known := range [...]string{
		"schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "fsLayers",
		"digest", "size", "urls", "annotations", "platform",
	} {
		if key != known && strings.EqualFold(key, known) {
			return true
		}
	}
	return false
}
