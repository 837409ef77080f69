package kms

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/keys"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/kmsapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/smithy"
)

// Config is what a provider needs.
type Config struct {
	Store *store.Store
	Keys  *keys.Keys
	// Scope is the account and region that everything belongs to.
	Scope arn.Scope
}

// Provider implements kmsapi.Service on the store.
type Provider struct {
	kmsapi.Unimplemented

	store *store.Store
	keys  *keys.Keys
	scope arn.Scope
}

var _ kmsapi.Service = (*Provider)(nil)

// New returns a provider. It holds no state of its own.
func New(cfg Config) *Provider {
	return &Provider{store: cfg.Store, keys: cfg.Keys, scope: cfg.Scope}
}

// value is what a pointer points to, or nothing.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// invalid is a ValidationException, which the model does not have.
func invalid(format string, args ...any) error {
	return smithy.NewError(http.StatusBadRequest, "ValidationException", fmt.Sprintf(format, args...))
}

func unsupported(format string, args ...any) error {
	return &kmsapi.UnsupportedOperationException{Message: new(fmt.Sprintf(format, args...))}
}

func invalidState(format string, args ...any) error {
	return &kmsapi.KMSInvalidStateException{Message: new(fmt.Sprintf(format, args...))}
}

func missing(format string, args ...any) error {
	return &kmsapi.NotFoundException{Message: new(fmt.Sprintf(format, args...))}
}

// worded turns the reasons of data/keys into KMS's exceptions.
func worded(err error) error {
	e, ok := errors.AsType[*keys.Error](err)
	if !ok {
		return err
	}
	switch e.Reason {
	case keys.ErrNotFound:
		return &kmsapi.NotFoundException{Message: &e.Message}
	case keys.ErrDisabled:
		return &kmsapi.DisabledException{Message: &e.Message}
	case keys.ErrPendingDeletion:
		return &kmsapi.KMSInvalidStateException{Message: &e.Message}
	case keys.ErrInvalidUsage:
		return &kmsapi.InvalidKeyUsageException{Message: &e.Message}
	case keys.ErrInvalidCiphertext:
		return &kmsapi.InvalidCiphertextException{Message: &e.Message}
	}
	return err
}

// find finds a key by its id, its ARN, an alias or an alias's ARN.
func (p *Provider) find(r store.Reader, name *string) (*model.KMSKey, error) {
	key, err := p.keys.Find(r, value(name))
	return key, worded(err)
}

// byID finds a key for an operation that does not take aliases.
func (p *Provider) byID(r store.Reader, name *string) (*model.KMSKey, error) {
	if n := value(name); strings.HasPrefix(n, "alias/") || strings.Contains(n, ":alias/") {
		return nil, &kmsapi.InvalidArnException{Message: new("Key Aliases are not supported for this operation.")}
	}
	return p.find(r, name)
}

// change edits a customer's key. check refuses what its state does not allow.
func (p *Provider) change(ctx context.Context, name *string, operation string, check func(*model.KMSKey) error, edit func(*store.Tx, *model.KMSKey) error) (*model.KMSKey, error) {
	var changed *model.KMSKey
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		key, err := p.byID(tx, name)
		if err != nil {
			return err
		}
		if err := customers(ctx, key, operation); err != nil {
			return err
		}
		if err := check(key); err != nil {
			return err
		}
		return records.KMSKeys.Edit(tx, key.ID, func(key *model.KMSKey) error {
			changed = key
			return edit(tx, key)
		})
	})
	return changed, err
}

// customers refuses to change the keys of services: their policy allows nobody
// to do so.
func customers(ctx context.Context, key *model.KMSKey, operation string) error {
	if key.Manager == model.KMSManagedByCustomer {
		return nil
	}
	who, _ := caller.From(ctx)
	return fault.New(fault.Denied, "User: %s is not authorized to perform: kms:%s on resource: %s because no resource-based policy allows the kms:%[2]s action", who.ARN, operation, key.ARN)
}

// kept accepts every key but one that waits for deletion.
func kept(key *model.KMSKey) error {
	if key.State == model.KMSKeyPendingDeletion {
		return invalidState("%s is pending deletion.", key.ARN)
	}
	return nil
}

// enabled accepts keys that are in use.
func enabled(key *model.KMSKey) error {
	if key.State == model.KMSKeyDisabled {
		return &kmsapi.DisabledException{Message: new(key.ARN + " is disabled.")}
	}
	return kept(key)
}

// whatever accepts every state.
func whatever(*model.KMSKey) error { return nil }
