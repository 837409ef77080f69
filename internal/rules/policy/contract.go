package policy

import "errors"

// Document is a parsed policy. It is immutable.
type Document struct{}

// Parse reads a document and checks all that AWS checks when it is stored. Its
// error is a *SyntaxError.
func Parse(kind Kind, text string) (*Document, error) { return nil, errors.New("not built") }

// SyntaxError is what is wrong with a document, in the words of
// MalformedPolicyDocument.
type SyntaxError struct{ Message string }

// Error returns the message.
func (e *SyntaxError) Error() string { return e.Message }

// Outcome is what was decided.
type Outcome int

// The outcomes.
const (
	ImplicitDeny Outcome = iota
	ExplicitDeny
	Allowed
)

// Decision is an outcome and its reason.
type Decision struct {
	Outcome Outcome
	// Layer is the kind of policy that decided, in AWS's words:
	// "identity-based policy", "resource-based policy", "permissions boundary",
	// "session policy".
	Layer string
	// By is the statement that decided; nil for an implicit deny.
	By *Matched
	// Matched are all statements that matched, for simulation.
	Matched []Matched
	// MissingContext are keys that conditions asked for and the request has not.
	MissingContext []string
}

// Matched is a statement that matched.
type Matched struct {
	Source Source
	Index  int // of the statement
	Sid    string
	Deny   bool
}

// Evaluate decides as AWS does within one account and across accounts.
func Evaluate(req Request, p Policies) Decision { return Decision{} }

// Sentence is how AWS words the refusal: "User: … is not authorized to
// perform: … on resource: … because no identity-based policy allows the …
// action".
func (d Decision) Sentence(req Request) string { return "" }
