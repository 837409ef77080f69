package session

import (
	"context"
	"io"

	"google.golang.org/grpc"

	"berth.dev/berth/internal/wire/nodeapi"
)

// chunkBytes is the most that one message of an APIConn carries: a quarter of
// gRPC's window, so that a slow reader holds little.
const chunkBytes = 16 << 10

// APIConn is a connection from inside a task to the AWS API. Writes wait while
// the other end does not read (gRPC's flow control). Reads and writes may run
// at once, each by one goroutine.
type APIConn struct {
	stream grpc.BidiStreamingClient[nodeapi.Chunk, nodeapi.Chunk]
	cancel context.CancelFunc
	rest   []byte // of the last chunk
}

// DialAPI connects a task to the AWS API. It fails at once when the control
// plane is away.
func (c *Client) DialAPI(ctx context.Context, taskID string) (*APIConn, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := c.node.DialAPI(ctx)
	if err == nil {
		err = stream.Send(&nodeapi.Chunk{TaskId: taskID})
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return &APIConn{stream: stream, cancel: cancel}, nil
}

// Read implements io.Reader; io.EOF is the end of what the API sends.
func (c *APIConn) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		chunk, err := c.stream.Recv()
		if err != nil {
			return 0, err
		}
		c.rest = chunk.GetData()
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Write implements io.Writer. After the API has ended the connection it fails
// with io.EOF, and Read says why.
func (c *APIConn) Write(p []byte) (int, error) {
	written := 0
	for len(p) > written {
		end := min(len(p), written+chunkBytes)
		if err := c.stream.Send(&nodeapi.Chunk{Data: p[written:end]}); err != nil {
			return written, err
		}
		written = end
	}
	return written, nil
}

// CloseWrite says that nothing more will be written.
func (c *APIConn) CloseWrite() error { return c.stream.CloseSend() }

// Close ends the connection in both directions.
func (c *APIConn) Close() error {
	c.cancel()
	return nil
}

var _ io.ReadWriteCloser = (*APIConn)(nil)
