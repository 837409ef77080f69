package sigv4

import "net/http"

// Reason says why a request was not believed.
type Reason int

// The reasons. Which code, status and text each of them becomes depends on the
// Family of the service that was called.
const (
	Missing        Reason = iota // there is no signature at all
	Incomplete                   // the signature's parameters cannot be read
	MalformedQuery               // the query string cannot be parsed, so it cannot be canonical
	UnknownKey                   // no such access key, or its session token is wrong
	TokenExpired                 // temporary credentials that have ended
	OutOfScope                   // signed for another region, service, day or terminator
	OutOfTime                    // signed too long ago or for the future
	Mismatch                     // the signature is not the one the secret makes of this request
)

// Error is a request that was not believed. Detail is AWS's sentence where it
// depends on the request, and empty where the sentence is the same every time.
type Error struct {
	Reason Reason
	Detail string
}

// Error describes the refusal for a log.
func (e *Error) Error() string {
	message := "sigv4: " + answers[e.Reason][JSON].Code
	if e.Detail != "" {
		message += ": " + e.Detail
	}
	return message
}

// Family is a group of services that name authentication failures alike.
type Family int

// The families.
const (
	JSON  Family = iota // awsJson and the other JSON or CBOR protocols: …Exception, mostly 400
	Query               // iam, sts, elbv2, autoscaling: no suffix, mostly 403
	EC2                 // ec2: AuthFailure for nearly everything
)

// Answer is what a client is told.
type Answer struct {
	Code    string
	Message string
	Status  int
}

// Answer returns what a service of family f says about e.
func (e *Error) Answer(f Family) Answer {
	a := answers[e.Reason][f]
	if a.Message == "" {
		a.Message = e.Detail
	}
	return a
}

const (
	textMissing  = "Missing Authentication Token"
	textRequest  = "Request is missing Authentication Token"
	textInvalid  = "The security token included in the request is invalid."
	textExpired  = "The security token included in the request is expired"
	textMismatch = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	textEC2      = "AWS was not able to validate the provided access credentials"
)

// answers is the whole difference between the families. An empty message means
// that the error's detail is the message.
var answers = map[Reason][3]Answer{
	Missing: {
		JSON:  {"MissingAuthenticationTokenException", textMissing, http.StatusBadRequest},
		Query: {"MissingAuthenticationToken", textRequest, http.StatusForbidden},
		EC2:   {"MissingAuthenticationToken", textRequest, http.StatusForbidden},
	},
	Incomplete: {
		JSON:  {"IncompleteSignatureException", "", http.StatusBadRequest},
		Query: {"IncompleteSignature", "", http.StatusBadRequest},
		EC2:   {"IncompleteSignature", "", http.StatusBadRequest},
	},
	MalformedQuery: {
		JSON:  {"MalformedQueryStringException", "", http.StatusBadRequest},
		Query: {"MalformedQueryString", "", http.StatusBadRequest},
		EC2:   {"MalformedQueryString", "", http.StatusBadRequest},
	},
	UnknownKey: {
		JSON:  {"UnrecognizedClientException", textInvalid, http.StatusBadRequest},
		Query: {"InvalidClientTokenId", textInvalid, http.StatusForbidden},
		EC2:   {"AuthFailure", textEC2, http.StatusUnauthorized},
	},
	TokenExpired: {
		JSON:  {"ExpiredTokenException", textExpired, http.StatusBadRequest},
		Query: {"ExpiredToken", textExpired, http.StatusForbidden},
		EC2:   {"RequestExpired", "Request has expired.", http.StatusBadRequest},
	},
	OutOfScope: {
		JSON:  {"InvalidSignatureException", "", http.StatusBadRequest},
		Query: {"SignatureDoesNotMatch", "", http.StatusForbidden},
		EC2:   {"AuthFailure", textEC2, http.StatusUnauthorized},
	},
	OutOfTime: {
		JSON:  {"InvalidSignatureException", "", http.StatusBadRequest},
		Query: {"SignatureDoesNotMatch", "", http.StatusForbidden},
		EC2:   {"AuthFailure", textEC2, http.StatusUnauthorized},
	},
	Mismatch: {
		JSON:  {"InvalidSignatureException", textMismatch, http.StatusBadRequest},
		Query: {"SignatureDoesNotMatch", textMismatch, http.StatusForbidden},
		EC2:   {"AuthFailure", textEC2, http.StatusUnauthorized},
	},
}
