package image

import (
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/rules/imageref"
)

// Registry is the control plane's own.
type Registry interface {
	// Owns reports whether names with that host mean it, besides those of ECR.
	Owns(host string) bool
	// Dial connects to it in the name of a task, for the image of one of its containers; the registry answers there without
	// credentials. A final no is a *runtime.PullError; after other errors it may be there again.
	Dial(ctx context.Context, taskID, container string) (net.Conn, error)
}

// own reports whether a name means the control plane's own registry.
func (s *Store) own(n imageref.Name) bool {
	return s.cfg.Registry != nil && (n.ECR() || s.cfg.Registry.Owns(n.Host))
}

// resolver talks to the registry that a name means.
func (s *Store) resolver(ctx context.Context, w *want) (remotes.Resolver, func()) {
	transport := docker.DefaultHTTPTransport(nil)
	transport.ResponseHeaderTimeout = headerTimeout
	client := &http.Client{Transport: transport}
	if s.own(w.name) {
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			who, ok := w.flight.asker()
			if !ok {
				return nil, errNobody
			}
			return s.cfg.Registry.Dial(ctx, who.taskID, who.container)
		}
		return docker.NewResolver(docker.ResolverOptions{Hosts: tunnelled(client, w.name.Host)}), transport.CloseIdleConnections
	}
	return docker.NewResolver(docker.ResolverOptions{Hosts: s.hosts(ctx, client, credentials(w))}), transport.CloseIdleConnections
}

// errNobody says that an image has to come in a task's name, and no task waits for it.
var errNobody = errors.New("no task asks for the image")

// tunnelled is the control plane's registry, behind connections that are encrypted and authorised already.
func tunnelled(client *http.Client, host string) docker.RegistryHosts {
	return func(string) ([]docker.RegistryHost, error) {
		return []docker.RegistryHost{{
			Client: client, Scheme: "http", Host: host, Path: "/v2",
			Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve,
		}}, nil
	}
}

// hosts finds out where a registry is: as its directory in the node's configuration says, when there is one, else at its
// own name with TLS, or without when it is on loopback.
func (s *Store) hosts(ctx context.Context, client *http.Client, login credentialsFunc) docker.RegistryHosts {
	plain := docker.ConfigureDefaultRegistries(
		docker.WithPlainHTTP(docker.MatchLocalhost),
		docker.WithClient(client),
		docker.WithAuthorizer(docker.NewDockerAuthorizer(docker.WithAuthClient(client), docker.WithAuthCreds(login))),
	)
	if s.cfg.RegistryConfig == "" {
		return plain
	}
	find := config.HostDirFromRoot(s.cfg.RegistryConfig)
	configured := config.ConfigureHosts(ctx, config.HostOptions{
		HostDir: find, Credentials: login,
		UpdateClient: func(c *http.Client) error {
			if t, ok := c.Transport.(*http.Transport); ok {
				t.ResponseHeaderTimeout = headerTimeout
			}
			return nil
		},
	})
	return func(host string) ([]docker.RegistryHost, error) {
		if _, err := find(host); errdefs.IsNotFound(err) {
			return plain(host)
		}
		return configured(host)
	}
}

type credentialsFunc = func(host string) (user, password string, err error)

// credentials gives a login to the one registry that the name points to: one that redirects elsewhere for its layers,
// or a mirror of it, must not get it.
func credentials(w *want) credentialsFunc {
	host, err := docker.DefaultHost(w.name.Host)
	if err != nil {
		host = w.name.Host
	}
	auth := w.auth
	if auth == nil {
		auth = &runtime.Auth{}
	}
	return func(asked string) (string, string, error) {
		if asked != host && asked != w.name.Host {
			return "", "", nil
		}
		return auth.Username, auth.Password, nil
	}
}
