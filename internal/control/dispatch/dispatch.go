package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/control/nodeca"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// Execution acts in the name of tasks' roles (package control/execution). It is
// asked about tasks of the node that asks only. Errors of class fault.Denied,
// Invalid and NotFound are the node's mistake; after others it may try again.
type Execution interface {
	TaskCredentials(ctx context.Context, t *model.Task) (*nodeapi.TaskCredentialsResponse, error)
	TaskSecrets(ctx context.Context, t *model.Task) (*nodeapi.TaskSecretsResponse, error)
	AuthorizePull(ctx context.Context, t *model.Task, container string) (refusal string, err error)
	// AuthorizeLogs answers for logs:CreateLogGroup, logs:CreateLogStream and
	// logs:PutLogEvents on the stream of a container.
	AuthorizeLogs(ctx context.Context, t *model.Task, container, group, stream, action string) (refusal string, err error)
}

// Origin is where a connection to the AWS API comes from.
type Origin struct {
	InstanceID string
	TaskID     string
	// Address is the task's, or its host's when it has no interface of its
	// own; the zero one when that is not known.
	Address netip.Addr
	// VPCID is the VPC of the task's interface; empty without one.
	VPCID string
}

// LogSink stores the output of containers.
type LogSink interface {
	// EnsureStream makes the stream. A *Refusal is AWS's error for the user.
	EnsureStream(ctx context.Context, group, stream string, createGroup bool) error
	// Deliver stores the events whose Seq is above the highest that the source
	// has delivered, durably. A *Refusal says that they can never be stored.
	Deliver(ctx context.Context, group, stream, source string, events []LogEvent) error
}

// LogEvent is one line of a container.
type LogEvent struct {
	Seq         uint64
	TimestampMS int64
	Message     string
}

// Refusal is a failure that trying again does not heal. Its text is AWS's.
type Refusal struct{ Text string }

// Error returns the text.
func (r *Refusal) Error() string { return r.Text }

// Config is what a Dispatcher is made of. Sources and Sinks may be empty.
type Config struct {
	Store     *store.Store
	Logs      LogSink
	Authority *nodeca.Authority
	Scope     arn.Scope
	Log       *slog.Logger

	// Sources derive the documents of nodes, in the order in which a node gets
	// them.
	Sources []Source
	// Sinks take what nodes observe, by kind.
	Sinks map[string]Sink

	// Execution acts for tasks. Without one there are no roles: logs are taken
	// from every node, and what needs a role is not implemented.
	Execution Execution
	// Delivered reports whether a source has delivered to a stream before. It
	// lets the last lines of a task in that is forgotten; nil: they are not.
	Delivered func(ctx context.Context, group, stream, source string) (bool, error)
	// Serve takes a connection from inside a task to the AWS API. It closes conn
	// at the end, and conn fails when ctx ends; it may return before that. The
	// connection's remote address is the task's. nil: there is no API for tasks.
	Serve func(ctx context.Context, conn net.Conn, from Origin)

	// ServeRegistry answers the image registry's protocol on a connection of a
	// node, for one repository that the node's task may pull from. As for Serve,
	// it closes conn at the end, and conn fails when ctx ends; it returns soon
	// after conn is closed. nil: there is no registry.
	ServeRegistry func(ctx context.Context, conn net.Conn, repository string)
	// RegistryHosts are hosts of image names that mean the registry, besides
	// that of ECR for this account and region.
	RegistryHosts []string
}

// Dispatcher serves the nodes.
type Dispatcher struct {
	nodeapi.UnimplementedNodeServer
	cfg Config

	mu       sync.Mutex
	sessions map[string]*session // by instance id, the newest
	dialled  map[string]int      // open connections, by task and kind

	streams openStreams // into tasks
}

var _ nodeapi.NodeServer = (*Dispatcher)(nil)

// New returns a Dispatcher.
func New(cfg Config) *Dispatcher {
	return &Dispatcher{cfg: cfg, sessions: map[string]*session{}, dialled: map[string]int{}}
}

// Server returns the gRPC server of the node protocol. Its caller serves a
// listener with it and stops it.
func (d *Dispatcher) Server(now time.Time) (*grpc.Server, error) {
	tls, err := d.cfg.Authority.ServerTLS(now)
	if err != nil {
		return nil, fmt.Errorf("making the control plane's certificate: %w", err)
	}
	server := grpc.NewServer(append(serverOptions(), grpc.Creds(credentials.NewTLS(tls)))...)
	nodeapi.RegisterNodeServer(server, d)
	return server, nil
}

// serverOptions bound what a node may make us hold and how long it may be away.
func serverOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		// Messages of this size, in so many calls.
		grpc.MaxRecvMsgSize(8 << 20),
		grpc.MaxConcurrentStreams(4096),
		// Layers of images leave in large writes.
		grpc.WriteBufferSize(256 << 10),
		grpc.SharedWriteBuffer(true),
		// A node whose host vanished is noticed within 15 seconds.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	}
}

// Run tells sessions which of their tasks changed, until ctx ends. No node is
// connected when it begins, whatever the store says from before.
func (d *Dispatcher) Run(ctx context.Context) error {
	if err := d.disconnectAll(ctx); err != nil {
		return fmt.Errorf("marking the nodes of an earlier control plane as disconnected: %w", err)
	}
	tables := []store.AnyTable{records.Tasks}
	for _, source := range d.cfg.Sources {
		tables = append(tables, source.Tables()...)
	}
	watch := d.cfg.Store.Watch(ctx, tables...)
	for before := watch.Snapshot(); ; {
		snap, changes, err := watch.Next(ctx)
		if err != nil {
			return nil //nolint:nilerr // Next only fails when ctx has ended
		}
		for _, change := range changes {
			if t, ok := records.Tasks.Get(snap, change.Key); ok && change.Table == records.Tasks.Name() {
				d.notify(t)
			}
			d.notifyDocuments(before, snap, change)
		}
		before = snap
	}
}

func (d *Dispatcher) notify(t *model.Task) {
	d.mu.Lock()
	s := d.sessions[t.InstanceID]
	d.mu.Unlock()
	if s != nil {
		s.changed(t.ID)
	}
}

func (d *Dispatcher) disconnectAll(ctx context.Context) error {
	for i := range records.Instances.All(d.cfg.Store.Snapshot()) {
		if !i.Connected {
			continue
		}
		if err := d.disconnect(ctx, i.ID, i.Session); err != nil {
			return err
		}
	}
	return nil
}

// disconnect records that a session is over, unless a newer one has begun.
func (d *Dispatcher) disconnect(ctx context.Context, instanceID string, session uint64) error {
	_, err := d.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		i, ok := records.Instances.Get(tx, instanceID)
		if !ok || i.Session != session || !i.Connected {
			return nil
		}
		return records.Instances.Edit(tx, instanceID, func(i *model.Instance) error {
			now := tx.Now()
			i.Connected, i.DisconnectedAt = false, &now
			return nil
		})
	})
	return err
}

// register records the node's offer and begins its newest session.
func (d *Dispatcher) register(ctx context.Context, instanceID string, hello *nodeapi.Hello) (uint64, error) {
	var session uint64
	_, err := d.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		i := &model.Instance{ID: instanceID, RegisteredAt: tx.Now(), Status: model.InstanceActive}
		if old, ok := records.Instances.Get(tx, instanceID); ok {
			kept := *old
			i = &kept
		}
		i.Name, i.ClusterName, i.Zone = hello.GetName(), hello.GetCluster(), hello.GetAvailabilityZone()
		i.CPU, i.Memory = hello.GetCpuUnits(), hello.GetMemoryMib()
		i.Version, i.Runtime = hello.GetAgentVersion(), hello.GetRuntime()
		i.Address = hello.GetAddress()
		if i.EC2InstanceID == "" {
			i.EC2InstanceID = "i-" + instanceID[:17]
		}
		i.Attributes = attributes(hello.GetAttributes())
		i.Connected, i.DisconnectedAt = true, nil
		i.Session++
		session = i.Session
		records.Instances.Put(tx, i)
		return nil
	})
	return session, err
}

// open makes s the session of its instance. Two that began at the same time
// may come in the wrong order: the one that registered last counts.
func (d *Dispatcher) open(s *session) {
	d.mu.Lock()
	older := d.sessions[s.instanceID]
	if older != nil && older.number > s.number {
		older = s
	} else {
		d.sessions[s.instanceID] = s
	}
	d.mu.Unlock()
	if older != nil {
		older.end()
	}
}

func (d *Dispatcher) close(ctx context.Context, s *session) {
	d.mu.Lock()
	if d.sessions[s.instanceID] == s {
		delete(d.sessions, s.instanceID)
	}
	d.mu.Unlock()
	// The stream's own context is over: this is the last thing written of it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := d.disconnect(ctx, s.instanceID, s.number); err != nil {
		// The next control plane records it when it begins.
		d.cfg.Log.InfoContext(ctx, "a node's disconnection was not recorded", telemetry.InstanceID, s.instanceID, telemetry.Error, err)
	}
}
