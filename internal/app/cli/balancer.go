package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// balancers are load balancers with their listeners and the target groups
// that they lead to, by ARN.
type balancers struct {
	all       map[string]*elbtypes.LoadBalancer
	listeners map[string][]elbtypes.Listener // by load balancer
	groups    map[string]*elbtypes.TargetGroup
}

// balancersOf reads the load balancers of services; without a service that has
// one it asks nobody.
func (c *clients) balancersOf(ctx context.Context, services ...types.Service) (*balancers, error) {
	b := &balancers{map[string]*elbtypes.LoadBalancer{}, map[string][]elbtypes.Listener{}, map[string]*elbtypes.TargetGroup{}}
	var groups, arns []string
	for _, s := range services {
		for _, l := range s.LoadBalancers {
			groups = append(groups, aws.ToString(l.TargetGroupArn))
		}
	}
	slices.Sort(groups)
	for _, arn := range slices.Compact(groups) {
		out, err := c.elb.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{TargetGroupArns: []string{arn}})
		if groupIsGone(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking for target group %s: %w", arn, explained(err))
		}
		for i := range out.TargetGroups {
			b.groups[aws.ToString(out.TargetGroups[i].TargetGroupArn)] = &out.TargetGroups[i]
			arns = append(arns, out.TargetGroups[i].LoadBalancerArns...)
		}
	}
	slices.Sort(arns)
	for some := range slices.Chunk(slices.Compact(arns), 20) {
		out, err := c.elb.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{LoadBalancerArns: some})
		if err != nil {
			return nil, fmt.Errorf("looking for load balancers: %w", explained(err))
		}
		if err := c.addBalancers(ctx, b, out.LoadBalancers); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// groupIsGone tells that somebody deleted a target group that a service has:
// the service has one place less to be found at.
func groupIsGone(err error) bool {
	_, gone := errors.AsType[*elbtypes.TargetGroupNotFoundException](err)
	return gone
}

// addBalancers adds load balancers with their listeners.
func (c *clients) addBalancers(ctx context.Context, b *balancers, found []elbtypes.LoadBalancer) error {
	for i := range found {
		arn := aws.ToString(found[i].LoadBalancerArn)
		b.all[arn] = &found[i]
		listeners, err := c.listeners(ctx, arn)
		if err != nil {
			return err
		}
		b.listeners[arn] = listeners
	}
	return nil
}

// listeners are those of a load balancer, in the order of their ports.
func (c *clients) listeners(ctx context.Context, balancer string) ([]elbtypes.Listener, error) {
	var all []elbtypes.Listener
	for pages := elb.NewDescribeListenersPaginator(c.elb, &elb.DescribeListenersInput{LoadBalancerArn: &balancer}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("looking for listeners: %w", explained(err))
		}
		all = append(all, page.Listeners...)
	}
	slices.SortFunc(all, func(a, b elbtypes.Listener) int { return int(aws.ToInt32(a.Port) - aws.ToInt32(b.Port)) })
	return all, nil
}

// urls are where a service answers through its load balancers: at the
// listeners that forward to it by default, else at all of the load balancer,
// whose rules may lead to it.
func (b *balancers) urls(s *types.Service) []string {
	var all []string
	for _, l := range s.LoadBalancers {
		group := b.groups[aws.ToString(l.TargetGroupArn)]
		if group == nil {
			continue
		}
		for _, arn := range group.LoadBalancerArns {
			listeners := b.listeners[arn]
			direct := slices.DeleteFunc(slices.Clone(listeners), func(l elbtypes.Listener) bool {
				return !forwardsTo(l, aws.ToString(group.TargetGroupArn))
			})
			if len(direct) > 0 {
				listeners = direct
			}
			all = append(all, balancerURLs(b.all[arn], listeners)...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func forwardsTo(l elbtypes.Listener, group string) bool {
	for _, a := range l.DefaultActions {
		if aws.ToString(a.TargetGroupArn) == group {
			return true
		}
		if a.ForwardConfig == nil {
			continue
		}
		for _, t := range a.ForwardConfig.TargetGroups {
			if aws.ToString(t.TargetGroupArn) == group {
				return true
			}
		}
	}
	return false
}

// balancerURLs are where the listeners of a load balancer answer this host. An
// internal load balancer answers its VPC alone, and has none.
func balancerURLs(b *elbtypes.LoadBalancer, listeners []elbtypes.Listener) []string {
	address := balancerAddress(b)
	if address == "" {
		return nil
	}
	var all []string
	for _, l := range listeners {
		scheme, usual := strings.ToLower(string(l.Protocol)), int32(0)
		switch l.Protocol {
		case elbtypes.ProtocolEnumHttp:
			usual = 80
		case elbtypes.ProtocolEnumHttps:
			usual = 443
		}
		url := scheme + "://" + address
		if port := aws.ToInt32(l.Port); port != usual {
			url += ":" + strconv.Itoa(int(port))
		}
		all = append(all, url+"/")
	}
	return all
}

// balancerAddress is where an internet-facing load balancer is reached.
func balancerAddress(b *elbtypes.LoadBalancer) string {
	if b == nil || b.Scheme != elbtypes.LoadBalancerSchemeEnumInternetFacing {
		return ""
	}
	for _, zone := range b.AvailabilityZones {
		for _, a := range zone.LoadBalancerAddresses {
			if a.IpAddress != nil {
				return *a.IpAddress
			}
		}
	}
	return ""
}

// groupSettings are what one waits for at a target group.
type groupSettings struct {
	name     string
	check    string        // such as "GET /health"
	interval time.Duration // of health checks
	passes   int32         // health checks in a row that make a target healthy
	delay    time.Duration // deregistration delay
}

// groupSettings reads the settings of a service's target groups.
func (c *clients) groupSettings(ctx context.Context, b *balancers) (map[string]groupSettings, error) {
	all := map[string]groupSettings{}
	for arn, g := range b.groups {
		out, err := c.elb.DescribeTargetGroupAttributes(ctx, &elb.DescribeTargetGroupAttributesInput{TargetGroupArn: &arn})
		if err != nil {
			return nil, fmt.Errorf("reading target group %s: %w", aws.ToString(g.TargetGroupName), explained(err))
		}
		s := groupSettings{
			name: aws.ToString(g.TargetGroupName), check: string(g.HealthCheckProtocol),
			interval: time.Duration(aws.ToInt32(g.HealthCheckIntervalSeconds)) * time.Second, passes: aws.ToInt32(g.HealthyThresholdCount),
		}
		if g.HealthCheckPath != nil {
			s.check = "GET " + *g.HealthCheckPath
		}
		for _, a := range out.Attributes {
			if aws.ToString(a.Key) == deregistrationDelay {
				if n, err := strconv.Atoi(aws.ToString(a.Value)); err == nil {
					s.delay = time.Duration(n) * time.Second
				}
			}
		}
		all[arn] = s
	}
	return all, nil
}

// deregistrationDelay is the attribute of a target group.
const deregistrationDelay = "deregistration_delay.timeout_seconds"

// target is what a load balancer says of one address.
type target struct {
	group               string // ARN
	address             string
	port                int32
	state               elbtypes.TargetHealthStateEnum
	reason, description string
}

// targets asks for the health of a service's targets.
func (c *clients) targets(ctx context.Context, s *types.Service) ([]target, error) {
	var all []target
	for _, l := range s.LoadBalancers {
		out, err := c.elb.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: l.TargetGroupArn})
		if groupIsGone(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("asking for the health of targets: %w", explained(err))
		}
		for _, d := range out.TargetHealthDescriptions {
			if d.Target == nil || d.TargetHealth == nil {
				continue
			}
			all = append(all, target{
				group: aws.ToString(l.TargetGroupArn), address: aws.ToString(d.Target.Id), port: aws.ToInt32(d.Target.Port),
				state: d.TargetHealth.State, reason: string(d.TargetHealth.Reason), description: aws.ToString(d.TargetHealth.Description),
			})
		}
	}
	return all, nil
}

// words say how a target is, with what the load balancer saw.
func (t target) words() string {
	if t.state == elbtypes.TargetHealthStateEnumUnhealthy && t.description != "" {
		return string(t.state) + " (" + t.description + ")"
	}
	return string(t.state)
}
