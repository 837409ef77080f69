package ecr

import (
	"context"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/policy"
	"berth.dev/berth/internal/wire/api/ecrapi"
	"berth.dev/berth/internal/wire/caller"
)

// everything is what somebody's identity policies let him do who may do all.
const everything = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`

// SetRepositoryPolicy implements ecrapi.Service.
func (p *Provider) SetRepositoryPolicy(ctx context.Context, in *ecrapi.SetRepositoryPolicyInput) (*ecrapi.SetRepositoryPolicyOutput, error) {
	doc, err := policy.Parse(policy.Repository, *in.PolicyText)
	if err != nil {
		return nil, invalid("PolicyText", "Invalid repository policy provided")
	}
	if !value(in.Force) && p.locksOut(ctx, doc, *in.RepositoryName) {
		return nil, invalid("PolicyText", "The new policy would prevent you from setting another policy in the future. Use force to set it nonetheless")
	}
	_, err = p.edit(ctx, in.RegistryId, in.RepositoryName, func(r *model.Repository) error {
		r.Policy = *in.PolicyText
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecrapi.SetRepositoryPolicyOutput{RegistryId: &p.scope.AccountID, RepositoryName: in.RepositoryName, PolicyText: in.PolicyText}, nil
}

// locksOut reports whether a policy would refuse the caller to set another.
func (p *Provider) locksOut(ctx context.Context, doc *policy.Document, repository string) bool {
	who, ok := caller.From(ctx)
	if !ok {
		return false
	}
	own, err := policy.Parse(policy.Identity, everything)
	if err != nil {
		return true // which would be wrong here, and is refused
	}
	principal := policy.Principal{ARN: who.ARN, AccountID: who.AccountID}
	if who.Session != nil {
		principal.RoleARN = who.Session.RoleARN
	}
	return policy.Evaluate(
		policy.Request{Principal: principal, Action: "ecr:SetRepositoryPolicy", Resource: p.scope.Repository(repository)},
		policy.Policies{
			Identity: []policy.Source{{Document: own}}, Resource: &policy.Source{Document: doc}, ResourceAccountID: p.scope.AccountID,
		},
	).Outcome != policy.Allowed
}

// GetRepositoryPolicy implements ecrapi.Service.
func (p *Provider) GetRepositoryPolicy(_ context.Context, in *ecrapi.GetRepositoryPolicyInput) (*ecrapi.GetRepositoryPolicyOutput, error) {
	r, err := p.repository(p.store.Snapshot(), in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	if r.Policy == "" {
		return nil, p.noPolicy(r.Name)
	}
	return &ecrapi.GetRepositoryPolicyOutput{RegistryId: &p.scope.AccountID, RepositoryName: in.RepositoryName, PolicyText: &r.Policy}, nil
}

func (p *Provider) noPolicy(repository string) error {
	return &ecrapi.RepositoryPolicyNotFoundException{Message: new("Repository policy does not exist for " + p.in(repository))}
}

// DeleteRepositoryPolicy implements ecrapi.Service.
func (p *Provider) DeleteRepositoryPolicy(ctx context.Context, in *ecrapi.DeleteRepositoryPolicyInput) (*ecrapi.DeleteRepositoryPolicyOutput, error) {
	var text string
	_, err := p.edit(ctx, in.RegistryId, in.RepositoryName, func(r *model.Repository) error {
		if text = r.Policy; text == "" {
			return p.noPolicy(r.Name)
		}
		r.Policy = ""
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecrapi.DeleteRepositoryPolicyOutput{RegistryId: &p.scope.AccountID, RepositoryName: in.RepositoryName, PolicyText: &text}, nil
}

// editSettings changes the registry's settings.
func (p *Provider) editSettings(ctx context.Context, change func(*model.RegistrySettings) error) error {
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		key := (*model.RegistrySettings)(nil).Key()
		if !records.RegistrySettings.Has(tx, key) {
			records.RegistrySettings.Put(tx, &model.RegistrySettings{})
		}
		return records.RegistrySettings.Edit(tx, key, change)
	})
	return err
}

// PutRegistryPolicy implements ecrapi.Service.
func (p *Provider) PutRegistryPolicy(ctx context.Context, in *ecrapi.PutRegistryPolicyInput) (*ecrapi.PutRegistryPolicyOutput, error) {
	if _, err := policy.Parse(policy.Resource, *in.PolicyText); err != nil {
		return nil, invalid("PolicyText", "Invalid registry policy provided")
	}
	err := p.editSettings(ctx, func(s *model.RegistrySettings) error {
		s.Policy = *in.PolicyText
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecrapi.PutRegistryPolicyOutput{RegistryId: &p.scope.AccountID, PolicyText: in.PolicyText}, nil
}

// GetRegistryPolicy implements ecrapi.Service.
func (p *Provider) GetRegistryPolicy(context.Context, *ecrapi.GetRegistryPolicyInput) (*ecrapi.GetRegistryPolicyOutput, error) {
	s := settings(p.store.Snapshot())
	if s.Policy == "" {
		return nil, p.noRegistryPolicy()
	}
	return &ecrapi.GetRegistryPolicyOutput{RegistryId: &p.scope.AccountID, PolicyText: &s.Policy}, nil
}

func (p *Provider) noRegistryPolicy() error {
	return &ecrapi.RegistryPolicyNotFoundException{Message: new("Registry policy does not exist in the registry with id '" + p.scope.AccountID + "'")}
}

// DeleteRegistryPolicy implements ecrapi.Service.
func (p *Provider) DeleteRegistryPolicy(ctx context.Context, _ *ecrapi.DeleteRegistryPolicyInput) (*ecrapi.DeleteRegistryPolicyOutput, error) {
	var text string
	err := p.editSettings(ctx, func(s *model.RegistrySettings) error {
		if text = s.Policy; text == "" {
			return p.noRegistryPolicy()
		}
		s.Policy = ""
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecrapi.DeleteRegistryPolicyOutput{RegistryId: &p.scope.AccountID, PolicyText: &text}, nil
}
