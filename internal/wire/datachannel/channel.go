package datachannel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Frames carries frames to the other end and back, whole and each at most
// once or not at all. One goroutine reads and another writes.
type Frames interface {
	ReadFrame(ctx context.Context) ([]byte, error)
	WriteFrame(ctx context.Context, frame []byte) error
}

// End is one of the two ends of a channel.
type End int

// The ends: a client, such as the plugin, and the far end.
const (
	ClientEnd End = iota
	FarEnd
)

func (e End) sends() string    { return [...]string{TypeInput, TypeOutput}[e] }
func (e End) receives() string { return [...]string{TypeOutput, TypeInput}[e] }

// Config says what a Channel is for. Zero values are defaults.
type Config struct {
	End    End
	Frames Frames
	// MaxPayload is how long a payload Send makes at most; longer ones are
	// split. The default, 1024 bytes, is what AWS's own ends send.
	MaxPayload int
	// Window is how many bytes may be on their way, not yet acknowledged.
	Window int
	// Inbox is how many bytes are kept for Recv before nothing more is
	// acknowledged.
	Inbox int
}

const (
	defaultPayload = 1024
	// defaultWindow lets 10 MB/s pass at a round trip of 100 ms. The plugin
	// keeps 10,000 messages that are out of order, far more than this.
	defaultWindow = 1 << 20
	// defaultInbox has room for all that the plugin keeps for sending again, so
	// that a program that does not read for a while costs no more than this.
	defaultInbox = 8 << 20
	// messageCost is what a message costs besides its payload.
	messageCost = 128
	// maxAhead is how many messages are kept that came before their turn.
	maxAhead = 10_000
	// maxAcks is how many acknowledgements may wait to be written. With a peer
	// that sends and does not read it is reached; its messages count as lost.
	maxAcks = 20_000
	// throttle is how long the reader waits at most when it must lose a message
	// for want of room: the plugin knows no limit but its connection's.
	throttle = 50 * time.Millisecond
)

// ClosedError is the error of a channel that the far end has closed.
type ClosedError struct{ Text string }

func (e *ClosedError) Error() string {
	if e.Text == "" {
		return "the session was closed"
	}
	return e.Text
}

// Payload is what Recv returns.
type Payload struct {
	Type PayloadType
	Data []byte
}

// Channel is one end of a data channel. Run does its work; the other methods
// wait for it. Any number of goroutines may send, one may receive.
type Channel struct {
	cfg Config

	mu   sync.Mutex
	out  sender
	in   receiver
	err  error // why Run has ended
	done chan struct{}

	wake    chan struct{} // the writer has something to do
	arrived chan struct{} // the inbox has something
	changed chan struct{} // closed when there is more room for sending; nil while nobody waits
	taken   chan struct{} // the inbox has become shorter
}

// New returns a channel on frames that nothing was said on yet, or only the
// client's OpenDataChannel.
func New(cfg Config) *Channel {
	if cfg.MaxPayload == 0 {
		cfg.MaxPayload = defaultPayload
	}
	if cfg.Window == 0 {
		cfg.Window = defaultWindow
	}
	if cfg.Inbox == 0 {
		cfg.Inbox = defaultInbox
	}
	return &Channel{
		cfg: cfg, done: make(chan struct{}),
		out:  newSender(cfg.End.sends()),
		in:   receiver{ahead: map[int64]Payload{}, limit: cfg.Inbox},
		wake: make(chan struct{}, 1), arrived: make(chan struct{}, 1), taken: make(chan struct{}, 1),
	}
}

// Run reads and writes frames until ctx ends, the frames fail, or the peer
// sends what is no message. It may be called once. Its error, never nil, is
// that of all other methods from then on.
func (c *Channel) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var writer sync.WaitGroup
	writer.Go(func() { cancel(c.write(ctx)) })
	cancel(c.read(ctx))
	writer.Wait()
	err := context.Cause(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in.closed != nil {
		err = c.in.closed // what the far end said counts, not how its connection ended
	}
	c.err = err
	close(c.done)
	return err
}

// Send sends bytes, split into payloads. It blocks while too much is on its
// way, and has copied data when it returns.
func (c *Channel) Send(ctx context.Context, t PayloadType, data []byte) error {
	for {
		n := min(len(data), c.cfg.MaxPayload)
		if err := c.send(ctx, t, data[:n]); err != nil {
			return err
		}
		if data = data[n:]; len(data) == 0 {
			return nil
		}
	}
}

func (c *Channel) send(ctx context.Context, t PayloadType, data []byte) error {
	return c.await(ctx, func() (ready bool) {
		if !c.out.hasRoom(len(data), c.cfg.Window) {
			return false
		}
		c.out.queue(t, data, time.Now())
		signal(c.wake)
		return true
	})
}

// Reconnected says that the frames go over another connection from now on, and
// that any number of those before are lost in both directions. Over one
// connection they must come in their order.
func (c *Channel) Reconnected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.reconnected(time.Now())
	signal(c.wake)
}

// Flush waits until all that was sent is acknowledged.
func (c *Channel) Flush(ctx context.Context) error {
	return c.await(ctx, func() bool { return c.out.idle() })
}

// SendClosed tells the client that nothing more comes, with a text for its
// user, and returns when that is written. The client ends at once, so what is
// not acknowledged (Flush) may be lost on it.
func (c *Channel) SendClosed(ctx context.Context, closed Closed) error {
	closed.MessageType, closed.MessageID, closed.SchemaVersion = TypeClosed, uuid.NewString(), schemaVersion
	closed.CreatedDate = time.Now().UTC().Format(time.RFC3339)
	content, err := json.Marshal(closed)
	if err != nil {
		return fmt.Errorf("channel_closed: %w", err)
	}
	c.mu.Lock()
	c.out.control(TypeClosed, content, time.Now())
	c.mu.Unlock()
	signal(c.wake)
	return c.await(ctx, func() bool { return len(c.out.controls) == 0 && !c.out.writing })
}

// await calls ready, under the lock, until it says true: whenever something
// that was sent is acknowledged or written.
func (c *Channel) await(ctx context.Context, ready func() bool) error {
	for {
		c.mu.Lock()
		if c.err != nil {
			defer c.mu.Unlock()
			return c.err
		}
		if ready() {
			c.mu.Unlock()
			return nil
		}
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-c.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// progressed wakes those who await. The caller holds the lock.
func (c *Channel) progressed() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// Recv returns the next payload. After the last one its error is a
// *ClosedError when the far end has closed the channel, else that of Run.
func (c *Channel) Recv(ctx context.Context) (Payload, error) {
	for {
		c.mu.Lock()
		p, ok := c.in.take()
		if ok && c.in.resume() {
			c.out.control(TypeStart, nil, time.Now())
			signal(c.wake)
		}
		err := c.err
		if c.in.closed != nil {
			err = c.in.closed
		}
		c.mu.Unlock()
		if ok {
			signal(c.taken)
			return p, nil
		}
		if err != nil {
			return Payload{}, err
		}
		select {
		case <-c.arrived:
		case <-c.done:
		case <-ctx.Done():
			return Payload{}, ctx.Err()
		}
	}
}

// write writes frames in order of urgency as long as there are any.
func (c *Channel) write(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		c.mu.Lock()
		job, wait := c.out.next(time.Now())
		c.mu.Unlock()
		if job.frame == nil {
			timer.Reset(wait)
			select {
			case <-c.wake:
			case <-timer.C:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		if err := c.cfg.Frames.WriteFrame(ctx, job.frame); err != nil {
			return fmt.Errorf("write to the data channel: %w", err)
		}
		c.mu.Lock()
		c.out.written(job, time.Now())
		if job.data == nil || c.out.idle() {
			c.progressed()
		}
		c.mu.Unlock()
	}
}

// read handles frames as they come.
func (c *Channel) read(ctx context.Context) error {
	for {
		frame, err := c.cfg.Frames.ReadFrame(ctx)
		if err != nil {
			return fmt.Errorf("read from the data channel: %w", err)
		}
		m, err := Parse(frame)
		switch {
		case errors.Is(err, ErrDigest):
			continue // as good as lost: it will come again
		case err != nil:
			return fmt.Errorf("the other end of the data channel does not keep to the protocol: %w", err)
		}
		if lost := c.handle(&m); lost {
			select {
			case <-c.taken:
			case <-time.After(throttle):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// handle takes one message in. It says whether there was no room for it.
func (c *Channel) handle(m *Message) (lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch m.Type {
	case c.cfg.End.receives():
		if len(c.out.acks) >= maxAcks {
			return true
		}
		if !c.in.accept(m) {
			c.in.paused = true
			c.out.control(TypePause, nil, time.Now())
			signal(c.wake)
			return true
		}
		c.out.acks = append(c.out.acks, ack{m.Type, m.ID, m.Sequence})
		if c.in.pause() {
			c.out.control(TypePause, nil, time.Now())
		}
		signal(c.wake)
		if len(c.in.inbox) > 0 {
			signal(c.arrived)
		}
	case TypeAck:
		var content Acknowledgement
		if json.Unmarshal(m.Payload, &content) == nil && content.Type == c.cfg.End.sends() && c.out.acknowledged(content.Sequence, time.Now()) {
			c.progressed()
			signal(c.wake) // what is to be sent again has changed
		}
	case TypeClosed:
		var content Closed
		if c.cfg.End != ClientEnd || json.Unmarshal(m.Payload, &content) != nil {
			return false
		}
		c.in.closed = &ClosedError{content.Output}
		signal(c.arrived)
	case TypePause, TypeStart:
		c.out.pause(m.Type == TypePause, time.Now())
		signal(c.wake)
	}
	return false // a type that is unknown is of another version: the plugin passes over it too
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
