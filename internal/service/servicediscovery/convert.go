package servicediscovery

import (
	"maps"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/servicediscoveryapi"
)

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// optional is a pointer to v, or nil for the zero value, which records keep
// for what was not given.
func optional[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func (p *Provider) namespaceOut(r store.Reader, ns *model.Namespace) *servicediscoveryapi.Namespace {
	s := p.namespaceSummary(r, ns)
	return &servicediscoveryapi.Namespace{
		Id: s.Id, Arn: s.Arn, ResourceOwner: s.ResourceOwner, Name: s.Name, Type: s.Type, Description: s.Description,
		ServiceCount: s.ServiceCount, Properties: s.Properties, CreateDate: s.CreateDate,
		CreatorRequestId: optional(ns.CreatorRequestID),
	}
}

func (p *Provider) namespaceSummary(r store.Reader, ns *model.Namespace) servicediscoveryapi.NamespaceSummary {
	services := int32(0)
	for range records.DiscoveryServices.By(r, records.DiscoveryServicesByNamespace, ns.ID) {
		services++
	}
	properties := &servicediscoveryapi.NamespaceProperties{
		HttpProperties: &servicediscoveryapi.HttpProperties{HttpName: &ns.HTTPName},
		DnsProperties:  &servicediscoveryapi.DnsProperties{SOA: &servicediscoveryapi.SOA{}},
	}
	if ns.Type != model.NamespaceHTTP {
		properties.DnsProperties = &servicediscoveryapi.DnsProperties{
			HostedZoneId: &ns.HostedZoneID, SOA: &servicediscoveryapi.SOA{TTL: &ns.SOATTL},
		}
	}
	return servicediscoveryapi.NamespaceSummary{
		Id: &ns.ID, Arn: &ns.ARN, ResourceOwner: &p.scope.AccountID, Name: &ns.Name,
		Type: servicediscoveryapi.NamespaceType(ns.Type), Description: optional(ns.Description),
		ServiceCount: &services, Properties: properties, CreateDate: &ns.CreatedAt,
	}
}

func (p *Provider) serviceOut(r store.Reader, service *model.DiscoveryService) *servicediscoveryapi.ServiceShape {
	s := p.serviceSummary(r, service)
	return &servicediscoveryapi.ServiceShape{
		Id: s.Id, Arn: s.Arn, ResourceOwner: s.ResourceOwner, Name: s.Name, NamespaceId: &service.NamespaceID,
		Description: s.Description, InstanceCount: s.InstanceCount, DnsConfig: s.DnsConfig, Type: s.Type,
		HealthCheckCustomConfig: s.HealthCheckCustomConfig, CreateDate: s.CreateDate,
		CreatorRequestId: optional(service.CreatorRequestID), CreatedByAccount: s.CreatedByAccount,
	}
}

func (p *Provider) serviceSummary(r store.Reader, service *model.DiscoveryService) servicediscoveryapi.ServiceSummary {
	out := servicediscoveryapi.ServiceSummary{
		Id: &service.ID, Arn: &service.ARN, ResourceOwner: &p.scope.AccountID, Name: &service.Name,
		Type: servicediscoveryapi.ServiceType(service.Type), Description: optional(service.Description),
		InstanceCount: new(countInstances(r, service.ID)), CreateDate: &service.CreatedAt, CreatedByAccount: &p.scope.AccountID,
	}
	if len(service.Records) > 0 {
		out.DnsConfig = &servicediscoveryapi.DnsConfig{
			NamespaceId: &service.NamespaceID, RoutingPolicy: servicediscoveryapi.RoutingPolicy(service.RoutingPolicy),
		}
		for _, record := range service.Records {
			out.DnsConfig.DnsRecords = append(out.DnsConfig.DnsRecords,
				servicediscoveryapi.DnsRecord{Type: servicediscoveryapi.RecordType(record.Type), TTL: &record.TTL})
		}
	}
	if service.CustomHealth {
		out.HealthCheckCustomConfig = &servicediscoveryapi.HealthCheckCustomConfig{FailureThreshold: &service.FailureThreshold}
	}
	return out
}

func countInstances(r store.Reader, serviceID string) int32 {
	n := int32(0)
	for range records.DiscoveryInstances.Prefix(r, serviceID+"/") {
		n++
	}
	return n
}

// attributesOut copies what a record shares with everybody.
func attributesOut(i *model.DiscoveryInstance) map[string]string { return maps.Clone(i.Attributes) }

// healthOf is an instance's status: UNKNOWN where nobody checks.
func healthOf(service *model.DiscoveryService, i *model.DiscoveryInstance) servicediscoveryapi.HealthStatus {
	switch {
	case !service.CustomHealth:
		return servicediscoveryapi.HealthStatusUnknown
	case i.Healthy:
		return servicediscoveryapi.HealthStatusHealthy
	}
	return servicediscoveryapi.HealthStatusUnhealthy
}
