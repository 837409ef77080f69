package secretsmanager

import (
	"context"
	"time"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/rotation"
	"berth.dev/berth/internal/wire/api/secretsmanagerapi"
)

// DescribeSecret implements secretsmanagerapi.Service. Of a secret that waits
// for deletion, DeletedDate is when it goes; in ListSecrets it is when that was
// asked for: so the API reference has it.
func (p *Provider) DescribeSecret(_ context.Context, in *secretsmanagerapi.DescribeSecretInput) (*secretsmanagerapi.DescribeSecretOutput, error) {
	s, err := p.secret(p.store.Snapshot(), *in.SecretId)
	if err != nil {
		return nil, err
	}
	out := &secretsmanagerapi.DescribeSecretOutput{
		ARN: &s.ARN, Name: &s.Name, Description: optional(s.Description), KmsKeyId: optional(s.KMSKeyID), CreatedDate: &s.CreatedAt,
		LastChangedDate: &s.ChangedAt, LastAccessedDate: s.AccessedOn, DeletedDate: s.PurgeAt, Tags: tagsOut(s.Tags), VersionIdsToStages: stagesOut(s),
	}
	r := rotationOf(s)
	out.RotationEnabled, out.RotationLambdaARN, out.RotationRules, out.LastRotatedDate, out.NextRotationDate = r.enabled, r.task, r.rules, r.last, r.next
	return out, nil
}

// stagesOut are the labels by version; absent without a value.
func stagesOut(s *model.Secret) map[string][]string {
	if len(s.Stages) == 0 {
		return nil
	}
	return s.Stages.ByVersion()
}

// rotationOut is what is told of a secret's rotation; all absent when it never
// had one.
type rotationOut struct {
	enabled    *bool
	task       *string
	rules      *secretsmanagerapi.RotationRulesType
	last, next *time.Time
}

func rotationOf(s *model.Secret) (out rotationOut) {
	r := s.Rotation
	if r == nil {
		return out
	}
	out = rotationOut{enabled: &r.Enabled, task: &r.TaskDefinitionARN, last: r.LastAt}
	if r.AfterDays > 0 || r.Schedule != "" {
		out.rules = &secretsmanagerapi.RotationRulesType{ScheduleExpression: optional(r.Schedule), Duration: optional(r.Duration)}
		if r.AfterDays > 0 {
			out.rules.AutomaticallyAfterDays = &r.AfterDays
		}
	}
	if r.Enabled && r.NextAt != nil {
		out.next = new(rotation.WindowEnd(r, *r.NextAt))
	}
	return out
}

// ListSecretVersionIds implements secretsmanagerapi.Service.
func (p *Provider) ListSecretVersionIds(_ context.Context, in *secretsmanagerapi.ListSecretVersionIdsInput) (*secretsmanagerapi.ListSecretVersionIdsOutput, error) {
	snap := p.store.Snapshot()
	s, err := p.secret(snap, *in.SecretId)
	if err != nil {
		return nil, err
	}
	labels := s.Stages.ByVersion()
	var all []*model.SecretVersion
	for _, v := range versions(snap, s) {
		if labels[v.ID] != nil || value(in.IncludeDeprecated) {
			all = append(all, v)
		}
	}
	key := func(v *model.SecretVersion) string { return orderOf(v.CreatedAt, v.ID) }
	page, next, err := pageOf("versions "+s.ARN, all, key, false, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &secretsmanagerapi.ListSecretVersionIdsOutput{ARN: &s.ARN, Name: &s.Name, NextToken: next, Versions: []secretsmanagerapi.SecretVersionsListEntry{}}
	for _, v := range page {
		out.Versions = append(out.Versions, secretsmanagerapi.SecretVersionsListEntry{
			VersionId: &v.ID, VersionStages: labels[v.ID], LastAccessedDate: v.AccessedOn, CreatedDate: &v.CreatedAt, KmsKeyIds: []string{keyOut(s, v)},
		})
	}
	return out, nil
}

// keyOut names the key of a version as AWS does: that of the service by a word
// of its own.
func keyOut(s *model.Secret, v *model.SecretVersion) string {
	if s.KMSKeyID == "" {
		return "DefaultEncryptionKey"
	}
	return v.KMSKeyID
}
