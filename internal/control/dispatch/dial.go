package dispatch

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

const (
	// maxDialled is how many connections to the API one task may have open, so
	// that it leaves its node's other tasks some.
	maxDialled = 128
	// chunkBytes is the most that one message to the node carries.
	chunkBytes = 16 << 10
)

// DialAPI carries a connection from inside one of the node's tasks to the AWS
// API. What the API sees as the client is the task; who calls, the signatures
// say.
func (d *Dispatcher) DialAPI(stream grpc.BidiStreamingServer[nodeapi.Chunk, nodeapi.Chunk]) error {
	if _, _, err := nodeID(stream.Context(), time.Now()); err != nil {
		return err // before anything that it says is read
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	t, err := d.ownTask(stream.Context(), first.GetTaskId())
	if err != nil {
		return err
	}
	if d.cfg.Serve == nil {
		return status.Error(codes.Unimplemented, "this control plane serves no tasks")
	}
	if !d.dial(t.ID) {
		return status.Errorf(codes.ResourceExhausted, "the task has %d connections to the API", maxDialled)
	}
	defer d.hangUp(t.ID)
	d.carry(stream, first.GetData(), d.origin(t))
	return nil
}

// carry runs the connection until the API has closed it, or the node is gone.
func (d *Dispatcher) carry(stream grpc.BidiStreamingServer[nodeapi.Chunk, nodeapi.Chunk], first []byte, from Origin) {
	ctx, cancel := context.WithCancel(stream.Context())
	conn, node := tunnel(from.Address)
	stop := context.AfterFunc(ctx, func() { node.Close() }) //nolint:errcheck,gosec // a pipe
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { d.cfg.Serve(ctx, conn, from) })
	// Recv ends with the stream, which ends when DialAPI returns: nobody waits
	// for this one.
	go func() {
		defer node.in.Close() //nolint:errcheck // a pipe: the API reads EOF
		for data := first; ; {
			if len(data) > 0 { // a pipe hands on nothing, too
				if _, err := node.in.Write(data); err != nil {
					return
				}
			}
			chunk, err := stream.Recv()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					cancel() // the node is gone, and with it who would read
				}
				return
			}
			data = chunk.GetData()
		}
	}()
	buffer := make([]byte, chunkBytes)
	for {
		n, err := node.out.Read(buffer)
		if n > 0 && stream.Send(&nodeapi.Chunk{Data: buffer[:n]}) != nil || err != nil {
			return
		}
	}
}

// origin is what the API is told of the task.
func (d *Dispatcher) origin(t *model.Task) Origin {
	from := Origin{InstanceID: t.InstanceID, TaskID: t.ID}
	address := ""
	if t.NetworkInterface != nil {
		address, from.VPCID = t.NetworkInterface.Address, t.NetworkInterface.VPCID
	} else if i, ok := records.Instances.Get(d.cfg.Store.Snapshot(), t.InstanceID); ok {
		address = i.Address
	}
	if a, err := netip.ParseAddr(address); err == nil {
		from.Address = a
	}
	return from
}

// dial counts a connection of a task, if it may have one more.
func (d *Dispatcher) dial(taskID string) bool { return d.dialUpTo(taskID, maxDialled) }

// dialUpTo counts a connection of a kind, if there may be one more.
func (d *Dispatcher) dialUpTo(key string, most int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dialled[key] >= most {
		return false
	}
	d.dialled[key]++
	return true
}

func (d *Dispatcher) hangUp(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dialled[key]--; d.dialled[key] == 0 {
		delete(d.dialled, key)
	}
}

// tunnelConn is the API's end of a tunnel: a pipe for each direction, so that
// one can end before the other. Nothing is buffered; deadlines work.
type tunnelConn struct {
	net.Conn          // what the API writes
	in       net.Conn // what it reads
	remote   net.Addr
}

// tunnelEnd is the node's end of it.
type tunnelEnd struct{ in, out net.Conn }

func tunnel(remote netip.Addr) (*tunnelConn, *tunnelEnd) {
	ourIn, nodeIn := net.Pipe()
	ourOut, nodeOut := net.Pipe()
	from := net.Addr(&net.TCPAddr{})
	if remote.IsValid() {
		from = net.TCPAddrFromAddrPort(netip.AddrPortFrom(remote, 0))
	}
	return &tunnelConn{Conn: ourOut, in: ourIn, remote: from}, &tunnelEnd{in: nodeIn, out: nodeOut}
}

func (c *tunnelConn) Read(p []byte) (int, error)        { return c.in.Read(p) }
func (c *tunnelConn) RemoteAddr() net.Addr              { return c.remote }
func (c *tunnelConn) SetReadDeadline(t time.Time) error { return c.in.SetReadDeadline(t) }

func (c *tunnelConn) SetDeadline(t time.Time) error {
	return errors.Join(c.in.SetReadDeadline(t), c.Conn.SetWriteDeadline(t))
}

func (c *tunnelConn) Close() error { return errors.Join(c.in.Close(), c.Conn.Close()) }

func (e *tunnelEnd) Close() error { return errors.Join(e.in.Close(), e.out.Close()) }
