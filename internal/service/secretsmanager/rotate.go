package secretsmanager

import (
	"context"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/rotation"
	"berth.dev/berth/internal/wire/api/secretsmanagerapi"
	"berth.dev/berth/internal/wire/caller"
)

// RotateSecret implements secretsmanagerapi.Service. It stores what is asked
// for; control/rotation does it.
func (p *Provider) RotateSecret(ctx context.Context, in *secretsmanagerapi.RotateSecretInput) (*secretsmanagerapi.RotateSecretOutput, error) {
	switch {
	case in.ClientRequestToken == nil:
		return nil, invalidParameter("You must provide a ClientRequestToken value. We recommend a UUID-type value.")
	case len(in.ExternalSecretRotationMetadata) > 0 || in.ExternalSecretRotationRoleArn != nil:
		return nil, invalidParameter("Rotation of managed external secrets is not supported.")
	}
	immediately := in.RotateImmediately == nil || *in.RotateImmediately
	snap := p.store.Snapshot()
	seen, err := p.live(snap, *in.SecretId)
	if err != nil {
		return nil, err
	}
	task := value(in.RotationLambdaARN)
	if task == "" && seen.Rotation != nil {
		task = seen.Rotation.TaskDefinitionARN
	}
	if err := p.mayRun(ctx, snap, task); err != nil {
		return nil, err
	}
	s, err := p.edit(ctx, seen.ARN, func(tx *store.Tx, s *model.Secret) error {
		if repeated(tx, s, *in.ClientRequestToken) {
			return nil
		}
		return ask(tx, s, in, task, immediately)
	})
	if err != nil {
		return nil, err
	}
	out := &secretsmanagerapi.RotateSecretOutput{ARN: &s.ARN, Name: &s.Name}
	if immediately {
		out.VersionId = in.ClientRequestToken
	}
	return out, nil
}

// repeated reports whether a call was made before: its rotation is in progress,
// or over.
func repeated(r store.Reader, s *model.Secret, token string) bool {
	if s.Rotation != nil && s.Rotation.VersionID == token {
		return true
	}
	_, made := version(r, s, token)
	return made && s.Rotation != nil
}

// ask writes a user's wish into the secret.
func ask(tx *store.Tx, s *model.Secret, in *secretsmanagerapi.RotateSecretInput, task string, immediately bool) error {
	var r model.SecretRotation
	if s.Rotation != nil {
		r = *s.Rotation
	}
	if r.VersionID != "" || r.TaskID != "" || s.Stages.Rotating() {
		return invalidRequest("A previous rotation isn't complete. That rotation will be reattempted.")
	}
	r.Enabled, r.TaskDefinitionARN = true, task
	if rules := in.RotationRules; rules != nil {
		r.AfterDays, r.Schedule, r.Duration = value(rules.AutomaticallyAfterDays), value(rules.ScheduleExpression), value(rules.Duration)
	}
	if wrong := rotation.Validate(&r); wrong != "" {
		return invalidParameter("%s", wrong)
	}
	r.NextAt, r.Failure, r.Failures, r.RetryAt = rotation.Next(&r, tx.Now()), "", 0, nil
	if immediately {
		r.VersionID = *in.ClientRequestToken
	}
	s.Rotation = &r
	return nil
}

// mayRun checks what rotates a secret, and that the caller may let it run: it
// runs with the roles of the task definition, whoever asked.
func (p *Provider) mayRun(ctx context.Context, r store.Reader, task string) error {
	if task == "" {
		return invalidRequest("No Lambda rotation function ARN is associated with this secret.")
	}
	if a, err := arn.Parse(task); err == nil && a.Service == "lambda" {
		return invalidRequest("Berth has no Lambda functions: a rotation runs an ECS task. Register a task definition that does the rotation, and give its ARN "+
			"(%s) as RotationLambdaARN.", p.scope.TaskDefinition("<family>", 1))
	}
	family, revision, ok := rotation.ParseTask(task, p.scope)
	if !ok {
		return invalidParameter("RotationLambdaARN must be the ARN of a task definition of this account and region, with or without a revision, such as %s.",
			strings.TrimSuffix(p.scope.TaskDefinition("rotate-database", 1), ":1"))
	}
	def, found := records.UsableDefinition(r, family, revision)
	if !found {
		return &secretsmanagerapi.ResourceNotFoundException{Message: new("Secrets Manager can't find the task definition " + task + ", or it is not active.")}
	}
	if err := caller.Check(ctx, "ecs:RunTask", def.ARN, nil); err != nil {
		return err
	}
	for _, role := range []string{def.TaskRoleARN, def.ExecutionRoleARN} {
		if role == "" {
			continue
		}
		if err := caller.Check(ctx, "iam:PassRole", role, map[string][]string{"iam:PassedToService": {"ecs-tasks.amazonaws.com"}}); err != nil {
			return err
		}
	}
	return nil
}

// CancelRotateSecret implements secretsmanagerapi.Service. A version that the
// rotation has made already keeps AWSPENDING, as on AWS.
func (p *Provider) CancelRotateSecret(ctx context.Context, in *secretsmanagerapi.CancelRotateSecretInput) (*secretsmanagerapi.CancelRotateSecretOutput, error) {
	out := &secretsmanagerapi.CancelRotateSecretOutput{}
	s, err := p.edit(ctx, *in.SecretId, func(_ *store.Tx, s *model.Secret) error {
		out.VersionId = nil
		if s.Rotation == nil {
			return invalidRequest("You tried to cancel the rotation of a secret that has none configured.")
		}
		r := *s.Rotation
		r.Enabled, r.NextAt = false, nil
		out.VersionId = optional(r.VersionID)
		s.Rotation = &r
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.ARN, out.Name = &s.ARN, &s.Name
	return out, nil
}
