package server

import (
	"context"

	"berth.dev/berth/internal/control/execution"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/wire/api/secretsmanagerapi"
	"berth.dev/berth/internal/wire/api/ssmapi"
	"berth.dev/berth/internal/wire/caller"
)

// innerDoor is the AWS API as an execution role calls it: through the
// gateway's inner door, which authorises and records what it does.
type innerDoor struct{ gateway *gateway.Gateway }

var _ execution.API = innerDoor{}

func (d innerDoor) GetSecretValue(ctx context.Context, who caller.Identity, secretID, stage, versionID string) (execution.SecretValue, error) {
	in := &secretsmanagerapi.GetSecretValueInput{SecretId: &secretID, VersionStage: optional(stage), VersionId: optional(versionID)}
	out, err := d.gateway.Call(ctx, who, secretsmanagerapi.API, "GetSecretValue", in)
	if err != nil {
		return execution.SecretValue{}, err
	}
	value := out.(*secretsmanagerapi.GetSecretValueOutput) //nolint:forcetypeassert,errcheck // what the operation answers
	if value.SecretString == nil {
		return execution.SecretValue{Binary: true}, nil
	}
	return execution.SecretValue{Text: *value.SecretString}, nil
}

func (d innerDoor) GetParameters(ctx context.Context, who caller.Identity, names []string) ([]execution.Parameter, []string, error) {
	out, err := d.gateway.Call(ctx, who, ssmapi.API, "GetParameters", &ssmapi.GetParametersInput{Names: names, WithDecryption: new(true)})
	if err != nil {
		return nil, nil, err
	}
	value := out.(*ssmapi.GetParametersOutput) //nolint:forcetypeassert,errcheck // what the operation answers
	found := make([]execution.Parameter, 0, len(value.Parameters))
	for _, p := range value.Parameters {
		found = append(found, execution.Parameter{Name: text(p.Name), ARN: text(p.ARN), Value: text(p.Value)})
	}
	return found, value.InvalidParameters, nil
}

// access answers what an execution role may do where Berth has no API to
// call, such as ECR's.
type access struct{ guard caller.Guard }

var _ execution.Access = access{}

func (a access) Check(ctx context.Context, who caller.Identity, action, resource string) error {
	return a.guard.Check(caller.With(ctx, who), action, resource, nil)
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
