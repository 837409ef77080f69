package task_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/runtime/fake"
	"berth.dev/berth/internal/agent/task"
	"berth.dev/berth/internal/model"
)

// host is a node whose containers, network and disk are values, and whose
// agent can end and come back.
type host struct {
	t       *testing.T
	world   *fake.World
	dir     string
	journal *memJournal
	network *memNetwork

	logs      task.Logs
	endpoints task.Endpoints
	roles     *memRoles

	mu      sync.Mutex
	reports map[string][]model.TaskObserved
	deaf    bool // the control plane does not acknowledge

	noBridge bool
	volumes  *memVolumes // nil: the node makes none

	engine  *task.Engine
	crashed <-chan struct{} // closed when a fault has killed the agent
	stop    func()
}

func newHost(t *testing.T) *host {
	h := &host{
		t: t, world: fake.NewWorld(), dir: t.TempDir(),
		journal: &memJournal{records: map[string]task.Record{}},
		network: &memNetwork{attached: map[string]bool{}},
		reports: map[string][]model.TaskObserved{},
		logs:    noLogs{}, endpoints: noEndpoints{},
		roles: &memRoles{fetched: map[string]bool{}},
	}
	h.world.AddImage(runtime.Image{Ref: "app:1", Cmd: []string{"/app"}})
	h.begin()
	return h
}

// begin starts an agent on the host, and another one when a fault kills it
// before it has begun.
func (h *host) begin() {
	for h.beginOnce(); ; h.beginOnce() {
		select {
		case <-h.engine.Loaded():
			return
		case <-h.crashed:
			h.stop()
		}
	}
}

func (h *host) beginOnce() {
	rt := h.world.Connect()
	h.crashed = rt.Crashed()
	var bridge task.Bridge = h.network
	if h.noBridge {
		bridge = nil
	}
	var volumes task.Volumes
	if h.volumes != nil {
		volumes = h.volumes
	}
	h.engine = task.New(task.Config{
		Volumes: volumes,
		Runtime: mortal{rt}, Network: h.network, Bridge: bridge, HostMetadata: "127.170.0.1", Logs: h.logs, Endpoints: h.endpoints,
		Journal: mortalJournal{h.journal, rt}, Report: h.report, Roles: h.roles, SecretsDir: "/run/secrets", TaskEndpoint: true, Dir: h.dir, MaxOpenFiles: 65535,
		Limits: task.DefaultLimits(), Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	engine := h.engine
	go func() { done <- engine.Run(ctx) }()
	h.stop = func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, fake.ErrCrashed) {
			h.t.Error(err)
		}
	}
}

// pass lets time pass and starts another agent when a fault killed this one.
func (h *host) pass(d time.Duration, assignments ...model.Assignment) {
	time.Sleep(d)
	synctest.Wait()
	select {
	case <-h.crashed:
		h.restart(assignments...)
		time.Sleep(d)
	default:
	}
}

// restart ends the agent and starts another, which is told the same tasks but
// those that the control plane knows to have stopped.
func (h *host) restart(assignments ...model.Assignment) {
	h.stop()
	h.begin()
	h.engine.Assign(slices.DeleteFunc(slices.Clone(assignments), func(a model.Assignment) bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		all := h.reports[a.Task.ID]
		return !h.deaf && len(all) > 0 && all[len(all)-1].Status == model.TaskStopped
	}), true)
}

func (h *host) report(id string, o model.TaskObserved) {
	h.mu.Lock()
	h.reports[id] = append(h.reports[id], o)
	engine, deaf := h.engine, h.deaf
	h.mu.Unlock()
	if !deaf {
		engine.Acknowledge(id, o.Seq)
	}
}

// last settles and returns the newest report of a task.
func (h *host) last(id string) model.TaskObserved {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.reports[id]
	if len(all) == 0 {
		return model.TaskObserved{}
	}
	return all[len(all)-1]
}

// assignment builds a Fargate task of the given containers.
func assignment(id string, containers ...model.ContainerDefinition) model.Assignment {
	a := model.Assignment{
		Region: "us-east-1", AccountID: "123456789012",
		Task: model.Task{
			ID: id, ARN: "arn:aws:ecs:us-east-1:123456789012:task/default/" + id,
			LaunchType: model.LaunchFargate, CPU: "256", Memory: "512",
			DesiredStatus: model.TaskRunning, Observed: model.TaskObserved{Status: model.TaskProvisioning},
		},
		TaskDefinition: model.TaskDefinition{Family: "f", Revision: 1, ContainerDefinitions: containers},
		NetworkInterface: &model.AssignedNetwork{
			NetworkInterface: model.NetworkInterface{ID: "eni-" + id, Address: "172.31.0.5"},
		},
	}
	for i, c := range containers {
		a.Task.Containers = append(a.Task.Containers, model.TaskContainer{Name: c.Name, RuntimeID: fmt.Sprintf("%s-%d", id, i), Image: c.Image})
	}
	return a
}

func stopped(a model.Assignment) model.Assignment {
	a.Task.DesiredStatus, a.Task.StopCode = model.TaskStopped, model.StopUserInitiated
	return a
}

type memJournal struct {
	mu      sync.Mutex
	records map[string]task.Record
	full    bool // the disk is
}

func (j *memJournal) fill(full bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.full = full
}

func (j *memJournal) empty() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.records) == 0
}

func (j *memJournal) Put(records []task.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.full {
		return errors.New("no space left on device")
	}
	for _, r := range records {
		j.records[r.Assignment.Task.ID] = r
	}
	return nil
}

func (j *memJournal) Delete(id string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.records, id)
	return nil
}

func (j *memJournal) Load() ([]task.Record, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []task.Record
	for _, r := range j.records {
		out = append(out, r)
	}
	return out, nil
}

type memNetwork struct {
	mu       sync.Mutex
	attached map[string]bool
	err      error // of Attach and of Connect
	silent   bool  // Attach waits until it is given up
	ports    map[string][]network.Port
	connects int
	hostName bool
}

// Connect counts host ports and addresses up, and forgets none.
func (n *memNetwork) Connect(_ context.Context, c network.Container) (network.Connection, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return network.Connection{}, n.err
	}
	n.connects++
	n.attached[c.ID] = true
	if n.ports == nil {
		n.ports = map[string][]network.Port{}
	}
	if _, known := n.ports[c.ID]; !known {
		ports := slices.Clone(c.Ports)
		for i := range ports {
			if ports[i].Host == 0 {
				ports[i].Host = uint16(32768 + 10*len(n.ports) + i)
			}
		}
		n.ports[c.ID] = ports
	}
	address := netip.AddrFrom4([4]byte{172, 17, 0, byte(3 + len(n.ports))})
	return network.Connection{NetNSPath: n.NetNSPath(c.ID), Address: address, Ports: n.ports[c.ID]}, nil
}

func (n *memNetwork) HostNetNSPath() string { return "/run/netns/host" }

func (n *memNetwork) NameHost() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hostName = true
	return nil
}

func (n *memNetwork) NetNSPath(eniID string) string { return "/run/netns/" + eniID }

func (n *memNetwork) Attach(ctx context.Context, eni model.AssignedNetwork) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.silent {
		n.attached[eni.ID] = true
		n.mu.Unlock()
		<-ctx.Done()
		n.mu.Lock()
		return "", ctx.Err()
	}
	if n.err != nil {
		return "", n.err
	}
	n.attached[eni.ID] = true
	return "/run/netns/" + eni.ID, nil
}

func (n *memNetwork) Detach(_ context.Context, id string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.attached, id)
	return nil
}

func (n *memNetwork) List(context.Context) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for id := range n.attached {
		out = append(out, id)
	}
	return out, nil
}

func (n *memNetwork) empty() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.attached) == 0
}

// memRoles is the control plane as tasks' roles know it, and a tmpfs.
type memRoles struct {
	mu      sync.Mutex
	fetched map[string]bool
	calls   []string
	err     error         // of Fetch
	pullErr error         // of AuthorizePull
	away    chan struct{} // Fetch waits until it is closed; nil: not at all
}

func (r *memRoles) Fetch(ctx context.Context, a *model.Assignment) error {
	r.mu.Lock()
	r.calls = append(r.calls, "fetch "+a.Task.ID)
	away := r.away
	r.mu.Unlock()
	if away != nil {
		select {
		case <-away:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetched[a.Task.ID] = r.err == nil
	return r.err
}

func (r *memRoles) Resume(a *model.Assignment) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, "resume "+a.Task.ID)
	return r.fetched[a.Task.ID]
}

func (r *memRoles) AuthorizePull(_ context.Context, a *model.Assignment, container string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, "pull "+a.Task.ID+" "+container)
	return r.pullErr
}

func (r *memRoles) Login(taskID, container string) *runtime.Auth {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.fetched[taskID] {
		return nil
	}
	return &runtime.Auth{Username: container, Password: "p"}
}

func (r *memRoles) Forget(taskID string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fetched[taskID] {
		r.calls = append(r.calls, "forget "+taskID)
	}
	delete(r.fetched, taskID)
	return nil
}

func (r *memRoles) Sweep(known map[string]bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.fetched {
		if !known[id] {
			delete(r.fetched, id)
		}
	}
	return nil
}

// heard returns what was asked since the last time.
func (r *memRoles) heard() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.calls
	r.calls = nil
	return out
}

type noLogs struct{}

func (noLogs) Prepare(context.Context, *model.Assignment, *model.ContainerDefinition, string) (runtime.Log, error) {
	return runtime.Log{}, nil
}
func (noLogs) Finish(context.Context, string) error { return nil }

type noEndpoints struct{}

func (noEndpoints) Serve(ctx context.Context, _ *model.Assignment, _ string, ready func()) error {
	ready()
	<-ctx.Done()
	return ctx.Err()
}

// mortal is the runtime of a process that a fault may kill: the call in which
// it dies never returns.
type mortal struct{ *fake.Runtime }

func die[T any](ctx context.Context, v T, err error) (T, error) {
	if errors.Is(err, fake.ErrCrashed) {
		<-ctx.Done()
	}
	return v, err
}

func die0(ctx context.Context, err error) error {
	_, err = die(ctx, struct{}{}, err)
	return err
}

func (m mortal) EnsureImage(ctx context.Context, r runtime.ImageRequest) (runtime.Image, error) {
	v, err := m.Runtime.EnsureImage(ctx, r)
	return die(ctx, v, err)
}

func (m mortal) PrepareTask(ctx context.Context, t runtime.Task) (string, error) {
	v, err := m.Runtime.PrepareTask(ctx, t)
	return die(ctx, v, err)
}

func (m mortal) Create(ctx context.Context, s runtime.Spec) error {
	return die0(ctx, m.Runtime.Create(ctx, s))
}

func (m mortal) Start(ctx context.Context, id string) (runtime.Status, error) {
	v, err := m.Runtime.Start(ctx, id)
	return die(ctx, v, err)
}

func (m mortal) Restart(ctx context.Context, id string, n int) (runtime.Status, error) {
	v, err := m.Runtime.Restart(ctx, id, n)
	return die(ctx, v, err)
}

func (m mortal) Status(ctx context.Context, id string) (runtime.Status, error) {
	v, err := m.Runtime.Status(ctx, id)
	return die(ctx, v, err)
}

func (m mortal) List(ctx context.Context) ([]runtime.Status, error) {
	v, err := m.Runtime.List(ctx)
	return die(ctx, v, err)
}

func (m mortal) Wait(ctx context.Context, id string) (runtime.Exit, error) {
	v, err := m.Runtime.Wait(ctx, id)
	return die(ctx, v, err)
}

func (m mortal) Kill(ctx context.Context, id string, sig syscall.Signal) error {
	return die0(ctx, m.Runtime.Kill(ctx, id, sig))
}

func (m mortal) Remove(ctx context.Context, id string) error {
	return die0(ctx, m.Runtime.Remove(ctx, id))
}

func (m mortal) RemoveTask(ctx context.Context, id string) error {
	return die0(ctx, m.Runtime.RemoveTask(ctx, id))
}

func (m mortal) Exec(ctx context.Context, id string, s runtime.ExecSpec) (runtime.ExecResult, error) {
	v, err := m.Runtime.Exec(ctx, id, s)
	return die(ctx, v, err)
}

// mortalJournal is the disk as seen by that process.
type mortalJournal struct {
	*memJournal
	life *fake.Runtime
}

func (j mortalJournal) Put(records []task.Record) error {
	select {
	case <-j.life.Crashed():
		return fake.ErrCrashed
	default:
		return j.memJournal.Put(records)
	}
}

func (j mortalJournal) Delete(id string) error {
	select {
	case <-j.life.Crashed():
		return fake.ErrCrashed
	default:
		return j.memJournal.Delete(id)
	}
}
