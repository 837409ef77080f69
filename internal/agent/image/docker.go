package image

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	docker "github.com/moby/moby/client"

	"berth.dev/berth/internal/agent/runtime"
)

// dockerTimeout bounds the question whether Docker has an image: an engine that hangs must not hold up tasks.
const dockerTimeout = 3 * time.Second

// dockerEngine is the local Docker engine, which may come and go while the agent lives.
type dockerEngine struct {
	host string // empty is no Docker

	mu     sync.Mutex
	client *docker.Client
}

func newDockerEngine(host string) *dockerEngine {
	switch {
	case host == "none":
		host = ""
	case host == "" && os.Getenv("DOCKER_HOST") != "":
		host = os.Getenv("DOCKER_HOST")
	case host == "":
		host = docker.DefaultDockerHost
	}
	return &dockerEngine{host: host}
}

// connect returns a client, or nil when there is no engine to talk to.
func (e *dockerEngine) connect() *docker.Client {
	if e.host == "" {
		return nil
	}
	if path, ok := strings.CutPrefix(e.host, "unix://"); ok {
		if _, err := os.Stat(path); err != nil {
			return nil
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client == nil {
		client, err := docker.New(docker.WithTLSClientConfigFromEnv(), docker.WithHost(e.host))
		if err != nil {
			return nil
		}
		e.client = client
	}
	return e.client
}

// imageID returns the ID of the image that Docker has under that name. No engine and no such image are the same here:
// the registry is asked next.
func (e *dockerEngine) imageID(ctx context.Context, name string) (string, bool) {
	client := e.connect()
	if client == nil {
		return "", false
	}
	ctx, cancel := context.WithTimeout(ctx, dockerTimeout)
	defer cancel()
	inspect, err := client.ImageInspect(ctx, name)
	if err != nil {
		return "", false
	}
	return inspect.ID, true
}

// copyFromDocker streams the image out of Docker into containerd.
func (s *Store) copyFromDocker(ctx context.Context, w *want, id string) (runtime.Image, error) {
	client := s.docker.connect()
	if client == nil {
		return runtime.Image{}, fmt.Errorf("image %s: the docker engine has gone", w.ref)
	}
	name := w.tagged()
	archive, err := client.ImageSave(ctx, []string{name})
	if err != nil {
		return runtime.Image{}, fmt.Errorf("save image %s from docker: %w", name, err)
	}
	defer archive.Close()
	if _, err := s.importAll(ctx, archive, name, map[string]string{labelDocker: id, labelOrigin: runtime.SourceDocker}); err != nil {
		return runtime.Image{}, err
	}
	record, err := s.lookup(ctx, name)
	if err != nil {
		return runtime.Image{}, fmt.Errorf("image %s after its copy from docker: %w", name, err)
	}
	return s.describe(ctx, w.name, record.Target, runtime.SourceDocker)
}
