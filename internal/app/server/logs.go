package server

import (
	"context"
	"errors"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/control/dispatch"
	"berth.dev/berth/internal/data/logstore"
)

// logSink is what nodes deliver output to. It tells the dispatcher which of
// the log store's errors are final.
type logSink struct{ logs *logstore.Store }

var _ dispatch.LogSink = logSink{}

func (s logSink) EnsureStream(ctx context.Context, group, stream string, createGroup bool) error {
	return refusal(s.logs.EnsureStream(ctx, group, stream, createGroup))
}

func (s logSink) Deliver(ctx context.Context, group, stream, source string, events []dispatch.LogEvent) error {
	out := make([]logstore.SourceEvent, len(events))
	for i, e := range events {
		out[i] = logstore.SourceEvent{Seq: e.Seq, Event: logstore.Event{Timestamp: e.TimestampMS, Message: e.Message}}
	}
	return refusal(s.logs.Deliver(ctx, group, stream, source, out))
}

func refusal(err error) error {
	if errors.Is(err, fault.NotFound) || errors.Is(err, fault.Invalid) {
		return &dispatch.Refusal{Text: err.Error()}
	}
	return err
}
