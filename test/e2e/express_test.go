package e2e_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// One call makes a service with everything around it, whose endpoint answers over HTTPS; another changes its image; a third
// takes all of it away.
func TestExpressServiceFromOneCall(t *testing.T) {
	t.Parallel()
	b := start(t)
	ctx := t.Context()
	before := b.surroundings(t)
	repository := b.repository(t, "")
	for _, v := range []string{"one", "two"} {
		b.push(t, repository, v, probeVersion(v))
	}
	_, infrastructure := b.newRole(t, strings.ReplaceAll(taskTrust, "ecs-tasks", "ecs"), allow("*", "*"))
	image := func(version string) *types.ExpressGatewayContainer {
		return &types.ExpressGatewayContainer{
			Image: aws.String(ecrHost + "/" + repository + ":" + version), Command: []string{"answer", "3000", "0"}, ContainerPort: aws.Int32(3000),
		}
	}
	made := must(b.ecs.CreateExpressGatewayService(ctx, &ecs.CreateExpressGatewayServiceInput{
		ServiceName: aws.String("web"), HealthCheckPath: aws.String("/"), Cpu: aws.String("256"), Memory: aws.String("512"),
		ExecutionRoleArn: aws.String("arn:aws:iam::123456789012:role/ecsTaskExecutionRole"), InfrastructureRoleArn: &infrastructure,
		PrimaryContainer: image("one"), ScalingTarget: &types.ExpressGatewayScalingTarget{MinTaskCount: aws.Int32(1), MaxTaskCount: aws.Int32(1)},
	}))(t).Service
	endpoint := *made.ActiveConfigurations[0].IngressPaths[0].Endpoint
	if !regexp.MustCompile(`^https://we-[0-9a-f]{32}\.ecs\.us-east-1\.on\.aws$`).MatchString(endpoint) {
		t.Fatalf("the endpoint is %s", endpoint)
	}
	says := func(version string) {
		t.Helper()
		eventually(t, "an answer of version "+version, func() error {
			got, err := b.viaBalancer(ctx, endpoint+"/env?name=VERSION")
			if err == nil && got != version {
				err = fmt.Errorf("it says %q", got)
			}
			return err
		})
	}
	says("one")
	// Its target groups drain as long as any do, for five minutes; the test does not.
	for _, g := range must(b.elb.DescribeTargetGroups(ctx, &elasticloadbalancingv2.DescribeTargetGroupsInput{}))(t).TargetGroups {
		must(b.elb.ModifyTargetGroupAttributes(ctx, &elasticloadbalancingv2.ModifyTargetGroupAttributesInput{
			TargetGroupArn: g.TargetGroupArn, Attributes: []elbtypes.TargetGroupAttribute{{Key: aws.String("deregistration_delay.timeout_seconds"), Value: aws.String("1")}},
		}))(t)
	}
	must(b.ecs.UpdateExpressGatewayService(ctx, &ecs.UpdateExpressGatewayServiceInput{ServiceArn: made.ServiceArn, PrimaryContainer: image("two")}))(t)
	says("two")
	must(b.ecs.DeleteExpressGatewayService(ctx, &ecs.DeleteExpressGatewayServiceInput{ServiceArn: made.ServiceArn}))(t)
	eventually(t, "nothing to be left", func() error {
		got, err := b.ecs.DescribeExpressGatewayService(ctx, &ecs.DescribeExpressGatewayServiceInput{ServiceArn: made.ServiceArn})
		if err != nil {
			return err
		}
		if got.Service.Status.StatusCode != types.ExpressGatewayServiceStatusCodeInactive {
			return fmt.Errorf("the service is %s", got.Service.Status.StatusCode)
		}
		if after := b.surroundings(t); after != before {
			return fmt.Errorf("there are %s, and were %s", after, before)
		}
		return nil
	})
	b.nothingRuns(t)
}

// surroundings counts what services have around them.
func (b *berth) surroundings(t *testing.T) string {
	t.Helper()
	ctx := t.Context()
	return fmt.Sprint(
		len(must(b.elb.DescribeLoadBalancers(ctx, &elasticloadbalancingv2.DescribeLoadBalancersInput{}))(t).LoadBalancers), " load balancers, ",
		len(must(b.elb.DescribeTargetGroups(ctx, &elasticloadbalancingv2.DescribeTargetGroupsInput{}))(t).TargetGroups), " target groups, ",
		len(must(b.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{}))(t).SecurityGroups), " security groups, ",
		len(must(b.ecs.ListTasks(ctx, &ecs.ListTasksInput{}))(t).TaskArns), " tasks",
	)
}

// viaBalancer gets a URL whose name leads to the only load balancer. The certificate is of Berth's own authority, for the name.
func (b *berth) viaBalancer(ctx context.Context, url string) (string, error) {
	out, err := b.elb.DescribeLoadBalancers(ctx, &elasticloadbalancingv2.DescribeLoadBalancersInput{})
	if err != nil {
		return "", err
	}
	if len(out.LoadBalancers) != 1 || out.LoadBalancers[0].State.Code != elbtypes.LoadBalancerStateEnumActive {
		return "", errors.New("there is no load balancer yet")
	}
	address := ""
	for _, zone := range out.LoadBalancers[0].AvailabilityZones {
		for _, a := range zone.LoadBalancerAddresses {
			address = aws.ToString(a.IpAddress)
		}
	}
	served := ""
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(address, "443"))
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(state tls.ConnectionState) error { //nolint:gosec // the name is verified
			served = state.ServerName
			return state.PeerCertificates[0].VerifyHostname(state.ServerName)
		}},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	reply, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer reply.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(reply.Body)
	if err == nil && (reply.StatusCode != http.StatusOK || served != request.URL.Hostname()) {
		err = fmt.Errorf("%s of %s: %s", reply.Status, served, body)
	}
	return string(body), err
}
