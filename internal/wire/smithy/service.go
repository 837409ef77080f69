package smithy

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Service is one AWS service's table: its names on the wire and the operations
// that we serve. Generated, immutable.
type Service struct {
	Name           string // model name, also the key of its scope file: "ecs", "logs"
	ID             string // the SDKs' service id: "ECS", "CloudWatch Logs"
	SigningName    string // service in the SigV4 credential scope: "ecs"
	EndpointPrefix string // first label of the host: "ecs", "api.ecr"
	APIVersion     string // "2014-11-13"; the Version parameter of query protocols
	Protocol       string // "json", "query", "ec2", … as in the model
	JSONVersion    string // "1.0" or "1.1" for JSON protocols, else ""
	TargetPrefix   string // X-Amz-Target before the dot, JSON protocols
	XMLNamespace   string // xmlns of responses, query protocols
	Codes          Codes  // the service's codes for what is refused before a provider runs
	Operations     []*Operation
}

// Operation finds an operation by name, exactly as on the wire.
func (s *Service) Operation(name string) (*Operation, bool) {
	i, ok := slices.BinarySearchFunc(s.Operations, name, func(op *Operation, name string) int {
		return strings.Compare(op.Name, name)
	})
	if !ok {
		return nil, false
	}
	return s.Operations[i], true
}

// Operation is one row of the table. Generated, immutable.
type Operation struct {
	Name          string
	Input, Output *Schema
	NewInput      func() Shape
	NewOutput     func() Shape
	Errors        []*Schema // modelled errors
	ResultWrapper string    // element around a query response's members, "" for none
	ReadOnly      bool      // the model says that it changes nothing
	Codes         Codes     // Service.Codes unless the scope file says otherwise

	// Invoke calls the operation's method on impl, which must be the generated
	// package's Service. in is what NewInput made; out is never nil without an
	// error.
	Invoke func(ctx context.Context, impl any, in Shape) (out Shape, err error)
}

// Codes are the error codes with which a service refuses what its model
// forbids. They are data because services differ while the checks do not.
type Codes struct {
	Malformed string  // bytes that do not decode: "SerializationException"
	Violation string  // a broken constraint: "InvalidParameterException"
	Missing   string  // a required member that is absent
	Wording   Wording // whose sentences tell of violations
}

// Wording selects the sentences of a ValidationError.
type Wording uint8

const (
	// WordingCoral is the sentence of most services: "1 validation error
	// detected: Value 'x' at 'name' failed to satisfy constraint: Member must …".
	WordingCoral Wording = iota
	// WordingEC2 speaks of parameters: "The request must contain the parameter
	// X", "Value (x) for parameter X is invalid. …", the first violation only.
	WordingEC2
	// WordingECR has no count and no values: "Invalid parameter at 'name' failed
	// to satisfy constraint: 'Member must …'", the first violation only.
	WordingECR
)

// Bind makes an Operation's Invoke from a method expression such as
// Service.RunTask.
func Bind[S, I, O any, PI interface {
	*I
	Shape
}, PO interface {
	*O
	Shape
}](method func(S, context.Context, PI) (PO, error)) func(context.Context, any, Shape) (Shape, error) {
	return func(ctx context.Context, impl any, in Shape) (Shape, error) {
		s, ok := impl.(S)
		if !ok {
			return nil, fmt.Errorf("invoke: %T does not implement the service of %T", impl, in)
		}
		input, ok := in.(PI)
		if !ok {
			return nil, fmt.Errorf("invoke: input is %T, not %T", in, input)
		}
		out, err := method(s, ctx, input)
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = new(O)
		}
		return out, nil
	}
}
