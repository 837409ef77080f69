package datachannel

import (
	"context"
	"errors"

	"github.com/coder/websocket"
)

// maxFrame is how long a frame may be. The plugin's have up to 1,200 bytes;
// this leaves room for Berth's own.
const maxFrame = 64 << 10

// webSocket is the Frames of a WebSocket.
type webSocket struct{ conn *websocket.Conn }

// WebSocket returns the frames of a connection on which only binary messages
// are to come. It limits how long they may be.
func WebSocket(conn *websocket.Conn) Frames {
	conn.SetReadLimit(maxFrame)
	return webSocket{conn}
}

func (w webSocket) ReadFrame(ctx context.Context) ([]byte, error) {
	t, frame, err := w.conn.Read(ctx)
	if err != nil {
		return nil, err
	}
	if t != websocket.MessageBinary {
		return nil, errors.New("a text message came where a binary one must be")
	}
	return frame, nil
}

func (w webSocket) WriteFrame(ctx context.Context, frame []byte) error {
	return w.conn.Write(ctx, websocket.MessageBinary, frame)
}
