package dispatch_test

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"berth.dev/berth/internal/control/dispatch"
	"berth.dev/berth/internal/wire/nodeapi"
)

// dialAPI opens a connection of task 1 to the API.
func dialAPI(ctx context.Context, t *testing.T, client nodeapi.NodeClient) grpc.BidiStreamingClient[nodeapi.Chunk, nodeapi.Chunk] {
	t.Helper()
	stream, err := client.DialAPI(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&nodeapi.Chunk{TaskId: "1"}); err != nil {
		t.Fatal(err)
	}
	return stream
}

func (r *roles) served() int {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open
}

// A request of any size passes, and an answer after the task has said that it
// will say no more. The API sees the task.
func TestDialAPI(t *testing.T) {
	withRoles(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		p.connect(nodeA)
		stream := dialAPI(t.Context(), t, p.client(nodeA, p.ca))
		const size = 300_000
		request := "POST / HTTP/1.1\r\nHost: api\r\nConnection: close\r\nContent-Length: 300000\r\n\r\n" + strings.Repeat("x", size)
		for len(request) > 0 {
			n := min(len(request), 10_000)
			if err := stream.Send(&nodeapi.Chunk{Data: []byte(request[:n])}); err != nil {
				t.Fatal(err)
			}
			request = request[n:]
		}
		var answer strings.Builder
		for {
			chunk, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			answer.Write(chunk.GetData())
		}
		if !strings.HasSuffix(answer.String(), "172.31.0.1:0 sent 300000 bytes, <nil>") {
			t.Errorf("answered %q", answer.String())
		}
		want := dispatch.Origin{InstanceID: nodeA, TaskID: "1", Address: netip.MustParseAddr("172.31.0.1"), VPCID: "vpc-1"}
		if p.roles.origin != want {
			t.Errorf("it came from %+v", p.roles.origin)
		}
		if n := p.roles.served(); n != 0 {
			t.Errorf("%d connections are open", n)
		}
	})
}

// A task has so many connections at once, and they end with the node's.
func TestDialAPI_Limits(t *testing.T) {
	withRoles(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		p.place("2", nodeA)
		p.connect(nodeA)
		client := p.client(nodeA, p.ca)
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		for range 128 {
			dialAPI(ctx, t, client)
		}
		if n := p.roles.served(); n != 128 {
			t.Fatalf("%d connections are open", n)
		}
		if _, err := dialAPI(t.Context(), t, client).Recv(); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("one more: %v", err)
		}
		// It leaves the node's other tasks theirs.
		for _, c := range calls() {
			if _, err := c.do(t.Context(), client, "2"); err != nil {
				t.Errorf("%s of another task: %v", c.name, err)
			}
		}
		leave()
		if n := p.roles.served(); n != 0 {
			t.Errorf("%d connections are open after the node has left", n)
		}
		for _, c := range calls() {
			if _, err := c.do(t.Context(), client, "1"); err != nil {
				t.Errorf("%s after that: %v", c.name, err)
			}
		}
	})
}

// A node that says more than its tasks can be the reason of is not listened to.
func TestSession_SaysTooMuch(t *testing.T) {
	withRoles(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		n := p.connect(nodeA)
		release := p.kv.hold() // nothing is recorded meanwhile
		body := []byte(`{"status":"` + strings.Repeat("x", 7<<20) + `"}`)
		for _, id := range []string{"1", "a", "b", "c", "d", "e", "f"} {
			err := n.stream.Send(&nodeapi.NodeMessage{Message: &nodeapi.NodeMessage_Report{Report: &nodeapi.TaskReport{TaskId: id, Seq: 1, Observed: body}}})
			if err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		release()
		if err := n.end(); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("the session ends with %v", err)
		}
	})
}
