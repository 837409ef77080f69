package rollout

import (
	"slices"

	"berth.dev/berth/internal/model"
)

// Pins gives a revision's images the digests that its tasks have found: what a
// tag means is decided once, by the first task that resolved it, and a task
// that is replaced later runs the same (behaviour/task-definitions.md §5.6).
// Tasks are those of the revision, in any order. It reports false when nothing
// is new; images is not changed.
func Pins(images []model.RevisionImage, tasks []*model.Task) ([]model.RevisionImage, bool) {
	var out []model.RevisionImage
	for i := range images {
		if images[i].ImageDigest != "" {
			continue
		}
		if digest := firstDigest(images[i].ContainerName, tasks); digest != "" {
			if out == nil {
				out = slices.Clone(images)
			}
			out[i].ImageDigest = digest
		}
	}
	return out, out != nil
}

// firstDigest is what the oldest of the tasks that know it found.
func firstDigest(container string, tasks []*model.Task) string {
	var first *model.Task
	digest := ""
	for _, t := range tasks {
		o, found := t.Observed.Container(container)
		if !found || o.ImageDigest == "" {
			continue
		}
		if first == nil || t.CreatedAt.Before(first.CreatedAt) || t.CreatedAt.Equal(first.CreatedAt) && t.ID < first.ID {
			first, digest = t, o.ImageDigest
		}
	}
	return digest
}
