package ecs

import (
	"context"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

// The capacity providers that exist without being made.
const (
	providerFargate     = "FARGATE"
	providerFargateSpot = "FARGATE_SPOT"
)

const (
	maxStrategyItems = 20
	maxWeight        = 1000
	maxBase          = 100000
)

var providers = []string{providerFargate, providerFargateSpot}

// PutClusterCapacityProviders implements ecsapi.Service.
func (p *Provider) PutClusterCapacityProviders(ctx context.Context, in *ecsapi.PutClusterCapacityProvidersInput) (*ecsapi.PutClusterCapacityProvidersOutput, error) {
	c, err := p.editCluster(ctx, in.Cluster, func(tx *store.Tx, c *model.Cluster) error {
		removed := slices.DeleteFunc(slices.Clone(c.CapacityProviders), func(name string) bool { return slices.Contains(in.CapacityProviders, name) })
		if len(removed) > 0 {
			records.Tasks.GuardIndex(tx, records.TasksByCluster, c.Name)
			for t := range records.Tasks.By(tx, records.TasksByCluster, c.Name) {
				if !t.Stopped() && slices.Contains(removed, t.CapacityProviderName) {
					return &ecsapi.ResourceInUseException{Message: new("The specified capacity provider is in use and cannot be removed.")}
				}
			}
		}
		return applyProviders(c, in.CapacityProviders, in.DefaultCapacityProviderStrategy)
	})
	if err != nil {
		return nil, err
	}
	return &ecsapi.PutClusterCapacityProvidersOutput{Cluster: c}, nil
}

func applyProviders(c *model.Cluster, names []string, strategy []ecsapi.CapacityProviderStrategyItem) error {
	var associated []string
	for _, name := range names {
		if _, known := providerName(name); !known {
			return parameterError("The specified capacity provider '%s' was not found. Specify a valid name or ARN and try again.", name)
		}
		short, _ := providerName(name)
		if !slices.Contains(associated, short) {
			associated = append(associated, short)
		}
	}
	items := each(strategy, strategyIn)
	if err := checkStrategy(items, associated, false); err != nil {
		return err
	}
	c.CapacityProviders, c.DefaultCapacityProviderStrategy = associated, items
	return nil
}

// providerName returns the short name of a provider given by name or ARN.
func providerName(ref string) (string, bool) {
	name := ref
	if i := strings.LastIndex(ref, ":capacity-provider/"); i >= 0 {
		name = ref[i+len(":capacity-provider/"):]
	}
	return name, slices.Contains(providers, name)
}

// checkStrategy checks a strategy of a cluster, or of a call, which must give
// its tasks somewhere to go.
func checkStrategy(items []model.CapacityProviderStrategyItem, associated []string, forTasks bool) error {
	if len(items) > maxStrategyItems {
		return parameterError("The specified capacity provider strategy cannot contain more than %d capacity providers.", maxStrategyItems)
	}
	seen := map[string]bool{}
	bases, weights := 0, int32(0)
	for _, item := range items {
		if seen[item.CapacityProvider] {
			return parameterError("The specified capacity provider strategy contains the capacity provider '%s' more than once.", item.CapacityProvider)
		}
		seen[item.CapacityProvider] = true
		if !slices.Contains(associated, item.CapacityProvider) {
			return parameterError("The specified capacity provider strategy cannot contain a capacity provider that is not associated with the cluster. Associate the capacity provider with the cluster and try again.")
		}
		if item.Weight < 0 || item.Weight > maxWeight {
			return parameterError("Invalid weight: %d. It must be between 0 and %d.", item.Weight, maxWeight)
		}
		if item.Base < 0 || item.Base > maxBase {
			return parameterError("Invalid base: %d. It must be between 0 and %d.", item.Base, maxBase)
		}
		if item.Base > 0 {
			bases++
		}
		weights += item.Weight
	}
	if bases > 1 {
		return parameterError("The specified capacity provider strategy cannot contain more than one capacity provider with a base value defined.")
	}
	if forTasks && len(items) > 0 && weights == 0 {
		return parameterError("The specified capacity provider strategy must contain at least one capacity provider with a weight value greater than zero.")
	}
	return nil
}

// DescribeCapacityProviders implements ecsapi.Service. Only the two of Fargate
// exist.
func (p *Provider) DescribeCapacityProviders(_ context.Context, in *ecsapi.DescribeCapacityProvidersInput) (*ecsapi.DescribeCapacityProvidersOutput, error) {
	limit, err := pageSize(in.MaxResults, 10, 10)
	if err != nil {
		return nil, err
	}
	names := in.CapacityProviders
	if in.Cluster != nil {
		c, err := p.cluster(p.store.Snapshot(), in.Cluster)
		if err != nil {
			return nil, err
		}
		if len(names) == 0 {
			names = slices.Sorted(slices.Values(c.CapacityProviders))
		}
	} else if len(names) == 0 {
		names = providers
	}
	out := &ecsapi.DescribeCapacityProvidersOutput{CapacityProviders: []ecsapi.CapacityProvider{}, Failures: []ecsapi.Failure{}}
	page, next, err := pageOf("DescribeCapacityProviders", names, strings.Clone, in.NextToken, limit, ascending)
	if err != nil {
		return nil, err
	}
	for _, ref := range page {
		name, known := providerName(ref)
		if !known {
			out.Failures = append(out.Failures, missing(p.scope.CapacityProvider(name)))
			continue
		}
		out.CapacityProviders = append(out.CapacityProviders, ecsapi.CapacityProvider{
			CapacityProviderArn: new(p.scope.CapacityProvider(name)), Name: &name,
			Status: ecsapi.CapacityProviderStatus("ACTIVE"), Type: ecsapi.CapacityProviderType(name), Tags: []ecsapi.Tag{},
		})
	}
	out.NextToken = next
	return out, nil
}
