package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/v2/core/mount"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/model"
)

// Config is what a Manager is made of. Dir, Instance and Log are required.
type Config struct {
	// Instance is the ID of the Berth instance; it is part of the names of what
	// is outside of Dir.
	Instance string
	// Dir is where volumes and what is known of them are kept.
	Dir string
	// EBS says where EBS volumes are made.
	EBS EBSConfig
	// FileSystems are the EFS file systems that the operator names.
	FileSystems FileSystems
	// Plugins are the directories in which Docker's volume plugins are looked
	// for; nil: Docker's own.
	Plugins []string
	// Report is told that nothing of an EBS volume is left that a document
	// wanted deleted, and with false that the document is gone. It must not
	// block. Nil: nobody is told.
	Report func(volumeID string, deleted bool)
	Log    *slog.Logger

	// Mount makes a mount; nil: the kernel does.
	Mount func(m mount.Mount, target string) error
	// Command runs a program of the host, such as mkfs.ext4, and returns what it
	// wrote; nil: os/exec does.
	Command func(ctx context.Context, name string, args ...string) (string, error)
}

// Manager makes and removes volumes. Different tasks' may be worked on at the
// same time.
type Manager struct {
	cfg Config
	ebs blocks

	mu sync.Mutex
	// shared has a lock for each thing that tasks share and somebody works on,
	// so that a server that does not answer delays nobody but its own clients.
	shared  map[string]*lock
	deleted map[string]bool // volumes that documents wanted deleted and that are gone
}

// lock is held while it is decided who else uses what tasks share.
type lock struct {
	sync.Mutex
	users int // guarded by Manager.mu
}

// share locks a thing that tasks share.
func (m *Manager) share(thing string) (unlock func()) {
	m.mu.Lock()
	l, ok := m.shared[thing]
	if !ok {
		l = &lock{}
		m.shared[thing] = l
	}
	l.users++
	m.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		m.mu.Lock()
		defer m.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(m.shared, thing)
		}
	}
}

// New returns a Manager. What an earlier agent made is as it was.
func New(cfg Config) (*Manager, error) {
	if cfg.Mount == nil {
		cfg.Mount = func(m mount.Mount, target string) error { return m.Mount(target) }
	}
	if cfg.Command == nil {
		cfg.Command = run
	}
	if cfg.Plugins == nil {
		cfg.Plugins = []string{"/run/docker/plugins", "/etc/docker/plugins", "/usr/lib/docker/plugins"}
	}
	if cfg.Report == nil {
		cfg.Report = func(string, bool) {}
	}
	if err := os.MkdirAll(cfg.Dir, 0o711); err != nil { //nolint:gosec // as everything below it
		return nil, err
	}
	var err error
	// The kernel names mount points without symbolic links.
	if cfg.Dir, err = filepath.EvalSymlinks(cfg.Dir); err != nil {
		return nil, err
	}
	m := &Manager{cfg: cfg, shared: map[string]*lock{}, deleted: map[string]bool{}}
	for _, dir := range []string{"tasks", "mounts"} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, dir), 0o711); err != nil { //nolint:gosec // containers reach their volumes below
			return nil, err
		}
	}
	m.ebs, err = m.openBlocks()
	return m, err
}

// run runs a program of the host.
func run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return string(out), err
}

// Path is where a volume of a task is when Prepare has returned; false: the
// volume is not of this package. It is a function of the assignment alone.
func (m *Manager) Path(a *model.Assignment, v *model.Volume) (string, bool) {
	switch c := v.DockerVolumeConfiguration; {
	case c != nil && isLocal(c):
		return m.localDir(a.Task.ID, v) + "/" + localData, true
	case c != nil, v.EFSVolumeConfiguration != nil, isEBS(v):
		return m.mountPoint(a.Task.ID, v.Name), true
	}
	return "", false
}

// FillsUp reports whether a volume starts with what the image has in its place:
// Docker's do.
func FillsUp(v *model.Volume) bool { return v.DockerVolumeConfiguration != nil }

// Needed reports whether a task has volumes of this package.
func Needed(def *model.TaskDefinition) bool {
	for i := range def.Volumes {
		v := &def.Volumes[i]
		if v.DockerVolumeConfiguration != nil || v.EFSVolumeConfiguration != nil || isEBS(v) {
			return true
		}
	}
	return false
}

func isEBS(v *model.Volume) bool { return v.ConfiguredAtLaunch != nil && *v.ConfiguredAtLaunch }

func (m *Manager) mountPoint(taskID, volume string) string {
	return filepath.Join(m.cfg.Dir, "mounts", taskID, volume)
}

// Prepare makes every volume of a task. It may be repeated, whatever became of
// an earlier call. The text of its error is what the user reads as stopped
// reason.
func (m *Manager) Prepare(ctx context.Context, a *model.Assignment) error {
	if !Needed(&a.TaskDefinition) {
		return nil
	}
	rec, err := m.plan(a)
	if err != nil {
		return err
	}
	if err := m.save(rec); err != nil {
		return fmt.Errorf("CannotCreateVolumeError: writing down the task's volumes: %w", err)
	}
	for i := range a.TaskDefinition.Volumes {
		v := &a.TaskDefinition.Volumes[i]
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var err error
		switch {
		case v.DockerVolumeConfiguration != nil:
			err = m.prepareDocker(ctx, a, v)
		case v.EFSVolumeConfiguration != nil:
			err = m.prepareEFS(a, v)
		case isEBS(v):
			err = m.prepareEBS(ctx, a, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Resume reports whether all volumes of a task that was prepared are still
// there: they are not when the host was restarted.
func (m *Manager) Resume(a *model.Assignment) bool {
	for i := range a.TaskDefinition.Volumes {
		v := &a.TaskDefinition.Volumes[i]
		path, ours := m.Path(a, v)
		if !ours {
			continue
		}
		c := v.DockerVolumeConfiguration
		if c != nil && isLocal(c) && len(c.DriverOpts) == 0 {
			if _, err := os.Stat(path); err != nil {
				return false
			}
			continue
		}
		if there, err := mounted(path); err != nil || !there {
			return false
		}
	}
	return true
}

// Release takes away what a task has: its mounts, its volumes of scope task,
// its EBS volume unless that is kept. Releasing what is not there succeeds.
func (m *Manager) Release(ctx context.Context, taskID string) error {
	rec, err := m.load(taskID)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var later []error
	for _, v := range rec.Volumes {
		if err := m.unmount(m.mountPoint(taskID, v.Name)); err != nil {
			return err
		}
		switch {
		case v.Driver != "":
			// A driver that fails keeps no task from ending: the volume stays in
			// the record, and the next agent tries again.
			if err := m.releaseDriver(ctx, taskID, v); err != nil {
				later = append(later, fmt.Errorf("volume %s: %w", v.Name, err))
			}
		case v.Docker:
			err = m.releaseLocal(taskID, v)
		case v.FileSystem != "":
			err = m.releaseFileSystem(taskID, v.FileSystem)
		case v.VolumeID != "" && !v.Keep:
			err = m.ebs.remove(ctx, v.VolumeID)
		}
		if err != nil {
			return fmt.Errorf("releasing volume %s: %w", v.Name, err)
		}
	}
	if err := m.removeEmpty(filepath.Join(m.cfg.Dir, "mounts", taskID)); err != nil {
		return err
	}
	if err := m.removeEmpty(filepath.Join(m.cfg.Dir, "docker", "task", taskID)); err != nil {
		return err
	}
	if len(later) > 0 && ctx.Err() == nil {
		m.cfg.Log.WarnContext(ctx, "a volume driver did not give up its volume; the next agent tries again",
			telemetry.TaskID, taskID, telemetry.Error, errors.Join(later...))
		return nil
	}
	return m.forget(taskID)
}

// Sweep releases the volumes of tasks that are not known, and removes what an
// agent that was killed had half made. It is for the start of an agent: no task
// is worked on meanwhile.
func (m *Manager) Sweep(ctx context.Context, known map[string]bool) error {
	if err := m.ebs.tidy(ctx); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(m.cfg.Dir, "tasks"))
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if id, ok := taskOf(e.Name()); ok && !known[id] {
			errs = append(errs, m.Release(ctx, id))
		}
	}
	return errors.Join(errs...)
}
