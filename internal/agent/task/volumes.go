package task

import (
	"context"
	"errors"

	"berth.dev/berth/internal/agent/volume"
	"berth.dev/berth/internal/model"
)

// Volumes makes the volumes that are more than a directory of the task or of
// the host. The text of an error is what the user reads as stopped reason.
type Volumes interface {
	// Path is where a volume is when Prepare has returned; false: it is a
	// directory of the task or of the host. It depends on the assignment alone.
	Path(a *model.Assignment, v *model.Volume) (path string, ok bool)
	// Prepare makes all of a task's. It is idempotent.
	Prepare(ctx context.Context, a *model.Assignment) error
	// Resume reports whether what Prepare made is still there: it is not when the
	// host was restarted.
	Resume(a *model.Assignment) bool
	// Release takes everything of a task away, Sweep everything of tasks that
	// are not known.
	Release(ctx context.Context, taskID string) error
	Sweep(ctx context.Context, known map[string]bool) error
}

// noVolumes is what a node has that makes none.
type noVolumes struct{}

func (noVolumes) Path(*model.Assignment, *model.Volume) (string, bool) { return "", false }
func (noVolumes) Prepare(_ context.Context, a *model.Assignment) error {
	if volume.Needed(&a.TaskDefinition) {
		return errNoVolumes
	}
	return nil
}
func (noVolumes) Resume(*model.Assignment) bool                { return true }
func (noVolumes) Release(context.Context, string) error        { return nil }
func (noVolumes) Sweep(context.Context, map[string]bool) error { return nil }

var errNoVolumes = errors.New("CannotCreateVolumeError: this node runs tasks with host volumes and empty ones only")

// volumeDir is where a volume is, and whether it starts with what the image has
// in its place, as empty volumes and Docker's do.
func (l layout) volumeDir(a *model.Assignment, v *model.Volume) (dir string, fillsUp bool) {
	if path, ok := l.volumes.Path(a, v); ok {
		return path, volume.FillsUp(v)
	}
	if v.Host != nil && v.Host.SourcePath != "" {
		return v.Host.SourcePath, false
	}
	return l.volume(a.Task.ID, v.Name), true
}

// adoptVolumes has volumes made again that a restart of the host took away. Its
// containers have ended then, but those that were not started yet may be.
func (r *runner) adoptVolumes() {
	if !r.s.Prepared || r.s.Released || r.e.cfg.Volumes.Resume(&r.a) {
		return
	}
	s := r.s.clone()
	s.Prepared = false
	r.commit(s)
}
