package task_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"

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

	mu      sync.Mutex
	reports map[string][]model.TaskObserved

	engine *task.Engine
	stop   func()
}

func newHost(t *testing.T) *host {
	h := &host{
		t: t, world: fake.NewWorld(), dir: t.TempDir(),
		journal: &memJournal{records: map[string]task.Record{}},
		network: &memNetwork{attached: map[string]bool{}},
		reports: map[string][]model.TaskObserved{},
	}
	h.world.AddImage(runtime.Image{Ref: "app:1", Cmd: []string{"/app"}})
	h.begin()
	return h
}

// begin starts an agent on the host.
func (h *host) begin() {
	rt := h.world.Connect()
	h.engine = task.New(task.Config{
		Runtime: rt, Network: h.network, Logs: noLogs{}, Endpoints: noEndpoints{}, Journal: h.journal,
		Report: h.report, Dir: h.dir, MaxOpenFiles: 65535,
		Limits: task.DefaultLimits(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	engine := h.engine
	go func() { done <- engine.Run(ctx) }()
	h.stop = func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	}
	<-engine.Loaded()
}

// restart ends the agent and starts another, which is told the same tasks.
func (h *host) restart(assignments ...model.Assignment) {
	h.stop()
	h.begin()
	h.engine.Assign(assignments, true)
}

func (h *host) report(id string, o model.TaskObserved) {
	h.mu.Lock()
	h.reports[id] = append(h.reports[id], o)
	engine := h.engine
	h.mu.Unlock()
	engine.Acknowledge(id, o.Seq)
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
}

func (j *memJournal) Put(records []task.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
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
}

func (n *memNetwork) Attach(_ context.Context, eni model.AssignedNetwork) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
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
