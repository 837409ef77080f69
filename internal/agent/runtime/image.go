package runtime

// PullPolicy decides between what this host has and what the registry has; the names are those of the ECS agent's
// ECS_IMAGE_PULL_BEHAVIOR.
type PullPolicy string

// The policies. The zero value is PullPreferCached: an image that this host has under that name is used without asking
// anybody, so imported and locally built images run as they are.
const (
	PullPreferCached PullPolicy = ""        // registry only when the host does not have it
	PullDefault      PullPolicy = "default" // registry first; what the host has when that fails
	PullAlways       PullPolicy = "always"  // registry, or fail
)

// Where an image came from.
const (
	SourceContainerd = "containerd" // it was there: imported, or used before
	SourceDocker     = "docker"     // copied now from the local Docker engine
	SourceRegistry   = "registry"   // pulled now
)

// ImageRequest asks for an image.
type ImageRequest struct {
	// Ref is the reference as the task definition says it: "nginx", "sample:latest", "host:5000/a/b@sha256:…".
	Ref    string
	Auth   *Auth // nil is anonymous
	Policy PullPolicy
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
	Name   string // normalised: docker.io/library/nginx:latest; use it in Spec.Image
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
