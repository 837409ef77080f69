package kms

import (
	"context"
	"net/http"
	"regexp"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/kmsapi"
	"berth.dev/berth/internal/wire/smithy"
)

// maxAliases is how many aliases a key can have.
const maxAliases = 50

// aliasName is the form of an alias's name.
var aliasName = regexp.MustCompile(`^alias/[a-zA-Z0-9/_-]+$`)

// checkAlias refuses names that a customer cannot give.
func checkAlias(name string) error {
	switch {
	case !strings.HasPrefix(name, "alias/"):
		return invalid(`Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html`)
	case strings.HasPrefix(name, "alias/aws/"):
		return smithy.NewError(http.StatusBadRequest, "NotAuthorizedException", "")
	case !aliasName.MatchString(name):
		return &kmsapi.InvalidAliasNameException{Message: new(name + " contains invalid characters for an alias")}
	}
	return nil
}

// target finds the key that an alias is to name.
func (p *Provider) target(ctx context.Context, tx *store.Tx, name *string) (*model.KMSKey, error) {
	if n := value(name); strings.HasPrefix(n, "alias/") || strings.Contains(n, ":alias/") {
		return nil, invalid("Aliases must refer to keys. Not aliases")
	}
	key, err := p.find(tx, name)
	if err != nil {
		return nil, err
	}
	if err := customers(ctx, key, "CreateAlias"); err != nil {
		return nil, err
	}
	// A key that goes takes its aliases with it: this one must not come too late.
	records.KMSKeys.Guard(tx, key.ID)
	return key, kept(key)
}

func (p *Provider) roomForAlias(tx *store.Tx, key *model.KMSKey) error {
	n := 0
	for range records.KMSAliases.By(tx, records.KMSAliasesByKey, key.ID) {
		n++
	}
	records.KMSAliases.GuardIndex(tx, records.KMSAliasesByKey, key.ID)
	if n >= maxAliases {
		return &kmsapi.LimitExceededException{Message: new("The number of aliases for " + key.ARN + " has reached the limit.")}
	}
	return nil
}

// CreateAlias implements kmsapi.Service.
func (p *Provider) CreateAlias(ctx context.Context, in *kmsapi.CreateAliasInput) (*kmsapi.CreateAliasOutput, error) {
	name := *in.AliasName
	if err := checkAlias(name); err != nil {
		return nil, err
	}
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		key, err := p.target(ctx, tx, in.TargetKeyId)
		if err != nil {
			return err
		}
		if records.KMSAliases.Has(tx, name) {
			return &kmsapi.AlreadyExistsException{Message: new("An alias with the name " + p.keys.ARN(name) + " already exists")}
		}
		if err := p.roomForAlias(tx, key); err != nil {
			return err
		}
		records.KMSAliases.Put(tx, &model.KMSAlias{Name: name, KeyID: key.ID, CreatedAt: tx.Now(), UpdatedAt: tx.Now()})
		return nil
	})
	return &kmsapi.CreateAliasOutput{}, err
}

func (p *Provider) aliasMissing(name string) error {
	return missing("Alias %s is not found.", p.keys.ARN(name))
}

// UpdateAlias implements kmsapi.Service: the alias names another key, of the
// same kind.
func (p *Provider) UpdateAlias(ctx context.Context, in *kmsapi.UpdateAliasInput) (*kmsapi.UpdateAliasOutput, error) {
	name := *in.AliasName
	if err := checkAlias(name); err != nil {
		return nil, err
	}
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		alias, ok := records.KMSAliases.Get(tx, name)
		if !ok {
			return p.aliasMissing(name)
		}
		key, err := p.target(ctx, tx, in.TargetKeyId)
		if err != nil {
			return err
		}
		if old, ok := records.KMSKeys.Get(tx, alias.KeyID); ok && old.Usage != key.Usage {
			return invalid("Alias %s cannot be moved from a key of usage %s to one of usage %s", p.keys.ARN(name), old.Usage, key.Usage)
		}
		if alias.KeyID != key.ID {
			if err := p.roomForAlias(tx, key); err != nil {
				return err
			}
		}
		return records.KMSAliases.Edit(tx, name, func(a *model.KMSAlias) error {
			a.KeyID, a.UpdatedAt = key.ID, tx.Now()
			return nil
		})
	})
	return &kmsapi.UpdateAliasOutput{}, err
}

// DeleteAlias implements kmsapi.Service. The key stays.
func (p *Provider) DeleteAlias(ctx context.Context, in *kmsapi.DeleteAliasInput) (*kmsapi.DeleteAliasOutput, error) {
	name := *in.AliasName
	if err := checkAlias(name); err != nil {
		return nil, err
	}
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		if !records.KMSAliases.Has(tx, name) {
			return p.aliasMissing(name)
		}
		records.KMSAliases.Delete(tx, name)
		return nil
	})
	return &kmsapi.DeleteAliasOutput{}, err
}

// ListAliases implements kmsapi.Service.
func (p *Provider) ListAliases(_ context.Context, in *kmsapi.ListAliasesInput) (*kmsapi.ListAliasesOutput, error) {
	snap := p.store.Snapshot()
	all := records.KMSAliases.All(snap)
	if in.KeyId != nil {
		key, err := p.byID(snap, in.KeyId)
		if err != nil {
			return nil, err
		}
		all = records.KMSAliases.By(snap, records.KMSAliasesByKey, key.ID)
	}
	page, err := pageOf("aliases", all, (*model.KMSAlias).Key, in.Marker, in.Limit, 50)
	if err != nil {
		return nil, err
	}
	out := &kmsapi.ListAliasesOutput{Aliases: []kmsapi.AliasListEntry{}, NextMarker: page.next, Truncated: page.truncated()}
	for _, a := range page.items {
		out.Aliases = append(out.Aliases, kmsapi.AliasListEntry{
			AliasName: &a.Name, AliasArn: new(p.keys.ARN(a.Name)), TargetKeyId: &a.KeyID, CreationDate: &a.CreatedAt, LastUpdatedDate: &a.UpdatedAt,
		})
	}
	return out, nil
}
