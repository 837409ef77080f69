package deployment

import (
	"slices"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/imageref"
	"berth.dev/berth/internal/rules/rollout"
)

// pin writes down what the images of the service's revisions mean, as far as
// their tasks have found out, and reports whether that was news.
func (a *attempt) pin() (bool, error) {
	news := false
	for _, d := range a.in.Deployments {
		if d.Status == model.DeploymentInactive {
			continue
		}
		revision, found := records.ServiceRevisions.Get(a.tx, d.RevisionID)
		if !found {
			continue // launch says so, if it is needed
		}
		own := slices.DeleteFunc(slices.Clone(a.in.Tasks), func(t *model.Task) bool { return t.StartedBy != d.ID })
		images, changed := rollout.Pins(revision.Images, own)
		if !changed {
			continue
		}
		if err := pinned(a.tx, revision.ID, images); err != nil {
			return false, err
		}
		news = true
	}
	return news, nil
}

// resolve pins the images of Berth's own registry before the first task of a
// revision starts: their tags are in the same store, so that even tasks that
// start together run the same. A tag that does not exist (yet, when a cache
// rule is to fill it) is left to the tasks.
func (a *attempt) resolve(scope arn.Scope, revision *model.ServiceRevision) (*model.ServiceRevision, error) {
	images := slices.Clone(revision.Images)
	changed := false
	for i := range images {
		if images[i].ImageDigest != "" {
			continue
		}
		name, err := imageref.Parse(images[i].Image)
		if err != nil || name.Account != scope.AccountID || name.Region != scope.Region || name.Digest != "" {
			continue
		}
		if tag, found := records.ImageTags.Get(a.tx, model.ImageTagKey(name.Repository, name.Tag)); found {
			images[i].ImageDigest, changed = tag.Digest, true
		}
	}
	if !changed {
		return revision, nil
	}
	if err := pinned(a.tx, revision.ID, images); err != nil {
		return nil, err
	}
	resolved := *revision
	resolved.Images = images
	return &resolved, nil
}

func pinned(tx *store.Tx, revisionID string, images []model.RevisionImage) error {
	return records.ServiceRevisions.Edit(tx, revisionID, func(r *model.ServiceRevision) error {
		r.Images = images
		return nil
	})
}
