package task

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/model"
)

// watchedRun is one run of a container that is being waited for and checked.
type watchedRun struct {
	restart int
	cancel  context.CancelFunc
}

// adopt learns what became of the task while no agent looked: the runtime
// knows which containers run and how the others ended.
func (r *runner) adopt(ctx context.Context) {
	defer r.adoptNetwork(ctx)
	r.adoptRoles()
	r.adoptVolumes()
	for i := range r.s.Containers {
		c := r.s.Containers[i]
		// The journal may be some steps behind: a container of which it knows the
		// image may have run already, and one that has ended may have been
		// restarted. One of which it does not know the image either is found by
		// Create and Start, which leave alone what exists.
		restarted := c.Phase == PhaseExited && c.RanOnce && r.a.TaskDefinition.ContainerDefinitions[i].RestartPolicy != nil
		if c.Phase != PhasePulled && c.Phase != PhaseCreated && c.Phase != PhaseRunning && !restarted {
			continue
		}
		status, err := r.look(ctx, c.Name)
		switch {
		case errors.Is(err, runtime.ErrNotFound) && c.Phase == PhaseRunning:
			r.apply(Event{Kind: EventExited, Container: c.Name, Exit: lostExit()})
		case errors.Is(err, runtime.ErrNotFound):
		case err != nil:
			// The waiter of a container that runs asks again.
			r.log.WarnContext(ctx, "a container cannot be looked at", telemetry.Container, c.Name, telemetry.Error, err)
		case restarted && status.Restarts <= c.Restarts:
		case status.State == runtime.StateRunning:
			r.apply(Event{Kind: EventStarted, Container: c.Name, Status: &status, Restart: status.Restarts})
		case status.State == runtime.StateExited:
			r.apply(Event{Kind: EventStarted, Container: c.Name, Status: &status, Restart: status.Restarts})
			r.apply(Event{Kind: EventExited, Container: c.Name, Exit: status.Exit})
		}
	}
}

// adoptPatience is how long the runtime may take to say how one container is. A
// runtime that hangs over one must not keep the task from going on.
const adoptPatience = 10 * time.Second

func (r *runner) look(ctx context.Context, name string) (runtime.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, adoptPatience)
	defer cancel()
	return r.e.cfg.Runtime.Status(ctx, runtimeID(&r.a, name))
}

// adoptNetwork answers in the namespace of a task that runs. The interface of
// one that does not is made again, which changes nothing when it is there: it
// is not when the host was restarted.
func (r *runner) adoptNetwork(ctx context.Context) {
	if modeOf(&r.a) == modeBridge {
		r.adoptBridge(ctx)
		return
	}
	if !r.s.Attached || r.s.Released || r.a.NetworkInterface == nil {
		return
	}
	if !slices.ContainsFunc(r.s.Containers, func(c ContainerState) bool { return c.Phase == PhaseRunning }) {
		s := r.s.clone()
		s.Attached = false
		r.commit(s)
		return
	}
	r.serve(r.serveUntil(ctx, ""), r.s.NetNSPath)
}

// adoptBridge is adoptNetwork for containers that each have a namespace. One
// that never ran is connected again; it keeps its ports when they are there.
func (r *runner) adoptBridge(ctx context.Context) {
	s := r.s.clone()
	for i := range s.Containers {
		c := &s.Containers[i]
		switch {
		case !c.Connected || r.s.Released:
		case c.Phase < PhaseRunning:
			c.Connected = false
		case c.Phase == PhaseRunning || restartable(&r.a.TaskDefinition.ContainerDefinitions[i], c):
			r.serve(r.serveUntil(ctx, c.Name), r.e.cfg.Network.NetNSPath(bridgeID(runtimeID(&r.a, c.Name))))
		}
	}
	r.commit(s)
}

// serveUntil is the life of the answers in a namespace: that of the task, or,
// with its name, of a container. It ends when the task is released, or when
// answering begins anew.
func (r *runner) serveUntil(ctx context.Context, container string) context.Context {
	if before, ok := r.serving[container]; ok {
		before()
	}
	serveCtx, cancel := context.WithCancel(ctx)
	r.serving[container] = cancel
	return serveCtx
}

func lostExit() *runtime.Exit {
	return &runtime.Exit{Code: runtime.LostExitCode, At: time.Now(), Lost: true}
}

func (r *runner) apply(e Event) {
	if e.At.IsZero() {
		e.At = time.Now()
	}
	r.commit(Apply(&r.a, r.s, e))
}

// watch keeps one waiter, and one health checker where there is a check, on
// every run of a container.
func (r *runner) watch(ctx context.Context) {
	for i := range r.s.Containers {
		c := &r.s.Containers[i]
		run := r.runs[c.Name]
		if run != nil && (c.Phase != PhaseRunning || run.restart != c.Restarts) {
			run.cancel()
			delete(r.runs, c.Name)
			run = nil
		}
		if c.Phase != PhaseRunning || run != nil {
			continue
		}
		runCtx, cancel := context.WithCancel(ctx)
		r.runs[c.Name] = &watchedRun{restart: c.Restarts, cancel: cancel}
		name := c.Name
		r.wg.Go(func() { r.await(runCtx, name) })
		if def, ok := r.a.TaskDefinition.Container(name); ok && hasHealthCheck(def) {
			r.wg.Go(func() { r.check(runCtx, name, *def.HealthCheck) })
		}
	}
}

// await sends the container's exit.
func (r *runner) await(ctx context.Context, name string) {
	id := runtimeID(&r.a, name)
	for {
		exit, err := r.e.cfg.Runtime.Wait(ctx, id)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, runtime.ErrNotFound) {
			exit, err = *lostExit(), nil
		}
		if err == nil {
			r.send(message{event: &Event{Kind: EventExited, At: time.Now(), Container: name, Exit: &exit}})
			return
		}
		r.log.WarnContext(ctx, "waiting for a container failed", telemetry.Container, name, telemetry.Error, err)
		if !pause(ctx, time.Second) {
			return
		}
	}
}

// check runs the health check every interval, the first time one interval
// after it began to watch.
func (r *runner) check(ctx context.Context, name string, check model.HealthCheck) {
	for pause(ctx, seconds(check.Interval, 30)) {
		result := r.checkOnce(ctx, name, check)
		if ctx.Err() != nil {
			return
		}
		r.send(message{event: &Event{Kind: EventChecked, At: time.Now(), Container: name, Check: &result}})
	}
}

func (r *runner) checkOnce(ctx context.Context, name string, check model.HealthCheck) checkResult {
	timeout := seconds(check.Timeout, 5)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	result, err := r.e.cfg.Runtime.Exec(ctx, runtimeID(&r.a, name), runtime.ExecSpec{Args: checkArgs(check)})
	output := string(result.Output)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return checkResult{Output: output + fmt.Sprintf("Health check exceeded timeout (%s)", timeout)}
	case err != nil:
		return checkResult{Output: err.Error()}
	}
	return checkResult{OK: result.ExitCode == 0, Output: output}
}

// serve answers metadata and DNS in the task's namespace until ctx ends. What
// it sends is nil when it answers, or why it does not; it keeps trying then.
func (r *runner) serve(ctx context.Context, netnsPath string) <-chan error {
	first := make(chan error, 1)
	a := r.view.Load().Assignment
	r.wg.Go(func() {
		for {
			err := r.e.cfg.Endpoints.Serve(ctx, a, netnsPath, func() { offer(first, nil) })
			if ctx.Err() != nil {
				return
			}
			offer(first, err)
			r.log.WarnContext(ctx, "metadata and DNS do not answer in the task's namespace", telemetry.Error, err)
			if !pause(ctx, time.Second) {
				return
			}
		}
	})
	return first
}

func offer(c chan<- error, err error) {
	select {
	case c <- err:
	default:
	}
}
