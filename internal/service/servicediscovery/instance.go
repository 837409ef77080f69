package servicediscovery

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/servicediscoveryapi"
)

// Quotas of instances.
const (
	maxInstances      = 1000 // of a service
	maxAttributes     = 30   // of an instance
	maxAttributeBytes = 5000 // of all names and values
)

// RegisterInstance implements servicediscoveryapi.Service. An instance of the
// same id is replaced.
func (p *Provider) RegisterInstance(ctx context.Context, in *servicediscoveryapi.RegisterInstanceInput) (*servicediscoveryapi.RegisterInstanceOutput, error) {
	out := &servicediscoveryapi.RegisterInstanceOutput{}
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		service, err := p.service(tx, *in.ServiceId)
		if err != nil {
			return err
		}
		if err := checkInstance(service, *in.InstanceId, in.Attributes); err != nil {
			return err
		}
		instance := &model.DiscoveryInstance{
			ServiceID: service.ID, InstanceID: *in.InstanceId, Attributes: maps.Clone(in.Attributes),
			CreatorRequestID: value(in.CreatorRequestId), RegisteredAt: tx.Now(),
			Healthy: in.Attributes[model.AttributeInitHealth] != string(servicediscoveryapi.CustomHealthStatusUnhealthy),
		}
		if before, ok := records.DiscoveryInstances.Get(tx, instance.Key()); ok {
			// An instance of a task stays one, so that it goes with the task.
			instance.TaskID = before.TaskID
			if maps.Equal(before.Attributes, instance.Attributes) {
				instance.RegisteredAt, instance.Healthy = before.RegisteredAt, before.Healthy
			}
		} else if countInstances(tx, service.ID) >= maxInstances {
			return &servicediscoveryapi.ResourceLimitExceeded{
				Message: new(fmt.Sprintf("The service %s has the maximum number of instances: %d.", service.ID, maxInstances)),
			}
		}
		out.OperationId = succeed(tx, servicediscoveryapi.OperationTypeRegisterInstance, instanceTargets(service.ID, instance.InstanceID))
		return records.PutDiscoveryInstance(tx, instance)
	})
	return out, err
}

func instanceTargets(serviceID, instanceID string) map[string]string {
	return map[string]string{targetService: serviceID, targetInstance: instanceID}
}

// checkInstance checks that an instance has what its service's records need.
func checkInstance(service *model.DiscoveryService, id string, attributes map[string]string) error {
	size := 0
	for name, v := range attributes {
		size += len(name) + len(v)
	}
	if len(attributes) > maxAttributes {
		return invalid("The number of attributes exceeds the limit of %d.", maxAttributes)
	}
	if size > maxAttributeBytes {
		return invalid("The total size of all attributes exceeds the limit of %d characters.", maxAttributeBytes)
	}
	for _, name := range []string{model.AttributeAlias, "AWS_EC2_INSTANCE_ID"} {
		if _, given := attributes[name]; given {
			return invalid("The attribute %s is not supported: Berth has no alias records and no EC2 instances.", name)
		}
	}
	if err := checkInitHealth(service, attributes); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		if check, ok := attributeFormats[name]; ok && !check(attributes[name]) {
			return invalid("Invalid value for the attribute %s: %s", name, attributes[name])
		}
	}
	return checkRecords(service, id, attributes)
}

func checkInitHealth(service *model.DiscoveryService, attributes map[string]string) error {
	v, given := attributes[model.AttributeInitHealth]
	if !given {
		return nil
	}
	if !service.CustomHealth {
		return invalid("%s can only be specified for services with HealthCheckCustomConfig.", model.AttributeInitHealth)
	}
	if v != string(servicediscoveryapi.CustomHealthStatusHealthy) && v != string(servicediscoveryapi.CustomHealthStatusUnhealthy) {
		return invalid("Invalid value for the attribute %s: %s", model.AttributeInitHealth, v)
	}
	return nil
}

// attributeFormats check the attributes that have a meaning to DNS.
var attributeFormats = map[string]func(string) bool{
	model.AttributeIPv4: func(v string) bool {
		a, err := netip.ParseAddr(v)
		return err == nil && a.Is4()
	},
	model.AttributeIPv6: func(v string) bool {
		a, err := netip.ParseAddr(v)
		return err == nil && a.Is6() && a.Zone() == "" && !a.Is4In6()
	},
	model.AttributePort: func(v string) bool {
		_, err := strconv.ParseUint(v, 10, 16)
		return err == nil
	},
	model.AttributeCNAME: func(v string) bool { return isDomain(strings.TrimSuffix(v, ".")) },
}

// checkRecords checks that there is a value for each record of the service: an
// address of one family is enough where both have records.
func checkRecords(service *model.DiscoveryService, id string, attributes map[string]string) error {
	has := func(kind string) bool {
		return slices.ContainsFunc(service.Records, func(r model.DNSRecord) bool { return r.Type == kind })
	}
	given := func(name string) bool { return attributes[name] != "" }
	missing := func(name string) error {
		return invalid("The attribute %s is required because of the service's DNS records.", name)
	}
	switch {
	case has(model.RecordCNAME) && !given(model.AttributeCNAME):
		return missing(model.AttributeCNAME)
	case has(model.RecordA) && !has(model.RecordAAAA) && !given(model.AttributeIPv4):
		return missing(model.AttributeIPv4)
	case has(model.RecordAAAA) && !has(model.RecordA) && !given(model.AttributeIPv6):
		return missing(model.AttributeIPv6)
	case (has(model.RecordA) || has(model.RecordSRV)) && !given(model.AttributeIPv4) && !given(model.AttributeIPv6):
		return missing(model.AttributeIPv4)
	case !has(model.RecordSRV):
		return nil
	case !given(model.AttributePort):
		return missing(model.AttributePort)
	case !isDomain(id):
		return invalid("The instance ID %s can not be part of a domain name, which the service's SRV record needs.", id)
	}
	return nil
}

// DeregisterInstance implements servicediscoveryapi.Service. It is the user's
// right to deregister what ECS registered.
func (p *Provider) DeregisterInstance(ctx context.Context, in *servicediscoveryapi.DeregisterInstanceInput) (*servicediscoveryapi.DeregisterInstanceOutput, error) {
	out := &servicediscoveryapi.DeregisterInstanceOutput{}
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		service, err := p.service(tx, *in.ServiceId)
		if err != nil {
			return err
		}
		existed, err := records.DeleteDiscoveryInstance(tx, service.ID, *in.InstanceId)
		if err != nil {
			return err
		}
		if !existed {
			return instanceNotFound(*in.InstanceId)
		}
		out.OperationId = succeed(tx, servicediscoveryapi.OperationTypeDeregisterInstance, instanceTargets(service.ID, *in.InstanceId))
		return nil
	})
	return out, err
}

// GetInstance implements servicediscoveryapi.Service.
func (p *Provider) GetInstance(_ context.Context, in *servicediscoveryapi.GetInstanceInput) (*servicediscoveryapi.GetInstanceOutput, error) {
	snap := p.store.Snapshot()
	service, err := p.service(snap, *in.ServiceId)
	if err != nil {
		return nil, err
	}
	instance, err := p.instance(snap, service, *in.InstanceId)
	if err != nil {
		return nil, err
	}
	return &servicediscoveryapi.GetInstanceOutput{ResourceOwner: &p.scope.AccountID, Instance: &servicediscoveryapi.Instance{
		Id: &instance.InstanceID, CreatorRequestId: optional(instance.CreatorRequestID),
		Attributes: attributesOut(instance), CreatedByAccount: &p.scope.AccountID,
	}}, nil
}

// instances are those of a service in order of their ids.
func instances(r store.Reader, service *model.DiscoveryService) []*model.DiscoveryInstance {
	return slices.Collect(records.DiscoveryInstances.Prefix(r, service.ID+"/"))
}

// ListInstances implements servicediscoveryapi.Service.
func (p *Provider) ListInstances(_ context.Context, in *servicediscoveryapi.ListInstancesInput) (*servicediscoveryapi.ListInstancesOutput, error) {
	snap := p.store.Snapshot()
	service, err := p.service(snap, *in.ServiceId)
	if err != nil {
		return nil, err
	}
	page, next, err := pageOf("ListInstances", instances(snap, service), (*model.DiscoveryInstance).Key, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &servicediscoveryapi.ListInstancesOutput{ResourceOwner: &p.scope.AccountID, Instances: []servicediscoveryapi.InstanceSummary{}, NextToken: next}
	for _, i := range page {
		out.Instances = append(out.Instances, servicediscoveryapi.InstanceSummary{
			Id: &i.InstanceID, Attributes: attributesOut(i), CreatedByAccount: &p.scope.AccountID,
		})
	}
	return out, nil
}

// GetInstancesHealthStatus implements servicediscoveryapi.Service.
func (p *Provider) GetInstancesHealthStatus(_ context.Context, in *servicediscoveryapi.GetInstancesHealthStatusInput) (*servicediscoveryapi.GetInstancesHealthStatusOutput, error) {
	snap := p.store.Snapshot()
	service, err := p.service(snap, *in.ServiceId)
	if err != nil {
		return nil, err
	}
	asked := instances(snap, service)
	if len(in.Instances) > 0 {
		asked = nil
		for _, id := range slices.Compact(slices.Sorted(slices.Values(in.Instances))) {
			instance, err := p.instance(snap, service, id)
			if err != nil {
				return nil, err
			}
			asked = append(asked, instance)
		}
	}
	page, next, err := pageOf("GetInstancesHealthStatus", asked, (*model.DiscoveryInstance).Key, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &servicediscoveryapi.GetInstancesHealthStatusOutput{Status: map[string]servicediscoveryapi.HealthStatus{}, NextToken: next}
	for _, i := range page {
		out.Status[i.InstanceID] = healthOf(service, i)
	}
	return out, nil
}

// UpdateInstanceCustomHealthStatus implements servicediscoveryapi.Service.
func (p *Provider) UpdateInstanceCustomHealthStatus(ctx context.Context, in *servicediscoveryapi.UpdateInstanceCustomHealthStatusInput) (*servicediscoveryapi.UpdateInstanceCustomHealthStatusOutput, error) {
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		service, err := p.service(tx, *in.ServiceId)
		if err != nil {
			return err
		}
		if !service.CustomHealth {
			return &servicediscoveryapi.CustomHealthNotFound{Message: new("The service " + service.ID + " has no HealthCheckCustomConfig.")}
		}
		instance, err := p.instance(tx, service, *in.InstanceId)
		if err != nil {
			return err
		}
		changed := *instance
		changed.Healthy = in.Status == servicediscoveryapi.CustomHealthStatusHealthy
		return records.PutDiscoveryInstance(tx, &changed)
	})
	return &servicediscoveryapi.UpdateInstanceCustomHealthStatusOutput{}, err
}
