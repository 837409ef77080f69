package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/wire/sigv4"
	"berth.dev/berth/internal/wire/smithy"
)

// panicError is a panic on its way to the log.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// Unwrap gives the value's chain when an error was thrown.
func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}

// refuse turns a signature's error into what the service says about it. Other
// errors pass: they are failures of ours.
func (c *call) refuse(err error) error {
	refusal, ok := errors.AsType[*sigv4.Error](err)
	if !ok {
		return fmt.Errorf("authenticate: %w", err)
	}
	a := refusal.Answer(c.route.family)
	// EC2 has one sentence for everything; the operator gets the real one.
	c.g.log.DebugContext(c.r.Context(), "signature refused", telemetry.RequestID, c.id, telemetry.Error, refusal)
	return smithy.NewError(a.Status, a.Code, a.Message)
}

// answer records the request and writes out, or err in the envelope of the
// client's protocol.
func (c *call) answer(out smithy.Shape, err error) {
	c.code = "OK"
	var e smithy.APIError
	if err != nil {
		out, e = nil, c.trail().translate(err)
		c.code = e.ErrorCode()
	}
	c.audit(out, e)
	if e == nil {
		if err = c.encode(out); err == nil {
			return
		}
		if c.w.status != 0 {
			// The answer had begun: only the connection can say that it is broken.
			c.code = codeInternal
			c.trail().log(slog.LevelError, "answer could not be completed", err)
			return
		}
		e = c.trail().translate(err)
		c.code = e.ErrorCode()
	}
	if err := c.route.protocol.EncodeError(c.w, c.api(), e, c.id); err != nil {
		c.trail().log(slog.LevelDebug, "answer could not be sent", err)
	}
}

// encode writes out. An error of the connection is nobody's concern, so only a
// panic of an encoder comes back.
func (c *call) encode(out smithy.Shape) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{value: v, stack: debug.Stack()}
		}
	}()
	if err := c.route.protocol.EncodeResponse(c.w, c.api(), c.route.operation, out, c.id); err != nil {
		c.trail().log(slog.LevelDebug, "answer could not be sent", err)
	}
	return nil
}

func (c *call) api() *smithy.Service {
	if c.route.service == nil {
		return nil
	}
	return c.route.service.api
}

const codeInternal = "InternalFailure"

// trail is what the log needs to know of a request, at either door.
type trail struct {
	g                  *Gateway
	ctx                context.Context // carries the deadline
	client             context.Context // ends when the client goes away
	id                 string
	service, operation string
	family             sigv4.Family
}

func (c *call) trail() trail {
	return trail{
		g: c.g, ctx: c.r.Context(), client: c.client, id: c.id,
		service: c.route.serviceName(), operation: c.route.operationName(), family: c.route.family,
	}
}

// translate makes an error that the client may see. It is the one place where
// failures that nobody translated are logged.
func (t trail) translate(err error) smithy.APIError {
	var panicked *panicError
	isPanic := errors.As(err, &panicked)
	if api, ok := errors.AsType[smithy.APIError](err); ok && !isPanic {
		return api
	}
	const message = "The request processing has failed because of an unknown error, exception or failure."
	internal := smithy.NewError(http.StatusInternalServerError, codeInternal, message)
	switch {
	case isPanic:
		t.log(slog.LevelError, "request panicked", err, slog.String("stack", string(panicked.stack)))
	case errors.Is(err, fault.Denied):
		return denied(t.family, err)
	case t.client.Err() != nil && errors.Is(err, context.Canceled):
		// Nobody listens any more. An answer is written all the same, lest an
		// empty one be taken for success.
		t.log(slog.LevelDebug, "client went away", err)
	case t.client.Err() == nil && errors.Is(err, context.DeadlineExceeded) && t.ctx.Err() != nil:
		t.log(slog.LevelWarn, "request took too long", err)
		return smithy.NewError(http.StatusServiceUnavailable, "ServiceUnavailable", "Service Unavailable. Please try again later.")
	default:
		t.log(slog.LevelError, "request failed", err)
	}
	return internal
}

func (t trail) log(level slog.Level, message string, err error, more ...slog.Attr) {
	t.g.log.LogAttrs(t.ctx, level, message, append([]slog.Attr{ //nolint:sloglint // the messages are constants of the callers
		slog.String(telemetry.RequestID, t.id),
		slog.String(telemetry.Service, t.service),
		slog.String(telemetry.Operation, t.operation),
		slog.Any(telemetry.Error, err),
	}, more...)...)
}

// report writes the audit line and counts the request. Calls that change
// nothing are told at debug level; a refused one is always told.
func (c *call) report() {
	took := c.g.now().Sub(c.start)
	service, operation := c.route.serviceName(), c.route.operationName()
	c.g.metrics.observe(service, operation, c.code, took)

	level := slog.LevelInfo
	if op := c.route.operation; c.code == "OK" && op != nil && op.ReadOnly {
		level = slog.LevelDebug
	}
	asked := operation
	if c.route.operation == nil {
		asked = shorten(c.route.asked)
	}
	c.g.log.LogAttrs(c.r.Context(), level, "api call",
		slog.String(telemetry.RequestID, c.id),
		slog.String(telemetry.Service, service),
		slog.String(telemetry.Operation, asked),
		slog.String("code", c.code),
		slog.Int("status", c.w.status),
		slog.String("caller", c.caller.ARN),
		slog.String("access_key_id", shorten(c.claim.AccessKeyID)),
		slog.String("source_ip", sourceOf(c.r).Address),
		slog.String("user_agent", shorten(c.r.UserAgent())),
		slog.Duration("took", took),
	)
}

// shorten keeps what a stranger sent from filling the log.
func shorten(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
