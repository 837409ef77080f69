package ecr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"berth.dev/berth/internal/data/imagestore"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecrapi"
)

// tagsOf are an image's, in order.
func tagsOf(r store.Reader, image *model.Image) []string {
	var tags []string
	for t := range records.ImageTags.By(r, records.ImageTagsByImage, image.Key()) {
		tags = append(tags, t.Tag)
	}
	slices.Sort(tags)
	return tags
}

// listed reports whether an image with some tags passes a filter. No image is
// archived, or comes from there.
func listed(tags int, status ecrapi.TagStatus, state ecrapi.ImageStatusFilter) bool {
	switch {
	case state != "" && state != ecrapi.ImageStatusFilterActive && state != ecrapi.ImageStatusFilterAny:
		return false
	case status == ecrapi.TagStatusTagged:
		return tags > 0
	case status == ecrapi.TagStatusUntagged:
		return tags == 0
	}
	return true
}

// ListImages implements ecrapi.Service: one entry for each tag, and one for each
// image without any, which are first.
func (p *Provider) ListImages(_ context.Context, in *ecrapi.ListImagesInput) (*ecrapi.ListImagesOutput, error) {
	snap := p.store.Snapshot()
	if _, err := p.repository(snap, in.RegistryId, in.RepositoryName); err != nil {
		return nil, err
	}
	filter := value(in.Filter)
	var all []ecrapi.ImageIdentifier
	for image := range records.Images.Prefix(snap, model.ImagesOf(*in.RepositoryName)) {
		tags := tagsOf(snap, image)
		if !listed(len(tags), filter.TagStatus, filter.ImageStatus) {
			continue
		}
		if len(tags) == 0 {
			all = append(all, ecrapi.ImageIdentifier{ImageDigest: &image.Digest})
		}
		for _, tag := range tags {
			all = append(all, ecrapi.ImageIdentifier{ImageDigest: &image.Digest, ImageTag: &tag})
		}
	}
	key := func(id ecrapi.ImageIdentifier) string { return value(id.ImageTag) + "\x00" + *id.ImageDigest }
	slices.SortFunc(all, func(a, b ecrapi.ImageIdentifier) int {
		if key(a) < key(b) {
			return -1
		}
		return 1
	})
	page, next, err := pageOf("ListImages "+*in.RepositoryName, all, key, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &ecrapi.ListImagesOutput{ImageIds: []ecrapi.ImageIdentifier{}, NextToken: next}
	out.ImageIds = append(out.ImageIds, page...)
	return out, nil
}

// DescribeImages implements ecrapi.Service: one entry for each digest.
func (p *Provider) DescribeImages(_ context.Context, in *ecrapi.DescribeImagesInput) (*ecrapi.DescribeImagesOutput, error) {
	if err := unpaged("imageIds", len(in.ImageIds) > 0, in.NextToken, in.MaxResults); err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	repository, err := p.repository(snap, in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	out := &ecrapi.DescribeImagesOutput{ImageDetails: []ecrapi.ImageDetail{}}
	filter := value(in.Filter)
	var all []*model.Image
	if len(in.ImageIds) > 0 {
		if all, err = p.allOf(snap, repository.Name, in.ImageIds); err != nil {
			return nil, err
		}
	} else {
		all = slices.Collect(records.Images.Prefix(snap, model.ImagesOf(repository.Name)))
	}
	all = slices.DeleteFunc(all, func(i *model.Image) bool {
		return !listed(len(tagsOf(snap, i)), filter.TagStatus, filter.ImageStatus)
	})
	if len(in.ImageIds) == 0 {
		digest := func(i *model.Image) string { return i.Digest }
		if all, out.NextToken, err = pageOf("DescribeImages "+repository.Name, all, digest, in.NextToken, in.MaxResults); err != nil {
			return nil, err
		}
	}
	for _, image := range all {
		out.ImageDetails = append(out.ImageDetails, p.detail(snap, repository, image))
	}
	return out, nil
}

func (p *Provider) detail(r store.Reader, repository *model.Repository, image *model.Image) ecrapi.ImageDetail {
	return ecrapi.ImageDetail{
		RegistryId: &p.scope.AccountID, RepositoryName: &image.Repository, ImageDigest: &image.Digest, ImageTags: tagsOf(r, image),
		ImageSizeInBytes: &image.Size, ImagePushedAt: &image.PushedAt, ImageScanStatus: scanned(repository),
		ImageManifestMediaType: &image.MediaType, ArtifactMediaType: optional(image.ArtifactMediaType), LastRecordedPullTime: image.LastPulledAt,
		SubjectManifestDigest: optional(image.Subject), ImageStatus: ecrapi.ImageStatusActive,
	}
}

// failure is why something cannot be done with one image of a batch.
type failure struct {
	code   ecrapi.ImageFailureCode
	reason string
}

var (
	digestForm = regexp.MustCompile(`^[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+$`)

	missing  = &failure{ecrapi.ImageFailureCodeMissingDigestAndTag, "Invalid request parameters: both tag and digest cannot be null"}
	noImage  = &failure{ecrapi.ImageFailureCodeImageNotFound, "Requested image not found"}
	badTag   = &failure{ecrapi.ImageFailureCodeInvalidImageTag, "Invalid request parameters: image tag should satisfy the regex '[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}'"}
	mismatch = &failure{ecrapi.ImageFailureCodeImageTagDoesNotMatchDigest, "Requested image tag does not match the requested image digest"}
	badHash  = &failure{ecrapi.ImageFailureCodeInvalidImageDigest, "Invalid request parameters: image digest should satisfy the regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'"}
)

// find looks for the image that an identifier means.
func find(r store.Reader, repository string, id ecrapi.ImageIdentifier) (*model.Image, *failure) {
	switch {
	case id.ImageDigest == nil && id.ImageTag == nil:
		return nil, missing
	case id.ImageDigest != nil && !digestForm.MatchString(*id.ImageDigest):
		return nil, badHash
	case id.ImageTag != nil && !imagestore.ValidTag(*id.ImageTag):
		return nil, badTag
	}
	reference := value(id.ImageDigest)
	if id.ImageTag != nil {
		tag, ok := records.ImageTags.Get(r, model.ImageTagKey(repository, *id.ImageTag))
		switch {
		case !ok:
			return nil, noImage
		case reference != "" && reference != tag.Digest:
			return nil, mismatch
		}
		reference = tag.Digest
	}
	image, ok := records.Images.Get(r, model.ImageKey(repository, reference))
	if !ok {
		return nil, noImage
	}
	return image, nil
}

func (f *failure) of(id ecrapi.ImageIdentifier) ecrapi.ImageFailure {
	return ecrapi.ImageFailure{ImageId: &id, FailureCode: f.code, FailureReason: &f.reason}
}

// allOf finds images where all must be there, each once.
func (p *Provider) allOf(r store.Reader, repository string, ids []ecrapi.ImageIdentifier) ([]*model.Image, error) {
	var all []*model.Image
	for _, id := range ids {
		image, fault := find(r, repository, id)
		switch {
		case fault == noImage || fault == mismatch:
			return nil, p.noImage(id, repository)
		case fault != nil:
			return nil, &ecrapi.InvalidParameterException{Message: &fault.reason}
		case !slices.Contains(all, image):
			all = append(all, image)
		}
	}
	return all, nil
}

// described finds one image that must be there, and names it in full.
func (p *Provider) described(registry, repository *string, id ecrapi.ImageIdentifier) (*ecrapi.ImageIdentifier, error) {
	snap := p.store.Snapshot()
	if _, err := p.repository(snap, registry, repository); err != nil {
		return nil, err
	}
	images, err := p.allOf(snap, *repository, []ecrapi.ImageIdentifier{id})
	if err != nil {
		return nil, err
	}
	return &ecrapi.ImageIdentifier{ImageDigest: &images[0].Digest, ImageTag: id.ImageTag}, nil
}

// BatchGetImage implements ecrapi.Service. It counts as a pull.
func (p *Provider) BatchGetImage(ctx context.Context, in *ecrapi.BatchGetImageInput) (*ecrapi.BatchGetImageOutput, error) {
	snap := p.store.Snapshot()
	if _, err := p.repository(snap, in.RegistryId, in.RepositoryName); err != nil {
		return nil, err
	}
	out := &ecrapi.BatchGetImageOutput{Images: []ecrapi.Image{}, Failures: []ecrapi.ImageFailure{}}
	for _, id := range in.ImageIds {
		image, fault := find(snap, *in.RepositoryName, id)
		if fault == nil && len(in.AcceptedMediaTypes) > 0 && !slices.Contains(in.AcceptedMediaTypes, image.MediaType) {
			fault = &failure{noImage.code, "Requested image is not of an accepted media type: " + image.MediaType}
		}
		var manifest []byte
		if fault == nil {
			var err error
			_, manifest, err = p.cfg.Images.Get(ctx, *in.RepositoryName, image.Digest)
			switch {
			case errors.Is(err, imagestore.ErrNoImage):
				fault = noImage // it went just now
			case err != nil:
				return nil, fmt.Errorf("reading a manifest: %w", err)
			}
		}
		if fault != nil {
			out.Failures = append(out.Failures, fault.of(id))
			continue
		}
		if err := p.cfg.Images.Pulled(ctx, p.cfg.Now(), image.Repository, image.Digest); err != nil {
			return nil, fmt.Errorf("noting a pull: %w", err)
		}
		out.Images = append(out.Images, p.imageOut(image, id.ImageTag, manifest))
	}
	return out, nil
}

func (p *Provider) imageOut(image *model.Image, tag *string, manifest []byte) ecrapi.Image {
	return ecrapi.Image{
		RegistryId: &p.scope.AccountID, RepositoryName: &image.Repository, ImageId: &ecrapi.ImageIdentifier{ImageDigest: &image.Digest, ImageTag: tag},
		ImageManifest: new(string(manifest)), ImageManifestMediaType: &image.MediaType,
	}
}

// ListImageReferrers implements ecrapi.Service.
func (p *Provider) ListImageReferrers(ctx context.Context, in *ecrapi.ListImageReferrersInput) (*ecrapi.ListImageReferrersOutput, error) {
	snap := p.store.Snapshot()
	if _, err := p.repository(snap, in.RegistryId, in.RepositoryName); err != nil {
		return nil, err
	}
	if !digestForm.MatchString(*in.SubjectId.ImageDigest) {
		return nil, &ecrapi.InvalidParameterException{Message: &badHash.reason}
	}
	filter := value(in.Filter)
	var all []*model.Image
	for image := range records.Images.By(snap, records.ImagesBySubject, model.ImageKey(*in.RepositoryName, *in.SubjectId.ImageDigest)) {
		archived := filter.ArtifactStatus != "" && filter.ArtifactStatus != ecrapi.ArtifactStatusFilterActive && filter.ArtifactStatus != ecrapi.ArtifactStatusFilterAny
		if !archived && (len(filter.ArtifactTypes) == 0 || slices.Contains(filter.ArtifactTypes, image.ArtifactMediaType)) {
			all = append(all, image)
		}
	}
	size := in.MaxResults
	if size == nil {
		size = new(int32(50)) // as many as a call may ask for
	}
	digest := func(i *model.Image) string { return i.Digest }
	page, next, err := pageOf("ListImageReferrers "+*in.RepositoryName+"@"+*in.SubjectId.ImageDigest, all, digest, in.NextToken, size)
	if err != nil {
		return nil, err
	}
	out := &ecrapi.ListImageReferrersOutput{Referrers: []ecrapi.ImageReferrer{}, NextToken: next}
	for _, image := range page {
		_, manifest, err := p.cfg.Images.Get(ctx, image.Repository, image.Digest)
		if errors.Is(err, imagestore.ErrNoImage) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading a manifest: %w", err)
		}
		var annotated struct {
			Annotations map[string]string `json:"annotations"`
		}
		if err := json.Unmarshal(manifest, &annotated); err != nil {
			return nil, fmt.Errorf("reading a manifest: %w", err)
		}
		out.Referrers = append(out.Referrers, ecrapi.ImageReferrer{
			Digest: &image.Digest, MediaType: &image.MediaType, ArtifactType: optional(image.ArtifactMediaType), Size: &image.ManifestSize,
			Annotations: annotated.Annotations, ArtifactStatus: ecrapi.ArtifactStatusActive,
		})
	}
	return out, nil
}
