package execution

import (
	"errors"
	"strings"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/secretref"
	"berth.dev/berth/internal/wire/smithy"
)

// resourceFailed begins the stoppedReason of a task whose secrets or logins
// cannot be had [OBS].
const resourceFailed = "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: "

// The tails of it, by what was asked. One refusal is final here, so the number
// of retries is always AWS's usual one.
const (
	retried        = "service call has been retried 1 time(s): "
	fromASM        = "unable to retrieve secret from asm: " + retried
	fromSSM        = "unable to retrieve secrets from ssm: " + retried
	registryLogins = "unable to get registry auth from asm: " + retried
)

// answered is what a service said, "Code: message". An error that is not an
// answer of the client's making says that trying again may help.
func answered(err error) (string, bool) {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.Fault() == smithy.FaultServer || strings.HasPrefix(api.ErrorCode(), "Throttling") {
		return "", false
	}
	return api.ErrorCode() + ": " + api.ErrorMessage(), true
}

// onEC2 is true when the open source agent's words are those that users see.
func (f *fetcher) onEC2() bool { return f.task.LaunchType == model.LaunchEC2 }

// secretFailed words that GetSecretValue was refused.
func (f *fetcher) secretFailed(w wanted, err error) error {
	said, final := answered(err)
	if !final {
		return err
	}
	if w.registry {
		return f.secretUnusable(w, "asm fetching secret from the service for "+w.ref.ID+": "+said)
	}
	if f.onEC2() {
		return f.secretUnusable(w, said)
	}
	return f.secretUnusable(w, "failed to fetch secret "+w.ref.ID+" from secrets manager: "+said)
}

// secretUnusable words that a secret of Secrets Manager cannot be given.
func (f *fetcher) secretUnusable(w wanted, why string) error {
	switch {
	case f.onEC2() && w.registry:
		return refused("CannotPullContainerAuthError: %s", why) // (uncertain) [AG]
	case f.onEC2():
		return refused("ResourceInitializationError: Fetching secret data from AWS Secrets Manager in region %s: secret %s: %s", f.e.cfg.Scope.Region, w.ref.ID, why)
	case w.registry:
		return refused("%s%s%s", resourceFailed, registryLogins, why)
	}
	return refused("%s%s%s", resourceFailed, fromASM, why)
}

// keyMissing words that a secret has no such member. AWS's text does not say
// which secret; what is not JSON has no member either, and why it is not stays
// unsaid, because that would show a piece of it.
func (f *fetcher) keyMissing(ref secretref.Ref) error {
	why := "retrieved secret from Secrets Manager did not contain json key " + ref.Key
	if !f.onEC2() {
		why += " (secret " + ref.ID + ")"
	}
	return f.secretUnusable(wanted{ref: ref}, why)
}

// parametersFailed words that GetParameters was refused.
func (f *fetcher) parametersFailed(err error) error {
	said, final := answered(err)
	if !final {
		return err
	}
	if f.onEC2() {
		return refused("ResourceInitializationError: Fetching secret data from SSM Parameter Store in %s: %s", f.e.cfg.Scope.Region, said)
	}
	return refused("%s%s%s", resourceFailed, fromSSM, said)
}

// parametersMissing words that parameters do not exist.
func (f *fetcher) parametersMissing(names []string) error {
	if f.onEC2() {
		return refused("ResourceInitializationError: Fetching secret data from SSM Parameter Store in %s: invalid parameters: %s", f.e.cfg.Scope.Region, strings.Join(names, ","))
	}
	return refused("%s%sinvalid ssm parameters: %s", resourceFailed, fromSSM, strings.Join(names, ","))
}
