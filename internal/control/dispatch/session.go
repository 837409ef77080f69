package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// session is one node's connection.
type session struct {
	instanceID string
	number     uint64
	end        context.CancelFunc

	mu      sync.Mutex
	touched map[string]bool                // tasks that changed
	reports map[string]*nodeapi.TaskReport // the newest of each task
	wake    chan struct{}                  // something is in touched
	arrived chan struct{}                  // something is in reports
	sent    map[string]string              // the desired status that the node was last sent, by task
	acks    chan []*nodeapi.ServerMessage  // of reports that are durable
	opens   chan *nodeapi.ServerMessage    // streams that the node is asked for
	gone    <-chan struct{}                // closed when the session is over

	stale        map[documentKey]bool   // documents that may have changed; guarded by mu
	documents    map[documentKey][]byte // what the node has; the sender's alone
	observations map[documentKey][]byte // the newest of each thing; guarded by mu
	noticed      chan struct{}          // something is in observations

	// What reports and observations hold; guarded by mu.
	reportBytes, observedBytes int
}

func (s *session) changed(taskID string) {
	s.mu.Lock()
	s.touched[taskID] = true
	s.mu.Unlock()
	signal(s.wake)
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Session serves one node until it leaves, a newer session of it begins, or
// the control plane ends.
func (d *Dispatcher) Session(stream grpc.BidiStreamingServer[nodeapi.NodeMessage, nodeapi.ServerMessage]) error {
	instanceID, until, err := nodeID(stream.Context(), time.Now())
	if err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	hello := first.GetHello()
	if hello == nil {
		return status.Error(codes.InvalidArgument, "a session begins with a hello")
	}
	// No session outlives the certificate that it began with: the node comes
	// back with its new one.
	ctx, cancel := context.WithDeadline(stream.Context(), until)
	defer cancel()
	s := &session{
		instanceID: instanceID, end: cancel,
		touched: map[string]bool{}, reports: map[string]*nodeapi.TaskReport{}, sent: map[string]string{},
		wake: make(chan struct{}, 1), arrived: make(chan struct{}, 1),
		acks: make(chan []*nodeapi.ServerMessage), opens: make(chan *nodeapi.ServerMessage), gone: ctx.Done(),

		stale: map[documentKey]bool{}, documents: map[documentKey][]byte{}, observations: map[documentKey][]byte{},
		noticed: make(chan struct{}, 1),
	}
	// From here on every change of the node's tasks reaches the session, so
	// the complete set below has no gap behind it.
	if s.number, err = d.register(ctx, instanceID, hello); err != nil {
		return fmt.Errorf("registering the node: %w", err)
	}
	d.open(s)
	defer d.close(ctx, s)
	d.cfg.Log.InfoContext(ctx, "a node connected", telemetry.InstanceID, instanceID, "name", hello.GetName(), "runtime", hello.GetRuntime())

	// Receive blocks without a context; it ends with the stream, which ends
	// when this method returns.
	received := make(chan error, 1)
	go func() { received <- d.receive(s, stream) }()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.absorb(ctx, s) })
	g.Go(func() error { return d.absorbObservations(ctx, s) })
	g.Go(func() error { return d.send(ctx, s, hello, stream) })
	g.Go(func() error {
		select {
		case err := <-received:
			return errors.Join(errLeft, err)
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	err = g.Wait()
	d.cfg.Log.InfoContext(stream.Context(), "a node disconnected", telemetry.InstanceID, instanceID)
	if errors.Is(err, errTooMuch) {
		return status.Error(codes.ResourceExhausted, err.Error())
	}
	if errors.Is(err, errLeft) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.Error(codes.Unavailable, "the session is over")
	}
	return err
}

var errLeft = errors.New("the node left")

// send is the only writer of the stream.
func (d *Dispatcher) send(ctx context.Context, s *session, hello *nodeapi.Hello, stream grpc.BidiStreamingServer[nodeapi.NodeMessage, nodeapi.ServerMessage]) error {
	welcome := &nodeapi.Welcome{
		InstanceArn: d.cfg.Scope.ContainerInstance(hello.GetCluster(), s.instanceID),
		Region:      d.cfg.Scope.Region, AccountId: d.cfg.Scope.AccountID,
		RegistryHosts: d.cfg.RegistryHosts,
	}
	if err := stream.Send(&nodeapi.ServerMessage{Message: &nodeapi.ServerMessage_Welcome{Welcome: welcome}}); err != nil {
		return err
	}
	snap := d.cfg.Store.Snapshot()
	var all []*model.Task
	for t := range records.Tasks.By(snap, records.TasksByInstance, s.instanceID) {
		if !t.Stopped() || t.Lost {
			all = append(all, t)
		}
	}
	// Documents come before the tasks that need them: a task's interface is
	// filtered before anything runs behind it.
	if err := d.sendDocuments(ctx, s, snap, d.allDocuments(snap, s.instanceID), true, stream); err != nil {
		return err
	}
	if err := d.assign(ctx, s, snap, all, true, stream); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case acks := <-s.acks:
			for _, m := range acks {
				if err := stream.Send(m); err != nil {
					return err
				}
			}
		case m := <-s.opens:
			if err := stream.Send(m); err != nil {
				return err
			}
		case <-s.wake:
			if err := d.sendChanged(ctx, s, stream); err != nil {
				return err
			}
		}
	}
}

func (d *Dispatcher) sendChanged(ctx context.Context, s *session, stream grpc.BidiStreamingServer[nodeapi.NodeMessage, nodeapi.ServerMessage]) error {
	s.mu.Lock()
	touched := s.touched
	s.touched = map[string]bool{}
	s.mu.Unlock()
	stale := s.takeStale()
	snap := d.cfg.Store.Snapshot()
	if err := d.sendDocuments(ctx, s, snap, stale, false, stream); err != nil {
		return err
	}
	var changed []*model.Task
	for _, id := range slices.Sorted(maps.Keys(touched)) {
		t, ok := records.Tasks.Get(snap, id)
		if !ok || t.Stopped() && !t.Lost {
			delete(s.sent, id)
			continue
		}
		if s.sent[id] != desired(t) {
			changed = append(changed, t)
		}
	}
	return d.assign(ctx, s, snap, changed, false, stream)
}

func (d *Dispatcher) assign(ctx context.Context, s *session, snap *store.Snapshot, tasks []*model.Task, complete bool, stream grpc.BidiStreamingServer[nodeapi.NodeMessage, nodeapi.ServerMessage]) error {
	if len(tasks) == 0 && !complete {
		return nil
	}
	out := &nodeapi.Assignments{Complete: complete}
	for _, t := range tasks {
		a, err := d.assignment(snap, t)
		if err != nil {
			d.cfg.Log.ErrorContext(ctx, "a task cannot be sent to its node", telemetry.TaskARN, t.ARN, telemetry.Error, err)
			continue
		}
		data, err := json.Marshal(a)
		if err != nil {
			return fmt.Errorf("encoding task %s: %w", t.ARN, err)
		}
		out.Assignments = append(out.Assignments, &nodeapi.Assignment{TaskId: t.ID, Assignment: data})
		s.sent[t.ID] = a.Task.DesiredStatus
	}
	return stream.Send(&nodeapi.ServerMessage{Message: &nodeapi.ServerMessage_Assignments{Assignments: out}})
}
