package node

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"

	"berth.dev/berth/internal/agent/volume"
	"berth.dev/berth/internal/app/instance"
	"berth.dev/berth/internal/model"
)

// VolumeConfig says what a node's volumes are made of.
type VolumeConfig struct {
	// EFS and EFSAccessPoints name file systems: see volume.ParseFileSystems.
	EFS, EFSAccessPoints []string
	// EBS says where EBS volumes are made.
	EBS volume.EBSConfig
}

// Check refuses what cannot be read.
func (c VolumeConfig) Check() error {
	if c.EBS.Dir != "" && !filepath.IsAbs(c.EBS.Dir) {
		return fmt.Errorf("the directory for EBS volumes, %s, is not an absolute path", c.EBS.Dir)
	}
	_, err := volume.ParseFileSystems(c.EFS, c.EFSAccessPoints)
	return err
}

// volumes makes the volumes of tasks, and says what became of those that were
// to be deleted.
type volumes struct {
	*volume.Manager
	systems volume.FileSystems
	// report is set by connect.
	report func(kind, key string, body []byte)
}

func newVolumes(cfg Config) (*volumes, error) {
	v := &volumes{}
	var err error
	if v.systems, err = volume.ParseFileSystems(cfg.Volumes.EFS, cfg.Volumes.EFSAccessPoints); err != nil {
		return nil, err
	}
	config := volumeConfig(cfg.Instance, cfg.Log)
	config.EBS, config.FileSystems, config.Report = cfg.Volumes.EBS, v.systems, v.deleted
	v.Manager, err = volume.New(config)
	return v, err
}

func volumeConfig(i instance.Instance, log *slog.Logger) volume.Config {
	return volume.Config{Instance: i.ID, Dir: i.Path("agent", "volumes"), Log: room(log, "agent/volume")}
}

// deleted tells the control plane that nothing of a volume is left.
func (v *volumes) deleted(id string, gone bool) {
	if !gone {
		v.report(model.ObservedVolume, id, nil)
		return
	}
	body, err := json.Marshal(model.VolumeObserved{Deleted: true})
	if err != nil {
		panic("node: an observation does not marshal: " + err.Error()) // it is a struct of a boolean
	}
	v.report(model.ObservedVolume, id, body)
}

// purgeVolumes removes everything of an instance's volumes.
func purgeVolumes(ctx context.Context, i instance.Instance, log *slog.Logger) error {
	return volume.Purge(ctx, volumeConfig(i, log))
}
