package dispatch

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/wire/nodeapi"
)

// What a node may make us hold until it is written to the store. Only the
// newest report of each task and thing is held, and of tasks that are not the
// node's nothing but that they were named.
const (
	maxWaiting      = 20_000 // tasks, and other things
	maxName         = 1024
	maxWaitingBytes = 32 << 20 // of the reports of tasks, and of other things
)

// errTooMuch ends the session of a node that says more than its tasks and load
// balancers can be the reason of.
var errTooMuch = errors.New("the node reports too much")

// receive takes what the node says, until it leaves.
func (d *Dispatcher) receive(s *session, stream grpc.BidiStreamingServer[nodeapi.NodeMessage, nodeapi.ServerMessage]) error {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(m.GetReport().GetTaskId())+len(m.GetObservation().GetKind())+len(m.GetObservation().GetKey()) > maxName {
			return fmt.Errorf("%w: a name of more than %d bytes", errTooMuch, maxName)
		}
		if r := m.GetReport(); r != nil {
			err = d.reported(s, r)
		}
		if o := m.GetObservation(); o != nil && err == nil {
			err = s.observed(o)
		}
		if err != nil {
			return err
		}
	}
}

func (d *Dispatcher) reported(s *session, r *nodeapi.TaskReport) error {
	// It is judged again when it is written. What a node says of another node's
	// task is answered, and dropped here already.
	if t, ok := records.Tasks.Get(d.cfg.Store.Snapshot(), r.GetTaskId()); ok && t.InstanceID != s.instanceID {
		r = &nodeapi.TaskReport{TaskId: r.GetTaskId(), Seq: r.GetSeq(), Observed: []byte("{}")}
	}
	s.mu.Lock()
	id := r.GetTaskId()
	s.reportBytes += len(r.GetObserved()) - len(s.reports[id].GetObserved())
	s.reports[id] = r
	waiting, bytes := len(s.reports), s.reportBytes
	s.mu.Unlock()
	signal(s.arrived)
	return tooMuch(waiting, bytes)
}

func (s *session) observed(o *nodeapi.Observation) error {
	name := documentKey{o.GetKind(), o.GetKey()}
	s.mu.Lock()
	s.observedBytes += len(o.GetBody()) - len(s.observations[name])
	s.observations[name] = o.GetBody()
	waiting, bytes := len(s.observations), s.observedBytes
	s.mu.Unlock()
	signal(s.noticed)
	return tooMuch(waiting, bytes)
}

func tooMuch(waiting, bytes int) error {
	if waiting > maxWaiting || bytes > maxWaitingBytes {
		return fmt.Errorf("%w: %d reports of %d bytes wait to be recorded", errTooMuch, waiting, bytes)
	}
	return nil
}
