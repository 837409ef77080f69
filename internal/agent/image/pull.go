package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/rules/imageref"
)

const (
	// pullTimeout is how long ECS lets one pull take.
	pullTimeout = 2 * time.Hour
	// headerTimeout is how long a registry may think before it answers; the layers themselves may take their time.
	headerTimeout = 30 * time.Second
	// longestDelay is the most that passes between two attempts.
	longestDelay = 8 * time.Second
)

// want is an image that is looked for, and for whom.
type want struct {
	name   imageref.Name
	ref    string // normalised; by digest when that is known
	auth   *runtime.Auth
	policy runtime.PullPolicy
	flight *flight
}

// pull fetches the image from its registry. An attempt that failed in a way that may pass is followed by another: a
// bounded number that got nowhere, and without bound while the control plane, which has the registry, is away.
func (s *Store) pull(ctx context.Context, w *want) (runtime.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	delay, arrived, roomMade := s.cfg.PullDelay, int64(0), false
	for attempt := 1; ; attempt++ {
		img, err := s.pullOnce(ctx, w, attempt)
		pullErr, ok := errors.AsType[*runtime.PullError](err)
		if err == nil || !ok || ctx.Err() != nil {
			return img, err
		}
		if pullErr.Class == runtime.PullNoSpace && !roomMade {
			// Unused images are worth less than the one that is wanted now.
			if roomMade = s.makeRoom(ctx, w.ref) > 0; roomMade {
				continue
			}
		}
		if now := w.flight.progress.bytes(); now > arrived {
			attempt, delay, arrived = 1, s.cfg.PullDelay, now
		}
		away := s.own(w.name) && pullErr.Class == runtime.PullUnreachable
		if !pullErr.Temporary() || attempt >= s.cfg.PullAttempts && !away {
			return img, err
		}
		s.cfg.Logger.InfoContext(ctx, "image pull failed, another attempt follows", "image", w.ref, "attempt", attempt, "error", err)
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
			delay = min(2*delay, longestDelay)
		case <-ctx.Done():
			timer.Stop()
			return runtime.Image{}, err
		}
	}
}

// pullOnce resolves the name first and fetches then, because the words of an error depend on which of them failed.
func (s *Store) pullOnce(ctx context.Context, w *want, attempt int) (runtime.Image, error) {
	registry, done := s.resolver(ctx, w)
	defer done()
	_, target, err := registry.Resolve(ctx, w.ref)
	if err != nil {
		return runtime.Image{}, w.failed(fmt.Sprintf("pull image manifest has been retried %d time(s): failed to resolve ref %s", attempt, w.ref), err)
	}
	return s.take(ctx, w, registry, target, attempt)
}

// take makes what the name was resolved to available: it may be here under another name.
func (s *Store) take(ctx context.Context, w *want, registry remotes.Resolver, target ocispec.Descriptor, attempt int) (runtime.Image, error) {
	stage := fmt.Sprintf("ref pull has been retried %d time(s)", attempt)
	if img, ok := s.known(ctx, w.name, target); ok {
		return img, nil
	}
	held, release, err := s.hold(ctx, w.ref)
	if err != nil {
		return runtime.Image{}, w.failed(stage, err)
	}
	fetcher, err := registry.Fetcher(held, w.ref)
	if err == nil {
		err = s.fetch(held, w.ref, target, fetcher, &w.flight.progress)
	}
	var img runtime.Image
	if err == nil {
		if err = s.record(held, w.name, target, map[string]string{labelOrigin: runtime.SourceRegistry}); err == nil {
			img, err = s.describe(held, w.name, target, runtime.SourceRegistry)
		}
	}
	if err == nil {
		if err := release(false); err != nil {
			s.cfg.Logger.WarnContext(ctx, "what held an image while it was pulled was not removed", "image", w.ref, "error", err)
		}
		return img, nil
	}
	failure := w.failed(stage, err)
	// What may be of use to the next attempt stays: what is broken, too large or forbidden is none.
	if err := release(ctx.Err() != nil || failure.Temporary()); err != nil {
		s.cfg.Logger.WarnContext(ctx, "the remains of a failed pull were not removed", "image", w.ref, "error", err)
	}
	return runtime.Image{}, failure
}

// failed puts an error into AWS's words.
func (w *want) failed(stage string, err error) *runtime.PullError {
	if final, ok := errors.AsType[*runtime.PullError](err); ok {
		return &runtime.PullError{Ref: w.ref, Class: final.Class, Message: final.Message, Err: err}
	}
	class := classify(err)
	message := fmt.Sprintf("%s: %s", stage, err)
	if class == runtime.PullPlatform {
		message = fmt.Sprintf("image Manifest does not contain descriptor matching platform '%s'", platforms.DefaultString())
	}
	return &runtime.PullError{Ref: w.ref, Class: class, Message: message, Err: err}
}

// classify finds out what an error of the registry client, of containerd or of unpacking means.
func classify(err error) runtime.PullClass {
	text := err.Error()
	contains := func(parts ...string) bool {
		for _, part := range parts {
			if strings.Contains(text, part) {
				return true
			}
		}
		return false
	}
	if status, ok := errors.AsType[remoteerrors.ErrUnexpectedStatus](err); ok {
		switch status.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			return runtime.PullUnauthorized
		case http.StatusNotFound:
			return runtime.PullNotFound
		case http.StatusRequestedRangeNotSatisfiable:
			return runtime.PullCorrupt // the registry has less of a layer than its manifest says
		}
	}
	_, isMalformed := errors.AsType[*malformed](err)
	switch {
	case errors.Is(err, syscall.ENOSPC), contains("no space left on device"):
		return runtime.PullNoSpace
	case errors.Is(err, errTooLarge):
		return runtime.PullTooLarge
	case contains("no match for platform"):
		return runtime.PullPlatform
	case isMalformed, errors.Is(err, errOutside), contains("unexpected commit digest", "unexpected commit size", "exceeds expected size", "past expected size"):
		return runtime.PullCorrupt
	case errors.Is(err, docker.ErrInvalidAuthorization),
		contains("pull access denied", "authorization failed", "no basic auth credentials"):
		return runtime.PullUnauthorized
	case errdefs.IsUnavailable(err), errors.Is(err, context.Canceled), errors.Is(err, errNobody):
		return runtime.PullOther // containerd is away, or who asked
	}
	return classifyRest(err, contains)
}

func classifyRest(err error, contains func(...string) bool) runtime.PullClass {
	var netErr net.Error
	var urlErr *url.Error
	switch {
	case errors.As(err, &netErr), errors.As(err, &urlErr), errors.Is(err, context.DeadlineExceeded):
		return runtime.PullUnreachable
	case errors.Is(err, io.ErrUnexpectedEOF) && !contains("failed to extract layer"):
		return runtime.PullUnreachable // the connection was cut
	case contains("failed to extract layer", "wrong diff id", "don't match"):
		return runtime.PullCorrupt
	case errdefs.IsNotFound(err):
		return runtime.PullNotFound
	}
	return runtime.PullOther
}
