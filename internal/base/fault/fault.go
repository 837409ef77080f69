package fault

import (
	"errors"
	"fmt"
)

// Class is a kind of failure. Classes are sentinel errors: use errors.Is.
type Class struct{ name string }

// Error returns the name of the class.
func (c *Class) Error() string { return c.name }

// The classes. They are compared by identity.
var (
	NotFound       = &Class{"not found"}       // what was named does not exist
	Conflict       = &Class{"conflict"}        // the state forbids it; trying again unchanged does not help
	Invalid        = &Class{"invalid"}         // the caller's input is wrong
	Denied         = &Class{"denied"}          // the caller may not
	Throttled      = &Class{"throttled"}       // too many or too much
	Unavailable    = &Class{"unavailable"}     // not now; trying again helps
	NotImplemented = &Class{"not implemented"} // Berth cannot do it yet
)

type fault struct {
	class *Class
	msg   string
	cause error
}

func (f *fault) Error() string {
	if f.cause != nil {
		return f.msg + ": " + f.cause.Error()
	}
	return f.msg
}

func (f *fault) Is(target error) bool { return target == error(f.class) }
func (f *fault) Unwrap() error        { return f.cause }

// New returns an error of the given class with a formatted message.
func New(class *Class, format string, args ...any) error {
	return &fault{class: class, msg: fmt.Sprintf(format, args...)}
}

// Wrap gives err a class and says what was tried. It returns nil for nil.
func Wrap(class *Class, err error, what string) error {
	if err == nil {
		return nil
	}
	return &fault{class: class, msg: what, cause: err}
}

// ClassOf returns the outermost class in err's chain, or nil when it has none.
func ClassOf(err error) *Class {
	if f, ok := errors.AsType[*fault](err); ok {
		return f.class
	}
	return nil
}
