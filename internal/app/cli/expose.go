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

// exposure is what --expose asks for.
type exposure struct {
	port          int32 // of the listener
	container     string
	containerPort int32 // 0: the only one that the task definition has
}

// parseExposure reads http[:PORT][=CONTAINER:PORT].
func parseExposure(s string) (*exposure, error) {
	if s == "" {
		return nil, nil //nolint:nilnil // nothing was asked for
	}
	wrong := func() (*exposure, error) {
		return nil, misuse("--expose %q is not http[:PORT][=CONTAINER:PORT], such as http, http:8080 or http:80=app:3000", s)
	}
	front, back, mapped := strings.Cut(s, "=")
	protocol, listen, ported := strings.Cut(front, ":")
	if protocol != "http" {
		return wrong()
	}
	x := &exposure{port: 80}
	var ok bool
	if ported {
		if x.port, ok = portNumber(listen); !ok {
			return wrong()
		}
	}
	if mapped {
		container, port, named := strings.Cut(back, ":")
		if x.containerPort, ok = portNumber(port); !ok || !named || container == "" {
			return wrong()
		}
		x.container = container
	}
	return x, nil
}

func portNumber(s string) (int32, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return int32(n), err == nil && n > 0 //nolint:gosec // 16 bits
}

// resolve finds the container port that is meant: the one that the flag names,
// else the only TCP port of the task definition.
func (x *exposure) resolve(def *types.TaskDefinition) error {
	var offered []exposure
	var words []string
	for _, c := range def.ContainerDefinitions {
		for _, m := range c.PortMappings {
			if m.Protocol != types.TransportProtocolUdp && m.ContainerPort != nil {
				one := exposure{x.port, aws.ToString(c.Name), *m.ContainerPort}
				offered, words = append(offered, one), append(words, fmt.Sprintf("%s:%d", one.container, one.containerPort))
			}
		}
	}
	if x.container == "" && len(offered) == 1 {
		*x = offered[0]
	}
	switch {
	case slices.Contains(offered, *x):
		return nil
	case len(offered) == 0:
		return misuse("--expose: %s has no TCP port in its portMappings", definitionName(def.TaskDefinitionArn))
	case x.container == "":
		return misuse("--expose does not say which port: write --expose http:%d=%s; there are %s", x.port, words[0], strings.Join(words, ", "))
	}
	return misuse("--expose: %s has no TCP port %s:%d; there are %s", definitionName(def.TaskDefinitionArn), x.container, x.containerPort, strings.Join(words, ", "))
}

// balancerNameLimit is how long a load balancer's or target group's name may be.
const balancerNameLimit = 32

// balancerName is the service's name as load balancers and target groups may
// be named.
func balancerName(service string) string {
	name := strings.ReplaceAll(service, "_", "-")
	return strings.Trim(name[:min(len(name), balancerNameLimit)], "-")
}

// expose finds or makes the load balancer of the service, and says which
// target group tasks shall be in. Tasks get a security group that lets the
// load balancer in, unless they have groups.
func (d *deployer) expose(ctx context.Context, at *place, network *types.AwsVpcConfiguration) (*types.LoadBalancer, error) {
	x := d.order.exposed
	if err := x.resolve(d.def); err != nil {
		return nil, err
	}
	name := d.order.service
	public, err := d.ensureGroup(ctx, at.vpc, name+"-lb", "Load balancer of service "+name, x.port, "0.0.0.0/0", "")
	if err != nil {
		return nil, err
	}
	if len(network.SecurityGroups) == 0 {
		cidr, err := d.clients.cidr(ctx, at.vpc)
		if err != nil {
			return nil, err
		}
		inner, err := d.ensureGroup(ctx, at.vpc, name+"-tasks", "Tasks of service "+name, x.containerPort, cidr, "")
		if err != nil {
			return nil, err
		}
		if _, err = d.ensureGroup(ctx, at.vpc, name+"-tasks", "", x.containerPort, "", public); err != nil {
			return nil, err
		}
		network.SecurityGroups = []string{inner}
		d.step("Groups", "%s-lb %s, %s-tasks %s", name, public, name, inner)
	}
	balancer, err := d.ensureBalancer(ctx, at, public)
	if err != nil {
		return nil, err
	}
	group, err := d.ensureTargetGroup(ctx, at)
	if err != nil {
		return nil, err
	}
	if err := d.ensureListener(ctx, balancer, group); err != nil {
		return nil, err
	}
	return &types.LoadBalancer{TargetGroupArn: &group, ContainerName: &x.container, ContainerPort: &x.containerPort}, nil
}

func (d *deployer) ensureBalancer(ctx context.Context, at *place, group string) (string, error) {
	name := balancerName(d.order.service)
	found, err := d.clients.elb.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{Names: []string{name}})
	if err == nil && len(found.LoadBalancers) > 0 {
		return aws.ToString(found.LoadBalancers[0].LoadBalancerArn), nil
	}
	if _, none := errors.AsType[*elbtypes.LoadBalancerNotFoundException](err); err != nil && !none {
		return "", fmt.Errorf("looking for load balancer %s: %w", name, explained(err))
	}
	made, err := d.clients.elb.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{
		Name: &name, Subnets: at.subnets, SecurityGroups: []string{group},
		Scheme: elbtypes.LoadBalancerSchemeEnumInternetFacing, Type: elbtypes.LoadBalancerTypeEnumApplication,
	})
	if err != nil {
		return "", fmt.Errorf("creating load balancer %s: %w", name, explained(err))
	}
	b := &made.LoadBalancers[0]
	d.step("Balancer", "%s", strings.TrimSpace(name+"  "+balancerAddress(b)))
	return aws.ToString(b.LoadBalancerArn), nil
}

func (d *deployer) ensureTargetGroup(ctx context.Context, at *place) (string, error) {
	name := balancerName(d.order.service)
	arn := ""
	found, err := d.clients.elb.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{Names: []string{name}})
	if _, none := errors.AsType[*elbtypes.TargetGroupNotFoundException](err); err != nil && !none {
		return "", fmt.Errorf("looking for target group %s: %w", name, explained(err))
	}
	if err == nil && len(found.TargetGroups) > 0 {
		arn = aws.ToString(found.TargetGroups[0].TargetGroupArn)
		err = d.modifyTargetGroup(ctx, arn)
	} else {
		arn, err = d.createTargetGroup(ctx, name, at)
	}
	if err != nil {
		return "", err
	}
	if d.flags.changed["deregistration-delay"] {
		_, err := d.clients.elb.ModifyTargetGroupAttributes(ctx, &elb.ModifyTargetGroupAttributesInput{
			TargetGroupArn: &arn,
			Attributes:     []elbtypes.TargetGroupAttribute{{Key: aws.String(deregistrationDelay), Value: aws.String(strconv.Itoa(int(d.flags.drain.Seconds())))}},
		})
		if err != nil {
			return "", fmt.Errorf("setting the deregistration delay of %s: %w", name, explained(err))
		}
	}
	return arn, nil
}

func (d *deployer) createTargetGroup(ctx context.Context, name string, at *place) (string, error) {
	in := &elb.CreateTargetGroupInput{
		Name: &name, Protocol: elbtypes.ProtocolEnumHttp, Port: &d.order.exposed.containerPort, VpcId: &at.vpc,
		TargetType: elbtypes.TargetTypeEnumIp, HealthCheckPath: &d.flags.healthPath,
	}
	if d.flags.changed["health-interval"] {
		in.HealthCheckIntervalSeconds, in.HealthCheckTimeoutSeconds, in.HealthyThresholdCount = d.healthCheck()
	}
	if d.flags.matcher != "" {
		in.Matcher = &elbtypes.Matcher{HttpCode: &d.flags.matcher}
	}
	made, err := d.clients.elb.CreateTargetGroup(ctx, in)
	if err != nil {
		return "", fmt.Errorf("creating target group %s: %w", name, explained(err))
	}
	text := fmt.Sprintf("%s  health check GET %s every %s", name, d.flags.healthPath, d.flags.healthInterval)
	if !d.flags.changed["deregistration-delay"] {
		text += fmt.Sprintf("; deregistration delay %s, as on AWS (shorter with --deregistration-delay)", d.flags.drain)
	}
	d.step("Targets", "%s", text)
	return aws.ToString(made.TargetGroups[0].TargetGroupArn), nil
}

// modifyTargetGroup changes only what flags say.
func (d *deployer) modifyTargetGroup(ctx context.Context, arn string) error {
	in := &elb.ModifyTargetGroupInput{TargetGroupArn: &arn}
	if d.flags.changed["health-path"] {
		in.HealthCheckPath = &d.flags.healthPath
	}
	if d.flags.changed["health-interval"] {
		in.HealthCheckIntervalSeconds, in.HealthCheckTimeoutSeconds, in.HealthyThresholdCount = d.healthCheck()
	}
	if in.HealthCheckPath == nil && in.HealthCheckIntervalSeconds == nil {
		return nil
	}
	if _, err := d.clients.elb.ModifyTargetGroup(ctx, in); err != nil {
		return fmt.Errorf("changing the health check of the target group: %w", explained(err))
	}
	return nil
}

// healthCheck is the interval that was asked for, a timeout that fits into it,
// and the fewest passes that AWS allows: who asks for a short interval wants
// to know soon.
func (d *deployer) healthCheck() (interval, timeout, passes *int32) {
	seconds := int32(d.flags.healthInterval / time.Second)
	return &seconds, aws.Int32(min(5, max(2, seconds-1))), aws.Int32(2)
}

// ensureListener has the load balancer's port lead to the target group.
func (d *deployer) ensureListener(ctx context.Context, balancer, group string) error {
	port := d.order.exposed.port
	listeners, err := d.clients.listeners(ctx, balancer)
	if err != nil {
		return err
	}
	forward := []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, TargetGroupArn: &group}}
	for _, l := range listeners {
		if aws.ToInt32(l.Port) != port {
			continue
		}
		if forwardsTo(l, group) {
			return nil
		}
		_, err := d.clients.elb.ModifyListener(ctx, &elb.ModifyListenerInput{ListenerArn: l.ListenerArn, DefaultActions: forward})
		if err != nil {
			return fmt.Errorf("changing the listener of port %d: %w", port, explained(err))
		}
		d.step("Listener", "HTTP:%d leads here now", port)
		return nil
	}
	_, err = d.clients.elb.CreateListener(ctx, &elb.CreateListenerInput{
		LoadBalancerArn: &balancer, Protocol: elbtypes.ProtocolEnumHttp, Port: &port, DefaultActions: forward,
	})
	if err != nil {
		return fmt.Errorf("creating the listener of port %d: %w", port, explained(err))
	}
	d.step("Listener", "HTTP:%d → %s:%d", port, d.order.exposed.container, d.order.exposed.containerPort)
	return nil
}
