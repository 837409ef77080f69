package ecr

import (
	"context"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecrapi"
)

// maxTags is how many a repository may have.
const maxTags = 50

// newTags puts what a call gives over the tags that a repository has.
func newTags(old []model.Tag, given []ecrapi.Tag) ([]model.Tag, error) {
	tags := slices.Clone(old)
	var seen []string
	for _, t := range given {
		switch {
		case slices.Contains(seen, *t.Key):
			return nil, &ecrapi.InvalidTagParameterException{Message: new("Duplicate tag keys found: " + *t.Key)}
		case strings.HasPrefix(strings.ToLower(*t.Key), "aws:"):
			return nil, &ecrapi.InvalidTagParameterException{Message: new("Tag keys beginning with 'aws:' are reserved: " + *t.Key)}
		case *t.Key == "" || len(*t.Key) > 128 || len(*t.Value) > 256:
			return nil, &ecrapi.InvalidTagParameterException{Message: new("Tag keys must have 1 to 128 characters, and tag values at most 256: " + *t.Key)}
		}
		seen = append(seen, *t.Key)
		tag := model.Tag{Key: *t.Key, Value: *t.Value}
		if i := slices.IndexFunc(tags, func(o model.Tag) bool { return o.Key == tag.Key }); i >= 0 {
			tags[i] = tag
		} else {
			tags = append(tags, tag)
		}
	}
	if len(tags) > maxTags {
		return nil, &ecrapi.TooManyTagsException{Message: new("The number of tags exceeds the maximum of 50 per resource.")}
	}
	return tags, nil
}

// TagResource implements ecrapi.Service.
func (p *Provider) TagResource(ctx context.Context, in *ecrapi.TagResourceInput) (*ecrapi.TagResourceOutput, error) {
	return &ecrapi.TagResourceOutput{}, p.editTags(ctx, *in.ResourceArn, func(old []model.Tag) ([]model.Tag, error) {
		return newTags(old, in.Tags)
	})
}

// UntagResource implements ecrapi.Service.
func (p *Provider) UntagResource(ctx context.Context, in *ecrapi.UntagResourceInput) (*ecrapi.UntagResourceOutput, error) {
	return &ecrapi.UntagResourceOutput{}, p.editTags(ctx, *in.ResourceArn, func(old []model.Tag) ([]model.Tag, error) {
		return slices.DeleteFunc(slices.Clone(old), func(t model.Tag) bool { return slices.Contains(in.TagKeys, t.Key) }), nil
	})
}

func (p *Provider) editTags(ctx context.Context, ref string, edit func([]model.Tag) ([]model.Tag, error)) error {
	registry, name, err := p.named(ref)
	if err != nil {
		return err
	}
	_, err = p.edit(ctx, &registry, &name, func(r *model.Repository) (err error) {
		r.Tags, err = edit(r.Tags)
		return err
	})
	return err
}

// ListTagsForResource implements ecrapi.Service.
func (p *Provider) ListTagsForResource(_ context.Context, in *ecrapi.ListTagsForResourceInput) (*ecrapi.ListTagsForResourceOutput, error) {
	registry, name, err := p.named(*in.ResourceArn)
	if err != nil {
		return nil, err
	}
	r, err := p.repository(p.store.Snapshot(), &registry, &name)
	if err != nil {
		return nil, err
	}
	out := &ecrapi.ListTagsForResourceOutput{Tags: []ecrapi.Tag{}}
	for _, t := range r.Tags {
		out.Tags = append(out.Tags, ecrapi.Tag{Key: &t.Key, Value: &t.Value})
	}
	return out, nil
}

// named reads a repository's ARN. One of another region has no repository here.
func (p *Provider) named(ref string) (registry, name string, err error) {
	a, err := arn.Parse(ref)
	if err != nil || a.Service != "ecr" || a.Type() != "repository" || len(a.AccountID) != 12 {
		return "", "", invalid("resourceArn", "Invalid ARN")
	}
	name = strings.Join(a.Path(), "/")
	if a.Region != p.scope.Region {
		return "", "", p.noRepository(&a.AccountID, name)
	}
	return a.AccountID, name, nil
}

// settings are those of the registry; empty ones when nobody has made any.
func settings(r store.Reader) *model.RegistrySettings {
	if s, ok := records.RegistrySettings.Get(r, (*model.RegistrySettings)(nil).Key()); ok {
		return s
	}
	return &model.RegistrySettings{}
}
