package dispatch

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

const (
	// maxStreams is how many streams a node may have at once, those that are
	// being opened among them.
	maxStreams = 128
	// attachWithin is how long a node that is connected may take to call Attach.
	attachWithin = 30 * time.Second
	// startWithin is how long what was asked for may take to start, and
	// pullWithin when an image may have to be pulled first.
	startWithin = 2 * time.Minute
	pullWithin  = 15 * time.Minute
)

// OpenStream opens a stream into a task, through the node that has it, and
// returns when the node says that it has started. The caller has decided that
// it may be. The stream ends with ctx, with Close, with the node's session and
// with the node's certificate.
//
// Errors are of class fault.NotFound without such a task, fault.Conflict when
// the task has stopped or the node refuses (the text says why, for the user),
// fault.Unavailable when the node is not connected or does not answer, and
// fault.Throttled when it has all the streams that it may have.
func (d *Dispatcher) OpenStream(ctx context.Context, request model.StreamRequest) (nodeapi.Stream, error) {
	t, ok := records.Tasks.Get(d.cfg.Store.Snapshot(), request.TaskID)
	if !ok {
		return nil, fault.New(fault.NotFound, "there is no task %s", request.TaskID)
	}
	if t.Stopped() {
		return nil, fault.New(fault.Conflict, "the task has stopped")
	}
	d.mu.Lock()
	s := d.sessions[t.InstanceID]
	d.mu.Unlock()
	if s == nil {
		return nil, fault.New(fault.Unavailable, "the container instance of the task is not connected")
	}
	// Nobody but the node learns the id, and it is good for one Attach.
	request.ID = rand.Text()
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encoding a stream's request: %w", err)
	}
	o := &opening{request: request, session: s, over: ctx.Done(), attached: make(chan attached, 1)}
	if !d.streams.add(o) {
		return nil, fault.New(fault.Throttled, "the container instance has %d sessions, the most that it may have", maxStreams)
	}
	stream, err := d.awaitAttach(ctx, o, &nodeapi.OpenStream{StreamId: request.ID, Request: body})
	if err != nil {
		return nil, err
	}
	if err := stream.awaitStart(ctx, request); err != nil {
		stream.Close()
		return nil, err
	}
	return stream, nil
}

// awaitAttach tells the node of a stream and waits for its call.
func (d *Dispatcher) awaitAttach(ctx context.Context, o *opening, open *nodeapi.OpenStream) (*nodeStream, error) {
	timer := time.NewTimer(attachWithin)
	defer timer.Stop()
	opens := o.session.opens
	var err error
	for err == nil {
		select {
		case opens <- &nodeapi.ServerMessage{Message: &nodeapi.ServerMessage_Open{Open: open}}:
			opens = nil
		case a := <-o.attached:
			return a.stream, a.err
		case <-o.session.gone:
			err = errNodeGone
		case <-timer.C:
			err = fault.New(fault.Unavailable, "the container instance of the task does not answer")
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if !d.streams.drop(o) {
		// It has attached just now: its handler has sent, or is about to.
		if a := <-o.attached; a.stream != nil {
			a.stream.Close()
		}
	}
	return nil, err
}

var errNodeGone = fault.New(fault.Unavailable, "the connection to the container instance of the task was lost")

// Attach is the node's answer to OpenStream. It carries the stream until that
// ends on either side.
func (d *Dispatcher) Attach(stream grpc.BidiStreamingServer[nodeapi.StreamFrame, nodeapi.StreamFrame]) error {
	node, _, err := nodeID(stream.Context(), time.Now())
	if err != nil {
		return err // before anything that it says is read
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	o, ok := d.streams.take(first.GetAttach(), node)
	if !ok {
		return status.Error(codes.PermissionDenied, "the node was not asked for such a stream")
	}
	defer d.streams.release(node)
	// The task may have ended meanwhile, or its node been deregistered.
	if _, err := d.ownTask(stream.Context(), o.request.TaskID); err != nil {
		o.attached <- attached{err: fault.New(fault.Conflict, "%s", status.Convert(err).Message())}
		return err
	}
	s := &nodeStream{stream: stream, closed: make(chan struct{})}
	o.attached <- attached{stream: s}
	select {
	case <-s.closed:
		return nil
	case <-o.over:
	case <-o.session.gone:
	case <-stream.Context().Done():
	}
	// Whoever is about to send or to receive finds the call ended.
	return status.Error(codes.Unavailable, "the stream is over")
}

// opening is a stream that a node was asked for.
type opening struct {
	request  model.StreamRequest
	session  *session
	over     <-chan struct{} // whoever asked for it does not want it any more
	attached chan attached   // holds one
}

type attached struct {
	stream *nodeStream
	err    error
}

// openStreams are the streams of all nodes. The zero value has none.
type openStreams struct {
	mu      sync.Mutex
	waiting map[string]*opening // by id
	count   map[string]int      // by instance id, those that wait and those that run
}

// add has a stream waited for, unless its node has too many.
func (o *openStreams) add(asked *opening) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waiting == nil {
		o.waiting, o.count = map[string]*opening{}, map[string]int{}
	}
	node := asked.session.instanceID
	if o.count[node] >= maxStreams {
		return false
	}
	o.count[node]++
	o.waiting[asked.request.ID] = asked
	return true
}

// take returns the stream of an id for the node that was asked for it, once.
// Another node learns nothing and changes nothing.
func (o *openStreams) take(id, node string) (*opening, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	asked, ok := o.waiting[id]
	if !ok || asked.session.instanceID != node {
		return nil, false
	}
	delete(o.waiting, id)
	return asked, true
}

// drop has a stream not waited for any more; false: it was taken.
func (o *openStreams) drop(asked *opening) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waiting[asked.request.ID] != asked {
		return false
	}
	delete(o.waiting, asked.request.ID)
	o.less(asked.session.instanceID)
	return true
}

// release counts the end of a stream that was taken.
func (o *openStreams) release(node string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.less(node)
}

func (o *openStreams) less(node string) {
	if o.count[node]--; o.count[node] == 0 {
		delete(o.count, node)
	}
}

// nodeStream is a nodeapi.Stream over the node's call. Nothing is buffered
// here: gRPC's flow control passes on to each side that the other is slow.
type nodeStream struct {
	stream grpc.BidiStreamingServer[nodeapi.StreamFrame, nodeapi.StreamFrame]
	once   sync.Once
	closed chan struct{}
	ended  bool // the exit was received; the receiver's alone
}

var _ nodeapi.Stream = (*nodeStream)(nil)

// Send implements nodeapi.Stream.
func (s *nodeStream) Send(f *nodeapi.StreamFrame) error {
	if err := s.stream.Send(f); err != nil {
		return fault.Wrap(fault.Unavailable, err, "the node has ended the stream")
	}
	return nil
}

// Recv implements nodeapi.Stream.
func (s *nodeStream) Recv() (*nodeapi.StreamFrame, error) {
	if s.ended {
		return nil, io.EOF
	}
	for {
		f, err := s.stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil, fault.New(fault.Unavailable, "the node has ended the stream")
		case err != nil:
			return nil, fault.Wrap(fault.Unavailable, err, "the node has ended the stream")
		case f.GetFrame() == nil:
			continue // the node only looks whether somebody is there
		}
		s.ended = f.GetExit() != nil
		return f, nil
	}
}

// Close implements nodeapi.Stream.
func (s *nodeStream) Close() { s.once.Do(func() { close(s.closed) }) }

// awaitStart returns when the node has started what was asked for, or with its
// refusal.
func (s *nodeStream) awaitStart(ctx context.Context, request model.StreamRequest) error {
	within := startWithin
	if request.Kind == model.StreamDebug {
		within = pullWithin
	}
	limit, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	defer context.AfterFunc(limit, s.Close)()
	f, err := s.Recv()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case limit.Err() != nil:
		return fault.New(fault.Unavailable, "the container instance of the task did not start it in time")
	case err != nil:
		return err
	case f.GetStarted():
		return nil
	case f.GetRefusal() != "":
		return fault.New(fault.Conflict, "%s", f.GetRefusal())
	}
	return fault.New(fault.Unavailable, "the container instance of the task answers what cannot be understood")
}
