package iam

import (
	"context"
	"fmt"
	"slices"
	"time"

	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/iamapi"
)

// CreatePolicyVersion implements iamapi.Service. Numbers are never used again.
func (p *Provider) CreatePolicyVersion(ctx context.Context, in *iamapi.CreatePolicyVersionInput) (*iamapi.CreatePolicyVersionOutput, error) {
	if err := checkManaged(*in.PolicyDocument); err != nil {
		return nil, err
	}
	var shape iamapi.PolicyVersion
	if err := p.update(ctx, func(tx *store.Tx) error {
		return p.editPolicy(tx, *in.PolicyArn, func(found *model.Policy) error {
			if len(found.Versions) >= maxVersions {
				return limitExceeded("A managed policy can have up to %d versions. Before you create a new version, you must delete an existing version.", maxVersions)
			}
			now := tx.Now().Truncate(time.Second)
			found.LastVersion++
			made := model.PolicyVersion{ID: fmt.Sprintf("v%d", found.LastVersion), Document: *in.PolicyDocument, CreatedAt: now}
			found.Versions = append(found.Versions, made)
			if in.SetAsDefault != nil && *in.SetAsDefault {
				found.DefaultID = made.ID
			}
			found.UpdatedAt = now
			shape = versionShape(found, made)
			return nil
		})
	}); err != nil {
		return nil, err
	}
	return &iamapi.CreatePolicyVersionOutput{PolicyVersion: &shape}, nil
}

// GetPolicyVersion implements iamapi.Service.
func (p *Provider) GetPolicyVersion(_ context.Context, in *iamapi.GetPolicyVersionInput) (*iamapi.GetPolicyVersionOutput, error) {
	found, err := p.readPolicy(p.store.Snapshot(), *in.PolicyArn)
	if err != nil {
		return nil, err
	}
	i, err := versionOf(found, *in.VersionId)
	if err != nil {
		return nil, err
	}
	shape := versionShape(found, found.Versions[i])
	shape.Document = encoded(found.Versions[i].Document)
	return &iamapi.GetPolicyVersionOutput{PolicyVersion: &shape}, nil
}

// versionOf is where a policy's version with an id is.
func versionOf(found *model.Policy, id string) (int, error) {
	i := slices.IndexFunc(found.Versions, func(v model.PolicyVersion) bool { return v.ID == id })
	if i < 0 {
		return 0, noSuch("Policy %s version %s does not exist or is not attachable.", found.ARN, id)
	}
	return i, nil
}

// DeletePolicyVersion implements iamapi.Service.
func (p *Provider) DeletePolicyVersion(ctx context.Context, in *iamapi.DeletePolicyVersionInput) (*iamapi.DeletePolicyVersionOutput, error) {
	if err := p.update(ctx, func(tx *store.Tx) error {
		return p.editPolicy(tx, *in.PolicyArn, func(found *model.Policy) error {
			i, err := versionOf(found, *in.VersionId)
			if err != nil {
				return err
			}
			if found.DefaultID == *in.VersionId {
				return inUse("Cannot delete the default version of a policy.")
			}
			found.Versions = slices.Delete(found.Versions, i, i+1)
			found.UpdatedAt = tx.Now().Truncate(time.Second)
			return nil
		})
	}); err != nil {
		return nil, err
	}
	return &iamapi.DeletePolicyVersionOutput{}, nil
}

// ListPolicyVersions implements iamapi.Service: the newest first, without their
// documents.
func (p *Provider) ListPolicyVersions(_ context.Context, in *iamapi.ListPolicyVersionsInput) (*iamapi.ListPolicyVersionsOutput, error) {
	found, err := p.readPolicy(p.store.Snapshot(), *in.PolicyArn)
	if err != nil {
		return nil, err
	}
	type numbered struct {
		order string
		shape iamapi.PolicyVersion
	}
	var versions []numbered
	for i, v := range slices.Backward(found.Versions) {
		versions = append(versions, numbered{fmt.Sprintf("%02d", maxVersions-i), versionShape(found, v)})
	}
	part, err := pageOf(asked{"ListPolicyVersions", in.Marker, in.MaxItems}, versions, func(n numbered) string { return n.order })
	if err != nil {
		return nil, err
	}
	return &iamapi.ListPolicyVersionsOutput{
		Versions:    each(part.items, func(n numbered) iamapi.PolicyVersion { return n.shape }),
		IsTruncated: part.truncated, Marker: part.marker,
	}, nil
}

// SetDefaultPolicyVersion implements iamapi.Service.
func (p *Provider) SetDefaultPolicyVersion(ctx context.Context, in *iamapi.SetDefaultPolicyVersionInput) (*iamapi.SetDefaultPolicyVersionOutput, error) {
	if err := p.update(ctx, func(tx *store.Tx) error {
		return p.editPolicy(tx, *in.PolicyArn, func(found *model.Policy) error {
			if _, err := versionOf(found, *in.VersionId); err != nil {
				return err
			}
			found.DefaultID = *in.VersionId
			found.UpdatedAt = tx.Now().Truncate(time.Second)
			return nil
		})
	}); err != nil {
		return nil, err
	}
	return &iamapi.SetDefaultPolicyVersionOutput{}, nil
}

func versionShape(found *model.Policy, v model.PolicyVersion) iamapi.PolicyVersion {
	return iamapi.PolicyVersion{VersionId: &v.ID, IsDefaultVersion: new(v.ID == found.DefaultID), CreateDate: &v.CreatedAt}
}
