package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
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

// runIn runs a task of a definition with security groups of the test's choice.
func (b *berth) runIn(t *testing.T, def *ecs.RegisterTaskDefinitionInput, change func(*ecs.RunTaskInput)) *task {
	t.Helper()
	in := b.request(t, def)
	change(in)
	out := must(b.ecs.RunTask(t.Context(), in))(t)
	if len(out.Tasks) != 1 {
		t.Fatalf("RunTask: failures %+v", out.Failures)
	}
	k := b.taskOf(out.Tasks[0])
	t.Cleanup(func() {
		b.ecs.StopTask(context.WithoutCancel(t.Context()), &ecs.StopTaskInput{Task: &k.arn}) //nolint:errcheck,gosec // purge is what cleans up
	})
	return k
}

// What security groups say is what packets do: references to groups, changes of rules, and connections that outlive them.
func TestSecurityGroupsDecideOverPackets(t *testing.T) {
	t.Parallel()
	b := start(t)
	ctx := t.Context()
	vpc := must(b.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{}))(t).Vpcs[0].VpcId
	clients, servers := b.securityGroup(t, vpc, "clients"), b.securityGroup(t, vpc, "servers")
	everyone := ec2types.IpPermission{IpProtocol: aws.String("-1"), IpRanges: []ec2types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}}
	b.admit(t, clients, everyone) // so that the test reaches the client
	from := ec2types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(8080), ToPort: aws.Int32(8080), UserIdGroupPairs: []ec2types.UserIdGroupPair{{GroupId: &clients}}}

	in := func(group string) func(*ecs.RunTaskInput) {
		return func(in *ecs.RunTaskInput) {
			in.NetworkConfiguration.AwsvpcConfiguration.SecurityGroups = []string{group}
		}
	}
	client := b.runIn(t, fargate(container("client", "answer", "8080", "0")), in(clients))
	server := b.runIn(t, fargate(container("server", "answer", "8080", "0")), in(servers))
	for _, k := range []*task{client, server} {
		k.awaitStatus(t, "RUNNING")
	}
	client.hears(t, 8080, "/")
	fetch := func() error {
		_, err := client.ask(ctx, 8080, "/fetch", "url", fmt.Sprintf("http://%s:8080/", server.address))
		return err
	}
	if fetch() == nil {
		t.Error("a group without rules let a packet in")
	}
	b.admit(t, servers, from)
	eventually(t, "the rule's effect", fetch)

	// The host is not in the group.
	direct, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := server.ask(direct, 8080, "/"); err == nil {
		t.Error("a packet of nobody's group came in")
	}
	must(b.ec2.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: &servers, IpPermissions: []ec2types.IpPermission{from}}))(t)
	eventually(t, "the end of the rule", func() error {
		if fetch() == nil {
			return errors.New("it still answers")
		}
		return nil
	})
}

// A public address leads from the host to its task.
func TestPublicAddressLeadsToTheTask(t *testing.T) {
	t.Parallel()
	k := shared.runIn(t, fargate(container("app", "answer", "8080", "0")), func(in *ecs.RunTaskInput) {
		in.NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp = types.AssignPublicIpEnabled
	})
	k.awaitStatus(t, "RUNNING")
	out := must(shared.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{k.eni}}))(t)
	if a := out.NetworkInterfaces[0].Association; a == nil || aws.ToString(a.PublicIp) == "" {
		t.Fatalf("no public address: %+v", out.NetworkInterfaces[0])
	} else {
		answersAt(t, *a.PublicIp, 8080)
	}
}

// answersAt waits for the probe's page.
func answersAt(t *testing.T, host string, port int32) {
	t.Helper()
	eventually(t, "the page", func() error {
		client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		reply, err := client.Get(fmt.Sprintf("http://%s:%d/", host, port)) //nolint:noctx // the client has a timeout
		if err != nil {
			return err
		}
		defer reply.Body.Close() //nolint:errcheck // nothing of it is needed
		if reply.StatusCode != http.StatusOK {
			return errors.New(reply.Status)
		}
		return nil
	})
}

// modeled is a definition of another network mode.
func modeled(mode types.NetworkMode, port, hostPort int32) *ecs.RegisterTaskDefinitionInput {
	def := onInstance(with(container("app", "answer", fmt.Sprint(port), "0"), func(c *types.ContainerDefinition) {
		if mode != types.NetworkModeNone {
			c.PortMappings = []types.PortMapping{{ContainerPort: &port, HostPort: &hostPort}}
		}
	}))
	def.NetworkMode = mode
	return def
}

// In bridge mode a container is reached by a port of the host: any free one, or the one that was asked for, which then
// nobody else gets.
func TestBridgeMode(t *testing.T) {
	t.Parallel()
	k := shared.runIn(t, modeled(types.NetworkModeBridge, 8080, 0), func(in *ecs.RunTaskInput) { in.NetworkConfiguration = nil })
	described := k.awaitStatus(t, "RUNNING")
	if len(described.Containers[0].NetworkBindings) != 1 {
		t.Fatalf("bindings %+v", described.Containers[0].NetworkBindings)
	}
	binding := described.Containers[0].NetworkBindings[0]
	if *binding.ContainerPort != 8080 || *binding.BindIP != "0.0.0.0" || *binding.HostPort < 1024 {
		t.Errorf("binding %+v", binding)
	}
	answersAt(t, "127.0.0.1", *binding.HostPort)

	static := freePort(t)
	def := modeled(types.NetworkModeBridge, 8080, static)
	first := shared.runIn(t, def, func(in *ecs.RunTaskInput) { in.NetworkConfiguration = nil })
	first.awaitStatus(t, "RUNNING")
	answersAt(t, "127.0.0.1", static)
	in := shared.request(t, def)
	in.NetworkConfiguration = nil
	second := must(shared.ecs.RunTask(t.Context(), in))(t)
	if len(second.Tasks) != 0 || len(second.Failures) != 1 || *second.Failures[0].Reason != "RESOURCE:PORTS" {
		t.Errorf("a second task with the port: %+v", second)
	}
}

// In host mode a container listens on the host itself.
func TestHostMode(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	k := shared.runIn(t, modeled(types.NetworkModeHost, port, port), func(in *ecs.RunTaskInput) { in.NetworkConfiguration = nil })
	k.awaitStatus(t, "RUNNING")
	answersAt(t, "127.0.0.1", port)
}

// Without a network a container has nothing but itself.
func TestNoneMode(t *testing.T) {
	t.Parallel()
	def := modeled(types.NetworkModeNone, 8080, 0)
	def.ContainerDefinitions[0].Command = []string{"sleep"}
	k := shared.runIn(t, def, func(in *ecs.RunTaskInput) { in.NetworkConfiguration = nil })
	described := k.awaitStatus(t, "RUNNING")
	if len(described.Attachments) != 0 || len(described.Containers[0].NetworkInterfaces) != 0 {
		t.Errorf("it has %+v and %+v", described.Attachments, described.Containers[0].NetworkInterfaces)
	}
}

// freePort is a port of the host that nobody has, with the next one, and that a task with a mapping may have. It is below
// those that the kernel gives to clients, or somebody's connection could have it a moment later.
func freePort(t *testing.T) int32 {
	t.Helper()
	for range 100 {
		port := 20000 + 2*rand.IntN(6000)
		if free(port) && free(port+1) {
			return int32(port) //nolint:gosec // a port
		}
	}
	t.Fatal("no port of the host is free")
	return 0
}

func free(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	return err == nil && l.Close() == nil
}

// A service in bridge mode is reached through its host's ports: its targets are container instances.
func TestBridgeServiceBehindALoadBalancer(t *testing.T) {
	t.Parallel()
	b := shared
	s := b.balance(t)
	ctx := t.Context()
	vpc := must(b.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: []ec2types.Filter{{Name: aws.String("is-default"), Values: []string{"true"}}}}))(t).Vpcs[0].VpcId
	name := s.name + "-i"
	s.group = *must(b.elb.CreateTargetGroup(ctx, &elasticloadbalancingv2.CreateTargetGroupInput{
		Name: aws.String(name[max(0, len(name)-32):]), Protocol: elbtypes.ProtocolEnumHttp, Port: aws.Int32(sitePort), VpcId: vpc, TargetType: elbtypes.TargetTypeEnumInstance,
		HealthCheckIntervalSeconds: aws.Int32(5), HealthCheckTimeoutSeconds: aws.Int32(2),
	}))(t).TargetGroups[0].TargetGroupArn
	must(b.elb.ModifyListener(ctx, &elasticloadbalancingv2.ModifyListenerInput{
		ListenerArn: &s.listener, DefaultActions: []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, TargetGroupArn: &s.group}},
	}))(t)
	def := modeled(types.NetworkModeBridge, sitePort, 0)
	definition := *must(b.ecs.RegisterTaskDefinition(ctx, def))(t).TaskDefinition.TaskDefinitionArn
	s.create(t, definition, 2, func(in *ecs.CreateServiceInput) {
		in.LaunchType, in.NetworkConfiguration = types.LaunchTypeEc2, nil
	})
	s.completed(t)
	eventually(t, "an answer", func() error {
		client := &http.Client{Timeout: 5 * time.Second}
		_, err := fetchVersion(client, s.url)
		return err
	})
	health := must(b.elb.DescribeTargetHealth(ctx, &elasticloadbalancingv2.DescribeTargetHealthInput{TargetGroupArn: &s.group}))(t).TargetHealthDescriptions
	if len(health) != 2 || *health[0].Target.Id != *health[1].Target.Id || *health[0].Target.Port == *health[1].Target.Port {
		t.Errorf("targets %+v", health)
	}
}

// What answers inside a task for AWS leaves every port to the task: a web server listens on port 80 of all addresses, and
// finds its metadata on port 80 of another.
func TestPort80IsTheTasksOwn(t *testing.T) {
	t.Parallel()
	k := shared.run(t, fargate(container("app", "answer", "80", "0")))
	k.awaitStatus(t, "RUNNING")
	c := inside{k, 80}
	if got := c.ask(t, "/fetch", "url", c.ask(t, "/env", "name", "ECS_CONTAINER_METADATA_URI_V4")); !strings.Contains(got, k.arn) {
		t.Errorf("the metadata are %q", got)
	}
	if got := c.ask(t, "/fetch", "url", "http://127.0.0.1:80/"); !strings.HasPrefix(got, "hello from") {
		t.Errorf("port 80 says %q", got)
	}
}
