package image

import (
	"context"
	"errors"
	"time"

	"berth.dev/berth/internal/agent/runtime"
)

const (
	// askTimeout is how long a registry may take to say what a tag means while the host has an image of that name.
	askTimeout = 3 * time.Second
	// awayFor is how long a registry that did not answer is not asked again for images that the host has: a machine
	// without a network starts tasks at once.
	awayFor = time.Minute
)

// find goes through the places in the order that the policy asks for.
func (s *Store) find(ctx context.Context, w *want) (runtime.Image, error) {
	if w.policy == runtime.PullAlways {
		return s.pull(ctx, w)
	}
	if s.own(w.name) {
		return s.findOwn(ctx, w)
	}
	cached, origin, found := s.local(ctx, w)
	switch {
	case !found:
		return s.pull(ctx, w)
	case w.name.Digest != "", origin != runtime.SourceRegistry, w.policy != runtime.PullDefault:
		// A digest always means the same, and what was built or imported here needs no registry.
		return cached, nil
	}
	fresh, err := s.ask(ctx, w)
	if err == nil {
		return fresh, nil
	}
	if ctx.Err() == nil {
		s.cfg.Logger.WarnContext(ctx, "the registry was not asked or gave no image, the one on this host is used",
			"image", w.ref, "digest", cached.Digest, "error", err)
	}
	return cached, ctx.Err()
}

// findOwn asks the control plane's registry what a tag means whatever the policy, because it is next door and knows.
func (s *Store) findOwn(ctx context.Context, w *want) (runtime.Image, error) {
	cached, _, found := s.inContainerd(ctx, w.ref)
	if found && w.name.Digest != "" {
		return cached, nil
	}
	if !found {
		img, err := s.pull(ctx, w)
		return s.orLocal(ctx, w, img, err)
	}
	fresh, err := s.ask(ctx, w)
	if pullErr, ok := errors.AsType[*runtime.PullError](err); ok && pullErr.Class == runtime.PullUnreachable {
		s.cfg.Logger.WarnContext(ctx, "the control plane's registry does not answer, the image on this host is used",
			"image", w.ref, "digest", cached.Digest, "error", err)
		return cached, nil
	}
	return s.orLocal(ctx, w, fresh, err)
}

// orLocal takes what was built or imported on this host under a name that the control plane's registry does not have.
func (s *Store) orLocal(ctx context.Context, w *want, img runtime.Image, err error) (runtime.Image, error) {
	pullErr, ok := errors.AsType[*runtime.PullError](err)
	if !ok || pullErr.Class != runtime.PullNotFound {
		return img, err
	}
	if local, origin, found := s.local(ctx, w); found && origin != runtime.SourceRegistry {
		return local, nil
	}
	return img, err
}

// ask has the registry say what the tag means, within askTimeout, and fetches it when the host does not have that.
func (s *Store) ask(ctx context.Context, w *want) (runtime.Image, error) {
	host := w.name.Host
	s.mu.Lock()
	asked, away := s.away[host]
	s.mu.Unlock()
	if away && time.Since(asked) < awayFor {
		return runtime.Image{}, &runtime.PullError{Ref: w.ref, Class: runtime.PullUnreachable, Message: "the registry did not answer a moment ago"}
	}
	short, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	registry, done := s.resolver(short, w)
	defer done()
	_, target, err := registry.Resolve(short, w.ref)
	if err != nil {
		failure := w.failed("failed to resolve ref "+w.ref, err)
		if short.Err() != nil {
			failure.Class = runtime.PullUnreachable
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if failure.Class == runtime.PullUnreachable && ctx.Err() == nil && !s.own(w.name) {
			s.away[host] = time.Now()
		}
		return runtime.Image{}, failure
	}
	s.mu.Lock()
	delete(s.away, host)
	s.mu.Unlock()
	if img, ok := s.known(ctx, w.name, target); ok {
		return img, nil
	}
	return s.pull(ctx, w)
}

// local looks on this host: in containerd, then in Docker. It also says where the image came from at first.
func (s *Store) local(ctx context.Context, w *want) (img runtime.Image, origin string, found bool) {
	cached, record, found := s.inContainerd(ctx, w.ref)
	origin = originOf(record)
	if found && (origin != runtime.SourceDocker || w.name.Digest != "") {
		return cached, origin, true
	}
	id, there := s.docker.imageID(ctx, w.tagged())
	if !there || found && record.Labels[labelDocker] == id {
		return cached, origin, found
	}
	copied, err := s.copyFromDocker(ctx, w, id)
	if err != nil {
		s.cfg.Logger.WarnContext(ctx, "image could not be copied from the local docker engine", "image", w.ref, "error", err)
		return cached, origin, found
	}
	if w.name.Digest != "" && copied.Digest != w.name.Digest {
		return runtime.Image{}, "", false // Docker has another build of it
	}
	return copied, runtime.SourceDocker, true
}
