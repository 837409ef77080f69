package firewall

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/agent/nft"
	"berth.dev/berth/internal/rules/firewall"
)

// Config is what a Firewall needs to know.
type Config struct {
	Network *network.Manager
	Log     *slog.Logger
}

// A Firewall filters the interfaces of one Berth instance on this host. Its methods may be called at once from many
// goroutines, before and while Run runs.
type Firewall struct {
	net *network.Manager
	log *slog.Logger

	mu      sync.Mutex
	docs    documents
	changed chan struct{} // closed and replaced when docs changes
	// written has what this process knows the kernel to have, by interface.
	written map[string]*firewall.Ruleset

	// lane serialises work on one interface, shared what concerns all of them.
	lane   [64]sync.Mutex
	shared sync.Mutex
	last   surroundings // guarded by shared
}

// New returns a Firewall; it changes nothing.
func New(cfg Config) *Firewall {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Firewall{
		net: cfg.Network, log: cfg.Log.With("component", "firewall"), changed: make(chan struct{}),
		written: map[string]*firewall.Ruleset{},
	}
}

const (
	// atOnce is how many namespaces are worked on at the same time: the kernel makes most of it wait for a lock anyway.
	atOnce = 4
	// retryAfter is how long Run waits after a failure before it tries again without being told.
	retryAfter = time.Second
)

// Run makes changes of documents true until ctx ends, and then returns ctx's error. A failure is logged and tried again:
// interfaces that run must not depend on it ending well.
func (f *Firewall) Run(ctx context.Context) error {
	for {
		_, changed := f.now()
		var retry <-chan time.Time
		if err := f.everything(ctx); err != nil && ctx.Err() == nil {
			f.log.ErrorContext(ctx, "security groups are not in force everywhere", "error", err)
			retry = time.After(retryAfter)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-retry:
		}
	}
}

// everything makes the documents true wherever they are not.
func (f *Firewall) everything(ctx context.Context) error {
	docs, _ := f.now()
	f.forgetOthers(docs)
	var (
		group errgroup.Group
		mu    sync.Mutex
		errs  []error
	)
	group.SetLimit(atOnce)
	for id := range docs.interfaces {
		if ctx.Err() != nil {
			break
		}
		if f.isWritten(docs, id) {
			continue
		}
		group.Go(func() error {
			_, err := f.enforce(ctx, id)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
			return nil
		})
	}
	_ = group.Wait() // every error is in errs
	return errors.Join(append(errs, f.surround())...)
}

// isWritten reports whether an interface needs no look.
func (f *Firewall) isWritten(docs documents, eniID string) bool {
	ruleset, missing := firewall.Compile(docs.interfaces[eniID].GroupIDs, docs.groups)
	f.mu.Lock()
	defer f.mu.Unlock()
	have := f.written[eniID]
	return have != nil && len(missing) == 0 && reflect.DeepEqual(*have, ruleset)
}

// forgetOthers forgets what was written of interfaces that have no document any more: their namespaces go.
func (f *Firewall) forgetOthers(docs documents) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.written, func(id string, _ *firewall.Ruleset) bool {
		_, ok := docs.interfaces[id]
		return !ok
	})
}

// Ensure returns when an attached interface is filtered as the control plane says: at once when the documents are here,
// later when they are still on their way. Until then nothing passes. It may be repeated.
func (f *Firewall) Ensure(ctx context.Context, eniID string) error {
	f.mu.Lock()
	delete(f.written, eniID) // its namespace may be another than before
	f.mu.Unlock()
	for first := true; ; first = false {
		_, changed := f.now()
		known, err := f.enforce(ctx, eniID)
		if err != nil {
			return err
		}
		if known {
			if err := f.surround(); err != nil {
				// Not what the interface waits for: what is missing is closed. Run tries again.
				f.log.ErrorContext(ctx, "what surrounds interfaces is not in force everywhere", "error", err)
				f.wake()
			}
			return nil
		}
		if first {
			if err := f.shut(eniID); err != nil {
				return err
			}
			f.log.InfoContext(ctx, "an interface waits for its security groups", "interface", eniID)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the security groups of %s: %w", eniID, ctx.Err())
		}
	}
}

// shut lets nothing through an interface that was never filtered. One that was, by an earlier process, stays as it was.
func (f *Firewall) shut(eniID string) error {
	lane := &f.lane[laneOf(eniID)]
	lane.Lock()
	defer lane.Unlock()
	return f.inside(eniID, func(conn *nft.Conn) error {
		shut := interfaceTable(firewall.Ruleset{})
		if exists, err := conn.Exists(shut); exists || err != nil {
			return err
		}
		_, err := conn.Write(shut, nil)
		return err
	})
}

// enforce makes the newest documents true on one interface. It reports false, and has changed nothing, when they do not say
// all that is to be known. An interface that is not on this host is left for Ensure.
func (f *Firewall) enforce(ctx context.Context, eniID string) (known bool, err error) {
	lane := &f.lane[laneOf(eniID)]
	lane.Lock()
	defer lane.Unlock()
	docs, _ := f.now() // the newest, now that nobody else works on it
	described, ok := docs.interfaces[eniID]
	if !ok || docs.groups == nil {
		return false, nil
	}
	want, missing := firewall.Compile(described.GroupIDs, docs.groups)
	if len(missing) > 0 {
		f.log.DebugContext(ctx, "security groups are not known yet", "interface", eniID, "groups", missing)
		return false, nil
	}
	if !f.net.Has(eniID) {
		return true, nil
	}
	f.mu.Lock()
	have := f.written[eniID]
	f.mu.Unlock()
	err = f.inside(eniID, func(conn *nft.Conn) error { return write(conn, have, want) })
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		delete(f.written, eniID)
		return false, fmt.Errorf("filter %s: %w", eniID, err)
	}
	f.written[eniID] = &want
	for _, reason := range want.Invalid {
		f.log.WarnContext(ctx, "a security group's rule is not understood and allows nothing", "interface", eniID, "rule", reason)
	}
	return true, nil
}

// write makes one namespace filter as want says. have is what the kernel has, or nil when nobody knows.
func write(conn *nft.Conn, have *firewall.Ruleset, want firewall.Ruleset) error {
	table := interfaceTable(want)
	sameRules := have != nil && have.Open == want.Open && slices.Equal(have.Ingress, want.Ingress) && slices.Equal(have.Egress, want.Egress)
	if !sameRules {
		return conn.Make(table, elements(want.Members))
	}
	var changes []nft.Change
	for _, s := range table.Sets {
		was, is := have.Members[s.Name], want.Members[s.Name]
		change := nft.Change{Set: s, Add: addresses(without(is, was)), Remove: addresses(without(was, is))}
		if len(change.Add)+len(change.Remove) > 0 {
			changes = append(changes, change)
		}
	}
	return conn.Update(table, changes...)
}

// without returns the addresses of a sorted list that are not in the other sorted list.
func without(list, others []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		if _, found := slices.BinarySearchFunc(others, a, netip.Addr.Compare); !found {
			out = append(out, a)
		}
	}
	return out
}

// inside runs fn with a connection to the nftables of an interface's namespace.
func (f *Firewall) inside(eniID string, fn func(*nft.Conn) error) error {
	conn, err := nft.Open(f.net.NetNSPath(eniID))
	if err != nil {
		return err
	}
	return errors.Join(fn(conn), conn.Close())
}

// laneOf spreads interfaces over lanes by the end of their ids, which is random.
func laneOf(eniID string) int {
	n := 0
	for _, c := range []byte(eniID) {
		n = n*31 + int(c)
	}
	return int(uint(n) % 64)
}
