package ecr

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/imagestore"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecrapi"
)

// CreateRepository implements ecrapi.Service.
func (p *Provider) CreateRepository(ctx context.Context, in *ecrapi.CreateRepositoryInput) (*ecrapi.CreateRepositoryOutput, error) {
	if !p.ours(in.RegistryId) {
		return nil, invalid("registryId", "A repository can only be created in the registry with id %s", p.scope.AccountID)
	}
	repository := &model.Repository{Name: *in.RepositoryName, TagMutability: cmp.Or(string(in.ImageTagMutability), model.TagsMutable), EncryptionType: string(ecrapi.EncryptionTypeAes256)}
	var err error
	if repository.MutabilityExclusions, err = exclusions(repository.TagMutability, in.ImageTagMutabilityExclusionFilters); err != nil {
		return nil, err
	}
	if err := checkEncryption(in.EncryptionConfiguration); err != nil {
		return nil, err
	}
	if in.ImageScanningConfiguration != nil {
		repository.ScanOnPush = value(in.ImageScanningConfiguration.ScanOnPush)
	}
	if repository.Tags, err = newTags(nil, in.Tags); err != nil {
		return nil, err
	}
	_, err = p.store.Update(ctx, func(tx *store.Tx) error {
		if records.Repositories.Has(tx, repository.Name) {
			return &ecrapi.RepositoryAlreadyExistsException{
				Message: new("The repository with name '" + repository.Name + "' already exists in the registry with id '" + p.scope.AccountID + "'"),
			}
		}
		repository.CreatedAt = tx.Now()
		records.Repositories.Put(tx, repository)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecrapi.CreateRepositoryOutput{Repository: p.repositoryOut(repository)}, nil
}

// checkEncryption refuses keys: content is not encrypted by Berth. AES256 is
// what AWS calls what nobody asked for, and leaves to whom owns the disk.
func checkEncryption(c *ecrapi.EncryptionConfiguration) error {
	if c == nil || c.EncryptionType == ecrapi.EncryptionTypeAes256 && c.KmsKey == nil {
		return nil
	}
	if c.EncryptionType == ecrapi.EncryptionTypeAes256 {
		return invalid("encryptionConfiguration", "A KMS key cannot be specified with encryption type AES256")
	}
	return invalid("encryptionConfiguration", "Encryption type %s is not available: the registry does not encrypt what it keeps; encrypt its disk", c.EncryptionType)
}

// exclusions are the patterns of a mutability that has some.
func exclusions(mutability string, filters []ecrapi.ImageTagMutabilityExclusionFilter) ([]string, error) {
	excluding := strings.HasSuffix(mutability, "_WITH_EXCLUSION")
	switch {
	case excluding && len(filters) == 0:
		return nil, invalid("imageTagMutabilityExclusionFilters", "Exclusion filters are required when imageTagMutability is %s", mutability)
	case !excluding && len(filters) > 0:
		return nil, invalid("imageTagMutabilityExclusionFilters", "Exclusion filters cannot be specified when imageTagMutability is %s", mutability)
	}
	var patterns []string
	for _, f := range filters {
		if strings.Count(*f.Filter, "*") > 2 {
			return nil, invalid("imageTagMutabilityExclusionFilters", "A filter can have at most 2 wildcards: %s", *f.Filter)
		}
		if slices.Contains(patterns, *f.Filter) {
			return nil, invalid("imageTagMutabilityExclusionFilters", "Filters must be unique: %s", *f.Filter)
		}
		patterns = append(patterns, *f.Filter)
	}
	return patterns, nil
}

func filtersOut(patterns []string) []ecrapi.ImageTagMutabilityExclusionFilter {
	var out []ecrapi.ImageTagMutabilityExclusionFilter
	for _, pattern := range patterns {
		out = append(out, ecrapi.ImageTagMutabilityExclusionFilter{Filter: &pattern, FilterType: ecrapi.ImageTagMutabilityExclusionFilterTypeWildcard})
	}
	return out
}

func (p *Provider) repositoryOut(r *model.Repository) *ecrapi.Repository {
	return &ecrapi.Repository{
		RepositoryName: &r.Name, RepositoryArn: new(p.scope.Repository(r.Name)), RepositoryUri: new(p.registry() + "/" + r.Name),
		RegistryId: &p.scope.AccountID, CreatedAt: &r.CreatedAt,
		ImageTagMutability:                 ecrapi.ImageTagMutability(cmp.Or(r.TagMutability, model.TagsMutable)),
		ImageTagMutabilityExclusionFilters: filtersOut(r.MutabilityExclusions),
		ImageScanningConfiguration:         &ecrapi.ImageScanningConfiguration{ScanOnPush: &r.ScanOnPush},
		EncryptionConfiguration:            &ecrapi.EncryptionConfiguration{EncryptionType: ecrapi.EncryptionTypeAes256},
	}
}

// DescribeRepositories implements ecrapi.Service. Repositories that are named
// come in the order of their names in the request.
func (p *Provider) DescribeRepositories(_ context.Context, in *ecrapi.DescribeRepositoriesInput) (*ecrapi.DescribeRepositoriesOutput, error) {
	if err := unpaged("repositoryNames", len(in.RepositoryNames) > 0, in.NextToken, in.MaxResults); err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	out := &ecrapi.DescribeRepositoriesOutput{Repositories: []ecrapi.Repository{}}
	var seen []string
	for _, name := range in.RepositoryNames {
		r, err := p.repository(snap, in.RegistryId, &name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(seen, name) {
			seen = append(seen, name)
			out.Repositories = append(out.Repositories, *p.repositoryOut(r))
		}
	}
	if len(in.RepositoryNames) > 0 || !p.ours(in.RegistryId) {
		return out, nil
	}
	page, next, err := pageOf("DescribeRepositories", slices.Collect(records.Repositories.All(snap)), (*model.Repository).Key, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	for _, r := range page {
		out.Repositories = append(out.Repositories, *p.repositoryOut(r))
	}
	out.NextToken = next
	return out, nil
}

// DeleteRepository implements ecrapi.Service. The images of a repository that
// goes by force go first, in pieces that fit into transactions; when something
// fails in between, the repository is there with what is left of them.
func (p *Provider) DeleteRepository(ctx context.Context, in *ecrapi.DeleteRepositoryInput) (*ecrapi.DeleteRepositoryOutput, error) {
	name := *in.RepositoryName
	for {
		var repository *model.Repository
		empty := false
		_, err := p.store.Update(ctx, func(tx *store.Tx) (err error) {
			if repository, err = p.repository(tx, in.RegistryId, in.RepositoryName); err != nil {
				return err
			}
			if empty, err = p.empty(tx, name, value(in.Force)); err != nil || !empty {
				return err
			}
			// An image that is pushed just now must not outlive its repository.
			records.Repositories.Guard(tx, name)
			records.Images.GuardPrefix(tx, model.ImagesOf(name))
			records.LifecyclePreviews.Delete(tx, name)
			records.Repositories.Delete(tx, name)
			return nil
		})
		if err != nil {
			return nil, err
		}
		if empty {
			return &ecrapi.DeleteRepositoryOutput{Repository: p.repositoryOut(repository)}, nil
		}
	}
}

// deletedAtOnce is how many tags and images one transaction takes.
const deletedAtOnce = 50

// empty takes some images away if it may, and reports whether none is left.
func (p *Provider) empty(tx *store.Tx, name string, force bool) (bool, error) {
	n := 0
	// What nobody refers to can go: indexes before what they hold.
	var tags, images []string
	for image := range records.Images.Prefix(tx, model.ImagesOf(name)) {
		if !force {
			return false, &ecrapi.RepositoryNotEmptyException{
				Message: new("The repository with name '" + name + "' in registry with id '" + p.scope.AccountID + "' cannot be deleted because it still contains images"),
			}
		}
		if n == deletedAtOnce {
			break
		}
		if records.Images.HasBy(tx, records.ImagesByManifest, image.Key()) {
			continue
		}
		last := true
		for tag := range records.ImageTags.By(tx, records.ImageTagsByImage, image.Key()) {
			if n++; n > deletedAtOnce {
				last, n = false, deletedAtOnce
				break
			}
			tags = append(tags, tag.Tag)
		}
		if last {
			n++
			images = append(images, image.Digest)
		}
	}
	for _, tag := range tags {
		if _, err := imagestore.Untag(tx, name, tag); err != nil {
			return false, err
		}
	}
	for _, digest := range images {
		if records.Images.Has(tx, model.ImageKey(name, digest)) { // not gone with its last tag
			if err := imagestore.Delete(tx, name, digest); err != nil {
				return false, err
			}
		}
	}
	return len(tags)+len(images) == 0, nil
}

// PutImageTagMutability implements ecrapi.Service.
func (p *Provider) PutImageTagMutability(ctx context.Context, in *ecrapi.PutImageTagMutabilityInput) (*ecrapi.PutImageTagMutabilityOutput, error) {
	patterns, err := exclusions(string(in.ImageTagMutability), in.ImageTagMutabilityExclusionFilters)
	if err != nil {
		return nil, err
	}
	_, err = p.edit(ctx, in.RegistryId, in.RepositoryName, func(r *model.Repository) error {
		r.TagMutability, r.MutabilityExclusions = string(in.ImageTagMutability), patterns
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecrapi.PutImageTagMutabilityOutput{
		RegistryId: &p.scope.AccountID, RepositoryName: in.RepositoryName,
		ImageTagMutability: in.ImageTagMutability, ImageTagMutabilityExclusionFilters: filtersOut(patterns),
	}, nil
}
