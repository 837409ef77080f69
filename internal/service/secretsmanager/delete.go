package secretsmanager

import (
	"context"
	"errors"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/secretsmanagerapi"
)

// The recovery window of a deletion, in days.
const (
	minWindow     = 7
	maxWindow     = 30
	defaultWindow = 30
)

// DeleteSecret implements secretsmanagerapi.Service.
func (p *Provider) DeleteSecret(ctx context.Context, in *secretsmanagerapi.DeleteSecretInput) (*secretsmanagerapi.DeleteSecretOutput, error) {
	force, window := value(in.ForceDeleteWithoutRecovery), int64(defaultWindow)
	if in.RecoveryWindowInDays != nil {
		window = *in.RecoveryWindowInDays
		switch {
		case force:
			return nil, invalidParameter("You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
		case window < minWindow || window > maxWindow:
			return nil, invalidParameter("The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
		}
	}
	if force {
		return p.deleteNow(ctx, *in.SecretId)
	}
	out := &secretsmanagerapi.DeleteSecretOutput{}
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		s, err := p.live(tx, *in.SecretId)
		if err != nil {
			return err
		}
		purge := tx.Now().Add(time.Duration(window) * 24 * time.Hour)
		out.ARN, out.Name, out.DeletionDate = &s.ARN, &s.Name, &purge
		return records.Secrets.Edit(tx, s.Key(), func(s *model.Secret) error {
			s.DeletedAt, s.PurgeAt = new(tx.Now()), &purge
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// deleteNow removes a secret with all its versions. There may be more of them
// than a transaction holds: the secret is past its window before the first of
// them goes, so that control/expiry ends what does not end here.
func (p *Provider) deleteNow(ctx context.Context, id string) (*secretsmanagerapi.DeleteSecretOutput, error) {
	out := &secretsmanagerapi.DeleteSecretOutput{}
	var gone *model.Secret
	var left []*model.SecretVersion
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		out.DeletionDate, gone = new(tx.Now()), nil
		s, err := p.secret(tx, id)
		if errors.As(err, new(*secretsmanagerapi.ResourceNotFoundException)) {
			out.ARN, out.Name = new(p.arn(id)), &id // so that a call can be repeated
			return nil
		}
		if err != nil {
			return err
		}
		out.ARN, out.Name, gone, left = &s.ARN, &s.Name, s, versions(tx, s)
		return records.Secrets.Edit(tx, s.Key(), func(s *model.Secret) error {
			s.DeletedAt, s.PurgeAt = out.DeletionDate, out.DeletionDate
			return nil
		})
	}); err != nil || gone == nil {
		return out, err
	}
	if _, err := store.Batch(ctx, p.store, left, func(tx *store.Tx, v *model.SecretVersion) error {
		records.SecretVersions.Delete(tx, v.Key())
		return nil
	}); err != nil {
		return nil, err
	}
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		if s, found := records.Secrets.Get(tx, gone.Key()); found && s.ARN == gone.ARN {
			records.Secrets.Delete(tx, gone.Key())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// RestoreSecret implements secretsmanagerapi.Service.
func (p *Provider) RestoreSecret(ctx context.Context, in *secretsmanagerapi.RestoreSecretInput) (*secretsmanagerapi.RestoreSecretOutput, error) {
	out := &secretsmanagerapi.RestoreSecretOutput{}
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		s, err := p.secret(tx, *in.SecretId)
		if err != nil {
			return err
		}
		out.ARN, out.Name = &s.ARN, &s.Name
		switch {
		case s.DeletedAt == nil:
			return nil
		case !s.PurgeAt.After(tx.Now()):
			return notFound() // it goes any moment
		}
		return records.Secrets.Edit(tx, s.Key(), func(s *model.Secret) error {
			s.DeletedAt, s.PurgeAt, s.ChangedAt = nil, nil, tx.Now()
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
