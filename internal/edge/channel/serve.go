package channel

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/datachannel"
)

const (
	// maxWaiting is how many connections may be open that have not shown a
	// token: each costs a goroutine and a few KiB.
	maxWaiting = 256
	// helloTime is how long a client may take to show its token.
	helloTime = 15 * time.Second
	// maxHello is how long what it says then may be.
	maxHello = 16 << 10
)

// ServeHTTP answers GET /v1/data-channel/<session id>.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, ok := strings.CutPrefix(r.URL.Path, Path)
	if !ok || id == "" || strings.Contains(id, "/") {
		http.NotFound(w, r)
		return
	}
	select {
	case s.waiting <- struct{}{}:
	default:
		http.Error(w, "too many connections are being made", http.StatusServiceUnavailable)
		return
	}
	conn, record, hello := s.admit(w, r, id)
	<-s.waiting
	if conn == nil {
		return
	}
	tty := r.URL.Query().Get("tty") != "0"
	s.carry(conn, record, hello, tty)
}

// admit makes the connection and has the client show its token. It answers one
// that may not come in itself, and returns no connection then.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, id string) (*websocket.Conn, *model.RemoteSession, datachannel.OpenDataChannel) {
	var hello datachannel.OpenDataChannel
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return nil, nil, hello // Accept has answered
	}
	refuse := func(text string) (*websocket.Conn, *model.RemoteSession, datachannel.OpenDataChannel) {
		conn.Close(websocket.StatusPolicyViolation, text) //nolint:errcheck,gosec // whether the client hears it or not
		return nil, nil, hello
	}
	conn.SetReadLimit(maxHello)
	ctx, cancel := context.WithTimeout(r.Context(), helloTime)
	defer cancel()
	kind, message, err := conn.Read(ctx)
	if err != nil {
		conn.CloseNow() //nolint:errcheck,gosec // it has said nothing
		return nil, nil, hello
	}
	if kind != websocket.MessageText || json.Unmarshal(message, &hello) != nil {
		return refuse("the first message is not an OpenDataChannel")
	}
	serial, err := s.cfg.Tokens.OpenChannel(id, hello.TokenValue)
	if err != nil {
		return refuse("the token is not that of this session")
	}
	record, text, err := s.open(ctx, id, serial)
	if err != nil {
		s.cfg.Log.WarnContext(ctx, "a data channel could not be opened", telemetry.Session, id, telemetry.Error, err)
		return refuse("the control plane cannot open the session now")
	}
	if text != "" {
		return refuse(text)
	}
	return conn, record, hello
}

// open takes a session to Connected, or says why not, for the user: that of all
// connections with one token only the first comes in is decided here.
func (s *Server) open(ctx context.Context, id string, serial int) (record *model.RemoteSession, refusal string, err error) {
	_, err = s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		record, refusal = nil, ""
		return records.RemoteSessions.Edit(tx, id, func(r *model.RemoteSession) error {
			switch {
			case r.EndedAt != nil || r.Terminate:
				refusal = "the session has ended"
			case r.Serial != serial:
				refusal = "the token was used before"
			case tx.Now().After(r.ValidUntil):
				refusal = "the token has expired"
			case r.Status != model.SessionConnecting && !s.carries(id):
				refusal = "the session has ended"
			case !taskRuns(tx, r):
				refusal = errTaskStopped.text
			}
			if refusal != "" {
				return errRefused
			}
			r.Serial++
			r.Status = model.SessionConnected
			if r.ConnectedAt == nil {
				now := tx.Now()
				r.ConnectedAt = &now
			}
			record = r
			return nil
		})
	})
	switch {
	case errors.Is(err, errRefused):
		return nil, refusal, nil
	case errors.Is(err, store.ErrNotFound):
		return nil, "the session has ended", nil
	case err != nil:
		return nil, "", err
	}
	return record, "", nil
}

// errRefused keeps a transaction from being written.
var errRefused = errors.New("refused")

// carry gives a connection to its session: a new one, which it carries to its
// end, or the one that waits for it.
func (s *Server) carry(conn *websocket.Conn, record *model.RemoteSession, hello datachannel.OpenDataChannel, tty bool) {
	s.mu.Lock()
	if live := s.live[record.ID]; live != nil {
		s.mu.Unlock()
		live.line.attach(conn)
		return
	}
	if s.ctx == nil {
		s.mu.Unlock()
		conn.Close(websocket.StatusTryAgainLater, "the control plane is not ready") //nolint:errcheck,gosec // as above
		return
	}
	ctx := s.ctx
	session := s.newSession(conn, record, hello, tty)
	s.live[record.ID] = session
	s.group.Add(1)
	s.mu.Unlock()
	defer s.group.Done()
	// What changed since open looked, before live was there to be looked at.
	s.look(s.cfg.Store.Snapshot())
	why := session.run(ctx)
	s.mu.Lock()
	delete(s.live, record.ID)
	s.mu.Unlock()
	// Not in live any more and still Connected is what the next control plane
	// would settle; this one does it at once, though ctx may have ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	s.settle(ctx, record.ID, why)
}
