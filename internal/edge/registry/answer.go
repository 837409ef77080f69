package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/distribution/distribution/v3/registry/api/errcode"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/imagestore"
)

// problem is an error with a status that its code does not have by itself.
type problem struct {
	status int
	said   errcode.Error
}

func (p problem) Error() string { return p.said.Error() }

var (
	errNoSuchPath = problem{http.StatusNotFound, errcode.ErrorCodeUnsupported.WithMessage("The registry has nothing at this path.")}
	errBusy       = errcode.ErrorCodeTooManyRequests.WithMessage("Too many uploads to the repository at a time. Try again.")
	errFull       = problem{http.StatusInsufficientStorage, errcode.ErrorCodeUnavailable.WithMessage("The registry's disk is full. Nothing of this request was kept.")}
	errGone       = errors.New("the client is gone")
)

// translate words an error of the image store as AWS's registry does
// (behaviour/exec-and-more.md §8).
func (c *call) translate(err error) problem {
	says := func(code errcode.ErrorCode, format string, args ...any) problem {
		return problem{code.Descriptor().HTTPStatusCode, code.WithMessage(fmt.Sprintf(format, args...))}
	}
	if p, ok := errors.AsType[problem](err); ok {
		return p
	}
	if e, ok := errors.AsType[errcode.Error](err); ok {
		return problem{e.Code.Descriptor().HTTPStatusCode, e}
	}
	if code, ok := errors.AsType[errcode.ErrorCode](err); ok {
		return says(code, "%s", code.Message())
	}
	switch {
	case errors.Is(err, imagestore.ErrNoSpace):
		return errFull
	case errors.Is(err, imagestore.ErrNoRepository):
		return says(errcode.ErrorCodeNameUnknown, "The repository with name '%s' does not exist in the registry with id '%s'", c.name, c.Scope.AccountID)
	case errors.Is(err, imagestore.ErrNoImage):
		return says(errcode.ErrorCodeManifestUnknown, "Requested image not found")
	case errors.Is(err, imagestore.ErrNoLayer):
		return says(errcode.ErrorCodeBlobUnknown, "%s", errcode.ErrorCodeBlobUnknown.Message())
	case errors.Is(err, imagestore.ErrNoUpload):
		return says(errcode.ErrorCodeBlobUploadUnknown, "%s", errcode.ErrorCodeBlobUploadUnknown.Message())
	case errors.Is(err, imagestore.ErrDigest):
		return says(errcode.ErrorCodeDigestInvalid, "%s", errcode.ErrorCodeDigestInvalid.Message())
	case errors.Is(err, imagestore.ErrRange):
		return says(errcode.ErrorCodeRangeInvalid, "%v", err)
	case errors.Is(err, imagestore.ErrTooLarge):
		return problem{http.StatusRequestEntityTooLarge, errcode.ErrorCodeManifestInvalid.WithMessage(err.Error())}
	case errors.Is(err, imagestore.ErrManifest):
		return says(errcode.ErrorCodeManifestInvalid, "%v", err)
	case errors.Is(err, imagestore.ErrReferenced) && c.r.Method == http.MethodDelete:
		// BatchDeleteImage's ImageReferencedByManifestList.
		return problem{http.StatusConflict, errcode.ErrorCodeDenied.WithMessage("Requested image referenced by manifest list: " + c.rest)}
	case errors.Is(err, imagestore.ErrReferenced):
		return says(errcode.ErrorCodeManifestBlobUnknown, "%v", err)
	case errors.Is(err, imagestore.ErrTagImmutable):
		return says(errcode.ErrorCodeTagInvalid, "The image tag '%s' already exists in the '%s' repository and cannot be overwritten because the repository is immutable.", c.rest, c.name)
	case errors.Is(err, imagestore.ErrTag):
		return says(errcode.ErrorCodeTagInvalid, "%v", err)
	}
	return says(errcode.ErrorCodeUnknown, "The request failed. Its id is %s.", c.id)
}

// fail answers with an error. Texts that are not meant for clients go to the log.
func (c *call) fail(err error) {
	if errors.Is(err, errUnauthorized) {
		c.audit("", "", problem{http.StatusUnauthorized, errcode.ErrorCodeUnauthorized.WithMessage("Not Authorized")})
		c.challenge()
		return
	}
	p := c.translate(err)
	if p.status >= http.StatusInternalServerError && c.r.Context().Err() == nil {
		c.Logger.Error("a request to the registry failed", telemetry.RequestID, c.id, "method", c.r.Method,
			telemetry.Path, shorten(c.r.URL.Path), telemetry.Error, err)
	}
	if p.said.Code == errcode.ErrorCodeDenied {
		c.audit("", "", p)
	}
	if c.paced.began || errors.Is(err, errGone) || errors.Is(err, context.Canceled) && c.r.Context().Err() != nil {
		return // nobody listens, or it is too late to say anything else
	}
	c.w.Header().Del("Content-Length")
	_ = c.json(p.status, errcode.Errors{p.said}) // a client that is gone misses nothing
}

func (c *call) json(status int, body any) error {
	content, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if c.w.Header().Get("Content-Type") == "" {
		c.w.Header().Set("Content-Type", "application/json")
	}
	c.w.WriteHeader(status)
	if c.r.Method != http.MethodHead {
		_, err = c.w.Write(content)
	}
	if err != nil {
		return errGone
	}
	return nil
}
