package iam

import (
	"context"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/iamapi"
)

// newTags checks the tags of something new. kind is what errors call it.
func newTags(kind string, given []iamapi.Tag) ([]model.Tag, error) {
	return mergeTags(kind, nil, given)
}

// mergeTags adds tags to those that are there. Keys are compared without case:
// a key that is there gets the new value and the new case in its old place.
func mergeTags(kind string, old []model.Tag, given []iamapi.Tag) ([]model.Tag, error) {
	merged := slices.Clone(old)
	seen := map[string]bool{}
	for _, t := range given {
		tag := model.Tag{Key: *t.Key, Value: *t.Value}
		folded := strings.ToLower(tag.Key)
		if seen[folded] {
			return nil, invalidInput("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		seen[folded] = true
		if strings.HasPrefix(folded, "aws:") {
			return nil, invalidInput("Tag keys starting with 'aws:' are reserved for system use.")
		}
		if i := slices.IndexFunc(merged, func(m model.Tag) bool { return strings.EqualFold(m.Key, tag.Key) }); i >= 0 {
			merged[i] = tag
		} else {
			merged = append(merged, tag)
		}
	}
	if len(merged) > maxTags {
		return nil, overQuota("TagsPer"+kind, maxTags)
	}
	return merged, nil
}

// lessTags removes keys, compared without case. A key that is not there is no
// error.
func lessTags(old []model.Tag, keys []string) []model.Tag {
	return slices.DeleteFunc(slices.Clone(old), func(t model.Tag) bool {
		return slices.ContainsFunc(keys, func(key string) bool { return strings.EqualFold(key, t.Key) })
	})
}

// tagShapes are tags as answers have them; of none there is no member.
func tagShapes(tags []model.Tag) []iamapi.Tag {
	if len(tags) == 0 {
		return nil
	}
	return each(tags, func(t model.Tag) iamapi.Tag { return iamapi.Tag{Key: &t.Key, Value: &t.Value} })
}

// tagPage is the part of a resource's tags that a call asked for, by key.
func tagPage(a asked, tags []model.Tag) (page[iamapi.Tag], error) {
	sorted := slices.SortedFunc(slices.Values(tags), func(a, b model.Tag) int { return strings.Compare(a.Key, b.Key) })
	shapes := each(sorted, func(t model.Tag) iamapi.Tag { return iamapi.Tag{Key: &t.Key, Value: &t.Value} })
	return pageOf(a, shapes, func(t iamapi.Tag) string { return *t.Key })
}

// tagged is how the tags of one sort of resource are found.
type tagged[T any] struct {
	kind string // in quotas: "User"
	edit func(tx *store.Tx, name string, change func(*T) error) error
	tags func(*T) *[]model.Tag
}

func tag[T any](ctx context.Context, p *Provider, how tagged[T], name string, given []iamapi.Tag) error {
	return p.update(ctx, func(tx *store.Tx) error {
		return how.edit(tx, name, func(rec *T) (err error) {
			tags := how.tags(rec)
			*tags, err = mergeTags(how.kind, *tags, given)
			return err
		})
	})
}

func untag[T any](ctx context.Context, p *Provider, how tagged[T], name string, keys []string) error {
	return p.update(ctx, func(tx *store.Tx) error {
		return how.edit(tx, name, func(rec *T) error {
			tags := how.tags(rec)
			*tags = lessTags(*tags, keys)
			return nil
		})
	})
}
