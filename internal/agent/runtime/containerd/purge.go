package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"
)

// purgeParallel is how many containers are removed at once.
const purgeParallel = 4

// Purge implements runtime.Runtime. The order is that of containerd's references: containers, their snapshots, images
// with their content and snapshots, the namespace.
func (r *Runtime) Purge(ctx context.Context) error {
	ctx = r.scoped(ctx)
	all, err := r.client.ContainerService().List(ctx)
	if err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(purgeParallel)
	for _, c := range all {
		group.Go(func() error { return r.Remove(groupCtx, c.ID) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	if err := r.purgeCgroups(); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(r.cfg.StateDir, quotaDir)); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	if err := r.sweep(ctx); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	if err := r.purgeImages(ctx); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	err = r.client.NamespaceService().Delete(ctx, r.namespace)
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("purge: remove namespace: %w", err)
	}
	return nil
}

// purgeImages removes images and leases and has containerd collect what they held.
func (r *Runtime) purgeImages(ctx context.Context) error {
	held, err := r.client.LeasesService().List(ctx)
	if err != nil {
		return err
	}
	for _, lease := range held {
		if err := r.client.LeasesService().Delete(ctx, lease); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	all, err := r.client.ImageService().List(ctx)
	if err != nil {
		return err
	}
	for _, img := range all {
		if err := r.client.ImageService().Delete(ctx, img.Name); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	// Content that no image refers to is collected at the end of any synchronous deletion; a lease of our own is one.
	lease, err := r.client.LeasesService().Create(ctx, leases.WithRandomID())
	if err != nil {
		return err
	}
	if err := r.client.LeasesService().Delete(ctx, lease, leases.SynchronousDelete); err != nil {
		return err
	}
	return r.purgeSnapshots(ctx)
}

// purgeSnapshots removes what the collection left, children before parents.
func (r *Runtime) purgeSnapshots(ctx context.Context) error {
	service := r.client.SnapshotService(r.snapshotter)
	for {
		parents, names := map[string]bool{}, []string{}
		err := service.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
			names = append(names, info.Name)
			parents[info.Parent] = true
			return nil
		})
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		if len(names) == 0 {
			return nil
		}
		for _, name := range names {
			if parents[name] {
				continue
			}
			if err := service.Remove(ctx, name); err != nil && !errdefs.IsNotFound(err) {
				return errors.Join(fmt.Errorf("remove snapshot %s", name), err)
			}
		}
	}
}
