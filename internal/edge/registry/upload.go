package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"

	"berth.dev/berth/internal/data/imagestore"
)

// handover is how long a request waits for another that is at the same upload: a
// client comes back before the server has noticed that the first connection broke.
const handover = 15 * time.Second

// beginUpload answers POST: it begins an upload, takes a whole layer at once
// (digest=), or mounts one from another repository (mount= and from=).
func (c *call) beginUpload() error {
	if c.rest != "" {
		return errNoSuchPath
	}
	query := c.r.URL.Query()
	if mount, from := query.Get("mount"), query.Get("from"); mount != "" && from != "" {
		layer, err := c.mount(from, mount)
		if err == nil {
			return c.created(layer)
		}
		if errors.Is(err, imagestore.ErrNoSpace) || errors.Is(err, imagestore.ErrNoRepository) && !c.exists() {
			return err
		}
		// The client may push it instead, as the protocol says.
	}
	release, ok := c.uploads.take(c.name)
	if !ok {
		return errBusy
	}
	defer release()
	u, err := c.Images.Begin(c.r.Context(), c.name)
	if err != nil {
		return err
	}
	if d := query.Get("digest"); d != "" {
		return c.complete(u, d)
	}
	return c.accepted(u, http.StatusAccepted)
}

func (c *call) exists() bool {
	_, err := c.Images.Layer(c.r.Context(), c.name, "")
	return !errors.Is(err, imagestore.ErrNoRepository)
}

// mount needs the right to read the layer where it is.
func (c *call) mount(from, digest string) (imagestore.Layer, error) {
	if !repositoryName.MatchString(from) {
		return imagestore.Layer{}, errcode.ErrorCodeNameInvalid
	}
	if err := c.may("ecr:GetDownloadUrlForLayer", from); err != nil {
		return imagestore.Layer{}, err
	}
	return c.Images.Mount(c.r.Context(), from, c.name, digest)
}

// resume finds the upload that the path names.
func (c *call) resume() (*imagestore.Upload, func(), error) {
	release, ok := c.uploads.take(c.name)
	if !ok {
		return nil, nil, errBusy
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), handover)
	defer cancel()
	u, err := c.Images.Resume(ctx, c.name, c.rest)
	if err != nil {
		release()
		if errors.Is(err, context.DeadlineExceeded) {
			err = errcode.ErrorCodeTooManyRequests.WithMessage("Another request is at this upload. Try again.")
		}
		return nil, nil, err
	}
	return u, release, nil
}

func (c *call) uploadStatus() error {
	u, release, err := c.resume()
	if err != nil {
		return err
	}
	defer release()
	return c.accepted(u, http.StatusNoContent)
}

func (c *call) appendUpload() error {
	u, release, err := c.resume()
	if err != nil {
		return err
	}
	defer release()
	if err := c.take(u); err != nil {
		return errors.Join(err, u.Close())
	}
	return c.accepted(u, http.StatusAccepted)
}

func (c *call) completeUpload() error {
	u, release, err := c.resume()
	if err != nil {
		return err
	}
	defer release()
	d := c.r.URL.Query().Get("digest")
	if d == "" {
		// No harm is done: the client may try again.
		return errors.Join(errcode.ErrorCodeDigestInvalid.WithMessage("digest missing"), u.Close())
	}
	return c.complete(u, d)
}

func (c *call) cancelUpload() error {
	u, release, err := c.resume()
	if err != nil {
		return err
	}
	defer release()
	if err := u.Cancel(c.r.Context()); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// complete takes the rest of a layer, if the request has one, and ends the upload.
func (c *call) complete(u *imagestore.Upload, digest string) error {
	if err := c.take(u); err != nil {
		return errors.Join(err, u.Close())
	}
	layer, err := u.Commit(c.r.Context(), digest)
	if err != nil {
		return err
	}
	return c.created(layer)
}

// take adds the request's body to the upload, after what the client thinks that
// there is.
func (c *call) take(u *imagestore.Upload) error {
	var body io.Reader = c.paced
	if text := c.r.Header.Get("Content-Range"); text != "" {
		first, last, err := parseRange(text)
		if err != nil {
			return err
		}
		if first != u.Size() {
			c.progress(u)
			return fmt.Errorf("%w: it begins at %d and the upload has %d bytes", imagestore.ErrRange, first, u.Size())
		}
		if n := c.r.ContentLength; n >= 0 && n != last-first+1 {
			return errcode.ErrorCodeSizeInvalid
		}
		body = io.LimitReader(body, last-first+1)
	}
	_, err := u.Append(c.r.Context(), body)
	c.paced.read()
	if err != nil && !errors.Is(err, imagestore.ErrNoSpace) && c.r.Context().Err() != nil {
		return errors.Join(errGone, err)
	}
	return err
}

// parseRange reads "0-499", or "bytes 0-499/500" as some clients write.
func parseRange(text string) (first, last int64, err error) {
	invalid := errcode.ErrorCodeRangeInvalid.WithMessage("invalid content range")
	text, _, _ = strings.Cut(strings.TrimPrefix(text, "bytes "), "/")
	from, to, ok := strings.Cut(text, "-")
	if !ok {
		return 0, 0, invalid
	}
	if first, err = strconv.ParseInt(from, 10, 64); err != nil || first < 0 {
		return 0, 0, invalid
	}
	if last, err = strconv.ParseInt(to, 10, 64); err != nil || last < first {
		return 0, 0, invalid
	}
	return first, last, nil
}

// accepted lets go of the upload and says how far it has got.
func (c *call) accepted(u *imagestore.Upload, status int) error {
	c.progress(u)
	if err := u.Close(); err != nil {
		return err
	}
	c.w.Header().Set("Content-Length", "0")
	c.w.WriteHeader(status)
	return nil
}

func (c *call) progress(u *imagestore.Upload) {
	head := c.w.Header()
	// Relative, because what the client calls this server may be known to it alone.
	head.Set("Location", "/v2/"+c.name+"/blobs/uploads/"+u.ID())
	head.Set("Docker-Upload-UUID", u.ID())
	head.Set("Range", fmt.Sprintf("0-%d", max(0, u.Size()-1)))
}

func (c *call) created(layer imagestore.Layer) error {
	head := c.w.Header()
	head.Set("Location", "/v2/"+c.name+"/blobs/"+layer.Digest)
	head.Set("Docker-Content-Digest", layer.Digest)
	head.Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusCreated)
	return nil
}
