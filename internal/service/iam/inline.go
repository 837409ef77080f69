package iam

import (
	"context"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/policy"
	"berth.dev/berth/internal/wire/api/iamapi"
)

// putInline stores an inline policy; one of the same name is replaced.
func putInline[T any](ctx context.Context, p *Provider, h holder[T], entity, name, text string) error {
	if err := check(policy.Identity, text); err != nil {
		return err
	}
	return p.update(ctx, func(tx *store.Tx) error {
		return h.editFree(tx, entity, func(rec *T) error {
			all := h.inline(rec)
			put := model.InlinePolicy{Name: name, Document: text}
			if i, err := h.inlinePolicy(rec, name); err == nil {
				(*all)[i] = put
			} else {
				*all = append(*all, put)
			}
			size := 0
			for _, each := range *all {
				size += policy.Length(each.Document)
			}
			if size > h.inlineSize {
				return limitExceeded("Maximum policy size of %d bytes exceeded for %s %s", h.inlineSize, h.noun, entity)
			}
			return nil
		})
	})
}

func getInline[T any](p *Provider, h holder[T], entity, name string) (*string, error) {
	rec, err := h.find(p.store.Snapshot(), entity)
	if err != nil {
		return nil, err
	}
	i, err := h.inlinePolicy(rec, name)
	if err != nil {
		return nil, err
	}
	return encoded((*h.inline(rec))[i].Document), nil
}

func deleteInline[T any](ctx context.Context, p *Provider, h holder[T], entity, name string) error {
	return p.update(ctx, func(tx *store.Tx) error {
		return h.editFree(tx, entity, func(rec *T) error {
			i, err := h.inlinePolicy(rec, name)
			if err != nil {
				return err
			}
			all := h.inline(rec)
			*all = slices.Delete(*all, i, i+1)
			return nil
		})
	})
}

func listInline[T any](p *Provider, h holder[T], entity string, a asked) (page[string], error) {
	rec, err := h.find(p.store.Snapshot(), entity)
	if err != nil {
		return page[string]{}, err
	}
	names := each(*h.inline(rec), func(i model.InlinePolicy) string { return i.Name })
	slices.Sort(names)
	return pageOf(a, names, func(name string) string { return name })
}

// inlineShapes are inline policies as GetAccountAuthorizationDetails has them.
func inlineShapes(all []model.InlinePolicy) []iamapi.PolicyDetail {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b model.InlinePolicy) int { return strings.Compare(a.Name, b.Name) })
	return each(sorted, func(i model.InlinePolicy) iamapi.PolicyDetail {
		return iamapi.PolicyDetail{PolicyName: &i.Name, PolicyDocument: encoded(i.Document)}
	})
}

// PutUserPolicy implements iamapi.Service.
func (p *Provider) PutUserPolicy(ctx context.Context, in *iamapi.PutUserPolicyInput) (*iamapi.PutUserPolicyOutput, error) {
	if err := putInline(ctx, p, users(), *in.UserName, *in.PolicyName, *in.PolicyDocument); err != nil {
		return nil, err
	}
	return &iamapi.PutUserPolicyOutput{}, nil
}

// GetUserPolicy implements iamapi.Service.
func (p *Provider) GetUserPolicy(_ context.Context, in *iamapi.GetUserPolicyInput) (*iamapi.GetUserPolicyOutput, error) {
	document, err := getInline(p, users(), *in.UserName, *in.PolicyName)
	if err != nil {
		return nil, err
	}
	return &iamapi.GetUserPolicyOutput{UserName: in.UserName, PolicyName: in.PolicyName, PolicyDocument: document}, nil
}

// DeleteUserPolicy implements iamapi.Service.
func (p *Provider) DeleteUserPolicy(ctx context.Context, in *iamapi.DeleteUserPolicyInput) (*iamapi.DeleteUserPolicyOutput, error) {
	if err := deleteInline(ctx, p, users(), *in.UserName, *in.PolicyName); err != nil {
		return nil, err
	}
	return &iamapi.DeleteUserPolicyOutput{}, nil
}

// ListUserPolicies implements iamapi.Service.
func (p *Provider) ListUserPolicies(_ context.Context, in *iamapi.ListUserPoliciesInput) (*iamapi.ListUserPoliciesOutput, error) {
	part, err := listInline(p, users(), *in.UserName, asked{"ListUserPolicies", in.Marker, in.MaxItems})
	if err != nil {
		return nil, err
	}
	return &iamapi.ListUserPoliciesOutput{PolicyNames: part.items, IsTruncated: part.truncated, Marker: part.marker}, nil
}

// PutGroupPolicy implements iamapi.Service.
func (p *Provider) PutGroupPolicy(ctx context.Context, in *iamapi.PutGroupPolicyInput) (*iamapi.PutGroupPolicyOutput, error) {
	if err := putInline(ctx, p, groups(), *in.GroupName, *in.PolicyName, *in.PolicyDocument); err != nil {
		return nil, err
	}
	return &iamapi.PutGroupPolicyOutput{}, nil
}

// GetGroupPolicy implements iamapi.Service.
func (p *Provider) GetGroupPolicy(_ context.Context, in *iamapi.GetGroupPolicyInput) (*iamapi.GetGroupPolicyOutput, error) {
	document, err := getInline(p, groups(), *in.GroupName, *in.PolicyName)
	if err != nil {
		return nil, err
	}
	return &iamapi.GetGroupPolicyOutput{GroupName: in.GroupName, PolicyName: in.PolicyName, PolicyDocument: document}, nil
}

// DeleteGroupPolicy implements iamapi.Service.
func (p *Provider) DeleteGroupPolicy(ctx context.Context, in *iamapi.DeleteGroupPolicyInput) (*iamapi.DeleteGroupPolicyOutput, error) {
	if err := deleteInline(ctx, p, groups(), *in.GroupName, *in.PolicyName); err != nil {
		return nil, err
	}
	return &iamapi.DeleteGroupPolicyOutput{}, nil
}

// ListGroupPolicies implements iamapi.Service.
func (p *Provider) ListGroupPolicies(_ context.Context, in *iamapi.ListGroupPoliciesInput) (*iamapi.ListGroupPoliciesOutput, error) {
	part, err := listInline(p, groups(), *in.GroupName, asked{"ListGroupPolicies", in.Marker, in.MaxItems})
	if err != nil {
		return nil, err
	}
	return &iamapi.ListGroupPoliciesOutput{PolicyNames: part.items, IsTruncated: part.truncated, Marker: part.marker}, nil
}

// PutRolePolicy implements iamapi.Service.
func (p *Provider) PutRolePolicy(ctx context.Context, in *iamapi.PutRolePolicyInput) (*iamapi.PutRolePolicyOutput, error) {
	if err := putInline(ctx, p, roles(), *in.RoleName, *in.PolicyName, *in.PolicyDocument); err != nil {
		return nil, err
	}
	return &iamapi.PutRolePolicyOutput{}, nil
}

// GetRolePolicy implements iamapi.Service.
func (p *Provider) GetRolePolicy(_ context.Context, in *iamapi.GetRolePolicyInput) (*iamapi.GetRolePolicyOutput, error) {
	document, err := getInline(p, roles(), *in.RoleName, *in.PolicyName)
	if err != nil {
		return nil, err
	}
	return &iamapi.GetRolePolicyOutput{RoleName: in.RoleName, PolicyName: in.PolicyName, PolicyDocument: document}, nil
}

// DeleteRolePolicy implements iamapi.Service.
func (p *Provider) DeleteRolePolicy(ctx context.Context, in *iamapi.DeleteRolePolicyInput) (*iamapi.DeleteRolePolicyOutput, error) {
	if err := deleteInline(ctx, p, roles(), *in.RoleName, *in.PolicyName); err != nil {
		return nil, err
	}
	return &iamapi.DeleteRolePolicyOutput{}, nil
}

// ListRolePolicies implements iamapi.Service.
func (p *Provider) ListRolePolicies(_ context.Context, in *iamapi.ListRolePoliciesInput) (*iamapi.ListRolePoliciesOutput, error) {
	part, err := listInline(p, roles(), *in.RoleName, asked{"ListRolePolicies", in.Marker, in.MaxItems})
	if err != nil {
		return nil, err
	}
	return &iamapi.ListRolePoliciesOutput{PolicyNames: part.items, IsTruncated: part.truncated, Marker: part.marker}, nil
}
