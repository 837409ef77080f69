package tunnel_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	goruntime "runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"

	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/agent/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// api is the other end: what each connection is served with, and by whom it
// was made.
type api struct {
	mu    sync.Mutex
	tasks []string
	err   error
	serve func(net.Conn)
	wg    sync.WaitGroup
}

func (a *api) dial(_ context.Context, taskID string) (tunnel.Conn, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tasks = append(a.tasks, taskID)
	if a.err != nil {
		return nil, a.err
	}
	here, there, err := pair()
	if err != nil {
		return nil, err
	}
	a.wg.Go(func() {
		defer there.Close()
		a.serve(there)
	})
	return here, nil
}

// pair is a TCP connection, which unlike a pipe has halves and buffers.
func pair() (here, there *net.TCPConn, err error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	a, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	b, err := ln.Accept()
	if err != nil {
		return nil, nil, errors.Join(err, a.Close())
	}
	return a.(*net.TCPConn), b.(*net.TCPConn), nil
}

// begin serves a host's tasks at an address of the loopback range that no
// other test has.
func begin(t *testing.T, a *api, taskOf func(net.Conn) (string, error)) (address string) {
	t.Helper()
	var b [3]byte
	rand.Read(b[:])
	at := netip.AddrFrom4([4]byte{127, b[0], b[1], b[2]})
	server := tunnel.New(tunnel.Config{Dial: a.dial, Log: slog.New(slog.DiscardHandler)})
	endpoint, err := server.OpenHost(t.Context(), at, taskOf)
	if err != nil {
		t.Fatal(err)
	}
	run(t, endpoint, a)
	return strings.TrimPrefix(tunnel.URL(at), "http://")
}

func run(t *testing.T, endpoint *tunnel.Endpoint, a *api) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- endpoint.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
		a.wg.Wait()
	})
}

func always(net.Conn) (string, error) { return "t1", nil }

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// Bytes pass as they are in both directions, also after one of them has ended.
func TestRun_CarriesBothDirections(t *testing.T) {
	sent, answer := make([]byte, 3<<20), make([]byte, 2<<20)
	rand.Read(sent)
	rand.Read(answer)
	a := &api{serve: func(c net.Conn) {
		got, err := io.ReadAll(c) // until the client says that it is done
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("the API got %d bytes, %v", len(got), err)
		}
		c.Write(answer)
	}}
	conn := dial(t, begin(t, a, always))
	go func() {
		conn.Write(sent)
		conn.CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, answer) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if len(a.tasks) != 1 || a.tasks[0] != "t1" {
		t.Errorf("made by %q", a.tasks)
	}
}

// A side that does not read holds the other up: nothing gathers in between.
func TestRun_HasBackPressure(t *testing.T) {
	release := make(chan struct{})
	a := &api{serve: func(c net.Conn) {
		<-release
		io.Copy(io.Discard, c)
	}}
	conn := dial(t, begin(t, a, always))
	const most = 64 << 20 // far above what sockets hold
	var written atomic.Int64
	block := make([]byte, 1<<20)
	// It is held up when a write of a megabyte does not end.
	for written.Load() < most {
		conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
		n, err := conn.Write(block)
		written.Add(int64(n))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if written.Load() >= most {
		t.Error("everything was taken from the client while the API read nothing")
	}
	close(release)
}

// While there is no control plane, and for whoever is no task, a connection is
// reset: an error that SDKs try again, not an end that they would believe.
func TestRun_ResetsWhatIsNotServed(t *testing.T) {
	for name, test := range map[string]struct {
		api    *api
		taskOf func(net.Conn) (string, error)
	}{
		"no control plane": {&api{err: errors.New("unavailable")}, always},
		"nobody":           {&api{}, func(net.Conn) (string, error) { return "", errors.New("nobody") }},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := fetch(begin(t, test.api, test.taskOf)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// fetch connects and reads to the end. A reset may come as early as while it
// connects.
func fetch(address string) ([]byte, error) {
	conn, err := net.Dial("tcp4", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return io.ReadAll(conn)
}

// cut is a connection to a control plane that dies in the middle.
type cut struct{ net.Conn }

func (c cut) CloseWrite() error { return nil }
func (c cut) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		err = errors.New("the control plane is gone")
	}
	return n, err
}

func TestRun_ACutAnswerIsNoWholeAnswer(t *testing.T) {
	var b [3]byte
	rand.Read(b[:])
	at := netip.AddrFrom4([4]byte{127, b[0], b[1], b[2]})
	a := &api{}
	server := tunnel.New(tunnel.Config{Log: slog.New(slog.DiscardHandler), Dial: func(context.Context, string) (tunnel.Conn, error) {
		here, there, err := pair()
		if err != nil {
			return nil, err
		}
		there.Write([]byte("half of"))
		return cut{here}, there.Close()
	}})
	endpoint, err := server.OpenHost(t.Context(), at, always)
	if err != nil {
		t.Fatal(err)
	}
	run(t, endpoint, a)
	if got, err := fetch(strings.TrimPrefix(tunnel.URL(at), "http://")); err == nil {
		t.Errorf("the client takes %q for everything", got)
	}
}

// Each namespace has its own task behind one address, and SDKs' HTTP passes.
func TestOpen_TheNamespaceIsTheTask(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	a := &api{serve: func(c net.Conn) {
		io.ReadFull(c, make([]byte, 16))
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
	}}
	server := tunnel.New(tunnel.Config{Dial: a.dial, Log: slog.New(slog.DiscardHandler)})
	for _, id := range []string{"t1", "t2"} {
		path := newNamespace(t)
		endpoint, err := server.Open(t.Context(), path, id)
		if err != nil {
			t.Fatal(err)
		}
		run(t, endpoint, a)
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, address string) (c net.Conn, err error) {
			err = network.In(path, func() (err error) { c, err = new(net.Dialer).DialContext(ctx, "tcp4", address); return err })
			return c, err
		}}}
		response, err := client.Get(tunnel.URL(netip.MustParseAddr(network.MetadataAddress)) + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || string(body) != "ok" {
			t.Errorf("got %q, %v", body, err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if strings.Join(a.tasks, " ") != "t1 t2" {
		t.Errorf("connections of %q", a.tasks)
	}
}

// newNamespace makes a network namespace with the address of tasks' endpoints.
func newNamespace(t *testing.T) string {
	t.Helper()
	name := "lab-" + strings.ToLower(rand.Text()[:8])
	done := make(chan error)
	go func() {
		goruntime.LockOSThread() // for good: the thread ends with the goroutine
		_, err := netns.NewNamed(name)
		if err == nil {
			var lo netlink.Link
			if lo, err = netlink.LinkByName("lo"); err == nil {
				address, _ := netlink.ParseAddr(network.MetadataAddress + "/32")
				err = errors.Join(netlink.LinkSetUp(lo), netlink.AddrAdd(lo, address))
			}
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.DeleteNamed(name); err != nil {
			t.Error(err)
		}
	})
	return "/run/netns/" + name
}
