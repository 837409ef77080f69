package volume

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/mount"

	"berth.dev/berth/internal/base/atomicfile"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/taskspec"
)

// localData is the directory of a volume's content, as Docker calls it.
const localData = "_data"

func isLocal(c *model.DockerVolumeConfiguration) bool { return c.Driver == "" || c.Driver == "local" }

func isShared(c *model.DockerVolumeConfiguration) bool { return c.Scope == taskspec.ScopeShared }

func autoprovision(c *model.DockerVolumeConfiguration) bool {
	return c.Autoprovision != nil && *c.Autoprovision
}

// dockerName is what Docker would call the volume: a shared one's own name, or
// as the ECS agent names those of a task (behaviour/task-definitions.md §6).
func dockerName(a *model.Assignment, v *model.Volume) string {
	if isShared(v.DockerVolumeConfiguration) {
		return v.Name
	}
	sum := sha256.Sum256([]byte(a.Task.ID + "/" + v.Name))
	return fmt.Sprintf("ecs-%s-%d-%s-%s", a.TaskDefinition.Family, a.TaskDefinition.Revision, v.Name, hex.EncodeToString(sum[:])[:20])
}

// localDir is where a volume of the driver "local" is.
func (m *Manager) localDir(taskID string, v *model.Volume) string {
	return m.localOf(taskID, v.Name, isShared(v.DockerVolumeConfiguration))
}

func (m *Manager) localOf(taskID, name string, shared bool) string {
	if shared {
		return filepath.Join(m.cfg.Dir, "docker", "shared", name)
	}
	return filepath.Join(m.cfg.Dir, "docker", "task", taskID, name)
}

func (m *Manager) prepareDocker(ctx context.Context, a *model.Assignment, v *model.Volume) error {
	c := v.DockerVolumeConfiguration
	var err error
	if isLocal(c) {
		err = m.prepareLocal(a, v)
	} else {
		err = m.prepareDriver(ctx, a, v)
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("CannotCreateVolumeError: %w", err)
	}
	return err
}

// local is what is known of a volume of the driver "local".
type local struct {
	Name    string            `json:"name"`
	Options map[string]string `json:"options,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
}

// prepareLocal makes a volume of the driver "local", and mounts it if its
// options say what.
func (m *Manager) prepareLocal(a *model.Assignment, v *model.Volume) error {
	c := v.DockerVolumeConfiguration
	wanted := local{Name: dockerName(a, v), Options: c.DriverOpts, Labels: c.Labels}
	options, err := parseLocal(c.DriverOpts)
	if err != nil {
		return err
	}
	dir := m.localDir(a.Task.ID, v)
	defer m.share(dir)()
	have, found, err := readLocal(dir)
	if err != nil {
		return err
	}
	if isShared(c) {
		if err := checkShared(c, v.Name, have, found); err != nil {
			return err
		}
		if !autoprovision(c) {
			// The one that is there is what the user asked for, whatever it is.
			if options, err = parseLocal(have.Options); err != nil {
				return err
			}
		}
	}
	if !found {
		if err := writeLocal(dir, wanted); err != nil {
			return err
		}
	}
	data := filepath.Join(dir, localData)
	if err := os.MkdirAll(data, 0o755); err != nil { //nolint:gosec // containers of any user read volumes
		return err
	}
	if options == nil {
		return nil
	}
	if there, err := mounted(data); err != nil || there {
		return err
	}
	if err := m.cfg.Mount(*options, data); err != nil {
		return fmt.Errorf("error while mounting volume '%s': failed to mount local volume: %w", data, err)
	}
	return nil
}

// checkShared compares a shared volume with the one that is there, in the ECS
// agent's words [AG].
func checkShared(c *model.DockerVolumeConfiguration, name string, have local, found bool) error {
	auto := autoprovision(c)
	switch {
	case !auto && !found:
		return fmt.Errorf("initialize volume: volume detection failed, volume '%s' does not exist and autoprovision is set to false", name)
	case !auto || !found:
		return nil
	case !maps.Equal(have.Labels, c.Labels):
		return fmt.Errorf("initialize volume: non-autoprovisioned volume does not match existing volume labels: existing: %v, expected: %v", have.Labels, c.Labels)
	case !maps.Equal(have.Options, c.DriverOpts):
		return fmt.Errorf("initialize volume: non-autoprovisioned volume does not match existing volume options: existing: %v, expected: %v", have.Options, c.DriverOpts)
	}
	return nil
}

func readLocal(dir string) (l local, found bool, err error) {
	data, err := os.ReadFile(filepath.Join(dir, "volume.json"))
	if err == nil {
		err = json.Unmarshal(data, &l)
		return l, err == nil, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return l, false, err
	}
	// An operator may make a shared volume by making its directory.
	if _, err := os.Stat(filepath.Join(dir, localData)); err == nil {
		return local{}, true, nil
	}
	return l, false, nil
}

func writeLocal(dir string, l local) error {
	if err := os.MkdirAll(dir, 0o711); err != nil { //nolint:gosec // containers reach their volumes below
		return err
	}
	data, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return atomicfile.WriteSecret(filepath.Join(dir, "volume.json"), data)
}

// parseLocal reads the options of Docker's driver "local"; nil: the volume is
// a directory. The texts are Docker's.
func parseLocal(opts map[string]string) (*mount.Mount, error) {
	if len(opts) == 0 {
		return nil, nil
	}
	for name := range opts {
		switch name {
		case "type", "device", "o":
		case "size":
			return nil, errors.New("quota size requested but no quota support")
		default:
			return nil, fmt.Errorf("invalid option: %q", name)
		}
	}
	for _, name := range []string{"device", "type"} {
		if opts[name] == "" {
			return nil, fmt.Errorf("missing required option: %q", name)
		}
	}
	return mountOf(opts["type"], opts["device"], opts["o"])
}

// releaseLocal unmounts a volume that nobody uses any more, and removes one of
// scope task.
func (m *Manager) releaseLocal(taskID string, v used) error {
	dir := m.localOf(taskID, v.Name, v.Shared)
	defer m.share(dir)()
	if v.Shared {
		busy, err := m.others(taskID, func(o used) bool { return o.Docker && o.Shared && o.Driver == "" && o.Name == v.Name })
		if err != nil || busy {
			return err
		}
		return detach(filepath.Join(dir, localData))
	}
	if err := detach(filepath.Join(dir, localData)); err != nil {
		return err
	}
	return removeAll(dir)
}
