package channel

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// Path is below which data channels are: Path + session id.
const Path = "/v1/data-channel/"

const (
	// patrol is how often dates are looked at.
	patrol = time.Minute
	// memory is how long an ended session can be looked up, as on AWS.
	memory = 30 * 24 * time.Hour
	// resumeTime is how long a plugin that lost its connection may take to come
	// back: it tries five times, with up to five seconds between.
	resumeTime = time.Minute
	// farewell is how long the end of a session takes at most.
	farewell = 3 * time.Second
	// batch is how many records are deleted in one transaction.
	batch = 100
)

// Tokens reads what ExecuteCommand, StartSession and ResumeSession issue;
// *sessions.Sessions does.
type Tokens interface {
	OpenChannel(sessionID, token string) (serial int, err error)
}

// Config is what a Server is made of; all members are required.
type Config struct {
	Store  *store.Store
	Tokens Tokens
	// Open opens a stream into a task. Its error is for the user.
	Open func(ctx context.Context, request model.StreamRequest) (nodeapi.Stream, error)
	Logs Logs
	Log  *slog.Logger
}

// Server is an http.Handler for data channels. It answers while Run does.
type Server struct {
	cfg     Config
	waiting chan struct{} // connections whose token was not seen yet

	mu    sync.Mutex
	ctx   context.Context //nolint:containedctx // Run's, the life of all sessions; nil before and after
	live  map[string]*session
	group sync.WaitGroup
}

// New returns a Server.
func New(cfg Config) *Server {
	return &Server{cfg: cfg, waiting: make(chan struct{}, maxWaiting), live: map[string]*session{}}
}

// Run keeps the package's promises until ctx ends; then it ends all sessions
// and returns when they have.
func (s *Server) Run(ctx context.Context) error {
	watch := s.cfg.Store.Watch(ctx, records.RemoteSessions, records.Tasks)
	s.mu.Lock()
	s.ctx = ctx
	s.mu.Unlock()
	defer s.group.Wait()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ctx = nil
		for _, live := range s.live {
			live.cancel(ended("The control plane has stopped."))
		}
	}()
	s.sweep(ctx, true)
	ticker := time.NewTicker(patrol)
	defer ticker.Stop()
	for {
		select {
		case <-watch.Changed():
			snap, _ := watch.Take()
			s.look(snap)
		case <-ticker.C:
			s.sweep(ctx, false)
		case <-ctx.Done():
			return nil
		}
	}
}

// look ends the sessions that are to end. There are few, so all are looked at.
func (s *Server) look(r store.Reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, live := range s.live {
		record, ok := records.RemoteSessions.Get(r, id)
		if !ok || record.Terminate {
			live.cancel(ended("The session was terminated."))
		} else if !taskRuns(r, record) {
			live.cancel(errTaskStopped)
		}
	}
}

// taskRuns says whether what a session is about is still there.
func taskRuns(r store.Reader, record *model.RemoteSession) bool {
	task, ok := records.Tasks.Get(r, record.TaskID)
	if !ok || task.LastStatus() == model.TaskStopped {
		return false
	}
	observed, ok := task.Observed.Container(record.Container)
	return ok && observed.Status == model.TaskRunning
}

// sweep settles sessions that nobody carries: of a control plane that died,
// when this one begins, and those to which no client came. It forgets the ones
// that ended long ago.
func (s *Server) sweep(ctx context.Context, begin bool) {
	now := time.Now()
	var old []string
	snap := s.cfg.Store.Snapshot()
	for record := range records.RemoteSessions.All(snap) {
		switch {
		case record.EndedAt != nil:
			if now.Sub(*record.EndedAt) > memory {
				old = append(old, record.ID)
			}
		case record.Status == model.SessionConnecting:
			if now.After(record.ValidUntil) {
				s.settle(ctx, record.ID, ending{model.SessionFailed, "No client has connected in time."})
			}
		case begin && !s.carries(record.ID):
			s.settle(ctx, record.ID, ended("The control plane that carried the session has ended."))
		}
	}
	for ; len(old) > 0 && ctx.Err() == nil; old = old[min(batch, len(old)):] {
		_, err := s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
			for _, id := range old[:min(batch, len(old))] {
				if records.RemoteSessions.Has(tx, id) {
					records.RemoteSessions.Delete(tx, id)
				}
			}
			return nil
		})
		if err != nil {
			s.cfg.Log.WarnContext(ctx, "sessions that ended long ago could not be forgotten; trying again", telemetry.Error, err)
			return
		}
	}
}

func (s *Server) carries(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live[id] != nil
}

// ending is why a session has ended. Text is for the user; empty is the
// program's own end.
type ending struct{ status, text string }

// Error returns the text.
func (e ending) Error() string { return e.text }

func ended(text string) ending { return ending{model.SessionTerminated, text} }

// errTaskStopped has AWS's words (uncertain).
var errTaskStopped = ended("Received Container Stopped event")

// settle writes that a session has ended.
func (s *Server) settle(ctx context.Context, id string, e ending) {
	err := s.edit(ctx, id, func(record *model.RemoteSession, now time.Time) {
		if record.EndedAt == nil {
			record.Status, record.Details, record.EndedAt = e.status, e.text, &now
		}
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		// The next control plane finds it and does this again.
		s.cfg.Log.WarnContext(ctx, "the end of a session could not be written", telemetry.Session, id, telemetry.Error, err)
	}
}

func (s *Server) edit(ctx context.Context, id string, fn func(*model.RemoteSession, time.Time)) error {
	_, err := s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		return records.RemoteSessions.Edit(tx, id, func(record *model.RemoteSession) error {
			fn(record, tx.Now())
			return nil
		})
	})
	return err
}
