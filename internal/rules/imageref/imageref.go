package imageref

import (
	"fmt"
	"regexp"

	"github.com/distribution/reference"
)

// Name is an image's name, taken apart and complete.
type Name struct {
	// Host is the registry's, as it stands in the name: docker.io when there is
	// none in it.
	Host string
	// Repository is the path below it: library/nginx.
	Repository string
	// Tag is "latest" in a name with neither tag nor digest, and empty in one
	// with a digest alone.
	Tag string
	// Digest is sha256:… or empty. It decides when there is a tag, too.
	Digest string
	// Account and Region are those of a registry of ECR, and empty otherwise.
	Account, Region string
}

// ecr matches the hosts of an account's registry, the dual-stack and FIPS ones
// included.
var ecr = regexp.MustCompile(`^([0-9]{12})\.dkr[.-]ecr(?:-fips)?[.-]([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws)$`)

// Parse reads a name. The error is for one that Docker would not read.
func Parse(image string) (Name, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return Name{}, fmt.Errorf("image %q: %w", image, err)
	}
	n := Name{Host: reference.Domain(named), Repository: reference.Path(named)}
	if d, ok := named.(reference.Digested); ok {
		n.Digest = d.Digest().String()
	}
	if t, ok := named.(reference.Tagged); ok {
		n.Tag = t.Tag()
	} else if n.Digest == "" {
		n.Tag = "latest"
	}
	if m := ecr.FindStringSubmatch(n.Host); m != nil {
		n.Account, n.Region = m[1], m[2]
	}
	return n, nil
}

// ECR reports whether the name is of a registry of ECR.
func (n Name) ECR() bool { return n.Account != "" }

// Reference is what the registry is asked for: the digest, else the tag.
func (n Name) Reference() string {
	if n.Digest != "" {
		return n.Digest
	}
	return n.Tag
}

// Pinned is the name as image with the digest that its tag means, for a
// runtime: host/repository@digest.
func (n Name) Pinned(digest string) string { return n.Host + "/" + n.Repository + "@" + digest }
