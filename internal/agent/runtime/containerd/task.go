package containerd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"

	"berth.dev/berth/internal/agent/runtime"
)

// A "task" in this file is containerd's: the process of one container.

// process asks containerd for the container's process; nil is none.
func (r *Runtime) process(ctx context.Context, id string) (*tasktypes.Process, error) {
	reply, err := r.client.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: id})
	if err = errgrpc.ToNative(err); errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("container %q: %w", id, err)
	}
	return reply.Process, nil
}

// status puts together what containerd, the cgroup and the mark say.
func (r *Runtime) status(ctx context.Context, c record) (runtime.Status, error) {
	p, err := r.process(ctx, c.ID)
	if err != nil {
		return runtime.Status{}, err
	}
	return r.describe(c, p), nil
}

// describe is status for a process that has been asked for; nil is none.
func (r *Runtime) describe(c record, p *tasktypes.Process) runtime.Status {
	s := runtime.Status{
		ID: c.ID, TaskID: c.spec.TaskID, Name: c.spec.Name, Image: c.Image, Labels: maps.Clone(c.spec.Labels),
		SpecHash: c.Labels[labelHash], State: runtime.StateCreated, CreatedAt: c.CreatedAt, Restarts: c.restarts(),
	}
	m, _ := r.readMark(c.ID)
	switch {
	case p == nil:
		if exit, started, lost := r.lost(c.ID, c.CreatedAt); lost {
			s.State, s.StartedAt, s.Exit = runtime.StateExited, started, &exit
		}
	case p.Status == tasktypes.Status_CREATED, p.Status == tasktypes.Status_UNKNOWN:
		// Between create and start of the process: nothing of the container's own runs yet.
	case p.Status == tasktypes.Status_STOPPED:
		s.State, s.StartedAt = runtime.StateExited, m.StartedAt
		s.Exit = r.exit(c, p.ExitStatus, p.ExitedAt.AsTime())
	default:
		s.State, s.StartedAt, s.PID = runtime.StateRunning, m.StartedAt, int(p.Pid)
	}
	return s
}

// exit describes the end of a run whose cgroup is still there.
func (r *Runtime) exit(c record, code uint32, at time.Time) *runtime.Exit {
	r.mu.Lock()
	oomed := r.oomed[c.ID]
	r.mu.Unlock()
	return &runtime.Exit{Code: code, At: at, OOMKilled: oomed || oomKills(cgroupPath(c.spec)) > 0}
}

// Start implements runtime.Runtime.
func (r *Runtime) Start(ctx context.Context, id string) (runtime.Status, error) {
	defer r.lock(id)()
	ctx = r.scoped(ctx)
	c, err := r.load(ctx, id)
	if err != nil {
		return runtime.Status{}, err
	}
	return r.start(ctx, c)
}

// Restart implements runtime.Runtime. Its steps are in an order in which the next call finds out where it died: the
// count is raised when nothing is left of the earlier run.
func (r *Runtime) Restart(ctx context.Context, id string, n int) (runtime.Status, error) {
	defer r.lock(id)()
	ctx = r.scoped(ctx)
	c, err := r.load(ctx, id)
	if err != nil {
		return runtime.Status{}, err
	}
	if n > c.restarts() {
		status, err := r.status(ctx, c)
		if err != nil {
			return runtime.Status{}, err
		}
		if status.State == runtime.StateRunning {
			return runtime.Status{}, fmt.Errorf("restart container %q: it is running", id)
		}
		if err := r.forgetRun(ctx, id); err != nil {
			return runtime.Status{}, fmt.Errorf("restart container %q: %w", id, err)
		}
		c.Labels[labelRestarts] = strconv.Itoa(n)
		if c.Container, err = r.client.ContainerService().Update(ctx, c.Container, "labels."+labelRestarts); err != nil {
			return runtime.Status{}, fmt.Errorf("restart container %q: %w", id, err)
		}
	}
	return r.start(ctx, c)
}

// forgetRun takes a container that has exited back to created.
func (r *Runtime) forgetRun(ctx context.Context, id string) error {
	if err := r.deleteTask(ctx, id); err != nil {
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

// start runs the process unless it runs or has run. The container is locked.
func (r *Runtime) start(ctx context.Context, c record) (runtime.Status, error) {
	p, err := r.process(ctx, c.ID)
	if err != nil {
		return runtime.Status{}, err
	}
	status := r.describe(c, p)
	if status.State != runtime.StateCreated {
		return status, nil
	}
	if p == nil {
		done, err := r.turn(ctx)
		if err != nil {
			return runtime.Status{}, startError(c.ID, err)
		}
		defer done()
		if err := r.liftQuota(c.spec); err != nil {
			r.cfg.Logger.WarnContext(ctx, "a container is made under its task's cpu quota", "container", c.ID, "error", err)
		}
		if err := r.newTask(ctx, c); err != nil {
			return runtime.Status{}, startError(c.ID, err)
		}
	}
	if err := r.setQuota(c.spec); err != nil {
		return runtime.Status{}, err
	}
	// Before the process runs: what is marked and does not run was lost, what runs and is not marked would be forgotten.
	m := mark{BootID: bootID(), StartedAt: time.Now()}
	if err := r.writeMark(c.ID, m); err != nil {
		return runtime.Status{}, err
	}
	reply, err := r.client.TaskService().Start(ctx, &tasks.StartRequest{ContainerID: c.ID})
	if err != nil {
		err = errgrpc.ToNative(err)
		return runtime.Status{}, errors.Join(startError(c.ID, err), r.forgetRun(context.WithoutCancel(ctx), c.ID))
	}
	status.State, status.StartedAt, status.PID = runtime.StateRunning, m.StartedAt, int(reply.Pid)
	return status, nil
}

// turn waits until few enough containers are being started. A start is work of the CPU (the shim, the OCI runtime, the
// seccomp filter): more of them at once than the cores can carry end later than the same number in turn, all of them.
func (r *Runtime) turn(ctx context.Context) (done func(), err error) {
	select {
	case r.starting <- struct{}{}:
		return func() { <-r.starting }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// startsPerCore is where the rate of starts was highest (docs/BENCHMARKS.md).
const startsPerCore = 2

// startError has Fargate's words, unless the caller's time was up.
func startError(id string, err error) error {
	if errdefs.IsCanceled(err) || errdefs.IsDeadlineExceeded(err) {
		return fmt.Errorf("start container %q: %w", id, err)
	}
	return &runtime.StartError{ID: id, Err: err, Message: fmt.Sprintf("failed to create new container runtime task: %v", err)}
}

// newTask makes the container's process, which waits for Start then. It asks containerd directly instead of through
// the client's Container, which would read the container three times more.
func (r *Runtime) newTask(ctx context.Context, c record) error {
	var output cio.Creator = cio.NullIO
	switch {
	case c.spec.Log.Binary != "" && c.spec.TTY:
		output = cio.TerminalBinaryIO(c.spec.Log.Binary, c.spec.Log.Args)
	case c.spec.Log.Binary != "":
		output = cio.BinaryIO(c.spec.Log.Binary, c.spec.Log.Args)
	}
	streams, err := output(c.ID)
	if err != nil {
		return err
	}
	config := streams.Config()
	request := &tasks.CreateTaskRequest{
		ContainerID: c.ID, Terminal: config.Terminal, Stdin: config.Stdin, Stdout: config.Stdout, Stderr: config.Stderr,
	}
	if err := ownSecrets(c); err != nil {
		return err
	}
	mounts, err := r.client.SnapshotService(c.Snapshotter).Mounts(ctx, c.SnapshotKey)
	if err != nil {
		return fmt.Errorf("mount its file system: %w", err)
	}
	for _, m := range mounts {
		request.Rootfs = append(request.Rootfs, &types.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	err = r.createTask(ctx, request)
	if errdefs.IsAlreadyExists(err) {
		// Left by a start that died in the shim, before containerd knew of it.
		if err := r.deleteTask(ctx, c.ID); err != nil {
			return err
		}
		err = r.createTask(ctx, request)
	}
	return err
}

// createPatience is for how long containerd is asked to make a process; it takes up to 10 seconds to
// undo a call, and longer on a busy host.
const createPatience = 40 * time.Second

// hangPatience is for how long one call may take. A shim that hangs over the death of the agent that asked for it never
// answers; one that works needs a tenth of a second.
const hangPatience = 20 * time.Second

// createTask insists when something around the OCI runtime fails: containerd goes on for a while with the call of an
// agent that was killed, and then undoes it, directory and shim, under the hands of ours. What the OCI runtime itself
// refuses is final.
func (r *Runtime) createTask(ctx context.Context, request *tasks.CreateTaskRequest) error {
	begun, wait, hanged := time.Now(), 10*time.Millisecond, false
	for {
		tryCtx, cancel := context.WithTimeout(ctx, hangPatience)
		_, err := r.client.TaskService().Create(tryCtx, request)
		hung := tryCtx.Err() != nil && ctx.Err() == nil
		cancel()
		err = errgrpc.ToNative(err)
		if err != nil && hung && !hanged && r.alone(ctx, request.ContainerID) {
			// Once: a new shim gets the same patience as the first.
			hanged, begun = true, time.Now()
			if err := r.endShims(ctx, func(id string, _ int) bool { return id != request.ContainerID }); err != nil {
				return err
			}
		}
		if err == nil || errdefs.IsAlreadyExists(err) || strings.Contains(err.Error(), "OCI runtime") || time.Since(begun) > createPatience {
			return err
		}
		r.forgotten.Store(true)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
		wait = min(2*wait, 500*time.Millisecond)
	}
}

// alone reports that no other container of the task has a process: then nobody needs a shim with this one's name, which is
// that of the first container of a task.
func (r *Runtime) alone(ctx context.Context, id string) bool {
	records, err := r.client.ContainerService().List(ctx)
	if err != nil {
		return false
	}
	task := ""
	for _, c := range records {
		if c.ID == id {
			task = c.Labels[labelTask]
		}
	}
	for _, c := range records {
		if c.ID == id || c.Labels[labelTask] != task {
			continue
		}
		if p, err := r.process(ctx, c.ID); err != nil || p != nil {
			return false
		}
	}
	return true
}

// Wait implements runtime.Runtime.
func (r *Runtime) Wait(ctx context.Context, id string) (runtime.Exit, error) {
	ctx = r.scoped(ctx)
	e, release := r.use(id)
	defer release()
	for {
		changed := r.next(e)
		status, err := r.Status(ctx, id)
		switch {
		case ctx.Err() != nil:
			return runtime.Exit{}, ctx.Err()
		case err != nil:
		case status.Exit != nil:
			return *status.Exit, nil
		case status.State == runtime.StateRunning:
			err = r.awaitExit(ctx, id, changed)
		default:
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
		switch {
		case errdefs.IsUnavailable(err):
			pause(ctx, 100*time.Millisecond) // containerd is being restarted; the container is not
		case err != nil && !errdefs.IsNotFound(err) && ctx.Err() == nil:
			return runtime.Exit{}, err // ErrNotFound of this package among them
		}
	}
}

// awaitExit returns when the process has ended, when something else has happened to the container, or with the reason
// why that cannot be known.
func (r *Runtime) awaitExit(ctx context.Context, id string, changed <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := r.client.TaskService().Wait(ctx, &tasks.WaitRequest{ContainerID: id})
		ended <- errgrpc.ToNative(err)
	}()
	select {
	case err := <-ended:
		return err
	case <-changed:
		return nil
	}
}

// Kill implements runtime.Runtime.
func (r *Runtime) Kill(ctx context.Context, id string, sig syscall.Signal) error {
	ctx = r.scoped(ctx)
	c, err := r.load(ctx, id)
	if err != nil {
		return err
	}
	// All at once only where the end of the first process does not end the others: in a process namespace of several.
	request := &tasks.KillRequest{ContainerID: id, Signal: uint32(sig), All: sig == syscall.SIGKILL && c.spec.PIDNSPath != ""}
	_, err = r.client.TaskService().Kill(ctx, request)
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsFailedPrecondition(err) {
		return fmt.Errorf("kill container %q: %w", id, err)
	}
	return nil
}

// deleteTask ends the container's process and makes containerd, the shim and the OCI runtime forget it.
func (r *Runtime) deleteTask(ctx context.Context, id string) error {
	p, err := r.process(ctx, id)
	if err == nil && p == nil {
		if _, err := os.Stat(r.markPath(id)); err == nil {
			r.forgotten.Store(true)
		}
	}
	if err != nil || p == nil {
		return err
	}
	service := r.client.TaskService()
	if p.Status != tasktypes.Status_STOPPED {
		_, err := service.Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(syscall.SIGKILL), All: true})
		if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsFailedPrecondition(err) {
			return fmt.Errorf("kill: %w", err)
		}
		if _, err := service.Wait(ctx, &tasks.WaitRequest{ContainerID: id}); err != nil && !errdefs.IsNotFound(errgrpc.ToNative(err)) {
			return fmt.Errorf("wait for its end: %w", errgrpc.ToNative(err))
		}
	}
	_, err = service.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete its process: %w", err)
	}
	return nil
}
