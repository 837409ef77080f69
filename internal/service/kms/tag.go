package kms

import (
	"context"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/kmsapi"
)

// maxTags is how many tags a key can have.
const maxTags = 50

// mergeTags adds tags to those that are there; a key that is there gets the new
// value in its old place.
func mergeTags(old []model.Tag, given []kmsapi.Tag) ([]model.Tag, error) {
	merged := slices.Clone(old)
	for i, t := range given {
		key := *t.TagKey
		if strings.HasPrefix(strings.ToLower(key), "aws:") {
			return nil, &kmsapi.TagException{Message: new("Tags beginning with aws: are reserved")}
		}
		if slices.ContainsFunc(given[:i], func(o kmsapi.Tag) bool { return *o.TagKey == key }) {
			return nil, &kmsapi.TagException{Message: new("Duplicate tag keys")}
		}
		at := slices.IndexFunc(merged, func(m model.Tag) bool { return m.Key == key })
		if at < 0 {
			merged = append(merged, model.Tag{Key: key, Value: *t.TagValue})
		} else {
			merged[at].Value = *t.TagValue
		}
	}
	if len(merged) > maxTags {
		return nil, &kmsapi.LimitExceededException{Message: new("Too many tags")}
	}
	return merged, nil
}

// TagResource implements kmsapi.Service.
func (p *Provider) TagResource(ctx context.Context, in *kmsapi.TagResourceInput) (*kmsapi.TagResourceOutput, error) {
	_, err := p.change(ctx, in.KeyId, "TagResource", kept, func(_ *store.Tx, key *model.KMSKey) (err error) {
		key.Tags, err = mergeTags(key.Tags, in.Tags)
		return err
	})
	return &kmsapi.TagResourceOutput{}, err
}

// UntagResource implements kmsapi.Service. Tags that are not there do not matter.
func (p *Provider) UntagResource(ctx context.Context, in *kmsapi.UntagResourceInput) (*kmsapi.UntagResourceOutput, error) {
	_, err := p.change(ctx, in.KeyId, "UntagResource", kept, func(_ *store.Tx, key *model.KMSKey) error {
		key.Tags = slices.DeleteFunc(key.Tags, func(t model.Tag) bool { return slices.Contains(in.TagKeys, t.Key) })
		return nil
	})
	return &kmsapi.UntagResourceOutput{}, err
}

// ListResourceTags implements kmsapi.Service.
func (p *Provider) ListResourceTags(_ context.Context, in *kmsapi.ListResourceTagsInput) (*kmsapi.ListResourceTagsOutput, error) {
	key, err := p.byID(p.store.Snapshot(), in.KeyId)
	if err != nil {
		return nil, err
	}
	sorted := slices.SortedFunc(slices.Values(key.Tags), func(a, b model.Tag) int { return strings.Compare(a.Key, b.Key) })
	page, err := pageOf("tags", slices.Values(sorted), func(t model.Tag) string { return t.Key }, in.Marker, in.Limit, maxTags)
	if err != nil {
		return nil, err
	}
	out := &kmsapi.ListResourceTagsOutput{Tags: []kmsapi.Tag{}, NextMarker: page.next, Truncated: page.truncated()}
	for _, t := range page.items {
		out.Tags = append(out.Tags, kmsapi.Tag{TagKey: &t.Key, TagValue: &t.Value})
	}
	return out, nil
}
