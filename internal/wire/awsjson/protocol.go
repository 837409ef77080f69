package awsjson

import (
	"net/http"
	"strconv"

	"berth.dev/berth/internal/wire/smithy"
)

// Protocol is awsJson in one version. Use JSON10 or JSON11.
type Protocol struct {
	name        string
	contentType string
}

// JSON10 is awsJson1_0.
func JSON10() *Protocol {
	return &Protocol{name: "awsJson1_0", contentType: "application/x-amz-json-1.0"}
}

// JSON11 is awsJson1_1.
func JSON11() *Protocol {
	return &Protocol{name: "awsJson1_1", contentType: "application/x-amz-json-1.1"}
}

var _ smithy.Protocol = (*Protocol)(nil)

// Name implements smithy.Protocol.
func (p *Protocol) Name() string { return p.name }

// DecodeRequest implements smithy.Protocol. An empty body is an empty object.
func (p *Protocol) DecodeRequest(_ *smithy.Service, op *smithy.Operation, _ *http.Request, body []byte) (smithy.Shape, error) {
	in := op.NewInput()
	if err := decode(body, op.Codes.Malformed, in); err != nil {
		return nil, err
	}
	return in, nil
}

// EncodeResponse implements smithy.Protocol.
func (p *Protocol) EncodeResponse(w http.ResponseWriter, _ *smithy.Service, _ *smithy.Operation, out smithy.Shape, requestID string) error {
	return p.write(w, http.StatusOK, encode(out), requestID)
}

// EncodeError implements smithy.Protocol. The message's key is the one that the
// error's shape has, "message" where it has none.
func (p *Protocol) EncodeError(w http.ResponseWriter, _ *smithy.Service, err smithy.APIError, requestID string) error {
	return p.write(w, err.HTTPStatus(), encodeError(err), requestID)
}

// UnknownOperation implements smithy.Protocol.
func (p *Protocol) UnknownOperation(*smithy.Service, string) smithy.APIError {
	return smithy.NewError(http.StatusBadRequest, "UnknownOperationException", "")
}

func (p *Protocol) write(w http.ResponseWriter, status int, body []byte, requestID string) error {
	h := w.Header()
	h.Set("Content-Type", p.contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("x-amzn-RequestId", requestID)
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}
