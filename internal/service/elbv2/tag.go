package elbv2

import (
	"context"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/elbv2api"
)

// maxTags is how many tags of its user a resource can have.
const maxTags = 50

// newTags checks the tags of something new.
func newTags(given []elbv2api.Tag) ([]model.Tag, error) {
	return mergeTags(nil, given)
}

// mergeTags adds tags to those that are there; a key that is there gets the new
// value in its old place.
func mergeTags(old []model.Tag, given []elbv2api.Tag) ([]model.Tag, error) {
	merged := slices.Clone(old)
	seen := map[string]bool{}
	for _, t := range given {
		tag := model.Tag{Key: *t.Key}
		if t.Value != nil {
			tag.Value = *t.Value
		}
		if seen[tag.Key] {
			return nil, failure(codeDuplicateTagKeys, "Tag keys must be unique: '%s' is specified more than once", tag.Key)
		}
		seen[tag.Key] = true
		if strings.HasPrefix(strings.ToLower(tag.Key), "aws:") {
			return nil, invalid("Tag keys starting with 'aws:' are reserved for system use")
		}
		i := slices.IndexFunc(merged, func(m model.Tag) bool { return m.Key == tag.Key })
		if i < 0 {
			merged = append(merged, tag)
		} else {
			merged[i] = tag
		}
	}
	if len(merged) > maxTags {
		return nil, failure(codeTooManyTags, "The maximum number of tags per resource is %d", maxTags)
	}
	return merged, nil
}

// tagged is how tags of one sort of resource are read and written.
type tagged struct {
	read func(r store.Reader, id string) ([]model.Tag, bool)
	edit func(tx *store.Tx, id string, change func([]model.Tag) ([]model.Tag, error)) error
	// missing is the error of a resource that does not exist.
	missing func(name string) error
}

func tagsOf[T any](table *store.Table[T], tags func(*T) *[]model.Tag, code, noun string) tagged {
	return tagged{
		read: func(r store.Reader, id string) ([]model.Tag, bool) {
			rec, ok := table.Get(r, id)
			if !ok {
				return nil, false
			}
			return *tags(rec), true
		},
		edit: func(tx *store.Tx, id string, change func([]model.Tag) ([]model.Tag, error)) error {
			return table.Edit(tx, id, func(rec *T) (err error) {
				*tags(rec), err = change(*tags(rec))
				return err
			})
		},
		missing: func(name string) error { return failure(code, "%s '%s' not found", noun, name) },
	}
}

// taggedBy finds how the tags of the resource with an ARN are kept, and its id.
func (p *Provider) taggedBy(name string) (tagged, string, error) {
	for kind, how := range map[string]func() tagged{
		kindLoadBalancer: func() tagged {
			return tagsOf(records.LoadBalancers, func(l *model.LoadBalancer) *[]model.Tag { return &l.Tags }, codeLoadBalancerNotFound, "Load balancer")
		},
		kindTargetGroup: func() tagged {
			return tagsOf(records.TargetGroups, func(g *model.TargetGroup) *[]model.Tag { return &g.Tags }, codeTargetGroupNotFound, "Target group")
		},
		kindListener: func() tagged {
			return tagsOf(records.Listeners, func(l *model.Listener) *[]model.Tag { return &l.Tags }, codeListenerNotFound, "Listener")
		},
		kindRule: func() tagged {
			return tagsOf(records.ListenerRules, func(r *model.ListenerRule) *[]model.Tag { return &r.Tags }, codeRuleNotFound, "Rule")
		},
	} {
		if id, ok := p.resource(kind, name); ok {
			return how(), id, nil
		}
	}
	return tagged{}, "", invalid("'%s' is not a valid resource ARN", name)
}

// AddTags implements elbv2api.Service.
func (p *Provider) AddTags(ctx context.Context, in *elbv2api.AddTagsInput) (*elbv2api.AddTagsOutput, error) {
	if err := p.editTags(ctx, in.ResourceArns, func(old []model.Tag) ([]model.Tag, error) { return mergeTags(old, in.Tags) }); err != nil {
		return nil, err
	}
	return &elbv2api.AddTagsOutput{}, nil
}

// RemoveTags implements elbv2api.Service. A key that is not there is no error.
func (p *Provider) RemoveTags(ctx context.Context, in *elbv2api.RemoveTagsInput) (*elbv2api.RemoveTagsOutput, error) {
	if err := p.editTags(ctx, in.ResourceArns, func(old []model.Tag) ([]model.Tag, error) {
		return slices.DeleteFunc(slices.Clone(old), func(t model.Tag) bool { return slices.Contains(in.TagKeys, t.Key) }), nil
	}); err != nil {
		return nil, err
	}
	return &elbv2api.RemoveTagsOutput{}, nil
}

func (p *Provider) editTags(ctx context.Context, names []string, change func([]model.Tag) ([]model.Tag, error)) error {
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		for _, name := range names {
			how, id, err := p.taggedBy(name)
			if err != nil {
				return err
			}
			if _, ok := how.read(tx, id); !ok {
				return how.missing(name)
			}
			if err := how.edit(tx, id, change); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// maxDescribedTags is how many resources one DescribeTags can ask about.
const maxDescribedTags = 20

// DescribeTags implements elbv2api.Service.
func (p *Provider) DescribeTags(_ context.Context, in *elbv2api.DescribeTagsInput) (*elbv2api.DescribeTagsOutput, error) {
	if len(in.ResourceArns) > maxDescribedTags {
		return nil, invalid("Only %d resources can be described at a time", maxDescribedTags)
	}
	snap := p.store.Snapshot()
	out := &elbv2api.DescribeTagsOutput{TagDescriptions: []elbv2api.TagDescription{}}
	for i, name := range in.ResourceArns {
		how, id, err := p.taggedBy(name)
		if err != nil {
			return nil, err
		}
		tags, ok := how.read(snap, id)
		if !ok {
			return nil, how.missing(name)
		}
		description := elbv2api.TagDescription{ResourceArn: &in.ResourceArns[i], Tags: []elbv2api.Tag{}}
		for _, t := range tags {
			description.Tags = append(description.Tags, elbv2api.Tag{Key: &t.Key, Value: &t.Value})
		}
		out.TagDescriptions = append(out.TagDescriptions, description)
	}
	return out, nil
}
