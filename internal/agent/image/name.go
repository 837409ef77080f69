package image

import (
	"fmt"

	"github.com/distribution/reference"
)

// Normalize returns the full form of a reference: "nginx" is "docker.io/library/nginx:latest". A reference with a tag
// and a digest loses the tag, since the digest decides.
func Normalize(ref string) (string, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", fmt.Errorf("image reference %q: %w", ref, err)
	}
	return named.String(), nil
}

// split returns the registry's host as it stands in a normalised name, and the digest when the name has one.
func split(name string) (domain, digest string) {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return "", ""
	}
	if d, ok := named.(reference.Digested); ok {
		digest = d.Digest().String()
	}
	return reference.Domain(named), digest
}
