package fake

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/model"
)

// Runtime is one agent's life on a World.
type Runtime struct {
	world   *World
	life    int
	crashed chan struct{}
	once    sync.Once
}

var _ runtime.Runtime = (*Runtime)(nil)

// Connect begins an agent's life. Several may live at once, although real hosts have one.
func (w *World) Connect() *Runtime {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lives++
	return &Runtime{world: w, life: w.lives, crashed: make(chan struct{})}
}

// Crash ends this life: its verbs return ErrCrashed from now on, also those in flight, and nothing else changes.
func (r *Runtime) Crash() { r.once.Do(func() { close(r.crashed) }) }

// Crashed is closed when this life has ended; a simulation then stops the agent and begins another.
func (r *Runtime) Crashed() <-chan struct{} { return r.crashed }

// EnsureImage implements runtime.Runtime. Its latency is the time of the pull, which concurrent callers share; each is
// told once that half of it is there. A pinned digest is the image's.
func (r *Runtime) EnsureImage(ctx context.Context, req runtime.ImageRequest) (runtime.Image, error) {
	w := r.world
	source := runtime.SourceContainerd
	w.mu.Lock()
	cached := w.local[req.Ref] && req.Policy != runtime.PullAlways && req.Policy != runtime.PullDefault
	p := w.pulls[req.Ref]
	leader := !cached && p == nil
	if leader {
		p = &pull{done: make(chan struct{})}
		w.pulls[req.Ref] = p
	}
	w.mu.Unlock()

	if !cached && !leader {
		select {
		case <-p.done:
		case <-r.crashed:
			return runtime.Image{}, ErrCrashed
		case <-ctx.Done():
			return runtime.Image{}, ctx.Err()
		}
	}
	if leader {
		source = runtime.SourceRegistry
		defer func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.pulls, req.Ref)
			close(p.done)
		}()
	}
	if !cached && req.Progress != nil {
		req.Progress(model.PullProgress{Bytes: 1, Total: 2, Layers: 2, LayersDone: 1})
	}
	var img runtime.Image
	err := r.do(ctx, EnsureImage, req.Ref, func() error {
		var ok bool
		if img, ok = w.images[req.Ref]; !ok {
			return &runtime.PullError{Ref: req.Ref, Class: runtime.PullNotFound, Message: fmt.Sprintf(
				"pull image manifest has been retried 1 time(s): failed to resolve ref %s: %[1]s: not found", req.Ref)}
		}
		if leader {
			w.pulled[req.Ref]++
			w.local[req.Ref] = true
		}
		img.Source = source
		if req.Digest != "" {
			img.Digest = req.Digest
		}
		return nil
	})
	if err != nil {
		return runtime.Image{}, err
	}
	return img, nil
}

// PrepareTask implements runtime.Runtime.
func (r *Runtime) PrepareTask(ctx context.Context, task runtime.Task) (string, error) {
	if !runtime.ValidID(task.ID) {
		return "", fmt.Errorf("task id %q: %w", task.ID, runtime.ErrInvalid)
	}
	err := r.do(ctx, PrepareTask, task.ID, func() error {
		r.world.tasks[task.ID] = task
		return nil
	})
	if err != nil {
		return "", err
	}
	return "/berth/fake/" + task.ID, nil
}

// Create implements runtime.Runtime. The image must have been ensured.
func (r *Runtime) Create(ctx context.Context, spec runtime.Spec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	w := r.world
	return r.do(ctx, Create, spec.ID, func() error {
		hash := spec.Hash()
		if c := w.containers[spec.ID]; c != nil {
			if c.hash != hash {
				return fmt.Errorf("create container %q: %w", spec.ID, runtime.ErrConflict)
			}
			return nil
		}
		if !w.has(spec.Image) {
			return fmt.Errorf("create container %q: image %q is not on this host", spec.ID, spec.Image)
		}
		w.containers[spec.ID] = &container{
			spec: spec, hash: hash, state: runtime.StateCreated, created: time.Now(),
			run: newRun(), removed: make(chan struct{}),
		}
		return nil
	})
}

// has tells whether the host has the image of that name. The world is locked.
func (w *World) has(name string) bool {
	for ref := range w.local {
		if w.images[ref].Name == name {
			return true
		}
	}
	return false
}

// Start implements runtime.Runtime.
func (r *Runtime) Start(ctx context.Context, id string) (runtime.Status, error) {
	return r.start(ctx, Start, id, 0)
}

// Restart implements runtime.Runtime.
func (r *Runtime) Restart(ctx context.Context, id string, n int) (runtime.Status, error) {
	return r.start(ctx, Restart, id, n)
}

func (r *Runtime) start(ctx context.Context, verb Verb, id string, n int) (runtime.Status, error) {
	var status runtime.Status
	err := r.do(ctx, verb, id, func() error {
		c, err := r.world.find(id)
		if err != nil {
			return err
		}
		if n > c.restarts {
			if c.state == runtime.StateRunning {
				return fmt.Errorf("restart container %q: it is running", id)
			}
			if c.state == runtime.StateExited {
				c.state, c.run = runtime.StateCreated, newRun()
			}
			c.restarts = n
		}
		if c.state == runtime.StateCreated {
			if err := r.world.behave(c.spec).StartErr; err != nil {
				return &runtime.StartError{ID: id, Message: err.Error(), Err: err}
			}
			r.world.launch(c)
		}
		status = c.status()
		return nil
	})
	return status, err
}

// find looks a container up. The world is locked.
func (w *World) find(id string) (*container, error) {
	c, ok := w.containers[id]
	if !ok {
		return nil, fmt.Errorf("container %q: %w", id, runtime.ErrNotFound)
	}
	return c, nil
}

func (c *container) status() runtime.Status {
	s := runtime.Status{
		ID: c.spec.ID, TaskID: c.spec.TaskID, Name: c.spec.Name, Image: c.spec.Image, Labels: maps.Clone(c.spec.Labels),
		SpecHash: c.hash, State: c.state, PID: c.pid, CreatedAt: c.created, Restarts: c.restarts,
	}
	if c.state != runtime.StateCreated {
		s.StartedAt = c.started
	}
	if c.state == runtime.StateExited {
		exit := c.run.exit
		s.Exit = &exit
	}
	return s
}

// Status implements runtime.Runtime.
func (r *Runtime) Status(ctx context.Context, id string) (runtime.Status, error) {
	var status runtime.Status
	err := r.do(ctx, Status, id, func() error {
		c, err := r.world.find(id)
		if err != nil {
			return err
		}
		status = c.status()
		return nil
	})
	return status, err
}

// List implements runtime.Runtime.
func (r *Runtime) List(ctx context.Context) ([]runtime.Status, error) {
	var all []runtime.Status
	err := r.do(ctx, List, "", func() error {
		for _, id := range slices.Sorted(maps.Keys(r.world.containers)) {
			all = append(all, r.world.containers[id].status())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Wait implements runtime.Runtime.
func (r *Runtime) Wait(ctx context.Context, id string) (runtime.Exit, error) {
	var c *container
	var current *run
	err := r.do(ctx, Wait, id, func() (err error) {
		if c, err = r.world.find(id); err == nil {
			current = c.run
		}
		return err
	})
	if err != nil {
		return runtime.Exit{}, err
	}
	select {
	case <-current.ended:
		return current.exit, nil
	case <-c.removed:
		return runtime.Exit{}, fmt.Errorf("container %q: %w", id, runtime.ErrNotFound)
	case <-r.crashed:
		return runtime.Exit{}, ErrCrashed
	case <-ctx.Done():
		return runtime.Exit{}, ctx.Err()
	}
}

// Kill implements runtime.Runtime.
func (r *Runtime) Kill(ctx context.Context, id string, sig syscall.Signal) error {
	return r.do(ctx, Kill, id, func() error {
		c, err := r.world.find(id)
		if err != nil {
			return err
		}
		if c.state == runtime.StateRunning {
			r.world.signal(c, sig)
		}
		return nil
	})
}

// Remove implements runtime.Runtime.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	return r.do(ctx, Remove, id, func() error {
		r.world.remove(id)
		return nil
	})
}

// remove takes a container away, if it is there. The world is locked.
func (w *World) remove(id string) {
	c, ok := w.containers[id]
	if !ok {
		return
	}
	// Removed first, so that a Wait in progress finds the container gone rather than killed.
	close(c.removed)
	delete(w.containers, id)
	if c.timer != nil {
		c.timer.Stop()
	}
}

// RemoveTask implements runtime.Runtime.
func (r *Runtime) RemoveTask(ctx context.Context, taskID string) error {
	return r.do(ctx, RemoveTask, taskID, func() error {
		for _, id := range slices.Sorted(maps.Keys(r.world.containers)) {
			if r.world.containers[id].spec.TaskID == taskID {
				return fmt.Errorf("remove task %q: container %q exists", taskID, id)
			}
		}
		delete(r.world.tasks, taskID)
		return nil
	})
}

// Exec implements runtime.Runtime.
func (r *Runtime) Exec(ctx context.Context, id string, spec runtime.ExecSpec) (runtime.ExecResult, error) {
	var answer Answer
	var current *run
	err := r.do(ctx, Exec, id, func() error {
		c, err := r.world.running(id)
		if err != nil {
			return err
		}
		if len(spec.Args) == 0 {
			return errors.New("exec: no command specified")
		}
		if c.process.Exec != nil {
			answer = c.process.Exec(spec)
		}
		current = c.run
		return nil
	})
	if err != nil {
		return runtime.ExecResult{}, err
	}
	timer := time.NewTimer(answer.Takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-current.ended: // the kernel kills what runs in a container whose first process ends
		return runtime.ExecResult{ExitCode: 128 + uint32(syscall.SIGKILL)}, nil
	case <-r.crashed:
		return runtime.ExecResult{}, ErrCrashed
	case <-ctx.Done():
		return runtime.ExecResult{}, ctx.Err()
	}
	if answer.Err != nil {
		return runtime.ExecResult{}, answer.Err
	}
	answer.Result.Output = answer.Result.Output[:min(len(answer.Result.Output), runtime.MaxExecOutput)]
	return answer.Result, nil
}

// running looks up a container that must run. The world is locked.
func (w *World) running(id string) (*container, error) {
	c, err := w.find(id)
	if err != nil {
		return nil, err
	}
	if c.state != runtime.StateRunning {
		return nil, fmt.Errorf("container %q: %w", id, runtime.ErrNotRunning)
	}
	return c, nil
}

// Stats implements runtime.Runtime: a container uses a tenth of a CPU and 16 MiB.
func (r *Runtime) Stats(ctx context.Context, id string) (runtime.Stats, error) {
	var stats runtime.Stats
	err := r.do(ctx, Stats, id, func() error {
		c, err := r.world.running(id)
		if err != nil {
			return err
		}
		now := time.Now()
		age := uint64(now.Sub(c.started))
		stats = runtime.Stats{
			Read: now,
			CPU:  runtime.CPUStats{Usage: age / 10, UsageUser: age / 10, System: uint64(now.UnixNano()), OnlineCPUs: 1},
			Memory: runtime.MemoryStats{
				Usage: 16 << 20, MaxUsage: 16 << 20, Limit: uint64(max(c.spec.MemoryBytes, 0)),
			},
			Pids: runtime.PidsStats{Current: 1, Limit: uint64(max(c.spec.PidsLimit, 0))},
		}
		return nil
	})
	return stats, err
}

// Info implements runtime.Runtime.
func (r *Runtime) Info(ctx context.Context) (runtime.Info, error) {
	err := r.do(ctx, Info, "", func() error { return nil })
	if err != nil {
		return runtime.Info{}, err
	}
	return runtime.Info{Name: "fake", Version: "0", OCIRuntime: "none", CgroupVersion: 2, Snapshotter: "none"}, nil
}

// Purge implements runtime.Runtime.
func (r *Runtime) Purge(ctx context.Context) error {
	return r.do(ctx, Purge, "", func() error {
		for id := range r.world.containers {
			r.world.remove(id)
		}
		clear(r.world.tasks)
		clear(r.world.local)
		return nil
	})
}
