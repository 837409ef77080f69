package runtime

import (
	"context"
	"errors"
	"io"
	"syscall"
)

// ErrProgram says that a program cannot be run in a container: it is not there, or is nothing that can be executed. The
// text is Docker's, and names the program.
var ErrProgram = errors.New("the program cannot be run")

// ProgramError is an ErrProgram with its text.
type ProgramError struct {
	Message string
	Err     error
}

// Error returns Message.
func (e *ProgramError) Error() string { return e.Message }

// Is reports that it is an ErrProgram.
func (e *ProgramError) Is(target error) bool { return target == ErrProgram }

// Unwrap returns the cause.
func (e *ProgramError) Unwrap() error { return e.Err }

// AttachSpec is a program to run inside a running container, with somebody at its other end.
type AttachSpec struct {
	ExecSpec
	// TTY gives the program a terminal of so many rows and columns; zero leaves its size unknown. Without one, standard
	// output and error are two streams.
	TTY           bool
	Rows, Columns uint16
}

// Process is a program that Attach has started. Between it and its streams there is what pipes of the kernel hold and
// no more: a program whose output nobody reads waits. Each stream is for one user at a time; everything else may be
// called concurrently.
type Process interface {
	// Stdin is what the program reads. Closing it makes the program read the end, except on a terminal.
	Stdin() io.WriteCloser
	// Stdout is what the program says; io.EOF comes when neither it nor anything that it has started can say more.
	Stdout() io.Reader
	// Stderr is nil with a terminal.
	Stderr() io.Reader
	// Resize gives the terminal another size, and does nothing without one.
	Resize(ctx context.Context, rows, columns uint16) error
	// Signal goes to the program alone. It is not an error when that has ended.
	Signal(ctx context.Context, sig syscall.Signal) error
	// Wait returns the program's exit code, 128 plus the signal's number when a signal ended it, as the end of its
	// container does. What it has started may still run.
	Wait(ctx context.Context) (code uint32, err error)
	// Kill kills the program and everything that it has started, and returns when they are gone. What they have said can
	// still be read.
	Kill(ctx context.Context) error
	// Close does what Kill does, and leaves nothing behind. It ends reads and writes that are under way. It may be called
	// more than once.
	Close() error
}
