package audit

import (
	"context"
	"errors"
	"slices"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/logstore"
)

// writer is Run's own: the records that are written next.
type writer struct {
	*Recorder
	batch   []entry
	bytes   int
	waiting bool   // somebody waits for one of them
	day     string // the stream that was last made sure of
}

func (w *writer) take(e entry) {
	w.batch = append(w.batch, e)
	w.bytes += len(e.message) + logstore.EventOverhead
	w.waiting = w.waiting || e.done != nil
}

// due reports whether the batch is written now.
func (w *writer) due() bool { return w.waiting || w.bytes >= batchBytes }

// gather adds what is in the queue already: it shares the commit.
func (w *writer) gather() {
	for w.bytes < batchBytes {
		select {
		case e := <-w.queue:
			w.take(e)
		default:
			return
		}
	}
}

// write appends the batch to the streams of its days. An error is told to who
// waits and to the log.
func (w *writer) write(ctx context.Context) {
	if len(w.batch) == 0 {
		return
	}
	slices.SortStableFunc(w.batch, func(a, b entry) int { return a.at.Compare(b.at) })
	for rest := w.batch; len(rest) > 0; {
		day := rest[0].at.UTC().Format(dayLayout)
		n := 1
		for n < len(rest) && rest[n].at.UTC().Format(dayLayout) == day {
			n++
		}
		err := w.append(ctx, day, rest[:n])
		if err != nil {
			w.lose(n, "", err)
		}
		for _, e := range rest[:n] {
			if e.done != nil {
				e.done <- err
			}
		}
		rest = rest[n:]
	}
	clear(w.batch)
	w.batch, w.bytes, w.waiting = w.batch[:0], 0, false
}

func (w *writer) append(ctx context.Context, day string, entries []entry) error {
	events := make([]logstore.Event, len(entries))
	for i, e := range entries {
		events[i] = logstore.Event{Timestamp: e.at.UnixMilli(), Message: e.message}
	}
	// Who shuts down wants to have its last records too.
	ctx = context.WithoutCancel(ctx)
	if err := w.ensure(ctx, day); err != nil {
		return err
	}
	_, err := w.cfg.Logs.Append(ctx, w.cfg.Group, day, "", 0, events)
	if errors.Is(err, logstore.ErrGroupNotFound) || errors.Is(err, logstore.ErrStreamNotFound) {
		// Somebody deleted it. What follows must not be lost for that.
		w.day = ""
		if err = w.ensure(ctx, day); err == nil {
			_, err = w.cfg.Logs.Append(ctx, w.cfg.Group, day, "", 0, events)
		}
	}
	return err
}

// ensure makes the stream of a day, and removes those that are too old.
func (w *writer) ensure(ctx context.Context, day string) error {
	if w.day == day {
		return nil
	}
	if err := w.prepare(ctx); err != nil {
		return err
	}
	if err := w.cfg.Logs.EnsureStream(ctx, w.cfg.Group, day, false); err != nil {
		return err
	}
	w.day = day
	oldest := w.cfg.Now().UTC().AddDate(0, 0, -w.cfg.RetentionDays-1).Format(dayLayout)
	if err := w.removeBefore(ctx, oldest); err != nil {
		w.cfg.Logger.WarnContext(ctx, "old audit streams were not removed", telemetry.Error, err)
	}
	return nil
}

// removeBefore deletes the streams of the days before one.
func (w *writer) removeBefore(ctx context.Context, day string) error {
	var old []string
	for s, err := range w.cfg.Logs.Streams(ctx, logstore.StreamList{Group: w.cfg.Group, From: day, Reverse: true}) {
		if err != nil {
			return err
		}
		old = append(old, s.Name)
	}
	for _, name := range old {
		if err := w.cfg.Logs.DeleteStream(ctx, w.cfg.Group, name); err != nil && !errors.Is(err, logstore.ErrStreamNotFound) {
			return err
		}
	}
	return nil
}

// finish writes what is left when Run ends, and what has been counted.
func (w *writer) finish(ctx context.Context) {
	if message, ok := w.summary(); ok {
		w.take(entry{at: w.cfg.Now(), message: message})
	}
	for {
		w.gather()
		if len(w.batch) == 0 {
			return
		}
		w.write(ctx)
	}
}
