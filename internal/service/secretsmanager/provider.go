package secretsmanager

import (
	"context"
	"regexp"
	"slices"
	"time"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/keys"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/secretsmanagerapi"
)

// Config is what a provider needs. Store and Keys are required.
type Config struct {
	Store *store.Store
	// Keys seals values.
	Keys *keys.Keys
	// Scope is the account and region that everything belongs to.
	Scope arn.Scope
}

// Provider implements secretsmanagerapi.Service on the store.
type Provider struct {
	secretsmanagerapi.Unimplemented

	store *store.Store
	keys  *keys.Keys
	scope arn.Scope
	seen  *accesses
}

var _ secretsmanagerapi.Service = (*Provider)(nil)

// New returns a provider.
func New(cfg Config) *Provider {
	return &Provider{store: cfg.Store, keys: cfg.Keys, scope: cfg.Scope, seen: newAccesses(cfg.Store)}
}

// Close waits until what was noted of accesses is stored.
func (p *Provider) Close() { p.seen.wait() }

// validName are the names that a secret can have; AWS counts the exclamation
// mark among them in its sentence.
var validName = regexp.MustCompile(`^[A-Za-z0-9/_+=.@!-]+$`)

// secret finds a secret by name, ARN or ARN without its random ending, one that
// waits for deletion too.
func (p *Provider) secret(r store.Reader, id string) (*model.Secret, error) {
	if !arn.Is(id) && !validName.MatchString(id) {
		return nil, invalidName()
	}
	s, found := records.FindSecret(r, id)
	if !found {
		return nil, notFound()
	}
	return s, nil
}

// live finds a secret that does not wait for deletion.
func (p *Provider) live(r store.Reader, id string) (*model.Secret, error) {
	s, err := p.secret(r, id)
	if err == nil && s.DeletedAt != nil {
		return nil, markedForDeletion()
	}
	return s, err
}

// edit changes a secret that does not wait for deletion, and returns it as it
// is then. Edits count as changes of the secret.
func (p *Provider) edit(ctx context.Context, id string, change func(tx *store.Tx, s *model.Secret) error) (*model.Secret, error) {
	var after *model.Secret
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		s, err := p.live(tx, id)
		if err != nil {
			return err
		}
		err = records.Secrets.Edit(tx, s.Key(), func(s *model.Secret) error {
			s.ChangedAt = tx.Now()
			return change(tx, s)
		})
		after, _ = records.Secrets.Get(tx, s.Key())
		return err
	})
	return after, err
}

// versions are those of a secret, oldest first.
func versions(r store.Reader, s *model.Secret) []*model.SecretVersion {
	all := slices.Collect(records.SecretVersions.Prefix(r, records.SecretVersionsOf(s.Name)))
	slices.SortStableFunc(all, func(a, b *model.SecretVersion) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return all
}

func version(r store.Reader, s *model.Secret, id string) (*model.SecretVersion, bool) {
	return records.SecretVersions.Get(r, (&model.SecretVersion{SecretName: s.Name, ID: id}).Key())
}

// optional leaves an empty member out of an answer.
func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// value is what a member says; the zero value when it is absent.
func value[T any](member *T) (zero T) {
	if member == nil {
		return zero
	}
	return *member
}

// dayOf is what is told of when something was read: the day.
func dayOf(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }
