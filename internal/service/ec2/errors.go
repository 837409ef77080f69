package ec2

import (
	"fmt"
	"net/http"

	"berth.dev/berth/internal/wire/smithy"
)

func failure(code, format string, args ...any) error {
	return smithy.NewError(http.StatusBadRequest, code, fmt.Sprintf(format, args...))
}

// dryRun is EC2's answer to a permitted request that only asks whether it is.
func dryRun(asked *bool) error {
	if asked == nil || !*asked {
		return nil
	}
	return smithy.NewError(http.StatusPreconditionFailed, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
}
