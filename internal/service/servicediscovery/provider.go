package servicediscovery

import (
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/servicediscoveryapi"
)

// Config is what a provider needs.
type Config struct {
	Store *store.Store
	// Scope is the account and region that every ARN is made in.
	Scope arn.Scope
}

// Provider implements servicediscoveryapi.Service on the store.
type Provider struct {
	servicediscoveryapi.Unimplemented

	store *store.Store
	scope arn.Scope
}

var _ servicediscoveryapi.Service = (*Provider)(nil)

// New returns a provider. It holds no state of its own.
func New(cfg Config) *Provider { return &Provider{store: cfg.Store, scope: cfg.Scope} }

// namespace finds a namespace by its id or ARN.
func (p *Provider) namespace(r store.Reader, ref string) (*model.Namespace, error) {
	ns, ok := records.Namespaces.Get(r, p.id(ref, p.scope.Namespace))
	if !ok {
		return nil, namespaceNotFound(ref)
	}
	return ns, nil
}

// service finds a service by its id or ARN.
func (p *Provider) service(r store.Reader, ref string) (*model.DiscoveryService, error) {
	service, ok := records.DiscoveryServices.Get(r, p.id(ref, p.scope.DiscoveryService))
	if !ok {
		return nil, serviceNotFound(ref)
	}
	return service, nil
}

// id is the id in an ARN that makeARN made, or ref itself. The ARN of anything
// else, or of another account, leads to nothing.
func (p *Provider) id(ref string, makeARN func(string) string) string {
	id := ref[strings.LastIndexByte(ref, '/')+1:]
	if arn.Is(ref) && makeARN(id) != ref {
		return ""
	}
	if arn.Is(ref) {
		return id
	}
	return ref
}

// instance finds an instance of a service.
func (p *Provider) instance(r store.Reader, service *model.DiscoveryService, id string) (*model.DiscoveryInstance, error) {
	instance, ok := records.DiscoveryInstances.Get(r, instanceKey(service.ID, id))
	if !ok {
		return nil, instanceNotFound(id)
	}
	return instance, nil
}

func instanceKey(serviceID, instanceID string) string {
	return (&model.DiscoveryInstance{ServiceID: serviceID, InstanceID: instanceID}).Key()
}
