package elbv2

import (
	"net/netip"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/wire/api/elbv2api"
)

// signingName is the service in ARNs and signatures.
const signingName = "elasticloadbalancing"

// Config is what a provider needs.
type Config struct {
	Store *store.Store
	// Scope is the account and region that everything belongs to.
	Scope arn.Scope
	// PublicAddresses is the range that internet-facing load balancers get
	// their addresses from. Without one they are refused.
	PublicAddresses netip.Prefix
	// Seed draws where the search for a free private address begins. Nil draws
	// by chance; tests make it repeatable.
	Seed func() uint64
}

// Provider implements elbv2api.Service on the store.
type Provider struct {
	elbv2api.Unimplemented

	store  *store.Store
	scope  arn.Scope
	public netip.Prefix
	seed   func() uint64
}

var _ elbv2api.Service = (*Provider)(nil)

// New returns a provider. It holds no state of its own.
func New(cfg Config) *Provider {
	p := &Provider{store: cfg.Store, scope: cfg.Scope, public: cfg.PublicAddresses, seed: cfg.Seed}
	if p.seed == nil {
		p.seed = chance
	}
	return p
}

// arn is the ARN of a resource, such as targetgroup/web/0123456789abcdef.
func (p *Provider) arn(resource string) string {
	return p.scope.Regional(signingName, resource)
}

// resource is the id behind an ARN of this account and region, which for a
// load balancer lacks the word in front of it; false when it is none of kind.
func (p *Provider) resource(kind, name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, p.arn(""))
	if !ok {
		return "", false
	}
	word, id, _ := strings.Cut(rest, "/")
	if word != kind || id == "" {
		return "", false
	}
	if kind == kindLoadBalancer {
		return id, true
	}
	return rest, true
}

// Kinds of resources, as ARNs name them.
const (
	kindLoadBalancer = "loadbalancer"
	kindTargetGroup  = "targetgroup"
	kindListener     = "listener"
	kindRule         = "listener-rule"
)
