package task

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/model"
)

// Network makes and removes the network interfaces of tasks.
type Network interface {
	// NetNSPath is where Attach makes an interface's namespace.
	NetNSPath(eniID string) string
	// Attach makes the interface and returns its namespace. It is idempotent.
	Attach(ctx context.Context, eni model.AssignedNetwork) (netnsPath string, err error)
	// Detach removes it; removing what is not there succeeds.
	Detach(ctx context.Context, eniID string) error
	// List names the interfaces that exist.
	List(ctx context.Context) ([]string, error)
}

// Logs carries the output of containers to CloudWatch Logs.
type Logs interface {
	// Prepare makes the log stream of a container and says where its output
	// goes. The text of an error is what the user reads as stopped reason.
	Prepare(ctx context.Context, a *model.Assignment, def *model.ContainerDefinition, runtimeID string) (runtime.Log, error)
	// Finish is called after the container was removed. It returns when
	// everything that it wrote was delivered, or with ctx's error: the rest is
	// delivered later.
	Finish(ctx context.Context, runtimeID string) error
}

// Endpoints answers metadata and DNS inside a task's namespace.
type Endpoints interface {
	// Serve calls ready once when it answers, and serves until ctx ends.
	Serve(ctx context.Context, a *model.Assignment, netnsPath string, ready func()) error
}

// Journal keeps what must survive the agent. Writes are durable when they
// return.
type Journal interface {
	Put(records []Record) error
	Delete(taskID string) error
	Load() ([]Record, error)
}

// Record is what the journal holds of one task.
type Record struct {
	Assignment model.Assignment `json:"assignment"`
	State      State            `json:"state"`
}

// Limits bound what a step may take.
type Limits struct {
	Pull, Create, Start time.Duration
	// Drain is how long a stopping task waits for its last log lines; what is
	// left is delivered after it has stopped.
	Drain time.Duration
}

// DefaultLimits are those of ECS's agent (behaviour/task-lifecycle.md §13).
func DefaultLimits() Limits {
	return Limits{Pull: 2 * time.Hour, Create: 4 * time.Minute, Start: 3 * time.Minute, Drain: 5 * time.Second}
}

// Config is what an Engine is made of. All but Bridge, Roles and what they need is required.
type Config struct {
	Runtime runtime.Runtime
	Network Network
	// Bridge is for tasks in network modes bridge and host; without it they
	// fail to start.
	Bridge    Bridge
	Logs      Logs
	Endpoints Endpoints
	Journal   Journal
	// Report is told every change of a task's observed state, after the journal
	// has it. It must not block.
	Report func(taskID string, observed model.TaskObserved)
	// Roles does what tasks' roles are for; without it tasks that have one fail
	// to start.
	Roles Roles
	// Owns reports whether image names with that host mean the control plane's
	// own registry, whose pulls are authorised as ECR's are. It may be nil.
	Owns func(host string) bool
	// Volumes makes Docker, EFS and EBS volumes; without it tasks that have one
	// fail to start.
	Volumes Volumes
	// SecretsDir is where Roles keeps what it fetched (secrets.ContainerDir).
	SecretsDir string
	// TaskEndpoint says that Endpoints also answers for the AWS API, so that
	// containers are told its address.
	TaskEndpoint bool
	// HostMetadata is the address of the metadata endpoint for tasks in network
	// mode host, which have no namespace to answer in: an address of the host,
	// with a port when that is not 80.
	HostMetadata string
	// Dir is where tasks keep files on this host.
	Dir string
	// MaxOpenFiles is the most that this host may allow a container.
	MaxOpenFiles int64
	Limits       Limits
	Log          *slog.Logger
}

// Engine runs every task of this node.
type Engine struct {
	cfg    Config
	layout layout
	saver  *saver

	mu      sync.Mutex
	tasks   map[string]*runner
	mayMake bool          // the control plane has sent the complete set
	spawn   chan *runner  // to Run, which owns the goroutines
	loaded  chan struct{} // closed when the journal was read
}

// New returns an Engine. Nothing happens before Run.
func New(cfg Config) *Engine {
	if cfg.Roles == nil {
		cfg.Roles = noRoles{}
	}
	if cfg.Owns == nil {
		cfg.Owns = func(string) bool { return false }
	}
	if cfg.Bridge == nil {
		cfg.Bridge = noBridge{}
	}
	if cfg.Volumes == nil {
		cfg.Volumes = noVolumes{}
	}
	e := &Engine{
		cfg: cfg,
		layout: layout{
			dir: cfg.Dir, nofile: cfg.MaxOpenFiles, netns: cfg.Network.NetNSPath,
			hostNetNS: cfg.Bridge.HostNetNSPath(), hostMetadata: cfg.HostMetadata,
			secrets: cfg.SecretsDir, endpoint: cfg.TaskEndpoint, volumes: cfg.Volumes,
		},
		tasks:  map[string]*runner{},
		spawn:  make(chan *runner, 1024),
		loaded: make(chan struct{}),
	}
	e.saver = newSaver(cfg.Journal, cfg.Report, cfg.Log)
	return e
}

// Run adopts what the journal holds, removes what nobody knows, and runs tasks
// until ctx ends. Ending it touches no task.
func (e *Engine) Run(ctx context.Context) error {
	records, err := e.cfg.Journal.Load()
	if err != nil {
		return fmt.Errorf("reading the journal of tasks: %w", err)
	}
	if err := e.sweep(ctx, records); ctx.Err() != nil {
		return nil
	} else if err != nil {
		return fmt.Errorf("removing what no task owns: %w", err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { e.saver.run(ctx) })
	wg.Go(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, r := range records {
			e.add(r.Assignment, r.State)
		}
		close(e.loaded)
	})
	for {
		select {
		case r := <-e.spawn:
			wg.Go(func() { r.run(ctx) })
		case <-ctx.Done():
			return nil
		}
	}
}

// sweep removes containers and interfaces that no task of the journal owns: an
// earlier agent died between making them and writing it down, or its journal
// is lost. What cannot be removed is said and left to the next start: one thing
// that is stuck must not keep a whole node from running.
func (e *Engine) sweep(ctx context.Context, records []Record) error {
	tasks, enis := map[string]bool{}, map[string]bool{}
	for _, r := range records {
		tasks[r.Assignment.Task.ID] = true
		if r.State.Released {
			continue
		}
		if r.Assignment.NetworkInterface != nil {
			enis[r.Assignment.NetworkInterface.ID] = true
		}
		for _, id := range bridgeIDs(&r.Assignment) {
			enis[id] = true
		}
	}
	containers, err := e.cfg.Runtime.List(ctx)
	if err != nil {
		return err
	}
	attached, err := e.cfg.Network.List(ctx)
	if err != nil {
		return err
	}
	orphans := map[string]bool{}
	for _, c := range containers {
		if !tasks[c.TaskID] {
			e.swept(ctx, "container", c.ID, e.cfg.Runtime.Remove(ctx, c.ID))
			orphans[c.TaskID] = true
		}
	}
	for id := range orphans {
		e.swept(ctx, "control group", id, e.cfg.Runtime.RemoveTask(ctx, id))
	}
	for _, id := range attached {
		if !enis[id] {
			e.swept(ctx, "network interface", id, e.cfg.Network.Detach(ctx, id))
		}
	}
	if err := e.cfg.Roles.Sweep(tasks); err != nil {
		e.swept(ctx, "secrets", e.cfg.SecretsDir, err)
	}
	if err := e.cfg.Volumes.Sweep(ctx, tasks); err != nil {
		e.swept(ctx, "volumes", e.cfg.Dir, err)
	}
	if err := e.layout.sweep(tasks); err != nil {
		e.swept(ctx, "directory", e.cfg.Dir, err)
	}
	return nil
}

// swept says what became of a thing that no task owns.
func (e *Engine) swept(ctx context.Context, kind, id string, err error) {
	if err != nil {
		e.cfg.Log.ErrorContext(ctx, "something that no task owns could not be removed", "kind", kind, "id", id, telemetry.Error, err)
		return
	}
	e.cfg.Log.WarnContext(ctx, "removed something that no task owns", "kind", kind, "id", id)
}

// Loaded is closed when the journal was read and Assign may be called.
func (e *Engine) Loaded() <-chan struct{} { return e.loaded }

// Assign takes what the control plane wants. A complete set also ends every
// task that is not in it: the control plane has forgotten it or moved it.
func (e *Engine) Assign(assignments []model.Assignment, complete bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	named := map[string]bool{}
	for _, a := range assignments {
		named[a.Task.ID] = true
		if r, known := e.tasks[a.Task.ID]; known {
			r.send(message{desired: &a.Task})
			continue
		}
		e.add(a, firstState(&a))
	}
	if !complete {
		return
	}
	e.mayMake = true
	for id, r := range e.tasks {
		r.send(message{mayMake: true, forget: !named[id]})
	}
}

// firstState is the state of a task that the journal does not know. When the
// control plane has had reports about it, the journal was lost, and so were
// its containers: it must not run a second time.
func firstState(a *model.Assignment) State {
	s := NewState(a)
	if a.Task.Observed.Seq == 0 {
		return s
	}
	s.Seq = a.Task.Observed.Seq
	s.advance(a.Task.Observed.Status)
	s.StopCode = model.StopTerminationNotice
	s.StoppedReason = "Host " + a.Task.InstanceID + " lost its record of the task."
	return s
}

// add makes the runner of a task; e.mu is held.
func (e *Engine) add(a model.Assignment, s State) {
	r := newRunner(e, a, s)
	e.tasks[a.Task.ID] = r
	e.spawn <- r
}

// Acknowledge says that the control plane has a report durably. The report of
// a task's end lets the node forget it.
func (e *Engine) Acknowledge(taskID string, seq uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r, ok := e.tasks[taskID]; ok {
		r.send(message{acked: seq})
	}
}

// Reports returns the newest durable report of every task, for a session that
// begins.
func (e *Engine) Reports() map[string]model.TaskObserved { return e.saver.reports() }

// View is a task as it is now, for the metadata endpoint.
type View struct {
	Assignment *model.Assignment
	State      State
}

// Task returns the view of a task.
func (e *Engine) Task(taskID string) (View, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, ok := e.tasks[taskID]
	if !ok {
		return View{}, false
	}
	return *r.view.Load(), true
}

// Images names the images that tasks use or are about to use, as
// runtime.Image.Name.
func (e *Engine) Images() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var names []string
	for _, r := range e.tasks {
		for _, c := range r.view.Load().State.Containers {
			if c.Image != nil && c.Phase < PhaseRemoved {
				names = append(names, c.Image.Name)
			}
		}
	}
	return names
}

// HostTask returns the task in network mode host of which a container, or the
// credentials, have an id.
func (e *Engine) HostTask(id string) (taskID string, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if id == "" {
		return "", false
	}
	for taskID, r := range e.tasks {
		v := r.view.Load()
		if modeOf(v.Assignment) != modeHost {
			continue
		}
		if v.State.CredentialsID == id {
			return taskID, true
		}
		for _, c := range v.Assignment.Task.Containers {
			if c.RuntimeID == id {
				return taskID, true
			}
		}
	}
	return "", false
}

func (e *Engine) forget(r *runner) {
	e.mu.Lock()
	delete(e.tasks, r.id)
	e.mu.Unlock()
}
