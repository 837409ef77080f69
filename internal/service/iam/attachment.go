package iam

import (
	"context"
	"slices"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/iamapi"
)

// attach puts a managed policy on an entity, which depends on it from then on.
// One that is there already is no error.
func attach[T any](ctx context.Context, p *Provider, h holder[T], entity, name string) error {
	return p.update(ctx, func(tx *store.Tx) error {
		return h.editFree(tx, entity, func(rec *T) error {
			found, ok, err := p.findPolicy(tx, name)
			switch {
			case err != nil:
				return err
			case !ok:
				return noSuch("Policy %s does not exist or is not attachable.", name)
			case !attachable(found):
				return failure(400, "PolicyNotAttachable", "Cannot attach a Service Role Policy to a Customer Role.")
			}
			all := h.attached(rec)
			switch {
			case slices.Contains(*all, name):
				return nil
			case len(*all) >= maxAttached:
				return overQuota("PoliciesPer"+h.kind, maxAttached)
			}
			p.depend(tx, name)
			*all = append(*all, name)
			return nil
		})
	})
}

// depend makes a transaction depend on a policy's existence.
func (p *Provider) depend(tx *store.Tx, name string) {
	if !isAWS(name) {
		records.Policies.Guard(tx, name)
	}
}

func detach[T any](ctx context.Context, p *Provider, h holder[T], entity, name string) error {
	if !p.isPolicyARN(name) {
		return invalidInput("ARN %s is not valid.", name)
	}
	return p.update(ctx, func(tx *store.Tx) error {
		return h.editFree(tx, entity, func(rec *T) error {
			all := h.attached(rec)
			i := slices.Index(*all, name)
			if i < 0 {
				return noSuch("Policy %s was not found.", name)
			}
			*all = slices.Delete(*all, i, i+1)
			return nil
		})
	})
}

// listAttached lists an entity's managed policies by name.
func listAttached[T any](p *Provider, h holder[T], entity string, prefix *string, a asked) (page[iamapi.AttachedPolicy], error) {
	snap := p.store.Snapshot()
	rec, err := h.find(snap, entity)
	if err != nil {
		return page[iamapi.AttachedPolicy]{}, err
	}
	found := slices.DeleteFunc(p.attachedTo(snap, *h.attached(rec)), func(each *model.Policy) bool { return !under(each.Path, prefix) })
	part, err := pageOf(a, found, policyOrder)
	return page[iamapi.AttachedPolicy]{items: each(part.items, attachedShape), truncated: part.truncated, marker: part.marker}, err
}

// attachedTo are the policies with some ARNs, in order.
func (p *Provider) attachedTo(r store.Reader, names []string) []*model.Policy {
	var found []*model.Policy
	for _, name := range names {
		if each, ok, err := p.findPolicy(r, name); err == nil && ok {
			found = append(found, each)
		}
	}
	slices.SortFunc(found, byPolicyOrder)
	return found
}

func attachedShape(p *model.Policy) iamapi.AttachedPolicy {
	return iamapi.AttachedPolicy{PolicyName: &p.Name, PolicyArn: &p.ARN}
}

// boundary checks that a policy can be a boundary. The transaction then depends
// on it.
func (p *Provider) boundary(tx *store.Tx, name string) error {
	found, ok, err := p.findPolicy(tx, name)
	switch {
	case err != nil:
		return err
	case !ok || !attachable(found):
		return noSuch("Scope ARN: %s does not exist or is not attachable.", name)
	}
	p.depend(tx, name)
	return nil
}

// boundaryShape is a boundary in answers. The model's enum has another word;
// this is what AWS says.
func boundaryShape(name string) *iamapi.AttachedPermissionsBoundary {
	if name == "" {
		return nil
	}
	return &iamapi.AttachedPermissionsBoundary{PermissionsBoundaryType: "Policy", PermissionsBoundaryArn: &name}
}

func putBoundary[T any](ctx context.Context, p *Provider, h holder[T], entity, name string) error {
	return p.update(ctx, func(tx *store.Tx) error {
		return h.editFree(tx, entity, func(rec *T) error {
			if err := p.boundary(tx, name); err != nil {
				return err
			}
			*h.boundary(rec) = name
			return nil
		})
	})
}

// deleteBoundary takes the boundary away. That there is none is no error.
func deleteBoundary[T any](ctx context.Context, p *Provider, h holder[T], entity string) error {
	return p.update(ctx, func(tx *store.Tx) error {
		return h.editFree(tx, entity, func(rec *T) error { *h.boundary(rec) = ""; return nil })
	})
}

// AttachUserPolicy implements iamapi.Service.
func (p *Provider) AttachUserPolicy(ctx context.Context, in *iamapi.AttachUserPolicyInput) (*iamapi.AttachUserPolicyOutput, error) {
	if err := attach(ctx, p, users(), *in.UserName, *in.PolicyArn); err != nil {
		return nil, err
	}
	return &iamapi.AttachUserPolicyOutput{}, nil
}

// DetachUserPolicy implements iamapi.Service.
func (p *Provider) DetachUserPolicy(ctx context.Context, in *iamapi.DetachUserPolicyInput) (*iamapi.DetachUserPolicyOutput, error) {
	if err := detach(ctx, p, users(), *in.UserName, *in.PolicyArn); err != nil {
		return nil, err
	}
	return &iamapi.DetachUserPolicyOutput{}, nil
}

// ListAttachedUserPolicies implements iamapi.Service.
func (p *Provider) ListAttachedUserPolicies(_ context.Context, in *iamapi.ListAttachedUserPoliciesInput) (*iamapi.ListAttachedUserPoliciesOutput, error) {
	part, err := listAttached(p, users(), *in.UserName, in.PathPrefix, asked{"ListAttachedUserPolicies", in.Marker, in.MaxItems})
	if err != nil {
		return nil, err
	}
	return &iamapi.ListAttachedUserPoliciesOutput{AttachedPolicies: part.items, IsTruncated: part.truncated, Marker: part.marker}, nil
}

// AttachGroupPolicy implements iamapi.Service.
func (p *Provider) AttachGroupPolicy(ctx context.Context, in *iamapi.AttachGroupPolicyInput) (*iamapi.AttachGroupPolicyOutput, error) {
	if err := attach(ctx, p, groups(), *in.GroupName, *in.PolicyArn); err != nil {
		return nil, err
	}
	return &iamapi.AttachGroupPolicyOutput{}, nil
}

// DetachGroupPolicy implements iamapi.Service.
func (p *Provider) DetachGroupPolicy(ctx context.Context, in *iamapi.DetachGroupPolicyInput) (*iamapi.DetachGroupPolicyOutput, error) {
	if err := detach(ctx, p, groups(), *in.GroupName, *in.PolicyArn); err != nil {
		return nil, err
	}
	return &iamapi.DetachGroupPolicyOutput{}, nil
}

// ListAttachedGroupPolicies implements iamapi.Service.
func (p *Provider) ListAttachedGroupPolicies(_ context.Context, in *iamapi.ListAttachedGroupPoliciesInput) (*iamapi.ListAttachedGroupPoliciesOutput, error) {
	part, err := listAttached(p, groups(), *in.GroupName, in.PathPrefix, asked{"ListAttachedGroupPolicies", in.Marker, in.MaxItems})
	if err != nil {
		return nil, err
	}
	return &iamapi.ListAttachedGroupPoliciesOutput{AttachedPolicies: part.items, IsTruncated: part.truncated, Marker: part.marker}, nil
}

// AttachRolePolicy implements iamapi.Service.
func (p *Provider) AttachRolePolicy(ctx context.Context, in *iamapi.AttachRolePolicyInput) (*iamapi.AttachRolePolicyOutput, error) {
	if err := attach(ctx, p, roles(), *in.RoleName, *in.PolicyArn); err != nil {
		return nil, err
	}
	return &iamapi.AttachRolePolicyOutput{}, nil
}

// DetachRolePolicy implements iamapi.Service.
func (p *Provider) DetachRolePolicy(ctx context.Context, in *iamapi.DetachRolePolicyInput) (*iamapi.DetachRolePolicyOutput, error) {
	if err := detach(ctx, p, roles(), *in.RoleName, *in.PolicyArn); err != nil {
		return nil, err
	}
	return &iamapi.DetachRolePolicyOutput{}, nil
}

// ListAttachedRolePolicies implements iamapi.Service.
func (p *Provider) ListAttachedRolePolicies(_ context.Context, in *iamapi.ListAttachedRolePoliciesInput) (*iamapi.ListAttachedRolePoliciesOutput, error) {
	part, err := listAttached(p, roles(), *in.RoleName, in.PathPrefix, asked{"ListAttachedRolePolicies", in.Marker, in.MaxItems})
	if err != nil {
		return nil, err
	}
	return &iamapi.ListAttachedRolePoliciesOutput{AttachedPolicies: part.items, IsTruncated: part.truncated, Marker: part.marker}, nil
}

// PutUserPermissionsBoundary implements iamapi.Service.
func (p *Provider) PutUserPermissionsBoundary(ctx context.Context, in *iamapi.PutUserPermissionsBoundaryInput) (*iamapi.PutUserPermissionsBoundaryOutput, error) {
	if err := putBoundary(ctx, p, users(), *in.UserName, *in.PermissionsBoundary); err != nil {
		return nil, err
	}
	return &iamapi.PutUserPermissionsBoundaryOutput{}, nil
}

// DeleteUserPermissionsBoundary implements iamapi.Service.
func (p *Provider) DeleteUserPermissionsBoundary(ctx context.Context, in *iamapi.DeleteUserPermissionsBoundaryInput) (*iamapi.DeleteUserPermissionsBoundaryOutput, error) {
	if err := deleteBoundary(ctx, p, users(), *in.UserName); err != nil {
		return nil, err
	}
	return &iamapi.DeleteUserPermissionsBoundaryOutput{}, nil
}

// PutRolePermissionsBoundary implements iamapi.Service.
func (p *Provider) PutRolePermissionsBoundary(ctx context.Context, in *iamapi.PutRolePermissionsBoundaryInput) (*iamapi.PutRolePermissionsBoundaryOutput, error) {
	if err := putBoundary(ctx, p, roles(), *in.RoleName, *in.PermissionsBoundary); err != nil {
		return nil, err
	}
	return &iamapi.PutRolePermissionsBoundaryOutput{}, nil
}

// DeleteRolePermissionsBoundary implements iamapi.Service.
func (p *Provider) DeleteRolePermissionsBoundary(ctx context.Context, in *iamapi.DeleteRolePermissionsBoundaryInput) (*iamapi.DeleteRolePermissionsBoundaryOutput, error) {
	if err := deleteBoundary(ctx, p, roles(), *in.RoleName); err != nil {
		return nil, err
	}
	return &iamapi.DeleteRolePermissionsBoundaryOutput{}, nil
}
