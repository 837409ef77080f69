package sim_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/runtime/fake"
	"berth.dev/berth/internal/agent/session"
	"berth.dev/berth/internal/agent/task"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// node is a host that outlives its agents.
type node struct {
	c       *cluster
	name    string
	dir     string
	world   *fake.World
	id      *session.Identity
	network *memNetwork
	disk    *memDisk
	life    *life // nil while no agent runs
}

// life is one agent's life. When it is over nothing that it still tries has
// an effect, as nothing that a killed process was about to do has.
type life struct {
	runtime *fake.Runtime
	cancel  context.CancelFunc
	over    chan struct{}
	ended   chan error
	begun   time.Time
	hands   *hands // nil in a cluster without secrets
}

func (l *life) alive() bool {
	select {
	case <-l.over:
		return false
	case <-l.runtime.Crashed():
		return false
	default:
		return true
	}
}

var errDead = errors.New("the agent is dead")

// begin starts an agent.
func (n *node) begin() {
	l := &life{runtime: n.world.Connect(), over: make(chan struct{}), ended: make(chan error, 1), begun: time.Now()}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	log := slog.New(n.c.journal.handler(n.name))
	cfg := session.Config{
		Server: "passthrough:///server", Identity: n.id, Log: log, Dial: n.c.dial,
		Hello: &nodeapi.Hello{Name: n.name, CpuUnits: 4096, MemoryMib: 8192, AgentVersion: "sim", Runtime: "fake"},
	}
	var roles task.Roles
	if n.c.vault != nil {
		l.hands = n.newHands(l, log)
		roles, cfg.Documents = l.hands, l.hands
	}
	client, err := session.New(cfg)
	if err != nil {
		n.c.t.Fatal(err)
	}
	engine := task.New(task.Config{
		Roles: roles, SecretsDir: n.rolesDir("secrets"),
		Runtime: mortal{Runtime: l.runtime, truth: n.c.truth}, Network: lifeNetwork{n.network, l}, Logs: noLogs{}, Endpoints: noEndpoints{},
		Journal: lifeJournal{n.disk, l}, Report: client.Report, Dir: n.dir, MaxOpenFiles: 65535, Limits: task.DefaultLimits(), Log: log,
	})
	n.life = l
	if l.hands != nil {
		l.hands.client, l.hands.engine = client, engine
	}
	go func() {
		g, ctx := errgroup.WithContext(ctx)
		if h := l.hands; h != nil {
			g.Go(func() error { return h.credentials.Run(ctx) })
			g.Go(func() error { return h.follow(ctx) })
		}
		g.Go(func() error { return engine.Run(ctx) })
		g.Go(func() error { return client.Run(ctx, engine) })
		l.ended <- g.Wait()
	}()
}

// kill ends the agent as SIGKILL does: what is in flight has no effect.
func (n *node) kill() {
	if n.life == nil {
		return
	}
	close(n.life.over)
	n.life.runtime.Crash()
	n.life.cancel()
	// An agent may end by itself when a fault meets it at its start; its
	// supervisor starts it again. Nothing else ends it.
	if err := <-n.life.ended; err != nil && !errors.Is(err, fake.ErrInjected) {
		n.c.t.Errorf("%s: the agent ended with %v", n.name, err)
	}
	n.life = nil
}

// loseDisk is a host that comes back with nothing but its containers: the
// journal is gone, and nobody knows what was in it.
func (n *node) loseDisk() {
	n.kill()
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	for id := range n.disk.records {
		n.c.unknowable[id] = true
		n.c.unreported[id] = n.c.unreported[id] || !n.c.reported(id)
	}
	clear(n.disk.records)
	n.loseFiles("credentials", "secrets")
}

// crashed reports whether the agent is over: killed by a fault, or ended.
func (n *node) crashed() bool {
	if n.life == nil {
		return false
	}
	select {
	case <-n.life.runtime.Crashed():
		return true
	case err := <-n.life.ended:
		n.life.ended <- err
		return true
	default:
		return false
	}
}

// mortal is the runtime as a process sees it that is killed by a fault: the
// call never returns.
type mortal struct {
	runtime.Runtime
	truth *truth
}

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
	if err == nil {
		m.truth.saw(id, v)
	}
	return die(ctx, v, err)
}

// truth remembers how containers really ended, for whoever waited.
type truth struct {
	mu    sync.Mutex
	exits map[string]runtime.Exit
}

func (t *truth) saw(id string, exit runtime.Exit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.exits[id] = exit
}

func (t *truth) exit(id string) (runtime.Exit, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	exit, ok := t.exits[id]
	return exit, ok
}

func (m mortal) Remove(ctx context.Context, id string) error {
	return die0(ctx, m.Runtime.Remove(ctx, id))
}

func (m mortal) RemoveTask(ctx context.Context, id string) error {
	return die0(ctx, m.Runtime.RemoveTask(ctx, id))
}

// memNetwork is a host's interfaces. All hosts share one book of addresses.
type memNetwork struct {
	mu       sync.Mutex
	attached map[string]string // address by interface
	book     *addressBook
}

// addressBook finds an address that is on two interfaces.
type addressBook struct {
	mu    sync.Mutex
	owner map[string]string
	twice []string
}

func (b *addressBook) take(address, eni string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if other, ok := b.owner[address]; ok && other != eni {
		b.twice = append(b.twice, fmt.Sprintf("%s on %s and %s", address, other, eni))
	}
	b.owner[address] = eni
}

func (b *addressBook) free(address, eni string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.owner[address] == eni {
		delete(b.owner, address)
	}
}

type lifeNetwork struct {
	*memNetwork
	life *life
}

func (n lifeNetwork) NetNSPath(eniID string) string { return "/run/netns/" + eniID }

func (n lifeNetwork) Attach(_ context.Context, eni model.AssignedNetwork) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.life.alive() {
		return "", errDead
	}
	n.attached[eni.ID] = eni.Address
	n.book.take(eni.Address, eni.ID)
	return "/run/netns/" + eni.ID, nil
}

func (n lifeNetwork) Detach(_ context.Context, id string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.life.alive() {
		return errDead
	}
	n.book.free(n.attached[id], id)
	delete(n.attached, id)
	return nil
}

func (n lifeNetwork) List(context.Context) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var ids []string
	for id := range n.attached {
		ids = append(ids, id)
	}
	return ids, nil
}

// memDisk is a host's journal.
type memDisk struct {
	mu      sync.Mutex
	records map[string]task.Record
}

// diskLatency is long for a disk, so that much can happen before a write is
// durable.
const diskLatency = 60 * time.Millisecond

type lifeJournal struct {
	*memDisk
	life *life
}

func (j lifeJournal) Put(records []task.Record) error {
	time.Sleep(diskLatency) // in which an agent can die
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.life.alive() {
		return errDead
	}
	for _, r := range records {
		j.records[r.Assignment.Task.ID] = r
	}
	return nil
}

func (j lifeJournal) Delete(id string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.life.alive() {
		return errDead
	}
	delete(j.records, id)
	return nil
}

func (j lifeJournal) Load() ([]task.Record, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []task.Record
	for _, r := range j.records {
		out = append(out, r)
	}
	return out, nil
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

// pipes is a network with one address that can be cut.
type pipes struct {
	mu       sync.Mutex
	listener *pipeListener
	conns    []net.Conn
}

type pipeListener struct {
	accept chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "server", Net: "unix"} }

func (p *pipes) listen() net.Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listener = &pipeListener{accept: make(chan net.Conn), closed: make(chan struct{})}
	return p.listener
}

func (p *pipes) dial(ctx context.Context, _ string) (net.Conn, error) {
	p.mu.Lock()
	l := p.listener
	p.mu.Unlock()
	if l == nil {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	select {
	case l.accept <- theirs:
		p.mu.Lock()
		p.conns = append(p.conns, ours)
		p.mu.Unlock()
		return ours, nil
	case <-l.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// cut breaks every connection.
func (p *pipes) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close() //nolint:errcheck,gosec // that is what it is for
	}
	p.conns = nil
}
