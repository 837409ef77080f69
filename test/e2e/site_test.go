package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// site is a service of probe tasks behind a load balancer, as the ECS guide makes one.
type site struct {
	b       *berth
	name    string // of the service
	family  string
	network *types.NetworkConfiguration // of the tasks

	balancer, group, listener string // ARNs
	url                       string
}

// ports of the probe's HTTP server in sites.
const sitePort = 8080

// answering is the probe's server as a container that a load balancer can reach.
func answering(version string) types.ContainerDefinition {
	return with(container("app", "answer", fmt.Sprint(sitePort), "0"), func(c *types.ContainerDefinition) {
		c.PortMappings = []types.PortMapping{{ContainerPort: aws.Int32(sitePort), Protocol: types.TransportProtocolTcp}}
		c.Environment = []types.KeyValuePair{{Name: aws.String("VERSION"), Value: &version}}
	})
}

// balance makes a load balancer with a target group and a listener for it, and the security groups that lead from the
// world to the load balancer and from there to tasks. What is made ends with the test.
func (b *berth) balance(t *testing.T) *site {
	t.Helper()
	ctx, s := t.Context(), &site{b: b, name: "site-" + random()}
	var err error
	if s.network, err = b.network(ctx); err != nil {
		t.Fatal(err)
	}
	vpcs := must(b.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: []ec2types.Filter{{Name: aws.String("is-default"), Values: []string{"true"}}}}))(t)
	vpc := vpcs.Vpcs[0].VpcId
	outer, inner := b.securityGroup(t, vpc, "lb"), b.securityGroup(t, vpc, "tasks")
	b.admit(t, outer, ec2types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(80), ToPort: aws.Int32(80), IpRanges: []ec2types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}})
	b.admit(t, inner, ec2types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(sitePort), ToPort: aws.Int32(sitePort), UserIdGroupPairs: []ec2types.UserIdGroupPair{{GroupId: &outer}}})
	s.network.AwsvpcConfiguration.SecurityGroups = []string{inner}

	made := must(b.elb.CreateLoadBalancer(ctx, &elasticloadbalancingv2.CreateLoadBalancerInput{
		Name: &s.name, Subnets: s.network.AwsvpcConfiguration.Subnets, SecurityGroups: []string{outer},
	}))(t).LoadBalancers[0]
	s.balancer = *made.LoadBalancerArn
	t.Cleanup(func() {
		b.elb.DeleteLoadBalancer(context.WithoutCancel(ctx), &elasticloadbalancingv2.DeleteLoadBalancerInput{LoadBalancerArn: &s.balancer}) //nolint:errcheck,gosec // purge is what cleans up
	})
	s.group = *must(b.elb.CreateTargetGroup(ctx, &elasticloadbalancingv2.CreateTargetGroupInput{
		Name: &s.name, Protocol: elbtypes.ProtocolEnumHttp, Port: aws.Int32(sitePort), VpcId: vpc, TargetType: elbtypes.TargetTypeEnumIp,
		HealthCheckIntervalSeconds: aws.Int32(5), HealthCheckTimeoutSeconds: aws.Int32(2), HealthyThresholdCount: aws.Int32(2), UnhealthyThresholdCount: aws.Int32(2),
	}))(t).TargetGroups[0].TargetGroupArn
	must(b.elb.ModifyTargetGroupAttributes(ctx, &elasticloadbalancingv2.ModifyTargetGroupAttributesInput{
		TargetGroupArn: &s.group, Attributes: []elbtypes.TargetGroupAttribute{{Key: aws.String("deregistration_delay.timeout_seconds"), Value: aws.String("2")}},
	}))(t)
	s.listener = *must(b.elb.CreateListener(ctx, &elasticloadbalancingv2.CreateListenerInput{
		LoadBalancerArn: &s.balancer, Protocol: elbtypes.ProtocolEnumHttp, Port: aws.Int32(80),
		DefaultActions: []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, TargetGroupArn: &s.group}},
	}))(t).Listeners[0].ListenerArn

	if err := elasticloadbalancingv2.NewLoadBalancerAvailableWaiter(b.elb, func(o *elasticloadbalancingv2.LoadBalancerAvailableWaiterOptions) {
		o.MinDelay, o.MaxDelay = pause, pause
	}).Wait(ctx, &elasticloadbalancingv2.DescribeLoadBalancersInput{LoadBalancerArns: []string{s.balancer}}, patience); err != nil {
		t.Fatal(err)
	}
	for _, zone := range made.AvailabilityZones {
		for _, a := range zone.LoadBalancerAddresses {
			s.url = "http://" + aws.ToString(a.IpAddress)
		}
	}
	if s.url == "" {
		t.Fatalf("the load balancer has no address: %+v", made.AvailabilityZones)
	}
	return s
}

// pause is how long the SDK's waiters wait between two looks.
const pause = 100 * time.Millisecond

// must is for calls that a test does not expect to fail.
func must[T any](out T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func (b *berth) securityGroup(t *testing.T, vpc *string, name string) string {
	t.Helper()
	return *must(b.ec2.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{
		GroupName: aws.String(name + "-" + random()), Description: aws.String("of a test"), VpcId: vpc,
	}))(t).GroupId
}

func (b *berth) admit(t *testing.T, group string, what ...ec2types.IpPermission) {
	t.Helper()
	must(b.ec2.AuthorizeSecurityGroupIngress(t.Context(), &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &group, IpPermissions: what}))(t)
}

// define registers a revision of the site's task definition.
func (s *site) define(t *testing.T, containers ...types.ContainerDefinition) string {
	t.Helper()
	def := fargate(containers...)
	if s.family == "" {
		s.family = *def.Family
	}
	def.Family = &s.family
	return *must(s.b.ecs.RegisterTaskDefinition(t.Context(), def))(t).TaskDefinition.TaskDefinitionArn
}

// create makes the service, which is deleted with its tasks when the test ends.
func (s *site) create(t *testing.T, definition string, count int32, change func(*ecs.CreateServiceInput)) {
	t.Helper()
	in := &ecs.CreateServiceInput{
		ServiceName: &s.name, TaskDefinition: &definition, DesiredCount: &count, LaunchType: types.LaunchTypeFargate, NetworkConfiguration: s.network,
	}
	if s.group != "" {
		in.LoadBalancers = []types.LoadBalancer{{TargetGroupArn: &s.group, ContainerName: aws.String("app"), ContainerPort: aws.Int32(sitePort)}}
	}
	if change != nil {
		change(in)
	}
	must(s.b.ecs.CreateService(t.Context(), in))(t)
	t.Cleanup(func() {
		if t.Failed() {
			s.tell(t)
		}
		s.b.ecs.DeleteService(context.WithoutCancel(t.Context()), &ecs.DeleteServiceInput{Service: &s.name, Force: aws.Bool(true)}) //nolint:errcheck,gosec // purge is what cleans up
	})
}

func (s *site) update(t *testing.T, in *ecs.UpdateServiceInput) types.Service {
	t.Helper()
	in.Service = &s.name
	return *must(s.b.ecs.UpdateService(t.Context(), in))(t).Service
}

// stable waits as `aws ecs wait services-stable` does.
func (s *site) stable(t *testing.T) types.Service {
	t.Helper()
	err := ecs.NewServicesStableWaiter(s.b.ecs, func(o *ecs.ServicesStableWaiterOptions) { o.MinDelay, o.MaxDelay = pause, pause }).
		Wait(t.Context(), &ecs.DescribeServicesInput{Services: []string{s.name}}, patience)
	if err != nil {
		t.Fatalf("%s is not stable: %v", s.name, err)
	}
	return s.describe(t)
}

// completed waits until the newest deployment is over and the only one.
func (s *site) completed(t *testing.T) types.Service {
	t.Helper()
	return s.await(t, "one completed deployment", func(svc types.Service) bool {
		return len(svc.Deployments) == 1 && svc.Deployments[0].RolloutState == types.DeploymentRolloutStateCompleted
	})
}

func (s *site) await(t *testing.T, what string, holds func(types.Service) bool) types.Service {
	t.Helper()
	var found types.Service
	eventually(t, what, func() error {
		out, err := s.b.ecs.DescribeServices(t.Context(), &ecs.DescribeServicesInput{Services: []string{s.name}})
		if err != nil {
			return err
		}
		if found = out.Services[0]; !holds(found) {
			return fmt.Errorf("%s: %s", what, summary(found))
		}
		return nil
	})
	return found
}

func (s *site) describe(t *testing.T) types.Service {
	t.Helper()
	return must(s.b.ecs.DescribeServices(t.Context(), &ecs.DescribeServicesInput{Services: []string{s.name}}))(t).Services[0]
}

func summary(svc types.Service) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s desired %d running %d pending %d", *svc.ServiceName, *svc.Status, svc.DesiredCount, svc.RunningCount, svc.PendingCount)
	for _, d := range svc.Deployments {
		fmt.Fprintf(&b, "\n  %s %s %s %s: running %d pending %d failed %d (%s)", *d.Id, *d.Status, d.RolloutState, last(*d.TaskDefinition), d.RunningCount, d.PendingCount, d.FailedTasks, aws.ToString(d.RolloutStateReason))
	}
	for _, e := range svc.Events[:min(8, len(svc.Events))] {
		fmt.Fprintf(&b, "\n  %s %s", e.CreatedAt.Format("05.000"), *e.Message)
	}
	return b.String()
}

func last(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// tell logs what the service says of itself.
func (s *site) tell(t *testing.T) {
	t.Helper()
	out, err := s.b.ecs.DescribeServices(context.WithoutCancel(t.Context()), &ecs.DescribeServicesInput{Services: []string{s.name}})
	if err != nil || len(out.Services) != 1 {
		t.Logf("service %s: %v", s.name, err)
		return
	}
	t.Log(summary(out.Services[0]))
	if s.group != "" {
		health, err := s.b.elb.DescribeTargetHealth(context.WithoutCancel(t.Context()), &elasticloadbalancingv2.DescribeTargetHealthInput{TargetGroupArn: &s.group})
		if err == nil {
			for _, d := range health.TargetHealthDescriptions {
				t.Logf("target %s:%d %s %s %s", *d.Target.Id, *d.Target.Port, d.TargetHealth.State, d.TargetHealth.Reason, aws.ToString(d.TargetHealth.Description))
			}
		}
	}
}

// tasks are the ARNs of the service's tasks that are to run.
func (s *site) tasks(t *testing.T) []string {
	t.Helper()
	arns := must(s.b.ecs.ListTasks(t.Context(), &ecs.ListTasksInput{ServiceName: &s.name}))(t).TaskArns
	slices.Sort(arns)
	return arns
}

// events are the service's messages, oldest first.
func (s *site) events(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, e := range s.describe(t).Events {
		out = append(out, *e.Message)
	}
	slices.Reverse(out)
	return out
}

// load is a steady stream of requests. None of them may fail.
type load struct {
	done     chan struct{}
	wg       sync.WaitGroup
	answered atomic.Int64
	mu       sync.Mutex
	failures []string
	versions map[string]int
}

// rush sends requests over kept-alive and over new connections until settle is called.
func (s *site) rush(t *testing.T) *load {
	t.Helper()
	l := &load{done: make(chan struct{}), versions: map[string]int{}}
	for n := range 6 {
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: n%2 == 1, MaxIdleConnsPerHost: 1}}
		l.wg.Go(func() {
			defer client.CloseIdleConnections()
			for {
				select {
				case <-l.done:
					return
				case <-time.After(5 * time.Millisecond): // steady, not as much as it can
				}
				version, err := fetchVersion(client, s.url)
				l.mu.Lock()
				if err != nil {
					l.failures = append(l.failures, fmt.Sprintf("%s %v", time.Now().Format("05.000"), err))
				} else {
					l.versions[version]++
					l.answered.Add(1)
				}
				l.mu.Unlock()
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

func (l *load) stop() {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	l.wg.Wait()
}

// settle ends the load and fails the test if a request did.
func (l *load) settle(t *testing.T) {
	t.Helper()
	l.stop()
	t.Logf("%d requests, by version: %v", l.answered.Load(), l.versions)
	if len(l.failures) > 0 {
		t.Errorf("%d requests failed: %s", len(l.failures), strings.Join(l.failures[:min(10, len(l.failures))], "\n"))
	}
	if l.answered.Load() == 0 {
		t.Error("no request was answered")
	}
}

// heard waits until answers have come, so that the load is under way.
func (l *load) heard(t *testing.T, more int64) {
	t.Helper()
	target := l.answered.Load() + more
	eventually(t, "answers", func() error {
		if l.answered.Load() < target {
			return errors.New("no answers yet")
		}
		return nil
	})
}

func fetchVersion(client *http.Client, url string) (string, error) {
	reply, err := client.Get(url + "/env?name=VERSION") //nolint:noctx // the client has a timeout
	if err != nil {
		return "", err
	}
	defer reply.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(reply.Body)
	if err == nil && reply.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", reply.Status, body)
	}
	return string(body), err
}
