package store

import "errors"

// Classes of failure. Test with errors.Is.
var (
	// ErrNotFound says that a record to edit does not exist.
	ErrNotFound = errors.New("record not found")
	// ErrConflict says that a transaction kept losing against others until its context ended. Nothing was written.
	ErrConflict = errors.New("conflict with concurrent writes")
	// ErrTooLarge says that a transaction writes or guards more than one commit can carry (128 operations, 1.5 MiB).
	// Nothing was written. [Batch] splits work that need not be atomic.
	ErrTooLarge = errors.New("transaction is too large")
	// ErrFenced says that the writer has lost the leadership its context was fenced by. Nothing was written.
	ErrFenced = errors.New("writer is no longer the leader")
	// ErrBadRecord says that a stored record cannot be decoded. The store does not run with records it cannot read.
	ErrBadRecord = errors.New("record cannot be decoded")
	// ErrStopped says that the store's Run has ended.
	ErrStopped = errors.New("store has stopped")
)
