package task_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"berth.dev/berth/internal/model"
)

// memVolumes plays agent/volume.
type memVolumes struct {
	mu    sync.Mutex
	there map[string]bool // tasks whose volumes are made
	slow  bool            // making them waits until the task stops
	err   error
}

func (v *memVolumes) Path(a *model.Assignment, vol *model.Volume) (string, bool) {
	return "/mounts/" + a.Task.ID + "/" + vol.Name, vol.EFSVolumeConfiguration != nil || vol.ConfiguredAtLaunch != nil
}

func (v *memVolumes) Prepare(ctx context.Context, a *model.Assignment) error {
	if v.slow {
		<-ctx.Done()
		return ctx.Err()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.there[a.Task.ID] = v.err == nil
	return v.err
}

func (v *memVolumes) Resume(a *model.Assignment) bool { return v.has(a.Task.ID) }

func (v *memVolumes) has(taskID string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.there[taskID]
}

func (v *memVolumes) Release(_ context.Context, taskID string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.there, taskID)
	return nil
}

func (v *memVolumes) Sweep(_ context.Context, known map[string]bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for id := range v.there {
		if !known[id] {
			delete(v.there, id)
		}
	}
	return nil
}

func withVolumes(id string) model.Assignment {
	a := one(id)
	a.Task.Volume = &model.TaskVolume{Name: "ebs", VolumeID: "vol-1"}
	a.TaskDefinition.Volumes = []model.Volume{
		{Name: "efs", EFSVolumeConfiguration: &model.EFSVolumeConfiguration{}}, {Name: "ebs", ConfiguredAtLaunch: new(true)},
	}
	a.TaskDefinition.ContainerDefinitions[0].MountPoints = []model.MountPoint{
		{SourceVolume: "efs", ContainerPath: "/efs", ReadOnly: new(true)}, {SourceVolume: "ebs", ContainerPath: "/ebs"},
	}
	return a
}

// inVolumes runs f with a node that makes volumes.
func inVolumes(t *testing.T, f func(t *testing.T, h *host)) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.stop()
		h.volumes = &memVolumes{there: map[string]bool{}}
		h.begin()
		f(t, h)
		h.stop()
	})
}

func TestEngine_MakesVolumesAndTakesThemAway(t *testing.T) {
	inVolumes(t, func(t *testing.T, h *host) {
		a := withVolumes("t1")
		h.engine.Assign([]model.Assignment{a}, true)
		time.Sleep(time.Minute)
		if o := h.last("t1"); o.Status != model.TaskRunning || !o.VolumesMounted || !h.volumes.has("t1") {
			t.Fatalf("%+v", o)
		}
		spec, _ := h.world.Spec(a.Task.Containers[0].RuntimeID)
		var mounts []string
		for _, m := range spec.Mounts {
			if strings.HasPrefix(m.Source, "/mounts/") {
				mounts = append(mounts, m.Source+" "+m.Target)
				if m.CopyUp || m.ReadOnly != (m.Target == "/efs") {
					t.Errorf("%+v", m)
				}
			}
		}
		if want := []string{"/mounts/t1/ebs /ebs", "/mounts/t1/efs /efs"}; !slices.Equal(mounts, want) {
			t.Errorf("mounts %v", mounts)
		}
		h.restart(a) // the next agent makes nothing again
		time.Sleep(time.Minute)
		if o := h.last("t1"); o.Status != model.TaskRunning || !o.VolumesMounted {
			t.Errorf("after a restart: %+v", o)
		}
		a.Task.DesiredStatus = model.TaskStopped
		h.engine.Assign([]model.Assignment{a}, true)
		time.Sleep(time.Minute)
		if o := h.last("t1"); o.Status != model.TaskStopped || o.VolumesMounted || h.volumes.has("t1") {
			t.Errorf("at the end: %+v", o)
		}
	})
}

func TestEngine_VolumesThatCannotBeMade(t *testing.T) {
	inVolumes(t, func(t *testing.T, h *host) {
		h.volumes.err = errors.New("ResourceInitializationError: failed to invoke EFS utils commands")
		h.engine.Assign([]model.Assignment{withVolumes("t1")}, true)
		time.Sleep(time.Minute)
		if o := h.last("t1"); o.Status != model.TaskStopped || o.StopCode != model.StopTaskFailedToStart || o.StoppedReason != h.volumes.err.Error() {
			t.Errorf("%+v", o)
		}
	})
}

func TestEngine_StopsWhileVolumesAreMade(t *testing.T) {
	inVolumes(t, func(t *testing.T, h *host) {
		h.volumes.slow = true
		a := withVolumes("t1")
		h.engine.Assign([]model.Assignment{a}, true)
		time.Sleep(time.Minute)
		a.Task.DesiredStatus = model.TaskStopped
		h.engine.Assign([]model.Assignment{a}, true)
		time.Sleep(time.Minute)
		if o := h.last("t1"); o.Status != model.TaskStopped {
			t.Errorf("%+v", o)
		}
	})
}
