package task

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/model"
)

// begin takes a step in a goroutine of its own. What the step needs of the
// runner's state is copied here, because only the runner may look at it.
func (r *runner) begin(ctx context.Context, step Step) {
	subject := step.subject()
	r.busy[subject] = true
	job := job{r: r, step: step, a: r.a, s: r.s.clone(), saved: r.saved}
	switch step.Kind { //nolint:exhaustive // the others need nothing here
	case StepAttach, StepConnect:
		serveCtx := r.serveUntil(ctx, step.Container)
		stepCtx, cancel := context.WithCancel(ctx)
		r.awaits[subject] = cancel
		r.wg.Go(func() {
			defer cancel()
			if step.Kind == StepConnect {
				r.finish(ctx, subject, job.connect(stepCtx, serveCtx))
				return
			}
			r.finish(ctx, subject, job.attach(stepCtx, serveCtx))
		})
		return
	case StepFetch, StepPrepare:
		stepCtx, cancel := context.WithCancel(ctx)
		r.awaits[subject] = cancel
		r.wg.Go(func() {
			defer cancel()
			if step.Kind == StepPrepare {
				r.finish(ctx, subject, job.prepare(stepCtx))
				return
			}
			r.finish(ctx, subject, job.fetch(stepCtx))
		})
		return
	case StepPull:
		r.commit(Apply(&r.a, r.s, Event{Kind: EventPulling, At: time.Now(), Container: step.Container}))
		pullCtx, cancel := context.WithTimeout(ctx, r.e.cfg.Limits.Pull)
		r.awaits[subject] = cancel
		r.wg.Go(func() {
			defer cancel()
			r.finish(ctx, subject, job.pull(pullCtx))
		})
		return
	case StepRelease:
		for name, cancel := range r.serving {
			cancel()
			delete(r.serving, name)
		}
	}
	r.wg.Go(func() { r.finish(ctx, subject, job.do(ctx)) })
}

// finish sends the outcome of a step, unless the agent is ending: then the
// next agent takes the step again.
func (r *runner) finish(ctx context.Context, subject string, e *Event) {
	if ctx.Err() != nil {
		return
	}
	if e != nil && e.At.IsZero() {
		e.At = time.Now()
	}
	r.send(message{event: e, done: subject})
}

// job is one step with the state it began in.
type job struct {
	r     *runner
	step  Step
	a     model.Assignment
	s     State
	saved <-chan struct{}
}

func (j *job) id() string { return runtimeID(&j.a, j.step.Container) }

func (j *job) def() *model.ContainerDefinition {
	def, _ := j.a.TaskDefinition.Container(j.step.Container)
	return def
}

func (j *job) event(kind EventKind) *Event { return &Event{Kind: kind, Container: j.step.Container} }

func (j *job) failed(format string, args ...any) *Event {
	return &Event{Kind: EventFailed, Container: j.step.Container, Reason: fmt.Sprintf(format, args...)}
}

func (j *job) do(ctx context.Context) *Event {
	switch j.step.Kind {
	case StepCreate:
		return j.create(ctx)
	case StepStart, StepRestart:
		return j.start(ctx)
	case StepSignal:
		return j.insist(ctx, EventSignalled, func() error {
			return ignoreGone(j.r.e.cfg.Runtime.Kill(ctx, j.id(), stopSignal(j.s.container(j.step.Container).Image)))
		})
	case StepKill:
		return j.insist(ctx, EventKilled, func() error {
			return ignoreGone(j.r.e.cfg.Runtime.Kill(ctx, j.id(), syscall.SIGKILL))
		})
	case StepRemove:
		return j.remove(ctx)
	case StepRelease:
		return j.release(ctx)
	default:
		return j.failed("InternalError: unknown step %s", j.step.Kind)
	}
}

// ignoreGone: a container that is no longer there has ended, and its waiter
// says so.
func ignoreGone(err error) error {
	if errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	return err
}

// insist takes a step that must succeed sooner or later: a process that must
// stop, a thing that must go.
func (j *job) insist(ctx context.Context, kind EventKind, do func() error) *Event {
	wait := 100 * time.Millisecond
	for {
		err := do()
		if err == nil {
			return j.event(kind)
		}
		if ctx.Err() != nil {
			return nil
		}
		j.r.log.WarnContext(ctx, "a step of a task failed and is taken again", "step", string(j.step.Kind),
			telemetry.Container, j.step.Container, telemetry.Error, err)
		if !pause(ctx, wait) {
			return nil
		}
		wait = min(2*wait, 10*time.Second)
	}
}

// attach makes the interface, and metadata and DNS answer in its namespace
// before any container can ask. serveCtx is the life of the answers.
func (j *job) attach(ctx, serveCtx context.Context) *Event {
	path, err := j.r.e.cfg.Network.Attach(ctx, *j.a.NetworkInterface)
	if ctx.Err() != nil {
		return nil // the task stops, or the agent: that is no failure of the network
	}
	if err != nil {
		return j.failed("ContainerNetworkingError: the network interface %s could not be made: %v", j.a.NetworkInterface.ID, err)
	}
	if failed := j.answer(ctx, serveCtx, path); failed != nil || ctx.Err() != nil {
		return failed
	}
	return &Event{Kind: EventAttached, Path: path}
}

// answer begins to answer metadata and DNS in a namespace, and returns when
// that is so, or the event that says why it is not.
func (j *job) answer(ctx, serveCtx context.Context, path string) *Event {
	select {
	case err := <-j.r.serve(serveCtx, path):
		if err != nil {
			return j.failed("ContainerNetworkingError: metadata and DNS do not answer in the task's namespace: %v", err)
		}
	case <-ctx.Done():
	}
	return nil
}

// connect gives a container its place on the bridge network, its ports on the
// host, and the files that say so.
func (j *job) connect(ctx, serveCtx context.Context) *Event {
	c, err := j.r.e.cfg.Bridge.Connect(ctx, network.Container{ID: bridgeID(j.id()), TaskID: j.a.Task.ID, Ports: portsOf(j.def())})
	if ctx.Err() != nil {
		return nil // as above
	}
	if err == nil {
		err = j.r.e.layout.writeEtc(&j.a, &j.s, j.def(), c.Address)
	}
	if err != nil {
		return j.failed("CannotStartContainerError: %v", err)
	}
	if failed := j.answer(ctx, serveCtx, c.NetNSPath); failed != nil || ctx.Err() != nil {
		return failed
	}
	e := j.event(EventConnected)
	e.Address, e.Ports = c.Address.String(), bindingsOf(c.Ports)
	return e
}

func (j *job) prepare(ctx context.Context) *Event {
	cgroup, err := j.r.e.cfg.Runtime.PrepareTask(ctx, taskLimits(&j.a))
	switch {
	case ctx.Err() != nil:
		return nil // the task stops, or the agent
	case err != nil:
		return j.failed("ResourceInitializationError: the task's control group could not be made: %v", err)
	}
	if err := j.r.e.layout.prepare(&j.a); err != nil {
		return j.failed("CannotCreateVolumeError: %v", err)
	}
	switch err := j.r.e.cfg.Volumes.Prepare(ctx, &j.a); {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return j.failed("%v", err)
	}
	if modeOf(&j.a) == modeHost {
		if err := j.r.e.cfg.Bridge.NameHost(); err != nil {
			return j.failed("ContainerNetworkingError: %v", err)
		}
	}
	return &Event{Kind: EventPrepared, Path: cgroup}
}

// taskLimits are the hard limits that the task's containers share.
func taskLimits(a *model.Assignment) runtime.Task {
	limits := runtime.Task{ID: a.Task.ID}
	if cpu, err := strconv.ParseInt(a.Task.CPU, 10, 64); err == nil {
		limits.CPUUnits = cpu
	}
	if memory, err := strconv.ParseInt(a.Task.Memory, 10, 64); err == nil {
		limits.MemoryBytes = memory * mib
	}
	return limits
}

func (j *job) pull(ctx context.Context) *Event {
	def := j.def()
	request := runtime.ImageRequest{
		Ref: def.Image, Digest: imageDigest(&j.a, def.Name), TaskID: j.a.Task.ID, Container: def.Name,
		Progress: func(p model.PullProgress) { j.r.send(message{progress: &progress{def.Name, p}}) },
	}
	if j.authorized(def.Image) {
		err := j.r.e.cfg.Roles.AuthorizePull(ctx, &j.a, def.Name)
		switch {
		case err != nil && errors.Is(ctx.Err(), context.Canceled):
			return nil // the task stops
		case err != nil:
			return j.failed("%v", err)
		}
	}
	if def.RepositoryCredentials != nil {
		request.Auth = j.r.e.cfg.Roles.Login(j.a.Task.ID, def.Name)
	}
	image, err := j.r.e.cfg.Runtime.EnsureImage(ctx, request)
	var pull *runtime.PullError
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return nil // the task stops: that is no failure of the image
	case errors.As(err, &pull):
		return j.failed("CannotPullContainerError: %s", pull.Message)
	case err != nil:
		return j.failed("CannotPullContainerError: %v", err)
	}
	e := j.event(EventPulled)
	e.Image = &image
	return e
}

// imageDigest is what the task's revision says that a container's tag means.
func imageDigest(a *model.Assignment, name string) string {
	for _, c := range a.Task.Containers {
		if c.Name == name {
			return c.ImageDigest
		}
	}
	return ""
}

func (j *job) create(ctx context.Context) *Event {
	// A container of a task that no journal knows would be removed by the next
	// agent, and run again.
	if !await(ctx, j.r.known) {
		return nil
	}
	def := j.def()
	ctx, cancel := context.WithTimeout(ctx, j.r.e.cfg.Limits.Create)
	defer cancel()
	var log runtime.Log
	if def.LogConfiguration != nil {
		var err error
		if log, err = j.r.e.cfg.Logs.Prepare(ctx, &j.a, def, j.id()); err != nil {
			return j.failed("%v", err)
		}
	}
	if err := j.r.e.layout.prepareContainer(j.a.Task.ID, j.step.Container, j.s.container(j.step.Container).Image.Volumes); err != nil {
		return j.failed("CannotCreateVolumeError: %v", err)
	}
	if mode := modeIn(&j.a, def); mode == modeHost || mode == modeNone {
		if err := j.r.e.layout.writeEtc(&j.a, &j.s, def, netip.Addr{}); err != nil {
			return j.failed("CannotCreateContainerError: %v", err)
		}
	}
	spec, err := buildSpec(&j.a, &j.s, j.r.e.layout, j.step.Container, log)
	if err != nil {
		return j.failed("CannotCreateContainerError: %v", err)
	}
	err = j.r.e.cfg.Runtime.Create(ctx, spec)
	if errors.Is(err, runtime.ErrConflict) {
		err = j.recreate(ctx, spec)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return j.failed("ContainerRuntimeTimeoutError: Could not transition to created; timed out after waiting %s", j.r.e.cfg.Limits.Create)
	case err != nil:
		return j.failed("CannotCreateContainerError: %v", err)
	}
	return j.event(EventCreated)
}

// recreate makes a container anew that an earlier agent made from a
// specification of its own version and did not write down. One that has been
// started stays as it is: a task's container runs once.
func (j *job) recreate(ctx context.Context, spec runtime.Spec) error {
	status, err := j.r.e.cfg.Runtime.Status(ctx, spec.ID)
	if err != nil || status.State != runtime.StateCreated {
		return err
	}
	if err := j.r.e.cfg.Runtime.Remove(ctx, spec.ID); err != nil {
		return err
	}
	return j.r.e.cfg.Runtime.Create(ctx, spec)
}

func (j *job) start(ctx context.Context) *Event {
	// The ports that a container was given must be known before it runs: an
	// agent that adopts it does not ask for them again.
	if modeIn(&j.a, j.def()) == modeBridge && !await(ctx, j.saved) {
		return nil
	}
	life := ctx
	ctx, cancel := context.WithTimeout(ctx, j.r.e.cfg.Limits.Start)
	defer cancel()
	var status runtime.Status
	var err error
	if j.step.Kind == StepRestart {
		status, err = j.r.e.cfg.Runtime.Restart(ctx, j.id(), j.step.Restart)
	} else {
		status, err = j.r.e.cfg.Runtime.Start(ctx, j.id())
	}
	if err != nil && life.Err() == nil {
		// It may run all the same, and nobody would watch it.
		if err := ignoreGone(j.r.e.cfg.Runtime.Kill(life, j.id(), syscall.SIGKILL)); err != nil {
			j.r.log.WarnContext(life, "a container that could not be started was not killed", telemetry.Container, j.step.Container, telemetry.Error, err)
		}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return j.failed("ContainerRuntimeTimeoutError: Could not transition to started; timed out after waiting %s", j.r.e.cfg.Limits.Start)
	case err != nil:
		return j.failed("CannotStartContainerError: %v", err)
	}
	e := j.event(EventStarted)
	e.Status, e.Restart = &status, j.step.Restart
	return e
}

// remove takes a container away, after its exit is durable, and waits a little
// for its last lines to be delivered. Its logger ends with it.
func (j *job) remove(ctx context.Context) *Event {
	if !await(ctx, j.saved) {
		return nil
	}
	e := j.insist(ctx, EventRemoved, func() error { return j.r.e.cfg.Runtime.Remove(ctx, j.id()) })
	if e == nil || j.def().LogConfiguration == nil {
		return e
	}
	finish, cancel := context.WithTimeout(ctx, j.r.e.cfg.Limits.Drain)
	defer cancel()
	if err := j.r.e.cfg.Logs.Finish(finish, j.id()); err != nil && ctx.Err() == nil {
		j.r.log.InfoContext(ctx, "the task ends before its last lines were delivered", telemetry.Container, j.step.Container, telemetry.Error, err)
	}
	return e
}

// release takes away what the task held besides containers.
func (j *job) release(ctx context.Context) *Event {
	if !await(ctx, j.saved) {
		return nil
	}
	return j.insist(ctx, EventReleased, func() error {
		if eni := j.a.NetworkInterface; eni != nil {
			if err := j.r.e.cfg.Network.Detach(ctx, eni.ID); err != nil {
				return err
			}
		}
		for _, id := range bridgeIDs(&j.a) {
			if err := j.r.e.cfg.Network.Detach(ctx, id); err != nil {
				return err
			}
		}
		if err := j.r.e.cfg.Runtime.RemoveTask(ctx, j.a.Task.ID); err != nil {
			return err
		}
		if err := j.r.e.cfg.Volumes.Release(ctx, j.a.Task.ID); err != nil {
			return err
		}
		if err := j.r.e.cfg.Roles.Forget(j.a.Task.ID); err != nil {
			return err
		}
		return j.r.e.layout.remove(j.a.Task.ID)
	})
}

func await(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// stopSignal is the image's STOPSIGNAL, by name or number, else SIGTERM.
func stopSignal(image *runtime.Image) syscall.Signal {
	if image == nil || image.StopSignal == "" {
		return syscall.SIGTERM
	}
	if n, err := strconv.Atoi(image.StopSignal); err == nil {
		return syscall.Signal(n)
	}
	name := strings.ToUpper(image.StopSignal)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	// The real-time signals as the C library counts them: systemd's images ask
	// for SIGRTMIN+3.
	if n, ok := strings.CutPrefix(name, "SIGRTMIN+"); ok {
		if n, err := strconv.Atoi(n); err == nil && n >= 0 && n <= 30 {
			return syscall.Signal(34 + n)
		}
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig
	}
	return syscall.SIGTERM
}
