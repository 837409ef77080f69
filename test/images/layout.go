package images

import (
	"fmt"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// writeLayout writes an OCI image layout into a directory.
func writeLayout(dir string, refs []string, all []Image) error {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("write image layout: %w", err)
	}
	for n, i := range all {
		img, err := i.Build()
		if err != nil {
			return err
		}
		var opts []layout.Option
		if refs[n] != "" {
			opts = append(opts, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": refs[n]}))
		}
		if err := path.AppendImage(img, opts...); err != nil {
			return fmt.Errorf("write image layout: %w", err)
		}
	}
	return nil
}
