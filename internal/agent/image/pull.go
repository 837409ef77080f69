package image

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"berth.dev/berth/internal/agent/runtime"
)

const (
	// pullTimeout is how long ECS lets one pull take.
	pullTimeout = 2 * time.Hour
	// headerTimeout is how long a registry may think before it answers; the layers themselves may take their time.
	headerTimeout = 30 * time.Second
	// parallelLayers is how many layers of one image are downloaded at once.
	parallelLayers = 6
)

// pull fetches the image from its registry, with further attempts when the failure may pass.
func (s *Store) pull(ctx context.Context, name string, auth *runtime.Auth) (runtime.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	delay := s.cfg.PullDelay
	for attempt := 1; ; attempt++ {
		img, err := s.pullOnce(ctx, name, auth, attempt)
		var pullErr *runtime.PullError
		if err == nil || !errors.As(err, &pullErr) || !pullErr.Temporary() || attempt >= s.cfg.PullAttempts {
			return img, err
		}
		s.cfg.Logger.InfoContext(ctx, "image pull failed, another attempt follows", "image", name, "attempt", attempt, "error", err)
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
			delay *= 2
		case <-ctx.Done():
			timer.Stop()
			return runtime.Image{}, err
		}
	}
}

// pullOnce resolves the name first and fetches then, because the words of an error depend on which of them failed.
func (s *Store) pullOnce(ctx context.Context, name string, auth *runtime.Auth, attempt int) (runtime.Image, error) {
	fail := func(stage string, err error) error {
		class := classify(err)
		message := fmt.Sprintf("%s: %s", stage, err)
		if class == runtime.PullPlatform {
			message = fmt.Sprintf("image Manifest does not contain descriptor matching platform '%s'", platforms.DefaultString())
		}
		return &runtime.PullError{Ref: name, Class: class, Message: message, Err: err}
	}
	registry := newResolver(name, auth)
	_, target, err := registry.Resolve(ctx, name)
	if err != nil {
		return runtime.Image{}, fail(
			fmt.Sprintf("pull image manifest has been retried %d time(s): failed to resolve ref %s", attempt, name), err)
	}
	stage := fmt.Sprintf("ref pull has been retried %d time(s)", attempt)
	pulled, err := s.cfg.Client.Pull(ctx, name,
		containerd.WithResolver(resolved{Resolver: registry, name: name, target: target}),
		containerd.WithPullUnpack,
		containerd.WithPullSnapshotter(s.cfg.Snapshotter),
		containerd.WithMaxConcurrentDownloads(parallelLayers),
	)
	if err != nil {
		return runtime.Image{}, fail(stage, err)
	}
	img, err := s.describe(ctx, pulled.Metadata(), runtime.SourceRegistry)
	if err != nil {
		return runtime.Image{}, fail(stage, err)
	}
	return img, nil
}

// resolved remembers what a name resolved to, so that the registry is asked once.
type resolved struct {
	remotes.Resolver
	name   string
	target ocispec.Descriptor
}

func (r resolved) Resolve(context.Context, string) (string, ocispec.Descriptor, error) {
	return r.name, r.target, nil
}

// newResolver talks to the one registry that the name points to. The login is for that registry only: a registry
// that redirects elsewhere for its layers must not hand it on.
func newResolver(name string, auth *runtime.Auth) remotes.Resolver {
	transport := docker.DefaultHTTPTransport(nil)
	transport.ResponseHeaderTimeout = headerTimeout
	client := &http.Client{Transport: transport}
	domain, _ := split(name)
	host, err := docker.DefaultHost(domain)
	if err != nil {
		host = domain
	}
	authOpts := []docker.AuthorizerOpt{docker.WithAuthClient(client)}
	if auth != nil {
		authOpts = append(authOpts, docker.WithAuthCreds(func(asked string) (string, string, error) {
			if asked != host && asked != domain {
				return "", "", nil
			}
			return auth.Username, auth.Password, nil
		}))
	}
	return docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(
			docker.WithPlainHTTP(docker.MatchLocalhost),
			docker.WithClient(client),
			docker.WithAuthorizer(docker.NewDockerAuthorizer(authOpts...)),
		),
	})
}

// classify finds out what an error of the registry client means.
func classify(err error) runtime.PullClass {
	if status, ok := errors.AsType[remoteerrors.ErrUnexpectedStatus](err); ok {
		switch status.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			return runtime.PullUnauthorized
		case http.StatusNotFound:
			return runtime.PullNotFound
		}
	}
	text := err.Error()
	switch {
	case strings.Contains(text, "no match for platform"):
		return runtime.PullPlatform
	case errors.Is(err, docker.ErrInvalidAuthorization),
		strings.Contains(text, "pull access denied"),
		strings.Contains(text, "authorization failed"),
		strings.Contains(text, "no basic auth credentials"):
		return runtime.PullUnauthorized
	case errdefs.IsNotFound(err):
		return runtime.PullNotFound
	}
	var netErr net.Error
	var urlErr *url.Error
	if errors.As(err, &netErr) || errors.As(err, &urlErr) || errors.Is(err, context.DeadlineExceeded) {
		return runtime.PullUnreachable
	}
	return runtime.PullOther
}
