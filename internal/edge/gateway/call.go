package gateway

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"time"

	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
	"berth.dev/berth/internal/wire/smithy"
)

// call is one request on its way through. The fields below the line are filled
// in as the stages of serve learn them; error answers use what is known by then.
type call struct {
	g      *Gateway
	w      *recorder
	r      *http.Request   // its context carries the deadline and, once known, the caller
	client context.Context // ends when the client goes away
	id     string          // request id
	start  time.Time

	claim  sigv4.Claim
	route  route
	caller caller.Identity
	code   string // what the client was told, "OK" without an error
}

// serve runs the stages. Its error is what the client is to hear of, as a
// smithy.APIError, or a failure of ours, as anything else. A panic is one too.
func (c *call) serve() (out smithy.Shape, err error) {
	defer func() {
		if v := recover(); v != nil {
			out, err = nil, &panicError{value: v, stack: debug.Stack()}
		}
	}()
	claim, claimErr := sigv4.Parse(c.r)
	c.claim = claim
	c.route = c.g.routes.byHead(c.r, claim.Scope)
	if claimErr != nil {
		c.leaveBody() // who does not sign is not listened to
		return nil, c.refuse(claimErr)
	}
	body, err := c.readBody()
	if err != nil {
		return nil, err
	}
	c.route = c.g.routes.find(c.route, c.r, body, claim.Scope)
	if err := c.authenticate(body); err != nil {
		return nil, err
	}
	if c.route.err != nil {
		return nil, c.route.err
	}
	return c.invoke(body)
}

// authenticate verifies the signature and puts the caller into the context.
func (c *call) authenticate(body []byte) error {
	ctx := c.r.Context()
	var who caller.Identity
	lookup := func(accessKeyID string) (sigv4.Credential, error) {
		credential, id, err := c.g.credentials.Credentials(ctx, accessKeyID)
		who = id
		return credential, err
	}
	if err := c.claim.Verify(c.g.now(), c.r, body, c.expect(), lookup); err != nil {
		return c.refuse(err)
	}
	who.AccessKeyID, who.SourceIP, who.RequestID = c.claim.AccessKeyID, sourceIP(c.r), c.id
	c.caller = who
	c.r = c.r.WithContext(caller.With(ctx, who))
	return nil
}

// expect is the scope that the routed service accepts. A service that is not
// served accepts any: the refusal that matters comes after the signature.
func (c *call) expect() sigv4.Expect {
	if c.route.service == nil {
		return sigv4.Expect{}
	}
	name := c.route.service.api.SigningName
	expect := sigv4.Expect{Services: []string{name}}
	if c.g.region != "" {
		expect.Regions = []string{c.g.region}
		if slices.Contains([]string{"iam", "sts"}, name) {
			expect.Regions = append(expect.Regions, "us-east-1")
		}
	}
	return expect
}

func (c *call) invoke(body []byte) (smithy.Shape, error) {
	svc, op := c.route.service, c.route.operation
	in, err := svc.protocol.DecodeRequest(svc.api, op, c.r, body)
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	ctx := c.r.Context()
	if err := c.authorize(ctx, Access{Caller: c.caller, Service: svc.api, Operation: op, Input: in}); err != nil {
		return nil, err
	}
	if err := smithy.Validate(op, in); err != nil {
		return nil, fmt.Errorf("validate: %w", err)
	}
	return op.Invoke(ctx, svc.provider, in)
}

// sourceIP is the peer's address, without port, zone and IPv4-in-IPv6 form.
func sourceIP(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr // a unix socket has no address
	}
	return peer.Addr().Unmap().WithZone("").String()
}
