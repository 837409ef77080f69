package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/imagestore"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// getManifest answers GET and HEAD of a manifest, by tag or digest.
func (c *call) getManifest() error {
	m, err := c.manifest()
	if err != nil {
		return err
	}
	head := c.w.Header()
	head.Set("Content-Type", m.mediaType)
	head.Set("Docker-Content-Digest", m.digest)
	head.Set("ETag", `"`+m.digest+`"`)
	head.Set("Content-Length", strconv.FormatInt(m.size, 10))
	if c.r.Method == http.MethodHead {
		c.w.WriteHeader(http.StatusOK)
		return nil
	}
	if m.kept {
		if err := c.Images.Pulled(c.r.Context(), c.Now(), c.name, m.digest); err != nil {
			c.Logger.Warn("the time of a pull was not kept", telemetry.RequestID, c.id, telemetry.Error, err)
		}
	}
	c.audit("BatchGetImage", m.digest, problem{})
	c.w.WriteHeader(http.StatusOK)
	if _, err := c.w.Write(m.content); err != nil {
		return errGone
	}
	return nil
}

// found is a manifest as it is answered. content may be missing for HEAD.
type found struct {
	mediaType, digest string
	size              int64
	content           []byte
	kept              bool // by the image store
}

func (c *call) stored() (found, error) {
	image, content, err := c.Images.Get(c.r.Context(), c.name, c.rest)
	if err != nil {
		return found{}, err
	}
	return found{image.MediaType, image.Digest, int64(len(content)), content, true}, nil
}

func (c *call) putManifest() error {
	push := imagestore.Push{Repository: c.name, MediaType: c.r.Header.Get("Content-Type")}
	if _, err := digest.Parse(c.rest); err == nil {
		push.Digest = c.rest
	} else if push.Tag = c.rest; !imagestore.ValidTag(push.Tag) {
		return fmt.Errorf("%.140q: %w", push.Tag, imagestore.ErrTag)
	}
	release, ok := c.uploads.take(c.name)
	if !ok {
		return errBusy
	}
	defer release()
	var err error
	push.Manifest, err = io.ReadAll(io.LimitReader(c.paced, imagestore.MaxManifest+1))
	c.paced.read()
	if err != nil {
		return errors.Join(errGone, err)
	}
	image, err := c.Images.Put(c.r.Context(), c.Now(), push)
	// The protocol has a client put again what is there.
	if err != nil && !errors.Is(err, imagestore.ErrSame) {
		c.audit("PutImage", push.Digest, c.translate(err))
		return err
	}
	c.audit("PutImage", image.Digest, problem{})
	head := c.w.Header()
	head.Set("Location", "/v2/"+c.name+"/manifests/"+image.Digest)
	head.Set("Docker-Content-Digest", image.Digest)
	if image.Subject != "" {
		head.Set("OCI-Subject", image.Subject)
	}
	head.Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusCreated)
	return nil
}

// deleteManifest takes away a tag, or an image with all of its tags.
func (c *call) deleteManifest() error {
	gone := c.rest
	_, err := c.Store.Update(c.r.Context(), func(tx *store.Tx) (err error) {
		if strings.Contains(c.rest, ":") {
			return imagestore.Delete(tx, c.name, c.rest)
		}
		gone, err = imagestore.Untag(tx, c.name, c.rest)
		return err
	})
	if err != nil {
		return err
	}
	c.audit("BatchDeleteImage", gone, problem{})
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}

// maxTags is the longest page of a list, as ListImages has it.
const maxTags = 1000

func (c *call) listTags() error {
	query := c.r.URL.Query()
	n := maxTags
	if text := query.Get("n"); text != "" {
		asked, err := strconv.Atoi(text)
		if err != nil || asked < 0 {
			return errcode.ErrorCodePaginationNumberInvalid
		}
		n = min(asked, maxTags)
	}
	snap := c.Store.Snapshot()
	if !records.Repositories.Has(snap, c.name) {
		return imagestore.ErrNoRepository
	}
	tags, more := []string{}, false
	after := ""
	if last := query.Get("last"); last != "" {
		after = model.ImageTagKey(c.name, last)
	}
	for tag := range records.ImageTags.After(snap, model.ImageTagsOf(c.name), after) {
		if more = len(tags) == n; more {
			break
		}
		tags = append(tags, tag.Tag)
	}
	if more && n > 0 {
		next := url.Values{"n": {strconv.Itoa(n)}, "last": {tags[n-1]}}
		c.w.Header().Set("Link", "</v2/"+c.name+"/tags/list?"+next.Encode()+`>; rel="next"`)
	}
	return c.json(http.StatusOK, struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{c.name, tags})
}

// listReferrers answers with an index of what says something about an image. An
// image that is not there has none.
func (c *call) listReferrers() error {
	if _, err := digest.Parse(c.rest); err != nil {
		return errcode.ErrorCodeDigestInvalid
	}
	snap := c.Store.Snapshot()
	if !records.Repositories.Has(snap, c.name) {
		return imagestore.ErrNoRepository
	}
	list := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{}}
	wanted := c.r.URL.Query().Get("artifactType")
	for image := range records.Images.By(snap, records.ImagesBySubject, model.ImageKey(c.name, c.rest)) {
		if wanted != "" && image.ArtifactMediaType != wanted {
			continue
		}
		d, err := c.referrer(image)
		if errors.Is(err, imagestore.ErrNoImage) {
			continue // it was deleted just now
		}
		if err != nil {
			return err
		}
		list.Manifests = append(list.Manifests, d)
	}
	slices.SortFunc(list.Manifests, func(a, b v1.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	if wanted != "" {
		c.w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	c.w.Header().Set("Content-Type", v1.MediaTypeImageIndex)
	return c.json(http.StatusOK, list)
}

func (c *call) referrer(image *model.Image) (v1.Descriptor, error) {
	_, content, err := c.Images.Get(c.r.Context(), c.name, image.Digest)
	if err != nil {
		return v1.Descriptor{}, err
	}
	var says struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(content, &says); err != nil {
		return v1.Descriptor{}, fmt.Errorf("annotations of %s: %w", image.Digest, err)
	}
	return v1.Descriptor{
		MediaType: image.MediaType, Digest: digest.Digest(image.Digest), Size: image.ManifestSize,
		ArtifactType: image.ArtifactMediaType, Annotations: says.Annotations,
	}, nil
}
