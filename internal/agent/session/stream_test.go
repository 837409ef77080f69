package session_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"

	"berth.dev/berth/internal/agent/session"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// Attach remembers the stream's id, sends one frame and then what it gets, until
// the exit.
func (s *server) Attach(stream grpc.BidiStreamingServer[nodeapi.StreamFrame, nodeapi.StreamFrame]) error {
	for {
		f, err := stream.Recv()
		if err != nil {
			s.hear(fmt.Sprintf("the stream broke: %t", !errors.Is(err, context.Canceled)))
			return err
		}
		if f.GetExit() != nil {
			s.hear(fmt.Sprintf("exit %d", f.GetExit().GetCode()))
			return nil
		}
		s.hear("frame " + f.GetAttach() + string(f.GetOutput()))
		if err := stream.Send(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Input{Input: []byte("in")}}); err != nil {
			return err
		}
	}
}

func (s *server) hear(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = append(s.heard, line)
}

// echo is Streams that say back what they get until they are told to end.
type echo struct {
	mu      sync.Mutex
	opened  []model.StreamRequest
	running int
	over    chan struct{}
}

func (e *echo) Open(ctx context.Context, request model.StreamRequest, stream session.Stream) {
	e.count(request, 1)
	defer e.count(model.StreamRequest{}, -1)
	f, err := stream.Recv()
	if err == nil {
		err = stream.Send(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Output{Output: f.GetInput()}})
	}
	select {
	case <-e.over:
		stream.Send(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Exit{Exit: &nodeapi.StreamExit{Code: 3}}}) //nolint:errcheck // the server notices
	case <-ctx.Done():
	}
	for err == nil {
		_, err = stream.Recv()
	}
}

func (e *echo) count(request model.StreamRequest, n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running += n
	if n > 0 {
		e.opened = append(e.opened, request)
	}
}

func (e *echo) state() (opened []model.StreamRequest, running int) {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.opened, e.running
}

func open(id, request string) *nodeapi.ServerMessage {
	return &nodeapi.ServerMessage{Message: &nodeapi.ServerMessage_Open{Open: &nodeapi.OpenStream{StreamId: id, Request: []byte(request)}}}
}

// A stream is attached under its id, and its last frame arrives.
func TestStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, e := newServer(t), &echo{over: make(chan struct{})}
		runWith(t, s, newTasks(), e)
		s.said()
		s.say(open("s1", `{"id":"s1","taskId":"t1","kind":"exec"}`))
		expect(t, s.said(), "frame s1", "frame in")
		if opened, running := e.state(); running != 1 || opened[0].TaskID != "t1" || opened[0].Kind != model.StreamExec {
			t.Errorf("%d run: %+v", running, opened)
		}
		s.say(open("s2", "{")) // which is no reason to end anything
		expect(t, s.said())
		close(e.over)
		expect(t, s.said(), "exit 3")
		if _, running := e.state(); running != 0 {
			t.Errorf("%d run", running)
		}
	})
}

// Streams end with the session.
func TestStreams_EndWithTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, e := newServer(t), &echo{over: make(chan struct{})}
		runWith(t, s, newTasks(), e)
		s.said()
		s.say(open("s1", `{"taskId":"t1"}`))
		if _, running := e.state(); running != 1 {
			t.Errorf("%d run", running)
		}
		s.die()
		if _, running := e.state(); running != 0 {
			t.Errorf("%d run after the control plane is gone", running)
		}
	})
}

// A node without them says nothing.
func TestStreams_None(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		runWith(t, s, newTasks(), nil)
		s.said()
		s.say(open("s1", `{"taskId":"t1"}`))
		expect(t, s.said())
	})
}
