package keys

import (
	"fmt"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/model"
)

// Reasons why a key cannot be used. Test with errors.Is; their texts are the
// names of KMS's exceptions, which services quote.
var (
	ErrNotFound          = fault.New(fault.NotFound, "NotFoundException")
	ErrDisabled          = fault.New(fault.Conflict, "DisabledException")
	ErrPendingDeletion   = fault.New(fault.Conflict, "KMSInvalidStateException")
	ErrInvalidUsage      = fault.New(fault.Invalid, "InvalidKeyUsageException")
	ErrInvalidCiphertext = fault.New(fault.Invalid, "InvalidCiphertextException")
)

// Error says why a key cannot be used, in KMS's words.
type Error struct {
	// Reason is one of those above; Reason.Error() is the exception's name.
	Reason error
	// Message is KMS's sentence. It is empty for ErrInvalidCiphertext, of which
	// KMS says nothing: neither what was wrong nor which key it was.
	Message string
}

// Error returns KMS's sentence, or the exception's name where there is none.
func (e *Error) Error() string {
	if e.Message == "" {
		return e.Reason.Error()
	}
	return e.Message
}

// Unwrap returns the reason, and with it its fault class.
func (e *Error) Unwrap() error { return e.Reason }

func notFound(format string, args ...any) error {
	return &Error{Reason: ErrNotFound, Message: fmt.Sprintf(format, args...)}
}

// invalidCiphertext is the one answer to all that does not open.
func invalidCiphertext() error { return &Error{Reason: ErrInvalidCiphertext} }

// Usable says whether a key may do an operation, by the operation's name and
// the usage that it takes.
func (k *Keys) Usable(key *model.KMSKey, usage, operation string) error {
	switch {
	case key.State == model.KMSKeyDisabled:
		return &Error{Reason: ErrDisabled, Message: key.ARN + " is disabled."}
	case key.State == model.KMSKeyPendingDeletion:
		return &Error{Reason: ErrPendingDeletion, Message: key.ARN + " is pending deletion."}
	case key.Usage != usage:
		return &Error{Reason: ErrInvalidUsage, Message: fmt.Sprintf("%s key usage is %s which is not valid for %s.", key.ARN, key.Usage, operation)}
	}
	return nil
}
