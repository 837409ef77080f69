package dispatch

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"berth.dev/berth/internal/control/nodeca"
	"berth.dev/berth/internal/wire/nodeapi"
)

// layer is what the registry of the benchmarks answers with.
const layerSize = 64 << 20

func serveLayer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "67108864")
	piece := make([]byte, 1<<20)
	for range layerSize / len(piece) {
		if _, err := w.Write(piece); err != nil {
			return
		}
	}
}

// tunnelled is the part of the node protocol that carries a pull.
type tunnelled struct {
	nodeapi.UnimplementedNodeServer
	d *Dispatcher
}

func (s tunnelled) DialRegistry(stream grpc.BidiStreamingServer[nodeapi.Chunk, nodeapi.Chunk]) error {
	s.d.pull(stream, nil, "repository")
	return nil
}

// BenchmarkPull is a layer through the node protocol, with its encryption.
func BenchmarkPull(b *testing.B) {
	ca, err := nodeca.Open(filepath.Join(b.TempDir(), "pki"), time.Now())
	if err != nil {
		b.Fatal(err)
	}
	d := New(Config{Authority: ca, ServeRegistry: func(_ context.Context, conn net.Conn, _ string) {
		server := &http.Server{Handler: http.HandlerFunc(serveLayer), ReadHeaderTimeout: time.Minute}
		one := make(chan net.Conn, 1)
		one <- conn
		_ = server.Serve(oneConn{one, conn})
	}})
	config, err := ca.ServerTLS(time.Now())
	if err != nil {
		b.Fatal(err)
	}
	server := grpc.NewServer(append(serverOptions(), grpc.Creds(credentials.NewTLS(config)))...)
	nodeapi.RegisterNodeServer(server, tunnelled{d: d})
	listener, err := net.Listen("unix", filepath.Join(b.TempDir(), "s"))
	if err != nil {
		b.Fatal(err)
	}
	go server.Serve(listener) //nolint:errcheck // it ends with Stop
	defer server.Stop()
	// As package agent/session has it.
	conn, err := grpc.NewClient("unix:"+listener.Addr().String(),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})), //nolint:gosec // a benchmark
		grpc.WithInitialWindowSize(4<<20), grpc.WithInitialConnWindowSize(16<<20), grpc.WithReadBufferSize(256<<10))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	b.SetBytes(layerSize)
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		stream, err := nodeapi.NewNodeClient(conn).DialRegistry(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if err := stream.Send(&nodeapi.Chunk{Data: []byte("GET / HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n")}); err != nil {
			b.Fatal(err)
		}
		n := 0
		for n < layerSize {
			chunk, err := stream.Recv()
			if err != nil {
				b.Fatal(err)
			}
			n += len(chunk.GetData())
		}
		cancel()
	}
}

// BenchmarkPullLoopback is the same without the node protocol.
func BenchmarkPullLoopback(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(serveLayer))
	defer server.Close()
	b.SetBytes(layerSize)
	for b.Loop() {
		answer, err := http.Get(server.URL)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, answer.Body); err != nil || n != layerSize {
			b.Fatal(n, err)
		}
		answer.Body.Close()
	}
}

// oneConn is a listener with one connection.
type oneConn struct {
	conns chan net.Conn
	conn  net.Conn
}

func (l oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	default:
		<-l.conn.(*registryConn).closed
		return nil, net.ErrClosed
	}
}
func (oneConn) Close() error     { return nil }
func (l oneConn) Addr() net.Addr { return l.conn.LocalAddr() }
