package gateway

import (
	"context"
	"errors"
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

	performed  bool  // a provider ran that may have changed something
	unrecorded bool  // not for the auditor
	held       int64 // bytes of the budget for bodies
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
		return c.unsigned(claimErr)
	}
	if err := c.suspect(c.start); err != nil {
		c.leaveBody()
		return nil, err
	}
	body, err := c.readSigned()
	if err != nil {
		return nil, err
	}
	c.route = c.g.routes.find(c.route, c.r, body, claim.Scope)
	if err := c.authenticate(body); err != nil {
		return nil, err
	}
	if err := c.limit(); err != nil {
		return nil, err
	}
	switch {
	case c.route.err == nil:
		return c.invoke(body)
	case c.route.service == nil:
		return nil, c.foreign(body)
	}
	return nil, c.route.err
}

// readSigned reads the body. What would be stored in S3 may be of any size: it
// is not for us, and left where it is.
func (c *call) readSigned() ([]byte, error) {
	if c.route.service == nil && isS3(c.claim.Scope.Service) && c.r.ContentLength > DefaultMaxBody {
		c.leaveBody()
		return nil, nil
	}
	return c.readBody()
}

// maxUnsigned is the longest body of a request without a signature, in bytes:
// enough for a web identity's token and two policies.
const maxUnsigned = 64 << 10

// unsigned serves the one operation that needs no signature, because it gets
// credentials for a token instead. Nobody else who does not sign is listened to.
func (c *call) unsigned(refusal error) (smithy.Shape, error) {
	if !c.mayBeWebIdentity(refusal) {
		c.leaveBody()
		return nil, c.refuse(refusal)
	}
	if err := c.suspect(c.start); err != nil {
		c.leaveBody()
		return nil, err
	}
	body, err := c.readUpTo(maxUnsigned)
	if err != nil {
		return nil, err
	}
	routed := c.g.routes.find(c.route, c.r, body, c.claim.Scope)
	if routed.err != nil || routed.operation.Name != "AssumeRoleWithWebIdentity" || routed.service.api.SigningName != "sts" {
		return nil, c.refuse(refusal)
	}
	c.route, c.caller = routed, c.stranger()
	out, err := c.invoke(body)
	if err != nil {
		c.failures().AllowN(c.start, 1)
	}
	return out, err
}

// mayBeWebIdentity looks at the head of a request without a signature.
func (c *call) mayBeWebIdentity(refusal error) bool {
	e, ok := errors.AsType[*sigv4.Error](refusal)
	return ok && e.Reason == sigv4.Missing && c.r.Method == http.MethodPost && mediaType(c.r) == formType
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
		if e, ok := errors.AsType[*sigv4.Error](err); ok && (e.Reason == sigv4.UnknownKey || e.Reason == sigv4.Mismatch) {
			c.failures().AllowN(c.start, 1)
		}
		return c.refuse(err)
	}
	c.proven()
	about := c.stranger()
	who.AccessKeyID, who.RequestID, who.Region = about.AccessKeyID, about.RequestID, about.Region
	who.SourceIP, who.SourceVPC = about.SourceIP, about.SourceVPC
	who.Secure, who.Host, who.UserAgent, who.Service = about.Secure, about.Host, about.UserAgent, ""
	c.caller = who
	return nil
}

// stranger is what can be said of a sender whose signature was not verified.
func (c *call) stranger() caller.Identity {
	from := sourceOf(c.r)
	return caller.Identity{
		AccessKeyID: shorten(c.claim.AccessKeyID), RequestID: c.id, Region: shorten(c.claim.Scope.Region),
		SourceIP: from.Address, SourceVPC: from.VPC,
		Secure: c.r.TLS != nil, Host: c.r.Host, UserAgent: shorten(c.r.UserAgent()),
	}
}

// expect is the scope that the routed service accepts. A service that is not
// served accepts any: the refusal that matters comes after the signature.
func (c *call) expect() sigv4.Expect {
	if c.route.service == nil {
		return sigv4.Expect{S3: isS3(c.claim.Scope.Service)}
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
