package servicediscovery

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/servicediscoveryapi"
)

// DiscoverInstances implements servicediscoveryapi.Service. When more are found
// than were asked for, which of them are returned is random.
func (p *Provider) DiscoverInstances(_ context.Context, in *servicediscoveryapi.DiscoverInstancesInput) (*servicediscoveryapi.DiscoverInstancesOutput, error) {
	snap := p.store.Snapshot()
	ns, service, err := p.discover(snap, in.OwnerAccount, *in.NamespaceName, *in.ServiceName)
	if err != nil {
		return nil, err
	}
	found := having(instances(snap, service), in.QueryParameters)
	found = ofHealth(service, found, in.HealthStatus)
	if len(in.OptionalParameters) > 0 {
		if preferred := having(found, in.OptionalParameters); len(preferred) > 0 {
			found = preferred
		}
	}
	limit := pageLimit
	if in.MaxResults != nil {
		limit = int(*in.MaxResults)
	}
	if len(found) > limit {
		rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
		found = found[:limit]
	}
	out := &servicediscoveryapi.DiscoverInstancesOutput{Instances: []servicediscoveryapi.HttpInstanceSummary{}, InstancesRevision: &service.Revision}
	for _, i := range found {
		out.Instances = append(out.Instances, servicediscoveryapi.HttpInstanceSummary{
			InstanceId: &i.InstanceID, NamespaceName: &ns.HTTPName, ServiceName: &service.Name,
			HealthStatus: healthOf(service, i), Attributes: attributesOut(i),
		})
	}
	return out, nil
}

// DiscoverInstancesRevision implements servicediscoveryapi.Service.
func (p *Provider) DiscoverInstancesRevision(_ context.Context, in *servicediscoveryapi.DiscoverInstancesRevisionInput) (*servicediscoveryapi.DiscoverInstancesRevisionOutput, error) {
	_, service, err := p.discover(p.store.Snapshot(), in.OwnerAccount, *in.NamespaceName, *in.ServiceName)
	if err != nil {
		return nil, err
	}
	return &servicediscoveryapi.DiscoverInstancesRevisionOutput{InstancesRevision: &service.Revision}, nil
}

// discover finds a service by names: the HTTP name of its namespace and its own.
func (p *Provider) discover(r store.Reader, account *string, namespace, name string) (*model.Namespace, *model.DiscoveryService, error) {
	for ns := range records.Namespaces.All(r) {
		if ns.HTTPName != namespace || !p.owns(account) {
			continue
		}
		for service := range records.DiscoveryServices.By(r, records.DiscoveryServicesByNamespace, ns.ID) {
			if service.Name == name || len(service.Records) > 0 && strings.EqualFold(service.Name, name) {
				return ns, service, nil
			}
		}
		return nil, nil, serviceNotFound(name)
	}
	return nil, nil, namespaceNotFound(namespace)
}

// having are the instances that have all of the attributes.
func having(all []*model.DiscoveryInstance, attributes map[string]string) []*model.DiscoveryInstance {
	return slices.DeleteFunc(slices.Clone(all), func(i *model.DiscoveryInstance) bool {
		for name, want := range attributes {
			if got, ok := i.Attributes[name]; !ok || got != want {
				return true
			}
		}
		return false
	})
}

// ofHealth are the instances of the health that was asked for. Without a filter
// it is the healthy ones, or all if none is. Where nobody checks, the filter
// means nothing.
func ofHealth(service *model.DiscoveryService, all []*model.DiscoveryInstance, want servicediscoveryapi.HealthStatusFilter) []*model.DiscoveryInstance {
	if !service.CustomHealth || want == servicediscoveryapi.HealthStatusFilterAll {
		return all
	}
	unhealthy := want == servicediscoveryapi.HealthStatusFilterUnhealthy
	found := slices.DeleteFunc(slices.Clone(all), func(i *model.DiscoveryInstance) bool { return i.Healthy == unhealthy })
	if len(found) == 0 && (want == "" || want == servicediscoveryapi.HealthStatusFilterHealthyOrElseAll) {
		return all
	}
	return found
}
