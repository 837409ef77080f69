package session

import (
	"context"
	"net"
	"os"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"berth.dev/berth/internal/wire/nodeapi"
)

// bulkOptions make a connection that carries layers: windows that keep a fast
// disk busy, and large reads.
func bulkOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithInitialWindowSize(4 << 20),
		grpc.WithInitialConnWindowSize(16 << 20),
		grpc.WithReadBufferSize(256 << 10),
	}
}

// welcome takes what the control plane says of itself.
func (c *Client) welcome(w *nodeapi.Welcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hosts = w.GetRegistryHosts()
}

// Owns reports whether image names with that host mean the control plane's own
// registry. Those of ECR do without being asked for here.
func (c *Client) Owns(host string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.hosts, host)
}

// RegistryConn is a connection to the control plane's image registry. It has no
// deadlines; closing it ends what waits for it.
type RegistryConn struct{ *APIConn }

var _ net.Conn = RegistryConn{}

// DialRegistry connects to the image registry, for the image of a container.
// A *Refused says that the task may not pull it; other errors mean that the
// control plane was not reached. The connection outlives ctx.
func (c *Client) DialRegistry(ctx context.Context, taskID, container string) (RegistryConn, error) {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	stream, err := nodeapi.NewNodeClient(c.bulk).DialRegistry(life)
	if err == nil {
		// When this fails, the answer says why.
		_ = stream.Send(&nodeapi.Chunk{TaskId: taskID, Container: container})
		err = accepted(stream)
	}
	if !stop() {
		cancel()
		return RegistryConn{}, ctx.Err()
	}
	if err != nil {
		cancel()
		return RegistryConn{}, refusedPull(err)
	}
	return RegistryConn{&APIConn{stream: stream, cancel: cancel}}, nil
}

// refusedPull tells a no from a control plane that is away.
func refusedPull(err error) error {
	switch code := status.Code(err); code { //nolint:exhaustive // the others may pass
	case codes.PermissionDenied, codes.InvalidArgument, codes.NotFound, codes.Unimplemented:
		return &Refused{Text: status.Convert(err).Message(), NotFound: code == codes.NotFound}
	}
	return err
}

// accepted waits for the control plane's word that the connection stands.
func accepted(stream grpc.BidiStreamingClient[nodeapi.Chunk, nodeapi.Chunk]) error {
	header, err := stream.Header()
	if err == nil && header == nil {
		_, err = stream.Recv() // it says why there is none
	}
	return err
}

// LocalAddr implements net.Conn.
func (RegistryConn) LocalAddr() net.Addr { return &net.UnixAddr{Net: "unix", Name: "node"} }

// RemoteAddr implements net.Conn.
func (RegistryConn) RemoteAddr() net.Addr { return &net.UnixAddr{Net: "unix", Name: "registry"} }

// SetDeadline implements net.Conn.
func (RegistryConn) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline implements net.Conn.
func (RegistryConn) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline implements net.Conn.
func (RegistryConn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
