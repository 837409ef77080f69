package datachannel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
)

const (
	// berthPayload is how long payloads between two ends of Berth are.
	berthPayload = 32 << 10
	// berthWindow lets 40 MB/s pass at a round trip of 100 ms.
	berthWindow = 4 << 20
	// farewell is how long Close waits for what is still on its way.
	farewell = 2 * time.Second
)

// ClientConfig is what Connect needs.
type ClientConfig struct {
	URL   string // streamUrl of ExecuteCommand's or StartSession's answer, ws or wss
	Token string // tokenValue
	// HTTPClient connects; nil is http.DefaultClient. It must not have a
	// Timeout, which would be the session's.
	HTTPClient *http.Client
	// ClientVersion is what the far end is told; the default is Berth's own.
	// Only with one that starts with "berth/" there is an exit code, standard
	// error apart from output, and an end of input and output.
	ClientVersion string
}

// Event is something that the far end says. One member is set.
type Event struct {
	Output    []byte
	Error     []byte // of standard error, without a terminal
	ExitCode  *int   // the program has ended: only Closed comes after this
	OutputEnd bool   // no more output comes; input may still be sent
}

// Session is a client's way into a task. Any number of goroutines may write,
// one may receive.
type Session struct {
	channel    *Channel
	conn       *websocket.Conn
	kind       string
	properties json.RawMessage

	ctx    context.Context //nolint:containedctx // the session's own life, ended by Close
	cancel context.CancelFunc
	group  sync.WaitGroup
	close  sync.Once
}

// Connect opens a session. ctx bounds connecting, not the session's life: the
// caller must Close it. A *ClosedError is the far end's refusal, in words for
// the user.
func Connect(ctx context.Context, cfg ClientConfig) (*Session, error) {
	if cfg.ClientVersion == "" {
		cfg.ClientVersion = clientPrefix + "1"
	}
	conn, response, err := websocket.Dial(ctx, cfg.URL, &websocket.DialOptions{HTTPClient: cfg.HTTPClient})
	if err != nil {
		if response != nil && response.StatusCode != http.StatusSwitchingProtocols {
			return nil, fmt.Errorf("open the data channel: %s", response.Status)
		}
		return nil, fmt.Errorf("open the data channel: %w", err)
	}
	hello, err := json.Marshal(OpenDataChannel{
		MessageSchemaVersion: "1.0", RequestID: uuid.NewString(), TokenValue: cfg.Token, ClientID: uuid.NewString(), ClientVersion: cfg.ClientVersion,
	})
	if err == nil {
		err = conn.Write(ctx, websocket.MessageText, hello)
	}
	if err != nil {
		conn.CloseNow() //nolint:errcheck,gosec // the first error counts
		return nil, fmt.Errorf("open the data channel: %w", err)
	}
	s := &Session{conn: conn, channel: New(Config{
		End: ClientEnd, Frames: WebSocket(conn), MaxPayload: berthPayload, Window: berthWindow,
	})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.group.Go(func() { s.channel.Run(s.ctx) }) //nolint:errcheck // all methods return its error
	if err := s.shakeHands(ctx, cfg.ClientVersion); err != nil {
		s.end()
		return nil, refusal(err)
	}
	return s, nil
}

// refusal finds the far end's words in an error.
func refusal(err error) error {
	if closed, ok := errors.AsType[websocket.CloseError](err); ok && closed.Reason != "" {
		return &ClosedError{closed.Reason}
	}
	return err
}

// shakeHands answers the far end's request and waits for it to complete.
func (s *Session) shakeHands(ctx context.Context, version string) error {
	for {
		p, err := s.channel.Recv(ctx)
		if err != nil {
			return fmt.Errorf("start the session: %w", err)
		}
		switch p.Type {
		case PayloadHandshakeRequest:
			response := s.process(p.Data)
			response.ClientVersion = version
			content, err := json.Marshal(response)
			if err != nil {
				return fmt.Errorf("start the session: %w", err)
			}
			if err := s.channel.Send(ctx, PayloadHandshakeResponse, content); err != nil {
				return fmt.Errorf("start the session: %w", err)
			}
		case PayloadHandshakeComplete:
			if s.kind == "" {
				return errors.New("start the session: the far end did not say which type it has")
			}
			return nil
		default:
			return fmt.Errorf("start the session: the far end sent a payload of type %d before the session has started", p.Type)
		}
	}
}

// process does what a handshake asks for, as far as it can.
func (s *Session) process(content []byte) HandshakeResponse {
	response := HandshakeResponse{ProcessedClientActions: []ProcessedAction{}, Errors: []string{}}
	var request HandshakeRequest
	if err := json.Unmarshal(content, &request); err != nil {
		response.Errors = append(response.Errors, err.Error())
	}
	for _, action := range request.RequestedClientActions {
		done := ProcessedAction{ActionType: action.ActionType, ActionStatus: ActionSuccess}
		var parameters SessionTypeParameters
		if action.ActionType != ActionSessionType {
			done.ActionStatus, done.Error = ActionUnsupported, "Unsupported action "+action.ActionType
		} else if err := json.Unmarshal(action.ActionParameters, &parameters); err != nil {
			done.ActionStatus, done.Error = ActionFailed, err.Error()
		} else {
			s.kind, s.properties = parameters.SessionType, parameters.Properties
		}
		if done.Error != "" {
			response.Errors = append(response.Errors, done.Error)
		}
		response.ProcessedClientActions = append(response.ProcessedClientActions, done)
	}
	return response
}

// SessionType is one of the session types, SessionInteractive for a command.
func (s *Session) SessionType() string { return s.kind }

// Write sends input. It blocks while the far end takes no more.
func (s *Session) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := s.channel.Send(s.ctx, PayloadOutput, p); err != nil {
		return 0, fmt.Errorf("send input: %w", err)
	}
	return len(p), nil
}

// CloseInput says that there is no more input.
func (s *Session) CloseInput() error { return s.flag(FlagInputEnd) }

// Resize tells the far end the size of the client's terminal.
func (s *Session) Resize(rows, columns uint16) error {
	content, err := json.Marshal(Size{Rows: uint32(rows), Columns: uint32(columns)})
	if err != nil {
		return fmt.Errorf("send the terminal's size: %w", err)
	}
	if err := s.channel.Send(s.ctx, PayloadSize, content); err != nil {
		return fmt.Errorf("send the terminal's size: %w", err)
	}
	return nil
}

func (s *Session) flag(f Flag) error {
	if err := s.channel.Send(s.ctx, PayloadFlag, EncodeFlag(f)); err != nil {
		return fmt.Errorf("send flag %d: %w", f, err)
	}
	return nil
}

// Recv returns the next event. Its error is a *ClosedError when the session has
// ended with the far end's words (which may be none), and after Close or a lost
// connection another.
func (s *Session) Recv() (Event, error) {
	for {
		p, err := s.channel.Recv(s.ctx)
		if err != nil {
			return Event{}, refusal(err)
		}
		switch p.Type {
		case PayloadOutput:
			return Event{Output: p.Data}, nil
		case PayloadStderr, PayloadError:
			return Event{Error: p.Data}, nil
		case PayloadExitCode:
			code, err := strconv.Atoi(string(p.Data))
			if err != nil {
				return Event{}, fmt.Errorf("the far end sent an exit code that is no number: %w", err)
			}
			return Event{ExitCode: &code}, nil
		case PayloadFlag:
			if f, err := DecodeFlag(p.Data); err == nil && f == FlagOutputEnd {
				return Event{OutputEnd: true}, nil
			}
		}
		// What is unknown is of a newer Berth, which can do without an answer.
	}
}

// Close ends the session: what was written is given a moment to arrive, and the
// far end ends what runs. It may be called more than once.
func (s *Session) Close() error {
	s.close.Do(func() {
		ctx, cancel := context.WithTimeout(s.ctx, farewell)
		defer cancel()
		if s.channel.Send(ctx, PayloadFlag, EncodeFlag(FlagTerminateSession)) == nil {
			s.channel.Flush(ctx) //nolint:errcheck,gosec // the far end notices the connection's end as well
		}
		s.end()
	})
	return nil
}

// end ends the connection and what works on it.
func (s *Session) end() {
	s.cancel()
	s.conn.CloseNow() //nolint:errcheck,gosec // nobody waits for it
	s.group.Wait()
}
