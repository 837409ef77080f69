package image

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/unpack"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"
)

const (
	// parallelLayers is how many layers of one image are downloaded at once.
	parallelLayers = 6
	// maxDocument is the most that a manifest or a configuration may have; registries take manifests of 4 MiB.
	maxDocument = 8 << 20
	// maxLayers is what an overlay file system can stack, and Docker's limit.
	maxLayers = 127
)

// malformed says what is wrong with an image itself. Nobody can run it.
type malformed struct{ text string }

func (m *malformed) Error() string { return m.text }

func wrong(format string, args ...any) error { return &malformed{fmt.Sprintf(format, args...)} }

// fetch downloads and unpacks what target names, where that is still to be done. Downloads go on where they were cut.
// Nothing refers to the result yet but the lease in ctx.
func (s *Store) fetch(ctx context.Context, ref string, target ocispec.Descriptor, fetcher remotes.Fetcher, p *progress) error {
	room := newRoom(s.cfg.MaxSize, s.disk)
	if err := room.check(); err != nil {
		return err
	}
	store := s.cfg.Client.ContentStore()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	unpacker, err := unpack.NewUnpacker(ctx, store,
		unpack.WithUnpackPlatform(unpack.Platform{
			SnapshotterKey: s.cfg.Snapshotter, Snapshotter: s.cfg.Client.SnapshotService(s.cfg.Snapshotter),
			Applier: &applier{content: store, room: room},
		}),
		unpack.WithLimiter(semaphore.NewWeighted(parallelLayers)),
	)
	if err != nil {
		return err
	}
	sources, err := docker.AppendDistributionSourceLabel(store, ref)
	if err != nil {
		return err
	}
	children := images.SetChildrenMappedLabels(store, images.ChildrenHandler(store), nil)
	children = images.LimitManifests(images.FilterPlatforms(children, platforms.Default()), platforms.Default(), 1)
	handler := unpacker.Unpack(images.Handlers(
		images.HandlerFunc(checkSize),
		remotes.FetchHandler(store, counting{fetcher, p, room}),
		images.HandlerFunc(arrivedBefore(p)),
		s.checkDocument(p),
		children,
		sources,
	))
	err = images.Dispatch(ctx, handler, nil, target)
	if err != nil {
		cancel() // what the unpacker has begun is of no use
	}
	if _, unpackErr := unpacker.Wait(); err == nil && unpackErr != nil {
		err = unpackErr
	}
	return err
}

// checkSize refuses documents that would not fit into memory, before they are fetched.
func checkSize(_ context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if !images.IsLayerType(desc.MediaType) && desc.Size > maxDocument {
		return nil, wrong("%s %s has %d bytes, more than the %d that are allowed", desc.MediaType, desc.Digest, desc.Size, maxDocument)
	}
	return nil, nil
}

// arrivedBefore counts the layers that were there already.
func arrivedBefore(p *progress) images.HandlerFunc {
	return func(_ context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		p.arrived(desc.Digest, desc.Size)
		return nil, nil
	}
}

// checkDocument looks into manifest and configuration before any layer is fetched.
func (s *Store) checkDocument(p *progress) images.HandlerFunc {
	var layers int
	return func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		isManifest, isConfig := images.IsManifestType(desc.MediaType), images.IsConfigType(desc.MediaType)
		if !isManifest && !isConfig {
			return nil, nil
		}
		blob, err := content.ReadBlob(ctx, s.cfg.Client.ContentStore(), desc)
		if err != nil {
			return nil, err
		}
		if isConfig {
			return nil, checkConfig(blob, layers)
		}
		var manifest ocispec.Manifest
		if err := json.Unmarshal(blob, &manifest); err != nil {
			return nil, wrong("manifest %s is not JSON: %v", desc.Digest, err)
		}
		if layers = len(manifest.Layers); layers > maxLayers {
			return nil, wrong("the image has %d layers, more than the %d that can be stacked", layers, maxLayers)
		}
		p.expect(manifest.Layers)
		return nil, nil
	}
}

// checkConfig refuses what could be fetched, but never run here.
func checkConfig(blob []byte, layers int) error {
	var config ocispec.Image
	if err := json.NewDecoder(bytes.NewReader(blob)).Decode(&config); err != nil {
		return wrong("the image's configuration is not JSON: %v", err)
	}
	if n := len(config.RootFS.DiffIDs); n != layers {
		return wrong("the image's configuration names %d layers and its manifest %d", n, layers)
	}
	if p := config.Platform; p.Architecture != "" && !platforms.Default().Match(platforms.Normalize(p)) {
		return fmt.Errorf("no match for platform in manifest, which is for %s: %w", platforms.Format(p), errdefs.ErrNotFound)
	}
	return nil
}
