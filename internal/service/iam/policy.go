package iam

import (
	"context"
	"slices"
	"strings"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/policy"
	"berth.dev/berth/internal/wire/api/iamapi"
)

// CreatePolicy implements iamapi.Service. Names are unique whatever the path.
func (p *Provider) CreatePolicy(ctx context.Context, in *iamapi.CreatePolicyInput) (*iamapi.CreatePolicyOutput, error) {
	tags, err := newTags("Policy", in.Tags)
	if err != nil {
		return nil, err
	}
	if err := checkManaged(*in.PolicyDocument); err != nil {
		return nil, err
	}
	made := &model.Policy{ID: uniqueID(prefixPolicy), Name: *in.PolicyName, Path: pathOf(in.Path), Tags: tags, DefaultID: "v1", LastVersion: 1}
	made.ARN = p.scope.IAM(kindPolicy, made.Path, made.Name)
	if in.Description != nil {
		made.Description = *in.Description
	}
	var shape iamapi.Policy
	if err := p.update(ctx, func(tx *store.Tx) error {
		folded := model.FoldName(made.Name)
		records.Policies.GuardIndex(tx, records.PoliciesByName, folded)
		if records.Policies.HasBy(tx, records.PoliciesByName, folded) {
			return exists("A policy called %s already exists. Duplicate names are not allowed.", made.Name)
		}
		if err := room(tx, records.Policies, records.PoliciesCounted, maxPolicies, "PoliciesPerAccount"); err != nil {
			return err
		}
		now := tx.Now().Truncate(time.Second)
		made.CreatedAt, made.UpdatedAt = now, now
		made.Versions = []model.PolicyVersion{{ID: "v1", Document: *in.PolicyDocument, CreatedAt: now}}
		records.Policies.Put(tx, made)
		shape = policyShape(tx, made)
		return nil
	}); err != nil {
		return nil, err
	}
	shape.Tags, shape.Description = tagShapes(tags), nil // AWS does not tell what was just said
	return &iamapi.CreatePolicyOutput{Policy: &shape}, nil
}

// checkManaged checks a managed policy's document.
func checkManaged(text string) error {
	if err := check(policy.Managed, text); err != nil {
		return err
	}
	if policy.Length(text) > maxPolicySize {
		return overQuota("PolicySize", maxPolicySize)
	}
	return nil
}

// findPolicy is a managed policy, the account's or AWS's, by its ARN. It
// refuses what is no policy's ARN; false says that there is none.
func (p *Provider) findPolicy(r store.Reader, name string) (*model.Policy, bool, error) {
	if !p.isPolicyARN(name) {
		return nil, false, invalidInput("ARN %s is not valid.", name)
	}
	if found, ok := records.Policies.Get(r, name); ok {
		return found, true, nil
	}
	found, ok := awsPolicy(name)
	return found, ok, nil
}

func (p *Provider) isPolicyARN(name string) bool {
	rest, ok := strings.CutPrefix(name, "arn:"+p.scope.Partition+":iam::")
	account, resource, found := strings.Cut(rest, ":")
	return ok && found && (account == awsAccount || isAccountID(account)) && strings.HasPrefix(resource, kindPolicy+"/") && !strings.HasSuffix(resource, "/")
}

// readPolicy is findPolicy for operations on the policy itself.
func (p *Provider) readPolicy(r store.Reader, name string) (*model.Policy, error) {
	found, ok, err := p.findPolicy(r, name)
	if err == nil && !ok {
		err = noSuch("Policy %s was not found.", name)
	}
	return found, err
}

// editPolicy changes a policy of the account. AWS's own belong to AWS.
func (p *Provider) editPolicy(tx *store.Tx, name string, change func(*model.Policy) error) error {
	found, err := p.readPolicy(tx, name)
	if err != nil {
		return err
	}
	if isAWS(found.ARN) {
		return invalidInput("Policy %s is managed by AWS and cannot be changed.", found.ARN)
	}
	return records.Policies.Edit(tx, found.Key(), change)
}

// GetPolicy implements iamapi.Service.
func (p *Provider) GetPolicy(_ context.Context, in *iamapi.GetPolicyInput) (*iamapi.GetPolicyOutput, error) {
	snap := p.store.Snapshot()
	found, err := p.readPolicy(snap, *in.PolicyArn)
	if err != nil {
		return nil, err
	}
	shape := policyShape(snap, found)
	shape.Tags = tagShapes(found.Tags)
	if found.Description != "" {
		shape.Description = &found.Description
	}
	return &iamapi.GetPolicyOutput{Policy: &shape}, nil
}

// DeletePolicy implements iamapi.Service. What it refuses for is in AWS's order.
func (p *Provider) DeletePolicy(ctx context.Context, in *iamapi.DeletePolicyInput) (*iamapi.DeletePolicyOutput, error) {
	if err := p.update(ctx, func(tx *store.Tx) error {
		found, err := p.readPolicy(tx, *in.PolicyArn)
		if err != nil {
			return err
		}
		if isAWS(found.ARN) {
			return invalidInput("Policy %s is managed by AWS and cannot be deleted.", found.ARN)
		}
		records.Users.GuardIndex(tx, records.UsersByPolicy, found.ARN)
		records.Groups.GuardIndex(tx, records.GroupsByPolicy, found.ARN)
		records.Roles.GuardIndex(tx, records.RolesByPolicy, found.ARN)
		switch {
		case records.Users.HasBy(tx, records.UsersByPolicy, found.ARN), records.Groups.HasBy(tx, records.GroupsByPolicy, found.ARN),
			records.Roles.HasBy(tx, records.RolesByPolicy, found.ARN):
			return inUse("Cannot delete a policy attached to entities.")
		case len(found.Versions) > 1:
			return inUse("This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
		}
		records.Policies.Delete(tx, found.Key())
		return nil
	}); err != nil {
		return nil, err
	}
	return &iamapi.DeletePolicyOutput{}, nil
}

// ListPolicies implements iamapi.Service: the account's policies, AWS's or both.
func (p *Provider) ListPolicies(_ context.Context, in *iamapi.ListPoliciesInput) (*iamapi.ListPoliciesOutput, error) {
	snap := p.store.Snapshot()
	var found []*model.Policy
	for _, each := range allPolicies(snap) {
		if in.Scope == iamapi.PolicyScopeTypeAws && !isAWS(each.ARN) || in.Scope == iamapi.PolicyScopeTypeLocal && isAWS(each.ARN) || !under(each.Path, in.PathPrefix) {
			continue
		}
		attached, bounds := uses(snap, each.ARN)
		if in.OnlyAttached != nil && *in.OnlyAttached && attached+bounds == 0 ||
			in.PolicyUsageFilter == iamapi.PolicyUsageTypePermissionsPolicy && attached == 0 ||
			in.PolicyUsageFilter == iamapi.PolicyUsageTypePermissionsBoundary && bounds == 0 {
			continue
		}
		found = append(found, each)
	}
	part, err := pageOf(asked{"ListPolicies", in.Marker, in.MaxItems}, found, policyOrder)
	if err != nil {
		return nil, err
	}
	return &iamapi.ListPoliciesOutput{
		Policies:    each(part.items, func(found *model.Policy) iamapi.Policy { return policyShape(snap, found) }),
		IsTruncated: part.truncated, Marker: part.marker,
	}, nil
}

// allPolicies are the account's policies and AWS's, in order.
func allPolicies(r store.Reader) []*model.Policy {
	return slices.SortedFunc(slices.Values(slices.Concat(slices.Collect(records.Policies.All(r)), awsPolicies())), byPolicyOrder)
}

// policyOrder orders policies by name; one of AWS's may have the name of one of
// the account's.
func policyOrder(p *model.Policy) string {
	if isAWS(p.ARN) {
		return model.FoldName(p.Name) + "/"
	}
	return model.FoldName(p.Name)
}

func byPolicyOrder(a, b *model.Policy) int { return strings.Compare(policyOrder(a), policyOrder(b)) }

// uses counts the users, groups and roles that a policy is attached to, and the
// users and roles whose boundary it is.
func uses(r store.Reader, name string) (attached, bounds int32) {
	count := func(list []string, boundary string) {
		if slices.Contains(list, name) {
			attached++
		}
		if boundary == name {
			bounds++
		}
	}
	for u := range records.Users.By(r, records.UsersByPolicy, name) {
		count(u.Attached, u.BoundaryARN)
	}
	for g := range records.Groups.By(r, records.GroupsByPolicy, name) {
		count(g.Attached, "")
	}
	for each := range records.Roles.By(r, records.RolesByPolicy, name) {
		count(each.Attached, each.BoundaryARN)
	}
	return attached, bounds
}

func policyTags(p *Provider) tagged[model.Policy] {
	return tagged[model.Policy]{kind: "Policy", edit: p.editPolicy, tags: func(p *model.Policy) *[]model.Tag { return &p.Tags }}
}

// TagPolicy implements iamapi.Service.
func (p *Provider) TagPolicy(ctx context.Context, in *iamapi.TagPolicyInput) (*iamapi.TagPolicyOutput, error) {
	if err := tag(ctx, p, policyTags(p), *in.PolicyArn, in.Tags); err != nil {
		return nil, err
	}
	return &iamapi.TagPolicyOutput{}, nil
}

// UntagPolicy implements iamapi.Service.
func (p *Provider) UntagPolicy(ctx context.Context, in *iamapi.UntagPolicyInput) (*iamapi.UntagPolicyOutput, error) {
	if err := untag(ctx, p, policyTags(p), *in.PolicyArn, in.TagKeys); err != nil {
		return nil, err
	}
	return &iamapi.UntagPolicyOutput{}, nil
}

// ListPolicyTags implements iamapi.Service.
func (p *Provider) ListPolicyTags(_ context.Context, in *iamapi.ListPolicyTagsInput) (*iamapi.ListPolicyTagsOutput, error) {
	found, err := p.readPolicy(p.store.Snapshot(), *in.PolicyArn)
	if err != nil {
		return nil, err
	}
	part, err := tagPage(asked{"ListPolicyTags", in.Marker, in.MaxItems}, found.Tags)
	if err != nil {
		return nil, err
	}
	return &iamapi.ListPolicyTagsOutput{Tags: part.items, IsTruncated: part.truncated, Marker: part.marker}, nil
}

// policyShape is a policy as lists have it: without description and tags.
func policyShape(r store.Reader, found *model.Policy) iamapi.Policy {
	attached, bounds := uses(r, found.ARN)
	return iamapi.Policy{
		PolicyName: &found.Name, PolicyId: &found.ID, Arn: &found.ARN, Path: &found.Path, DefaultVersionId: &found.DefaultID,
		AttachmentCount: &attached, PermissionsBoundaryUsageCount: &bounds, IsAttachable: new(attachable(found)),
		CreateDate: &found.CreatedAt, UpdateDate: &found.UpdatedAt,
	}
}
