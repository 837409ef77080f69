package sim_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/runtime/fake"
	"berth.dev/berth/internal/agent/session"
	"berth.dev/berth/internal/agent/task"
	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/control/deployment"
	"berth.dev/berth/internal/control/dispatch"
	"berth.dev/berth/internal/control/execution"
	"berth.dev/berth/internal/control/liveness"
	"berth.dev/berth/internal/control/nodeca"
	"berth.dev/berth/internal/control/registration"
	"berth.dev/berth/internal/control/rotation"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	ec2service "berth.dev/berth/internal/service/ec2"
	ecsservice "berth.dev/berth/internal/service/ecs"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

var scope = arn.Scope{Region: "us-east-1", AccountID: "123456789012"}

// cluster is a control plane that can die over a kv that cannot, and nodes.
type cluster struct {
	t       *testing.T
	seed    uint64 // every fourth keeps checksums of records, which take their time
	random  *rand.Rand
	journal *events
	kv      *memkv.KV
	pipes   pipes
	ca      *nodeca.Authority
	nodes   []*node
	book    *addressBook
	truth   *truth
	// unknowable tasks were in a journal that was lost: their exit codes too.
	unknowable map[string]bool
	// unreported ones were lost before the control plane had heard of them.
	unreported map[string]bool
	bounds     boundsWatch

	lots   sync.Mutex
	chance *rand.Rand // for faults of the store
	calm   bool       // there are none any more

	server *server // nil while no control plane runs
	cutAt  time.Time
	vault  *vault // nil without secrets

	subnets []string
	acked   map[string][]string // task ids by client token
}

type server struct {
	store  *store.Store
	ecs    *ecsservice.Provider
	cancel context.CancelFunc
	ended  chan error
	watch  *statusWatch
	begun  time.Time
}

func newCluster(t *testing.T, seed uint64, nodes int) *cluster {
	c := &cluster{
		t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 1)), chance: rand.New(rand.NewPCG(seed, 2)), journal: &events{}, kv: memkv.New(10_000),
		book: &addressBook{owner: map[string]string{}}, truth: &truth{exits: map[string]runtime.Exit{}}, unknowable: map[string]bool{}, unreported: map[string]bool{}, acked: map[string][]string{},
	}
	dir := t.TempDir()
	ca, err := nodeca.Open(filepath.Join(dir, "pki"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c.ca = ca
	c.vault = newVault(c, seed)
	c.beginServer()
	for i := range nodes {
		n := &node{
			c: c, name: fmt.Sprintf("node%d", i), dir: t.TempDir(), world: fake.NewWorld(),
			network: &memNetwork{attached: map[string]string{}, book: c.book},
			disk:    &memDisk{records: map[string]task.Record{}},
		}
		n.world.AddImage(runtime.Image{Ref: "app:1", Cmd: []string{"/app"}})
		n.world.Behave(n.behave)
		n.world.Latency(c.latency)
		if n.id, err = session.Join(t.Context(), n.dir, "passthrough:///server", ca.Token().String(), c.dial); err != nil {
			t.Fatal(err)
		}
		n.begin()
		c.nodes = append(c.nodes, n)
	}
	return c
}

// behave makes init containers end and others run until they are told to.
func (n *node) behave(s runtime.Spec) fake.Process {
	switch {
	case s.Name == "rotate":
		n.c.vault.begun(n, s)
	case strings.HasPrefix(s.Name, "init"):
		return fake.Process{Runs: 700 * time.Millisecond}
	case strings.HasPrefix(s.Name, "exits"):
		return fake.Process{Runs: 200 * time.Millisecond, Code: 1}
	case strings.HasPrefix(s.Name, "short"):
		return fake.Process{Runs: 5 * time.Second, Code: 1}
	case strings.HasPrefix(s.Name, "deaf"):
		return fake.Process{IgnoresSignals: true}
	}
	return fake.Process{StopAfter: 300 * time.Millisecond}
}

// latency is a pure function, so that it may be asked from any goroutine.
func (c *cluster) latency(verb fake.Verb, id string) time.Duration {
	if verb == fake.Wait {
		return 0
	}
	return time.Duration(1+(len(id)+len(verb)*7)%40) * time.Millisecond
}

func (c *cluster) dial(ctx context.Context, address string) (net.Conn, error) {
	return c.pipes.dial(ctx, address)
}

// beginServer starts a control plane and makes what it needs.
func (c *cluster) beginServer() {
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(c.journal.handler("server"))
	s, err := store.Open(contested{c.kv, c}, "/berth/", store.Options{CheckMutation: c.seed%4 == 0}, records.All()...)
	if err != nil {
		c.t.Fatal(err)
	}
	dispatching := dispatch.Config{Store: s, Logs: noSink{}, Authority: c.ca, Scope: scope, Log: log}
	var api *door
	if c.vault != nil {
		var roles *execution.Execution
		api, roles = c.vault.open(ctx, s, log)
		dispatching.Execution, dispatching.Sources = roles, []dispatch.Source{rotation.NewSource(scope)}
	}
	d := dispatch.New(dispatching)
	grpcServer, err := d.Server(time.Now())
	if err != nil {
		c.t.Fatal(err)
	}
	listener := c.pipes.listen()
	sv := &server{
		store: s, ecs: ecsservice.New(ecsservice.Config{Store: s, Scope: scope, Seed: func() uint64 { return 7 }}),
		cancel: cancel, ended: make(chan error, 1), watch: &statusWatch{t: c.t, seen: map[string]model.Task{}},
		begun: time.Now(),
	}
	c.server = sv
	go func() {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return s.Run(ctx) })
		g.Go(func() error { <-s.Ready(); return d.Run(ctx) })
		g.Go(func() error { <-s.Ready(); return liveness.New(s, time.Minute, log).Run(ctx) })
		g.Go(func() error {
			<-s.Ready()
			return deployment.New(deployment.Config{
				Store: s, Launcher: launch.New(launch.Config{Scope: scope, Seed: func() uint64 { return 7 }}),
				HealthyAfter: deployment.DefaultHealthyAfter, Log: log,
			}).Run(context.WithValue(ctx, contestedKey{}, true))
		})
		g.Go(func() error {
			<-s.Ready()
			return registration.New(registration.Config{Store: s, Scope: scope, Log: log}).Run(ctx)
		})
		g.Go(func() error { <-s.Ready(); balance(ctx, s); return nil })
		g.Go(func() error { <-s.Ready(); sv.watch.run(ctx, s); return nil })
		g.Go(func() error { <-s.Ready(); c.bounds.run(ctx, s); return nil })
		if api != nil {
			g.Go(func() error { <-s.Ready(); return c.vault.rotate(ctx, api, log) })
			g.Go(func() error { <-s.Ready(); c.vault.watch(ctx, s); return nil })
			defer api.secrets.Close()
		}
		stop := context.AfterFunc(ctx, grpcServer.Stop)
		defer stop()
		g.Go(func() error { <-s.Ready(); return grpcServer.Serve(listener) })
		sv.ended <- g.Wait()
	}()
	<-s.Ready()
	if api != nil {
		c.vault.door.Store(api)
	}
	if err := sv.ecs.EnsureDefaultCluster(ctx); err != nil {
		c.t.Fatal(err)
	}
	if records.VPCs.Len(s.Snapshot()) == 0 {
		if err := ec2service.Bootstrap(ctx, s, scope, netip.MustParsePrefix("172.31.0.0/16")); err != nil {
			c.t.Fatal(err)
		}
		c.register()
		if c.vault != nil {
			c.vault.furnish(ctx)
		}
		if _, err := s.Update(ctx, func(tx *store.Tx) error { putBalancer(tx); return nil }); err != nil {
			c.t.Fatal(err)
		}
	}
	c.subnets = nil
	for subnet := range records.Subnets.All(s.Snapshot()) {
		c.subnets = append(c.subnets, subnet.ID)
	}
}

// killServer ends the control plane: connections break, and only what the kv
// has committed is left.
func (c *cluster) killServer() {
	if c.server == nil {
		return
	}
	if c.vault != nil {
		c.vault.door.Store(nil)
	}
	c.server.cancel()
	c.cut()
	<-c.server.ended
	c.server = nil
}

// cut breaks every connection.
func (c *cluster) cut() {
	c.cutAt = time.Now()
	c.pipes.cut()
}

// families are those that RunTask is asked for.
func (c *cluster) families() []string {
	if c.vault != nil {
		return append([]string{"secret", "secret"}, families...)
	}
	return families
}

var families = []string{"one", "two", "short", "deaf"}

// register makes the task definitions of the simulation.
func (c *cluster) register() {
	def := func(name string, essential bool, after ...string) ecsapi.ContainerDefinition {
		d := ecsapi.ContainerDefinition{Name: new(name), Image: new("app:1"), Essential: new(essential), StopTimeout: new(int32(2))}
		for _, on := range after {
			d.DependsOn = append(d.DependsOn, ecsapi.ContainerDependency{ContainerName: new(on), Condition: ecsapi.ContainerCondition("COMPLETE")})
		}
		if name == "app" {
			d.PortMappings = []ecsapi.PortMapping{{ContainerPort: new(int32(80))}}
		}
		return d
	}
	for family, containers := range map[string][]ecsapi.ContainerDefinition{
		"one":     {def("app", true)},
		"two":     {def("app", true, "init"), def("init", false)},
		"short":   {def("short", true), def("side", false)},
		"deaf":    {def("deaf", true)},
		"exits":   {def("exits", true)},
		"unready": {def("app", true)},
		"missing": {{Name: new("app"), Image: new("missing:1"), Essential: new(true), PortMappings: []ecsapi.PortMapping{{ContainerPort: new(int32(80))}}}},
	} {
		_, err := c.server.ecs.RegisterTaskDefinition(c.t.Context(), &ecsapi.RegisterTaskDefinitionInput{
			Family: new(family), NetworkMode: ecsapi.NetworkMode("awsvpc"),
			RequiresCompatibilities: []ecsapi.Compatibility{"FARGATE"}, Cpu: new("256"), Memory: new("512"),
			ContainerDefinitions: containers,
		})
		if err != nil {
			c.t.Fatalf("registering %s: %v", family, err)
		}
	}
}

type noSink struct{}

func (noSink) EnsureStream(context.Context, string, string, bool) error { return nil }
func (noSink) Deliver(context.Context, string, string, string, []dispatch.LogEvent) error {
	return nil
}

// statusWatch sees every change of every task.
type statusWatch struct {
	t    *testing.T
	mu   sync.Mutex
	seen map[string]model.Task
	bad  []string
}

func (w *statusWatch) run(ctx context.Context, s *store.Store) {
	watch := s.Watch(ctx, records.Tasks)
	for t := range records.Tasks.All(watch.Snapshot()) {
		w.look(t)
	}
	for {
		snap, changes, err := watch.Next(ctx)
		if err != nil {
			return
		}
		for _, change := range changes {
			if t, ok := records.Tasks.Get(snap, change.Key); ok {
				w.look(t)
			}
		}
	}
}

func (w *statusWatch) look(t *model.Task) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before, known := w.seen[t.ID]
	w.seen[t.ID] = *t
	if !known {
		return
	}
	if model.TaskStatusRank(t.Observed.Status) < model.TaskStatusRank(before.Observed.Status) {
		w.bad = append(w.bad, fmt.Sprintf("task %s went from %s to %s", t.ID, before.Observed.Status, t.Observed.Status))
	}
	if before.DesiredStatus == model.TaskStopped && t.DesiredStatus != model.TaskStopped {
		w.bad = append(w.bad, fmt.Sprintf("task %s was stopped and is to run again", t.ID))
	}
	if before.StopCode != "" && t.StopCode != before.StopCode {
		w.bad = append(w.bad, fmt.Sprintf("task %s changed its stop code from %s to %s", t.ID, before.StopCode, t.StopCode))
	}
}

// events collects what everybody says, for the report of a failure.
type events struct {
	mu    sync.Mutex
	lines []string
}

func (e *events) add(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines = append(e.lines, time.Now().Format("04:05.000 ")+fmt.Sprintf(format, args...))
}

func (e *events) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.lines, "\n")
}

func (e *events) handler(who string) slog.Handler { return eventHandler{e, who, nil} }

type eventHandler struct {
	e     *events
	who   string
	attrs []slog.Attr
}

func (h eventHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h eventHandler) WithGroup(string) slog.Handler            { return h }
func (h eventHandler) WithAttrs(a []slog.Attr) slog.Handler {
	return eventHandler{h.e, h.who, append(slices.Clone(h.attrs), a...)}
}

func (h eventHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	r.Attrs(func(a slog.Attr) bool { fmt.Fprintf(&b, " %s", a); return true })
	h.e.add("%-6s %s%s %v", h.who, r.Message, b.String(), h.attrs)
	return nil
}

// reported tells whether the control plane has had a report about a task.
func (c *cluster) reported(id string) bool {
	if c.server == nil {
		return false
	}
	t, ok := records.Tasks.Get(c.server.store.Snapshot(), id)
	return ok && t.Observed.Seq > 0
}
