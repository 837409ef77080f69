package lb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/routing"
)

const (
	// lookEvery is how often HAProxy is looked at without a notice of it: notices can be lost.
	lookEvery = 2 * time.Second
	// looks while a target's state is about to change.
	lookSoon = 250 * time.Millisecond
	// firstRetry and lastRetry are how long after a failure the next attempt comes.
	firstRetry, lastRetry = 250 * time.Millisecond, 10 * time.Second
	// grace is how long a deleted load balancer's connections may go on.
	grace = 2 * time.Second
)

// A balancer serves one load balancer. Its methods are called by its own goroutine only, but for set.
type balancer struct {
	cfg Config
	log *slog.Logger
	dir string
	// keys is where its certificates are.
	keys string
	// Sockets: HAProxy's own, and those on which the agent hears of health checks and requests.
	admin, events, access string
	next                  string // what the paths of sockets between processes begin with

	mu  sync.Mutex
	doc *model.NodeLoadBalancer // nil: it is to be removed

	wake   chan struct{} // signalled when there may be something to do
	probed chan probed

	state     *state
	attached  map[string]bool // interfaces that this process has attached
	probers   map[proberKey]*prober
	reported  *model.LoadBalancerObserved
	setup     *setup // of HAProxy; nil until it was made
	retry     time.Duration
	complaint string // the last error that was logged

	kernelHas written
	draining  map[string][]netip.AddrPort // of groups that the kernel serves, those whose connections go on
}

type proberKey struct{ group, key string }

// A prober is a running probe.
type prober struct {
	cancel  context.CancelFunc
	check   model.TargetHealthCheck
	target  target
	path    string
	forever bool
}

func (m *Manager) newBalancer(dir string) *balancer {
	base := filepath.Join(m.cfg.RunDir, filepath.Base(dir))
	return &balancer{
		cfg: m.cfg, log: m.log, dir: dir, keys: filepath.Join(m.cfg.KeyDir, filepath.Base(dir)),
		admin: base + ".admin", events: base + ".events", access: base + ".access", next: base + ".n",
		wake: make(chan struct{}, 1), probed: make(chan probed), attached: map[string]bool{}, probers: map[proberKey]*prober{},
		draining: map[string][]netip.AddrPort{},
	}
}

// set gives the balancer its newest document; nil removes it.
func (b *balancer) set(doc *model.NodeLoadBalancer) {
	b.mu.Lock()
	b.doc = doc
	b.mu.Unlock()
	signal(b.wake)
}

func (b *balancer) document() *model.NodeLoadBalancer {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.doc
}

// run makes the load balancer true until ctx ends or it has been removed.
func (b *balancer) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var err error
	if b.state, err = readState(b.dir); err != nil {
		b.log.ErrorContext(ctx, "what was known of a load balancer is lost", telemetry.Path, b.dir, telemetry.Error, err)
	}
	b.listen(ctx, &wg)
	b.takeAccessLog(ctx, &wg)
	for {
		doc := b.document()
		if doc == nil {
			b.stopProbers()
			if err = b.remove(ctx); err == nil {
				if b.state.Key != "" {
					b.cfg.Report(b.state.Key, model.LoadBalancerObserved{State: model.LoadBalancerDeleted})
				}
				return
			}
		} else {
			err = b.reconcile(ctx, &wg, doc)
		}
		if ctx.Err() != nil {
			return
		}
		b.await(ctx, b.pause(ctx, doc, err))
	}
}

// pause reports what became of the last attempt and returns how long to wait for a reason to look again.
func (b *balancer) pause(ctx context.Context, doc *model.NodeLoadBalancer, err error) time.Duration {
	if err == nil {
		b.retry, b.complaint = 0, ""
		if slices.ContainsFunc(slices.Collect(maps.Values(b.state.Groups)), (*group).unsettled) {
			return lookSoon
		}
		return lookEvery
	}
	b.retry = min(max(firstRetry, 2*b.retry), lastRetry)
	if said := err.Error(); said != b.complaint {
		b.complaint = said
		b.log.ErrorContext(ctx, "load balancer is not as it should be", keyAttr, b.state.Key, telemetry.Error, err)
	}
	if doc != nil {
		status := model.LoadBalancerFailed
		if _, err := servers(ctx, b.admin); err == nil && routing.NeedsProcess(doc) {
			status = model.LoadBalancerActive // it serves, though not as it should
		}
		b.report(doc, status, err.Error())
	}
	return b.retry
}

// await returns when there may be something to do, or after d.
func (b *balancer) await(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-b.wake:
	case p := <-b.probed:
		b.take(p)
	}
}

// take notes what a prober found out.
func (b *balancer) take(p probed) {
	g := b.state.Groups[p.group]
	if g == nil {
		return
	}
	if t := g.Targets[p.key]; t != nil && t.RegisteredAt.Equal(p.registered) {
		if pr := b.probers[proberKey{p.group, p.key}]; pr != nil && (pr.forever || t.Health.State == model.TargetInitial) {
			t.Health = p.health
		}
	}
}

// unsettled reports whether a target of the group is about to change its state.
func (g *group) unsettled() bool {
	for _, t := range g.Targets {
		if !t.Draining && t.Health.State == model.TargetInitial {
			return true
		}
	}
	return false
}

// reconcile makes everything true once.
func (b *balancer) reconcile(ctx context.Context, wg *sync.WaitGroup, doc *model.NodeLoadBalancer) error {
	if b.state.Key == "" {
		b.state.Key = doc.LoadBalancer.ID
	}
	namespaces, err := b.attach(ctx, doc)
	if err != nil {
		return err
	}
	freed, changed := b.state.assign(doc)
	if changed {
		if err := b.state.write(b.dir); err != nil {
			return err
		}
	}
	b.probeTargets(ctx, wg, doc, namespaces)
	if err := errors.Join(b.proxy(ctx, doc, namespaces, freed), b.kernel(ctx, doc), b.state.write(b.dir)); err != nil {
		return err
	}
	b.detachOthers(ctx, doc)
	b.report(doc, model.LoadBalancerActive, "")
	return nil
}

// attach makes the interfaces and returns the paths of their namespaces, by id.
func (b *balancer) attach(ctx context.Context, doc *model.NodeLoadBalancer) (map[string]string, error) {
	paths := map[string]string{}
	for _, i := range doc.Interfaces {
		path := b.cfg.Network.NetNSPath(i.ID)
		if _, ok := b.state.Interfaces[i.ID]; !ok {
			// Known before it is made, so that it is detached whatever happens in between.
			b.state.Interfaces[i.ID] = 0
			if err := b.state.write(b.dir); err != nil {
				return nil, err
			}
		}
		if !b.attached[i.ID] || inode(path) == 0 {
			var err error
			if path, err = b.cfg.Network.Attach(ctx, i); err != nil {
				return nil, fmt.Errorf("attach interface: %w", err)
			}
			b.attached[i.ID] = true
		}
		paths[i.ID] = path
	}
	return paths, nil
}

// inode tells a namespace from another of the same name; 0 when there is none.
func inode(path string) uint64 {
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Statfs(path, &fs) != nil || fs.Type != unix.NSFS_MAGIC || unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Ino
}

// detachOthers removes the interfaces that the load balancer has no longer.
func (b *balancer) detachOthers(ctx context.Context, doc *model.NodeLoadBalancer) {
	for id := range b.state.Interfaces {
		if slices.ContainsFunc(doc.Interfaces, func(i model.AssignedNetwork) bool { return i.ID == id }) {
			continue
		}
		if err := b.cfg.Network.Detach(ctx, id); err != nil {
			b.log.ErrorContext(ctx, "interface stays", telemetry.ENI, id, telemetry.Error, err)
			continue
		}
		delete(b.state.Interfaces, id)
		delete(b.attached, id)
	}
}

// probeTargets sees to it that the targets which the agent has to check are checked: those that are new, and all that
// HAProxy does not check.
func (b *balancer) probeTargets(ctx context.Context, wg *sync.WaitGroup, doc *model.NodeLoadBalancer, namespaces map[string]string) {
	wanted := map[proberKey]bool{}
	for i := range doc.TargetGroups {
		g := &doc.TargetGroups[i]
		forever := !b.proxied(doc, g)
		for key, t := range b.state.Groups[g.ID].Targets {
			if t.Draining || !forever && t.Health.State != model.TargetInitial || len(doc.Interfaces) == 0 {
				continue
			}
			k := proberKey{g.ID, key}
			wanted[k] = true
			path := namespaces[doc.Interfaces[0].ID]
			have := b.probers[k]
			if have != nil && have.check == g.HealthCheck && have.target.RegisteredAt.Equal(t.RegisteredAt) && have.path == path && have.forever == forever {
				continue
			}
			if have != nil {
				have.cancel()
			}
			probing, cancel := context.WithCancel(ctx)
			b.probers[k] = &prober{cancel: cancel, check: g.HealthCheck, target: *t, path: path, forever: forever}
			tg, copied := g.TargetGroup, *t
			wg.Go(func() { probe(probing, path, &tg, key, copied, !forever, b.probed) })
		}
	}
	for k, p := range b.probers {
		if !wanted[k] {
			p.cancel()
			delete(b.probers, k)
		}
	}
}

func (b *balancer) stopProbers() {
	for k, p := range b.probers {
		p.cancel()
		delete(b.probers, k)
	}
}

// proxied reports whether HAProxy serves the target group, and so checks its targets.
func (b *balancer) proxied(doc *model.NodeLoadBalancer, g *model.NodeTargetGroup) bool {
	if doc.LoadBalancer.Type != model.LoadBalancerNetwork {
		return true
	}
	proxied := false
	for i := range doc.Listeners {
		if slices.ContainsFunc(routing.Groups(doc, doc.Listeners[i].DefaultActions), func(o *model.NodeTargetGroup) bool { return o.ID == g.ID }) {
			if !routing.Proxied(doc, &doc.Listeners[i]) {
				return false
			}
			proxied = true
		}
	}
	return proxied
}

// report tells what is known of the load balancer, if that is new.
func (b *balancer) report(doc *model.NodeLoadBalancer, status, reason string) {
	observed := model.LoadBalancerObserved{State: status, Reason: reason}
	for i := range doc.TargetGroups {
		g := &doc.TargetGroups[i]
		for key, t := range b.state.Groups[g.ID].Targets {
			health := t.Health
			if health.State == model.TargetHealthy && !t.Admitted && b.proxied(doc, g) {
				health = routing.Registered() // it gets requests a moment later
			}
			if t.Draining && reason == "" {
				// All is as it should be, so no new request goes there.
				health = routing.Health{State: model.TargetDraining}
			}
			observed.Targets = append(observed.Targets, model.TargetObserved{
				Key: key, Registered: t.RegisteredAt, State: health.State,
				Reason: health.Reason, Description: health.Description,
			})
		}
	}
	slices.SortFunc(observed.Targets, func(a, b model.TargetObserved) int { return strings.Compare(a.Key, b.Key) })
	if b.reported != nil && reflect.DeepEqual(*b.reported, observed) {
		return
	}
	b.reported = &observed
	b.cfg.Report(doc.LoadBalancer.ID, observed)
}

// remove ends what serves the load balancer and takes away all that was made for it. It can be repeated.
func (b *balancer) remove(ctx context.Context) error {
	var err error
	if b.state == nil {
		b.state, err = readState(b.dir)
	}
	errs := []error{err, b.removeRules(ctx)}
	running, err := processes(b.dir)
	errs = append(errs, err, end(ctx, running, grace))
	for id := range b.state.Interfaces {
		errs = append(errs, b.cfg.Network.Detach(ctx, id))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove load balancer %s: %w", b.state.Key, err)
	}
	sockets, err := filepath.Glob(strings.TrimSuffix(b.admin, "admin") + "*")
	if err != nil {
		return fmt.Errorf("remove load balancer %s: %w", b.state.Key, err)
	}
	for _, socket := range sockets {
		if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove load balancer %s: %w", b.state.Key, err)
		}
	}
	return errors.Join(os.RemoveAll(b.keys), os.RemoveAll(b.dir))
}

// listen hears of health checks until ctx ends. What HAProxy says only wakes: what is true is read from its socket.
func (b *balancer) listen(ctx context.Context, wg *sync.WaitGroup) {
	os.Remove(b.events) // an earlier agent's; HAProxy finds the new one by its name
	conn, err := net.ListenPacket("unixgram", b.events)
	if err != nil {
		b.log.WarnContext(ctx, "health is noticed later", telemetry.Error, err)
		return
	}
	wg.Go(func() {
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		buffer := make([]byte, 4096)
		for {
			if _, _, err := conn.ReadFrom(buffer); err != nil {
				return
			}
			signal(b.wake)
		}
	})
}
