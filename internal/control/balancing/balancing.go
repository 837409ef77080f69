package balancing

import (
	"context"
	"log/slog"
	"time"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

const (
	// releaseAfter is how long a connected node has to take down what it must
	// no longer serve before its addresses are given to others without its word.
	releaseAfter = 10 * time.Second
	// retryAfter is the pause after a pass that failed.
	retryAfter = time.Second
)

// Config is what a Loop is made of; all members are required.
type Config struct {
	Store *store.Store
	// Ring opens the private keys of certificates.
	Ring *keyring.Keyring
	// NodeLostAfter is how long a node may be disconnected before its load
	// balancers move: the limit after which its tasks are given up.
	NodeLostAfter time.Duration
	Log           *slog.Logger
}

// Loop is the control loop of load balancers.
type Loop struct {
	store *store.Store
	ring  *keyring.Keyring
	limit time.Duration
	log   *slog.Logger
}

// New returns a Loop.
func New(cfg Config) *Loop {
	return &Loop{store: cfg.Store, ring: cfg.Ring, limit: cfg.NodeLostAfter, log: cfg.Log}
}

// Source returns what the dispatcher sends to nodes.
func (l *Loop) Source() *Source { return NewSource(l.ring, l.log) }

// Run keeps the package's promises until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	watch := l.store.Watch(ctx, records.LoadBalancers, records.Listeners, records.ListenerRules, records.TargetGroups, records.Targets,
		records.NetworkInterfaces, records.PublicAddresses, records.Instances)
	p := newPass(l, time.Now(), watch.Snapshot())
	for {
		next, err := p.run(ctx, l.store.Snapshot())
		if err != nil && ctx.Err() == nil {
			l.log.WarnContext(ctx, "load balancers are not as they should be; trying again", telemetry.Error, err)
			p.structure, next = true, earlier(next, time.Now().Add(retryAfter))
		}
		var timer <-chan time.Time
		if !next.IsZero() {
			timer = time.After(time.Until(next))
		}
		select {
		case <-watch.Changed():
			snap, changes := watch.Take()
			for _, c := range changes {
				p.note(snap, c)
			}
		case <-timer:
			p.structure = true
		case <-ctx.Done():
			return nil
		}
	}
}

// earlier is the earlier of two times of which the zero one means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// pass is what the loop remembers between two looks at the store: where to
// look. Everything in it can be derived from a snapshot, except since when a
// node should have let go of something.
type pass struct {
	*Loop
	begun time.Time

	// structure is true when load balancers, their interfaces or nodes may not
	// be as they should.
	structure bool
	nodes     map[string]nodeState
	// interfaces are those of load balancers, with their owner's id.
	interfaces map[string]string
	// draining are the keys of targets that are to go.
	draining map[string]bool
	// orphaned is when an interface was first seen that its load balancer does
	// not have any more.
	orphaned map[string]time.Time
	// due is when structure is to be looked at next; zero: not by itself.
	due time.Time
}

// nodeState is what matters of a node here.
type nodeState struct {
	connected bool
	status    string
	zone      string
}

func newPass(l *Loop, begun time.Time, snap *store.Snapshot) *pass {
	p := &pass{
		Loop: l, begun: begun, structure: true,
		nodes: map[string]nodeState{}, interfaces: map[string]string{}, draining: map[string]bool{}, orphaned: map[string]time.Time{},
	}
	for n := range records.NetworkInterfaces.All(snap) {
		p.noteInterface(snap, n.ID)
	}
	for t := range records.Targets.All(snap) {
		p.noteTarget(snap, t.Key())
	}
	for i := range records.Instances.All(snap) {
		p.noteInstance(snap, i.ID)
	}
	return p
}

// note takes one change in.
func (p *pass) note(snap *store.Snapshot, c store.Change) {
	switch c.Table {
	case records.Targets.Name():
		p.noteTarget(snap, c.Key)
	case records.TargetGroups.Name():
		for t := range records.Targets.Prefix(snap, c.Key+"|") {
			p.noteTarget(snap, t.Key())
		}
	case records.NetworkInterfaces.Name():
		p.noteInterface(snap, c.Key)
	case records.Instances.Name():
		p.noteInstance(snap, c.Key)
	default:
		p.structure = true
	}
}

func (p *pass) noteTarget(snap *store.Snapshot, key string) {
	t, ok := records.Targets.Get(snap, key)
	if ok && (t.DeregisteredAt != nil || !records.TargetGroups.Has(snap, t.TargetGroupID)) {
		p.draining[key] = true
		return
	}
	delete(p.draining, key)
}

func (p *pass) noteInterface(snap *store.Snapshot, id string) {
	n, ok := records.NetworkInterfaces.Get(snap, id)
	if ok && n.Owner == model.InterfaceOfLoadBalancer {
		p.interfaces[id] = n.OwnerID
		p.structure = true
		return
	}
	if _, had := p.interfaces[id]; had {
		delete(p.interfaces, id)
		delete(p.orphaned, id)
		p.structure = true // its load balancer's public address may follow
	}
}

func (p *pass) noteInstance(snap *store.Snapshot, id string) {
	i, ok := records.Instances.Get(snap, id)
	old, had := p.nodes[id]
	if !ok {
		delete(p.nodes, id)
		p.structure = p.structure || had
		return
	}
	p.nodes[id] = nodeState{i.Connected, i.Status, i.Zone}
	p.structure = p.structure || p.nodes[id] != old
}

// run does what is to be done now and says when to look again; zero: not
// before something changes.
func (p *pass) run(ctx context.Context, snap *store.Snapshot) (time.Time, error) {
	if p.structure {
		p.structure, p.due = false, time.Time{}
		for _, step := range []func(context.Context, *store.Snapshot) error{p.assign, p.release, p.sweep} {
			if err := step(ctx, snap); err != nil {
				return p.due, err
			}
		}
	}
	next, err := p.drain(ctx, snap)
	return earlier(p.due, next), err
}

// lost reports whether a node will not be waited for; if it is merely away,
// until when. Nobody is lost for the time before this loop began: then there
// was no control plane to come back to.
func (p *pass) lost(r store.Reader, instanceID string) (bool, time.Time) {
	i, ok := records.Instances.Get(r, instanceID)
	switch {
	case !ok || i.Status == model.InstanceInactive:
		return true, time.Time{}
	case i.Connected || i.DisconnectedAt == nil:
		return false, time.Time{}
	}
	since := *i.DisconnectedAt
	if since.Before(p.begun) {
		since = p.begun
	}
	until := since.Add(p.limit)
	return !time.Now().Before(until), until
}
