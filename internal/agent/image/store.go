package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"
	"time"

	containerd "github.com/containerd/containerd/v2/client"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/rules/imageref"
)

// Config says where a Store works. Contexts given to its methods carry the containerd namespace.
type Config struct {
	Client      *containerd.Client
	Snapshotter string
	// DockerHost is the local Docker engine ("unix:///var/run/docker.sock"); empty is DOCKER_HOST or Docker's default
	// socket, and "none" is no Docker.
	DockerHost string
	// Policy is what requests mean that have none; empty is runtime.PullDefault.
	Policy runtime.PullPolicy
	// Registry is the control plane's own; nil: names of ECR are pulled as any others.
	Registry Registry
	// RegistryConfig is a directory with a hosts.toml for each registry, as containerd reads it; empty is none.
	RegistryConfig string
	// MaxSize is how many bytes an image may have, unpacked; zero is no limit.
	MaxSize int64
	// Disk looks at the disk with containerd's content; nil: it is never full.
	Disk func() (Disk, error)
	// Collection is when unused images are removed.
	Collection Collection
	// PullAttempts is how often a pull whose failure may pass is tried while it gets nowhere; zero is 5.
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
	details map[string]Details   // by digest of the target
	away    map[string]time.Time // registries that did not answer, and when
	inUse   func() []string      // what tasks hold; nil: not known yet
	// taken is when a digest was last returned by Ensure.
	taken map[string]time.Time

	// collecting is held by who removes an image, and shared by who finds one: what was found is taken before it can go.
	collecting sync.RWMutex
}

// New makes a Store; it talks to nobody yet.
func New(cfg Config) *Store {
	if cfg.PullAttempts == 0 {
		cfg.PullAttempts = 5
	}
	if cfg.PullDelay == 0 {
		cfg.PullDelay = 500 * time.Millisecond
	}
	if cfg.Policy == "" {
		cfg.Policy = runtime.PullDefault
	}
	cfg.Collection = cfg.Collection.withDefaults()
	return &Store{
		cfg: cfg, docker: newDockerEngine(cfg.DockerHost),
		details: map[string]Details{}, away: map[string]time.Time{}, taken: map[string]time.Time{},
	}
}

// Ensure makes the image available and describes it. Errors are *runtime.PullError, or the context's.
func (s *Store) Ensure(ctx context.Context, req runtime.ImageRequest) (runtime.Image, error) {
	name, err := imageref.Parse(req.Ref)
	if err != nil {
		return runtime.Image{}, &runtime.PullError{
			Ref: req.Ref, Class: runtime.PullInvalid, Err: err,
			Message: fmt.Sprintf("failed to resolve ref %s: invalid reference format", req.Ref),
		}
	}
	if req.Digest != "" {
		name.Digest = req.Digest
	}
	w := want{name: name, auth: req.Auth, policy: req.Policy}
	if w.ref = w.tagged(); name.Digest != "" {
		w.ref = name.Pinned(name.Digest)
	}
	if w.policy == "" {
		w.policy = s.cfg.Policy
	}
	who := &asker{taskID: req.TaskID, container: req.Container, progress: req.Progress}
	img, err := s.flights.do(ctx, w.key(), who, func(ctx context.Context, fl *flight) (runtime.Image, error) {
		w.flight = fl
		return s.find(ctx, &w)
	})
	if err != nil {
		return runtime.Image{}, err
	}
	img.Ref = req.Ref
	return img, nil
}

// tagged is the name by which another engine knows the image: with its tag, when it has one.
func (w *want) tagged() string {
	if w.name.Tag == "" {
		return w.ref
	}
	return w.name.Host + "/" + w.name.Repository + ":" + w.name.Tag
}

// key is the same for requests that may share a pull. Credentials are part of it: whoever has none must not wait for the
// pull of one who has, and then be given it. The control plane's registry knows none; there each task was allowed to
// pull before it asks here.
func (w *want) key() string {
	key := w.ref + " " + string(w.policy)
	if w.auth == nil {
		return key
	}
	sum := sha256.Sum256([]byte(w.auth.Username + "\x00" + w.auth.Password))
	return key + " " + hex.EncodeToString(sum[:])
}

// disk looks at the disk, when there is anything to look at.
func (s *Store) disk() (Disk, error) {
	if s.cfg.Disk == nil {
		return Disk{}, nil
	}
	return s.cfg.Disk()
}
