package ecs

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

const (
	maxTags        = 50
	maxTagKey      = 128
	maxTagValue    = 256
	reservedPrefix = "aws:"
)

var tagPattern = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// checkTags checks what a user may put on a resource. Tags that ECS manages
// do not come this way.
func checkTags(tags []model.Tag) error {
	seen := map[string]bool{}
	for _, t := range tags {
		if t.Key == "" || len([]rune(t.Key)) > maxTagKey || len([]rune(t.Value)) > maxTagValue ||
			!tagPattern.MatchString(t.Key) || !tagPattern.MatchString(t.Value) ||
			isReserved(t.Key) || isReserved(t.Value) {
			return parameterError("Some tags contain invalid characters or use reserved prefix")
		}
		if seen[t.Key] {
			return parameterError("Duplicate tag keys found. Please note that tag keys are case sensitive: '%s'", t.Key)
		}
		seen[t.Key] = true
	}
	return checkTagCount(tags)
}

// checkTagCount counts the user's tags only.
func checkTagCount(tags []model.Tag) error {
	n := 0
	for _, t := range tags {
		if !isReserved(t.Key) {
			n++
		}
	}
	if n > maxTags {
		return parameterError("The number of tags exceeds the limit of %d", maxTags)
	}
	return nil
}

func isReserved(s string) bool {
	return len(s) >= len(reservedPrefix) && strings.EqualFold(s[:len(reservedPrefix)], reservedPrefix)
}

// TagResource implements ecsapi.Service.
func (p *Provider) TagResource(ctx context.Context, in *ecsapi.TagResourceInput) (*ecsapi.TagResourceOutput, error) {
	tags := each(in.Tags, tagIn)
	if err := checkTags(tags); err != nil {
		return nil, err
	}
	if err := p.editTags(ctx, value(in.ResourceArn), func(old []model.Tag) ([]model.Tag, error) {
		merged := model.MergeTags(old, tags)
		return merged, checkTagCount(merged)
	}); err != nil {
		return nil, err
	}
	return &ecsapi.TagResourceOutput{}, nil
}

// UntagResource implements ecsapi.Service. Keys that are not there are no
// error.
func (p *Provider) UntagResource(ctx context.Context, in *ecsapi.UntagResourceInput) (*ecsapi.UntagResourceOutput, error) {
	if slices.ContainsFunc(in.TagKeys, isReserved) {
		return nil, parameterError("Some tags contain invalid characters or use reserved prefix")
	}
	if err := p.editTags(ctx, value(in.ResourceArn), func(old []model.Tag) ([]model.Tag, error) {
		return slices.DeleteFunc(slices.Clone(old), func(t model.Tag) bool { return slices.Contains(in.TagKeys, t.Key) }), nil
	}); err != nil {
		return nil, err
	}
	return &ecsapi.UntagResourceOutput{}, nil
}

// ListTagsForResource implements ecsapi.Service.
func (p *Provider) ListTagsForResource(_ context.Context, in *ecsapi.ListTagsForResourceInput) (*ecsapi.ListTagsForResourceOutput, error) {
	resource, err := p.tagged(p.store.Snapshot(), value(in.ResourceArn))
	if err != nil {
		return nil, err
	}
	return &ecsapi.ListTagsForResourceOutput{Tags: every(resource.tags, tagOut)}, nil
}

// taggedResource is something with tags, found by its ARN.
type taggedResource struct {
	tags   []model.Tag
	edit   func(tx *store.Tx, tags []model.Tag) error
	locked error // why its tags cannot change
}

func (p *Provider) editTags(ctx context.Context, resourceARN string, change func([]model.Tag) ([]model.Tag, error)) error {
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		resource, err := p.tagged(tx, resourceARN)
		if err != nil {
			return err
		}
		if resource.locked != nil {
			return resource.locked
		}
		tags, err := change(resource.tags)
		if err != nil {
			return err
		}
		return resource.edit(tx, tags)
	})
	return err
}

func (p *Provider) tagged(r store.Reader, ref string) (taggedResource, error) {
	if !arn.Is(ref) {
		return taggedResource{}, parameterError("The specified ARN is invalid: '%s'. Specify a valid ARN and try again.", ref)
	}
	parsed, err := arn.Parse(ref)
	if err != nil {
		return taggedResource{}, parameterError("The specified ARN is invalid: '%s'. Specify a valid ARN and try again.", ref)
	}
	kind := parsed.Type()
	path, err := p.resource(kind, ref)
	if err != nil {
		return taggedResource{}, err
	}
	name := path[len(path)-1]
	switch kind {
	case "cluster":
		if c, found := records.Clusters.Get(r, name); found {
			return taggedCluster(c), nil
		}
		return taggedResource{}, clusterNotFound()
	case "task-definition":
		d, _, err := p.definition(r, name)
		if err != nil {
			return taggedResource{}, err
		}
		if d != nil {
			return taggedDefinition(d), nil
		}
		return taggedResource{}, clientError("The specified task definition does not exist. Specify a valid account, family, revision and try again.")
	case "task":
		if t, found := records.Tasks.Get(r, name); found && t.ARN == ref {
			return taggedTask(t), nil
		}
		return taggedResource{}, parameterError("The referenced task was not found.")
	case "service":
		if s, found := p.serviceOf(r, path); found {
			return taggedService(s), nil
		}
		return taggedResource{}, parameterError("The specified service was not found. Specify a valid service and try again.")
	case "container-instance":
		if i, found := records.Instances.Get(r, name); found && i.ClusterName != "" {
			return taggedInstance(i), nil
		}
		return taggedResource{}, parameterError("The referenced container instance was not found.")
	case "capacity-provider":
		return taggedResource{}, parameterError("Tagging is not supported for the capacity provider '%s'.", name)
	}
	return taggedResource{}, parameterError("The specified resource was not found: '%s'", ref)
}

func taggedCluster(c *model.Cluster) taggedResource {
	out := taggedResource{tags: c.Tags, edit: func(tx *store.Tx, tags []model.Tag) error {
		return records.Clusters.Edit(tx, c.Key(), func(c *model.Cluster) error { c.Tags = tags; return nil })
	}}
	if c.Status != model.ClusterActive {
		out.locked = parameterError("The specified cluster is inactive. Specify an active cluster and try again.")
	}
	return out
}

func taggedDefinition(d *model.TaskDefinition) taggedResource {
	return taggedResource{tags: d.Tags, edit: func(tx *store.Tx, tags []model.Tag) error {
		return records.TaskDefinitions.Edit(tx, d.Key(), func(d *model.TaskDefinition) error { d.Tags = tags; return nil })
	}}
}

func taggedTask(t *model.Task) taggedResource {
	out := taggedResource{tags: t.Tags, edit: func(tx *store.Tx, tags []model.Tag) error {
		return records.Tasks.Edit(tx, t.Key(), func(t *model.Task) error { t.Tags = tags; return nil })
	}}
	if t.Stopped() {
		out.locked = &ecsapi.ResourceNotFoundException{Message: new("The specified task is stopped. Specify a running task and try again.")}
	}
	return out
}

func taggedInstance(i *model.Instance) taggedResource {
	return taggedResource{tags: i.Tags, edit: func(tx *store.Tx, tags []model.Tag) error {
		return records.Instances.Edit(tx, i.Key(), func(i *model.Instance) error { i.Tags = tags; return nil })
	}}
}

// serviceOf finds the service that the path of an ARN names.
func (p *Provider) serviceOf(r store.Reader, path []string) (*model.Service, bool) {
	if len(path) != 2 {
		return nil, false
	}
	return anyService(r, path[0], path[1])
}

func taggedService(s *model.Service) taggedResource {
	out := taggedResource{tags: s.Tags, edit: func(tx *store.Tx, tags []model.Tag) error {
		return records.Services.Edit(tx, s.Key(), func(s *model.Service) error { s.Tags = tags; return nil })
	}}
	if s.Status == model.ServiceInactive {
		out.locked = parameterError("The specified service is inactive. Specify an active service and try again.")
	}
	return out
}
