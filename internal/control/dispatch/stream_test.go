package dispatch_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// opened is what OpenStream returned.
type opened struct {
	stream nodeapi.Stream
	err    error
}

// open asks for a stream into a task, in the background.
func (p *plane) open(ctx context.Context, taskID string) <-chan opened {
	out := make(chan opened, 1)
	go func() {
		s, err := p.dispatcher.OpenStream(ctx, model.StreamRequest{TaskID: taskID, Container: "app", Kind: model.StreamExec, Command: []string{"sh"}})
		out <- opened{s, err}
	}()
	return out
}

type nodeCall = grpc.BidiStreamingClient[nodeapi.StreamFrame, nodeapi.StreamFrame]

// attach is the node's call for a stream that it was asked for.
func attach(ctx context.Context, t *testing.T, client nodeapi.NodeClient, id string) nodeCall {
	t.Helper()
	call, err := client.Attach(ctx)
	if err != nil {
		t.Fatal(err)
	}
	say(t, call, &nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Attach{Attach: id}})
	return call
}

func say(t *testing.T, call nodeCall, f *nodeapi.StreamFrame) {
	t.Helper()
	if err := call.Send(f); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	synctest.Wait()
}

var (
	started = &nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Started{Started: true}}
	exited  = &nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Exit{Exit: &nodeapi.StreamExit{Code: 7}}}
)

func bytesOut(s string) *nodeapi.StreamFrame {
	return &nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Output{Output: []byte(s)}}
}

// asked returns the id of the stream that a node was asked for last.
func asked(t *testing.T, n *node) string {
	t.Helper()
	for _, line := range slices.Backward(n.said()) {
		if rest, ok := strings.CutPrefix(line, "open "); ok {
			id, _, _ := strings.Cut(rest, " ")
			return id
		}
	}
	t.Fatal("the node was not asked for a stream")
	return ""
}

// A stream that runs carries frames in both directions until the program's end.
func TestOpenStream(t *testing.T) {
	withRoles(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		n := p.connect(nodeA)
		client := p.client(nodeA, p.ca)
		answer := p.open(t.Context(), "1")
		said := n.said()
		line := said[len(said)-1]
		id, rest, _ := strings.Cut(strings.TrimPrefix(line, "open "), " ")
		var request model.StreamRequest
		if err := json.Unmarshal([]byte(rest), &request); err != nil || request.ID != id || len(id) < 26 || request.Kind != model.StreamExec || request.Container != "app" {
			t.Fatalf("the node is told %q, %v", line, err)
		}
		call := attach(t.Context(), t, client, id)
		say(t, call, started)
		got := <-answer
		if got.err != nil {
			t.Fatal(got.err)
		}
		defer got.stream.Close()
		if err := got.stream.Send(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Input{Input: []byte("ls\n")}}); err != nil {
			t.Fatal(err)
		}
		if f, err := call.Recv(); err != nil || string(f.GetInput()) != "ls\n" {
			t.Errorf("the node gets %v, %v", f, err)
		}
		say(t, call, &nodeapi.StreamFrame{}) // only looks whether somebody is there
		say(t, call, bytesOut("a b\n"))
		say(t, call, exited)
		if f, err := got.stream.Recv(); err != nil || string(f.GetOutput()) != "a b\n" {
			t.Errorf("received %v, %v", f, err)
		}
		if f, err := got.stream.Recv(); err != nil || f.GetExit().GetCode() != 7 {
			t.Errorf("received %v, %v", f, err)
		}
		if f, err := got.stream.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("after the exit: %v, %v", f, err)
		}
		got.stream.Close()
		got.stream.Close()
		if _, err := call.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("the node's call ends with %v", err)
		}
	})
}

// Why there is no stream is told apart, at once where that is known.
func TestOpenStream_Refused(t *testing.T) {
	withRoles(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		p.place("2", nodeB)
		p.place("3", nodeA)
		p.edit("3", func(t *model.Task) { t.Observed.Status = model.TaskStopped })
		n := p.connect(nodeA)
		client := p.client(nodeA, p.ca)
		for _, test := range []struct {
			name, task string
			node       func()
			class      *fault.Class
			text       string
		}{
			{"no such task", "9", nil, fault.NotFound, "there is no task 9"},
			{"stopped", "3", nil, fault.Conflict, "the task has stopped"},
			{"not connected", "2", nil, fault.Unavailable, "not connected"},
			{"no answer", "1", func() {}, fault.Unavailable, "does not answer"},
			{"refused", "1", func() {
				say(t, attach(t.Context(), t, client, asked(t, n)), &nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Refusal{Refusal: `exec: "sh": executable file not found in $PATH`}})
			}, fault.Conflict, `exec: "sh": executable file not found in $PATH`},
			{"not started", "1", func() { attach(t.Context(), t, client, asked(t, n)) }, fault.Unavailable, "did not start it in time"},
			{"gibberish", "1", func() { say(t, attach(t.Context(), t, client, asked(t, n)), bytesOut("x")) }, fault.Unavailable, "cannot be understood"},
			{"hangs up", "1", func() {
				ctx, hangUp := context.WithCancel(t.Context())
				attach(ctx, t, client, asked(t, n))
				hangUp()
			}, fault.Unavailable, "ended the stream"},
			{"stopped meanwhile", "1", func() {
				id := asked(t, n)
				p.edit("1", func(t *model.Task) { t.Observed.Status = model.TaskStopped })
				if _, err := attach(t.Context(), t, client, id).Recv(); status.Code(err) != codes.PermissionDenied {
					t.Errorf("the node is answered %v", err)
				}
			}, fault.Conflict, "has no task"},
		} {
			answer := p.open(t.Context(), test.task)
			if test.node != nil {
				synctest.Wait()
				test.node()
			}
			got := <-answer
			if got.stream != nil || !errors.Is(got.err, test.class) || !strings.Contains(got.err.Error(), test.text) {
				t.Errorf("%s: %v", test.name, got.err)
			}
		}
		if streams := p.dispatcher.Streams(); streams != 0 {
			t.Errorf("%d streams are counted", streams)
		}
	})
}

// Only the node that was asked may attach, with the id that it was told, once;
// what others try harms nobody.
func TestAttach_RogueNode(t *testing.T) {
	withRoles(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		p.place("2", nodeB)
		n := p.connect(nodeA)
		p.connect(nodeB)
		answer := p.open(t.Context(), "1")
		id := asked(t, n)
		denied := func(name string, client nodeapi.NodeClient, id string, want codes.Code) string {
			t.Helper()
			call, err := client.Attach(t.Context())
			if err == nil {
				say(t, call, &nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Attach{Attach: id}})
				say(t, call, started)
				_, err = call.Recv()
			}
			if status.Code(err) != want {
				t.Errorf("%s: %v", name, err)
			}
			return status.Convert(err).Message()
		}
		rogue := p.client(nodeB, p.ca)
		others := denied("another's stream", rogue, id, codes.PermissionDenied)
		if none := denied("no stream", rogue, "nine", codes.PermissionDenied); none != others {
			t.Errorf("it tells whether there is such a stream: %q, %q", others, none)
		}
		denied("no id", rogue, "", codes.PermissionDenied)
		denied("no certificate", p.client("", nil), id, codes.Unauthenticated)
		denied("another authority's", p.client(nodeA, newAuthority(t)), id, codes.Unavailable)
		select {
		case got := <-answer:
			t.Fatalf("the stream was opened: %v", got)
		default:
		}
		client := p.client(nodeA, p.ca)
		call := attach(t.Context(), t, client, id)
		say(t, call, started)
		got := <-answer
		if got.err != nil {
			t.Fatal(got.err)
		}
		denied("a second time", client, id, codes.PermissionDenied)
		got.stream.Close()
		if _, err := call.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("the node's call ends with %v", err)
		}
	})
}

// A stream ends with the context of whoever asked for it, with its node's call,
// with the node's session, and when the node is gone.
func TestOpenStream_Ends(t *testing.T) {
	withRoles(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		for name, end := range map[string]func(cancel, hangUp func(), n *node){
			"context": func(cancel, _ func(), _ *node) { cancel() },
			"call":    func(_, hangUp func(), _ *node) { hangUp() },
			"session": func(_, _ func(), n *node) { n.leave() },
			"newer session": func(_, _ func(), _ *node) {
				p.connect(nodeA)
			},
			"deregistered": func(_, _ func(), n *node) {
				p.update(func(tx *store.Tx) error {
					return records.Instances.Edit(tx, nodeA, func(i *model.Instance) error { i.Status = model.InstanceInactive; return nil })
				})
				n.leave()
			},
		} {
			p.update(func(tx *store.Tx) error {
				if !records.Instances.Has(tx, nodeA) {
					return nil
				}
				return records.Instances.Edit(tx, nodeA, func(i *model.Instance) error { i.Status = model.InstanceActive; return nil })
			})
			n := p.connect(nodeA)
			ctx, cancel := context.WithCancel(t.Context())
			callCtx, hangUp := context.WithCancel(t.Context())
			answer := p.open(ctx, "1")
			call := attach(callCtx, t, p.client(nodeA, p.ca), asked(t, n))
			say(t, call, started)
			got := <-answer
			if got.err != nil {
				t.Fatalf("%s: %v", name, got.err)
			}
			end(cancel, hangUp, n)
			if _, err := got.stream.Recv(); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("%s: received %v", name, err)
			}
			for got.stream.Send(bytesOut(strings.Repeat("x", 1<<20))) == nil { // it must not wait for ever
			}
			if _, err := call.Recv(); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("%s: the node's call ends with %v", name, err)
			}
			synctest.Wait()
			if streams := p.dispatcher.Streams(); streams != 0 {
				t.Errorf("%s: %d streams are counted", name, streams)
			}
			cancel()
			hangUp()
			n.leave()
			synctest.Wait()
		}
	})
}

// Who asks may give up at any moment: before the node was told, before it has
// attached, before it has started.
func TestOpenStream_GivenUp(t *testing.T) {
	withRoles(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		n := p.connect(nodeA)
		client := p.client(nodeA, p.ca)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if got := <-p.open(ctx, "1"); !errors.Is(got.err, context.Canceled) {
			t.Errorf("before: %v", got.err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		answer := p.open(ctx, "1")
		id := asked(t, n)
		cancel()
		if got := <-answer; !errors.Is(got.err, context.Canceled) {
			t.Errorf("before it has attached: %v", got.err)
		}
		if _, err := attach(t.Context(), t, client, id).Recv(); status.Code(err) != codes.PermissionDenied {
			t.Errorf("the node attaches after that: %v", err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		answer = p.open(ctx, "1")
		call := attach(t.Context(), t, client, asked(t, n))
		cancel()
		if got := <-answer; !errors.Is(got.err, context.Canceled) {
			t.Errorf("before it has started: %v", got.err)
		}
		if _, err := call.Recv(); err == nil {
			t.Error("the node's call goes on")
		}
		synctest.Wait()
		if streams := p.dispatcher.Streams(); streams != 0 {
			t.Errorf("%d streams are counted", streams)
		}
	})
}

// A node has so many streams and no more, and other nodes theirs.
func TestOpenStream_Limit(t *testing.T) {
	withRoles(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		p.place("2", nodeB)
		p.connect(nodeA)
		p.connect(nodeB)
		ctx, cancel := context.WithCancel(t.Context())
		var waiting []<-chan opened
		for range 128 {
			waiting = append(waiting, p.open(ctx, "1"))
		}
		synctest.Wait()
		if got := <-p.open(ctx, "1"); !errors.Is(got.err, fault.Throttled) {
			t.Errorf("one more: %v", got.err)
		}
		other := p.open(ctx, "2")
		synctest.Wait()
		select {
		case got := <-other:
			t.Errorf("another node's: %v", got.err)
		default:
		}
		cancel()
		for _, w := range append(waiting, other) {
			<-w
		}
		if streams := p.dispatcher.Streams(); streams != 0 {
			t.Errorf("%d streams are counted", streams)
		}
	})
}

// A reader that does not read stops the node: what it may send without being
// read is bounded.
func TestOpenStream_SlowReader(t *testing.T) {
	withRoles(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		n := p.connect(nodeA)
		answer := p.open(t.Context(), "1")
		call := attach(t.Context(), t, p.client(nodeA, p.ca), asked(t, n))
		say(t, call, started)
		got := <-answer
		if got.err != nil {
			t.Fatal(got.err)
		}
		const frames, size = 2000, 32 << 10
		sent := make(chan int, frames)
		go func() {
			defer close(sent)
			for i := range frames {
				if call.Send(bytesOut(strings.Repeat("x", size))) != nil {
					return
				}
				sent <- i
			}
			call.Send(exited) //nolint:errcheck // the reader finds out
		}()
		time.Sleep(time.Minute)
		if n := len(sent) * size; n > 32<<20 {
			t.Errorf("%d bytes were sent to a reader that does not read", n)
		}
		total := 0
		for {
			f, err := got.stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			total += len(f.GetOutput())
		}
		if total != frames*size {
			t.Errorf("%d bytes of %d arrived", total, frames*size)
		}
		got.stream.Close()
	})
}
