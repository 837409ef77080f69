package ecr

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/imagestore"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/sessions"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecrapi"
)

// MaxBody is the longest request in bytes that the gateway must let through:
// the largest part of a layer, in base64.
const MaxBody = maxPart/3*4 + 1<<20

// Config is what a provider needs.
type Config struct {
	Store    *store.Store
	Images   *imagestore.Store
	Sessions *sessions.Sessions
	// Scope is the account and region that every ARN is made in.
	Scope arn.Scope
	// Endpoint is the registry's address as clients should write it, such as
	// "registry.example.com:5000", with "http://" in front if it speaks no TLS.
	// Empty: the name that AWS would give it.
	Endpoint string
	// LayerURL makes an address from which a layer can be read without further
	// credentials for a while. base is where the client found the API, such as
	// "http://127.0.0.1:8577".
	LayerURL func(repository, digest, base string) string
	// Credentials reads the user name and password in a secret of a pull through
	// cache rule.
	Credentials func(ctx context.Context, secretARN string) (username, password string, err error)
	// Transport reaches upstream registries; nil is http.DefaultTransport.
	Transport http.RoundTripper
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Provider implements ecrapi.Service.
type Provider struct {
	ecrapi.Unimplemented

	cfg   Config
	store *store.Store
	scope arn.Scope
	parts *lru.Cache[string, parts] // of uploads that are under way
}

var _ ecrapi.Service = (*Provider)(nil)

// New returns a provider.
func New(cfg Config) (*Provider, error) {
	uploads, err := lru.New[string, parts](maxUploads)
	if err != nil {
		return nil, fmt.Errorf("ecr: %w", err)
	}
	if cfg.Transport == nil {
		cfg.Transport = http.DefaultTransport
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Provider{cfg: cfg, store: cfg.Store, scope: cfg.Scope, parts: uploads}, nil
}

// registry is the host that images are named with.
func (p *Provider) registry() string {
	if p.cfg.Endpoint == "" {
		return p.scope.AccountID + ".dkr.ecr." + p.scope.Region + ".amazonaws.com"
	}
	_, host, found := strings.Cut(p.cfg.Endpoint, "://")
	if !found {
		host = p.cfg.Endpoint
	}
	return strings.TrimSuffix(host, "/")
}

// endpoint is the address that clients log in to.
func (p *Provider) endpoint() string {
	if strings.HasPrefix(p.cfg.Endpoint, "http://") {
		return "http://" + p.registry()
	}
	return "https://" + p.registry()
}

// ours reports whether the registry that a call may name is this one.
func (p *Provider) ours(registry *string) bool {
	return registry == nil || *registry == p.scope.AccountID
}

// repository finds a repository of the registry that a call may name.
func (p *Provider) repository(r store.Reader, registry, name *string) (*model.Repository, error) {
	repository, ok := records.Repositories.Get(r, *name)
	if !ok || !p.ours(registry) {
		return nil, p.noRepository(registry, *name)
	}
	return repository, nil
}

// edit changes a repository and returns it as it is then.
func (p *Provider) edit(ctx context.Context, registry, name *string, change func(*model.Repository) error) (changed *model.Repository, err error) {
	_, err = p.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := p.repository(tx, registry, name); err != nil {
			return err
		}
		if err := records.Repositories.Edit(tx, *name, change); err != nil {
			return err
		}
		changed, _ = records.Repositories.Get(tx, *name)
		return nil
	})
	return changed, err
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// optional is nil for "".
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
