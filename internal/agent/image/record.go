package image

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/rootfs"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/rules/imageref"
)

const (
	// labelDocker on an image says which image ID of the local Docker engine it was copied from.
	labelDocker = "berth.dev/docker-id"
	// labelOrigin says where an image came from at first: a runtime.Source…. One without was imported.
	labelOrigin = "berth.dev/origin"
	// labelUsed says when the image was last asked for; containerd moves the record's UpdatedAt with it.
	labelUsed = "berth.dev/used"
	// usedEvery is how exactly that is known.
	usedEvery = 10 * time.Minute
)

func originOf(record images.Image) string {
	switch {
	case record.Labels[labelDocker] != "":
		return runtime.SourceDocker
	case record.Labels[labelOrigin] != "":
		return record.Labels[labelOrigin]
	}
	return runtime.SourceContainerd
}

// isUnpacking reports whether a snapshot is one that a layer is being unpacked into.
func isUnpacking(snapshot string) bool {
	return strings.HasPrefix(snapshot, snapshots.UnpackKeyPrefix+"-")
}

// Details is what a container is made from.
type Details struct {
	Digest  string // of what the name points to
	ChainID string // name of the unpacked file system in the snapshotter
	Config  ocispec.ImageConfig
	Size    int64 // bytes of compressed content
}

// inContainerd finds an image that is there and whole.
func (s *Store) inContainerd(ctx context.Context, ref string) (runtime.Image, images.Image, bool) {
	s.collecting.RLock()
	defer s.collecting.RUnlock()
	record, err := s.lookup(ctx, ref)
	if err != nil {
		if !errdefs.IsNotFound(err) {
			s.cfg.Logger.WarnContext(ctx, "image lookup in containerd failed", "image", ref, "error", err)
		}
		return runtime.Image{}, images.Image{}, false
	}
	name, err := imageref.Parse(record.Name)
	if err != nil {
		return runtime.Image{}, images.Image{}, false
	}
	if err := s.pinned(ctx, name, record); err != nil {
		return runtime.Image{}, images.Image{}, false
	}
	// When its content is gone or made for another platform, it is looked for further.
	img, err := s.describe(ctx, name, record.Target, runtime.SourceContainerd)
	if err != nil {
		return runtime.Image{}, images.Image{}, false
	}
	s.touch(ctx, record)
	return img, record, true
}

// known finds what a name was resolved to among what is there, and gives it the name.
func (s *Store) known(ctx context.Context, name imageref.Name, target ocispec.Descriptor) (runtime.Image, bool) {
	img, record, ok := s.inContainerd(ctx, name.Pinned(target.Digest.String()))
	if !ok {
		return runtime.Image{}, false
	}
	if name.Digest == "" {
		labels := maps.Clone(record.Labels)
		delete(labels, labelDocker)
		if labels == nil {
			labels = map[string]string{}
		}
		labels[labelOrigin] = runtime.SourceRegistry
		if err := s.record(ctx, name, record.Target, labels); err != nil {
			return runtime.Image{}, false
		}
	}
	return img, true
}

// lookup finds a record by name, and a reference by digest under any name that has it: a service pins the digest of
// its image, and an image that was imported by an earlier version of Berth is known by its tag only.
func (s *Store) lookup(ctx context.Context, ref string) (images.Image, error) {
	service := s.cfg.Client.ImageService()
	record, err := service.Get(ctx, ref)
	if err == nil || !errdefs.IsNotFound(err) {
		return record, err
	}
	name, parseErr := imageref.Parse(ref)
	if parseErr != nil || name.Digest == "" {
		return images.Image{}, err
	}
	same, listErr := service.List(ctx, "target.digest=="+name.Digest)
	if listErr != nil || len(same) == 0 {
		return images.Image{}, err
	}
	if err := s.put(ctx, images.Image{Name: ref, Target: same[0].Target, Labels: same[0].Labels}); err != nil {
		return images.Image{}, err
	}
	return service.Get(ctx, ref)
}

// record names what has been fetched: by its digest, which stays when the tag moves on, and by its tag.
func (s *Store) record(ctx context.Context, name imageref.Name, target ocispec.Descriptor, labels map[string]string) error {
	if err := s.put(ctx, images.Image{Name: name.Pinned(target.Digest.String()), Target: target, Labels: labels}); err != nil {
		return err
	}
	if name.Digest != "" || name.Tag == "" {
		return nil
	}
	return s.put(ctx, images.Image{Name: name.Host + "/" + name.Repository + ":" + name.Tag, Target: target, Labels: labels})
}

// pinned makes the record by digest of an image that is known by its tag, unless it is there.
func (s *Store) pinned(ctx context.Context, name imageref.Name, record images.Image) error {
	pinned := images.Image{Name: name.Pinned(record.Target.Digest.String()), Target: record.Target, Labels: record.Labels}
	if pinned.Name == record.Name {
		return nil
	}
	if _, err := s.cfg.Client.ImageService().Create(ctx, pinned); err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("name image %s: %w", pinned.Name, err)
	}
	return nil
}

// put writes a record, over what its name was before.
func (s *Store) put(ctx context.Context, record images.Image) error {
	service := s.cfg.Client.ImageService()
	for {
		_, err := service.Update(ctx, record, "target", "labels")
		if errdefs.IsNotFound(err) {
			_, err = service.Create(ctx, record)
		}
		switch {
		case errdefs.IsAlreadyExists(err):
			continue // somebody made it in between
		case err != nil:
			return fmt.Errorf("name image %s: %w", record.Name, err)
		}
		return nil
	}
}

// touch writes down that the image is used.
func (s *Store) touch(ctx context.Context, record images.Image) {
	s.mu.Lock()
	s.taken[record.Target.Digest.String()] = time.Now()
	s.mu.Unlock()
	if time.Since(record.UpdatedAt) < usedEvery {
		return
	}
	labels := maps.Clone(record.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[labelUsed] = time.Now().UTC().Format(time.RFC3339)
	if _, err := s.cfg.Client.ImageService().Update(ctx, images.Image{Name: record.Name, Target: record.Target, Labels: labels}, "labels"); err != nil {
		s.cfg.Logger.DebugContext(ctx, "the use of an image was not written down", "image", record.Name, "error", err)
	}
}

// describe unpacks the image where that is still to be done and describes it.
func (s *Store) describe(ctx context.Context, name imageref.Name, target ocispec.Descriptor, source string) (runtime.Image, error) {
	d, err := s.read(ctx, target)
	if err != nil {
		return runtime.Image{}, err
	}
	if err := s.unpack(ctx, target, d); err != nil {
		return runtime.Image{}, err
	}
	s.mu.Lock()
	s.taken[d.Digest] = time.Now()
	s.mu.Unlock()
	return runtime.Image{
		Name: name.Pinned(d.Digest), Digest: d.Digest, Source: source, Size: d.Size,
		Entrypoint: d.Config.Entrypoint, Cmd: d.Config.Cmd, Env: d.Config.Env, WorkingDir: d.Config.WorkingDir,
		User: d.Config.User, StopSignal: d.Config.StopSignal, Volumes: slices.Sorted(maps.Keys(d.Config.Volumes)),
	}, nil
}

// Details returns what is needed to make a container from an image that Ensure has returned. The error is
// errdefs.ErrNotFound when the image is not in containerd.
func (s *Store) Details(ctx context.Context, name string) (Details, error) {
	record, err := s.cfg.Client.ImageService().Get(ctx, name)
	if err != nil {
		return Details{}, fmt.Errorf("image %q: %w", name, err)
	}
	return s.read(ctx, record.Target)
}

// read reads the image's configuration for this platform; what a digest names never changes, so it is read once.
func (s *Store) read(ctx context.Context, target ocispec.Descriptor) (Details, error) {
	key := target.Digest.String()
	s.mu.Lock()
	d, ok := s.details[key]
	s.mu.Unlock()
	if ok {
		return d, nil
	}
	manifest, config, err := s.documents(ctx, target)
	if err != nil {
		return Details{}, err
	}
	// An index is searched for this platform above; a manifest alone is taken as it is, so look at what it says.
	if p := config.Platform; p.Architecture != "" && !platforms.Default().Match(platforms.Normalize(p)) {
		return Details{}, fmt.Errorf("no match for platform in manifest %s, which is for %s: %w",
			target.Digest, platforms.Format(p), errdefs.ErrNotFound)
	}
	d = Details{
		Digest: key, ChainID: identity.ChainID(config.RootFS.DiffIDs).String(), Config: config.Config,
		Size: manifest.Config.Size,
	}
	for _, layer := range manifest.Layers {
		d.Size += layer.Size
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.details[key] = d
	return d, nil
}

// documents reads the image's manifest and configuration for this platform.
func (s *Store) documents(ctx context.Context, target ocispec.Descriptor) (ocispec.Manifest, ocispec.Image, error) {
	store := s.cfg.Client.ContentStore()
	manifest, err := images.Manifest(ctx, store, target, platforms.Default())
	if err != nil {
		return ocispec.Manifest{}, ocispec.Image{}, fmt.Errorf("read manifest of %s: %w", target.Digest, err)
	}
	blob, err := content.ReadBlob(ctx, store, manifest.Config)
	if err != nil {
		return ocispec.Manifest{}, ocispec.Image{}, fmt.Errorf("read image configuration %s: %w", manifest.Config.Digest, err)
	}
	var config ocispec.Image
	if err := json.Unmarshal(blob, &config); err != nil {
		return ocispec.Manifest{}, ocispec.Image{}, fmt.Errorf("read image configuration %s: %w", manifest.Config.Digest, err)
	}
	return manifest, config, nil
}

// unpack unpacks what lies in the content store already.
func (s *Store) unpack(ctx context.Context, target ocispec.Descriptor, d Details) error {
	snapshotter := s.cfg.Client.SnapshotService(s.cfg.Snapshotter)
	_, err := snapshotter.Stat(ctx, d.ChainID)
	if err == nil {
		return nil
	}
	if !errdefs.IsNotFound(err) {
		return fmt.Errorf("look for the unpacked image %s: %w", d.Digest, err)
	}
	manifest, config, err := s.documents(ctx, target)
	if err != nil {
		return err
	}
	layers := make([]rootfs.Layer, len(manifest.Layers))
	if n := len(config.RootFS.DiffIDs); n != len(layers) || n > maxLayers {
		return wrong("the image's configuration names %d layers and its manifest %d, of at most %d", n, len(layers), maxLayers)
	}
	for i, layer := range manifest.Layers {
		layers[i] = rootfs.Layer{Blob: layer, Diff: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: config.RootFS.DiffIDs[i]}}
	}
	ctx, done, err := s.cfg.Client.WithLease(ctx)
	if err != nil {
		return fmt.Errorf("unpack image %s: %w", d.Digest, err)
	}
	defer done(context.WithoutCancel(ctx)) //nolint:errcheck // it ends by itself
	apply := &applier{content: s.cfg.Client.ContentStore(), room: newRoom(s.cfg.MaxSize, s.disk)}
	if _, err := rootfs.ApplyLayers(ctx, layers, snapshotter, apply); err != nil {
		return fmt.Errorf("unpack image %s: %w", d.Digest, err)
	}
	return s.refer(ctx, manifest.Config, d.ChainID)
}

// refer keeps the unpacked layers while the image's configuration is there.
func (s *Store) refer(ctx context.Context, config ocispec.Descriptor, chainID string) error {
	label := "containerd.io/gc.ref.snapshot." + s.cfg.Snapshotter
	info := content.Info{Digest: config.Digest, Labels: map[string]string{label: chainID}}
	if _, err := s.cfg.Client.ContentStore().Update(ctx, info, "labels."+label); err != nil {
		return fmt.Errorf("keep the unpacked image: %w", err)
	}
	return nil
}
