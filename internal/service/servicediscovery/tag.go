package servicediscovery

import (
	"context"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/servicediscoveryapi"
)

// maxTags is how many a resource may have.
const maxTags = 50

// newTags puts what a call gives over the tags that a resource has.
func newTags(resource string, old []model.Tag, given []servicediscoveryapi.Tag) ([]model.Tag, error) {
	tags := slices.Clone(old)
	seen := map[string]bool{}
	for _, t := range given {
		if seen[*t.Key] {
			return nil, invalid("Duplicate tag key: %s", *t.Key)
		}
		seen[*t.Key] = true
		if strings.HasPrefix(strings.ToLower(*t.Key), "aws:") {
			return nil, invalid("Tag keys must not begin with 'aws:': %s", *t.Key)
		}
		tag := model.Tag{Key: *t.Key, Value: *t.Value}
		if i := slices.IndexFunc(tags, func(o model.Tag) bool { return o.Key == tag.Key }); i >= 0 {
			tags[i] = tag
		} else {
			tags = append(tags, tag)
		}
	}
	if len(tags) > maxTags {
		return nil, &servicediscoveryapi.TooManyTagsException{
			Message: new("The list of tags on the resource is over the limit. The maximum number of tags that can be applied to a resource is 50."), ResourceName: optional(resource),
		}
	}
	return tags, nil
}

// TagResource implements servicediscoveryapi.Service.
func (p *Provider) TagResource(ctx context.Context, in *servicediscoveryapi.TagResourceInput) (*servicediscoveryapi.TagResourceOutput, error) {
	return &servicediscoveryapi.TagResourceOutput{}, p.editTags(ctx, *in.ResourceARN, func(old []model.Tag) ([]model.Tag, error) {
		return newTags(*in.ResourceARN, old, in.Tags)
	})
}

// UntagResource implements servicediscoveryapi.Service.
func (p *Provider) UntagResource(ctx context.Context, in *servicediscoveryapi.UntagResourceInput) (*servicediscoveryapi.UntagResourceOutput, error) {
	return &servicediscoveryapi.UntagResourceOutput{}, p.editTags(ctx, *in.ResourceARN, func(old []model.Tag) ([]model.Tag, error) {
		return slices.DeleteFunc(slices.Clone(old), func(t model.Tag) bool { return slices.Contains(in.TagKeys, t.Key) }), nil
	})
}

// ListTagsForResource implements servicediscoveryapi.Service.
func (p *Provider) ListTagsForResource(_ context.Context, in *servicediscoveryapi.ListTagsForResourceInput) (*servicediscoveryapi.ListTagsForResourceOutput, error) {
	snap := p.store.Snapshot()
	ns, service := p.tagged(snap, *in.ResourceARN)
	var tags []model.Tag
	switch {
	case ns != nil:
		tags = ns.Tags
	case service != nil:
		tags = service.Tags
	default:
		return nil, resourceNotFound(*in.ResourceARN)
	}
	out := &servicediscoveryapi.ListTagsForResourceOutput{Tags: []servicediscoveryapi.Tag{}}
	for _, t := range tags {
		out.Tags = append(out.Tags, servicediscoveryapi.Tag{Key: &t.Key, Value: &t.Value})
	}
	return out, nil
}

// tagged finds the namespace or the service that an ARN names.
func (p *Provider) tagged(r store.Reader, ref string) (*model.Namespace, *model.DiscoveryService) {
	if !arn.Is(ref) {
		return nil, nil
	}
	if ns, err := p.namespace(r, ref); err == nil {
		return ns, nil
	}
	if service, err := p.service(r, ref); err == nil {
		return nil, service
	}
	return nil, nil
}

func (p *Provider) editTags(ctx context.Context, ref string, edit func([]model.Tag) ([]model.Tag, error)) error {
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		ns, service := p.tagged(tx, ref)
		switch {
		case ns != nil:
			return records.Namespaces.Edit(tx, ns.ID, func(ns *model.Namespace) (err error) {
				ns.Tags, err = edit(ns.Tags)
				return err
			})
		case service != nil:
			return records.DiscoveryServices.Edit(tx, service.ID, func(s *model.DiscoveryService) (err error) {
				s.Tags, err = edit(s.Tags)
				return err
			})
		}
		return resourceNotFound(ref)
	})
	return err
}

func resourceNotFound(ref string) error {
	return &servicediscoveryapi.ResourceNotFoundException{Message: new("Resource not found: " + ref)}
}
