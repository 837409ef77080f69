package logs

import (
	"context"
	"maps"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/wire/api/logsapi"
)

// listLimit is the default and the most of DescribeLogGroups and
// DescribeLogStreams.
const listLimit = 50

// maxTags is how many tags a log group can have.
const maxTags = 50

// CreateLogGroup implements logsapi.Service.
func (p *Provider) CreateLogGroup(ctx context.Context, in *logsapi.CreateLogGroupInput) (*logsapi.CreateLogGroupOutput, error) {
	name := *in.LogGroupName
	if len(name) >= 4 && strings.EqualFold(name[:4], "aws/") {
		return nil, invalid("Log groups starting with AWS/ are reserved for AWS.")
	}
	if in.KmsKeyId != nil {
		return nil, invalid("kmsKeyId is not supported by this server: log groups cannot be encrypted with a key of their own.")
	}
	settings := logstore.GroupSettings{
		Tags:               in.Tags,
		DeletionProtection: in.DeletionProtectionEnabled != nil && *in.DeletionProtectionEnabled,
	}
	switch in.LogGroupClass {
	case "", logsapi.LogGroupClassStandard:
	case logsapi.LogGroupClassInfrequentAccess:
		settings.Class = string(in.LogGroupClass)
	default:
		return nil, invalid("logGroupClass " + string(in.LogGroupClass) + " is not supported by this server.")
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	if err := p.store.CreateGroup(ctx, name, settings); err != nil {
		return nil, p.answer(err)
	}
	return &logsapi.CreateLogGroupOutput{}, nil
}

// DeleteLogGroup implements logsapi.Service.
func (p *Provider) DeleteLogGroup(ctx context.Context, in *logsapi.DeleteLogGroupInput) (*logsapi.DeleteLogGroupOutput, error) {
	if err := p.untouchable(*in.LogGroupName); err != nil {
		return nil, err
	}
	if err := p.store.DeleteGroup(ctx, *in.LogGroupName); err != nil {
		return nil, p.answer(err)
	}
	return &logsapi.DeleteLogGroupOutput{}, nil
}

// DescribeLogGroups implements logsapi.Service.
func (p *Provider) DescribeLogGroups(ctx context.Context, in *logsapi.DescribeLogGroupsInput) (*logsapi.DescribeLogGroupsOutput, error) {
	for _, account := range in.AccountIdentifiers {
		if account != p.scope.AccountID {
			return nil, invalid("accountIdentifiers: account " + account + " is not linked to this server.")
		}
	}
	if in.LogGroupNamePrefix != nil && in.LogGroupNamePattern != nil {
		return nil, invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
	}
	if len(in.LogGroupIdentifiers) > 0 {
		return p.describeIdentified(in)
	}
	prefix, pattern := deref(in.LogGroupNamePrefix), deref(in.LogGroupNamePattern)
	asked := question("DescribeLogGroups", prefix, pattern, in.LogGroupClass)
	after, err := p.redeem(in.NextToken, asked)
	if err != nil {
		return nil, err
	}
	limit := limitOf(in.Limit, listLimit)
	out := &logsapi.DescribeLogGroupsOutput{LogGroups: []logsapi.LogGroup{}}
	for group, err := range p.store.Groups(ctx, prefix, after) {
		if err != nil {
			return nil, p.answer(err)
		}
		if !strings.Contains(group.Name, pattern) || in.LogGroupClass != "" && classOf(group) != in.LogGroupClass {
			continue
		}
		if len(out.LogGroups) == limit {
			out.NextToken = p.issue(asked, *out.LogGroups[limit-1].LogGroupName)
			break
		}
		out.LogGroups = append(out.LogGroups, p.describe(group))
	}
	return out, nil
}

// describeIdentified answers DescribeLogGroups for a list of names and ARNs.
func (p *Provider) describeIdentified(in *logsapi.DescribeLogGroupsInput) (*logsapi.DescribeLogGroupsOutput, error) {
	if in.LogGroupNamePrefix != nil || in.LogGroupNamePattern != nil || in.LogGroupClass != "" || in.NextToken != nil {
		return nil, invalid("logGroupIdentifiers cannot be combined with other filters.")
	}
	var names []string
	for _, identifier := range in.LogGroupIdentifiers {
		name, err := p.groupFromIdentifier(identifier)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	slices.Sort(names)
	out := &logsapi.DescribeLogGroupsOutput{LogGroups: []logsapi.LogGroup{}}
	for _, name := range slices.Compact(names) {
		group, err := p.store.Group(name)
		if err != nil {
			return nil, p.answer(err)
		}
		out.LogGroups = append(out.LogGroups, p.describe(group))
	}
	return out, nil
}

func classOf(g logstore.Group) logsapi.LogGroupClass {
	if g.Class == "" {
		return logsapi.LogGroupClassStandard
	}
	return logsapi.LogGroupClass(g.Class)
}

func (p *Provider) describe(g logstore.Group) logsapi.LogGroup {
	arn := p.scope.LogGroup(g.Name)
	described := logsapi.LogGroup{
		LogGroupName:              &g.Name,
		CreationTime:              &g.Created,
		MetricFilterCount:         new(int32(0)),
		Arn:                       new(arn + ":*"),
		StoredBytes:               &g.StoredBytes,
		LogGroupClass:             classOf(g),
		LogGroupArn:               &arn,
		DeletionProtectionEnabled: &g.DeletionProtection,
	}
	if g.RetentionDays != 0 {
		described.RetentionInDays = new(int32(g.RetentionDays))
	}
	return described
}

// retentions are the periods that PutRetentionPolicy accepts, in days.
var retentions = [...]int32{
	1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
}

// PutRetentionPolicy implements logsapi.Service.
func (p *Provider) PutRetentionPolicy(ctx context.Context, in *logsapi.PutRetentionPolicyInput) (*logsapi.PutRetentionPolicyOutput, error) {
	if !slices.Contains(retentions[:], *in.RetentionInDays) {
		return nil, invalid("Invalid retention value. Valid values are: [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653]")
	}
	if err := p.setRetention(ctx, *in.LogGroupName, int(*in.RetentionInDays)); err != nil {
		return nil, err
	}
	return &logsapi.PutRetentionPolicyOutput{}, nil
}

// DeleteRetentionPolicy implements logsapi.Service.
func (p *Provider) DeleteRetentionPolicy(ctx context.Context, in *logsapi.DeleteRetentionPolicyInput) (*logsapi.DeleteRetentionPolicyOutput, error) {
	if err := p.setRetention(ctx, *in.LogGroupName, 0); err != nil {
		return nil, err
	}
	return &logsapi.DeleteRetentionPolicyOutput{}, nil
}

func (p *Provider) setRetention(ctx context.Context, group string, days int) error {
	if err := p.rootsAlone(ctx, group); err != nil {
		return err
	}
	return p.answer(p.store.UpdateGroup(ctx, group, func(s *logstore.GroupSettings) error {
		s.RetentionDays = days
		return nil
	}))
}

// PutLogGroupDeletionProtection implements logsapi.Service.
func (p *Provider) PutLogGroupDeletionProtection(ctx context.Context, in *logsapi.PutLogGroupDeletionProtectionInput) (*logsapi.PutLogGroupDeletionProtectionOutput, error) {
	group, err := p.groupFromIdentifier(*in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	if err := p.untouchable(group); err != nil {
		return nil, err
	}
	if err := p.store.UpdateGroup(ctx, group, func(s *logstore.GroupSettings) error {
		s.DeletionProtection = *in.DeletionProtectionEnabled
		return nil
	}); err != nil {
		return nil, p.answer(err)
	}
	return &logsapi.PutLogGroupDeletionProtectionOutput{}, nil
}

// checkTags refuses keys that are AWS's own.
func checkTags(tags map[string]string) error {
	for key := range tags {
		if len(key) >= 4 && strings.EqualFold(key[:4], "aws:") {
			return invalid("aws: prefixed tag key names are not allowed for external use.")
		}
	}
	return nil
}

// TagResource implements logsapi.Service.
func (p *Provider) TagResource(ctx context.Context, in *logsapi.TagResourceInput) (*logsapi.TagResourceOutput, error) {
	group, err := p.taggedGroup(*in.ResourceArn)
	if err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	err = p.store.UpdateGroup(ctx, group, func(s *logstore.GroupSettings) error {
		if s.Tags == nil {
			s.Tags = make(map[string]string)
		}
		maps.Copy(s.Tags, in.Tags)
		if len(s.Tags) > maxTags {
			text := "The maximum number of tags that can be applied to a resource is 50."
			return &logsapi.TooManyTagsException{Message: &text, ResourceName: in.ResourceArn}
		}
		return nil
	})
	if err != nil {
		return nil, p.answer(err)
	}
	return &logsapi.TagResourceOutput{}, nil
}

// UntagResource implements logsapi.Service.
func (p *Provider) UntagResource(ctx context.Context, in *logsapi.UntagResourceInput) (*logsapi.UntagResourceOutput, error) {
	group, err := p.taggedGroup(*in.ResourceArn)
	if err != nil {
		return nil, err
	}
	err = p.store.UpdateGroup(ctx, group, func(s *logstore.GroupSettings) error {
		for _, key := range in.TagKeys {
			delete(s.Tags, key)
		}
		return nil
	})
	if err != nil {
		return nil, p.answer(err)
	}
	return &logsapi.UntagResourceOutput{}, nil
}

// ListTagsForResource implements logsapi.Service.
func (p *Provider) ListTagsForResource(_ context.Context, in *logsapi.ListTagsForResourceInput) (*logsapi.ListTagsForResourceOutput, error) {
	name, err := p.taggedGroup(*in.ResourceArn)
	if err != nil {
		return nil, err
	}
	group, err := p.store.Group(name)
	if err != nil {
		return nil, p.answer(err)
	}
	if group.Tags == nil {
		group.Tags = map[string]string{}
	}
	return &logsapi.ListTagsForResourceOutput{Tags: group.Tags}, nil
}

// taggedGroup returns the name of the group whose ARN a tag call gives.
func (p *Provider) taggedGroup(resource string) (string, error) {
	name, err := p.groupFromIdentifier(resource)
	if err == nil && name == resource {
		return "", invalid("The specified resource ARN is invalid: " + resource)
	}
	return name, err
}

// limitOf returns how many items a page holds.
func limitOf(limit *int32, most int) int {
	if limit == nil {
		return most
	}
	return min(int(*limit), most)
}

func deref[T any](v *T) T {
	if v == nil {
		var zero T
		return zero
	}
	return *v
}
