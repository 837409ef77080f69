package secretsmanager

import (
	"context"
	"slices"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/rotation"
	"berth.dev/berth/internal/wire/api/secretsmanagerapi"
)

// GetSecretValue implements secretsmanagerapi.Service.
func (p *Provider) GetSecretValue(ctx context.Context, in *secretsmanagerapi.GetSecretValueInput) (*secretsmanagerapi.GetSecretValueOutput, error) {
	s, err := p.live(p.store.Snapshot(), *in.SecretId)
	if err != nil {
		return nil, err
	}
	return p.get(ctx, s, value(in.VersionId), value(in.VersionStage))
}

// get reads one version of a secret; without an id and a label the current one.
func (p *Provider) get(ctx context.Context, s *model.Secret, id, label string) (*secretsmanagerapi.GetSecretValueOutput, error) {
	snap := p.store.Snapshot()
	byID := id != ""
	if !byID {
		if label == "" {
			label = model.StageCurrent
		}
		if id = s.Stages[label]; id == "" {
			return nil, noStage(label)
		}
	}
	v, found := version(snap, s, id)
	switch {
	case !found && byID:
		return nil, noVersion(id)
	case !found:
		return nil, noStage(label)
	case byID && label != "" && s.Stages[label] != id:
		return nil, invalidRequest("You provided a VersionStage that is not associated to the provided VersionId.")
	}
	clear, err := p.open(ctx, s, v)
	if err != nil {
		return nil, err
	}
	p.seen.note(s, v)
	out := &secretsmanagerapi.GetSecretValueOutput{ARN: &s.ARN, Name: &s.Name, VersionId: &v.ID, VersionStages: s.Stages.Of(v.ID), CreatedDate: &v.CreatedAt}
	out.SecretString, out.SecretBinary = clear.members()
	return out, nil
}

// PutSecretValue implements secretsmanagerapi.Service.
func (p *Provider) PutSecretValue(ctx context.Context, in *secretsmanagerapi.PutSecretValueInput) (*secretsmanagerapi.PutSecretValueOutput, error) {
	switch {
	case in.ClientRequestToken == nil:
		return nil, noToken()
	case in.RotationToken != nil:
		return nil, invalidParameter("RotationToken is not supported: a rotation's task calls with its own role.")
	}
	given, err := valueOf(in.SecretString, in.SecretBinary)
	if err != nil {
		return nil, err
	}
	if given == nil {
		return nil, invalidRequest("You must provide either SecretString or SecretBinary.")
	}
	var out *secretsmanagerapi.PutSecretValueOutput
	err = again(ctx, func() error {
		out, err = p.put(ctx, in, given)
		return err
	})
	return out, err
}

func (p *Provider) put(ctx context.Context, in *secretsmanagerapi.PutSecretValueInput, given *secretValue) (*secretsmanagerapi.PutSecretValueOutput, error) {
	snap, token := p.store.Snapshot(), *in.ClientRequestToken
	seen, err := p.live(snap, *in.SecretId)
	if err != nil {
		return nil, err
	}
	if v, used := version(snap, seen, token); used {
		stored, err := p.open(ctx, seen, v)
		if err != nil {
			return nil, err
		}
		if !stored.equal(given) {
			return nil, tokenUsed(seen, token)
		}
		return putOut(seen, token), nil
	}
	next, err := p.seal(ctx, seen, token, given)
	if err != nil {
		return nil, err
	}
	after, err := p.edit(ctx, seen.ARN, func(tx *store.Tx, s *model.Secret) error {
		if _, used := version(tx, s, token); used || s.KMSKeyID != seen.KMSKeyID {
			return errStale
		}
		addVersion(tx, s, next, in.VersionStages)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return putOut(after, token), nil
}

func putOut(s *model.Secret, id string) *secretsmanagerapi.PutSecretValueOutput {
	return &secretsmanagerapi.PutSecretValueOutput{ARN: &s.ARN, Name: &s.Name, VersionId: &id, VersionStages: s.Stages.Of(id)}
}

// maxForgotten is how many versions are let go with one that comes: a
// transaction has a limit, and more than one come seldom.
const maxForgotten = 20

// addVersion stores a new version under its labels and lets go of versions that
// are not kept any longer. A new current value counts as a rotation.
func addVersion(tx *store.Tx, s *model.Secret, v *model.SecretVersion, labels []string) {
	v.CreatedAt = tx.Now()
	records.SecretVersions.Put(tx, v)
	s.Stages = s.Stages.Add(v.ID, labels)
	if r := s.Rotation; r != nil && r.Enabled && r.AfterDays > 0 && r.VersionID == "" && s.Stages[model.StageCurrent] == v.ID {
		moved := *r
		moved.NextAt = rotation.Next(r, tx.Now())
		s.Rotation = &moved
	}
	gone := s.Stages.Forgotten(versions(tx, s), tx.Now())
	for _, id := range gone[:min(len(gone), maxForgotten)] {
		records.SecretVersions.Delete(tx, (&model.SecretVersion{SecretName: s.Name, ID: id}).Key())
	}
}

// UpdateSecretVersionStage implements secretsmanagerapi.Service.
func (p *Provider) UpdateSecretVersionStage(ctx context.Context, in *secretsmanagerapi.UpdateSecretVersionStageInput) (*secretsmanagerapi.UpdateSecretVersionStageOutput, error) {
	label, from, to := *in.VersionStage, value(in.RemoveFromVersionId), value(in.MoveToVersionId)
	s, err := p.edit(ctx, *in.SecretId, func(tx *store.Tx, s *model.Secret) error {
		if err := checkMove(tx, s, label, from, to); err != nil {
			return err
		}
		if to == "" {
			s.Stages = s.Stages.Detach(label)
			return nil
		}
		s.Stages = s.Stages.Attach(label, to)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &secretsmanagerapi.UpdateSecretVersionStageOutput{ARN: &s.ARN, Name: &s.Name}, nil
}

// checkMove says why a label cannot be moved from one version to another.
func checkMove(r store.Reader, s *model.Secret, label, from, to string) error {
	on := s.Stages[label]
	for _, id := range []string{from, to} {
		if id == "" {
			continue
		}
		if _, found := version(r, s, id); !found {
			return &secretsmanagerapi.ResourceNotFoundException{Message: new("Secrets Manager can't find the specified secret version: " + id)}
		}
	}
	switch {
	case from == "" && to == "":
		return invalidParameter("You must provide at least one of RemoveFromVersionId and MoveToVersionId.")
	case to == "" && label == model.StageCurrent:
		return invalidParameter("You can only move staging label AWSCURRENT to a different secret version. It can’t be completely removed.")
	case from != "" && from != on:
		return invalidParameter("The staging label %s isn't attached to version %s.", label, from)
	case from == "" && on != "" && on != to:
		return invalidParameter("The parameter RemoveFromVersionId can't be empty. Staging label %s is currently attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.", label, on)
	case to != "" && label == model.StagePrevious && s.Stages[model.StageCurrent] == to:
		return invalidParameter("You can't attach staging label AWSPREVIOUS to the version that has AWSCURRENT.")
	}
	if labels := s.Stages.Of(to); to != "" && len(labels) >= model.MaxStages && !slices.Contains(labels, label) {
		return &secretsmanagerapi.LimitExceededException{Message: new("You can attach at most 20 staging labels to a version.")}
	}
	return nil
}
