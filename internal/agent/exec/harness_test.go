package exec_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"berth.dev/berth/internal/agent/exec"
	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/task"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

var errOver = errors.New("the stream is over")

// wire is a stream without a network: what one side sends waits for the other.
type wire struct {
	in, out chan *nodeapi.StreamFrame
	over    chan struct{}
	once    sync.Once
}

func newWire() *wire {
	return &wire{in: make(chan *nodeapi.StreamFrame), out: make(chan *nodeapi.StreamFrame), over: make(chan struct{})}
}

// Send and Recv are the node's.
func (w *wire) Send(f *nodeapi.StreamFrame) error {
	select {
	case w.out <- proto.CloneOf(f):
		return nil
	case <-w.over:
		return errOver
	}
}

func (w *wire) Recv() (*nodeapi.StreamFrame, error) {
	select {
	case f := <-w.in:
		return f, nil
	case <-w.over:
		return nil, errOver
	}
}

func (w *wire) close() { w.once.Do(func() { close(w.over) }) }

// client is the control plane's end of a stream that a Server has.
type client struct {
	t    testing.TB
	wire *wire
	done chan struct{} // closed when Open has returned
}

// open opens a stream; it is closed when the test ends, and Open must return
// then.
func open(t testing.TB, s *exec.Server, request model.StreamRequest) *client {
	t.Helper()
	c := &client{t: t, wire: newWire(), done: make(chan struct{})}
	go func() {
		defer close(c.done)
		s.Open(context.Background(), request, c.wire)
	}()
	t.Cleanup(c.close)
	return c
}

func (c *client) close() {
	c.wire.close()
	<-c.done
}

// say sends a frame, unless the stream is over.
func (c *client) say(f *nodeapi.StreamFrame) bool {
	select {
	case c.wire.in <- f:
		return true
	case <-c.wire.over:
		return false
	}
}

func (c *client) input(data []byte) bool {
	return c.say(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Input{Input: data}})
}

func (c *client) end() {
	c.say(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_InputEnd{InputEnd: true}})
}

// next is the node's next frame that has content.
func (c *client) next() *nodeapi.StreamFrame {
	c.t.Helper()
	for {
		select {
		case f := <-c.wire.out:
			if f.GetFrame() != nil {
				return f
			}
		case <-c.t.Context().Done():
			c.t.Fatal("the node says no more")
		}
	}
}

// started fails the test unless the node has started what was asked for.
func (c *client) started() *client {
	c.t.Helper()
	if f := c.next(); !f.GetStarted() {
		c.t.Fatalf("the node answers %v", f)
	}
	return c
}

func (c *client) refused() string {
	c.t.Helper()
	f := c.next()
	if f.GetRefusal() == "" {
		c.t.Fatalf("the node answers %v", f)
	}
	return f.GetRefusal()
}

// result is all that comes until the exit.
type result struct {
	out, err bytes.Buffer
	ended    bool // output has
	exit     *nodeapi.StreamExit
}

func (c *client) rest() *result {
	c.t.Helper()
	r := &result{}
	for r.exit == nil {
		f := c.next()
		r.out.Write(f.GetOutput())
		r.err.Write(f.GetErrorOutput())
		r.ended = r.ended || f.GetOutputEnd()
		r.exit = f.GetExit()
	}
	return r
}

// until reads output until it holds some text.
func (c *client) until(text string) string {
	c.t.Helper()
	var all bytes.Buffer
	for !bytes.Contains(all.Bytes(), []byte(text)) {
		f := c.next()
		if f.GetExit() != nil {
			c.t.Fatalf("it ends (%v) after %q, before %q", f.GetExit(), all.String(), text)
		}
		all.Write(f.GetOutput())
	}
	return all.String()
}

// send sends all of something, and its end.
func (c *client) send(from io.Reader) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !c.input(bytes.Clone(buffer[:n])) {
			return
		}
		if err != nil {
			c.end()
			return
		}
	}
}

// tasks is a task engine that knows one task.
type tasks struct {
	id         string
	containers map[string]string // runtime ids by name
	cgroup     string
}

func (k tasks) task(id string) (task.View, bool) {
	if id != k.id {
		return task.View{}, false
	}
	a := &model.Assignment{Task: model.Task{ID: k.id}}
	for name, id := range k.containers {
		a.Task.Containers = append(a.Task.Containers, model.TaskContainer{Name: name, RuntimeID: id})
	}
	return task.View{Assignment: a, State: task.State{CgroupPath: k.cgroup}}, true
}

func newServer(t testing.TB, containers runtime.Runtime, k tasks) *exec.Server {
	t.Helper()
	return exec.New(exec.Config{Runtime: containers, Task: k.task, Dir: t.TempDir() + "/debug", Log: slog.New(slog.DiscardHandler)})
}
