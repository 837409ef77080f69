package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"berth.dev/berth/internal/base/atomicfile"
	"berth.dev/berth/internal/model"
)

// record is what a task uses, as it is on disk before any of it is made.
type record struct {
	TaskID  string `json:"taskId"`
	Volumes []used `json:"volumes"`
}

// used is one volume of a task.
type used struct {
	Name string `json:"name"`

	// Of a Docker volume. Driver is empty for "local".
	Docker     bool   `json:"docker,omitempty"`
	Shared     bool   `json:"shared,omitempty"`
	Driver     string `json:"driver,omitempty"`
	DockerName string `json:"dockerName,omitempty"` // as the driver knows it

	// FileSystem is the EFS file system, when the node mounts it for its tasks.
	FileSystem string `json:"fileSystem,omitempty"`

	VolumeID string `json:"volumeId,omitempty"` // EBS
	Keep     bool   `json:"keep,omitempty"`
}

// plan says what a task will use.
func (m *Manager) plan(a *model.Assignment) (record, error) {
	rec := record{TaskID: a.Task.ID}
	for i := range a.TaskDefinition.Volumes {
		v := &a.TaskDefinition.Volumes[i]
		switch c := v.DockerVolumeConfiguration; {
		case c != nil:
			u := used{Name: v.Name, Docker: true, Shared: isShared(c), DockerName: dockerName(a, v)}
			if !isLocal(c) {
				u.Driver = c.Driver
			}
			rec.Volumes = append(rec.Volumes, u)
		case v.EFSVolumeConfiguration != nil:
			u := used{Name: v.Name}
			if fs, known := m.cfg.FileSystems.byID[v.EFSVolumeConfiguration.FileSystemID]; known && fs.server != "" {
				u.FileSystem = fs.id
			}
			rec.Volumes = append(rec.Volumes, u)
		case isEBS(v):
			if a.Task.Volume == nil || a.Task.Volume.Name != v.Name || !validVolumeID(a.Task.Volume.VolumeID) {
				return rec, fmt.Errorf("ResourceInitializationError: the task has no configuration for the volume %s", v.Name)
			}
			rec.Volumes = append(rec.Volumes, used{Name: v.Name, VolumeID: a.Task.Volume.VolumeID, Keep: a.Task.Volume.KeepOnTermination})
		}
	}
	return rec, nil
}

func (m *Manager) recordPath(taskID string) string {
	return filepath.Join(m.cfg.Dir, "tasks", taskID+".json")
}

func taskOf(file string) (taskID string, ok bool) { return strings.CutSuffix(file, ".json") }

func (m *Manager) save(rec record) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	return atomicfile.WriteSecret(m.recordPath(rec.TaskID), data)
}

func (m *Manager) load(taskID string) (record, error) {
	var rec record
	data, err := os.ReadFile(m.recordPath(taskID))
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		return rec, fmt.Errorf("reading the volumes of task %s: %w", taskID, err)
	}
	rec.TaskID = taskID
	return rec, nil
}

func (m *Manager) forget(taskID string) error {
	if err := os.Remove(m.recordPath(taskID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// others tells whether a task besides this one uses something.
func (m *Manager) others(taskID string, uses func(used) bool) (bool, error) {
	entries, err := os.ReadDir(filepath.Join(m.cfg.Dir, "tasks"))
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		id, ok := taskOf(e.Name())
		if !ok || id == taskID {
			continue
		}
		rec, err := m.load(id)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has just been released
		}
		if err != nil {
			return false, err
		}
		for _, v := range rec.Volumes {
			if uses(v) {
				return true, nil
			}
		}
	}
	return false, nil
}
