package logdriver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"berth.dev/berth/internal/agent/helper/spool"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/base/telemetry"
)

const (
	// gather is how long a batch waits for more after the first line was seen.
	gather = 100 * time.Millisecond
	// aliveCheck is how often somebody who waits for the end has the logger looked for.
	aliveCheck = 250 * time.Millisecond
	// checkpointRetry is how often a checkpoint that could not be written is tried again.
	checkpointRetry = time.Second
	minBackoff      = 100 * time.Millisecond
	maxBackoff      = 2 * time.Second
)

// follower delivers one spool. All of it but the fields under mu belongs to run.
type follower struct {
	dir  string
	meta meta
	sink Sink
	log  *slog.Logger
	wake chan struct{} // capacity 1: something happened in dir

	reader *spool.Reader
	asm    *assembler
	saved  spool.Checkpoint
	ended  bool // the last record is End, or the logger is dead
	lost   uint64

	mu      sync.Mutex
	stats   Stats
	waiting int           // callers of drain
	remove  bool          // delete the directory when all is delivered
	drained bool          // ended, and all is delivered
	changed chan struct{} // closed when drained or gone changes, then replaced
	gone    bool          // the directory was deleted
}

func newFollower(dir string, m meta, sink Sink, log *slog.Logger) *follower {
	f := &follower{
		dir: dir, meta: m, sink: sink,
		log:     log.With(telemetry.LogGroup, m.Group, telemetry.LogStream, m.Stream),
		wake:    make(chan struct{}, 1),
		changed: make(chan struct{}),
	}
	_, err := os.Stat(filepath.Join(dir, removeName))
	f.remove = err == nil
	return f
}

// kick makes run look at the directory.
func (f *follower) kick() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run delivers until ctx ends or the directory is removed. It can be run again.
func (f *follower) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := f.follow(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		if _, err := os.Stat(f.dir); errors.Is(err, os.ErrNotExist) {
			f.log.ErrorContext(ctx, "log spool was deleted by somebody else", telemetry.Path, f.dir)
			f.leave()
			return
		}
		f.log.ErrorContext(ctx, "log spool cannot be read", telemetry.Path, f.dir, telemetry.Error, err)
		sleep(ctx, maxBackoff)
	}
}

// follow works until the directory is removed (nil), or an error of the disk or of ctx.
func (f *follower) follow(ctx context.Context) error {
	if err := f.start(ctx); err != nil {
		return err
	}
	defer f.reader.Close()
	for {
		if err := f.fill(ctx); err != nil {
			return err
		}
		if len(f.asm.queue) > 0 {
			if err := f.deliver(ctx); err != nil {
				return err
			}
			continue
		}
		retry := f.save(ctx, f.asm.checkpoint())
		moved, err := f.settle(ctx)
		if err != nil {
			return err
		}
		if moved {
			continue
		}
		if f.report() {
			return f.delete(ctx)
		}
		if err := f.wait(ctx, retry); err != nil {
			return err
		}
	}
}

// start begins where the checkpoint says.
func (f *follower) start(ctx context.Context) error {
	pattern, err := f.meta.pattern()
	if err != nil {
		return err
	}
	f.saved, err = spool.ReadCheckpoint(f.dir)
	if errors.Is(err, spool.ErrCorrupt) {
		f.log.WarnContext(ctx, "log checkpoint is damaged, starting from the oldest record", telemetry.Path, f.dir)
	} else if err != nil {
		return err
	}
	f.reader, f.lost = spool.NewReader(f.dir, f.saved.Resume()), 0
	f.asm = newAssembler(pattern, f.saved)
	f.ended = false
	if reason, err := os.ReadFile(filepath.Join(f.dir, errorName)); err == nil {
		f.log.ErrorContext(ctx, "logger could not spool, output was lost", telemetry.Reason, strings.TrimSpace(string(reason)))
	}
	return nil
}

// fill reads records until a batch is full or there are no more.
func (f *follower) fill(ctx context.Context) error {
	bytes, seen, dropped := 0, 0, f.asm.dropped
	for !batchFull(f.asm.queue, bytes) {
		record, index, err := f.reader.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		f.asm.add(record, index, f.reader.Total())
		f.ended = record.Kind == spool.End
		for _, event := range f.asm.queue[seen:] {
			bytes += len(event.Message) + eventOverheadBytes
		}
		seen = len(f.asm.queue)
	}
	if n := f.asm.dropped - dropped; n > 0 {
		f.log.WarnContext(ctx, "container writes faster than its log is delivered, lines were dropped", "lines", n)
		f.count(func(s *Stats) { s.Dropped += n })
	}
	if n := f.reader.Lost() - f.lost; n > 0 {
		f.lost += n
		f.log.ErrorContext(ctx, "log spool is damaged, records were lost", telemetry.Path, f.dir, "records", n)
	}
	return nil
}

// deliver hands everything queued to the sink, in batches, and notes what was acknowledged.
func (f *follower) deliver(ctx context.Context) error {
	queue := f.asm.queue
	f.asm.queue = nil
	for len(queue) > 0 {
		n := batchLength(queue)
		events := make([]Event, n)
		for i, event := range queue[:n] {
			events[i] = event.Event
		}
		if err := f.deliverBatch(ctx, events); err != nil {
			return err
		}
		checkpoint := f.saved
		for _, event := range queue[:n] {
			if event.after != nil {
				checkpoint = *event.after
			}
		}
		queue = queue[n:]
		f.save(ctx, checkpoint)
	}
	return nil
}

// deliverBatch tries until the sink has the batch or refuses it for good.
func (f *follower) deliverBatch(ctx context.Context, events []Event) error {
	backoff := minBackoff
	for {
		err := f.sink.Deliver(ctx, f.meta.source(), events)
		switch {
		case err == nil:
			if backoff > minBackoff {
				f.log.InfoContext(ctx, "log is delivered again")
			}
			f.count(func(s *Stats) { s.Delivered += uint64(len(events)) })
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fault.NotFound), errors.Is(err, fault.Invalid):
			// As Docker's driver does: the group was deleted, and keeping the lines would in the end stop the container.
			f.log.ErrorContext(ctx, "log events were refused and are thrown away", "events", len(events), telemetry.Error, err)
			f.count(func(s *Stats) { s.Refused += uint64(len(events)) })
			return nil
		}
		if backoff == minBackoff {
			f.log.WarnContext(ctx, "log cannot be delivered, keeping it on disk", telemetry.Error, err)
		}
		// Jitter, so that the streams of a node do not all come at once when the server is back.
		sleep(ctx, backoff-rand.N(backoff/4))
		backoff = min(2*backoff, maxBackoff)
	}
}

// save writes the checkpoint when it says something new, deletes what it makes superfluous, and says whether that failed.
// A failure only costs deliveries that the receiver recognises.
func (f *follower) save(ctx context.Context, checkpoint spool.Checkpoint) (retry bool) {
	if checkpoint == f.saved {
		return false
	}
	if err := spool.WriteCheckpoint(f.dir, checkpoint); err != nil {
		f.log.ErrorContext(ctx, "log checkpoint cannot be written", telemetry.Path, f.dir, telemetry.Error, err)
		return true
	}
	f.saved = checkpoint
	if err := spool.Trim(f.dir, checkpoint.Resume()); err != nil {
		f.log.ErrorContext(ctx, "delivered log segments cannot be deleted", telemetry.Path, f.dir, telemetry.Error, err)
	}
	return false
}

// settle ends what time or the logger's death has ended, and says whether there is something to do again.
func (f *follower) settle(ctx context.Context) (moved bool, err error) {
	if age, open := f.multiAge(); open && age >= multilineAge {
		// On disk before it is delivered: see "Exactly once". It is not delivered when that fails, only kept longer.
		checkpoint := f.saved
		checkpoint.Cut = f.asm.multi.seq
		if f.save(ctx, checkpoint) {
			return false, nil
		}
		f.asm.flushAged()
		return true, nil
	}
	if f.ended || !f.wanted() {
		return false, nil
	}
	alive, err := spool.Alive(f.dir)
	if err != nil || alive {
		return false, err
	}
	// Nothing is written any more, but something may have been since we last read.
	if err := f.fill(ctx); err != nil {
		return false, err
	}
	if len(f.asm.queue) == 0 {
		f.ended = true
		f.asm.flushDead()
	}
	return true, nil
}

// multiAge is how old the multi-line event is. One from the future, after a clock was set back, is as old as can be.
func (f *follower) multiAge() (age time.Duration, open bool) {
	if !f.asm.multi.open {
		return 0, false
	}
	age = time.Since(time.Unix(0, f.asm.multi.time))
	if age < 0 {
		age = multilineAge
	}
	return age, true
}

// wanted says whether somebody waits for the end.
func (f *follower) wanted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting > 0 || f.remove
}

// report tells those who wait, and says whether the directory is to be deleted.
func (f *follower) report() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.drained != f.ended {
		f.drained = f.ended
		f.announce()
	}
	return f.drained && f.remove
}

func (f *follower) announce() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// wait returns when there may be something to do.
func (f *follower) wait(ctx context.Context, retry bool) error {
	due := time.Duration(-1)
	sooner := func(d time.Duration) {
		if due < 0 || d < due {
			due = d
		}
	}
	if age, open := f.multiAge(); open && age < multilineAge {
		sooner(multilineAge - age)
	} else if open { // its cut could not be written
		sooner(checkpointRetry)
	}
	if !f.ended && f.wanted() {
		sooner(aliveCheck)
	}
	if retry {
		sooner(checkpointRetry)
	}
	var timer <-chan time.Time
	if due >= 0 {
		t := time.NewTimer(due)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer:
		return nil
	case <-f.wake:
	}
	sleep(ctx, gather)
	return ctx.Err()
}

// delete removes the directory of a stream that is delivered.
func (f *follower) delete(ctx context.Context) error {
	if err := os.RemoveAll(f.dir); err != nil {
		return fmt.Errorf("remove log spool: %w", err)
	}
	f.log.DebugContext(ctx, "log spool removed", telemetry.Path, f.dir)
	f.leave()
	return nil
}

// leave notes that the directory is gone.
func (f *follower) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = true
	f.announce()
}

func (f *follower) left() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.gone
}

// drain waits until the logger has ended and everything is delivered.
func (f *follower) drain(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting++
	defer func() { f.waiting-- }()
	f.kick()
	for !f.drained && !f.gone {
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		f.mu.Lock()
		if ctx.Err() != nil && !f.drained && !f.gone {
			return fmt.Errorf("drain log stream %s: %w", f.meta.ID, ctx.Err())
		}
	}
	return nil
}

func (f *follower) count(change func(*Stats)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.stats)
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
