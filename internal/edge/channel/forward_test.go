package channel_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/datachannel"
)

// forward opens a session to a port, multiplexed by Berth's own client.
func (w *world) forward(port int) (string, *datachannel.Mux) {
	w.t.Helper()
	id, token := w.session(func(s *model.RemoteSession) {
		s.Document, s.Parameters = model.DocumentPortForward, map[string][]string{"portNumber": {fmt.Sprint(port)}}
	})
	mux, err := w.connect(id, token, "").Mux()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { mux.Close() }) //nolint:errcheck // it may have ended
	return id, mux
}

// Halves end on their own: an answer comes after the end of what was asked.
func TestForward_HalfClose(t *testing.T) {
	w := newWorld(t)
	id, mux := w.forward(echoServer(t))
	var group sync.WaitGroup
	for i := range 20 {
		conn, err := mux.Open()
		if err != nil {
			t.Fatal(err)
		}
		data := bytes.Repeat(fmt.Appendf(nil, "%d|", i), 100_000)
		group.Go(func() {
			if _, err := conn.Write(data); err != nil {
				t.Error(err)
			}
			if err := conn.CloseWrite(); err != nil {
				t.Error(err)
			}
		})
		group.Go(func() {
			defer conn.Close() //nolint:errcheck // all is read
			if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, data) {
				t.Errorf("connection %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	group.Wait()
	if err := mux.Close(); err != nil {
		t.Fatal(err)
	}
	w.record(id, hasEnded)
}

// A connection that nobody reads holds up no other.
func TestForward_ConnectionsAreIndependent(t *testing.T) {
	w := newWorld(t)
	_, mux := w.forward(echoServer(t))
	stuck, err := mux.Open()
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		stuck.Write(make([]byte, 32<<20)) //nolint:errcheck // it is cut off
	})
	conn, err := mux.Open()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		line := fmt.Appendf(nil, "line %d", i)
		if _, err := conn.Write(line); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(line))
		if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, line) {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if err := stuck.Close(); err != nil {
		t.Error(err)
	}
	group.Wait()
}

// The client learns why there is no connection, and the session goes on.
func TestForward_Refused(t *testing.T) {
	w := newWorld(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close() //nolint:errcheck // nobody listens there
	_, mux := w.forward(port)
	for range 2 {
		conn, err := mux.Open()
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.Read(make([]byte, 1))
		if refused, ok := errors.AsType[*datachannel.RefusedError](err); !ok || refused.Text != "nothing listens there" {
			t.Errorf("%v", err)
		}
		conn.Close() //nolint:errcheck // it was none
	}
}

// The session's end reaches those who use its connections.
func TestForward_Ends(t *testing.T) {
	w := newWorld(t)
	_, mux := w.forward(echoServer(t))
	conn, err := mux.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	w.stopTask()
	expectEnd(t, mux.Wait(), "Received Container Stopped event")
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a connection that was cut ended with %v", err)
	}
}
