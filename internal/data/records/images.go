package records

import (
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// The image registry.
var (
	Repositories = store.NewTable("repositories", (*model.Repository).Key)
	// Images has those of a repository next to each other: Prefix(name + "@").
	Images = store.NewTable("images", (*model.Image).Key, ImagesByBlob, ImagesByManifest, ImagesBySubject)
	// ImagesByBlob finds the images that need a blob: their manifest,
	// configuration and layers.
	ImagesByBlob = store.NewIndex("blob", func(i *model.Image) []string { return append([]string{i.Digest}, i.Blobs...) })
	// ImagesByManifest finds the indexes that need an image, by its
	// model.ImageKey.
	ImagesByManifest = store.NewIndex("manifest", func(i *model.Image) []string {
		keys := make([]string, len(i.Manifests))
		for n, digest := range i.Manifests {
			keys[n] = model.ImageKey(i.Repository, digest)
		}
		return keys
	})
	// ImagesBySubject finds what says something about an image, by its
	// model.ImageKey.
	ImagesBySubject = store.NewIndex("subject", func(i *model.Image) []string {
		if i.Subject == "" {
			return nil
		}
		return []string{model.ImageKey(i.Repository, i.Subject)}
	})
	// ImageTags has those of a repository next to each other: Prefix(name + ":").
	ImageTags = store.NewTable("imagetags", (*model.ImageTag).Key, ImageTagsByImage)
	// ImageTagsByImage finds the tags of an image by model.ImageKey.
	ImageTagsByImage = store.NewGuardedIndex("image", func(t *model.ImageTag) []string {
		return []string{model.ImageKey(t.Repository, t.Digest)}
	})
	PullThroughCacheRules = store.NewTable("pullthroughcacherules", (*model.PullThroughCacheRule).Key)
	RegistrySettings      = store.NewTable("registrysettings", (*model.RegistrySettings).Key)
	LifecyclePreviews     = store.NewTable("lifecyclepreviews", (*model.LifecyclePreview).Key)
)

// Ways into tasks.
var (
	RemoteSessions = store.NewTable("remotesessions", (*model.RemoteSession).Key, RemoteSessionsByTask)
	// RemoteSessionsByTask finds the sessions of a task by its id.
	RemoteSessionsByTask = store.NewIndex("task", func(s *model.RemoteSession) []string { return []string{s.TaskID} })
)
