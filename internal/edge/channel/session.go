package channel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/datachannel"
)

const (
	// agentVersion is what clients are told. The plugin multiplexes connections
	// from 3.0.196 on, and keeps quiet when nothing moves from 3.1.1511.
	agentVersion = "3.3.2299.0"
	// handshakeTime is how long a client may take to answer.
	handshakeTime = 30 * time.Second
	// berthPayload is how long payloads to Berth's own clients are.
	berthPayload = 32 << 10
)

// The ends of sessions, in AWS's words as far as they are known [GK].
var (
	errIdle       = ended("Your session timed out due to inactivity.")
	errTooLong    = ended("Your session has reached its maximum duration.")
	errClientLeft = ended("")
)

// session is one that is carried.
type session struct {
	server   *Server
	record   *model.RemoteSession
	clientID string
	berth    bool // the client is Berth's own
	tty      bool
	line     *line
	channel  *datachannel.Channel
	active   atomic.Int64 // when something moved last, Unix nanoseconds

	ctx    context.Context //nolint:containedctx // the work's, ended by cancel with an ending
	cancel context.CancelCauseFunc
}

func (s *Server) newSession(conn *websocket.Conn, record *model.RemoteSession, hello datachannel.OpenDataChannel, tty bool) *session {
	c := &session{server: s, record: record, clientID: hello.ClientID, berth: datachannel.IsBerth(hello.ClientVersion)}
	c.tty = tty || !c.berth
	cfg := datachannel.Config{End: datachannel.FarEnd}
	patience := resumeTime
	if c.berth {
		cfg.MaxPayload, cfg.Window, patience = berthPayload, 4<<20, 0
	}
	c.line = newLine(conn, patience, c.left, func() { c.channel.Reconnected() })
	cfg.Frames = c.line
	c.channel = datachannel.New(cfg)
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.touch()
	return c
}

// left writes that the client has gone. Coming back is written by open.
func (c *session) left() {
	ctx, cancel := context.WithTimeout(c.ctx, farewell)
	defer cancel()
	c.server.edit(ctx, c.record.ID, func(r *model.RemoteSession, _ time.Time) { //nolint:errcheck,gosec // for show: what counts is that it is live
		if r.Status == model.SessionConnected {
			r.Status = model.SessionDisconnected
		}
	})
}

// run carries the session to its end.
func (c *session) run(ctx context.Context) ending {
	defer c.cancel(nil)
	// The channel outlives the work, to say how that has ended.
	speaking, silence := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	group.Go(func() {
		err := c.channel.Run(speaking)
		if errors.Is(err, errGone) {
			c.cancel(errClientLeft)
		} else {
			c.cancel(ended(err.Error()))
		}
	})
	group.Go(c.watchTime)
	why := c.work()
	c.cancel(why)
	c.sayGoodbye(speaking, why)
	c.line.close()
	silence()
	group.Wait()
	return why
}

// work does what the session is for. The clock, Run and the client end it by
// cancelling c.ctx with a reason, which then counts.
func (c *session) work() ending {
	err := c.shakeHands()
	if err == nil {
		switch c.record.Document {
		case model.DocumentPortForward, model.DocumentPortForwardRemote:
			err = c.forward()
		default:
			err = c.command()
		}
	}
	if why, ok := errors.AsType[ending](context.Cause(c.ctx)); ok {
		return why
	}
	if why, ok := errors.AsType[ending](err); ok {
		return why
	}
	if err != nil {
		return ending{model.SessionFailed, err.Error()}
	}
	return ended("")
}

// sayGoodbye tells the client how it has ended, after all that it is to see.
func (c *session) sayGoodbye(ctx context.Context, why ending) {
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	c.channel.Flush(ctx) //nolint:errcheck,gosec // a client that does not read gets the end without the rest
	if ctx.Err() != nil {
		var more context.CancelFunc
		ctx, more = context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer more()
	}
	c.channel.SendClosed(ctx, datachannel.Closed{ //nolint:errcheck,gosec // it may be the client that has ended it
		DestinationID: c.clientID, SessionID: c.record.ID, Output: why.text,
	})
}

// touch says that something moves.
func (c *session) touch() { c.active.Store(time.Now().UnixNano()) }

// watchTime ends the session when nothing moves or it has taken too long.
func (c *session) watchTime() {
	begin := time.Now()
	idle, longest := time.Duration(c.record.IdleSeconds)*time.Second, time.Duration(c.record.MaxSeconds)*time.Second
	for {
		next := time.Now().Add(24 * time.Hour)
		if idle > 0 {
			next = time.Unix(0, c.active.Load()).Add(idle)
		}
		if longest > 0 && begin.Add(longest).Before(next) {
			next = begin.Add(longest)
		}
		select {
		case <-time.After(time.Until(next)):
		case <-c.ctx.Done():
			return
		}
		now := time.Now()
		switch {
		case longest > 0 && !now.Before(begin.Add(longest)):
			c.cancel(errTooLong)
			return
		case idle > 0 && !now.Before(time.Unix(0, c.active.Load()).Add(idle)):
			c.cancel(errIdle)
			return
		}
	}
}

// shakeHands tells the client what kind of session this is, and that it may
// begin.
func (c *session) shakeHands() error {
	ctx, cancel := context.WithTimeout(c.ctx, handshakeTime)
	defer cancel()
	begin := time.Now()
	request, err := c.handshake()
	if err != nil {
		return err
	}
	if err := c.channel.Send(ctx, datachannel.PayloadHandshakeRequest, request); err != nil {
		return handshakeError(err)
	}
	p, err := c.channel.Recv(ctx)
	if err != nil {
		return handshakeError(err)
	}
	var response datachannel.HandshakeResponse
	if p.Type != datachannel.PayloadHandshakeResponse || json.Unmarshal(p.Data, &response) != nil {
		return errors.New("the client did not answer the handshake")
	}
	for _, action := range response.ProcessedClientActions {
		if action.ActionStatus != datachannel.ActionSuccess {
			return fmt.Errorf("the client cannot do %s: %s", action.ActionType, action.Error)
		}
	}
	complete, err := json.Marshal(datachannel.HandshakeComplete{HandshakeTimeToComplete: time.Since(begin)})
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	if err := c.channel.Send(ctx, datachannel.PayloadHandshakeComplete, complete); err != nil {
		return handshakeError(err)
	}
	return nil
}

func handshakeError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("the client did not answer the handshake in time")
	}
	return fmt.Errorf("handshake: %w", err)
}

// handshake is the request of the session's kind.
func (c *session) handshake() ([]byte, error) {
	parameters := datachannel.SessionTypeParameters{SessionType: datachannel.SessionInteractive}
	if port := c.parameter("portNumber"); port != "" {
		properties, err := json.Marshal(datachannel.PortProperties{
			PortNumber: port, LocalPortNumber: c.parameter("localPortNumber"), Type: datachannel.LocalPortForwarding,
		})
		if err != nil {
			return nil, fmt.Errorf("handshake: %w", err)
		}
		parameters = datachannel.SessionTypeParameters{SessionType: datachannel.SessionPort, Properties: properties}
	}
	content, err := json.Marshal(parameters)
	if err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	request, err := json.Marshal(datachannel.HandshakeRequest{
		AgentVersion:           agentVersion,
		RequestedClientActions: []datachannel.RequestedAction{{ActionType: datachannel.ActionSessionType, ActionParameters: content}},
	})
	if err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return request, nil
}

// parameter is a parameter of the session's document; empty when it is not
// given.
func (c *session) parameter(name string) string {
	if values := c.record.Parameters[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}
