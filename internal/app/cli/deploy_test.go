package cli

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/google/go-cmp/cmp"
)

// anAccount is a fake with one VPC, and a service that goes through moments:
// each look at it shows the next, the last one for ever.
type anAccount struct {
	*fakeAWS
	moments []*glimpse // nil: there is no service
	looks   int
	logs    []string
}

func newAccount(t *testing.T) *anAccount {
	a := &anAccount{fakeAWS: &fakeAWS{t: t}}
	a.json = map[string]func(map[string]any) (any, error){
		"DescribeServices":             a.describeServices,
		"ListServices":                 a.listServices,
		"ListTasks":                    a.listTasks,
		"DescribeTasks":                a.describeTasks,
		"DescribeTaskDefinition":       a.describeTaskDefinition,
		"RegisterTaskDefinition":       a.registerTaskDefinition,
		"DescribeServiceDeployments":   a.describeServiceDeployments,
		"CreateService":                a.changeService,
		"UpdateService":                a.changeService,
		"GetLogEvents":                 a.getLogEvents,
		"sd:ListNamespaces":            func(map[string]any) (any, error) { return map[string]any{"Namespaces": []any{}}, nil },
		"sd:ListServices":              func(map[string]any) (any, error) { return map[string]any{"Services": []any{}}, nil },
		"sd:CreatePrivateDnsNamespace": func(map[string]any) (any, error) { return map[string]any{"OperationId": "op-1"}, nil },
		"sd:GetOperation": func(map[string]any) (any, error) {
			return map[string]any{"Operation": map[string]any{"Status": "SUCCESS", "Targets": map[string]any{"NAMESPACE": "ns-1"}}}, nil
		},
		"sd:CreateService": func(map[string]any) (any, error) {
			return map[string]any{"Service": map[string]any{"Id": "srv-1", "Arn": registryARN}}, nil
		},
		"sd:GetService": func(map[string]any) (any, error) {
			return map[string]any{"Service": map[string]any{"Name": "my-service", "NamespaceId": "ns-1"}}, nil
		},
		"sd:GetNamespace": func(map[string]any) (any, error) {
			return map[string]any{"Namespace": map[string]any{"Name": "my-apps.local"}}, nil
		},
	}
	a.query = a.network()
	a.start()
	return a
}

const registryARN = "arn:aws:servicediscovery:us-east-1:123456789012:service/srv-1"

// network answers the calls of EC2 and of load balancing. Load balancers are
// there once they were created.
func (a *anAccount) network() map[string]func(url.Values) (string, error) {
	made := map[string]bool{}
	make := func(what, answer string) func(url.Values) (string, error) {
		return func(url.Values) (string, error) {
			made[what] = true
			return answer, nil
		}
	}
	const (
		balancer = `<member><LoadBalancerArn>lb</LoadBalancerArn><LoadBalancerName>my-service</LoadBalancerName><Scheme>internet-facing</Scheme><AvailabilityZones><member><LoadBalancerAddresses><member><IpAddress>127.20.0.1</IpAddress></member></LoadBalancerAddresses></member></AvailabilityZones></member>`
		group    = `<member><TargetGroupArn>` + groupARN + `</TargetGroupArn><TargetGroupName>my-service</TargetGroupName><HealthCheckProtocol>HTTP</HealthCheckProtocol><HealthCheckPath>/health</HealthCheckPath><HealthCheckIntervalSeconds>5</HealthCheckIntervalSeconds><HealthyThresholdCount>2</HealthyThresholdCount><LoadBalancerArns><member>lb</member></LoadBalancerArns></member>`
		listener = `<member><ListenerArn>l</ListenerArn><Port>80</Port><Protocol>HTTP</Protocol><DefaultActions><member><Type>forward</Type><TargetGroupArn>` + groupARN + `</TargetGroupArn></member></DefaultActions></member>`
	)
	groups := 0
	return map[string]func(url.Values) (string, error){
		"DescribeSubnets": func(url.Values) (string, error) {
			return `<subnetSet><item><subnetId>subnet-a</subnetId><vpcId>vpc-1</vpcId><availabilityZone>us-east-1a</availabilityZone><defaultForAz>true</defaultForAz></item><item><subnetId>subnet-b</subnetId><vpcId>vpc-1</vpcId><availabilityZone>us-east-1b</availabilityZone><defaultForAz>true</defaultForAz></item></subnetSet>`, nil
		},
		"DescribeVpcs": func(url.Values) (string, error) {
			return `<vpcSet><item><vpcId>vpc-1</vpcId><cidrBlock>172.31.0.0/16</cidrBlock></item></vpcSet>`, nil
		},
		"DescribeSecurityGroups": func(in url.Values) (string, error) {
			if in.Get("Filter.2.Value.1") == openGroup {
				return `<securityGroupInfo><item><groupId>sg-open</groupId></item></securityGroupInfo>`, nil
			}
			if name := in.Get("Filter.2.Value.1"); made[name] {
				return `<securityGroupInfo><item><groupId>sg-` + name + `</groupId></item></securityGroupInfo>`, nil
			}
			return `<securityGroupInfo/>`, nil
		},
		"CreateSecurityGroup": func(in url.Values) (string, error) {
			made[in.Get("GroupName")] = true
			groups++
			return `<groupId>sg-` + in.Get("GroupName") + `</groupId>`, nil
		},
		"AuthorizeSecurityGroupIngress": func(in url.Values) (string, error) {
			key := in.Get("GroupId") + in.Get("IpPermissions.1.IpRanges.1.CidrIp") + in.Get("IpPermissions.1.Groups.1.GroupId")
			if made[key] {
				return "", &refusal{"InvalidPermission.Duplicate", "the rule already exists"}
			}
			made[key] = true
			return `<return>true</return>`, nil
		},
		"DescribeLoadBalancers": func(in url.Values) (string, error) {
			if !made["balancer"] {
				return "", &refusal{"LoadBalancerNotFound", "One or more load balancers not found"}
			}
			return `<LoadBalancers>` + balancer + `</LoadBalancers>`, nil
		},
		"DescribeTargetGroups": func(url.Values) (string, error) {
			if !made["group"] {
				return "", &refusal{"TargetGroupNotFound", "One or more target groups not found"}
			}
			return `<TargetGroups>` + group + `</TargetGroups>`, nil
		},
		"DescribeListeners": func(url.Values) (string, error) {
			if !made["listener"] {
				return `<Listeners/>`, nil
			}
			return `<Listeners>` + listener + `</Listeners>`, nil
		},
		"DescribeTargetGroupAttributes": func(url.Values) (string, error) {
			return `<Attributes><member><Key>` + deregistrationDelay + `</Key><Value>3</Value></member></Attributes>`, nil
		},
		"DescribeTargetHealth":        a.describeTargetHealth,
		"CreateLoadBalancer":          make("balancer", `<LoadBalancers>`+balancer+`</LoadBalancers>`),
		"CreateTargetGroup":           make("group", `<TargetGroups>`+group+`</TargetGroups>`),
		"CreateListener":              make("listener", `<Listeners>`+listener+`</Listeners>`),
		"ModifyTargetGroup":           make("modified", `<TargetGroups>`+group+`</TargetGroups>`),
		"ModifyTargetGroupAttributes": make("attributes", `<Attributes/>`),
	}
}

// now is the moment that the next look shows.
func (a *anAccount) now() *glimpse {
	if len(a.moments) == 0 {
		return nil
	}
	return a.moments[min(max(a.looks-1, 0), len(a.moments)-1)]
}

func (a *anAccount) describeServices(map[string]any) (any, error) {
	a.looks++
	g := a.now()
	if g == nil {
		return &ecs.DescribeServicesOutput{Failures: []types.Failure{{Reason: aws.String("MISSING")}}}, nil
	}
	return &ecs.DescribeServicesOutput{Services: []types.Service{g.service}}, nil
}

func (a *anAccount) listServices(map[string]any) (any, error) {
	if g := a.now(); g != nil {
		return &ecs.ListServicesOutput{ServiceArns: []string{*g.service.ServiceArn}}, nil
	}
	return &ecs.ListServicesOutput{}, nil
}

func (a *anAccount) listTasks(in map[string]any) (any, error) {
	out := &ecs.ListTasksOutput{}
	if g := a.now(); g != nil {
		for _, t := range g.tasks {
			if *t.DesiredStatus == in["desiredStatus"] {
				out.TaskArns = append(out.TaskArns, *t.TaskArn)
			}
		}
	}
	return out, nil
}

func (a *anAccount) describeTasks(in map[string]any) (any, error) {
	out := &ecs.DescribeTasksOutput{}
	for _, arn := range in["tasks"].([]any) {
		for _, t := range a.now().tasks {
			if *t.TaskArn == arn {
				out.Tasks = append(out.Tasks, t)
			}
		}
	}
	return out, nil
}

func (a *anAccount) describeTaskDefinition(in map[string]any) (any, error) {
	def := definition()
	def.NetworkMode, def.RequiresCompatibilities = types.NetworkModeAwsvpc, []types.Compatibility{types.CompatibilityFargate}
	def.ContainerDefinitions[0].PortMappings = def.ContainerDefinitions[0].PortMappings[:1]
	if name := in["taskDefinition"].(string); strings.HasPrefix(name, "arn:") {
		def.TaskDefinitionArn = &name
	}
	return &ecs.DescribeTaskDefinitionOutput{TaskDefinition: def}, nil
}

func (a *anAccount) registerTaskDefinition(in map[string]any) (any, error) {
	data, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	var def types.TaskDefinition
	if err := json.Unmarshal(data, &def); err != nil {
		return nil, err
	}
	def.Revision, def.TaskDefinitionArn = 2, definitionARN(2)
	return &ecs.RegisterTaskDefinitionOutput{TaskDefinition: &def}, nil
}

func (a *anAccount) describeServiceDeployments(map[string]any) (any, error) {
	return &ecs.DescribeServiceDeploymentsOutput{ServiceDeployments: []types.ServiceDeployment{*a.now().deployment}}, nil
}

// changeService lets the moments begin that come after the change.
func (a *anAccount) changeService(map[string]any) (any, error) {
	s := a.moments[min(a.looks, len(a.moments)-1)].service
	return map[string]any{"service": s}, nil
}

func (a *anAccount) getLogEvents(in map[string]any) (any, error) {
	events := []any{}
	for i, line := range a.logs {
		if in["nextToken"] != nil {
			break // all was told
		}
		events = append(events, map[string]any{"timestamp": created.UnixMilli() + int64(i), "message": line})
	}
	return map[string]any{"events": events, "nextForwardToken": "f"}, nil
}

func (a *anAccount) describeTargetHealth(url.Values) (string, error) {
	var b strings.Builder
	b.WriteString("<TargetHealthDescriptions>")
	for _, one := range a.now().targets {
		fmt.Fprintf(&b, "<member><Target><Id>%s</Id><Port>%d</Port></Target><TargetHealth><State>%s</State></TargetHealth></member>", one.address, one.port, one.state)
	}
	b.WriteString("</TargetHealthDescriptions>")
	return b.String(), nil
}

const examples = "../../../examples/"

// One command makes everything that a service behind a load balancer and a
// name needs, follows it, and prints where it answers.
func TestDeploy_CreatesWhatIsMissing(t *testing.T) {
	a := newAccount(t)
	a.json["DescribeServices"] = func(in map[string]any) (any, error) {
		a.moments = nil
		if len(a.calls) > 0 && strings.HasPrefix(a.calls[len(a.calls)-1], "CreateService {\"clientToken") {
			a.moments = []*glimpse{fresh()}
		}
		return a.describeServices(in)
	}
	a.json["CreateService"] = func(map[string]any) (any, error) { return map[string]any{"service": fresh().service}, nil }
	out, errOut, code := berth(t, "deploy", "-f", examples+"my-app.json", "-f", examples+"my-service.json",
		"--expose", "http", "--as", "my-service.my-apps.local", "--health-path", "/health", "--health-interval", "5s", "--deregistration-delay", "3s")
	if code != exitOK || out != "http://127.20.0.1/\n" {
		t.Fatalf("exit code %d, output %q\n%s", code, out, errOut)
	}
	golden(t, "deploy-create", errOut)
	var made struct {
		Tags                 any
		LoadBalancers        any
		ServiceRegistries    any
		NetworkConfiguration any
		DesiredCount         int
	}
	for _, c := range a.changes() { // the last CreateService is ECS's, not Cloud Map's
		if input, ok := strings.CutPrefix(c, "CreateService "); ok {
			if err := json.Unmarshal([]byte(input), &made); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := `{"Tags":[{"key":"example","value":"my-service"}],` +
		`"LoadBalancers":[{"containerName":"app","containerPort":3000,"targetGroupArn":"` + groupARN + `"}],` +
		`"ServiceRegistries":[{"registryArn":"` + registryARN + `"}],` +
		`"NetworkConfiguration":{"awsvpcConfiguration":{"securityGroups":["sg-my-service-tasks"],"subnets":["subnet-a","subnet-b"]}},"DesiredCount":3}`
	got, err := json.Marshal(made)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

// fresh is a new service that has what it wants.
func fresh() *glimpse {
	g := aGlimpse(aService(3, 2), []types.Task{aTask(11, 2, "RUNNING"), aTask(12, 2, "RUNNING"), aTask(13, 2, "RUNNING")},
		aTarget(11, "healthy"), aTarget(12, "healthy"), aTarget(13, "healthy"))
	g.service.ServiceRegistries = []types.ServiceRegistry{{RegistryArn: aws.String(registryARN)}}
	return g
}

// withBalancer says that the load balancer is there already.
func (a *anAccount) withBalancer() *anAccount {
	for _, what := range []string{"CreateLoadBalancer", "CreateTargetGroup", "CreateListener"} {
		if _, err := a.query[what](nil); err != nil {
			a.t.Fatal(err)
		}
	}
	return a
}

func TestDeploy_NewImageIsFollowed(t *testing.T) {
	a := newAccount(t).withBalancer()
	a.moments = []*glimpse{before(), before(), midway(), afterwards()}
	out, errOut, code := berth(t, "deploy", "my-service", "--image", "app=sample-app:2")
	if code != exitOK || out != "http://127.20.0.1/\n" {
		t.Fatalf("exit code %d, output %q\n%s", code, out, errOut)
	}
	golden(t, "deploy-image", errOut)
	if got, want := a.called("UpdateService"), `{"cluster":"default","service":"my-service","taskDefinition":"`+*definitionARN(2)+`"}`; got != want {
		t.Errorf("UpdateService %s, want %s", got, want)
	}
}

func TestDeploy_RollbackIsExplainedAndEndsWith3(t *testing.T) {
	a := newAccount(t).withBalancer()
	a.logs = []string{"Error: required env DATABASE_URL is not set"}
	moments := []*glimpse{before(), before(), failing(1), failing(3), rollingBack(types.DeploymentRolloutStateInProgress), rollingBack(types.DeploymentRolloutStateCompleted)}
	for _, g := range moments[2:] {
		g.service.CurrentServiceDeployment = aws.String("arn:aws:ecs:us-east-1:123456789012:service-deployment/default/my-service/x")
	}
	a.moments = moments
	out, errOut, code := berth(t, "deploy", "my-service", "--image", "app=sample-app:broken")
	if code != exitUndeployed || out != "" {
		t.Fatalf("exit code %d, output %q\n%s", code, out, errOut)
	}
	golden(t, "deploy-rolled-back", inUTC(errOut))
}

func TestDeploy_JSONSaysHowItEnded(t *testing.T) {
	a := newAccount(t).withBalancer()
	a.moments = []*glimpse{before(), before(), failing(3), rollingBack(types.DeploymentRolloutStateCompleted)}
	out, _, code := berth(t, "deploy", "my-service", "--force", "-o", "json")
	var got struct {
		Outcome, Reason string
		FailedTask      struct{ StoppedReason string }
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if code != exitUndeployed || got.Outcome != rolledBack || got.Reason != failedReason || got.FailedTask.StoppedReason != "Essential container in task exited" {
		t.Errorf("exit code %d, %+v", code, got)
	}
}

func TestDeploy_TimesOutWith4(t *testing.T) {
	a := newAccount(t).withBalancer()
	a.moments = []*glimpse{before(), before(), midway()}
	_, errOut, code := berth(t, "deploy", "my-service", "--force", "--timeout", "300ms")
	if code != exitTimed || !strings.Contains(errOut, "the deployment goes on") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

func TestDeploy_NothingToChangeIsMisuse(t *testing.T) {
	a := newAccount(t).withBalancer()
	a.moments = []*glimpse{before()}
	_, errOut, code := berth(t, "deploy", "my-service")
	if code != exitMisuse || !strings.Contains(errOut, "my-service runs my-app:1 already") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if calls := a.changes(); len(calls) > 0 {
		t.Errorf("something was changed: %q", calls)
	}
}

func TestVerbose_PrintsCallsOfTheAWSCLI(t *testing.T) {
	a := newAccount(t).withBalancer()
	a.moments = []*glimpse{before()}
	_, errOut, code := berth(t, "restart", "my-service", "--detach", "-v")
	want := `   $ aws ecs update-service --cli-input-json '{"cluster":"default","forceNewDeployment":true,"service":"my-service"}'` + "\n"
	if code != exitOK || errOut != want {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	got := awsCommand("Elastic Load Balancing v2", "CreateLoadBalancer", &struct{ Name string }{"it's"})
	if want := `aws elbv2 create-load-balancer --cli-input-json '{"Name":"it'\''s"}'`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestScale_WaitsUntilItIsSo(t *testing.T) {
	a := newAccount(t).withBalancer()
	more := aGlimpse(aService(4, 1), append(before().tasks, aTask(4, 1, "PENDING")), before().targets...)
	more.service.PendingCount = 1
	ready := aGlimpse(aService(4, 1), append(before().tasks, aTask(4, 1, "RUNNING")), append(before().targets, aTarget(4, "healthy"))...)
	a.moments = []*glimpse{before(), before(), more, ready}
	out, errOut, code := berth(t, "scale", "my-service", "4")
	if code != exitOK || out != "http://127.20.0.1/\n" || !strings.Contains(errOut, "✓ my-service  my-app:1, 4/4 healthy") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	if got, want := a.called("UpdateService"), `{"cluster":"default","desiredCount":4,"service":"my-service"}`; got != want {
		t.Errorf("UpdateService %s, want %s", got, want)
	}
}

// Without a deployment under way the service goes back to the newest revision
// that was deployed with success and is another one.
func TestRollback_GoesToTheRevisionBefore(t *testing.T) {
	a := newAccount(t).withBalancer()
	a.moments = []*glimpse{afterwards()}
	a.json["ListServiceDeployments"] = func(map[string]any) (any, error) {
		return &ecs.ListServiceDeploymentsOutput{ServiceDeployments: []types.ServiceDeploymentBrief{
			{CreatedAt: after(1000), TargetServiceRevisionArn: aws.String("r0")},
			{CreatedAt: after(2000), TargetServiceRevisionArn: aws.String("r1")},
			{CreatedAt: after(3000), TargetServiceRevisionArn: aws.String("r2")},
		}}, nil
	}
	a.json["DescribeServiceRevisions"] = func(map[string]any) (any, error) {
		return &ecs.DescribeServiceRevisionsOutput{ServiceRevisions: []types.ServiceRevision{
			{ServiceRevisionArn: aws.String("r0"), TaskDefinition: definitionARN(0)},
			{ServiceRevisionArn: aws.String("r2"), TaskDefinition: definitionARN(2)},
			{ServiceRevisionArn: aws.String("r1"), TaskDefinition: definitionARN(1)},
		}}, nil
	}
	if _, errOut, code := berth(t, "rollback", "my-service", "--detach"); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	if got, want := a.called("UpdateService"), `"taskDefinition":"`+*definitionARN(1)+`"`; !strings.Contains(got, want) {
		t.Errorf("UpdateService %s, want %s", got, want)
	}
}

// A deployment under way is stopped instead, and its rollback is a success.
func TestRollback_StopsWhatIsUnderWay(t *testing.T) {
	a := newAccount(t).withBalancer()
	going := failing(1)
	back := rollingBack(types.DeploymentRolloutStateCompleted)
	for _, g := range []*glimpse{going, back} {
		g.service.CurrentServiceDeployment = aws.String("deployment")
	}
	a.moments = []*glimpse{going, going, back}
	a.json["StopServiceDeployment"] = func(map[string]any) (any, error) { return &ecs.StopServiceDeploymentOutput{}, nil }
	if _, errOut, code := berth(t, "rollback", "my-service"); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	if got, want := a.called("StopServiceDeployment"), `{"serviceDeploymentArn":"deployment","stopType":"ROLLBACK"}`; got != want {
		t.Errorf("StopServiceDeployment %s, want %s", got, want)
	}
}

func TestServiceVerbs_Read(t *testing.T) {
	a := newAccount(t).withBalancer()
	a.moments = []*glimpse{fresh()}
	a.json["ListContainerInstances"] = func(map[string]any) (any, error) { return &ecs.ListContainerInstancesOutput{}, nil }
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"services"}, "http://127.20.0.1/  my-service.my-apps.local\n"},
		{[]string{"services", "my-service"}, "my-service  ACTIVE  default\n"},
		{[]string{"services", "-o", "json"}, `"urls": [`},
		{[]string{"open", "my-service", "--print"}, "http://127.20.0.1/\n"},
		{[]string{"top"}, "nodes: 0 with 0 CPU"},
		{[]string{"why", "my-service"}, "3 of 3 tasks run, and it is steady."},
		{[]string{"events", "my-service"}, ""},
	} {
		out, errOut, code := berth(t, c.args...)
		if code != exitOK || !strings.Contains(out, c.want) {
			t.Errorf("berth %s: exit code %d\n%s%s", strings.Join(c.args, " "), code, out, errOut)
		}
	}
	if calls := a.changes(); len(calls) > 0 {
		t.Errorf("something was changed: %q", calls)
	}
}

func TestServiceVerbs_SayThatThereIsNone(t *testing.T) {
	newAccount(t)
	for _, args := range [][]string{{"services", "x"}, {"open", "x"}, {"scale", "x", "2"}, {"restart", "x"}, {"rollback", "x"}, {"events", "x"}} {
		_, errOut, code := berth(t, args...)
		if code != exitFailed || !strings.Contains(errOut, `cluster default has no service "x"`) {
			t.Errorf("berth %s: exit code %d: %s", strings.Join(args, " "), code, errOut)
		}
	}
}

func TestParseExposure(t *testing.T) {
	for s, want := range map[string]*exposure{
		"":                   nil,
		"http":               {80, "", 0},
		"http:8080":          {8080, "", 0},
		"http=app:3000":      {80, "app", 3000},
		"http:8080=app:3000": {8080, "app", 3000},
	} {
		got, err := parseExposure(s)
		if err != nil {
			t.Errorf("%q: %v", s, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(exposure{})); diff != "" {
			t.Errorf("%q: %s", s, diff)
		}
	}
	for _, s := range []string{"https", "http:", "http:x", "http:0", "http:65536", "http=", "http=app", "http=app:", "http=:3000", "80"} {
		if got, err := parseExposure(s); err == nil {
			t.Errorf("%q is taken as %+v", s, got)
		}
	}
}

func TestExposure_FindsThePort(t *testing.T) {
	def := definition() // has 3000/tcp and 53/udp
	x := &exposure{port: 80}
	if err := x.resolve(def); err != nil || *x != (exposure{80, "app", 3000}) {
		t.Errorf("%+v, %v", x, err)
	}
	def.ContainerDefinitions[1].PortMappings = []types.PortMapping{{ContainerPort: aws.Int32(9090)}}
	for name, c := range map[string]struct {
		x    exposure
		want string
	}{
		"two ports":    {exposure{port: 80}, "write --expose http:80=app:3000; there are app:3000, init:9090"},
		"a wrong port": {exposure{80, "app", 3001}, "has no TCP port app:3001"},
		"one of udp":   {exposure{80, "app", 53}, "has no TCP port app:53"},
	} {
		if err := c.x.resolve(def); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBalancerName(t *testing.T) {
	for service, want := range map[string]string{"web": "web", "my_app": "my-app", strings.Repeat("a", 31) + "-bcd": strings.Repeat("a", 31)} {
		if got := balancerName(service); got != want {
			t.Errorf("%s: %s, want %s", service, got, want)
		}
	}
}

func TestSetEnvironment(t *testing.T) {
	in := &ecs.RegisterTaskDefinitionInput{ContainerDefinitions: definition().ContainerDefinitions}
	in.ContainerDefinitions[0].Environment = []types.KeyValuePair{{Name: aws.String("A"), Value: aws.String("1")}, {Name: aws.String("B"), Value: aws.String("2")}}
	if err := setEnvironment(in, []string{"A=x=y", "init:C=:"}); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range in.ContainerDefinitions {
		for _, kv := range c.Environment {
			got[*c.Name+" "+*kv.Name] = *kv.Value
		}
	}
	if diff := cmp.Diff(map[string]string{"app A": "x=y", "app B": "2", "init C": ":"}, got); diff != "" {
		t.Error(diff)
	}
	for setting, want := range map[string]string{"A": "is not [CONTAINER:]NAME=VALUE", "x:A=1": `no container "x"`} {
		if err := setEnvironment(in, []string{setting}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", setting, err)
		}
	}
}

func TestDifferences(t *testing.T) {
	old, next := definition(), definition()
	next.Memory = aws.String("1024")
	next.ContainerDefinitions[0].Image = aws.String("sample-app:2")
	old.ContainerDefinitions[0].Environment = []types.KeyValuePair{{Name: aws.String("GONE"), Value: aws.String("s")}, {Name: aws.String("KEPT"), Value: aws.String("s")}}
	next.ContainerDefinitions[0].Environment = []types.KeyValuePair{{Name: aws.String("NEW"), Value: aws.String("s")}, {Name: aws.String("KEPT"), Value: aws.String("t")}}
	next.ContainerDefinitions[1].Name = aws.String("setup")
	want := "memory 512 → 1024, image sample-app:latest → sample-app:2, env +NEW, env ~KEPT, env -GONE, +container setup, -container init"
	if got := differences(old, next); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got := differences(old, old); got != "" {
		t.Errorf("the same differs by %s", got)
	}
}

// Members that an update cannot change are refused when they differ, and
// everything else that the file says is sent.
func TestUpdateOf(t *testing.T) {
	s := aService(3, 1)
	for name, in := range map[string]*ecs.CreateServiceInput{
		"launchType":         {LaunchType: types.LaunchTypeEc2},
		"schedulingStrategy": {SchedulingStrategy: types.SchedulingStrategyDaemon},
		"role":               {Role: aws.String("r")},
		"tags":               {Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}},
	} {
		if _, err := updateOf(in, &s); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	data, err := os.ReadFile(filepath.Join(examples, "my-service.json"))
	if err != nil {
		t.Fatal(err)
	}
	in, err := readService(data, "my-service.json")
	if err != nil {
		t.Fatal(err)
	}
	s.Tags = in.Tags
	got, err := updateOf(in, &s)
	if err != nil {
		t.Fatal(err)
	}
	want := &ecs.UpdateServiceInput{
		DesiredCount: aws.Int32(3), EnableECSManagedTags: aws.Bool(true), PropagateTags: types.PropagateTagsService,
		DeploymentConfiguration: &types.DeploymentConfiguration{
			MinimumHealthyPercent: aws.Int32(100), MaximumPercent: aws.Int32(200),
			DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: true, Rollback: true},
		},
	}
	if a, b := asJSON(t, want), asJSON(t, got); a != b {
		t.Error(cmp.Diff(a, b))
	}
}

func TestForwardsTo(t *testing.T) {
	l := elbtypes.Listener{DefaultActions: []elbtypes.Action{{TargetGroupArn: aws.String("g")}}}
	if !forwardsTo(l, "g") || forwardsTo(l, "h") {
		t.Error("a listener leads to the group of its default action, and to no other")
	}
}
