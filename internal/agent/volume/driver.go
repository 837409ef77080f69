package volume

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/mount"

	"berth.dev/berth/internal/model"
)

// prepareDriver makes a volume of a driver that is not Berth's own, has the
// driver mount it for the task, and binds it to where the task looks for it.
func (m *Manager) prepareDriver(ctx context.Context, a *model.Assignment, v *model.Volume) error {
	target := m.mountPoint(a.Task.ID, v.Name)
	if there, err := mounted(target); err != nil || there {
		return err // asking again would count the task twice
	}
	c := v.DockerVolumeConfiguration
	p, err := findPlugin(ctx, m.cfg.Plugins, c.Driver)
	if err != nil {
		return err
	}
	defer p.close()
	name := dockerName(a, v)
	if err := provide(ctx, p, v, name); err != nil {
		return err
	}
	source, err := p.mount(ctx, name, a.Task.ID)
	if err != nil {
		return fmt.Errorf("error while mounting volume '%s': VolumeDriver.Mount: %w", name, err)
	}
	if source == "" {
		return fmt.Errorf("error while mounting volume '%s': the driver %s did not say where it is", name, c.Driver)
	}
	if err := makeMountPoint(target); err != nil {
		return err
	}
	return m.cfg.Mount(mount.Mount{Type: "bind", Source: source, Options: []string{"rbind"}}, target)
}

// provide makes the volume unless the driver has it.
func provide(ctx context.Context, p *plugin, v *model.Volume, name string) error {
	found, err := p.has(ctx, name)
	if err != nil {
		return fmt.Errorf("asking the driver for volume '%s': %w", name, err)
	}
	c := v.DockerVolumeConfiguration
	switch {
	case found:
		return nil
	case isShared(c) && !autoprovision(c):
		return fmt.Errorf("initialize volume: volume detection failed, volume '%s' does not exist and autoprovision is set to false", name)
	}
	if err := p.create(ctx, name, c.DriverOpts); err != nil {
		return fmt.Errorf("create %s: VolumeDriver.Create: %w", name, err)
	}
	return nil
}

// releaseDriver gives a volume back to its driver, and has one of scope task
// removed.
func (m *Manager) releaseDriver(ctx context.Context, taskID string, v used) error {
	p, err := findPlugin(ctx, m.cfg.Plugins, v.Driver)
	if err != nil {
		return err
	}
	defer p.close()
	found, err := p.has(ctx, v.DockerName)
	if err != nil || !found {
		return err
	}
	// A task that was never mounted is one that the driver does not know of;
	// it says so in its own words, so what counts is whether the volume goes.
	unmounted := p.unmount(ctx, v.DockerName, taskID)
	if v.Shared {
		return nil
	}
	if err := p.remove(ctx, v.DockerName); err != nil {
		return errors.Join(unmounted, err)
	}
	return nil
}
