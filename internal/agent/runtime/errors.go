package runtime

import "errors"

// Errors that callers act upon; they arrive wrapped.
var (
	// ErrNotFound says that no container of that ID exists.
	ErrNotFound = errors.New("container not found")
	// ErrConflict says that a container of that ID exists but was made from another Spec.
	ErrConflict = errors.New("container exists with another specification")
	// ErrNotRunning says that the verb needs a running container.
	ErrNotRunning = errors.New("container is not running")
	// ErrInvalid says that a Spec asks for something that can never work, whoever tries again: a user that is not in
	// the image, an unknown signal, capability or ulimit.
	ErrInvalid = errors.New("invalid container specification")
)

// PullClass sorts the causes of a failed pull.
type PullClass string

// The classes of PullError. They decide whether trying again can help: Unreachable and Other may pass, the rest do not.
const (
	PullNotFound     PullClass = "NotFound"     // the registry does not have it
	PullUnauthorized PullClass = "Unauthorized" // credentials are missing, wrong, or insufficient; many registries say so for what does not exist
	PullUnreachable  PullClass = "Unreachable"  // no answer: name, route, refusal, TLS, time-out
	PullPlatform     PullClass = "Platform"     // not made for this host's architecture
	PullInvalid      PullClass = "Invalid"      // the reference itself cannot be read
	PullCorrupt      PullClass = "Corrupt"      // what came is not what its digest says, or cannot be unpacked
	PullTooLarge     PullClass = "TooLarge"     // it unpacks to more than this host allows
	PullNoSpace      PullClass = "NoSpace"      // the disk is full
	PullOther        PullClass = "Other"
)

// PullError says why an image could not be had.
type PullError struct {
	Ref   string
	Class PullClass
	// Message is in AWS's words: what follows "CannotPullContainerError: " in a stopped task's reason.
	Message string
	// Err is the cause as the registry client gave it.
	Err error
}

// Error returns Message.
func (e *PullError) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *PullError) Unwrap() error { return e.Err }

// Temporary tells whether trying again may help.
func (e *PullError) Temporary() bool { return e.Class == PullUnreachable || e.Class == PullOther }

// StartError says why a container's process could not be started.
type StartError struct {
	ID string
	// Message is in the words that Fargate uses: what follows "CannotStartContainerError: " in a stopped task's reason.
	Message string
	Err     error
}

// Error returns Message.
func (e *StartError) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *StartError) Unwrap() error { return e.Err }
