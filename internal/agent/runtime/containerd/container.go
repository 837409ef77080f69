package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"

	"berth.dev/berth/internal/agent/runtime"
)

// Labels and the extension on containerd's containers. The Spec is an extension because labels have a limit on their
// size that a task definition's own labels may exceed.
const (
	labelTask     = "berth.dev/task"
	labelHash     = "berth.dev/spec-hash"
	labelRestarts = "berth.dev/restarts"
	labelSnapshot = "berth.dev/snapshot"
	extensionSpec = "berth.dev/spec"

	// labelRoot keeps containerd's garbage collector away; a snapshot without it is collected while nothing refers to it.
	labelRoot = "containerd.io/gc.root"

	shimName = "io.containerd.runc.v2"
)

func snapshotLabels() map[string]string {
	return map[string]string{labelRoot: time.Now().UTC().Format(time.RFC3339), labelSnapshot: "1"}
}

// record is a container as containerd has it, with the Spec it was made from.
type record struct {
	containers.Container
	spec runtime.Spec
}

// Create implements runtime.Runtime.
func (r *Runtime) Create(ctx context.Context, spec runtime.Spec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	defer r.lock(spec.ID)()
	ctx = r.scoped(ctx)
	existing, err := r.client.ContainerService().Get(ctx, spec.ID)
	switch {
	case err == nil && existing.Labels[labelHash] == spec.Hash():
		return nil
	case err == nil:
		return fmt.Errorf("create container %q: %w", spec.ID, runtime.ErrConflict)
	case !errdefs.IsNotFound(err):
		return fmt.Errorf("create container %q: %w", spec.ID, err)
	}
	if err := r.create(ctx, spec); err != nil {
		return fmt.Errorf("create container %q: %w", spec.ID, err)
	}
	return nil
}

func (r *Runtime) create(ctx context.Context, spec runtime.Spec) (err error) {
	img, err := r.images.Details(ctx, spec.Image)
	if err != nil {
		return err
	}
	u, err := r.lookupUser(ctx, img.ChainID, spec.User)
	if err != nil {
		return err
	}
	oci, err := r.buildSpec(ctx, spec, u)
	if err != nil {
		return err
	}
	new := containers.Container{
		ID: spec.ID, Image: spec.Image, Snapshotter: r.snapshotter, SnapshotKey: spec.ID,
		Labels:  map[string]string{labelTask: spec.TaskID, labelHash: spec.Hash(), labelRestarts: "0"},
		Runtime: containers.RuntimeInfo{Name: shimName},
	}
	if new.Spec, err = typeurl.MarshalAny(oci); err != nil {
		return err
	}
	if new.Runtime.Options, err = typeurl.MarshalAny(&options.Options{BinaryName: r.oci.path, Root: r.ociRoot()}); err != nil {
		return err
	}
	encoded, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	new.Extensions = map[string]typeurl.Any{extensionSpec: &anypb.Any{TypeUrl: extensionSpec, Value: encoded}}

	if err := r.copyUp(ctx, img.ChainID, spec.Mounts); err != nil {
		return err
	}
	if err := r.prepareSnapshot(ctx, spec.ID, img.ChainID); err != nil {
		return err
	}
	if _, err := r.client.ContainerService().Create(ctx, new); err != nil {
		return errors.Join(err, r.removeSnapshot(context.WithoutCancel(ctx), spec.ID))
	}
	return nil
}

// prepareSnapshot makes the container's writable layer anew: one that is there was left by a Create that did not end.
func (r *Runtime) prepareSnapshot(ctx context.Context, key, chainID string) error {
	service := r.client.SnapshotService(r.snapshotter)
	_, err := service.Prepare(ctx, key, chainID, snapshots.WithLabels(snapshotLabels()))
	if errdefs.IsAlreadyExists(err) {
		if err := r.removeSnapshot(ctx, key); err != nil {
			return err
		}
		_, err = service.Prepare(ctx, key, chainID, snapshots.WithLabels(snapshotLabels()))
	}
	if err != nil {
		return fmt.Errorf("prepare its file system: %w", err)
	}
	return nil
}

func (r *Runtime) removeSnapshot(ctx context.Context, key string) error {
	err := r.client.SnapshotService(r.snapshotter).Remove(ctx, key)
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove its file system: %w", err)
	}
	return nil
}

// load reads a container, or fails with runtime.ErrNotFound.
func (r *Runtime) load(ctx context.Context, id string) (record, error) {
	c, err := r.client.ContainerService().Get(ctx, id)
	if errdefs.IsNotFound(err) {
		return record{}, fmt.Errorf("container %q: %w", id, runtime.ErrNotFound)
	}
	if err != nil {
		return record{}, fmt.Errorf("container %q: %w", id, err)
	}
	return decode(c)
}

func decode(c containers.Container) (record, error) {
	out := record{Container: c}
	ext, ok := c.Extensions[extensionSpec]
	if !ok {
		return record{}, fmt.Errorf("container %q was not made by berth", c.ID)
	}
	if err := json.Unmarshal(ext.GetValue(), &out.spec); err != nil {
		return record{}, fmt.Errorf("container %q: read its specification: %w", c.ID, err)
	}
	return out, nil
}

func (c record) restarts() int {
	n, err := strconv.Atoi(c.Labels[labelRestarts])
	if err != nil {
		return 0
	}
	return n
}

// Status implements runtime.Runtime.
func (r *Runtime) Status(ctx context.Context, id string) (runtime.Status, error) {
	ctx = r.scoped(ctx)
	c, err := r.load(ctx, id)
	if err != nil {
		return runtime.Status{}, err
	}
	return r.status(ctx, c)
}

// List implements runtime.Runtime.
func (r *Runtime) List(ctx context.Context) ([]runtime.Status, error) {
	ctx = r.scoped(ctx)
	all, err := r.client.ContainerService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var out []runtime.Status
	for _, c := range all {
		rec, err := decode(c)
		if err != nil {
			r.cfg.Logger.WarnContext(ctx, "a container in berth's namespace is left alone", "container", c.ID, "error", err)
			continue
		}
		status, err := r.status(ctx, rec)
		if err != nil {
			return nil, err
		}
		out = append(out, status)
	}
	slices.SortFunc(out, func(a, b runtime.Status) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// Remove implements runtime.Runtime.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	if !runtime.ValidID(id) {
		return fmt.Errorf("remove container %q: %w", id, runtime.ErrInvalid)
	}
	defer r.lock(id)()
	ctx = r.scoped(ctx)
	if err := r.remove(ctx, id); err != nil {
		return fmt.Errorf("remove container %q: %w", id, err)
	}
	return nil
}

func (r *Runtime) remove(ctx context.Context, id string) error {
	c, err := r.load(ctx, id)
	found := err == nil
	if err != nil && !errors.Is(err, runtime.ErrNotFound) {
		return err
	}
	if err := r.deleteTask(ctx, id); err != nil {
		return err
	}
	if found {
		// A shim that was killed has not removed its container's cgroup.
		if err := removeCgroup(cgroupPath(c.spec)); err != nil {
			return err
		}
	}
	// The container before its snapshot: the other way round, a container without a file system could be left.
	if err := r.client.ContainerService().Delete(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if err := r.removeSnapshot(ctx, id); err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.oomed, id)
	r.mu.Unlock()
	if err := os.Remove(r.markPath(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// ociRoot is where the OCI runtime keeps its own state.
func (r *Runtime) ociRoot() string { return filepath.Join(r.cfg.StateDir, ociDir) }
