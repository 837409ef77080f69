package datachannel

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/xtaci/smux"
)

// Mux carries connections to a forwarded port over one session.
type Mux struct {
	stream *Stream
	smux   *smux.Session
}

// MuxConfig is how connections are multiplexed with a client: as the plugin
// does it, or between two ends of Berth with a window for each connection, so
// that one which is not read does not hold up the others.
func MuxConfig(berth bool) *smux.Config {
	cfg := smux.DefaultConfig()
	// The data channel knows when it is cut; and what moves nothing is idle.
	cfg.KeepAliveDisabled = true
	if berth {
		cfg.Version = 2
		cfg.MaxFrameSize = 30 << 10
		cfg.MaxStreamBuffer = 256 << 10
	}
	return cfg
}

// Mux multiplexes connections over a session of type SessionPort. Nothing else
// may use the session afterwards, which ends with the Mux.
func (s *Session) Mux() (*Mux, error) {
	if s.kind != SessionPort {
		return nil, fmt.Errorf("the session is of type %s, and carries no connections", s.kind)
	}
	stream := s.Stream()
	client, err := smux.Client(stream, MuxConfig(true))
	if err != nil {
		return nil, fmt.Errorf("multiplex connections: %w", err)
	}
	return &Mux{stream, client}, nil
}

// Open makes a connection. Whether the port answers is known when something is
// read from it.
func (m *Mux) Open() (*Conn, error) {
	stream, err := m.smux.OpenStream()
	if err != nil {
		return nil, fmt.Errorf("open a connection: %w", err)
	}
	return NewConn(stream), nil
}

// Wait waits until the session has ended and returns why: a *ClosedError with
// the far end's words, as a rule.
func (m *Mux) Wait() error {
	for {
		stream, err := m.smux.AcceptStream()
		if err == nil {
			stream.Close() //nolint:errcheck,gosec // the far end makes no connections
			continue
		}
		select {
		case <-m.smux.CloseChan(): // Close was called, and something may be reading still
			return err
		default:
		}
		if m.stream.err != nil {
			return m.stream.err
		}
		return err
	}
}

// Close ends all connections and the session.
func (m *Mux) Close() error {
	err := m.stream.Close()
	m.smux.Close() //nolint:errcheck,gosec // nothing is left to be said
	return err
}

// Conn is a connection between two ends of Berth, each of whose halves ends on
// its own: what smux has not. Bytes are sent in pieces, each with its length;
// an empty one ends a half. One goroutine may read and another write.
type Conn struct {
	stream io.ReadWriteCloser
	reader *bufio.Reader
	left   int // of the piece that is being read
	end    error

	mu     sync.Mutex
	ended  bool
	buffer []byte
}

const (
	// maxPiece leaves room for a length in a frame of the multiplexer.
	maxPiece = 16 << 10
	// refused in place of a length says that a text follows, in a piece: the
	// connection could not be made.
	refused = 0xffff
)

// NewConn returns a connection over a stream of a multiplexer.
func NewConn(stream io.ReadWriteCloser) *Conn {
	return &Conn{stream: stream, reader: bufio.NewReaderSize(stream, maxPiece)}
}

// RefusedError is the error of reading from a connection that the far end could
// not make.
type RefusedError struct{ Text string }

func (e *RefusedError) Error() string { return e.Text }

// Read reads from the other end: io.EOF after its CloseWrite.
func (c *Conn) Read(p []byte) (int, error) {
	if c.end == nil && c.left == 0 {
		c.end = c.next()
	}
	if c.end != nil {
		return 0, c.end
	}
	n, err := c.reader.Read(p[:min(len(p), c.left)])
	c.left -= n
	if err != nil {
		c.end = unexpected(err)
	}
	return n, c.end
}

// next reads the length of the next piece.
func (c *Conn) next() error {
	n, err := c.length()
	switch {
	case err != nil:
		return unexpected(err)
	case n == 0:
		return io.EOF
	case n < refused:
		c.left = n
		return nil
	}
	if n, err = c.length(); err != nil {
		return unexpected(err)
	}
	text := make([]byte, min(n, maxPiece))
	if _, err := io.ReadFull(c.reader, text); err != nil {
		return unexpected(err)
	}
	return &RefusedError{string(text)}
}

func (c *Conn) length() (int, error) {
	var b [2]byte
	_, err := io.ReadFull(c.reader, b[:])
	return int(binary.BigEndian.Uint16(b[:])), err
}

// unexpected says that a connection which ends without its end of writing was
// cut.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Write sends bytes to the other end.
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return 0, errHalfClosed
	}
	written := 0
	for written < len(p) {
		n := min(len(p)-written, maxPiece)
		if err := c.piece(nil, p[written:written+n]); err != nil {
			return written, err
		}
		written += n
	}
	return written, nil
}

// piece writes one piece, after a mark.
func (c *Conn) piece(mark, data []byte) error {
	c.buffer = append(binary.BigEndian.AppendUint16(append(c.buffer[:0], mark...), uint16(len(data))), data...)
	_, err := c.stream.Write(c.buffer)
	return err
}

// CloseWrite says that nothing more is written.
func (c *Conn) CloseWrite() error { return c.finish(nil, nil) }

// Refuse tells the other end why there is no connection, and ends it.
func (c *Conn) Refuse(text string) error {
	err := c.finish(binary.BigEndian.AppendUint16(nil, refused), []byte(text[:min(len(text), maxPiece)]))
	return errors.Join(err, c.Close())
}

func (c *Conn) finish(mark, data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil
	}
	c.ended = true
	return c.piece(mark, data)
}

// AwaitClose waits, after Read has returned io.EOF, until the other end has
// closed the whole connection, or this end has.
func (c *Conn) AwaitClose() {
	io.Copy(io.Discard, c.reader) //nolint:errcheck,gosec // any end is one
}

// Close ends both halves. An other end that still reads finds the connection
// cut, unless CloseWrite was before.
func (c *Conn) Close() error { return c.stream.Close() }
