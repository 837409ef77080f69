package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"berth.dev/berth/internal/agent/documents"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// Tasks is the part of the task engine that a session talks to.
type Tasks interface {
	// Loaded is closed when Assign may be called.
	Loaded() <-chan struct{}
	Assign(assignments []model.Assignment, complete bool)
	Acknowledge(taskID string, seq uint64)
	// Reports returns the newest durable report of every task.
	Reports() map[string]model.TaskObserved
}

// Documents takes what the node must make true besides its tasks.
type Documents interface {
	Apply(changes []documents.Document, complete bool)
}

// Config is what a Client is made of.
type Config struct {
	Server   string // host:port or unix:path of the node protocol
	Identity *Identity
	Hello    *nodeapi.Hello
	Log      *slog.Logger
	// Documents may be nil: then they are ignored.
	Documents Documents
	// Streams may be nil: then streams into tasks are not answered.
	Streams Streams
	// Dial makes the connection; nil is the host's network.
	Dial Dialer
}

// Client is the node's connection to its control plane.
type Client struct {
	cfg  Config
	conn *grpc.ClientConn
	node nodeapi.NodeClient
	// bulk is a connection of its own for images: a session must not wait behind
	// a layer. It is made when it is needed.
	bulk *grpc.ClientConn

	mu      sync.Mutex
	hosts   []string                      // of image names that mean the control plane's registry
	pending map[string]model.TaskObserved // the newest report of each task that is not sent yet
	// observed is the newest of each thing besides tasks, unsent those of it
	// that the session has not sent.
	observed map[thing][]byte
	unsent   map[thing]bool
	arrived  chan struct{}

	streams sync.WaitGroup // of all sessions
}

// thing names what is observed.
type thing struct{ kind, key string }

// New returns a Client. Nothing is sent before Run.
func New(cfg Config) (*Client, error) {
	conn, err := dial(cfg.Server, cfg.Identity.tls(), cfg.Dial)
	if err != nil {
		return nil, fmt.Errorf("dialling the control plane at %s: %w", cfg.Server, err)
	}
	bulk, err := dial(cfg.Server, cfg.Identity.tls(), cfg.Dial, bulkOptions()...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("dialling the control plane at %s: %w", cfg.Server, err), conn.Close())
	}
	return &Client{
		cfg: cfg, conn: conn, bulk: bulk, node: nodeapi.NewNodeClient(conn),
		pending:  map[string]model.TaskObserved{},
		observed: map[thing][]byte{}, unsent: map[thing]bool{},
		arrived: make(chan struct{}, 1),
	}, nil
}

// Observe tells the control plane all that is known of a thing besides tasks
// (model.Observed… names the kinds), now and in every later session. A nil body
// forgets the thing. It never blocks.
func (c *Client) Observe(kind, key string, body []byte) {
	t := thing{kind, key}
	c.mu.Lock()
	if body == nil {
		delete(c.observed, t)
		delete(c.unsent, t)
	} else {
		c.observed[t] = body
		c.unsent[t] = true
	}
	c.mu.Unlock()
	signal(c.arrived)
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Report tells the control plane what was observed of a task, now or when it
// is there again. It never blocks.
func (c *Client) Report(taskID string, observed model.TaskObserved) {
	c.mu.Lock()
	// One of the same number may say more of an image's progress.
	if old, ok := c.pending[taskID]; !ok || old.Seq <= observed.Seq {
		c.pending[taskID] = observed
	}
	c.mu.Unlock()
	signal(c.arrived)
}

// Run holds a session with the control plane until ctx ends.
func (c *Client) Run(ctx context.Context, tasks Tasks) error {
	defer c.conn.Close() //nolint:errcheck // the agent is ending
	defer c.bulk.Close() //nolint:errcheck // as above
	defer c.streams.Wait()
	select {
	case <-tasks.Loaded():
	case <-ctx.Done():
		return nil
	}
	wait := 50 * time.Millisecond
	for {
		begun := time.Now()
		err := c.session(ctx, tasks)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(begun) > 10*time.Second {
			wait = 50 * time.Millisecond
		}
		c.cfg.Log.InfoContext(ctx, "the control plane is out of reach; tasks run on", telemetry.Address, c.cfg.Server, telemetry.Error, err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		wait = min(2*wait, time.Second)
	}
}

func (c *Client) session(ctx context.Context, tasks Tasks) error {
	g, ctx := errgroup.WithContext(ctx)
	stream, err := c.node.Session(ctx, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	if err := stream.Send(&nodeapi.NodeMessage{Message: &nodeapi.NodeMessage_Hello{Hello: c.cfg.Hello}}); err != nil {
		return err
	}
	// The control plane may have missed anything: tell it everything.
	for id, o := range tasks.Reports() {
		c.Report(id, o)
	}
	c.observeAgain()
	g.Go(func() error { return c.send(ctx, stream) })
	g.Go(func() error { return c.receive(ctx, stream, tasks) })
	return g.Wait()
}

// observeAgain has everything sent that was ever observed.
func (c *Client) observeAgain() {
	c.mu.Lock()
	for t := range c.observed {
		c.unsent[t] = true
	}
	c.mu.Unlock()
	signal(c.arrived)
}

func (c *Client) sendObserved(stream grpc.BidiStreamingClient[nodeapi.NodeMessage, nodeapi.ServerMessage]) error {
	c.mu.Lock()
	var out []*nodeapi.Observation
	for t := range c.unsent {
		out = append(out, &nodeapi.Observation{Kind: t.kind, Key: t.key, Body: c.observed[t]})
	}
	clear(c.unsent)
	c.mu.Unlock()
	for _, o := range out {
		if err := stream.Send(&nodeapi.NodeMessage{Message: &nodeapi.NodeMessage_Observation{Observation: o}}); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) send(ctx context.Context, stream grpc.BidiStreamingClient[nodeapi.NodeMessage, nodeapi.ServerMessage]) error {
	for {
		select {
		case <-c.arrived:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := c.sendObserved(stream); err != nil {
			return err
		}
		c.mu.Lock()
		reports := c.pending
		c.pending = map[string]model.TaskObserved{}
		c.mu.Unlock()
		for id, o := range reports {
			data, err := json.Marshal(o)
			if err != nil {
				return fmt.Errorf("encoding the report of task %s: %w", id, err)
			}
			// What is lost here is sent again by the next session.
			err = stream.Send(&nodeapi.NodeMessage{Message: &nodeapi.NodeMessage_Report{
				Report: &nodeapi.TaskReport{TaskId: id, Seq: o.Seq, Observed: data},
			}})
			if err != nil {
				return err
			}
		}
	}
}

func (c *Client) receive(ctx context.Context, stream grpc.BidiStreamingClient[nodeapi.NodeMessage, nodeapi.ServerMessage], tasks Tasks) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		switch {
		case m.GetWelcome() != nil:
			c.welcome(m.GetWelcome())
			c.cfg.Log.InfoContext(ctx, "connected to the control plane", telemetry.InstanceARN, m.GetWelcome().GetInstanceArn())
		case m.GetAck() != nil:
			tasks.Acknowledge(m.GetAck().GetTaskId(), m.GetAck().GetSeq())
		case m.GetOpen() != nil && c.cfg.Streams != nil:
			open := m.GetOpen()
			c.streams.Go(func() { c.attach(ctx, open) })
		case m.GetDocuments() != nil:
			c.apply(m.GetDocuments())
		case m.GetAssignments() != nil:
			assignments, err := decode(m.GetAssignments().GetAssignments())
			if err != nil {
				return err
			}
			tasks.Assign(assignments, m.GetAssignments().GetComplete())
		}
	}
}

func (c *Client) apply(in *nodeapi.Documents) {
	if c.cfg.Documents == nil {
		return
	}
	out := make([]documents.Document, len(in.GetDocuments()))
	for i, d := range in.GetDocuments() {
		out[i] = documents.Document{Kind: d.GetKind(), Key: d.GetKey(), Body: d.GetBody()}
	}
	c.cfg.Documents.Apply(out, in.GetComplete())
}

func decode(in []*nodeapi.Assignment) ([]model.Assignment, error) {
	out := make([]model.Assignment, len(in))
	for i, a := range in {
		if err := json.Unmarshal(a.GetAssignment(), &out[i]); err != nil {
			return nil, fmt.Errorf("the assignment of task %s cannot be read: %w", a.GetTaskId(), err)
		}
	}
	return out, nil
}
