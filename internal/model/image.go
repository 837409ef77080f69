package model

import "time"

// Tag mutabilities of a repository.
const (
	TagsMutable                = "MUTABLE"
	TagsImmutable              = "IMMUTABLE"
	TagsMutableWithExclusion   = "MUTABLE_WITH_EXCLUSION"
	TagsImmutableWithExclusion = "IMMUTABLE_WITH_EXCLUSION"
)

// Repository is a repository of the image registry. The provider of ECR writes
// it; the registry makes one for a pull through a cache rule.
type Repository struct {
	Name      string    `json:"repositoryName"`
	CreatedAt time.Time `json:"createdAt"`

	TagMutability string `json:"imageTagMutability"`
	// MutabilityExclusions are patterns of tags (with * as wildcard) for which
	// the opposite of TagMutability holds, with the …_WITH_EXCLUSION values.
	MutabilityExclusions []string `json:"mutabilityExclusions,omitempty"`
	ScanOnPush           bool     `json:"scanOnPush,omitempty"`
	EncryptionType       string   `json:"encryptionType,omitempty"`
	KMSKey               string   `json:"kmsKey,omitempty"`
	Policy               string   `json:"policy,omitempty"`
	LifecyclePolicy      string   `json:"lifecyclePolicy,omitempty"`
	// LifecycleEvaluatedAt is when the policy was last run.
	LifecycleEvaluatedAt *time.Time `json:"lifecycleEvaluatedAt,omitempty"`
	Tags                 []Tag      `json:"tags,omitempty"`
	// PullThroughPrefix names the cache rule that made the repository; its
	// images come from there.
	PullThroughPrefix string `json:"pullThroughPrefix,omitempty"`
}

// Key identifies the repository in the store.
func (r *Repository) Key() string { return r.Name }

// Image is a manifest of a repository. Its bytes are a blob of the image store
// (data/imagestore), which alone writes these records, in the transaction that
// also moves tags; the provider deletes them.
type Image struct {
	Repository        string `json:"repositoryName"`
	Digest            string `json:"imageDigest"` // of the manifest, sha256:…
	MediaType         string `json:"mediaType"`
	ArtifactMediaType string `json:"artifactMediaType,omitempty"`
	ConfigMediaType   string `json:"configMediaType,omitempty"`
	// Size is the layers and the configuration together, compressed, in bytes;
	// ManifestSize the manifest itself.
	Size         int64 `json:"size"`
	ManifestSize int64 `json:"manifestSize"`
	// Blobs are the digests of configuration and layers: garbage collection
	// leaves them alone while the image exists.
	Blobs []string `json:"blobs,omitempty"`
	// Manifests are those that an index refers to and that are in the
	// repository; they cannot be deleted before it.
	Manifests []string `json:"manifests,omitempty"`
	// Subject is the digest of the image that this one says something about.
	Subject  string    `json:"subject,omitempty"`
	PushedAt time.Time `json:"pushedAt"`
	// LastPulledAt is kept to the hour: a pull is not a write.
	LastPulledAt *time.Time `json:"lastPulledAt,omitempty"`
}

// Key identifies the image in the store; those of a repository are next to
// each other, below ImagesOf(repository).
func (i *Image) Key() string { return ImageKey(i.Repository, i.Digest) }

// ImageKey is the key of an image.
func ImageKey(repository, digest string) string { return repository + "@" + digest }

// ImagesOf is what the keys of a repository's images begin with.
func ImagesOf(repository string) string { return repository + "@" }

// ImageTag gives an image a name. Writers: as of Image.
type ImageTag struct {
	Repository string    `json:"repositoryName"`
	Tag        string    `json:"tag"`
	Digest     string    `json:"imageDigest"`
	TaggedAt   time.Time `json:"taggedAt"`
	// CheckedAt is when the upstream of a pull through cache last said that this
	// is still the image; nil since TaggedAt.
	CheckedAt *time.Time `json:"checkedAt,omitempty"`
}

// Key identifies the tag in the store.
func (t *ImageTag) Key() string { return ImageTagKey(t.Repository, t.Tag) }

// ImageTagKey is the key of a tag.
func ImageTagKey(repository, tag string) string { return repository + ":" + tag }

// ImageTagsOf is what the keys of a repository's tags begin with.
func ImageTagsOf(repository string) string { return repository + ":" }

// PullThroughCacheRule fills repositories below Prefix from another registry
// when somebody pulls from them.
type PullThroughCacheRule struct {
	Prefix           string    `json:"ecrRepositoryPrefix"`
	UpstreamURL      string    `json:"upstreamRegistryUrl"` // host, such as registry-1.docker.io
	UpstreamRegistry string    `json:"upstreamRegistry,omitempty"`
	UpstreamPrefix   string    `json:"upstreamRepositoryPrefix,omitempty"`
	CredentialARN    string    `json:"credentialArn,omitempty"` // of a secret with username and accessToken
	CustomRoleARN    string    `json:"customRoleArn,omitempty"`
	CreatedAt        time.Time `json:"createdAt"`
	UpdatedAt        time.Time `json:"updatedAt"`
}

// Key identifies the rule in the store.
func (r *PullThroughCacheRule) Key() string { return r.Prefix }

// RegistrySettings are those of the whole registry; there is one record.
type RegistrySettings struct {
	Policy string `json:"policy,omitempty"`
	// AccountSettings are those of PutAccountSetting, by name.
	AccountSettings map[string]string `json:"accountSettings,omitempty"`
}

// Key identifies the settings in the store.
func (*RegistrySettings) Key() string { return "registry" }

// LifecyclePreview is a lifecycle policy that somebody wants to try; one of each
// repository is kept. What it would delete is worked out when it is asked for.
type LifecyclePreview struct {
	Repository string    `json:"repositoryName"`
	Policy     string    `json:"policy"`
	StartedAt  time.Time `json:"startedAt"`
}

// Key identifies the preview in the store.
func (p *LifecyclePreview) Key() string { return p.Repository }
