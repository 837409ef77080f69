package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/google/go-cmp/cmp"
)

const groupARN = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/my-service/0123456789abcdef"

func definitionARN(revision int) *string {
	return aws.String(fmt.Sprintf("arn:aws:ecs:us-east-1:123456789012:task-definition/my-app:%d", revision))
}

// aService has desired tasks, and a deployment for each revision, the newest
// first, of which only the first is PRIMARY.
func aService(desired int32, revisions ...int) types.Service {
	s := types.Service{
		ServiceName: aws.String("my-service"), ServiceArn: aws.String("arn:aws:ecs:us-east-1:123456789012:service/default/my-service"),
		ClusterArn: aws.String("arn:aws:ecs:us-east-1:123456789012:cluster/default"),
		Status:     aws.String("ACTIVE"), DesiredCount: desired, LaunchType: types.LaunchTypeFargate, CreatedAt: after(0),
		TaskDefinition: definitionARN(revisions[0]),
		DeploymentConfiguration: &types.DeploymentConfiguration{
			MinimumHealthyPercent: aws.Int32(100), MaximumPercent: aws.Int32(200),
			DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: true, Rollback: true},
		},
		NetworkConfiguration: &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{
			Subnets: []string{"subnet-a", "subnet-b"}, SecurityGroups: []string{"sg-my-service-tasks"},
		}},
		LoadBalancers: []types.LoadBalancer{{TargetGroupArn: aws.String(groupARN), ContainerName: aws.String("app"), ContainerPort: aws.Int32(3000)}},
	}
	for i, revision := range revisions {
		d := types.Deployment{
			Id: aws.String(deploymentID(revision)), Status: aws.String("ACTIVE"), RolloutState: types.DeploymentRolloutStateCompleted,
			TaskDefinition: definitionARN(revision), DesiredCount: desired, CreatedAt: after(revision * 1000),
		}
		if i == 0 {
			d.Status = aws.String(primary)
		}
		s.Deployments = append(s.Deployments, d)
	}
	return s
}

func deploymentID(revision int) string { return fmt.Sprintf("ecs-svc/%019d", revision) }

// aTask of a revision; number makes its id and its address.
func aTask(number, revision int, status string) types.Task {
	t := lived(status, started)
	t.TaskArn = aws.String(fmt.Sprintf("arn:aws:ecs:us-east-1:123456789012:task/default/%08x%024d", number, 0))
	t.TaskDefinitionArn, t.StartedBy = definitionARN(revision), aws.String(deploymentID(revision))
	t.Group, t.Cpu, t.Memory = aws.String("service:my-service"), aws.String("256"), aws.String("512")
	t.CreatedAt = after(number)
	t.Attachments[0].Details[0].Value = aws.String(fmt.Sprintf("172.31.0.%d", number))
	return *t
}

func leaving(t types.Task) types.Task {
	t.DesiredStatus, t.StopCode, t.StoppedReason = aws.String("STOPPED"), types.TaskStopCodeServiceSchedulerInitiated, aws.String("Scaling activity initiated by (deployment ecs-svc/0000000000000000002)")
	return t
}

func crashed(t types.Task) types.Task {
	t.LastStatus, t.DesiredStatus = aws.String("STOPPED"), aws.String("STOPPED")
	t.StopCode, t.StoppedReason = types.TaskStopCodeEssentialContainerExited, aws.String("Essential container in task exited")
	t.Containers[0].LastStatus, t.Containers[0].ExitCode = aws.String("STOPPED"), aws.Int32(1)
	t.StoppingAt, t.ExecutionStoppedAt, t.StoppedAt = after(1900), after(1900), after(2000)
	return t
}

func aTarget(number int, state elbtypes.TargetHealthStateEnum) target {
	one := target{group: groupARN, address: fmt.Sprintf("172.31.0.%d", number), port: 3000, state: state}
	if state == elbtypes.TargetHealthStateEnumUnhealthy {
		one.description = "Health checks failed with these codes: [500]"
	}
	return one
}

// aGlimpse of a service, a few seconds after it was created.
func aGlimpse(s types.Service, tasks []types.Task, targets ...target) *glimpse {
	for i := range s.Deployments {
		for j := range tasks {
			if aws.ToString(tasks[j].StartedBy) == aws.ToString(s.Deployments[i].Id) && aws.ToString(tasks[j].LastStatus) == running {
				s.Deployments[i].RunningCount++
				s.RunningCount++
			}
		}
	}
	defs := definitions{}
	for revision := range 4 {
		defs[*definitionARN(revision)] = definition()
	}
	return &glimpse{
		at: *after(5000), service: s, tasks: tasks, targets: targets, defs: defs, draining: map[string]time.Time{}, leaving: map[string]time.Time{},
		groups: map[string]groupSettings{groupARN: {name: "my-service", check: "GET /health", interval: 5 * time.Second, passes: 2, delay: 3 * time.Second}},
	}
}

// midway is a service whose tasks of revision 1 are being replaced by those of
// revision 2: one is healthy, one waits for health checks, one starts; one of
// the old leaves.
func midway() *glimpse {
	s := aService(3, 2, 1)
	s.Deployments[0].RolloutState, s.Deployments[0].RolloutStateReason = types.DeploymentRolloutStateInProgress, aws.String("ECS deployment ecs-svc/0000000000000000002 in progress.")
	s.Events = []types.ServiceEvent{
		{Id: aws.String("b"), CreatedAt: after(4000), Message: aws.String("(service my-service) registered 1 targets in (target-group " + groupARN + ")")},
		{Id: aws.String("a"), CreatedAt: after(3000), Message: aws.String("(service my-service) has started 3 tasks: (task a) (task b) (task c).")},
	}
	starting := aTask(13, 2, "PENDING")
	starting.StartedAt, starting.Attachments = nil, nil
	g := aGlimpse(s, []types.Task{
		aTask(1, 1, "RUNNING"), aTask(2, 1, "RUNNING"), leaving(aTask(3, 1, "DEACTIVATING")),
		aTask(11, 2, "RUNNING"), aTask(12, 2, "RUNNING"), starting,
	}, aTarget(1, "healthy"), aTarget(2, "healthy"), aTarget(3, "draining"), aTarget(11, "healthy"), aTarget(12, "initial"))
	g.draining[taskID(&g.tasks[2])] = *after(4000)
	g.service.PendingCount = 1
	return g
}

func TestServiceTable(t *testing.T) {
	bare := aService(2, 1)
	bare.LoadBalancers, bare.Deployments[0].RolloutState = nil, ""
	golden(t, "services", serviceTable(
		[]types.Service{midway().service, bare},
		[]places{{[]string{"http://127.20.0.1/"}, []string{"my-service.my-apps.local"}}, {}},
		created.Add(90*time.Minute)))
}

func TestServiceInDetail(t *testing.T) {
	var b bytes.Buffer
	midway().print(newPrinter(&b), places{[]string{"http://127.20.0.1/"}, []string{"my-service.my-apps.local"}})
	golden(t, "service", inUTC(b.String()))
}

// inUTC replaces the local time of events, which differs from host to host.
func inUTC(s string) string {
	for _, ms := range []int{3000, 4000} {
		s = strings.ReplaceAll(s, after(ms).Local().Format(time.TimeOnly), after(ms).UTC().Format(time.TimeOnly))
	}
	return s
}

func TestServiceExplained(t *testing.T) {
	steady := aGlimpse(aService(1, 1), []types.Task{aTask(1, 1, "RUNNING")}, aTarget(1, "healthy"))
	full := aService(3, 2)
	full.Deployments[0].RolloutState = types.DeploymentRolloutStateInProgress
	full.Events = []types.ServiceEvent{{Id: aws.String("a"), CreatedAt: after(3000), Message: aws.String("(service my-service) was unable to place a task. Reason: Capacity is unavailable at this time. Please try again later or in a different availability zone.")}}
	broken := aGlimpse(aService(3, 2), []types.Task{crashed(aTask(1, 2, "STOPPED"))})
	failed := &story{task: broken.lastFailure(), def: definition(), logs: []logLine{{created, "app", "Error: required env DATABASE_URL is not set"}}}
	for name, c := range map[string]struct {
		g      *glimpse
		failed *story
	}{
		"why-service-steady": {steady, nil}, "why-service-midway": {midway(), nil}, "why-service-full": {aGlimpse(full, nil), nil}, "why-service-broken": {broken, failed},
	} {
		var b bytes.Buffer
		c.g.explain(newPrinter(&b), c.failed)
		golden(t, name, inUTC(b.String()))
	}
}

func TestTop(t *testing.T) {
	nodes := []types.ContainerInstance{{RegisteredResources: []types.Resource{{Name: aws.String("CPU"), IntegerValue: 2048}, {Name: aws.String("MEMORY"), IntegerValue: 7900}}}}
	own := lived("RUNNING", started)
	own.Group, own.Cpu, own.Memory = aws.String("family:my-app"), aws.String("512"), aws.String("1024")
	tasks := []types.Task{*own, aTask(1, 1, "RUNNING"), aTask(2, 2, "PENDING"), crashed(aTask(3, 2, "STOPPED")), leaving(aTask(4, 1, "STOPPED"))}
	golden(t, "top", newLoad("default", nodes, tasks).render(created.Add(90*time.Minute)))
}

func TestWaits(t *testing.T) {
	g := midway()
	unhealthy := aTask(21, 2, "RUNNING")
	g.targets = append(g.targets, aTarget(21, "unhealthy"), aTarget(23, "unused"))
	checkedDef := definition()
	checkedDef.ContainerDefinitions[0].HealthCheck = &types.HealthCheck{Interval: aws.Int32(10), StartPeriod: aws.Int32(20)}
	g.defs["checked"] = checkedDef
	checking := aTask(24, 2, "RUNNING")
	checking.TaskDefinitionArn, checking.HealthStatus = aws.String("checked"), types.HealthStatusUnknown
	pulling, starting := aTask(25, 2, "ACTIVATING"), aTask(26, 2, "ACTIVATING")
	pulling.PullStoppedAt = nil
	named := leaving(aTask(30, 1, "DEACTIVATING"))
	g.ttl, g.leaving[taskID(&named)] = 10*time.Second, *after(2000)
	ending := leaving(aTask(27, 1, "STOPPING"))
	ending.StoppingAt = after(4000)
	for name, c := range map[string]struct {
		task types.Task
		want string
	}{
		"healthy":         {g.tasks[0], ""},
		"draining":        {g.tasks[2], "deregistration delay, 2s left"},
		"initial":         {g.tasks[4], "health check GET /health every 5s, 6s left"},
		"unhealthy":       {unhealthy, "its replacement: unhealthy (Health checks failed with these codes: [500])"},
		"not registered":  {aTask(22, 2, "RUNNING"), "its place in the load balancer"},
		"no listener":     {aTask(23, 2, "RUNNING"), "a listener that leads to its target group"},
		"container check": {checking, "container health check every 10s, start period, 16s left"},
		"network":         {aTask(25, 2, "PROVISIONING"), "its network interface"},
		"pull":            {pulling, "its images"},
		"start":           {starting, "its containers to start"},
		"named":           {named, "resolvers to forget its name, 7s left"},
		"let go":          {leaving(aTask(31, 1, "DEACTIVATING")), "its containers to end"},
		"SIGTERM":         {ending, "its end after SIGTERM (stopTimeout), 29s left"},
		"going":           {aTask(28, 1, "DEPROVISIONING"), "its network interface to go"},
		"gone":            {crashed(aTask(29, 2, "STOPPED")), ""},
	} {
		got := ""
		if w := g.wait(&c.task); w.what != "" {
			got = w.String()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	g.service.HealthCheckGracePeriodSeconds = aws.Int32(60)
	if got, want := g.wait(&unhealthy).String(), "health check every 5s to pass; grace period, 56s left"; got != want {
		t.Errorf("in the grace period: %q, want %q", got, want)
	}
}

func TestBalancerURLs(t *testing.T) {
	b := &elbtypes.LoadBalancer{
		Scheme:            elbtypes.LoadBalancerSchemeEnumInternetFacing,
		AvailabilityZones: []elbtypes.AvailabilityZone{{}, {LoadBalancerAddresses: []elbtypes.LoadBalancerAddress{{IpAddress: aws.String("127.20.0.1")}}}},
	}
	listeners := []elbtypes.Listener{
		{Protocol: elbtypes.ProtocolEnumHttp, Port: aws.Int32(80)},
		{Protocol: elbtypes.ProtocolEnumHttps, Port: aws.Int32(443)},
		{Protocol: elbtypes.ProtocolEnumHttp, Port: aws.Int32(8080)},
		{Protocol: elbtypes.ProtocolEnumTcp, Port: aws.Int32(5432)},
	}
	want := []string{"http://127.20.0.1/", "https://127.20.0.1/", "http://127.20.0.1:8080/", "tcp://127.20.0.1:5432/"}
	if diff := cmp.Diff(want, balancerURLs(b, listeners)); diff != "" {
		t.Error(diff)
	}
	b.Scheme = elbtypes.LoadBalancerSchemeEnumInternal
	if got := balancerURLs(b, listeners); got != nil {
		t.Errorf("an internal one is said to answer at %v", got)
	}
}

// A service is found at the listeners that lead to it, not at its neighbours'.
func TestBalancers_URLsOfOneService(t *testing.T) {
	other := "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/other/0123456789abcdef"
	forward := func(group string) []elbtypes.Action {
		return []elbtypes.Action{{ForwardConfig: &elbtypes.ForwardActionConfig{TargetGroups: []elbtypes.TargetGroupTuple{{TargetGroupArn: &group}}}}}
	}
	b := &balancers{
		all: map[string]*elbtypes.LoadBalancer{"lb": {
			Scheme:            elbtypes.LoadBalancerSchemeEnumInternetFacing,
			AvailabilityZones: []elbtypes.AvailabilityZone{{LoadBalancerAddresses: []elbtypes.LoadBalancerAddress{{IpAddress: aws.String("127.20.0.1")}}}},
		}},
		listeners: map[string][]elbtypes.Listener{"lb": {
			{Protocol: elbtypes.ProtocolEnumHttp, Port: aws.Int32(80), DefaultActions: forward(other)},
			{Protocol: elbtypes.ProtocolEnumHttp, Port: aws.Int32(81), DefaultActions: forward(groupARN)},
		}},
		groups: map[string]*elbtypes.TargetGroup{groupARN: {TargetGroupArn: aws.String(groupARN), LoadBalancerArns: []string{"lb"}}},
	}
	s := aService(1, 1)
	if diff := cmp.Diff([]string{"http://127.20.0.1:81/"}, b.urls(&s)); diff != "" {
		t.Error(diff)
	}
	b.listeners["lb"] = b.listeners["lb"][:1] // a rule of the other's listener may lead to it
	if diff := cmp.Diff([]string{"http://127.20.0.1/"}, b.urls(&s)); diff != "" {
		t.Error(diff)
	}
}

func TestEventsOf(t *testing.T) {
	other := aService(1, 1)
	other.ServiceName = aws.String("other")
	other.Events = []types.ServiceEvent{{Id: aws.String("c"), CreatedAt: after(3500), Message: aws.String("between")}}
	var got []string
	for _, e := range eventsOf([]types.Service{midway().service, other}) {
		got = append(got, e.ID+" "+e.Service)
	}
	if diff := cmp.Diff([]string{"a my-service", "c other", "b my-service"}, got); diff != "" {
		t.Error(diff)
	}
}
