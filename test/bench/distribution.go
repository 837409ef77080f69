package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the configuration names it
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sirupsen/logrus"
)

// distribution is the bare registry: distribution's own program, in this
// process, as the configuration that comes with its image sets it up. It asks
// nobody who they are, and counts what it is asked.
type distribution struct {
	host      string
	server    *http.Server
	end       context.CancelFunc
	manifests atomic.Int64 // that were sent
	blobs     atomic.Int64
	sent      atomic.Int64 // bytes
}

func startDistribution(ctx context.Context, dir string) (*distribution, error) {
	var c configuration.Configuration
	c.Version = configuration.MajorMinorVersion(0, 1)
	c.Log.AccessLog.Disabled = true
	logrus.SetLevel(logrus.FatalLevel) // as its program does with a configuration's level
	c.Storage = configuration.Storage{
		"filesystem":  configuration.Parameters{"rootdirectory": dir},
		"cache":       configuration.Parameters{"blobdescriptor": "inmemory"},
		"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
	}
	c.HTTP.Secret = "bench"
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &distribution{host: listener.Addr().String()}
	ctx, d.end = context.WithCancel(ctx)
	app := handlers.NewApp(ctx, &c)
	d.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // only this program calls
		if r.Method != http.MethodGet {
			app.ServeHTTP(w, r)
			return
		}
		switch {
		case strings.Contains(r.URL.Path, "/manifests/"):
			d.manifests.Add(1)
		case strings.Contains(r.URL.Path, "/blobs/sha256:"):
			d.blobs.Add(1)
		}
		app.ServeHTTP(w, r)
	})}
	go d.server.Serve(listener) //nolint:errcheck // who calls finds out
	return d, nil
}

func (d *distribution) close() error {
	d.end()
	return d.server.Close()
}

// tag names an image of a registry that speaks HTTP.
func tag(host, repository, tag string) (name.Tag, error) {
	return name.NewTag(fmt.Sprintf("%s/%s:%s", host, repository, tag), name.Insecure)
}

// push puts an image into the registry and returns its name.
func (d *distribution) push(ctx context.Context, image v1.Image, repository, version string) (string, error) {
	at, err := tag(d.host, repository, version)
	if err != nil {
		return "", err
	}
	return at.String(), remote.Write(at, image, remote.WithContext(ctx))
}
