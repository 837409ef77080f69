package audit

import (
	"slices"
	"strings"

	"berth.dev/berth/internal/wire/smithy"
)

// reading are the verbs of operations that change nothing. Most models do not
// say which those are. Encrypt and its kin use keys, and AssumeRole and its kin
// give out credentials of which nothing is stored; CloudTrail calls both
// readOnly.
var reading = []string{
	"Get", "List", "Describe", "BatchGet", "Lookup", "Discover", "Filter", "Search", "Simulate", "Validate", "Verify", "Check",
	"Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateMac", "GenerateRandom", "Assume", "Decode",
}

// Reads reports whether an operation changes nothing; one that does not exist
// does not.
func Reads(op *smithy.Operation) bool {
	if op == nil || op.ReadOnly {
		return true
	}
	return slices.ContainsFunc(reading, func(verb string) bool { return strings.HasPrefix(op.Name, verb) })
}
