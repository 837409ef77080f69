package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// docker launches the image with `docker run -d`, with the same limits, in
// Docker's default network. Its default seccomp profile and json-file logs
// are on, as with everybody who runs it.
type docker struct {
	version string
	mu      sync.Mutex
	started []string
}

func newDocker(ctx context.Context, archive string) (*docker, error) {
	version, err := exec.CommandContext(ctx, "docker", "version", "--format", "{{.Server.Version}}").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("no Docker engine answers: %s", strings.TrimSpace(string(version)))
	}
	if out, err := exec.CommandContext(ctx, "docker", "load", "-i", archive).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("docker load: %w: %s", err, out)
	}
	return &docker{version: strings.TrimSpace(string(version))}, nil
}

// launch returns when `docker run -d` does.
func (d *docker) launch(ctx context.Context) error {
	_, err := d.launchImage(ctx, imageName, "0.25", "512m")
	return err
}

// launchImage is launch of some image with some limits; it returns the
// container's id.
func (d *docker) launchImage(ctx context.Context, image, cpus, memory string) (string, error) {
	out, err := exec.CommandContext(ctx, "docker", "run", "-d", "--cpus", cpus, "--memory", memory, image, "sleep").Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return "", fmt.Errorf("docker run: %w: %s", err, exit.Stderr)
		}
		return "", fmt.Errorf("docker run: %w", err)
	}
	id := strings.TrimSpace(string(out))
	d.mu.Lock()
	d.started = append(d.started, id)
	d.mu.Unlock()
	return id, nil
}

func (d *docker) wholeLaunch(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	if err := d.launch(ctx); err != nil {
		return 0, err
	}
	took := time.Since(begun)
	return took, d.removeAll()
}

func (d *docker) removeAll() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.started) == 0 {
		return nil
	}
	out, err := exec.Command("docker", append([]string{"rm", "-f"}, d.started...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("docker rm: %w: %s", err, out)
	}
	d.started = nil
	return nil
}

func (d *docker) close() error {
	err := d.removeAll()
	if out, rmi := exec.Command("docker", "rmi", imageName).CombinedOutput(); rmi != nil {
		err = errors.Join(err, fmt.Errorf("docker rmi: %w: %s", rmi, out))
	}
	return err
}
