package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"berth.dev/berth/internal/base/ident"
)

// discovery finds the names under which services are found, each once.
type discovery struct {
	clients    *clients
	registries map[string]string // full names by ARN of the Cloud Map service
	namespaces map[string]string // names by id
}

func newDiscovery(c *clients) *discovery {
	return &discovery{c, map[string]string{}, map[string]string{}}
}

// names are those of one service, such as my-service.my-apps.local.
func (d *discovery) names(ctx context.Context, s *types.Service) ([]string, error) {
	var all []string
	for _, r := range s.ServiceRegistries {
		name, err := d.name(ctx, aws.ToString(r.RegistryArn))
		if err != nil {
			return nil, fmt.Errorf("looking for the names of service %s: %w", serviceName(s), explained(err))
		}
		all = append(all, name)
	}
	return all, nil
}

func (d *discovery) name(ctx context.Context, registry string) (string, error) {
	if name, ok := d.registries[registry]; ok {
		return name, nil
	}
	service, err := d.clients.names.GetService(ctx, &servicediscovery.GetServiceInput{Id: aws.String(lastPart(registry))})
	if err != nil {
		return "", err
	}
	id := aws.ToString(service.Service.NamespaceId)
	if id == "" && service.Service.DnsConfig != nil {
		id = aws.ToString(service.Service.DnsConfig.NamespaceId) //nolint:staticcheck // where the API used to tell it
	}
	if _, ok := d.namespaces[id]; !ok {
		namespace, err := d.clients.names.GetNamespace(ctx, &servicediscovery.GetNamespaceInput{Id: &id})
		if err != nil {
			return "", err
		}
		d.namespaces[id] = aws.ToString(namespace.Namespace.Name)
	}
	d.registries[registry] = aws.ToString(service.Service.Name) + "." + d.namespaces[id]
	return d.registries[registry], nil
}

// ttl is for how long clients may remember the addresses of a service's tasks.
func (c *clients) ttl(ctx context.Context, s *types.Service) (time.Duration, error) {
	var longest time.Duration
	for _, r := range s.ServiceRegistries {
		out, err := c.names.GetService(ctx, &servicediscovery.GetServiceInput{Id: aws.String(lastPart(aws.ToString(r.RegistryArn)))})
		if err != nil {
			return 0, fmt.Errorf("looking for the names of service %s: %w", serviceName(s), explained(err))
		}
		if out.Service.DnsConfig == nil {
			continue
		}
		for _, record := range out.Service.DnsConfig.DnsRecords {
			longest = max(longest, time.Duration(aws.ToInt64(record.TTL))*time.Second)
		}
	}
	return longest, nil
}

// discoveryName is what --as asks for: a service in a namespace.
type discoveryName struct{ service, namespace string }

func (n *discoveryName) String() string { return n.service + "." + n.namespace }

func parseDiscoveryName(s string) (*discoveryName, error) {
	if s == "" {
		return nil, nil //nolint:nilnil // nothing was asked for
	}
	service, namespace, ok := strings.Cut(s, ".")
	if !ok || service == "" || namespace == "" {
		return nil, misuse("--as %q is not SERVICE.NAMESPACE, such as my-service.my-apps.local", s)
	}
	return &discoveryName{service, namespace}, nil
}

// recordTTL is how long clients may remember an address, in seconds.
const recordTTL = 10

// register finds or makes the Cloud Map service of --as and its private
// namespace, and returns its ARN.
func (d *deployer) register(ctx context.Context, at *place) (string, error) {
	n := d.order.name
	namespace, err := d.ensureNamespace(ctx, at)
	if err != nil {
		return "", err
	}
	filter := sdtypes.ServiceFilter{Name: sdtypes.ServiceFilterNameNamespaceId, Values: []string{namespace}, Condition: sdtypes.FilterConditionEq}
	pages := servicediscovery.NewListServicesPaginator(d.clients.names, &servicediscovery.ListServicesInput{Filters: []sdtypes.ServiceFilter{filter}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", fmt.Errorf("looking for the name %s: %w", n, explained(err))
		}
		for _, s := range page.Services {
			if aws.ToString(s.Name) == n.service {
				return aws.ToString(s.Arn), nil
			}
		}
	}
	made, err := d.clients.names.CreateService(ctx, &servicediscovery.CreateServiceInput{
		Name: &n.service, NamespaceId: &namespace, CreatorRequestId: aws.String(ident.UUID()),
		DnsConfig: &sdtypes.DnsConfig{
			RoutingPolicy: sdtypes.RoutingPolicyMultivalue,
			DnsRecords:    []sdtypes.DnsRecord{{Type: sdtypes.RecordTypeA, TTL: aws.Int64(recordTTL)}},
		},
		HealthCheckCustomConfig: &sdtypes.HealthCheckCustomConfig{FailureThreshold: aws.Int32(1)}, //nolint:staticcheck // what every guide writes
	})
	if err != nil {
		return "", fmt.Errorf("creating the name %s: %w", n, explained(err))
	}
	d.step("Name", "%s  A records, TTL %d s", n, recordTTL)
	return aws.ToString(made.Service.Arn), nil
}

func (d *deployer) ensureNamespace(ctx context.Context, at *place) (string, error) {
	n := d.order.name
	for pages := servicediscovery.NewListNamespacesPaginator(d.clients.names, &servicediscovery.ListNamespacesInput{}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", fmt.Errorf("looking for namespace %s: %w", n.namespace, explained(err))
		}
		for _, s := range page.Namespaces {
			if aws.ToString(s.Name) == n.namespace && s.Type == sdtypes.NamespaceTypeDnsPrivate {
				return aws.ToString(s.Id), nil
			}
		}
	}
	out, err := d.clients.names.CreatePrivateDnsNamespace(ctx, &servicediscovery.CreatePrivateDnsNamespaceInput{
		Name: &n.namespace, Vpc: &at.vpc, CreatorRequestId: aws.String(ident.UUID()),
	})
	if err != nil {
		return "", fmt.Errorf("creating namespace %s: %w", n.namespace, explained(err))
	}
	return d.clients.namespaceMade(ctx, aws.ToString(out.OperationId))
}

// namespaceMade waits until an operation that makes a namespace has succeeded,
// and returns the namespace's id.
func (c *clients) namespaceMade(ctx context.Context, operation string) (string, error) {
	ticker := time.NewTicker(pollPause)
	defer ticker.Stop()
	for {
		out, err := c.names.GetOperation(ctx, &servicediscovery.GetOperationInput{OperationId: &operation})
		if err != nil {
			return "", fmt.Errorf("waiting for the namespace: %w", explained(err))
		}
		switch o := out.Operation; o.Status {
		case sdtypes.OperationStatusSuccess:
			return o.Targets[string(sdtypes.OperationTargetTypeNamespace)], nil
		case sdtypes.OperationStatusFail:
			return "", fmt.Errorf("creating the namespace: %s: %s", aws.ToString(o.ErrorCode), aws.ToString(o.ErrorMessage))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}
