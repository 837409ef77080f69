package awsquery

import (
	"net/http"

	"berth.dev/berth/internal/wire/smithy"
	"berth.dev/berth/internal/wire/smithy/form"
	"berth.dev/berth/internal/wire/smithy/xmlout"
)

const contentType = "text/xml"

// Protocol is awsQuery. Use Query.
type Protocol struct{}

// Query is awsQuery.
func Query() *Protocol { return &Protocol{} }

var _ smithy.Protocol = (*Protocol)(nil)

// Name implements smithy.Protocol.
func (*Protocol) Name() string { return "awsQuery" }

// DecodeRequest implements smithy.Protocol.
func (*Protocol) DecodeRequest(_ *smithy.Service, op *smithy.Operation, r *http.Request, body []byte) (smithy.Shape, error) {
	in := op.NewInput()
	if err := form.Decode(form.Style{Name: parameter}, op.Codes.Malformed, r, body, in); err != nil {
		return nil, err
	}
	return in, nil
}

// parameter is a structure member's name. The elements of a flattened list may
// have a name of their own, which then stands in the list's place.
func parameter(m *smithy.Member) string {
	if t := m.Target; t.Kind == smithy.KindList && t.Flattened && t.Elem.Location != "" {
		return t.Elem.Location
	}
	return m.WireName()
}

// EncodeResponse implements smithy.Protocol.
func (*Protocol) EncodeResponse(w http.ResponseWriter, svc *smithy.Service, op *smithy.Operation, out smithy.Shape, requestID string) error {
	x := xmlout.New(false)
	x.Element(op.Name+"Response", svc.XMLNamespace, func() {
		members := func() {
			if out != nil {
				out.Serialize(x)
			}
		}
		if op.ResultWrapper != "" {
			x.Element(op.ResultWrapper, "", members)
		} else {
			members()
		}
		x.Element("ResponseMetadata", "", func() { x.Text("RequestId", requestID) })
	})
	return x.Respond(w, http.StatusOK, contentType, requestID)
}

// EncodeError implements smithy.Protocol.
func (*Protocol) EncodeError(w http.ResponseWriter, svc *smithy.Service, err smithy.APIError, requestID string) error {
	namespace := ""
	if svc != nil {
		namespace = svc.XMLNamespace
	}
	x := xmlout.New(false)
	x.Element("ErrorResponse", namespace, func() {
		x.Element("Error", "", func() {
			x.Text("Type", err.Fault().String())
			x.Text("Code", err.ErrorCode())
			x.Text("Message", err.ErrorMessage())
		})
		x.Text("RequestId", requestID)
	})
	return x.Respond(w, err.HTTPStatus(), contentType, requestID)
}

// UnknownOperation implements smithy.Protocol.
func (*Protocol) UnknownOperation(svc *smithy.Service, name string) smithy.APIError {
	if name == "" {
		return smithy.NewError(http.StatusBadRequest, "MissingAction", "The request must contain the parameter Action")
	}
	version := ""
	if svc != nil {
		version = svc.APIVersion
	}
	return smithy.NewError(http.StatusBadRequest, "InvalidAction",
		"Could not find operation "+smithy.Clip(name)+" for version "+version)
}
