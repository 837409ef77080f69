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
