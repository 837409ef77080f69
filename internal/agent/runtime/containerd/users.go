package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/continuity/fs"
	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/runtime"
)

// maxUserFile bounds what is read of an image's passwd and group files.
const maxUserFile = 4 << 20

// users remembers images' passwd and group files: to read them the image has to be mounted, which takes longer than
// everything else in Create.
type users struct {
	mu    sync.Mutex
	files map[string]userFiles // by chain ID
}

type userFiles struct{ passwd, group []byte }

// lookupUser finds out who the container runs as, in the image's own files and as Docker does it.
func (r *Runtime) lookupUser(ctx context.Context, chainID, name string) (specs.User, error) {
	files, err := r.userFiles(ctx, chainID)
	if err != nil {
		return specs.User{}, err
	}
	found, err := user.GetExecUser(name, &user.ExecUser{Home: "/"}, bytes.NewReader(files.passwd), bytes.NewReader(files.group))
	if err != nil {
		return specs.User{}, fmt.Errorf("user %q: %w: %w", name, err, runtime.ErrInvalid)
	}
	// The primary group is a supplementary one too, as Docker has it since CVE-2022-36109: a program that changes its
	// primary group must not lose what the group is denied.
	u := specs.User{UID: uint32(found.Uid), GID: uint32(found.Gid), AdditionalGids: []uint32{uint32(found.Gid)}}
	for _, gid := range found.Sgids {
		if gid == found.Gid {
			continue
		}
		u.AdditionalGids = append(u.AdditionalGids, uint32(gid))
	}
	return u, nil
}

func (r *Runtime) userFiles(ctx context.Context, chainID string) (userFiles, error) {
	r.users.mu.Lock()
	defer r.users.mu.Unlock() // held while reading: the second container of a new image would read the same
	if files, ok := r.users.files[chainID]; ok {
		return files, nil
	}
	var files userFiles
	err := r.view(ctx, chainID, func(root string) (err error) {
		if files.passwd, err = readWithin(root, "/etc/passwd"); err != nil {
			return err
		}
		files.group, err = readWithin(root, "/etc/group")
		return err
	})
	if err != nil {
		return userFiles{}, fmt.Errorf("read the image's users: %w", err)
	}
	if r.users.files == nil {
		r.users.files = map[string]userFiles{}
	}
	r.users.files[chainID] = files
	return files, nil
}

// readWithin reads a file below root, following symbolic links as if root were /. A file that is not there is empty.
func readWithin(root, name string) ([]byte, error) {
	path, err := fs.RootPath(root, name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, maxUserFile))
}

// view shows an unpacked image, read-only, to f.
func (r *Runtime) view(ctx context.Context, chainID string, f func(root string) error) error {
	service := r.client.SnapshotService(r.snapshotter)
	key := "view-" + uuid.NewString()
	mounts, err := service.View(ctx, key, chainID, snapshots.WithLabels(snapshotLabels()))
	if err != nil {
		return fmt.Errorf("view image %s: %w", chainID, err)
	}
	defer func() {
		// Also when ctx has ended; what cannot be removed now is swept by the next agent.
		err := service.Remove(context.WithoutCancel(ctx), key)
		if err != nil && !errdefs.IsNotFound(err) {
			r.cfg.Logger.WarnContext(ctx, "view of an image could not be removed", "snapshot", key, "error", err)
		}
	}()
	// Below the state directory, where the next agent finds it if this one is killed.
	root := filepath.Join(r.cfg.StateDir, viewsDir, key)
	if err := os.MkdirAll(root, 0o700); err != nil {
		return fmt.Errorf("view image %s: %w", chainID, err)
	}
	if err := mount.All(mounts, root); err != nil {
		return errors.Join(fmt.Errorf("view image %s: %w", chainID, err), os.Remove(root))
	}
	err = f(root)
	// Detached, so that a file that f left open does not keep it.
	return errors.Join(err, mount.UnmountAll(root, unix.MNT_DETACH), os.Remove(root))
}

// viewsDir is where images are mounted to be looked at, in the state directory.
const viewsDir = "views"

// sweepViews removes what was being looked at when an agent was killed.
func (r *Runtime) sweepViews() error {
	dir := filepath.Join(r.cfg.StateDir, viewsDir)
	if err := unmountBelow(dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
