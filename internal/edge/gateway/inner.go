package gateway

import (
	"context"
	"fmt"
	"runtime/debug"

	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/smithy"
)

// Call is the inner door: it performs an operation for who without a signature.
// The control plane comes through it when it acts in somebody's name, such as
// for a task's execution role, so that what it does is authorized, validated
// and recorded as the client's own call would be. It is not rate limited.
//
// in is the operation's input and is not changed. who is complete but for
// RequestID, which is made here when empty. Errors are smithy.APIError, as a
// client would see them; failures of ours are logged and become
// InternalFailure. A service or operation that is not served is answered so
// too.
func (g *Gateway) Call(ctx context.Context, who caller.Identity, api *smithy.Service, operation string, in smithy.Shape) (smithy.Shape, error) {
	if who.RequestID == "" {
		who.RequestID = g.newID()
	}
	start, client := g.now(), ctx
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	t := trail{g: g, ctx: ctx, client: client, id: who.RequestID, service: api.Name, operation: operation}
	r := AuditRecord{
		Time: start, RequestID: who.RequestID, Caller: who, Service: api,
		SigningName: api.SigningName, Asked: operation, Input: in, ReadOnly: true,
	}
	var out smithy.Shape
	label := "unknown"
	svc, op, err := g.routes.served(api, operation)
	if err == nil {
		t.family = svc.family
		r.Operation, label = op, op.Name
		out, r.ReadOnly, err = g.perform(ctx, who, svc, op, in)
	}
	var e smithy.APIError
	if err != nil {
		out, e = nil, t.translate(err)
	}
	r.Output = out
	code := "OK"
	if e != nil {
		code = e.ErrorCode()
	}
	if g.auditor != nil {
		g.record(ctx, r, e)
	}
	g.metrics.observe(api.Name, label, code, g.now().Sub(start))
	if e != nil {
		return nil, e
	}
	return out, nil
}

// served finds what Call was asked for.
func (rs routes) served(api *smithy.Service, operation string) (*service, *smithy.Operation, error) {
	svc := rs.byName[api.Name]
	if svc == nil {
		return nil, nil, smithy.NotImplemented(api.Name, operation)
	}
	op, ok := svc.api.Operation(operation)
	if !ok {
		return nil, nil, smithy.NotImplemented(api.Name, operation)
	}
	return svc, op, nil
}

// perform is the part of a request that begins when its sender is known and its
// input decoded: may it be done, can it be done, and then done. readOnly tells
// that nothing can have changed. A panic is an error.
func (g *Gateway) perform(ctx context.Context, who caller.Identity, svc *service, op *smithy.Operation, in smithy.Shape) (out smithy.Shape, readOnly bool, err error) {
	readOnly = true
	defer func() {
		if v := recover(); v != nil {
			out, err = nil, &panicError{value: v, stack: debug.Stack()}
		}
	}()
	ctx = caller.WithGuard(caller.With(ctx, who), g.authorizer)
	if err := g.authorize(ctx, Access{Caller: who, Service: svc.api, Operation: op, Input: in}); err != nil {
		return nil, true, err
	}
	if err := smithy.Validate(op, in); err != nil {
		return nil, true, fmt.Errorf("validate: %w", err)
	}
	readOnly = op.ReadOnly
	out, err = op.Invoke(ctx, svc.provider, in)
	return out, readOnly, err
}
