package secretsmanager

import (
	"context"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/secretsmanagerapi"
)

// maxTags is how many tags a secret can have.
const maxTags = 50

// mergeTags adds tags to those that are there; a key that is there gets the new
// value in its old place.
func mergeTags(old []model.Tag, given []secretsmanagerapi.Tag) ([]model.Tag, error) {
	var changes []model.Tag
	for _, t := range given {
		key := value(t.Key)
		switch {
		case key == "":
			return nil, invalidParameter("A tag key can't be empty.")
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return nil, invalidParameter("Tag keys starting with aws: are reserved for system use.")
		}
		changes = append(changes, model.Tag{Key: key, Value: value(t.Value)})
	}
	merged := model.MergeTags(old, changes)
	if len(merged) > maxTags {
		return nil, invalidParameter("A secret can have at most %d tags.", maxTags)
	}
	return merged, nil
}

func tagsOut(tags []model.Tag) []secretsmanagerapi.Tag {
	var out []secretsmanagerapi.Tag
	for i := range tags {
		out = append(out, secretsmanagerapi.Tag{Key: &tags[i].Key, Value: &tags[i].Value})
	}
	return out
}

// TagResource implements secretsmanagerapi.Service.
func (p *Provider) TagResource(ctx context.Context, in *secretsmanagerapi.TagResourceInput) (*secretsmanagerapi.TagResourceOutput, error) {
	_, err := p.edit(ctx, *in.SecretId, func(_ *store.Tx, s *model.Secret) (err error) {
		s.Tags, err = mergeTags(s.Tags, in.Tags)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &secretsmanagerapi.TagResourceOutput{}, nil
}

// UntagResource implements secretsmanagerapi.Service.
func (p *Provider) UntagResource(ctx context.Context, in *secretsmanagerapi.UntagResourceInput) (*secretsmanagerapi.UntagResourceOutput, error) {
	_, err := p.edit(ctx, *in.SecretId, func(_ *store.Tx, s *model.Secret) error {
		s.Tags = slices.DeleteFunc(slices.Clone(s.Tags), func(t model.Tag) bool { return slices.Contains(in.TagKeys, t.Key) })
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &secretsmanagerapi.UntagResourceOutput{}, nil
}
