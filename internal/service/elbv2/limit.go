package elbv2

import (
	"context"
	"strconv"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/elbv2api"
)

// AWS's default quotas. They are enforced: what works here works there.
const (
	maxBalancers            = 50 // of each type
	maxTargetGroups         = 3000
	maxListeners            = 50   // of a load balancer
	maxRules                = 100  // of a load balancer, default rules not counted
	maxTargets              = 1000 // of a target group
	maxCertificates         = 25   // of a load balancer, default certificates not counted
	maxGroupsPerAction      = 5    // target groups of one forward action
	maxGroupsPerApplication = 100  // target groups of an application load balancer
	maxConditionValues      = 5    // of a rule
	maxWildcards            = 6    // of a rule
)

func roomForBalancer(tx *store.Tx, kind string) error {
	n := 0
	for lb := range records.LoadBalancers.All(tx) {
		if lb.Type == kind {
			n++
		}
	}
	if n >= maxBalancers {
		return failure(codeTooManyLoadBalancers, "The maximum number of %s load balancers has been reached", kind)
	}
	return nil
}

// DescribeAccountLimits implements elbv2api.Service.
func (p *Provider) DescribeAccountLimits(_ context.Context, in *elbv2api.DescribeAccountLimitsInput) (*elbv2api.DescribeAccountLimitsOutput, error) {
	all := []struct {
		name  string
		value int
	}{
		{"application-load-balancers", maxBalancers},
		{"condition-values-per-alb-rule", maxConditionValues},
		{"condition-wildcards-per-alb-rule", maxWildcards},
		{"listeners-per-application-load-balancer", maxListeners},
		{"listeners-per-network-load-balancer", maxListeners},
		{"network-load-balancers", maxBalancers},
		{"rules-per-application-load-balancer", maxRules},
		{"target-groups", maxTargetGroups},
		{"target-groups-per-action-on-application-load-balancer", maxGroupsPerAction},
		{"target-groups-per-action-on-network-load-balancer", maxGroupsPerAction},
		{"target-groups-per-application-load-balancer", maxGroupsPerApplication},
		{"targets-per-application-load-balancer", maxTargets},
		{"targets-per-target-group", maxTargets},
	}
	out := &elbv2api.DescribeAccountLimitsOutput{Limits: []elbv2api.Limit{}}
	var names []elbv2api.Limit
	for _, l := range all {
		names = append(names, elbv2api.Limit{Name: &l.name, Max: new(strconv.Itoa(l.value))})
	}
	page, next, err := pageOf("DescribeAccountLimits", names, func(l elbv2api.Limit) string { return *l.Name }, in.Marker, in.PageSize)
	if err != nil {
		return nil, err
	}
	out.Limits, out.NextMarker = append(out.Limits, page...), next
	return out, nil
}

// DescribeCapacityReservation implements elbv2api.Service: capacity is never
// reserved here.
func (p *Provider) DescribeCapacityReservation(_ context.Context, in *elbv2api.DescribeCapacityReservationInput) (*elbv2api.DescribeCapacityReservationOutput, error) {
	if _, err := p.balancer(p.store.Snapshot(), in.LoadBalancerArn); err != nil {
		return nil, err
	}
	return &elbv2api.DescribeCapacityReservationOutput{CapacityReservationState: []elbv2api.ZonalCapacityReservationState{}}, nil
}

// hostedZone is the Route 53 zone of load balancers' names, which AWS publishes
// for each region.
func hostedZone(kind, region string) string {
	zones := map[string][2]string{ // application, network
		"us-east-1":      {"Z35SXDOTRQ7X7K", "Z26RNL4JYFTOTI"},
		"us-east-2":      {"Z3AADJGX6KTTL2", "ZLMOA37VPKANP"},
		"us-west-1":      {"Z368ELLRRE2KJ0", "Z24FKFUX50B4VW"},
		"us-west-2":      {"Z1H1FL5HABSF5", "Z18D5FSROUN65G"},
		"af-south-1":     {"Z268VQBMOI5EKX", "Z203XCE67M25HM"},
		"ap-east-1":      {"Z3DQVH9N71FHZ0", "Z12Y7K3UBGUAD1"},
		"ap-south-1":     {"ZP97RAFLXTNZK", "ZVDDRBQ08TROA"},
		"ap-northeast-1": {"Z14GRHDCWA56QT", "Z31USIVHYNEOWT"},
		"ap-northeast-2": {"ZWKZPGTI48KDX", "ZIBE1TIR4HY56"},
		"ap-northeast-3": {"Z5LXEXXYW11ES", "Z1GWIQ4HH19I5X"},
		"ap-southeast-1": {"Z1LMS91P8CMLE5", "ZKVM4W9LS7TM"},
		"ap-southeast-2": {"Z1GM3OXH4ZPM65", "ZCT6FZBF4DROD"},
		"ca-central-1":   {"ZQSVJUPU6J1EY", "Z2EPGBW3API2WT"},
		"eu-central-1":   {"Z215JYRZR1TBD5", "Z3F0SRJ5LGBH90"},
		"eu-north-1":     {"Z23TAZ6LKFMNIO", "Z1UDT6IFJ4EJM"},
		"eu-south-1":     {"Z3ULH7SSC9OV64", "Z23146JA1KNAFP"},
		"eu-west-1":      {"Z32O12XQLNTSW2", "Z2IFOLAFXWLO4F"},
		"eu-west-2":      {"ZHURV8PSTC4K8", "ZD4D7Y8KGAS4G"},
		"eu-west-3":      {"Z3Q77PNBQS71R4", "Z1CMS0P5QUZ6D5"},
		"me-south-1":     {"ZS929ML54UICD", "Z3QSRYVP46NYYV"},
		"sa-east-1":      {"Z2P70J7HTTTPLU", "ZTK26PT1VY4CU"},
	}
	zone, known := zones[region]
	if !known {
		zone = zones["us-east-1"]
	}
	if kind == model.LoadBalancerNetwork {
		return zone[1]
	}
	return zone[0]
}
