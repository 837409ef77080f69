package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
)

const (
	// labelPull on a lease says which image's pull holds with it what has arrived.
	labelPull = "berth.dev/pull"
	// resumable is how long what has arrived of an image is kept for a pull that goes on with it.
	resumable = 24 * time.Hour
)

// hold keeps what arrives of an image from containerd's garbage collection, under a name that the next attempt finds
// again, also that of another agent. The function ends it: keep says that a later pull may go on where this one ended,
// else everything that no image refers to is gone when it returns.
func (s *Store) hold(ctx context.Context, name string) (context.Context, func(keep bool) error, error) {
	service := s.cfg.Client.LeasesService()
	sum := sha256.Sum256([]byte(name))
	id := "berth-pull-" + hex.EncodeToString(sum[:16])
	if old, err := s.pullLeases(ctx); err != nil {
		return nil, nil, err
	} else if l, ok := old[id]; ok && time.Since(l.CreatedAt) > resumable/2 {
		// Its end would come in the middle of this pull.
		if err := service.Delete(ctx, l); err != nil && !errdefs.IsNotFound(err) {
			return nil, nil, fmt.Errorf("hold image %s: %w", name, err)
		}
	}
	_, err := service.Create(ctx, leases.WithID(id), leases.WithExpiration(resumable), leases.WithLabel(labelPull, name))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return nil, nil, fmt.Errorf("hold image %s: %w", name, err)
	}
	return leases.WithLease(ctx, id), func(keep bool) error {
		if keep {
			return nil
		}
		err := service.Delete(context.WithoutCancel(ctx), leases.Lease{ID: id}, leases.SynchronousDelete)
		if errdefs.IsNotFound(err) {
			return nil
		}
		return err
	}, nil
}

// pullLeases are those of pulls, under way or given up, by ID.
func (s *Store) pullLeases(ctx context.Context) (map[string]leases.Lease, error) {
	all, err := s.cfg.Client.LeasesService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list leases of pulls: %w", err)
	}
	out := map[string]leases.Lease{}
	for _, l := range all {
		if l.Labels[labelPull] != "" {
			out[l.ID] = l
		}
	}
	return out, nil
}

// Sweep removes what an agent left that died while it pulled an image, except what the next pull goes on with: half
// unpacked layers, and downloads that nobody came back for. No pull may be under way.
func (s *Store) Sweep(ctx context.Context) error {
	held, err := s.pullLeases(ctx)
	if err != nil {
		return err
	}
	service := s.cfg.Client.LeasesService()
	var errs []error
	for _, l := range held {
		if time.Since(l.CreatedAt) > resumable {
			errs = append(errs, service.Delete(ctx, l, leases.SynchronousDelete))
			continue
		}
		resources, err := service.ListResources(ctx, l)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, r := range resources {
			if r.Type == "snapshots/"+s.cfg.Snapshotter && isUnpacking(r.ID) {
				errs = append(errs, s.cfg.Client.SnapshotService(s.cfg.Snapshotter).Remove(ctx, r.ID))
			}
		}
	}
	for i, err := range errs {
		if errdefs.IsNotFound(err) {
			errs[i] = nil
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove what earlier pulls left: %w", err)
	}
	return nil
}
