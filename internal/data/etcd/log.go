package etcd

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// bridge returns a zap logger that passes etcd's warnings and errors on to log. etcd's levels below that describe each step
// of its work, which is of interest to those who debug etcd.
//
// A fatal message of etcd's means to end the process, and a panic message to panic on a goroutine where nobody could
// recover. Both are reported to failed instead, and only the goroutine ends.
func bridge(log *slog.Logger, closing *atomic.Bool, failed chan<- error) *zap.Logger {
	return zap.New(core{log: log, closing: closing}, zap.WithFatalHook(stop{failed}), zap.WithPanicHook(stop{failed}))
}

type stop struct{ failed chan<- error }

// OnWrite implements zapcore.CheckWriteHook.
func (s stop) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	err := fmt.Errorf("%s", e.Message)
	if cause, ok := enc.Fields["error"]; ok {
		err = fmt.Errorf("%s: %v", e.Message, cause)
	}
	select {
	case s.failed <- err:
	default: // an earlier failure is the cause of this one
	}
	runtime.Goexit()
}

// core is a zapcore.Core on a slog.Logger.
type core struct {
	log     *slog.Logger
	closing *atomic.Bool
}

var levels = map[zapcore.Level]slog.Level{
	zapcore.WarnLevel:   slog.LevelWarn,
	zapcore.ErrorLevel:  slog.LevelError,
	zapcore.DPanicLevel: slog.LevelError,
	zapcore.PanicLevel:  slog.LevelError,
	zapcore.FatalLevel:  slog.LevelError,
}

// expected are warnings about what we chose on purpose, and about a database that is empty because it is new.
var expected = map[string]bool{
	"simple token is not cryptographically signed":                                         true, // authentication is not used
	"Failed to detect schema version":                                                      true,
	"failed to update storage version":                                                     true,
	"Running http and grpc server on single port. This is not recommended for production.": true,
}

func (c core) Enabled(l zapcore.Level) bool {
	_, ok := levels[l]
	return ok
}

func (c core) With(fields []zapcore.Field) zapcore.Core {
	return core{c.log.With(attrs(fields)...), c.closing}
}

func (c core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := levels[e.Level]
	if expected[e.Message] || c.closing.Load() {
		level = slog.LevelDebug
	}
	// The message is etcd's, so it is an attribute: ours is the same for all of them.
	c.log.With(attrs(fields)...).Log(context.Background(), level, "etcd says", "text", e.Message)
	return nil
}

func (c core) Sync() error { return nil }

func attrs(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	out := make([]any, 0, len(enc.Fields))
	for _, key := range slices.Sorted(maps.Keys(enc.Fields)) {
		out = append(out, slog.Any(key, enc.Fields[key]))
	}
	return out
}
