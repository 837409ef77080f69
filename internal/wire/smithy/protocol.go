package smithy

import (
	"net/http"
)

// Protocol is one wire protocol, server side: how a request's bytes become an
// input shape and how an output shape or an error becomes a response. It knows
// no service; everything that differs between services is data in Service,
// Operation and Schema. Implementations are stateless values, safe for
// concurrent use: awsjson.JSON10(), awsjson.JSON11(), awsquery.Query(),
// ec2query.EC2().
//
// Routing is not its business: the gateway decides service and operation
// (target header, path, Action and Version, credential scope) before it calls.
type Protocol interface {
	// Name is the protocol's name in Smithy's words: "awsJson1_0",
	// "awsJson1_1", "awsQuery", "ec2Query". For logs and metrics.
	Name() string

	// DecodeRequest reads op's input from r and its whole body, which the
	// caller has read (and limited). The result is what op.NewInput made,
	// filled; unknown members are ignored and constraints are not checked, see
	// Validate. Every error is an APIError. It neither reads r.Body nor keeps
	// body.
	DecodeRequest(svc *Service, op *Operation, r *http.Request, body []byte) (Shape, error)

	// EncodeResponse writes status 200, headers (Content-Type, Content-Length,
	// x-amzn-RequestId) and out. A nil out is an empty output. The error is
	// w's; by then the status line is written and nothing can be mended.
	EncodeResponse(w http.ResponseWriter, svc *Service, op *Operation, out Shape, requestID string) error

	// EncodeError writes err's HTTP status, headers and error envelope. svc is
	// nil when the request named no service we know. Modelled members of err
	// beside its message are written where the protocol has a place for them.
	EncodeError(w http.ResponseWriter, svc *Service, err APIError, requestID string) error

	// UnknownOperation is the error of this protocol for an operation that svc
	// does not have; name may be empty, svc nil.
	UnknownOperation(svc *Service, name string) APIError
}
