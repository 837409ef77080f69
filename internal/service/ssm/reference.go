package ssm

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ssmapi"
	"berth.dev/berth/internal/wire/caller"
)

// secretPrefix begins the names that stand for secrets of Secrets Manager.
const secretPrefix = "/aws/reference/secretsmanager/"

// sourceResult is the answer of Secrets Manager that a reference carries along.
type sourceResult struct {
	ARN           string   `json:"ARN"`
	Name          string   `json:"name"`
	VersionID     string   `json:"versionId"`
	SecretString  *string  `json:"secretString,omitempty"`
	VersionStages []string `json:"versionStages"`
	CreatedDate   string   `json:"createdDate"`
}

// secret reads a secret through. The caller needs what reading the secret
// itself needs.
func (p *Provider) secret(ctx context.Context, r store.Reader, ref reference, decrypt bool) (*ssmapi.Parameter, error) {
	if !decrypt {
		return nil, invalid("WithDecryption flag must be True for retrieving a Secret Manager secret.")
	}
	name := strings.TrimPrefix(ref.name, secretPrefix)
	secret, exists := records.Secrets.Get(r, name)
	resource := p.scope.Regional("secretsmanager", "secret:"+name)
	if exists {
		resource = secret.ARN
	}
	if err := caller.Check(ctx, "secretsmanager:GetSecretValue", resource, nil); err != nil {
		return nil, err
	}
	v := (*model.SecretVersion)(nil)
	if exists {
		if secret.DeletedAt != nil {
			return nil, invalid("Invalid Request to Secrets Manager")
		}
		v = secretVersion(r, secret, ref.selector)
	}
	if v == nil {
		selector := "null" // sic
		if ref.selector != "" {
			selector = ":" + ref.selector
		}
		return nil, &ssmapi.ParameterNotFound{Message: new("An error occurred (ParameterNotFound) when referencing Secrets Manager: Secret " + ref.name[1:] + selector + " not found.")}
	}
	clear, err := p.keys.Open(ctx, "secretsmanager", v.Sealed, secretContext(secret, v))
	if err != nil {
		return nil, keyError(v.KMSKeyID, err)
	}
	out := &ssmapi.Parameter{Name: &ref.name, ARN: &secret.ARN, Type: ssmapi.ParameterTypeSecureString, Version: new(int64(0)), LastModifiedDate: &v.CreatedAt}
	if !v.Binary {
		out.Value = new(string(clear))
	}
	if ref.selector != "" {
		out.Selector = new(":" + ref.selector)
	}
	source, err := json.Marshal(sourceResult{
		ARN: secret.ARN, Name: secret.Name, VersionID: v.ID, SecretString: out.Value, VersionStages: stagesOf(secret, v.ID), CreatedDate: v.CreatedAt.UTC().Format(time.RFC3339),
	})
	if err != nil {
		return nil, err
	}
	out.SourceResult = new(string(source))
	return out, nil
}

// secretVersion is the version that a selector, a stage or a version's id,
// names; nil when there is none.
func secretVersion(r store.Reader, s *model.Secret, selector string) *model.SecretVersion {
	if selector == "" {
		selector = model.StageCurrent
	}
	id, staged := s.Stages[selector]
	if !staged {
		id = selector
	}
	v, _ := records.SecretVersions.Get(r, (&model.SecretVersion{SecretName: s.Name, ID: id}).Key())
	return v
}

func stagesOf(s *model.Secret, versionID string) []string {
	stages := []string{}
	for stage, id := range s.Stages {
		if id == versionID {
			stages = append(stages, stage)
		}
	}
	slices.Sort(stages)
	return stages
}

// secretContext is what Secrets Manager binds a version's value to.
func secretContext(s *model.Secret, v *model.SecretVersion) map[string]string {
	return map[string]string{"SecretARN": s.ARN, "SecretVersionId": v.ID}
}
