package lb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"berth.dev/berth/internal/agent/logdriver"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/model"
)

// A Network makes the interfaces of load balancers.
type Network interface {
	// Attach makes an interface, or completes it, and returns the path of its namespace under /run/netns.
	Attach(ctx context.Context, eni model.AssignedNetwork) (netnsPath string, err error)
	// Detach removes an interface; it is not an error when there is none.
	Detach(ctx context.Context, eniID string) error
	// NetNSPath is the path of the namespace of an interface, or of a VPC, by id.
	NetNSPath(id string) string
}

// Config is what a Manager needs to know.
type Config struct {
	// Instance tells this Berth apart from others on the host.
	Instance string
	// Dir is for what must survive the agent: configurations and which server slot is which target.
	Dir string
	// KeyDir is for certificates with their keys. They must not be on a disk, so it should be on a tmpfs; empty is Dir.
	KeyDir string
	// RunDir is for sockets. The kernel allows 107 characters for a socket's path, so it should be short.
	RunDir string
	// HostNetNS is the path of the network namespace that plays the host; empty means that of this process.
	HostNetNS string
	Network   Network
	// Report hears what became of a load balancer whenever that changes.
	Report func(key string, observed model.LoadBalancerObserved)
	// Logs takes access logs; nil means that there are none.
	Logs logdriver.Sink
	// Threads of each HAProxy process; zero means as many as there are processors.
	Threads int
	Log     *slog.Logger
}

// A Manager serves the load balancers of one node. New makes one, Run does the work.
type Manager struct {
	cfg Config
	log *slog.Logger

	mu       sync.Mutex
	known    bool                               // whether Apply has been called
	desired  map[string]*model.NodeLoadBalancer // the newest documents
	changed  chan struct{}                      // signalled, with room for one, when desired is new
	balancer map[string]*balancer               // those that are served or being removed, by key; only Run's
}

// New returns a Manager; it changes nothing.
func New(cfg Config) (*Manager, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Report == nil {
		cfg.Report = func(string, model.LoadBalancerObserved) {}
	}
	// HAProxy binds its socket under a temporary name that is longer than the path.
	if longest := len(filepath.Join(cfg.RunDir, strings.Repeat("x", 16)+".admin")) + len(".4194304.tmp"); longest > 107 {
		return nil, fmt.Errorf("directory for sockets %s has too long a name", cfg.RunDir)
	}
	if cfg.KeyDir == "" {
		cfg.KeyDir = cfg.Dir
	}
	for _, dir := range []string{cfg.Dir, cfg.RunDir, cfg.KeyDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make directory of load balancers: %w", err)
		}
	}
	return &Manager{
		cfg: cfg, log: cfg.Log.With(telemetry.Room, "agent/lb"), desired: map[string]*model.NodeLoadBalancer{},
		changed: make(chan struct{}, 1), balancer: map[string]*balancer{},
	}, nil
}

// Apply takes the whole set of load balancers that the node serves, by id. It returns at once; Run makes it true. A
// document that cannot be read is logged, and the load balancer stays as it is.
func (m *Manager) Apply(ctx context.Context, docs map[string]json.RawMessage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := make(map[string]*model.NodeLoadBalancer, len(docs))
	for key, raw := range docs {
		doc := new(model.NodeLoadBalancer)
		if err := json.Unmarshal(raw, doc); err != nil {
			m.log.ErrorContext(ctx, "load balancer is not understood", keyAttr, key, telemetry.Error, err)
			if doc = m.desired[key]; doc == nil {
				continue
			}
		}
		next[key] = doc
	}
	m.desired, m.known = next, true
	signal(m.changed)
}

// keyAttr is the log attribute of a load balancer's id.
const keyAttr = "load_balancer"

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run makes load balancers true until ctx ends, and returns ctx's error. What serves traffic goes on then.
func (m *Manager) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	gone := make(chan *balancer)
	for {
		if err := m.dispatch(ctx, &wg, gone); err != nil {
			m.log.ErrorContext(ctx, "earlier load balancers cannot be listed", telemetry.Error, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.changed:
		case b := <-gone:
			delete(m.balancer, b.dir)
		}
	}
}

// dispatch gives every load balancer its document, or nil to those that have none any more.
func (m *Manager) dispatch(ctx context.Context, wg *sync.WaitGroup, gone chan<- *balancer) error {
	m.mu.Lock()
	desired, known := m.desired, m.known
	m.mu.Unlock()
	if !known {
		return nil // nobody has said what there should be
	}
	documents := map[string]*model.NodeLoadBalancer{}
	for key, doc := range desired {
		documents[m.directory(key)] = doc
	}
	// Those of an earlier agent have a directory.
	left, err := m.directories()
	for _, dir := range left {
		if _, ok := documents[dir]; !ok {
			documents[dir] = nil
		}
	}
	for dir := range m.balancer {
		if _, ok := documents[dir]; !ok {
			documents[dir] = nil
		}
	}
	for dir, doc := range documents {
		b, ok := m.balancer[dir]
		if !ok {
			b = m.newBalancer(dir)
			m.balancer[dir] = b
			wg.Go(func() {
				b.run(ctx)
				select {
				case gone <- b:
				case <-ctx.Done():
				}
			})
		}
		b.set(doc)
	}
	return err
}

// directory is where a load balancer's files are.
func (m *Manager) directory(key string) string { return filepath.Join(m.cfg.Dir, short(key)) }

func (m *Manager) directories() ([]string, error) {
	entries, err := os.ReadDir(m.cfg.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list load balancers: %w", err)
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, filepath.Join(m.cfg.Dir, e.Name()))
		}
	}
	return dirs, nil
}

// Purge ends every process of this instance's load balancers, whoever started it, and removes their rules, interfaces
// and files. Run must not be running.
func (m *Manager) Purge(ctx context.Context) error {
	dirs, err := m.directories()
	errs := []error{err}
	for _, dir := range dirs {
		errs = append(errs, m.newBalancer(dir).remove(ctx))
	}
	return errors.Join(errs...)
}
