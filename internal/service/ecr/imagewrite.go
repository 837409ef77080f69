package ecr

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/imagestore"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecrapi"
)

// PutImage implements ecrapi.Service.
func (p *Provider) PutImage(ctx context.Context, in *ecrapi.PutImageInput) (*ecrapi.PutImageOutput, error) {
	name := *in.RepositoryName
	if _, err := p.repository(p.store.Snapshot(), in.RegistryId, in.RepositoryName); err != nil {
		return nil, err
	}
	image, err := p.cfg.Images.Put(ctx, p.cfg.Now(), imagestore.Push{
		Repository: name, Tag: value(in.ImageTag), Digest: value(in.ImageDigest), MediaType: value(in.ImageManifestMediaType), Manifest: []byte(*in.ImageManifest),
	})
	if err != nil {
		return nil, p.notPut(ctx, in, image, err)
	}
	return &ecrapi.PutImageOutput{Image: new(p.imageOut(image, in.ImageTag, []byte(*in.ImageManifest)))}, nil
}

// notPut words the errors of putting an image. image is the one that is there.
func (p *Provider) notPut(ctx context.Context, in *ecrapi.PutImageInput, image *model.Image, err error) error {
	name, tag := *in.RepositoryName, "null"
	if in.ImageTag != nil {
		tag = *in.ImageTag
	}
	switch {
	case errors.Is(err, imagestore.ErrSame):
		return &ecrapi.ImageAlreadyExistsException{Message: new(
			"Image with digest '" + image.Digest + "' and tag '" + tag + "' already exists in the repository with name '" + name + "' in registry with id '" + p.scope.AccountID + "'",
		)}
	case errors.Is(err, imagestore.ErrTagImmutable):
		return &ecrapi.ImageTagAlreadyExistsException{Message: new(
			"The image tag '" + tag + "' already exists in the '" + name + "' repository and cannot be overwritten because the repository is immutable.",
		)}
	case errors.Is(err, imagestore.ErrTag):
		return &ecrapi.InvalidParameterException{Message: &badTag.reason}
	case errors.Is(err, imagestore.ErrReferenced):
		return p.lacking(ctx, name, *in.ImageManifest, err)
	case errors.Is(err, imagestore.ErrDigest):
		return &ecrapi.ImageDigestDoesNotMatchException{Message: new("The image digest '" + value(in.ImageDigest) + "' does not match the digest of the image manifest")}
	case errors.Is(err, imagestore.ErrManifest) && !json.Valid([]byte(*in.ImageManifest)):
		return invalid("ImageManifest", "Invalid JSON syntax")
	case errors.Is(err, imagestore.ErrManifest), errors.Is(err, imagestore.ErrTooLarge):
		return invalid("ImageManifest", "%s", strings.TrimPrefix(err.Error(), imagestore.ErrManifest.Error()+": "))
	}
	return p.storage(err, name)
}

// lacking says what a manifest refers to that the repository does not have.
func (p *Provider) lacking(ctx context.Context, name, manifest string, err error) error {
	type descriptor struct {
		Digest string `json:"digest"`
	}
	var refers struct {
		Config    descriptor   `json:"config"`
		Layers    []descriptor `json:"layers"`
		Manifests []descriptor `json:"manifests"`
	}
	if unreadable := json.Unmarshal([]byte(manifest), &refers); unreadable != nil {
		return p.storage(err, name)
	}
	list := func(all []descriptor, there func(string) bool) string {
		var digests []string
		for _, d := range all {
			if !there(d.Digest) && !slices.Contains(digests, d.Digest) {
				digests = append(digests, d.Digest)
			}
		}
		return " with digests '[" + strings.Join(digests, ", ") + "]' required for pushing image into " + strings.TrimPrefix(p.in(name), "the ") + " do not exist"
	}
	if refers.Manifests != nil {
		snap := p.store.Snapshot()
		return &ecrapi.ReferencedImagesNotFoundException{Message: new("Images" + list(refers.Manifests, func(digest string) bool {
			return records.Images.Has(snap, model.ImageKey(name, digest))
		}))}
	}
	return &ecrapi.LayersNotFoundException{Message: new("Layers" + list(append([]descriptor{refers.Config}, refers.Layers...), func(digest string) bool {
		_, err := p.cfg.Images.Layer(ctx, name, digest)
		return err == nil
	}))}
}

// BatchDeleteImage implements ecrapi.Service. Of a request that names an index
// and its images the index goes first, whatever their order.
func (p *Provider) BatchDeleteImage(ctx context.Context, in *ecrapi.BatchDeleteImageInput) (*ecrapi.BatchDeleteImageOutput, error) {
	name := *in.RepositoryName
	if _, err := p.repository(p.store.Snapshot(), in.RegistryId, in.RepositoryName); err != nil {
		return nil, err
	}
	out := &ecrapi.BatchDeleteImageOutput{ImageIds: []ecrapi.ImageIdentifier{}, Failures: []ecrapi.ImageFailure{}}
	for left := in.ImageIds; len(left) > 0; {
		var held []ecrapi.ImageIdentifier
		var reasons []ecrapi.ImageFailure
		for _, id := range left {
			gone, fault, err := p.deleteImage(ctx, name, id)
			switch {
			case err != nil:
				return nil, err
			case fault != nil && fault.code == ecrapi.ImageFailureCodeImageReferencedByManifestList:
				held, reasons = append(held, id), append(reasons, fault.of(id))
			case fault != nil:
				out.Failures = append(out.Failures, fault.of(id))
			default:
				out.ImageIds = append(out.ImageIds, gone...)
			}
		}
		if len(held) == len(left) { // and what they wait for does not go
			out.Failures = append(out.Failures, reasons...)
			break
		}
		left = held
	}
	return out, nil
}

// deleteImage takes away a tag, with the image when it is the last, or an image
// with all tags, and returns what went.
func (p *Provider) deleteImage(ctx context.Context, name string, id ecrapi.ImageIdentifier) (gone []ecrapi.ImageIdentifier, fault *failure, err error) {
	for more := true; more; {
		var now []ecrapi.ImageIdentifier
		_, err = p.store.Update(ctx, func(tx *store.Tx) (err error) {
			now, more = nil, false
			var image *model.Image
			if image, fault = find(tx, name, id); fault != nil {
				if len(gone) > 0 && fault == noImage {
					fault = nil // somebody else has finished it
				}
				return nil
			}
			tags := tagsOf(tx, image)
			if id.ImageDigest == nil {
				tags = []string{*id.ImageTag}
			}
			if last := id.ImageDigest != nil || len(tagsOf(tx, image)) == 1; last {
				if fault = holders(tx, image); fault != nil {
					return nil
				}
			}
			more = len(tags) > deletedAtOnce
			for _, tag := range tags[:min(len(tags), deletedAtOnce)] {
				now = append(now, ecrapi.ImageIdentifier{ImageDigest: &image.Digest, ImageTag: &tag})
				if _, err := imagestore.Untag(tx, name, tag); err != nil {
					return err
				}
			}
			if len(tags) > 0 {
				return nil // an image goes with its last tag
			}
			now = append(now, ecrapi.ImageIdentifier{ImageDigest: &image.Digest})
			return imagestore.Delete(tx, name, image.Digest)
		})
		if err != nil {
			return nil, nil, p.storage(err, name)
		}
		gone = append(gone, now...)
		id.ImageTag = tagOnly(id)
	}
	return gone, fault, nil
}

// tagOnly is the tag of an identifier that names nothing else: of an image that
// goes with all of its tags, that one may have gone already.
func tagOnly(id ecrapi.ImageIdentifier) *string {
	if id.ImageDigest != nil {
		return nil
	}
	return id.ImageTag
}

// holders tells of the indexes that need an image; nil when none does.
func holders(r store.Reader, image *model.Image) *failure {
	var digests []string
	for index := range records.Images.By(r, records.ImagesByManifest, image.Key()) {
		digests = append(digests, index.Digest)
	}
	if digests == nil {
		return nil
	}
	slices.Sort(digests)
	return &failure{ecrapi.ImageFailureCodeImageReferencedByManifestList, "Requested image referenced by manifest list: [" + strings.Join(digests, ", ") + "]"}
}
