package dispatch

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/imageref"
	"berth.dev/berth/internal/wire/nodeapi"
)

const (
	// maxPulling is how many connections to the registry one task may have open.
	maxPulling = 32
	// layerBytes is the most of a layer that one message carries, so that the
	// message fits into 32 KiB: for one byte more gRPC takes a buffer of 1 MiB,
	// at both ends, and clears all of that.
	layerBytes = 32<<10 - 64
)

// DialRegistry carries a connection to the image registry, for the image of a
// container of one of the node's tasks. It asks the task's execution role
// first, each time: the registry on the other end asks nobody.
func (d *Dispatcher) DialRegistry(stream grpc.BidiStreamingServer[nodeapi.Chunk, nodeapi.Chunk]) error {
	if _, _, err := nodeID(stream.Context(), time.Now()); err != nil {
		return err // before anything that it says is read
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	t, err := d.taskWithRoles(stream.Context(), first.GetTaskId())
	if err != nil {
		return err
	}
	if d.cfg.ServeRegistry == nil {
		return status.Error(codes.Unimplemented, "this control plane has no image registry")
	}
	repository, err := d.repository(t, first.GetContainer())
	if err != nil {
		return err
	}
	refusal, err := d.cfg.Execution.AuthorizePull(stream.Context(), t, first.GetContainer())
	switch {
	case err != nil:
		return d.answer(stream.Context(), t, err)
	case refusal != "":
		return status.Error(codes.PermissionDenied, refusal)
	}
	key := "registry " + t.ID
	if !d.dialUpTo(key, maxPulling) {
		return status.Errorf(codes.ResourceExhausted, "the task has %d connections to the registry", maxPulling)
	}
	defer d.hangUp(key)
	// The node may speak from here on.
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	d.pull(stream, first.GetData(), repository)
	return nil
}

// repository is the one of this registry that a container's image is in.
func (d *Dispatcher) repository(t *model.Task, container string) (string, error) {
	at := slices.IndexFunc(t.Containers, func(c model.TaskContainer) bool { return c.Name == container })
	if at < 0 {
		return "", status.Errorf(codes.PermissionDenied, "task %s has no container %s", t.ID, container)
	}
	image := t.Containers[at].Image
	name, err := imageref.Parse(image)
	switch {
	case err != nil:
		return "", status.Error(codes.InvalidArgument, err.Error())
	case name.Account == d.cfg.Scope.AccountID && name.Region == d.cfg.Scope.Region, slices.Contains(d.cfg.RegistryHosts, name.Host):
		return name.Repository, nil
	case !name.ECR():
		return "", status.Errorf(codes.PermissionDenied, "the image %s is not of this registry", image)
	}
	// ECR's own sentence, and what it would leave the user to find out.
	return "", status.Errorf(codes.NotFound,
		"pull image manifest has been retried 1 time(s): failed to resolve ref %s: pulling from host %s failed with status code [manifests %s]: 404 Not Found: "+
			"RepositoryNotFoundException: The repository with name '%s' does not exist in the registry with id '%s': this is the registry of account %s in %s",
		image, name.Host, name.Reference(), name.Repository, name.Account, d.cfg.Scope.AccountID, d.cfg.Scope.Region)
}

// pull runs the connection until the registry has closed it, or the node is gone.
func (d *Dispatcher) pull(stream grpc.BidiStreamingServer[nodeapi.Chunk, nodeapi.Chunk], first []byte, repository string) {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	ours, node := net.Pipe()
	conn := &registryConn{in: ours, stream: stream, closed: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { d.cfg.ServeRegistry(ctx, conn, repository) })
	// Recv ends with the stream, which ends when DialRegistry returns: nobody
	// waits for this one.
	go func() {
		defer node.Close() //nolint:errcheck // a pipe: the registry reads EOF
		for data := first; ; {
			if len(data) > 0 {
				if _, err := node.Write(data); err != nil {
					return
				}
			}
			chunk, err := stream.Recv()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					cancel()
				}
				return
			}
			data = chunk.GetData()
		}
	}()
	<-conn.closed
	cancel()
	wg.Wait()
}

// registryConn is the registry's end of the connection. What it writes goes to
// the node as it is, without a pipe in between, because it is a lot. It has no
// write deadlines: a node that does not read is noticed by its keepalive.
type registryConn struct {
	in     net.Conn // what the node sends
	stream grpc.BidiStreamingServer[nodeapi.Chunk, nodeapi.Chunk]
	once   sync.Once
	closed chan struct{}
}

func (c *registryConn) Read(p []byte) (int, error) { return c.in.Read(p) }

func (c *registryConn) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		select {
		case <-c.closed:
			return written, net.ErrClosed
		default:
		}
		end := min(len(p), written+layerBytes)
		if err := c.stream.Send(&nodeapi.Chunk{Data: p[written:end]}); err != nil {
			return written, err
		}
		written = end
	}
	return written, nil
}

// ReadFrom sends what r has in messages that are as large as they may be, where
// io.Copy's buffer would make them a little too large.
func (c *registryConn) ReadFrom(r io.Reader) (total int64, err error) {
	buffer := make([]byte, layerBytes)
	for {
		n, err := io.ReadFull(r, buffer)
		if n > 0 {
			sent, failed := c.Write(buffer[:n])
			if total += int64(sent); failed != nil {
				return total, failed
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return total, nil
		case err != nil:
			return total, err
		}
	}
}

func (c *registryConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.in.Close()
}

func (*registryConn) LocalAddr() net.Addr { return &net.UnixAddr{Net: "unix", Name: "registry"} }

func (*registryConn) RemoteAddr() net.Addr                 { return &net.UnixAddr{Net: "unix", Name: "node"} }
func (c *registryConn) SetDeadline(t time.Time) error      { return c.in.SetReadDeadline(t) }
func (c *registryConn) SetReadDeadline(t time.Time) error  { return c.in.SetReadDeadline(t) }
func (c *registryConn) SetWriteDeadline(_ time.Time) error { return nil }
