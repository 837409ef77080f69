package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"time"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/cgroups"
	"github.com/sirupsen/logrus" //nolint:depguard // containerd's client is given one, to be quiet

	"berth.dev/berth/internal/agent/image"
	"berth.dev/berth/internal/agent/runtime"
)

// Config says which containerd to use and for which Berth instance.
type Config struct {
	// Instance is the ID of the Berth instance: a short word of letters, digits and '-', unique on this host.
	Instance string
	// DataDir is where a private containerd keeps images and containers; it needs to survive a restart of the host.
	DataDir string
	// StateDir is for sockets and for what need not survive a restart of the host; empty is /run/berth/INSTANCE. It must
	// be short: the socket's path has to stay below 108 bytes.
	StateDir string
	// Address of containerd's socket. Empty is /run/containerd/containerd.sock when something answers there, and a
	// private containerd otherwise; AddressPrivate is a private one in any case.
	Address string
	// InitPath is a static program on the host for Spec.Init; it is called as `PROGRAM init -- command…`, which is how
	// berth-helper has it.
	InitPath string
	// Snapshotter and OCIRuntime are chosen when they are empty. OCIRuntime is "crun", "runc" or a path to one of them.
	Snapshotter string
	OCIRuntime  string
	// Images says how images are found; Client, Snapshotter, Disk and Logger are filled in. Images.DockerHost is the local
	// Docker engine.
	Images image.Config
	Logger *slog.Logger
}

// AddressPrivate as Config.Address asks for a private containerd even when the host has one.
const AddressPrivate = "private"

// defaultAddress is where distributions' containerd answers.
const defaultAddress = "/run/containerd/containerd.sock"

// withDefaults fills in what is empty and refuses what cannot work.
func (c Config) withDefaults() (Config, error) {
	if !runtime.ValidID(c.Instance) {
		return c, fmt.Errorf("containerd: instance %q is not usable", c.Instance)
	}
	if c.StateDir == "" {
		c.StateDir = filepath.Join("/run/berth", c.Instance)
	}
	if c.DataDir == "" || !filepath.IsAbs(c.DataDir) || !filepath.IsAbs(c.StateDir) {
		return c, fmt.Errorf("containerd: data directory %q and state directory %q need to be absolute", c.DataDir, c.StateDir)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Runtime implements runtime.Runtime with containerd.
type Runtime struct {
	cfg         Config
	client      *client.Client
	engine      engine
	namespace   string
	snapshotter string
	oci         ociRuntime
	images      *image.Store
	users       users
	cgroupRoot  string // of this instance: /berth/INSTANCE
	silent      *log.Entry

	starting chan struct{} // holds a value for each container that is being started

	// forgotten says that containerd lost a process, or the making of one, to an agent that was killed: a shim may be left.
	forgotten atomic.Bool

	fifo struct {
		mu   sync.Mutex
		dir  string // empty before the first program
		lock *os.File
	}

	quota   sync.Mutex // held while a task's quota is looked at and changed
	copying sync.Mutex // held while volumes are filled, which tasks may share

	mu      sync.Mutex
	entries map[string]*entry
	oomed   map[string]bool // containers that containerd's events said the OOM killer struck
}

var _ runtime.Runtime = (*Runtime)(nil)

// entry is what this process knows about a container beyond what containerd does: who works on it and who waits. It
// exists while anybody does.
type entry struct {
	work    sync.Mutex    // held by Create, Start, Restart and Remove
	users   int           // guarded by Runtime.mu
	changed chan struct{} // guarded by Runtime.mu; closed and replaced when one of them has done something
}

// New finds or starts containerd and removes what an agent that died in the middle of Create left behind. It may be
// called while containers of an earlier agent run; they are adopted by being listed.
func New(ctx context.Context, cfg Config) (*Runtime, error) {
	r, err := open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(r.sweep(r.scoped(ctx)), r.images.Sweep(r.scoped(ctx))); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Import reads an image archive into the containerd of an instance, whose agent may run or not, and returns the names
// that it made; see image.Store.Import.
func Import(ctx context.Context, cfg Config, archive io.Reader, as string) ([]string, error) {
	r, err := open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.Import(ctx, archive, as)
}

func open(ctx context.Context, cfg Config) (*Runtime, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(cfg.StateDir, startedDir), 0o700); err != nil {
		return nil, fmt.Errorf("containerd: make state directory: %w", err)
	}
	eng, err := connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	r := &Runtime{
		cfg: cfg, client: eng.client, engine: eng, namespace: "berth-" + cfg.Instance,
		cgroupRoot: filepath.Join("/berth", cfg.Instance),
		entries:    map[string]*entry{}, oomed: map[string]bool{}, silent: silentLogger(),
		starting: make(chan struct{}, startsPerCore*goruntime.NumCPU()),
	}
	if err := r.choose(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	root, err := contentRoot(r.scoped(ctx), r.client)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	images := cfg.Images
	images.Client, images.Snapshotter, images.Logger = r.client, r.snapshotter, cfg.Logger
	images.Disk = func() (image.Disk, error) { return diskOf(root) }
	r.images = image.New(images)
	return r, nil
}

func silentLogger() *log.Entry {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	return logrus.NewEntry(logger)
}

// choose decides once which OCI runtime and which snapshotter are used.
func (r *Runtime) choose(ctx context.Context) error {
	var err error
	if r.oci, err = chooseOCIRuntime(ctx, r.cfg.OCIRuntime); err != nil {
		return err
	}
	if r.snapshotter = r.cfg.Snapshotter; r.snapshotter == "" {
		r.snapshotter, err = chooseSnapshotter(r.scoped(ctx), r.client)
	}
	return err
}

// chooseSnapshotter prefers overlayfs, which does not work where the data directory is itself an overlay (an agent in
// a container).
func chooseSnapshotter(ctx context.Context, c *client.Client) (string, error) {
	plugins, err := c.IntrospectionService().Plugins(ctx, "type==io.containerd.snapshotter.v1,id==overlayfs")
	if err != nil {
		return "", fmt.Errorf("containerd: ask for snapshotters: %w", err)
	}
	for _, p := range plugins.Plugins {
		if p.InitErr == nil {
			return "overlayfs", nil
		}
	}
	return "native", nil
}

// Close ends the connection to containerd. Containers go on.
func (r *Runtime) Close() error { return errors.Join(r.endFIFOs(), r.client.Close()) }

// Run watches containerd's events until ctx ends, and starts a private containerd again when it has died.
func (r *Runtime) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		r.follow(r.scoped(ctx))
		if ctx.Err() != nil {
			break
		}
		if err := r.engine.revive(ctx, r.cfg); err != nil && ctx.Err() == nil {
			r.cfg.Logger.ErrorContext(ctx, "containerd does not answer", "address", r.engine.address, "error", err)
			pause(ctx, time.Second)
		}
	}
	return ctx.Err()
}

// pause waits for d or for ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// scoped puts a context into the instance's namespace, and silences containerd's library, which writes to a logger of
// its own what it returns as an error too.
func (r *Runtime) scoped(ctx context.Context) context.Context {
	return log.WithLogger(namespaces.WithNamespace(ctx, r.namespace), r.silent)
}

// EnsureImage implements runtime.Runtime.
func (r *Runtime) EnsureImage(ctx context.Context, req runtime.ImageRequest) (runtime.Image, error) {
	return r.images.Ensure(r.scoped(ctx), req)
}

// CollectImages removes unused images while the disk is under pressure, until ctx ends; see image.Store.Run.
func (r *Runtime) CollectImages(ctx context.Context, inUse func() []string) error {
	return r.images.Run(r.scoped(ctx), inUse)
}

// Import reads an image archive; see image.Store.Import.
func (r *Runtime) Import(ctx context.Context, archive io.Reader, as string) ([]string, error) {
	return r.images.Import(r.scoped(ctx), archive, as)
}

// Info implements runtime.Runtime.
func (r *Runtime) Info(ctx context.Context) (runtime.Info, error) {
	version, err := r.client.Version(r.scoped(ctx))
	if err != nil {
		return runtime.Info{}, fmt.Errorf("containerd: ask for its version: %w", err)
	}
	_, seccompErr := os.Stat("/proc/sys/kernel/seccomp")
	info := runtime.Info{
		Name: "containerd", Version: version.Version, Address: r.engine.address, Private: r.engine.private,
		OCIRuntime: r.oci.name, OCIPath: r.oci.path, OCIReason: r.oci.reason,
		CgroupVersion: 1, Snapshotter: r.snapshotter, SeccompEnabled: seccompErr == nil,
	}
	if cgroups.IsCgroup2UnifiedMode() {
		info.CgroupVersion = 2
	}
	return info, nil
}

// use returns the container's entry and what gives it back.
func (r *Runtime) use(id string) (e *entry, release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[id]
	if !ok {
		e = &entry{changed: make(chan struct{})}
		r.entries[id] = e
	}
	e.users++
	return e, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if e.users--; e.users == 0 {
			delete(r.entries, id)
		}
	}
}

// lock serialises work on one container; the function it returns wakes everybody who waits for something to happen.
func (r *Runtime) lock(id string) (unlock func()) {
	e, release := r.use(id)
	e.work.Lock()
	return func() {
		r.mu.Lock()
		close(e.changed)
		e.changed = make(chan struct{})
		r.mu.Unlock()
		e.work.Unlock()
		release()
	}
}

// next returns a channel that is closed when something happens to the container.
func (r *Runtime) next(e *entry) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return e.changed
}

// sweep removes snapshots, marks and shims that belong to no container.
func (r *Runtime) sweep(ctx context.Context) error {
	records, err := r.client.ContainerService().List(ctx)
	if err != nil {
		return fmt.Errorf("containerd: list containers: %w", err)
	}
	known, knownTasks := map[string]bool{}, map[string]bool{}
	for _, c := range records {
		known[c.ID], knownTasks[c.Labels[labelTask]] = true, true
	}
	if err := r.sweepExecs(ctx); err != nil {
		return err
	}
	if err := r.sweepShims(ctx, known, knownTasks); err != nil {
		return err
	}
	if err := r.sweepViews(); err != nil {
		return fmt.Errorf("containerd: remove views: %w", err)
	}
	service := r.client.SnapshotService(r.snapshotter)
	var orphans []string
	err = service.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if _, ours := info.Labels[labelSnapshot]; ours && info.Kind != snapshots.KindCommitted && !known[info.Name] {
			orphans = append(orphans, info.Name)
		}
		return nil
	})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("containerd: list snapshots: %w", err)
	}
	for _, name := range orphans {
		if err := service.Remove(ctx, name); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("containerd: remove orphaned snapshot %s: %w", name, err)
		}
	}
	return r.sweepMarks(known)
}
