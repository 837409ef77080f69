package acm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/acmapi"
)

// Config is what a provider needs.
type Config struct {
	Store *store.Store
	// Ring seals private keys.
	Ring *keyring.Keyring
	// Scope is the account and region that everything belongs to.
	Scope arn.Scope
	// Now is the clock that certificates expire by; time.Now when nil.
	Now func() time.Time
}

// Provider implements acmapi.Service on the store.
type Provider struct {
	acmapi.Unimplemented

	store *store.Store
	ring  *keyring.Keyring
	scope arn.Scope
	now   func() time.Time
}

var _ acmapi.Service = (*Provider)(nil)

// New returns a provider. It holds no state of its own.
func New(cfg Config) *Provider {
	p := &Provider{store: cfg.Store, ring: cfg.Ring, scope: cfg.Scope, now: cfg.Now}
	if p.now == nil {
		p.now = time.Now
	}
	return p
}

func invalid(format string, args ...any) error {
	return &acmapi.ValidationException{Message: new(fmt.Sprintf(format, args...))}
}

// arn is the ARN of a certificate.
func (p *Provider) arn(id string) string {
	return p.scope.Regional("acm", "certificate/"+id)
}

// certificate finds a certificate by its ARN.
func (p *Provider) certificate(r store.Reader, name string) (*model.Certificate, error) {
	if !strings.Contains(name, ":certificate/") {
		return nil, &acmapi.InvalidArnException{Message: new(fmt.Sprintf("The certificate ARN '%s' is not valid.", name))}
	}
	c, found := records.Certificates.Get(r, name)
	if !found {
		return nil, &acmapi.ResourceNotFoundException{Message: new(fmt.Sprintf("Could not find certificate %s.", name))}
	}
	return c, nil
}

// ImportCertificate implements acmapi.Service. With the ARN of a certificate
// it replaces it, and listeners go on with the new one.
func (p *Provider) ImportCertificate(ctx context.Context, in *acmapi.ImportCertificateInput) (*acmapi.ImportCertificateOutput, error) {
	leaf, err := check(in.Certificate, in.PrivateKey, in.CertificateChain, p.now())
	if err != nil {
		return nil, err
	}
	if in.CertificateArn != nil && len(in.Tags) > 0 {
		return nil, &acmapi.InvalidParameterException{Message: new("Tags cannot be applied when a certificate is imported again.")}
	}
	tags, err := mergeTags(nil, in.Tags)
	if err != nil {
		return nil, err
	}
	imported := &model.Certificate{
		ID: ident.UUID(), Body: string(in.Certificate), Chain: string(in.CertificateChain), Tags: tags,
	}
	imported.ARN = p.arn(imported.ID)
	if in.CertificateArn != nil {
		imported.ARN = *in.CertificateArn // or there is none, and nothing is written
	}
	if imported.SealedKey, err = p.ring.Seal(in.PrivateKey, keyring.CertificateKey(imported.ARN)); err != nil {
		return nil, err
	}
	_, err = p.store.Update(ctx, func(tx *store.Tx) error {
		imported.CreatedAt, imported.ImportedAt = tx.Now(), tx.Now()
		if in.CertificateArn != nil {
			old, err := p.certificate(tx, *in.CertificateArn)
			if err != nil {
				return err
			}
			if err := replaces(leaf, old); err != nil {
				return err
			}
			imported.ID, imported.CreatedAt, imported.Tags = old.ID, old.CreatedAt, old.Tags
		}
		records.Certificates.Put(tx, imported)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &acmapi.ImportCertificateOutput{CertificateArn: &imported.ARN}, nil
}

// GetCertificate implements acmapi.Service. Keys are never given out.
func (p *Provider) GetCertificate(_ context.Context, in *acmapi.GetCertificateInput) (*acmapi.GetCertificateOutput, error) {
	c, err := p.certificate(p.store.Snapshot(), *in.CertificateArn)
	if err != nil {
		return nil, err
	}
	out := &acmapi.GetCertificateOutput{Certificate: &c.Body}
	if c.Chain != "" {
		out.CertificateChain = &c.Chain
	}
	return out, nil
}

// DeleteCertificate implements acmapi.Service.
func (p *Provider) DeleteCertificate(ctx context.Context, in *acmapi.DeleteCertificateInput) (*acmapi.DeleteCertificateOutput, error) {
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		c, err := p.certificate(tx, *in.CertificateArn)
		if err != nil {
			return err
		}
		// A listener that begins to use it reads it only, so that it would not
		// conflict by itself.
		records.Listeners.GuardPrefix(tx, "")
		if len(usersOf(tx, c.ARN)) > 0 {
			return &acmapi.ResourceInUseException{Message: new(fmt.Sprintf("Certificate %s in account %s is in use.", c.ARN, p.scope.AccountID))}
		}
		records.Certificates.Delete(tx, c.ARN)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &acmapi.DeleteCertificateOutput{}, nil
}

// usersOf are the ARNs of load balancers with a listener that uses the
// certificate.
func usersOf(r store.Reader, name string) []string {
	users := []string{}
	for l := range records.Listeners.All(r) {
		if !slices.Contains(l.Certificates, name) {
			continue
		}
		if lb, ok := records.LoadBalancers.Get(r, l.LoadBalancerID); ok && !slices.Contains(users, lb.ARN) {
			users = append(users, lb.ARN)
		}
	}
	slices.Sort(users)
	return users
}
