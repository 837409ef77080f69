package sts

import (
	"fmt"
	"net/http"

	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/smithy"
)

// denied is what STS says with status 403.
func denied(format string, args ...any) error {
	return smithy.NewError(http.StatusForbidden, "AccessDenied", fmt.Sprintf(format, args...))
}

func invalid(format string, args ...any) error {
	return smithy.NewError(http.StatusBadRequest, "ValidationError", fmt.Sprintf(format, args...))
}

func badToken(format string, args ...any) error {
	return &stsapi.InvalidIdentityTokenException{Message: new(fmt.Sprintf(format, args...))}
}
