package taskspec

import "fmt"

// Class is the AWS error that a problem is answered with.
type Class string

// The classes. ClientException is for what is wrong with a definition,
// InvalidParameterException for what is wrong with a request that uses one.
const (
	ClientException           Class = "ClientException"
	InvalidParameterException Class = "InvalidParameterException"
)

// Error is a problem with a definition or an override, ready to be shown to
// the user.
type Error struct {
	Class   Class
	Message string
}

// Error returns the message alone, as the user sees it.
func (e *Error) Error() string { return e.Message }

func client(format string, args ...any) error {
	return &Error{Class: ClientException, Message: fmt.Sprintf(format, args...)}
}

func parameter(format string, args ...any) error {
	return &Error{Class: InvalidParameterException, Message: fmt.Sprintf(format, args...)}
}
