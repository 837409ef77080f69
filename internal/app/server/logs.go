package server

import (
	"context"
	"errors"
	"strings"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/control/dispatch"
	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/edge/channel"
)

// logSink is what nodes deliver output to. It tells the dispatcher which of
// the log store's errors are final.
type logSink struct{ logs *logstore.Store }

var _ dispatch.LogSink = logSink{}

// own begins the names of groups that Berth itself writes: no container's
// output gets there.
const own = "/berth/"

func (s logSink) EnsureStream(ctx context.Context, group, stream string, createGroup bool) error {
	if strings.HasPrefix(group, own) {
		return &dispatch.Refusal{Text: "InvalidParameterException: The log group " + group + " is written by Berth alone."}
	}
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

// transcripts keeps the output of sessions in the log store.
type transcripts struct{ logs *logstore.Store }

var _ channel.Logs = transcripts{}

func (s transcripts) EnsureStream(ctx context.Context, group, stream string, createGroup bool) error {
	if strings.HasPrefix(group, own) {
		return fault.New(fault.Invalid, "The log group %s is written by Berth alone.", group)
	}
	return s.logs.EnsureStream(ctx, group, stream, createGroup)
}

func (s transcripts) Put(ctx context.Context, group, stream string, events []channel.LogEvent) error {
	out := make([]logstore.Event, len(events))
	for i, e := range events {
		out[i] = logstore.Event{Timestamp: e.Time.UnixMilli(), Message: e.Message}
	}
	_, err := s.logs.Append(ctx, group, stream, "", 0, out)
	return err
}
