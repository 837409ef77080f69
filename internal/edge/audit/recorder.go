package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync/atomic"
	"time"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/edge/gateway"
)

const (
	// DefaultGroup is the log group that records go to.
	DefaultGroup = "/berth/audit"
	// DefaultRetentionDays is what CloudTrail's event history keeps.
	DefaultRetentionDays = 90
)

const (
	queued     = 8192                   // records that may wait for the disk
	flushAfter = 200 * time.Millisecond // how long reads wait for company
	batchBytes = 1 << 20                // of messages; an append takes twice that
	dayLayout  = "2006-01-02"           // names of streams
)

// Logs is where records are kept; *logstore.Store is one.
type Logs interface {
	CreateGroup(ctx context.Context, name string, settings logstore.GroupSettings) error
	EnsureStream(ctx context.Context, group, stream string, createGroup bool) error
	Append(ctx context.Context, group, stream, source string, seq uint64, events []logstore.Event) (logstore.Appended, error)
	Streams(ctx context.Context, list logstore.StreamList) iter.Seq2[logstore.Stream, error]
	DeleteStream(ctx context.Context, group, name string) error
}

// Config is what a Recorder is made of.
type Config struct {
	Logs Logs
	// Group is the log group; DefaultGroup when empty.
	Group string
	// RetentionDays is the group's retention when it is made;
	// DefaultRetentionDays when 0.
	RetentionDays int
	// AccountID and Region are of what is recorded.
	AccountID, Region string
	Logger            *slog.Logger
	// Now is the clock of summaries; time.Now when nil.
	Now func() time.Time
}

// Recorder implements gateway.Auditor. Its Run must be running while it is
// used, and ends after the last use.
type Recorder struct {
	cfg       Config
	queue     chan entry
	stopped   chan struct{} // closed when nothing is written any more
	strangers strangers
	lost      atomic.Int64 // records since the last summary
}

var _ gateway.Auditor = (*Recorder)(nil)

// entry is a record on its way to the disk.
type entry struct {
	at      time.Time
	message string
	done    chan<- error // nil when nobody waits
}

// New returns a Recorder.
func New(cfg Config) *Recorder {
	if cfg.Group == "" {
		cfg.Group = DefaultGroup
	}
	if cfg.RetentionDays == 0 {
		cfg.RetentionDays = DefaultRetentionDays
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Recorder{cfg: cfg, queue: make(chan entry, queued), stopped: make(chan struct{})}
}

// Record implements gateway.Auditor.
func (r *Recorder) Record(ctx context.Context, call gateway.AuditRecord) {
	select {
	case <-r.stopped:
		r.lose(1, call.RequestID, errStopped)
		return
	default:
	}
	if stranger(&call) && !r.strangers.admit(r.cfg.Now(), call.Caller.SourceIP) {
		return
	}
	e := entry{at: call.Time, message: r.encode(&call)}
	var done chan error
	if !call.ReadOnly && !Reads(call.Operation) {
		done = make(chan error, 1)
		e.done = done
	}
	select {
	case r.queue <- e:
	default: // the disk is behind
		select {
		case r.queue <- e:
		case <-r.stopped:
			r.lose(1, call.RequestID, errStopped)
			return
		case <-ctx.Done():
			r.lose(1, call.RequestID, context.Cause(ctx))
			return
		}
	}
	if done == nil {
		return
	}
	select {
	case <-done: //nolint:errcheck // that it has ended is all that counts
	case <-r.stopped:
		select {
		case <-done: //nolint:errcheck // that it has ended is all that counts
		default:
			r.lose(1, call.RequestID, errStopped)
		}
	case <-ctx.Done(): // it may be written yet, or the writer will tell
		r.cfg.Logger.WarnContext(ctx, "audit record was not waited for", telemetry.RequestID, call.RequestID, telemetry.Error, context.Cause(ctx))
	}
}

var errStopped = errors.New("the recorder has stopped")

// lose tells that records will not be written.
func (r *Recorder) lose(n int, requestID string, err error) {
	r.lost.Add(int64(n))
	r.cfg.Logger.Error("audit records were lost", "records", n, telemetry.RequestID, requestID, telemetry.Error, err)
}

// Run writes what is recorded, until ctx ends and the queue is empty. It
// returns nil, or why the log group cannot be made. It is called once.
func (r *Recorder) Run(ctx context.Context) error {
	defer close(r.stopped)
	if err := r.prepare(ctx); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	summary := time.NewTicker(summaryEvery)
	defer summary.Stop()
	flush := time.NewTimer(0)
	if !flush.Stop() {
		<-flush.C
	}
	w := &writer{Recorder: r}
	defer w.finish(context.WithoutCancel(ctx))
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-r.queue:
			if len(w.batch) == 0 {
				flush.Reset(flushAfter)
			}
			if w.take(e); w.due() {
				w.gather()
				flush.Stop()
				w.write(ctx)
			}
		case <-flush.C:
			w.write(ctx)
		case <-summary.C:
			if message, ok := r.summary(); ok {
				w.take(entry{at: r.cfg.Now(), message: message})
				w.write(ctx)
			}
		}
	}
}

// prepare makes the log group.
func (r *Recorder) prepare(ctx context.Context) error {
	err := r.cfg.Logs.CreateGroup(ctx, r.cfg.Group, logstore.GroupSettings{RetentionDays: r.cfg.RetentionDays, DeletionProtection: true})
	if errors.Is(err, logstore.ErrGroupExists) {
		return nil
	}
	return err
}
