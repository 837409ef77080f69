package ssm

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ssmapi"
)

const maxTags = 50 // of a parameter

// mergeTags adds tags to those that are there; a key that is there gets the
// new value in its old place.
func mergeTags(old []model.Tag, given []ssmapi.Tag) ([]model.Tag, error) {
	merged := slices.Clone(old)
	for _, t := range given {
		if strings.HasPrefix(strings.ToLower(*t.Key), "aws:") {
			return nil, invalid("Tag keys that begin with aws: are reserved: %s", *t.Key)
		}
		i := slices.IndexFunc(merged, func(m model.Tag) bool { return m.Key == *t.Key })
		if i < 0 {
			merged = append(merged, model.Tag{Key: *t.Key, Value: *t.Value})
		} else {
			merged[i].Value = *t.Value
		}
	}
	if len(merged) > maxTags {
		return nil, &ssmapi.TooManyTagsError{Message: new(fmt.Sprintf("A parameter can have at most %d tags.", maxTags))}
	}
	return merged, nil
}

// tagged is the parameter whose tags are meant, by its name or ARN.
func (p *Provider) tagged(r store.Reader, kind ssmapi.ResourceTypeForTagging, id string) (*model.Parameter, error) {
	if kind != ssmapi.ResourceTypeForTaggingParameter {
		return nil, &ssmapi.InvalidResourceType{Message: new("The resource type isn't valid: this server has parameters only.")}
	}
	ref, ok, err := p.parseReference(r, id)
	parameter, exists := records.Parameters.Get(r, ref.name)
	if err != nil || !ok || !exists || ref.selector != "" {
		return nil, &ssmapi.InvalidResourceId{Message: new("The resource ID isn't valid. Verify that you entered the correct ID and try again.")}
	}
	return parameter, nil
}

func (p *Provider) editTags(ctx context.Context, kind ssmapi.ResourceTypeForTagging, id string, change func([]model.Tag) ([]model.Tag, error)) error {
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		parameter, err := p.tagged(tx, kind, id)
		if err != nil {
			return err
		}
		return records.Parameters.Edit(tx, parameter.Name, func(parameter *model.Parameter) (err error) {
			parameter.Tags, err = change(parameter.Tags)
			return err
		})
	})
	return err
}

// AddTagsToResource implements ssmapi.Service.
func (p *Provider) AddTagsToResource(ctx context.Context, in *ssmapi.AddTagsToResourceInput) (*ssmapi.AddTagsToResourceOutput, error) {
	if err := p.editTags(ctx, in.ResourceType, *in.ResourceId, func(old []model.Tag) ([]model.Tag, error) { return mergeTags(old, in.Tags) }); err != nil {
		return nil, err
	}
	return &ssmapi.AddTagsToResourceOutput{}, nil
}

// RemoveTagsFromResource implements ssmapi.Service.
func (p *Provider) RemoveTagsFromResource(ctx context.Context, in *ssmapi.RemoveTagsFromResourceInput) (*ssmapi.RemoveTagsFromResourceOutput, error) {
	if err := p.editTags(ctx, in.ResourceType, *in.ResourceId, func(old []model.Tag) ([]model.Tag, error) {
		return slices.DeleteFunc(slices.Clone(old), func(t model.Tag) bool { return slices.Contains(in.TagKeys, t.Key) }), nil
	}); err != nil {
		return nil, err
	}
	return &ssmapi.RemoveTagsFromResourceOutput{}, nil
}

// ListTagsForResource implements ssmapi.Service.
func (p *Provider) ListTagsForResource(_ context.Context, in *ssmapi.ListTagsForResourceInput) (*ssmapi.ListTagsForResourceOutput, error) {
	parameter, err := p.tagged(p.store.Snapshot(), in.ResourceType, *in.ResourceId)
	if err != nil {
		return nil, err
	}
	out := &ssmapi.ListTagsForResourceOutput{TagList: []ssmapi.Tag{}}
	for _, t := range parameter.Tags {
		out.TagList = append(out.TagList, ssmapi.Tag{Key: &t.Key, Value: &t.Value})
	}
	return out, nil
}
