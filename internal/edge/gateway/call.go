package gateway

import (
	"context"
	"fmt"
	"net/http"
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
	r      *http.Request   // its context carries the deadline
	client context.Context // ends when the client goes away
	id     string          // request id
	start  time.Time

	claim  sigv4.Claim
	route  route
	caller caller.Identity
	in     smithy.Shape
	code   string // what the client was told, "OK" without an error

	performed  bool // a provider ran that may have changed something
	unrecorded bool // not for the auditor
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

// authenticate verifies the signature and learns who the caller is.
func (c *call) authenticate(body []byte) error {
	ctx := c.r.Context()
	var who caller.Identity
	lookup := func(accessKeyID, sessionToken string) (sigv4.Credential, error) {
		credential, id, err := c.g.credentials.Credentials(ctx, accessKeyID, sessionToken)
		who = id
		return credential, err
	}
	if err := c.claim.Verify(c.g.now(), c.r, body, c.expect(), lookup); err != nil {
		return c.refuse(err)
	}
	about := c.stranger()
	who.AccessKeyID, who.RequestID, who.Region = about.AccessKeyID, about.RequestID, about.Region
	who.SourceIP, who.SourceVPC = about.SourceIP, about.SourceVPC
	who.Secure, who.UserAgent, who.Service = about.Secure, about.UserAgent, ""
	c.caller = who
	return nil
}

// stranger is what can be said of a sender whose signature was not verified.
func (c *call) stranger() caller.Identity {
	from := sourceOf(c.r)
	return caller.Identity{
		AccessKeyID: shorten(c.claim.AccessKeyID), RequestID: c.id, Region: shorten(c.claim.Scope.Region),
		SourceIP: from.Address, SourceVPC: from.VPC,
		Secure: c.r.TLS != nil, UserAgent: shorten(c.r.UserAgent()),
	}
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

// invoke decodes the input and performs the operation.
func (c *call) invoke(body []byte) (smithy.Shape, error) {
	svc, op := c.route.service, c.route.operation
	in, err := svc.protocol.DecodeRequest(svc.api, op, c.r, body)
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	c.in = in
	out, readOnly, err := c.g.perform(c.r.Context(), c.caller, svc, op, in)
	c.performed = !readOnly
	return out, err
}
