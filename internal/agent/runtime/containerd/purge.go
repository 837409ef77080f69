package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// purgeParallel is how many containers are removed at once.
const purgeParallel = 4

// purgePatience is how long containers may take to go before their shims are ended.
const purgePatience = 20 * time.Second

// Purge implements runtime.Runtime. The order is that of containerd's references: containers, their snapshots, images
// with their content and snapshots, the namespace.
func (r *Runtime) Purge(ctx context.Context) error {
	ctx = r.scoped(ctx)
	all, err := r.client.ContainerService().List(ctx)
	if err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	// A shim that is stuck would keep its containers, and so everything else:
	// when they do not go in time, the shims go first.
	first, cancel := context.WithTimeout(ctx, purgePatience)
	err = r.removeAll(first, all)
	cancel()
	if err != nil && ctx.Err() == nil {
		err = errors.Join(r.endShims(ctx, func(string, int) bool { return false }), r.removeAll(ctx, all))
	}
	if err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	if err := r.endShims(ctx, func(string, int) bool { return false }); err != nil {
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

func (r *Runtime) removeAll(ctx context.Context, all []containers.Container) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(purgeParallel)
	for _, c := range all {
		group.Go(func() error { return r.Remove(ctx, c.ID) })
	}
	return group.Wait()
}

// endShims ends the instance's shims that nobody needs. containerd ends a shim in the call that deletes its last
// container; when the agent that made the call dies before its end, nobody does, and containerd forgets the shim.
func (r *Runtime) endShims(ctx context.Context, needed func(id string, pid int) bool) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(string(line), "\x00")
		if !strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") || option(args, "-namespace") != r.namespace || needed(option(args, "-id"), pid) {
			continue
		}
		if err := endShim(ctx, pid); err != nil {
			return fmt.Errorf("end shim: %w", err)
		}
	}
	return nil
}

// option is the argument after the name, or nothing.
func option(args []string, name string) string {
	if at := slices.Index(args, name); at >= 0 && at+1 < len(args) {
		return args[at+1]
	}
	return ""
}

// endShim ends a shim and what it holds of containers that nobody knows any more. The log binaries beside them end with
// the pipes that the shim holds, and so may still write down what they have read.
func endShim(ctx context.Context, pid int) error {
	for _, child := range children(pid) {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child))
		if err != nil || strings.Contains(string(line), "berth-helper-") {
			continue
		}
		if err := unix.Kill(child, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return terminate(ctx, pid)
}

// sweepShims ends shims of whose task no container is known.
func (r *Runtime) sweepShims(ctx context.Context, known, knownTasks map[string]bool) error {
	return r.endShims(ctx, func(id string, _ int) bool {
		task := id // the shim has the name of its task's first container
		if at := strings.LastIndexByte(id, '-'); at > 0 {
			task = id[:at]
		}
		return known[id] || knownTasks[task]
	})
}

// endForgottenShims sweeps shims if one may be left.
func (r *Runtime) endForgottenShims(ctx context.Context) error {
	if !r.forgotten.Swap(false) {
		return nil
	}
	records, err := r.client.ContainerService().List(r.scoped(ctx))
	if err == nil {
		known, knownTasks := map[string]bool{}, map[string]bool{}
		for _, c := range records {
			known[c.ID], knownTasks[c.Labels[labelTask]] = true, true
		}
		err = r.sweepShims(ctx, known, knownTasks)
	}
	if err != nil {
		r.forgotten.Store(true)
	}
	return err
}

// children are the processes that a process has started and that run.
func children(pid int) []int {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil // the pattern is right
	}
	var pids []int
	for _, thread := range threads {
		data, err := os.ReadFile(thread)
		if err != nil {
			continue // it has ended
		}
		for field := range strings.FieldsSeq(string(data)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
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
