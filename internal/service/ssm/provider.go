package ssm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ssmapi"
	"berth.dev/berth/internal/wire/smithy"
)

// Keys encrypts and decrypts under KMS keys; *keys.Keys does. An error of class
// fault.Denied is the caller's refusal, one of class NotFound, Conflict or
// Invalid says that the key cannot be used.
type Keys interface {
	Seal(ctx context.Context, service, keyName string, plaintext []byte, encryptionContext map[string]string) (sealed []byte, keyID string, err error)
	Open(ctx context.Context, service string, sealed []byte, encryptionContext map[string]string) ([]byte, error)
}

// Config is what a provider needs.
type Config struct {
	Store *store.Store
	Keys  Keys
	// Tokens opens the data channels of sessions, which fail without.
	Tokens Tokens
	// Scope is the account and region that everything belongs to.
	Scope arn.Scope
}

// Provider implements ssmapi.Service on the store. It holds no state.
type Provider struct {
	ssmapi.Unimplemented

	store  *store.Store
	keys   Keys
	tokens Tokens
	scope  arn.Scope
}

var _ ssmapi.Service = (*Provider)(nil)

// New returns a provider.
func New(cfg Config) *Provider {
	return &Provider{store: cfg.Store, keys: cfg.Keys, tokens: cfg.Tokens, scope: cfg.Scope}
}

// service is how data/keys knows who asks, for kms:ViaService.
const service = "ssm"

// arn is the ARN of a parameter. That of /x is that of x: AWS's has one slash.
func (p *Provider) arn(name string) string {
	return p.scope.Regional(service, "parameter/"+strings.TrimPrefix(name, "/"))
}

// sealContext is what a SecureString's ciphertext is bound to, as on AWS.
func sealContext(parameterARN string) map[string]string {
	return map[string]string{"PARAMETER_ARN": parameterARN}
}

// seal encrypts a SecureString.
func (p *Provider) seal(ctx context.Context, keyName, parameterARN, value string) ([]byte, error) {
	sealed, _, err := p.keys.Seal(ctx, service, keyName, []byte(value), sealContext(parameterARN))
	if err != nil {
		return nil, keyError(keyName, err)
	}
	return sealed, nil
}

// open decrypts a SecureString.
func (p *Provider) open(ctx context.Context, parameterARN string, v *model.ParameterVersion) (string, error) {
	value, err := p.keys.Open(ctx, service, v.Sealed, sealContext(parameterARN))
	if err != nil {
		return "", keyError(v.KMSKeyID, err)
	}
	return string(value), nil
}

// keyError words a key's refusal as Parameter Store does.
func keyError(name string, err error) error {
	switch class := fault.ClassOf(err); class {
	case fault.NotFound, fault.Conflict, fault.Invalid:
		return &ssmapi.InvalidKeyId{Message: new(fmt.Sprintf("Invalid keyId %s: %s", name, err))}
	case fault.Denied:
		return err
	}
	if errors.As(err, new(smithy.APIError)) {
		return err
	}
	return fmt.Errorf("key %s: %w", name, err)
}

// invalid is a ValidationException, which the model does not have.
func invalid(format string, args ...any) error {
	return smithy.NewError(http.StatusBadRequest, "ValidationException", fmt.Sprintf(format, args...))
}

// notFound says no more than AWS does: nothing.
func notFound() error { return &ssmapi.ParameterNotFound{} }

// newest is the newest version of a parameter.
func newest(r store.Reader, p *model.Parameter) (*model.ParameterVersion, error) {
	v, ok := records.ParameterVersions.Get(r, (&model.ParameterVersion{ParameterName: p.Name, Version: p.Version}).Key())
	if !ok {
		return nil, fmt.Errorf("parameter %s has no version %d", p.Name, p.Version)
	}
	return v, nil
}

// versionsPrefix begins the keys of a parameter's versions. No name has a bar.
func versionsPrefix(name string) string { return name + "|" }

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// optional is nil for what is not there.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
