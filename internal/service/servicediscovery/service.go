package servicediscovery

import (
	"context"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/servicediscoveryapi"
)

// maxServiceName is how long a service's name may be.
const maxServiceName = 127

// CreateService implements servicediscoveryapi.Service.
func (p *Provider) CreateService(ctx context.Context, in *servicediscoveryapi.CreateServiceInput) (*servicediscoveryapi.CreateServiceOutput, error) {
	ref, err := namespaceOfService(in)
	if err != nil {
		return nil, err
	}
	if len(*in.Name) > maxServiceName { // which the model says with a look-ahead
		return nil, invalid("1 validation error detected: Value '%s' at 'name' failed to satisfy constraint: Member must have length less than or equal to %d", *in.Name, maxServiceName)
	}
	service := &model.DiscoveryService{
		ID: "srv-" + ident.Token(16), Name: *in.Name, Description: value(in.Description), CreatorRequestID: value(in.CreatorRequestId),
	}
	service.ARN = p.scope.DiscoveryService(service.ID)
	if service.Tags, err = newTags("", nil, in.Tags); err != nil {
		return nil, err
	}
	if err := checkHealth(service, in); err != nil {
		return nil, err
	}
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		ns, err := p.namespace(tx, ref)
		if err != nil {
			return err
		}
		records.Namespaces.Guard(tx, ns.ID)
		service.NamespaceID, service.CreatedAt = ns.ID, tx.Now()
		if err := applyDNS(ns, service, in); err != nil {
			return err
		}
		records.DiscoveryServices.GuardIndex(tx, records.DiscoveryServicesByNamespace, ns.ID)
		for other := range records.DiscoveryServices.By(tx, records.DiscoveryServicesByNamespace, ns.ID) {
			switch {
			case !sameName(other, service):
			case service.CreatorRequestID != "" && service.CreatorRequestID == other.CreatorRequestID:
				service = other // the same request again
				return nil
			default:
				return serviceExists(other)
			}
		}
		records.DiscoveryServices.Put(tx, service)
		return nil
	}); err != nil {
		return nil, err
	}
	return &servicediscoveryapi.CreateServiceOutput{Service: p.serviceOut(p.store.Snapshot(), service)}, nil
}

// namespaceOfService is the namespace that a new service is in; DnsConfig has
// an older way to say it.
func namespaceOfService(in *servicediscoveryapi.CreateServiceInput) (string, error) {
	ref := value(in.NamespaceId)
	if in.DnsConfig != nil && value(in.DnsConfig.NamespaceId) != "" {
		if older := *in.DnsConfig.NamespaceId; ref == "" || ref == older {
			return older, nil
		}
		return "", invalid("NamespaceId and DnsConfig.NamespaceId must be the same.")
	}
	if ref == "" {
		return "", invalid("NamespaceId must be specified.")
	}
	return ref, nil
}

// sameName reports whether both cannot be in one namespace. Names in DNS are
// the same in any case.
func sameName(a, b *model.DiscoveryService) bool {
	return a.Name == b.Name || len(a.Records) > 0 && len(b.Records) > 0 && strings.EqualFold(a.Name, b.Name)
}

func checkHealth(service *model.DiscoveryService, in *servicediscoveryapi.CreateServiceInput) error {
	if in.HealthCheckConfig != nil {
		if in.HealthCheckCustomConfig != nil {
			return invalid("HealthCheckConfig and HealthCheckCustomConfig can not both be specified.")
		}
		return refuseHealthCheck()
	}
	if in.HealthCheckCustomConfig != nil {
		service.CustomHealth, service.FailureThreshold = true, 1 // whatever was given, as on AWS
	}
	return nil
}

// refuseHealthCheck: the checkers of Route 53 reach services from the internet,
// and nobody here does.
func refuseHealthCheck() error {
	return invalid("HealthCheckConfig is not supported: Berth has no Route 53 health checkers. Use HealthCheckCustomConfig.")
}

// applyDNS gives a new service its records and with them its type.
func applyDNS(ns *model.Namespace, service *model.DiscoveryService, in *servicediscoveryapi.CreateServiceInput) error {
	service.Type, service.Records, service.RoutingPolicy = string(servicediscoveryapi.ServiceTypeHttp), nil, ""
	if in.DnsConfig == nil || len(in.DnsConfig.DnsRecords) == 0 {
		return nil
	}
	if ns.Type == model.NamespaceHTTP {
		return invalid("DnsConfig can not be specified for a service in an HTTP namespace.")
	}
	if in.Type == servicediscoveryapi.ServiceTypeOptionHttp {
		return invalid("DnsConfig can not be specified for a service of type HTTP.")
	}
	found, err := recordsIn(in.DnsConfig.DnsRecords)
	if err != nil {
		return err
	}
	service.Type, service.Records = string(servicediscoveryapi.ServiceTypeDnsHttp), found
	service.RoutingPolicy = string(in.DnsConfig.RoutingPolicy)
	if service.RoutingPolicy == "" {
		service.RoutingPolicy = model.RoutingMultivalue
		if found[0].Type == model.RecordCNAME {
			service.RoutingPolicy = model.RoutingWeighted
		}
	}
	if name := strings.Trim(service.Name+"."+ns.Name, "."); len(name) > 253 {
		return invalid("The name %s is longer than the 253 characters of a domain name.", name)
	}
	return checkRouting(service)
}

// recordsIn checks records with one another.
func recordsIn(given []servicediscoveryapi.DnsRecord) ([]model.DNSRecord, error) {
	var out []model.DNSRecord
	for _, r := range given {
		if slices.ContainsFunc(out, func(o model.DNSRecord) bool { return o.Type == string(r.Type) }) {
			return nil, invalid("DnsRecords has more than one record of type %s.", r.Type)
		}
		out = append(out, model.DNSRecord{Type: string(r.Type), TTL: *r.TTL})
	}
	if len(out) > 1 && slices.ContainsFunc(out, func(o model.DNSRecord) bool { return o.Type == model.RecordCNAME }) {
		return nil, invalid("A CNAME record can not be specified with records of other types.")
	}
	return out, nil
}

func checkRouting(service *model.DiscoveryService) error {
	if service.Records[0].Type == model.RecordCNAME && service.RoutingPolicy != model.RoutingWeighted {
		return invalid("CNAME records require the routing policy WEIGHTED.")
	}
	return nil
}

// GetService implements servicediscoveryapi.Service.
func (p *Provider) GetService(_ context.Context, in *servicediscoveryapi.GetServiceInput) (*servicediscoveryapi.GetServiceOutput, error) {
	snap := p.store.Snapshot()
	service, err := p.service(snap, *in.Id)
	if err != nil {
		return nil, err
	}
	return &servicediscoveryapi.GetServiceOutput{Service: p.serviceOut(snap, service)}, nil
}

var serviceFilters = map[string][]servicediscoveryapi.FilterCondition{
	string(servicediscoveryapi.ServiceFilterNameNamespaceId):   {eq},
	string(servicediscoveryapi.ServiceFilterNameResourceOwner): {eq},
}

// ListServices implements servicediscoveryapi.Service.
func (p *Provider) ListServices(_ context.Context, in *servicediscoveryapi.ListServicesInput) (*servicediscoveryapi.ListServicesOutput, error) {
	var filters []filter
	for _, f := range in.Filters {
		filters = append(filters, filter{string(f.Name), f.Condition, f.Values})
	}
	if err := checkFilters(filters, serviceFilters); err != nil {
		return nil, err
	}
	var found []*model.DiscoveryService
	snap := p.store.Snapshot()
	for service := range records.DiscoveryServices.All(snap) {
		matches, err := p.serviceMatches(service, filters)
		if err != nil {
			return nil, err
		}
		if matches {
			found = append(found, service)
		}
	}
	page, next, err := pageOf("ListServices", found, (*model.DiscoveryService).Key, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &servicediscoveryapi.ListServicesOutput{Services: []servicediscoveryapi.ServiceSummary{}, NextToken: next}
	for _, service := range page {
		out.Services = append(out.Services, p.serviceSummary(snap, service))
	}
	return out, nil
}

func (p *Provider) serviceMatches(service *model.DiscoveryService, filters []filter) (bool, error) {
	for _, f := range filters {
		matches := false
		switch servicediscoveryapi.ServiceFilterName(f.name) {
		case servicediscoveryapi.ServiceFilterNameNamespaceId:
			matches = p.id(f.values[0], p.scope.Namespace) == service.NamespaceID
		case servicediscoveryapi.ServiceFilterNameResourceOwner:
			if err := checkOwner(f); err != nil {
				return false, err
			}
			matches = f.matches(ownerSelf)
		}
		if !matches {
			return false, nil
		}
	}
	return true, nil
}

// UpdateService implements servicediscoveryapi.Service. DNS records that are
// left out are deleted; the description and custom health checks are not.
func (p *Provider) UpdateService(ctx context.Context, in *servicediscoveryapi.UpdateServiceInput) (*servicediscoveryapi.UpdateServiceOutput, error) {
	if in.Service.HealthCheckConfig != nil {
		return nil, refuseHealthCheck()
	}
	var wanted []model.DNSRecord
	if in.Service.DnsConfig != nil {
		var err error
		if wanted, err = recordsIn(in.Service.DnsConfig.DnsRecords); err != nil {
			return nil, err
		}
	}
	out := &servicediscoveryapi.UpdateServiceOutput{}
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		service, err := p.service(tx, *in.Id)
		if err != nil {
			return err
		}
		out.OperationId = succeed(tx, servicediscoveryapi.OperationTypeUpdateService, map[string]string{targetService: service.ID})
		return records.DiscoveryServices.Edit(tx, service.ID, func(service *model.DiscoveryService) error {
			if in.Service.Description != nil {
				service.Description = *in.Service.Description
			}
			if len(wanted) > 0 && len(service.Records) == 0 {
				return invalid("DnsConfig can not be added to a service that was created without it.")
			}
			if service.Records = wanted; len(wanted) == 0 {
				service.RoutingPolicy, service.Type = "", string(servicediscoveryapi.ServiceTypeHttp)
				return nil
			}
			return checkRouting(service)
		})
	})
	return out, err
}

// DeleteService implements servicediscoveryapi.Service.
func (p *Provider) DeleteService(ctx context.Context, in *servicediscoveryapi.DeleteServiceInput) (*servicediscoveryapi.DeleteServiceOutput, error) {
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		service, err := p.service(tx, *in.Id)
		if err != nil {
			return err
		}
		records.DiscoveryInstances.GuardPrefix(tx, service.ID+"/")
		for range records.DiscoveryInstances.Prefix(tx, service.ID+"/") {
			return inUse("Service contains registered instances; delete the instances before deleting the service")
		}
		records.DiscoveryServices.Delete(tx, service.ID)
		// The namespace's record is newer than anything that was in it, which
		// is what zones take their serials from.
		if ns, ok := records.Namespaces.Get(tx, service.NamespaceID); ok {
			records.Namespaces.Put(tx, ns)
		}
		return nil
	})
	return &servicediscoveryapi.DeleteServiceOutput{}, err
}
