package iam

import (
	"fmt"
	"net/http"

	"berth.dev/berth/internal/wire/smithy"
)

func failure(status int, code, format string, args ...any) error {
	return smithy.NewError(status, code, fmt.Sprintf(format, args...))
}

// noSuch is the refusal of what does not exist.
func noSuch(format string, args ...any) error {
	return failure(http.StatusNotFound, "NoSuchEntity", format, args...)
}

// exists is the refusal of a name that is taken.
func exists(format string, args ...any) error {
	return failure(http.StatusConflict, "EntityAlreadyExists", format, args...)
}

// inUse is the refusal to delete what something refers to.
func inUse(message string) error {
	return failure(http.StatusConflict, "DeleteConflict", "%s", message)
}

func limitExceeded(format string, args ...any) error {
	return failure(http.StatusConflict, "LimitExceeded", format, args...)
}

// overQuota names a quota as AWS does.
func overQuota(name string, quota int) error {
	return limitExceeded("Cannot exceed quota for %s: %d", name, quota)
}

func invalidInput(format string, args ...any) error {
	return failure(http.StatusBadRequest, "InvalidInput", format, args...)
}

// invalid is the refusal of a value for itself, before anything is looked at.
func invalid(format string, args ...any) error {
	return failure(http.StatusBadRequest, "ValidationError", format, args...)
}

func malformed(message string) error {
	return failure(http.StatusBadRequest, "MalformedPolicyDocument", "%s", message)
}

func unmodifiable(role string) error {
	return failure(http.StatusBadRequest, "UnmodifiableEntity",
		"Cannot perform the operation on the protected role '%s' - this role is only modifiable by AWS", role)
}
