package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/xtaci/smux"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/datachannel"
	"berth.dev/berth/internal/wire/nodeapi"
)

const (
	// maxConnections is how many connections a session may have at once. More
	// wait to be accepted.
	maxConnections = 256
	forwardBuffer  = 16 << 10
	// lastWords is how long what a client has sent may take to arrive when it
	// has left.
	lastWords = 10 * time.Second
)

// forward carries connections from the client to a port, multiplexed as the
// plugin and Berth's own client do it.
func (c *session) forward() error {
	port, err := strconv.ParseUint(c.parameter("portNumber"), 10, 16)
	if err != nil {
		return fmt.Errorf("portNumber: %w", err)
	}
	mux, err := smux.Server(&payloads{session: c}, datachannel.MuxConfig(c.berth))
	if err != nil {
		return fmt.Errorf("multiplex connections: %w", err)
	}
	var group sync.WaitGroup
	defer group.Wait()
	defer mux.Close()                                        //nolint:errcheck // all is said
	defer context.AfterFunc(c.ctx, func() { mux.Close() })() //nolint:errcheck // as above
	slots := make(chan struct{}, maxConnections)
	for {
		select {
		case slots <- struct{}{}:
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
		stream, err := mux.AcceptStream()
		if err != nil {
			return err
		}
		group.Go(func() {
			defer func() { <-slots }()
			c.connect(stream, uint16(port))
		})
	}
}

// payloads is the bytes of a session's payloads.
type payloads struct {
	session *session
	rest    []byte
}

// Read implements io.Reader.
func (p *payloads) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		payload, err := p.session.channel.Recv(p.session.ctx)
		if err != nil {
			return 0, err
		}
		switch payload.Type {
		case datachannel.PayloadOutput:
			p.session.touch()
			p.rest = payload.Data
		case datachannel.PayloadFlag:
			if flag, err := datachannel.DecodeFlag(payload.Data); err == nil && flag == datachannel.FlagTerminateSession {
				p.session.cancel(errClientLeft)
				return 0, io.EOF
			}
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// Write implements io.Writer.
func (p *payloads) Write(b []byte) (int, error) {
	p.session.touch()
	if err := p.session.channel.Send(p.session.ctx, datachannel.PayloadOutput, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close implements io.Closer. The session closes its own channel.
func (p *payloads) Close() error { return nil }

// connect carries one connection.
func (c *session) connect(stream *smux.Stream, port uint16) {
	defer stream.Close() //nolint:errcheck // both sides have said all
	client := io.ReadWriteCloser(stream)
	if c.berth {
		client = datachannel.NewConn(stream)
	}
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	// A client that hangs up while the connection is being made is noticed only
	// then, as by TCP.
	node, err := c.server.cfg.Open(ctx, model.StreamRequest{
		ID: ident.UUID(), TaskID: c.record.TaskID, Container: c.record.Container,
		Kind: model.StreamDial, Host: c.parameter("host"), Port: port,
	})
	if err != nil {
		c.refuse(client, err)
		return
	}
	defer node.Close()
	defer context.AfterFunc(ctx, node.Close)()
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		if !upload(node, client) {
			node.Close()
			return
		}
		if conn, ok := client.(*datachannel.Conn); ok {
			conn.AwaitClose() // it may be reading for long
		}
		// The client is not there any more: the plugin closes both halves at
		// once. What it sent is still to arrive.
		defer time.AfterFunc(lastWords, node.Close).Stop()
		<-ctx.Done()
	})
	download(client, node)
	stream.Close() //nolint:errcheck,gosec // ends the upload
	cancel()
}

// refuse tells the client that there is no connection.
func (c *session) refuse(client io.ReadWriteCloser, err error) {
	if conn, ok := client.(*datachannel.Conn); ok {
		conn.Refuse(err.Error()) //nolint:errcheck,gosec // the client may have left
		return
	}
	// The plugin prints a line, and its client finds the connection closed.
	c.channel.Send(c.ctx, datachannel.PayloadFlag, datachannel.EncodeFlag(datachannel.FlagConnectToPortError)) //nolint:errcheck,gosec // as above
}

// upload carries bytes to the task. It says whether the client has come to its
// end, rather than gone.
func upload(node nodeapi.Stream, client io.ReadWriteCloser) bool {
	buffer := make([]byte, forwardBuffer)
	for {
		n, err := client.Read(buffer)
		if n > 0 {
			// The stream's owner may keep what it is given.
			data := append([]byte(nil), buffer[:n]...)
			if node.Send(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Input{Input: data}}) != nil {
				return false
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return node.Send(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_InputEnd{InputEnd: true}}) == nil
		case err != nil:
			return false
		}
	}
}

// download carries bytes from the task until its connection has ended. One that
// was cut is cut for the client too: its end must not look like the whole.
func download(client io.ReadWriteCloser, node nodeapi.Stream) {
	for {
		frame, err := node.Recv()
		if err != nil {
			return
		}
		switch f := frame.GetFrame().(type) {
		case *nodeapi.StreamFrame_Output:
			if _, err := client.Write(f.Output); err != nil {
				return
			}
		case *nodeapi.StreamFrame_OutputEnd:
			end(client)
		case *nodeapi.StreamFrame_Exit:
			if f.Exit.GetError() == "" {
				end(client)
			}
			return
		}
	}
}

// end says that no more comes from the task. To the plugin that can only be
// said by closing the connection, whose other half it closes then as well.
func end(client io.ReadWriteCloser) {
	if conn, ok := client.(*datachannel.Conn); ok {
		conn.CloseWrite() //nolint:errcheck,gosec // the client may have left
		return
	}
	client.Close() //nolint:errcheck,gosec // as above
}
