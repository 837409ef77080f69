package registry

import (
	"errors"
	"net/http"
	"time"

	"berth.dev/berth/internal/data/imagestore"
)

// getLayer answers GET and HEAD of a layer, also of a part of it.
func (c *call) getLayer() error {
	content, layer, err := c.Images.Open(c.r.Context(), c.name, c.rest)
	if errors.Is(err, imagestore.ErrNoLayer) || errors.Is(err, imagestore.ErrNoRepository) {
		if fetched, ferr := c.fetchLayer(); ferr != nil {
			return ferr
		} else if fetched {
			content, layer, err = c.Images.Open(c.r.Context(), c.name, c.rest)
		}
	}
	if err != nil {
		return err
	}
	defer content.Close() //nolint:errcheck // it was only read
	if c.r.Method == http.MethodHead {
		// Who looks whether a layer is there is about to push an image of it.
		if _, err := c.Images.Layer(c.r.Context(), c.name, c.rest); err != nil {
			return err
		}
	}
	head := c.w.Header()
	head.Set("Content-Type", "application/octet-stream")
	head.Set("Docker-Content-Digest", layer.Digest)
	head.Set("ETag", `"`+layer.Digest+`"`)
	head.Set("Cache-Control", "max-age=31536000")
	http.ServeContent(c.w, c.r, "", time.Time{}, content)
	return nil
}
