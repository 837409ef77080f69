package volume

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"berth.dev/berth/internal/base/telemetry"
)

// Purge removes everything that the Manager of an instance made below dir or
// where its EBS volumes were: mounts, volumes, those that were kept too. The
// shared volumes of drivers stay with their drivers.
func Purge(ctx context.Context, cfg Config) error {
	data, err := os.ReadFile(filepath.Join(cfg.Dir, "ebs.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // there never was an agent
	}
	if err == nil {
		err = json.Unmarshal(data, &cfg.EBS)
	}
	if err != nil {
		return err
	}
	m, err := New(cfg)
	if err != nil {
		return err
	}
	errs := []error{m.Sweep(ctx, nil)}
	ids, err := m.ebs.list(ctx)
	errs = append(errs, err, m.ebs.tidy(ctx))
	for _, id := range ids {
		errs = append(errs, m.ebs.remove(ctx, id))
	}
	if err := errors.Join(errs...); err != nil {
		m.cfg.Log.ErrorContext(ctx, "volumes could not be removed", telemetry.Path, m.cfg.Dir, telemetry.Error, err)
		return err
	}
	return removeAll(m.cfg.Dir)
}
