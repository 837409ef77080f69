package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"berth.dev/berth/internal/app/compose"
)

// published is the load balancer of a service's published ports: one for HTTP
// when all of them speak it, else one for TCP.
type published struct {
	d        *deployer
	s        *compose.Service
	kind     elbtypes.LoadBalancerTypeEnum
	protocol elbtypes.ProtocolEnum
}

func newPublished(d *deployer, s *compose.Service) *published {
	x := &published{d, s, elbtypes.LoadBalancerTypeEnumApplication, elbtypes.ProtocolEnumHttp}
	if slices.ContainsFunc(s.Ports, func(p compose.Port) bool { return !p.HTTP }) {
		x.kind, x.protocol = elbtypes.LoadBalancerTypeEnumNetwork, elbtypes.ProtocolEnumTcp
	}
	return x
}

// shortName is a name for load balancers and target groups. One that is too
// long keeps what tells it from others that begin alike.
func shortName(name, suffix string) string {
	clean := strings.Trim(strings.ReplaceAll(name, "_", "-"), "-")
	if len(clean)+len(suffix) <= balancerNameLimit {
		return clean + suffix
	}
	sum := sha256.Sum256([]byte(name))
	tail := "-" + hex.EncodeToString(sum[:4]) + suffix
	return strings.TrimRight(clean[:balancerNameLimit-len(tail)], "-") + tail
}

const tcpSuffix = "-tcp"

// balancerNames are those that a service of a project may have: one of HTTP
// and one of TCP.
func balancerNames(full string) []string {
	return []string{shortName(full, ""), shortName(full, tcpSuffix)}
}

func (x *published) suffix() string {
	if x.protocol == elbtypes.ProtocolEnumTcp {
		return tcpSuffix
	}
	return ""
}

// ensure finds or makes the load balancer, and returns what the service is to
// be told of it.
func (x *published) ensure(ctx context.Context, at *place) ([]types.LoadBalancer, error) {
	if len(x.s.Ports) == 0 {
		return nil, nil
	}
	balancer, err := x.balancer(ctx, at)
	if err != nil {
		return nil, err
	}
	var all []types.LoadBalancer
	groups := map[int32]string{}
	for _, port := range x.s.Ports {
		group, made := groups[port.Target]
		if !made {
			if group, err = x.group(ctx, at, port.Target); err != nil {
				return nil, err
			}
			groups[port.Target] = group
			all = append(all, types.LoadBalancer{TargetGroupArn: &group, ContainerName: &x.s.Name, ContainerPort: aws.Int32(port.Target)})
		}
		if err := x.listen(ctx, at, balancer, group, port); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (x *published) balancer(ctx context.Context, at *place) (string, error) {
	name := shortName(x.s.Full(), x.suffix())
	found, err := x.d.clients.balancerByName(ctx, name)
	if err != nil {
		return "", err
	}
	if found != nil {
		return aws.ToString(found.LoadBalancerArn), nil
	}
	in := &elb.CreateLoadBalancerInput{Name: &name, Subnets: at.subnets, Scheme: elbtypes.LoadBalancerSchemeEnumInternetFacing, Type: x.kind}
	if in.SecurityGroups, err = x.open(ctx, at, x.s.Ports[0].Published); err != nil {
		return "", err
	}
	made, err := x.d.clients.elb.CreateLoadBalancer(ctx, in)
	if err != nil {
		return "", fmt.Errorf("creating load balancer %s: %w", name, explained(err))
	}
	b := &made.LoadBalancers[0]
	x.d.step("Balancer", "%s", strings.TrimSpace(name+"  "+balancerAddress(b)))
	return aws.ToString(b.LoadBalancerArn), nil
}

// open lets everybody in to a port of the load balancer, and returns its
// security groups. One of TCP has none and is open.
func (x *published) open(ctx context.Context, at *place, port int32) ([]string, error) {
	if x.kind != elbtypes.LoadBalancerTypeEnumApplication {
		return nil, nil
	}
	group, err := x.d.ensureGroup(ctx, at.vpc, x.s.Full()+"-lb", "Load balancer of service "+x.s.Full(), port, "0.0.0.0/0", "")
	return []string{group}, err
}

// balancerByName finds a load balancer; nil when there is none.
func (c *clients) balancerByName(ctx context.Context, name string) (*elbtypes.LoadBalancer, error) {
	found, err := c.elb.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{Names: []string{name}})
	if _, none := errors.AsType[*elbtypes.LoadBalancerNotFoundException](err); none {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("looking for load balancer %s: %w", name, explained(err))
	}
	if len(found.LoadBalancers) == 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	return &found.LoadBalancers[0], nil
}

// group finds or makes the target group of a port of the tasks. Its health
// checks are quick, and answers below 500 are healthy, as with berth run.
func (x *published) group(ctx context.Context, at *place, port int32) (string, error) {
	name := shortName(x.s.Full(), fmt.Sprintf("-%d%s", port, x.suffix()))
	found, err := x.d.clients.elb.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{Names: []string{name}})
	if err == nil && len(found.TargetGroups) > 0 {
		return aws.ToString(found.TargetGroups[0].TargetGroupArn), nil
	}
	if err != nil && !groupIsGone(err) {
		return "", fmt.Errorf("looking for target group %s: %w", name, explained(err))
	}
	in := &elb.CreateTargetGroupInput{
		Name: &name, Protocol: x.protocol, Port: &port, VpcId: &at.vpc, TargetType: elbtypes.TargetTypeEnumIp,
		HealthCheckIntervalSeconds: aws.Int32(int32(soon.Seconds())), HealthCheckTimeoutSeconds: aws.Int32(int32(soon.Seconds()) - 1), HealthyThresholdCount: aws.Int32(2),
	}
	if x.protocol == elbtypes.ProtocolEnumHttp {
		in.HealthCheckPath, in.Matcher = aws.String("/"), &elbtypes.Matcher{HttpCode: aws.String(answersAtAll)}
	}
	made, err := x.d.clients.elb.CreateTargetGroup(ctx, in)
	if err != nil {
		return "", fmt.Errorf("creating target group %s: %w", name, explained(err))
	}
	arn := aws.ToString(made.TargetGroups[0].TargetGroupArn)
	_, err = x.d.clients.elb.ModifyTargetGroupAttributes(ctx, &elb.ModifyTargetGroupAttributesInput{
		TargetGroupArn: &arn,
		Attributes:     []elbtypes.TargetGroupAttribute{{Key: aws.String(deregistrationDelay), Value: aws.String(fmt.Sprint(soon.Seconds()))}},
	})
	if err != nil {
		return "", fmt.Errorf("setting the deregistration delay of %s: %w", name, explained(err))
	}
	return arn, nil
}

// listen has a port of the load balancer lead to a target group.
func (x *published) listen(ctx context.Context, at *place, balancer, group string, port compose.Port) error {
	listeners, err := x.d.clients.listeners(ctx, balancer)
	if err != nil {
		return err
	}
	forward := []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, TargetGroupArn: &group}}
	for _, l := range listeners {
		if aws.ToInt32(l.Port) != port.Published {
			continue
		}
		if forwardsTo(l, group) {
			return nil
		}
		if _, err := x.d.clients.elb.ModifyListener(ctx, &elb.ModifyListenerInput{ListenerArn: l.ListenerArn, DefaultActions: forward}); err != nil {
			return fmt.Errorf("changing the listener of port %d: %w", port.Published, explained(err))
		}
		return nil
	}
	if _, err := x.open(ctx, at, port.Published); err != nil {
		return err
	}
	_, err = x.d.clients.elb.CreateListener(ctx, &elb.CreateListenerInput{
		LoadBalancerArn: &balancer, Protocol: x.protocol, Port: aws.Int32(port.Published), DefaultActions: forward,
	})
	if err != nil {
		return fmt.Errorf("creating the listener of port %d: %w", port.Published, explained(err))
	}
	x.d.step("Listener", "%s:%d → %s:%d", x.protocol, port.Published, x.s.Name, port.Target)
	return nil
}

// prune removes listeners that are not wanted any more, and load balancers and
// target groups that nothing leads to then.
func (x *published) prune(ctx context.Context) error {
	for _, name := range balancerNames(x.s.Full()) {
		wanted := map[int32]bool{}
		if name == shortName(x.s.Full(), x.suffix()) {
			for _, port := range x.s.Ports {
				wanted[port.Published] = true
			}
		}
		if err := x.d.clients.pruneBalancer(ctx, name, wanted); err != nil {
			return err
		}
	}
	return nil
}

// pruneBalancer keeps the listeners of some ports. Without any the load
// balancer goes.
func (c *clients) pruneBalancer(ctx context.Context, name string, wanted map[int32]bool) error {
	b, err := c.balancerByName(ctx, name)
	if err != nil || b == nil {
		return err
	}
	listeners, err := c.listeners(ctx, aws.ToString(b.LoadBalancerArn))
	if err != nil {
		return err
	}
	var kept, left []string // target groups
	for _, l := range listeners {
		if wanted[aws.ToInt32(l.Port)] {
			kept = append(kept, groupsOf(l)...)
			continue
		}
		left = append(left, groupsOf(l)...)
		if _, err := c.elb.DeleteListener(ctx, &elb.DeleteListenerInput{ListenerArn: l.ListenerArn}); err != nil {
			return fmt.Errorf("removing the listener of port %d: %w", aws.ToInt32(l.Port), explained(err))
		}
	}
	if len(wanted) == 0 {
		if _, err := c.elb.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: b.LoadBalancerArn}); err != nil {
			return fmt.Errorf("removing load balancer %s: %w", name, explained(err))
		}
	}
	slices.Sort(left)
	for _, group := range slices.Compact(left) {
		if slices.Contains(kept, group) {
			continue
		}
		if _, err := c.elb.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: &group}); err != nil && !groupIsGone(err) {
			return fmt.Errorf("removing target group %s: %w", lastPart(group), explained(err))
		}
	}
	return nil
}

// groupsOf are the target groups that a listener leads to.
func groupsOf(l elbtypes.Listener) []string {
	var all []string
	for _, a := range l.DefaultActions {
		if a.TargetGroupArn != nil {
			all = append(all, *a.TargetGroupArn)
		}
		if a.ForwardConfig != nil {
			for _, t := range a.ForwardConfig.TargetGroups {
				all = append(all, aws.ToString(t.TargetGroupArn))
			}
		}
	}
	return all
}
