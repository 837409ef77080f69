package smithy

import (
	"net/http"
	"strconv"
	"strings"
)

// Fault says whose fault an error is.
type Fault uint8

const (
	// FaultClient: the request cannot be served as it is.
	FaultClient Fault = iota
	// FaultServer: we failed; the same request may succeed later.
	FaultServer
)

// String is the word of query protocols: "Sender" or "Receiver".
func (f Fault) String() string {
	if f == FaultServer {
		return "Receiver"
	}
	return "Sender"
}

// APIError is an error that clients may see. Generated errors, *Error,
// *SerializationError and *ValidationError implement it; an error that does not
// is an internal failure, whose text never leaves the process.
type APIError interface {
	error
	ErrorCode() string    // as on the wire: "ClusterNotFoundException"
	ErrorMessage() string // may be empty
	HTTPStatus() int
	Fault() Fault
}

// Error is an APIError that no model knows: signature errors, throttling,
// internal failures, codes of services that do not model theirs (EC2).
type Error struct {
	Code    string
	Message string
	Status  int // HTTP; decides the fault
}

// NewError makes an *Error.
func NewError(status int, code, message string) *Error {
	return &Error{Code: code, Message: message, Status: status}
}

// NotImplemented is the error of an operation that is in scope but has no
// provider: HTTP 501, which SDKs do not retry.
func NotImplemented(service, operation string) *Error {
	return NewError(http.StatusNotImplemented, "NotImplemented", service+":"+operation+" is not implemented by this server")
}

func (e *Error) Error() string        { return errorText(e.Code, e.Message) }
func (e *Error) ErrorCode() string    { return e.Code }    // ErrorCode implements APIError.
func (e *Error) ErrorMessage() string { return e.Message } // ErrorMessage implements APIError.
func (e *Error) HTTPStatus() int      { return e.Status }  // HTTPStatus implements APIError.

// Fault implements APIError: the server's from status 500 on.
func (e *Error) Fault() Fault {
	if e.Status >= http.StatusInternalServerError {
		return FaultServer
	}
	return FaultClient
}

// SerializationError tells that a request's bytes do not decode into the
// operation's input. HTTP 400.
type SerializationError struct {
	Code    string // Codes.Malformed of the operation
	Message string // may be empty, as AWS's often is
}

func (e *SerializationError) Error() string        { return errorText(e.Code, e.Message) }
func (e *SerializationError) ErrorCode() string    { return e.Code }                // ErrorCode implements APIError.
func (e *SerializationError) ErrorMessage() string { return e.Message }             // ErrorMessage implements APIError.
func (e *SerializationError) HTTPStatus() int      { return http.StatusBadRequest } // HTTPStatus implements APIError.
func (e *SerializationError) Fault() Fault         { return FaultClient }           // Fault implements APIError.

// ValidationError tells which constraints of the model an input breaks. HTTP
// 400. Made by Validate.
type ValidationError struct {
	Code       string // Codes.Missing if all that is wrong is what is absent, else Codes.Violation
	Violations []Violation

	wording Wording
}

func (e *ValidationError) Error() string     { return errorText(e.Code, e.ErrorMessage()) }
func (e *ValidationError) ErrorCode() string { return e.Code }                // ErrorCode implements APIError.
func (e *ValidationError) HTTPStatus() int   { return http.StatusBadRequest } // HTTPStatus implements APIError.
func (e *ValidationError) Fault() Fault      { return FaultClient }           // Fault implements APIError.

// ErrorMessage implements APIError: "2 validation errors detected: …; …", or
// the first violation's sentence in the wordings of EC2 and ECR.
func (e *ValidationError) ErrorMessage() string {
	if e.wording == WordingEC2 || e.wording == WordingECR {
		return e.Violations[0].Text
	}
	texts := make([]string, len(e.Violations))
	for i, v := range e.Violations {
		texts[i] = v.Text
	}
	noun := "errors"
	if len(texts) == 1 {
		noun = "error"
	}
	return strconv.Itoa(len(texts)) + " validation " + noun + " detected: " + strings.Join(texts, "; ")
}

func errorText(code, message string) string {
	if message == "" {
		return code
	}
	return code + ": " + message
}

// ErrorText is the text of generated errors: "Code: message".
func ErrorText(e APIError) string { return errorText(e.ErrorCode(), e.ErrorMessage()) }
