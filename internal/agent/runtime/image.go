package runtime

import (
	"fmt"

	"berth.dev/berth/internal/model"
)

// PullPolicy decides between what this host has and what the registry has; the names are those of the ECS agent's
// ECS_IMAGE_PULL_BEHAVIOR. What each means here is in package image.
type PullPolicy string

// The policies. The zero value leaves it to the node.
const (
	PullDefault      PullPolicy = "default"       // registry first; what the host has when that fails
	PullAlways       PullPolicy = "always"        // registry, or fail
	PullOnce         PullPolicy = "once"          // registry only when the host does not have it
	PullPreferCached PullPolicy = "prefer-cached" // as once, and images are never removed to make room
)

// ParsePullPolicy reads a policy's name.
func ParsePullPolicy(name string) (PullPolicy, error) {
	switch p := PullPolicy(name); p {
	case PullDefault, PullAlways, PullOnce, PullPreferCached:
		return p, nil
	}
	return "", fmt.Errorf("the image pull behavior %q is none of default, always, once and prefer-cached", name)
}

// Where an image came from.
const (
	SourceContainerd = "containerd" // it was there: imported, or used before
	SourceDocker     = "docker"     // copied now from the local Docker engine
	SourceRegistry   = "registry"   // pulled now
)

// ImageRequest asks for an image.
type ImageRequest struct {
	// Ref is the reference as the task definition says it: "nginx", "sample:latest", "host:5000/a/b@sha256:…".
	Ref string
	// Digest pins what the tag in Ref means ("sha256:…"); empty: the tag decides.
	Digest string
	Auth   *Auth // nil is anonymous
	Policy PullPolicy
	// TaskID and Container say for whom it is: the control plane's own registry is asked in a task's name. The task must
	// have been allowed to pull the image.
	TaskID, Container string
	// Progress is told how far the image has come while it is being pulled, at most once a second. It may be nil, and must
	// not block.
	Progress func(model.PullProgress)
}

// Auth is a registry login. Its String hides the password.
type Auth struct {
	Username string
	Password string
}

// String never shows the password, so that an Auth can be logged by accident.
func (a Auth) String() string { return a.Username + ":***" }

// GoString is String, for %#v.
func (a Auth) GoString() string { return a.String() }

// Image is an image that Create can use, with the parts of its configuration that ECS combines with a container
// definition.
type Image struct {
	Ref    string // as asked for
	Name   string // docker.io/library/nginx@sha256:…, which never means another image; use it in Spec.Image
	Digest string // sha256:… of what the name points to (the index where there is one): the container's imageDigest
	Source string // where it came from this time

	Entrypoint []string
	Cmd        []string
	Env        []string
	WorkingDir string
	User       string
	StopSignal string   // "SIGQUIT", "3"; empty is SIGTERM
	Volumes    []string // paths declared with VOLUME, sorted
	Size       int64    // bytes of compressed content
}
