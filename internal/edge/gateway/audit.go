package gateway

import (
	"context"
	"crypto/tls"
	"time"

	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/smithy"
)

// auditTimeout bounds how long an answer waits for its record. It is counted
// apart from the request's own time: what was done at the last moment is
// recorded too.
const auditTimeout = 10 * time.Second

// Auditor keeps what was asked and answered.
type Auditor interface {
	// Record is called once for each request, before its answer leaves: for
	// those that succeed, fail, are refused and are throttled, at the inner door
	// (Gateway.Call) too. Not recorded are probes, and requests that were turned
	// away because their source had failed to authenticate too often: strangers
	// must not be able to fill the disk.
	//
	// For a request that may have changed something (ReadOnly is false) Record
	// returns when the record is durable, or when ctx ends; others need not
	// wait. It may be called concurrently, must not change the record's shapes,
	// and tells of its own failures itself: what was done cannot be undone.
	Record(ctx context.Context, r AuditRecord)
}

// AuditRecord is one request as it was understood. The shapes may hold secrets:
// the auditor removes what must not be kept.
type AuditRecord struct {
	// Time is when the request's head had arrived.
	Time      time.Time
	RequestID string
	// Caller is the verified sender. Without a valid signature only AccessKeyID,
	// as claimed, SourceIP, SourceVPC, Secure, UserAgent, Region and RequestID
	// are set.
	Caller caller.Identity
	// Service is the served API that was called; nil when Berth does not serve
	// the one that was meant.
	Service *smithy.Service
	// Operation is nil when the service has no such operation.
	Operation *smithy.Operation
	// SigningName and Asked are the service and the operation as the client
	// wrote them, shortened: a stranger's text where Service or Operation is nil.
	SigningName, Asked string
	// Input is nil when the request ended before it was decoded. It may break
	// the model's constraints.
	Input smithy.Shape
	// Output is nil when the request failed.
	Output smithy.Shape
	// ErrorCode and ErrorMessage are what the client was told; empty when the
	// request succeeded.
	ErrorCode, ErrorMessage string
	// ReadOnly is true when nothing can have changed: the operation only reads,
	// or the request was refused before a provider ran.
	ReadOnly bool
	// TLS is the connection's state; nil without TLS and at the inner door.
	TLS *tls.ConnectionState
	// Host is what the client calls this server.
	Host string
}

// audit records the request. e is nil when it succeeded.
func (c *call) audit(out smithy.Shape, e smithy.APIError) {
	if c.g.auditor == nil || c.unrecorded {
		return
	}
	who := c.caller
	if who.RequestID == "" {
		who = c.stranger()
	}
	r := AuditRecord{
		Time: c.start, RequestID: c.id, Caller: who, Operation: c.route.operation,
		SigningName: shorten(c.claim.Scope.Service), Asked: shorten(c.route.asked),
		Input: c.in, Output: out, ReadOnly: !c.performed, TLS: c.r.TLS, Host: shorten(c.r.Host),
	}
	if c.route.service != nil {
		r.Service = c.route.service.api
	}
	c.g.record(c.r.Context(), r, e)
}

// record completes r with the error and hands it to the auditor.
func (g *Gateway) record(ctx context.Context, r AuditRecord, e smithy.APIError) {
	if e != nil {
		r.Output, r.ErrorCode, r.ErrorMessage = nil, e.ErrorCode(), e.ErrorMessage()
	}
	// A client that went away has done what it has done.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditTimeout)
	defer cancel()
	g.auditor.Record(ctx, r)
}
