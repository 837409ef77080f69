package channel

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/coder/websocket"

	"berth.dev/berth/internal/wire/datachannel"
)

// line is the frames of a session over one connection after another: a plugin
// that lost its connection comes back with a new one. What is lost between
// them, the data channel sends again.
type line struct {
	// patience is how long a client may be away; zero: it may not.
	patience time.Duration
	// left is told when the client has gone, back when it has come back and
	// before anything goes over the new connection.
	left, back func()

	mu      sync.Mutex
	conn    *websocket.Conn // nil while the client is away
	frames  datachannel.Frames
	since   time.Time     // when it went away
	changed chan struct{} // closed when conn changes
	ended   bool
}

// errGone says that the client is gone and will not come back.
var errGone = errors.New("the client has gone")

func newLine(conn *websocket.Conn, patience time.Duration, left, back func()) *line {
	return &line{patience: patience, left: left, back: back, conn: conn, frames: datachannel.WebSocket(conn), changed: make(chan struct{})}
}

// attach gives the line a new connection.
func (l *line) attach(conn *websocket.Conn) {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		conn.Close(websocket.StatusPolicyViolation, "the session has ended") //nolint:errcheck,gosec // whether the client hears it or not
		return
	}
	old := l.conn
	l.conn, l.frames = conn, datachannel.WebSocket(conn)
	l.back()
	close(l.changed)
	l.changed = make(chan struct{})
	l.mu.Unlock()
	if old != nil {
		old.CloseNow() //nolint:errcheck,gosec // the client has given it up
	}
}

// drop takes note that a connection has failed. It returns the error that ends
// the line, if that does.
func (l *line) drop(conn *websocket.Conn, err error) error {
	status := websocket.CloseStatus(err)
	if l.patience == 0 || status == websocket.StatusNormalClosure || status == websocket.StatusGoingAway {
		return errGone
	}
	l.mu.Lock()
	gone := l.conn == conn
	if gone {
		l.conn, l.frames, l.since = nil, nil, time.Now()
		close(l.changed)
		l.changed = make(chan struct{})
	}
	l.mu.Unlock()
	conn.CloseNow() //nolint:errcheck,gosec // it has failed
	if gone {
		l.left()
	}
	return nil
}

// current returns the connection, waiting for one while the client is away.
func (l *line) current(ctx context.Context) (*websocket.Conn, datachannel.Frames, error) {
	for {
		l.mu.Lock()
		conn, frames, changed, since := l.conn, l.frames, l.changed, l.since
		l.mu.Unlock()
		if conn != nil {
			return conn, frames, nil
		}
		select {
		case <-changed:
		case <-time.After(time.Until(since.Add(l.patience))):
			return nil, nil, errGone
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// ReadFrame implements datachannel.Frames.
func (l *line) ReadFrame(ctx context.Context) ([]byte, error) {
	for {
		conn, frames, err := l.current(ctx)
		if err != nil {
			return nil, err
		}
		frame, err := frames.ReadFrame(ctx)
		if err == nil {
			return frame, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := l.drop(conn, err); err != nil {
			return nil, err
		}
	}
}

// WriteFrame implements datachannel.Frames.
func (l *line) WriteFrame(ctx context.Context, frame []byte) error {
	conn, frames, err := l.current(ctx)
	if err != nil {
		return err
	}
	if err := frames.WriteFrame(ctx, frame); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return l.drop(conn, err) // the frame is lost
	}
	return nil
}

// close ends the connection in the protocol's way.
func (l *line) close() {
	l.mu.Lock()
	conn := l.conn
	l.ended = true
	l.mu.Unlock()
	if conn != nil {
		conn.Close(websocket.StatusNormalClosure, "") //nolint:errcheck,gosec // a client that has gone needs no farewell
	}
}
