package records

import (
	"slices"

	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/imagelifecycle"
)

// LifecycleImages are the images of a repository as lifecycle policies see them.
func LifecycleImages(r store.Reader, repository string) []imagelifecycle.Image {
	var all []imagelifecycle.Image
	for image := range Images.Prefix(r, model.ImagesOf(repository)) {
		seen := imagelifecycle.Image{Digest: image.Digest, PushedAt: image.PushedAt, Manifests: image.Manifests, Subject: image.Subject}
		if image.LastPulledAt != nil {
			seen.PulledAt = *image.LastPulledAt
		}
		for tag := range ImageTags.By(r, ImageTagsByImage, image.Key()) {
			seen.Tags = append(seen.Tags, tag.Tag)
		}
		slices.Sort(seen.Tags)
		all = append(all, seen)
	}
	return all
}
