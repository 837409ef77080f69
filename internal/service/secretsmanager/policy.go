package secretsmanager

import (
	"context"
	"errors"
	"slices"

	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/policy"
	"berth.dev/berth/internal/wire/api/secretsmanagerapi"
	"berth.dev/berth/internal/wire/smithy"
)

// PutResourcePolicy implements secretsmanagerapi.Service.
func (p *Provider) PutResourcePolicy(ctx context.Context, in *secretsmanagerapi.PutResourcePolicyInput) (*secretsmanagerapi.PutResourcePolicyOutput, error) {
	doc, err := policy.Parse(policy.Resource, *in.ResourcePolicy)
	if err != nil {
		return nil, malformed(err)
	}
	s, err := p.edit(ctx, *in.SecretId, func(_ *store.Tx, s *model.Secret) error {
		if value(in.BlockPublicPolicy) && p.public(doc, s.ARN) {
			return &secretsmanagerapi.PublicPolicyException{Message: new("You can't attach a resource policy that allows broad access to the secret.")}
		}
		s.Policy = *in.ResourcePolicy
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &secretsmanagerapi.PutResourcePolicyOutput{ARN: &s.ARN, Name: &s.Name}, nil
}

func malformed(err error) error {
	syntax, ok := errors.AsType[*policy.SyntaxError](err)
	if !ok {
		return err
	}
	return &secretsmanagerapi.MalformedPolicyDocumentException{Message: &syntax.Message}
}

// everything is what a stranger's own account may let him do.
const everything = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`

// public reports whether a policy lets in whoever asks, of any account. AWS
// decides that by automated reasoning; here a stranger asks, and what a policy
// grants under a condition is not public.
func (p *Provider) public(doc *policy.Document, secret string) bool {
	own, err := policy.Parse(policy.Identity, everything)
	if err != nil {
		return true // which would be wrong here, and is refused
	}
	stranger := policy.Principal{ARN: "arn:aws:iam::000000000000:user/stranger", AccountID: "000000000000"}
	return slices.ContainsFunc(secretsmanagerapi.API.Operations, func(op *smithy.Operation) bool {
		return policy.Evaluate(
			policy.Request{Principal: stranger, Action: "secretsmanager:" + op.Name, Resource: secret},
			policy.Policies{
				Identity: []policy.Source{{Document: own}}, Resource: &policy.Source{Document: doc}, ResourceAccountID: p.scope.AccountID,
			},
		).Outcome == policy.Allowed
	})
}

// GetResourcePolicy implements secretsmanagerapi.Service.
func (p *Provider) GetResourcePolicy(_ context.Context, in *secretsmanagerapi.GetResourcePolicyInput) (*secretsmanagerapi.GetResourcePolicyOutput, error) {
	s, err := p.live(p.store.Snapshot(), *in.SecretId)
	if err != nil {
		return nil, err
	}
	return &secretsmanagerapi.GetResourcePolicyOutput{ARN: &s.ARN, Name: &s.Name, ResourcePolicy: optional(s.Policy)}, nil
}

// DeleteResourcePolicy implements secretsmanagerapi.Service.
func (p *Provider) DeleteResourcePolicy(ctx context.Context, in *secretsmanagerapi.DeleteResourcePolicyInput) (*secretsmanagerapi.DeleteResourcePolicyOutput, error) {
	s, err := p.edit(ctx, *in.SecretId, func(_ *store.Tx, s *model.Secret) error {
		s.Policy = ""
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &secretsmanagerapi.DeleteResourcePolicyOutput{ARN: &s.ARN, Name: &s.Name}, nil
}

// ValidateResourcePolicy implements secretsmanagerapi.Service.
func (p *Provider) ValidateResourcePolicy(_ context.Context, in *secretsmanagerapi.ValidateResourcePolicyInput) (*secretsmanagerapi.ValidateResourcePolicyOutput, error) {
	resource := p.arn("any-000000")
	if in.SecretId != nil {
		s, err := p.live(p.store.Snapshot(), *in.SecretId)
		if err != nil {
			return nil, err
		}
		resource = s.ARN
	}
	doc, err := policy.Parse(policy.Resource, *in.ResourcePolicy)
	if err != nil {
		return nil, malformed(err)
	}
	out := &secretsmanagerapi.ValidateResourcePolicyOutput{PolicyValidationPassed: new(true), ValidationErrors: []secretsmanagerapi.ValidationErrorsEntry{}}
	if p.public(doc, resource) {
		out.PolicyValidationPassed = new(false)
		out.ValidationErrors = append(out.ValidationErrors, secretsmanagerapi.ValidationErrorsEntry{
			CheckName: new("BlockPublicPolicy"), ErrorMessage_: new("The resource policy allows broad access to the secret."),
		})
	}
	return out, nil
}
