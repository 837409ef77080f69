package cli

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"
)

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

// A server that is restarted in the middle loses nobody.
func TestDeploy_SurvivesAnAbsence(t *testing.T) {
	a := newAccount(t).withBalancer()
	a.moments = []*glimpse{before(), before(), midway(), afterwards()}
	absent := 0
	a.json["DescribeServices"] = func(in map[string]any) (any, error) {
		if len(a.calls) > 0 && absent < 3 { // after UpdateService
			absent++
			panic(http.ErrAbortHandler)
		}
		return a.describeServices(in)
	}
	_, errOut, code := berth(t, "deploy", "my-service", "--force")
	if code != exitOK || absent != 3 {
		t.Errorf("exit code %d after %d absences: %s", code, absent, errOut)
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
