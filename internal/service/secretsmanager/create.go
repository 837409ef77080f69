package secretsmanager

import (
	"bytes"
	"context"
	"crypto/rand"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/secretsmanagerapi"
)

// suffixChars are what the random ending of an ARN is made of. What six bits
// draw beyond them is drawn again, so that each is equally likely.
const suffixChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// newARN is the ARN of a new secret.
func (p *Provider) newARN(name string) string {
	var ending [6]byte
	for i := 0; i < len(ending); {
		var b [1]byte
		_, _ = rand.Read(b[:]) // it never fails
		if n := int(b[0] & 63); n < len(suffixChars) {
			ending[i] = suffixChars[n]
			i++
		}
	}
	return p.arn(name + "-" + string(ending[:]))
}

func (p *Provider) arn(resource string) string {
	return p.scope.Regional("secretsmanager", "secret:"+resource)
}

// CreateSecret implements secretsmanagerapi.Service.
func (p *Provider) CreateSecret(ctx context.Context, in *secretsmanagerapi.CreateSecretInput) (*secretsmanagerapi.CreateSecretOutput, error) {
	switch {
	case in.ClientRequestToken == nil:
		return nil, noToken()
	case !validName.MatchString(*in.Name):
		return nil, invalidName()
	case len(in.AddReplicaRegions) > 0:
		return nil, invalidParameter("AddReplicaRegions is not supported: this Berth is one region, and secrets are not replicated.")
	case value(in.Type) != "":
		return nil, unsupportedType()
	}
	given, err := valueOf(in.SecretString, in.SecretBinary)
	if err != nil {
		return nil, err
	}
	tags, err := mergeTags(nil, in.Tags)
	if err != nil {
		return nil, err
	}
	s := &model.Secret{Name: *in.Name, ARN: p.newARN(*in.Name), Description: value(in.Description), KMSKeyID: value(in.KmsKeyId), Tags: tags}
	if old, found := records.Secrets.Get(p.store.Snapshot(), s.Name); found {
		return p.created(ctx, old, *in.ClientRequestToken, given)
	}
	var first *model.SecretVersion
	if given != nil {
		if first, err = p.seal(ctx, s, *in.ClientRequestToken, given); err != nil {
			return nil, err
		}
	}
	var other *model.Secret // that another call has made meanwhile
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		if other, _ = records.Secrets.Get(tx, s.Name); other != nil {
			return nil
		}
		s.CreatedAt, s.ChangedAt = tx.Now(), tx.Now()
		if first != nil {
			first.CreatedAt = tx.Now()
			s.Stages = model.SecretStages(nil).Add(first.ID, nil)
			records.SecretVersions.Put(tx, first)
		}
		records.Secrets.Put(tx, s)
		return nil
	}); err != nil {
		return nil, err
	}
	if other != nil {
		return p.created(ctx, other, *in.ClientRequestToken, given)
	}
	out := &secretsmanagerapi.CreateSecretOutput{ARN: &s.ARN, Name: &s.Name}
	if first != nil {
		out.VersionId = &first.ID
	}
	return out, nil
}

// created answers for a secret that is there already: as before when the same
// call is repeated.
func (p *Provider) created(ctx context.Context, s *model.Secret, token string, given *secretValue) (*secretsmanagerapi.CreateSecretOutput, error) {
	if s.DeletedAt != nil {
		return nil, invalidRequest("You can't create this secret because a secret with this name is already scheduled for deletion.")
	}
	if v, found := version(p.store.Snapshot(), s, token); found && given != nil {
		stored, err := p.open(ctx, s, v)
		if err != nil {
			return nil, err
		}
		if stored.equal(given) {
			return &secretsmanagerapi.CreateSecretOutput{ARN: &s.ARN, Name: &s.Name, VersionId: &v.ID}, nil
		}
	}
	return nil, exists("The operation failed because the secret %s already exists.", s.Name)
}

func unsupportedType() error {
	return invalidParameter("Type is not supported: managed external secrets are rotated by their partners' services, which Berth does not have.")
}

// UpdateSecret implements secretsmanagerapi.Service. With another key, the
// versions in use are sealed again.
func (p *Provider) UpdateSecret(ctx context.Context, in *secretsmanagerapi.UpdateSecretInput) (*secretsmanagerapi.UpdateSecretOutput, error) {
	switch {
	case in.ClientRequestToken == nil:
		return nil, noToken()
	case value(in.Type) != "":
		return nil, unsupportedType()
	}
	given, err := valueOf(in.SecretString, in.SecretBinary)
	if err != nil {
		return nil, err
	}
	var out *secretsmanagerapi.UpdateSecretOutput
	err = again(ctx, func() error {
		out, err = p.update(ctx, in, given)
		return err
	})
	return out, err
}

func (p *Provider) update(ctx context.Context, in *secretsmanagerapi.UpdateSecretInput, given *secretValue) (*secretsmanagerapi.UpdateSecretOutput, error) {
	snap, token := p.store.Snapshot(), *in.ClientRequestToken
	old, err := p.live(snap, *in.SecretId)
	if err != nil {
		return nil, err
	}
	changed := *old
	if in.KmsKeyId != nil {
		changed.KMSKeyID = *in.KmsKeyId
	}
	var next *model.SecretVersion
	if given != nil {
		if _, used := version(snap, old, token); used {
			return nil, tokenUsed(old, token)
		}
		if next, err = p.seal(ctx, &changed, token, given); err != nil {
			return nil, err
		}
	}
	var moved []resealed
	if changed.KMSKeyID != old.KMSKeyID {
		if moved, err = p.reseal(ctx, snap, old, &changed); err != nil {
			return nil, err
		}
	}
	if _, err := p.edit(ctx, old.ARN, func(tx *store.Tx, s *model.Secret) error {
		if err := replace(tx, old, s, moved); err != nil {
			return err
		}
		s.KMSKeyID = changed.KMSKeyID
		if in.Description != nil {
			s.Description = *in.Description
		}
		if next == nil {
			return nil
		}
		if _, used := version(tx, s, token); used {
			return tokenUsed(s, token)
		}
		addVersion(tx, s, next, nil)
		return nil
	}); err != nil {
		return nil, err
	}
	out := &secretsmanagerapi.UpdateSecretOutput{ARN: &old.ARN, Name: &old.Name}
	if next != nil {
		out.VersionId = &next.ID
	}
	return out, nil
}

// replace stores versions that were sealed again, if the secret is still as it
// was when they were.
func replace(tx *store.Tx, was, is *model.Secret, moved []resealed) error {
	if is.KMSKeyID != was.KMSKeyID {
		return errStale
	}
	if len(moved) == 0 {
		return nil
	}
	known := map[string]bool{}
	for _, v := range moved {
		known[v.was.ID] = true
		if now, found := version(tx, is, v.was.ID); !found || !bytes.Equal(now.Sealed, v.was.Sealed) {
			return errStale
		}
		records.SecretVersions.Put(tx, v.is)
	}
	for id, labels := range is.Stages.ByVersion() {
		if model.StagesInUse(labels) && !known[id] {
			return errStale
		}
	}
	return nil
}

func tokenUsed(s *model.Secret, token string) error {
	return exists("You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", token, s.ARN)
}
