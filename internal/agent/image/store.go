package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"berth.dev/berth/internal/agent/runtime"
)

// Config says where a Store works. Contexts given to its methods carry the containerd namespace.
type Config struct {
	Client      *containerd.Client
	Snapshotter string
	// DockerHost is the local Docker engine ("unix:///var/run/docker.sock"); empty is DOCKER_HOST or Docker's default
	// socket, and "none" is no Docker.
	DockerHost string
	// PullAttempts is how often a pull whose failure may pass is tried; zero is 3.
	PullAttempts int
	// PullDelay is the time before the second attempt, doubled for each further one; zero is half a second.
	PullDelay time.Duration
	Logger    *slog.Logger
}

// Store finds images. Its methods may be called concurrently.
type Store struct {
	cfg     Config
	docker  *dockerEngine
	flights flights

	mu      sync.Mutex
	details map[string]Details // by digest of the target
}

// Details is what a container is made from.
type Details struct {
	Digest  string // of what the name points to
	ChainID string // name of the unpacked file system in the snapshotter
	Config  ocispec.ImageConfig
	Size    int64 // bytes of compressed content
}

// labelDocker on an image says which image ID of the local Docker engine it was copied from.
const labelDocker = "berth.dev/docker-id"

// New makes a Store; it talks to nobody yet.
func New(cfg Config) *Store {
	if cfg.PullAttempts == 0 {
		cfg.PullAttempts = 3
	}
	if cfg.PullDelay == 0 {
		cfg.PullDelay = 500 * time.Millisecond
	}
	return &Store{cfg: cfg, docker: newDockerEngine(cfg.DockerHost), details: map[string]Details{}}
}

// Ensure makes the image available and describes it. Errors are *runtime.PullError, or the context's.
func (s *Store) Ensure(ctx context.Context, req runtime.ImageRequest) (runtime.Image, error) {
	name, err := Normalize(req.Ref)
	if err != nil {
		return runtime.Image{}, &runtime.PullError{
			Ref: req.Ref, Class: runtime.PullInvalid, Err: err,
			Message: fmt.Sprintf("failed to resolve ref %s: invalid reference format", req.Ref),
		}
	}
	// Credentials are part of the key: whoever has none must not wait for the pull of one who has, and then be given it.
	img, err := s.flights.do(ctx, flightKey(name, req), func(ctx context.Context) (runtime.Image, error) {
		return s.find(ctx, name, req)
	})
	if err != nil {
		return runtime.Image{}, err
	}
	img.Ref = req.Ref
	return img, nil
}

func flightKey(name string, req runtime.ImageRequest) string {
	key := name + " " + string(req.Policy)
	if req.Auth == nil {
		return key
	}
	sum := sha256.Sum256([]byte(req.Auth.Username + "\x00" + req.Auth.Password))
	return key + " " + hex.EncodeToString(sum[:])
}

// find goes through the places in the order that the policy asks for.
func (s *Store) find(ctx context.Context, name string, req runtime.ImageRequest) (runtime.Image, error) {
	if req.Policy == runtime.PullPreferCached {
		if img, ok := s.local(ctx, name); ok {
			return img, nil
		}
		return s.pull(ctx, name, req.Auth)
	}
	img, err := s.pull(ctx, name, req.Auth)
	if err == nil || req.Policy == runtime.PullAlways {
		return img, err
	}
	if cached, ok := s.local(ctx, name); ok {
		s.cfg.Logger.WarnContext(ctx, "image pull failed, the image on this host is used", "image", name, "error", err)
		return cached, nil
	}
	return runtime.Image{}, err
}

// local looks on this host: in containerd, then in Docker.
func (s *Store) local(ctx context.Context, name string) (runtime.Image, bool) {
	record, err := s.lookup(ctx, name)
	found := err == nil
	if err != nil && !errdefs.IsNotFound(err) {
		s.cfg.Logger.WarnContext(ctx, "image lookup in containerd failed", "image", name, "error", err)
	}
	if found && record.Labels[labelDocker] == "" {
		if img, err := s.describe(ctx, record, runtime.SourceContainerd); err == nil {
			return img, true
		}
		// Its content is gone or made for another platform: look further.
	}
	id, ok := s.docker.imageID(ctx, name)
	switch {
	case ok && found && record.Labels[labelDocker] == id, !ok && found:
		if img, err := s.describe(ctx, record, runtime.SourceContainerd); err == nil {
			return img, true
		}
	}
	if !ok {
		return runtime.Image{}, false
	}
	img, err := s.copyFromDocker(ctx, name, id)
	if err != nil {
		s.cfg.Logger.WarnContext(ctx, "image could not be copied from the local docker engine", "image", name, "error", err)
		return runtime.Image{}, false
	}
	return img, true
}

// lookup finds a record by name, and a reference by digest under any name that has it: a service pins the digest of
// its image, and an image that was imported is known by its tag only.
func (s *Store) lookup(ctx context.Context, name string) (images.Image, error) {
	service := s.cfg.Client.ImageService()
	record, err := service.Get(ctx, name)
	if err == nil || !errdefs.IsNotFound(err) {
		return record, err
	}
	_, digest := split(name)
	if digest == "" {
		return images.Image{}, err
	}
	same, listErr := service.List(ctx, "target.digest=="+digest)
	if listErr != nil || len(same) == 0 {
		return images.Image{}, err
	}
	_, createErr := service.Create(ctx, images.Image{Name: name, Target: same[0].Target})
	if createErr != nil && !errdefs.IsAlreadyExists(createErr) {
		return images.Image{}, createErr
	}
	return service.Get(ctx, name)
}

// describe unpacks the image where that is still to be done and describes it.
func (s *Store) describe(ctx context.Context, record images.Image, source string) (runtime.Image, error) {
	d, err := s.read(ctx, record.Target)
	if err != nil {
		return runtime.Image{}, err
	}
	if err := s.unpack(ctx, record, d); err != nil {
		return runtime.Image{}, err
	}
	return runtime.Image{
		Name: record.Name, Digest: d.Digest, Source: source, Size: d.Size,
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
	store := s.cfg.Client.ContentStore()
	manifest, err := images.Manifest(ctx, store, target, platforms.Default())
	if err != nil {
		return Details{}, fmt.Errorf("read manifest of %s: %w", target.Digest, err)
	}
	blob, err := content.ReadBlob(ctx, store, manifest.Config)
	if err != nil {
		return Details{}, fmt.Errorf("read image configuration %s: %w", manifest.Config.Digest, err)
	}
	var config ocispec.Image
	if err := json.Unmarshal(blob, &config); err != nil {
		return Details{}, fmt.Errorf("read image configuration %s: %w", manifest.Config.Digest, err)
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

func (s *Store) unpack(ctx context.Context, record images.Image, d Details) error {
	_, err := s.cfg.Client.SnapshotService(s.cfg.Snapshotter).Stat(ctx, d.ChainID)
	if err == nil {
		return nil
	}
	if !errdefs.IsNotFound(err) {
		return fmt.Errorf("look for the unpacked image %s: %w", record.Name, err)
	}
	if err := containerd.NewImage(s.cfg.Client, record).Unpack(ctx, s.cfg.Snapshotter); err != nil {
		return fmt.Errorf("unpack image %s: %w", record.Name, err)
	}
	return nil
}
