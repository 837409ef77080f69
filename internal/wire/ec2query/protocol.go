package ec2query

import (
	"net/http"
	"strings"

	"berth.dev/berth/internal/wire/smithy"
	"berth.dev/berth/internal/wire/smithy/form"
	"berth.dev/berth/internal/wire/smithy/xmlout"
)

const contentType = "text/xml;charset=UTF-8"

// Protocol is ec2Query. Use EC2.
type Protocol struct{}

// EC2 is ec2Query.
func EC2() *Protocol { return &Protocol{} }

var _ smithy.Protocol = (*Protocol)(nil)

// Name implements smithy.Protocol.
func (*Protocol) Name() string { return "ec2Query" }

// DecodeRequest implements smithy.Protocol.
func (*Protocol) DecodeRequest(_ *smithy.Service, op *smithy.Operation, r *http.Request, body []byte) (smithy.Shape, error) {
	in := op.NewInput()
	if err := form.Decode(form.Style{Name: parameter, Flat: true}, op.Codes.Malformed, r, body, in); err != nil {
		return nil, err
	}
	return in, nil
}

// parameter is a structure member's name in requests.
func parameter(m *smithy.Member) string {
	if m.QueryName != "" {
		return m.QueryName
	}
	name := m.WireName()
	if name[0] >= 'a' && name[0] <= 'z' {
		return strings.ToUpper(name[:1]) + name[1:]
	}
	return name
}

// EncodeResponse implements smithy.Protocol.
func (*Protocol) EncodeResponse(w http.ResponseWriter, svc *smithy.Service, op *smithy.Operation, out smithy.Shape, requestID string) error {
	x := xmlout.New(true)
	x.Element(op.Name+"Response", svc.XMLNamespace, func() {
		x.Text("requestId", requestID)
		if len(op.Output.Members) == 0 {
			x.Text("return", "true")
		} else if out != nil {
			out.Serialize(x)
		}
	})
	return x.Respond(w, http.StatusOK, contentType, requestID)
}

// EncodeError implements smithy.Protocol. EC2's errors have no members.
func (*Protocol) EncodeError(w http.ResponseWriter, _ *smithy.Service, err smithy.APIError, requestID string) error {
	x := xmlout.New(true)
	x.Element("Response", "", func() {
		x.Element("Errors", "", func() {
			x.Element("Error", "", func() {
				x.Text("Code", err.ErrorCode())
				x.Text("Message", err.ErrorMessage())
			})
		})
		x.Text("RequestID", requestID)
	})
	return x.Respond(w, err.HTTPStatus(), contentType, requestID)
}

// UnknownOperation implements smithy.Protocol.
func (*Protocol) UnknownOperation(_ *smithy.Service, name string) smithy.APIError {
	if name == "" {
		return smithy.NewError(http.StatusBadRequest, "MissingAction", "The request must contain the parameter Action")
	}
	return smithy.NewError(http.StatusBadRequest, "InvalidAction", "The action "+smithy.Clip(name)+" is not valid for this web service.")
}
