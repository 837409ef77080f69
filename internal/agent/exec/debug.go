package exec

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// labelDebug is on containers that are nobody's but a stream's.
const labelDebug = "berth.dev/debug"

// debug runs a program of another image in the namespaces of a container. A
// container of its own waits there, so that the program is attached to as in
// every other: it is removed with the stream, or with the one looked into.
func (s *Server) debug(ctx context.Context, t target, request model.StreamRequest) (work, error) {
	if request.Image == "" {
		return nil, refuse("there is no image")
	}
	image, err := s.cfg.Runtime.EnsureImage(ctx, runtime.ImageRequest{Ref: request.Image, TaskID: request.TaskID, Container: t.name})
	if pull, ok := errors.AsType[*runtime.PullError](err); ok {
		return nil, refuse("CannotPullContainerError: %s", pull.Message)
	}
	if err != nil {
		return nil, fmt.Errorf("CannotPullContainerError: %w", err)
	}
	command := request.Command
	if len(command) == 0 {
		command = slices.Concat(image.Entrypoint, image.Cmd)
	}
	if len(command) == 0 {
		return nil, refuse("the image %s has no command: say one", request.Image)
	}
	d := &debugger{s: s, id: t.view.Assignment.Task.ID + "-debug-" + strings.ToLower(rand.Text()[:8])}
	if err := d.start(ctx, t, image); err != nil {
		return nil, errors.Join(err, d.remove(ctx))
	}
	p, err := s.cfg.Runtime.Attach(ctx, d.id, attachSpec(request, command))
	if err != nil {
		return nil, errors.Join(err, d.remove(ctx))
	}
	return func(ctx context.Context, l *line) *nodeapi.StreamExit {
		defer d.remove(ctx) //nolint:errcheck // it is logged
		// The container looked into takes the program with it, but not the one that
		// waits: the task must not wait for whoever reads.
		watch, stop := s.withContainer(ctx, t)
		defer stop()
		end := context.AfterFunc(watch, func() { d.remove(ctx) }) //nolint:errcheck // as above
		defer end()
		return s.carry(ctx, l, p, t)
	}, nil
}

// debugger is a container that waits.
type debugger struct {
	s  *Server
	id string
}

// dir is where it has its files.
func (d *debugger) dir() string { return filepath.Join(d.s.cfg.Dir, d.id) }

func (d *debugger) start(ctx context.Context, t target, image runtime.Image) error {
	files, err := d.s.pin(ctx, t.id, "ns/net", "ns/pid", "ns/ipc", "root")
	if err != nil {
		return err
	}
	// The namespaces are named by these files until they are joined: a number of
	// a process may be another's by then.
	defer closeAll(files)
	mounts, err := d.files(rootfs{files[3]})
	if err != nil {
		return err
	}
	err = d.s.cfg.Runtime.Create(ctx, runtime.Spec{
		ID: d.id, TaskID: t.view.Assignment.Task.ID, Name: "debug", Image: image.Name,
		Args: []string{"/dev/init", "pause"}, Init: true, Env: image.Env, Cwd: image.WorkingDir, User: root,
		Labels:    map[string]string{labelDebug: t.id},
		NetNSPath: fdPath(files[0]), PIDNSPath: fdPath(files[1]), IPCNSPath: fdPath(files[2]),
		CgroupParent: t.view.State.CgroupPath, Mounts: mounts,
		// To see through /proc what another user's processes have.
		CapAdd: []string{"SYS_PTRACE"},
	})
	if err != nil {
		return err
	}
	_, err = d.s.cfg.Runtime.Start(ctx, d.id)
	return err
}

// files makes copies of what the container resolves names with. Its own files
// are not mounted: a path that leads through a container's links leads anywhere.
func (d *debugger) files(r rootfs) ([]runtime.Mount, error) {
	if err := os.MkdirAll(d.dir(), 0o700); err != nil {
		return nil, err
	}
	var mounts []runtime.Mount
	for _, name := range []string{"hosts", "resolv.conf"} {
		data, err := r.readSmall("/etc/" + name)
		if err == nil {
			err = os.WriteFile(filepath.Join(d.dir(), name), data, 0o644) //nolint:gosec // programs of any user read it
		}
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, runtime.Mount{Type: runtime.MountBind, Source: filepath.Join(d.dir(), name), Target: "/etc/" + name})
	}
	return mounts, nil
}

// remove takes everything of it away. It may be called more than once. What
// cannot be removed is left to the next agent.
func (d *debugger) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
	defer cancel()
	err := errors.Join(d.s.cfg.Runtime.Remove(ctx, d.id), os.RemoveAll(d.dir()))
	if err != nil {
		d.s.cfg.Log.WarnContext(ctx, "a debug container was not removed", telemetry.Container, d.id, telemetry.Error, err)
	}
	return err
}
