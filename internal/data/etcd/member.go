package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"

	"berth.dev/berth/internal/data/kv"
	"berth.dev/berth/internal/data/kv/etcdkv"
)

const (
	// name is the member's name in the cluster of one that it is.
	name = "berth"

	// peerURL is what the member calls itself. A cluster of one has no peers, so nothing listens there and nothing connects;
	// etcd only wants the same answer at every start. Growing to three members replaces it.
	peerURL = "http://127.0.0.1:2380"

	// A cluster of one elects itself when the election timeout is over, so these two are most of the start time. There is
	// no network between members whose delays they would have to tolerate.
	tickMs, electionMs = 10, 100

	// DefaultQuota is how large the database may grow before etcd accepts deletes only, in bytes.
	DefaultQuota = 2 << 30

	// retainRevisions is how much history is kept, looked at every five minutes. A mirror that falls further behind
	// loads anew.
	retainRevisions = 10_000
)

// Config says where a member keeps its data.
type Config struct {
	// Dir is the data directory. It is made if it does not exist, and must belong to this member alone.
	Dir string
	// Logger gets etcd's warnings and errors; nil discards them.
	Logger *slog.Logger
	// Quota is the largest size of the database in bytes; 0 means DefaultQuota.
	Quota int64
	// UnsafeNoFsync does not wait for the disk. For tests only: a crash of the machine then loses writes.
	UnsafeNoFsync bool
}

// Member is one embedded etcd server. Use New, then Run.
type Member struct {
	cfg     Config
	log     *slog.Logger
	ready   chan struct{}
	ended   chan struct{}
	running atomic.Bool
	closing atomic.Bool      // what etcd says while it is closed is about that
	client  *clientv3.Client // set before ready is closed
}

// New returns a member that does nothing before Run.
func New(cfg Config) *Member {
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if cfg.Quota == 0 {
		cfg.Quota = DefaultQuota
	}
	return &Member{cfg: cfg, log: log, ready: make(chan struct{}), ended: make(chan struct{})}
}

// Ready is closed when the member serves.
func (m *Member) Ready() <-chan struct{} { return m.ready }

// KV is the member's data. It can be passed on before Run: calls wait until the member is ready, and fail when it has ended.
func (m *Member) KV() kv.KV { return waiting{m} }

// Run serves until ctx ends, and returns nil then. It is called once. An error means that the data directory cannot be used
// or that etcd has failed; in the latter case some of its goroutines may be left, and the process should end soon.
func (m *Member) Run(ctx context.Context) error {
	if m.running.Swap(true) {
		return errors.New("etcd: member is already running")
	}
	defer close(m.ended)
	unlock, err := lock(m.cfg.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	socket, cleanup, err := socketPath(m.cfg.Dir)
	if err != nil {
		return err
	}
	defer cleanup()

	failed := make(chan error, 1)
	server, err := start(m.config(socket, failed), failed)
	if err != nil {
		return fmt.Errorf("etcd: start in %s: %w", m.cfg.Dir, err)
	}
	select {
	case <-server.Server.ReadyNotify():
	case err := <-failed:
		return fmt.Errorf("etcd: start in %s: %w", m.cfg.Dir, err)
	case err := <-server.Err():
		server.Close()
		return fmt.Errorf("etcd: start in %s: %w", m.cfg.Dir, err)
	case <-ctx.Done():
		m.closing.Store(true)
		server.Close()
		return nil
	}
	client := v3client.New(server.Server)
	m.client = client
	close(m.ready)

	select {
	case err := <-failed:
		// The goroutine that failed may hold locks that Close would wait for.
		return fmt.Errorf("etcd: in %s: %w", m.cfg.Dir, err)
	case err = <-server.Err():
		err = fmt.Errorf("etcd: in %s: %w", m.cfg.Dir, err)
	case <-server.Server.StopNotify():
		err = fmt.Errorf("etcd: in %s: server stopped by itself", m.cfg.Dir)
	case <-ctx.Done():
		err = nil
	}
	m.closing.Store(true)
	// The client first: its watches would otherwise try to come back.
	_ = client.Close()
	server.Close()
	return err
}

// start calls StartEtcd on a goroutine of its own, because a fatal error ends the goroutine that meets it.
func start(cfg *embed.Config, failed <-chan error) (*embed.Etcd, error) {
	type result struct {
		server *embed.Etcd
		err    error
	}
	started := make(chan result, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				started <- result{err: fmt.Errorf("panic: %v", p)}
			}
		}()
		server, err := embed.StartEtcd(cfg)
		started <- result{server, err}
	}()
	select {
	case r := <-started:
		return r.server, r.err
	case err := <-failed:
		return nil, err
	}
}

func (m *Member) config(socket string, failed chan<- error) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name = name
	cfg.Dir = m.cfg.Dir
	peer := mustParse(peerURL)
	cfg.ListenPeerUrls = nil
	cfg.AdvertisePeerUrls = []url.URL{peer}
	cfg.InitialCluster = name + "=" + peerURL
	cfg.InitialClusterToken = name
	client := url.URL{Scheme: "unix", Path: socket}
	cfg.ListenClientUrls = []url.URL{client}
	cfg.AdvertiseClientUrls = []url.URL{client}
	// A browser must not reach the socket through some proxy of the operator's.
	cfg.CORS = map[string]struct{}{}
	cfg.HostWhitelist = map[string]struct{}{}
	cfg.EnableGRPCGateway = false

	cfg.TickMs, cfg.ElectionMs = tickMs, electionMs
	cfg.QuotaBackendBytes = m.cfg.Quota
	cfg.AutoCompactionMode = embed.CompactorModeRevision
	cfg.AutoCompactionRetention = strconv.Itoa(retainRevisions)
	cfg.MaxTxnOps = kv.MaxOps
	cfg.UnsafeNoFsync = m.cfg.UnsafeNoFsync
	// On a busy machine a commit of 100 ms, the default, is no news; one of a second is.
	cfg.WarningApplyDuration = time.Second
	cfg.WarningUnaryRequestDuration = time.Second
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(bridge(m.log, &m.closing, failed))
	return cfg
}

func mustParse(s string) url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err) // a constant of this file
	}
	return *u
}

// lock makes the directory and takes it for this process. etcd locks its database, too, but waits for it without end.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("etcd: data directory: %w", err)
	}
	// Everything that Berth knows is in there, also when somebody else made the directory.
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("etcd: data directory: %w", err)
	}
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("etcd: data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("etcd: data directory %s is in use by another server: %w", dir, ErrLocked)
		}
		return nil, fmt.Errorf("etcd: lock %s: %w", path, err)
	}
	// The file stays: removing it would let two processes hold locks on two files of one name.
	return func() { f.Close() }, nil
}

// ErrLocked says that another process serves from the data directory.
var ErrLocked = errors.New("data directory is locked")

// Snapshot writes the whole database to w, in the form that `etcdutl snapshot restore` takes.
func (m *Member) Snapshot(ctx context.Context, w io.Writer) error {
	if err := m.wait(ctx); err != nil {
		return err
	}
	r, err := m.client.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("etcd: snapshot: %w", err)
	}
	defer r.Close()
	if _, err := io.Copy(w, r); err != nil {
		return fmt.Errorf("etcd: snapshot: %w", err)
	}
	return nil
}

// ErrEnded says that the member no longer runs.
var ErrEnded = errors.New("etcd member has ended")

func (m *Member) wait(ctx context.Context) error {
	select {
	case <-m.ended:
		return ErrEnded
	default:
	}
	select {
	case <-m.ready:
		return nil
	case <-m.ended:
		return ErrEnded
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waiting is the member's data behind its readiness.
type waiting struct{ m *Member }

var (
	_ kv.KV        = waiting{}
	_ kv.Compactor = waiting{}
)

func (w waiting) kv() *etcdkv.KV { return etcdkv.New(w.m.client) }

func (w waiting) Range(ctx context.Context, q kv.Query) (kv.RangeResult, error) {
	if err := w.m.wait(ctx); err != nil {
		return kv.RangeResult{}, err
	}
	return w.kv().Range(ctx, q)
}

func (w waiting) Txn(ctx context.Context, t kv.Txn) (kv.TxnResult, error) {
	if err := w.m.wait(ctx); err != nil {
		return kv.TxnResult{}, err
	}
	return w.kv().Txn(ctx, t)
}

func (w waiting) Watch(ctx context.Context, prefix string, from int64, deliver func([]kv.Commit) error) error {
	if err := w.m.wait(ctx); err != nil {
		return err
	}
	return w.kv().Watch(ctx, prefix, from, deliver)
}

func (w waiting) Grant(ctx context.Context, ttl time.Duration) (kv.LeaseID, error) {
	if err := w.m.wait(ctx); err != nil {
		return 0, err
	}
	return w.kv().Grant(ctx, ttl)
}

func (w waiting) KeepAlive(ctx context.Context, id kv.LeaseID) error {
	if err := w.m.wait(ctx); err != nil {
		return err
	}
	return w.kv().KeepAlive(ctx, id)
}

func (w waiting) Revoke(ctx context.Context, id kv.LeaseID) error {
	if err := w.m.wait(ctx); err != nil {
		return err
	}
	return w.kv().Revoke(ctx, id)
}

func (w waiting) Compact(ctx context.Context, rev int64) error {
	if err := w.m.wait(ctx); err != nil {
		return err
	}
	return w.kv().Compact(ctx, rev)
}
