package secretsmanager

import (
	"errors"
	"fmt"
	"net/http"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/keys"
	"berth.dev/berth/internal/wire/api/secretsmanagerapi"
	"berth.dev/berth/internal/wire/smithy"
)

func invalidParameter(format string, args ...any) error {
	return &secretsmanagerapi.InvalidParameterException{Message: new(fmt.Sprintf(format, args...))}
}

func invalidRequest(format string, args ...any) error {
	return &secretsmanagerapi.InvalidRequestException{Message: new(fmt.Sprintf(format, args...))}
}

func exists(format string, args ...any) error {
	return &secretsmanagerapi.ResourceExistsException{Message: new(fmt.Sprintf(format, args...))}
}

func notFound() error {
	return &secretsmanagerapi.ResourceNotFoundException{Message: new("Secrets Manager can't find the specified secret.")}
}

func noVersion(id string) error {
	return &secretsmanagerapi.ResourceNotFoundException{Message: new("Secrets Manager can't find the specified secret value for VersionId: " + id)}
}

func noStage(label string) error {
	return &secretsmanagerapi.ResourceNotFoundException{Message: new("Secrets Manager can't find the specified secret value for staging label: " + label)}
}

func markedForDeletion() error {
	return invalidRequest("You can't perform this operation on the secret because it was marked for deletion.")
}

// invalidName is not among the errors of the model; AWS answers with it all the
// same.
func invalidName() error {
	return smithy.NewError(http.StatusBadRequest, "ValidationException",
		"Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
}

func noToken() error {
	return invalidRequest("You must provide a ClientRequestToken value. We recommend a UUID-type value.")
}

func badNextToken() error {
	return &secretsmanagerapi.InvalidNextTokenException{Message: new("The NextToken value is invalid.")}
}

// sealing words why a value could not be sealed. What the key's policy refuses
// is not told in detail.
func sealing(err error) error {
	if reason, ok := keyFailure(err); ok {
		return &secretsmanagerapi.EncryptionFailure{Message: new(
			"Secrets Manager can't encrypt the protected secret text using the provided KMS key. Check that the KMS key is available, enabled, and not in an invalid state. (" + reason + ")")}
	}
	return denied(err)
}

// opening words why a value could not be opened.
func opening(err error) error {
	if reason, ok := keyFailure(err); ok {
		return &secretsmanagerapi.DecryptionFailure{Message: new(
			"Secrets Manager can't decrypt the protected secret text using the provided KMS key. (" + reason + ")")}
	}
	return denied(err)
}

func keyFailure(err error) (reason string, ok bool) {
	failed, ok := errors.AsType[*keys.Error](err)
	if !ok {
		return "", false
	}
	return failed.Error(), true
}

func denied(err error) error {
	if errors.Is(err, fault.Denied) {
		return fault.New(fault.Denied, "Access to KMS is not allowed")
	}
	return err
}
