package ecr

import (
	"context"
	"slices"
	"strings"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/imagelifecycle"
	"berth.dev/berth/internal/wire/api/ecrapi"
)

// checkLifecycle refuses a policy in AWS's words.
func checkLifecycle(text string) error {
	if _, err := imagelifecycle.Parse(text); err != nil {
		return invalid("LifecyclePolicyText", "Lifecycle policy validation failure: %s", err)
	}
	return nil
}

// PutLifecyclePolicy implements ecrapi.Service. control/imageexpiry runs it.
func (p *Provider) PutLifecyclePolicy(ctx context.Context, in *ecrapi.PutLifecyclePolicyInput) (*ecrapi.PutLifecyclePolicyOutput, error) {
	if err := checkLifecycle(*in.LifecyclePolicyText); err != nil {
		return nil, err
	}
	_, err := p.edit(ctx, in.RegistryId, in.RepositoryName, func(r *model.Repository) error {
		if r.LifecyclePolicy != *in.LifecyclePolicyText {
			r.LifecyclePolicy, r.LifecycleEvaluatedAt = *in.LifecyclePolicyText, nil
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecrapi.PutLifecyclePolicyOutput{RegistryId: &p.scope.AccountID, RepositoryName: in.RepositoryName, LifecyclePolicyText: in.LifecyclePolicyText}, nil
}

// GetLifecyclePolicy implements ecrapi.Service.
func (p *Provider) GetLifecyclePolicy(_ context.Context, in *ecrapi.GetLifecyclePolicyInput) (*ecrapi.GetLifecyclePolicyOutput, error) {
	r, err := p.repository(p.store.Snapshot(), in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	if r.LifecyclePolicy == "" {
		return nil, p.noLifecyclePolicy(r.Name)
	}
	return &ecrapi.GetLifecyclePolicyOutput{
		RegistryId: &p.scope.AccountID, RepositoryName: in.RepositoryName, LifecyclePolicyText: &r.LifecyclePolicy, LastEvaluatedAt: evaluated(r),
	}, nil
}

// evaluated is when a policy was last run, which AWS writes as the beginning of
// time when it never was.
func evaluated(r *model.Repository) *time.Time {
	if r.LifecycleEvaluatedAt == nil {
		return new(time.Unix(0, 0))
	}
	return r.LifecycleEvaluatedAt
}

func (p *Provider) noLifecyclePolicy(repository string) error {
	return &ecrapi.LifecyclePolicyNotFoundException{Message: new("Lifecycle policy does not exist for " + p.in(repository))}
}

// DeleteLifecyclePolicy implements ecrapi.Service.
func (p *Provider) DeleteLifecyclePolicy(ctx context.Context, in *ecrapi.DeleteLifecyclePolicyInput) (*ecrapi.DeleteLifecyclePolicyOutput, error) {
	out := &ecrapi.DeleteLifecyclePolicyOutput{RegistryId: &p.scope.AccountID, RepositoryName: in.RepositoryName}
	_, err := p.edit(ctx, in.RegistryId, in.RepositoryName, func(r *model.Repository) error {
		if r.LifecyclePolicy == "" {
			return p.noLifecyclePolicy(r.Name)
		}
		out.LifecyclePolicyText, out.LastEvaluatedAt = new(r.LifecyclePolicy), evaluated(r)
		r.LifecyclePolicy, r.LifecycleEvaluatedAt = "", nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// StartLifecyclePolicyPreview implements ecrapi.Service. What is previewed is
// worked out when it is asked for.
func (p *Provider) StartLifecyclePolicyPreview(ctx context.Context, in *ecrapi.StartLifecyclePolicyPreviewInput) (*ecrapi.StartLifecyclePolicyPreviewOutput, error) {
	if in.LifecyclePolicyText != nil {
		if err := checkLifecycle(*in.LifecyclePolicyText); err != nil {
			return nil, err
		}
	}
	var text string
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		r, err := p.repository(tx, in.RegistryId, in.RepositoryName)
		if err != nil {
			return err
		}
		text = r.LifecyclePolicy
		if in.LifecyclePolicyText != nil {
			text = *in.LifecyclePolicyText
		}
		if text == "" {
			return p.noLifecyclePolicy(r.Name)
		}
		records.Repositories.Guard(tx, r.Name)
		records.LifecyclePreviews.Put(tx, &model.LifecyclePreview{Repository: r.Name, Policy: text, StartedAt: tx.Now()})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecrapi.StartLifecyclePolicyPreviewOutput{
		RegistryId: &p.scope.AccountID, RepositoryName: in.RepositoryName, LifecyclePolicyText: &text, Status: ecrapi.LifecyclePolicyPreviewStatusInProgress,
	}, nil
}

// GetLifecyclePolicyPreview implements ecrapi.Service. It shows the images that
// are there now, at the time when the preview was started.
func (p *Provider) GetLifecyclePolicyPreview(_ context.Context, in *ecrapi.GetLifecyclePolicyPreviewInput) (*ecrapi.GetLifecyclePolicyPreviewOutput, error) {
	if err := unpaged("imageIds", len(in.ImageIds) > 0, in.NextToken, in.MaxResults); err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	repository, err := p.repository(snap, in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	name := repository.Name
	preview, ok := records.LifecyclePreviews.Get(snap, name)
	if !ok {
		return nil, &ecrapi.LifecyclePolicyPreviewNotFoundException{Message: new("Lifecycle policy preview does not exist for " + p.in(name))}
	}
	policy, err := imagelifecycle.Parse(preview.Policy)
	if err != nil {
		return nil, err
	}
	plan := policy.Plan(records.LifecycleImages(snap, name), preview.StartedAt)
	out := &ecrapi.GetLifecyclePolicyPreviewOutput{
		RegistryId: &p.scope.AccountID, RepositoryName: &name, LifecyclePolicyText: &preview.Policy, Status: ecrapi.LifecyclePolicyPreviewStatusComplete,
		PreviewResults: []ecrapi.LifecyclePolicyPreviewResult{},
		Summary:        &ecrapi.LifecyclePolicyPreviewSummary{ExpiringImageTotalCount: new(int32(len(plan)))},
	}
	if plan, err = p.previewed(snap, name, in, plan); err != nil {
		return nil, err
	}
	slices.SortFunc(plan, func(a, b imagelifecycle.Expiry) int { return strings.Compare(a.Digest, b.Digest) })
	digest := func(e imagelifecycle.Expiry) string { return e.Digest }
	if len(in.ImageIds) == 0 {
		if plan, out.NextToken, err = pageOf("GetLifecyclePolicyPreview "+name, plan, digest, in.NextToken, in.MaxResults); err != nil {
			return nil, err
		}
	}
	for _, e := range plan {
		if image, ok := records.Images.Get(snap, model.ImageKey(name, e.Digest)); ok {
			out.PreviewResults = append(out.PreviewResults, ecrapi.LifecyclePolicyPreviewResult{
				ImageDigest: &image.Digest, ImageTags: tagsOf(snap, image), ImagePushedAt: &image.PushedAt,
				Action: &ecrapi.LifecyclePolicyRuleAction{Type: ecrapi.ImageActionTypeExpire}, AppliedRulePriority: &e.Priority,
			})
		}
	}
	return out, nil
}

// previewed keeps what a call asks for of a plan.
func (p *Provider) previewed(r store.Reader, name string, in *ecrapi.GetLifecyclePolicyPreviewInput, plan []imagelifecycle.Expiry) ([]imagelifecycle.Expiry, error) {
	images, err := p.allOf(r, name, in.ImageIds)
	if err != nil {
		return nil, err
	}
	status := value(in.Filter).TagStatus
	return slices.DeleteFunc(plan, func(e imagelifecycle.Expiry) bool {
		image, ok := records.Images.Get(r, model.ImageKey(name, e.Digest))
		return !ok || len(in.ImageIds) > 0 && !slices.Contains(images, image) || !listed(len(tagsOf(r, image)), status, "")
	}), nil
}
