package cli

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mattn/go-shellwords"
	"pgregory.net/rapid"
)

// The server splits a command into the words that were typed, whatever they
// are.
func TestCommandLine_IsSplitIntoTheSameWords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.StringOf(rapid.SampledFrom([]rune("ab'\"\\$`;|&<>(){}*?# \t\nä-="))), 1, 5).Draw(t, "words")
		line := commandLine(words)
		got, err := shellwords.NewParser().Parse(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if diff := cmp.Diff(words, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s: %s", line, diff)
		}
	})
}

// A service's task is chosen, and who is not let in is told what to do.
func TestExec_SaysHowToBeLetIn(t *testing.T) {
	a := newAccount(t)
	a.moments = []*glimpse{before()}
	a.json["ExecuteCommand"] = func(map[string]any) (any, error) {
		return nil, &refusal{"InvalidParameterException", "The execute command failed because execute command was not enabled"}
	}
	_, errOut, code := berth(t, "exec", "my-service", "-T", "--", "ls", "-l")
	if code != exitFailed || !strings.Contains(errOut, "my-service: container app of task") || !strings.Contains(errOut, "berth deploy my-service --enable-execute-command") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if got := a.called("ExecuteCommand"); !strings.Contains(got, `"command":"ls -l"`) {
		t.Errorf("ExecuteCommand %s", got)
	}
}

func TestExplainSession(t *testing.T) {
	at := &inside{task: &types.Task{TaskArn: aws.String("t/9f3c2a10"), EnableExecuteCommand: true}, container: &types.Container{
		Name: aws.String("app"), ManagedAgents: []types.ManagedAgent{{Name: types.ManagedAgentNameExecuteCommandAgent, LastStatus: aws.String("STOPPED"), Reason: aws.String("no room")}},
	}}
	if got := at.explainSession(errors.New("x")).Error(); !strings.Contains(got, "is STOPPED: no room") {
		t.Error(got)
	}
	at.container.ManagedAgents[0].LastStatus = aws.String(running)
	if got := at.explainSession(errors.New("x")).Error(); got != "x" {
		t.Error(got)
	}
	at.task.EnableExecuteCommand = false
	if got := at.explainSession(errors.New("x")).Error(); !strings.Contains(got, "started without enableExecuteCommand") {
		t.Error(got)
	}
}

func TestParseForwarding(t *testing.T) {
	for s, want := range map[string]forwarding{"80": {80, 80}, "8080:80": {8080, 80}, "0:80": {0, 80}} {
		if got, err := parseForwarding(s); err != nil || got != want {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "0", "80:0", "http", "70000", "1:2:3", ":80", "80:"} {
		if got, err := parseForwarding(s); err == nil {
			t.Errorf("%q: %+v", s, got)
		}
	}
}

// ownImages is a registry of Berth's that has the repository my-service with
// the tag 1.
func (a *anAccount) ownImages() {
	a.json["DescribeRepositories"] = func(in map[string]any) (any, error) {
		if name := in["repositoryNames"].([]any)[0]; name != "my-service" {
			return nil, &refusal{"RepositoryNotFoundException", "none"}
		}
		return map[string]any{"repositories": []any{map[string]any{"repositoryUri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/my-service"}}}, nil
	}
	a.json["DescribeImages"] = func(in map[string]any) (any, error) {
		if tag := in["imageIds"].([]any)[0].(map[string]any)["imageTag"]; tag != "1" {
			return nil, &refusal{"ImageNotFoundException", "none"}
		}
		return map[string]any{"imageDetails": []any{map[string]any{}}}, nil
	}
}

// One command makes everything that an image with a port needs. A name without
// a registry is that of Berth's own, if nobody nearer has the image.
func TestRun_ImageBecomesAService(t *testing.T) {
	a := newAccount(t)
	a.ownImages()
	a.json["DescribeServices"] = func(in map[string]any) (any, error) {
		a.moments = nil
		if len(a.calls) > 0 && strings.HasPrefix(a.calls[len(a.calls)-1], "CreateService ") {
			a.moments = []*glimpse{fresh()}
		}
		return a.describeServices(in)
	}
	a.json["CreateService"] = func(map[string]any) (any, error) { return map[string]any{"service": fresh().service}, nil }
	a.query["GetRole"] = func(in url.Values) (string, error) {
		name := in.Get("RoleName")
		return "<Role><RoleName>" + name + "</RoleName><Arn>arn:aws:iam::123456789012:role/" + name + "</Arn></Role>", nil
	}
	out, errOut, code := berth(t, "run", "my-service:1", "--port", "3000", "--env", "A=b", "--", "./serve", "-v")
	if code != exitOK || out != "http://127.20.0.1/\n" || !strings.Contains(errOut, "berth exec my-service") {
		t.Fatalf("exit code %d, output %q\n%s", code, out, errOut)
	}
	for _, want := range []string{`"family":"my-service"`, `"image":"123456789012.dkr.ecr.us-east-1.amazonaws.com/my-service:1"`, `"command":["./serve","-v"]`, `"containerPort":3000`, `"name":"A"`, `role/ecsExecTaskRole`, `role/ecsTaskExecutionRole`} {
		if got := a.called("RegisterTaskDefinition"); !strings.Contains(got, want) {
			t.Errorf("RegisterTaskDefinition %s lacks %s", got, want)
		}
	}
	if got := a.called("CreateService"); !strings.Contains(got, `"enableExecuteCommand":true`) || !strings.Contains(got, `"launchType":"FARGATE"`) {
		t.Errorf("CreateService %s", got)
	}
	if got := a.called("CreateTargetGroup"); !strings.Contains(got, "Matcher.HttpCode=200-499") {
		t.Errorf("CreateTargetGroup %s", got)
	}
}

// Another image under the same name is no slip of the pen when it says so.
func TestRun_AgainDeploys(t *testing.T) {
	a := newAccount(t).withBalancer()
	a.ownImages()
	a.moments = []*glimpse{before()}
	several := a.json["DescribeTaskDefinition"]
	a.json["DescribeTaskDefinition"] = func(in map[string]any) (any, error) {
		out, err := several(in)
		def := out.(*ecs.DescribeTaskDefinitionOutput).TaskDefinition
		def.ContainerDefinitions = def.ContainerDefinitions[:1]
		return out, err
	}
	_, errOut, code := berth(t, "run", "other/my-service", "--detach")
	if code != exitMisuse || !strings.Contains(errOut, "runs sample-app:latest already") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if _, errOut, code = berth(t, "run", "sample-app:2", "--name", "my-service", "--detach"); code != exitOK {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if got := a.called("RegisterTaskDefinition"); !strings.Contains(got, `"image":"sample-app:2"`) {
		t.Errorf("RegisterTaskDefinition %s", got)
	}
	a.json["DescribeTaskDefinition"] = several
	_, errOut, code = berth(t, "run", "sample-app:3", "--name", "my-service", "--detach")
	if code != exitMisuse || !strings.Contains(errOut, "several containers") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

func TestPortsOf(t *testing.T) {
	got := portsOf(map[string]struct{}{"443/tcp": {}, "80": {}, "53/udp": {}, "x": {}})
	if diff := cmp.Diff([]int32{80, 443}, got); diff != "" {
		t.Error(diff)
	}
	for _, c := range []struct {
		ports []int32
		want  int32
	}{{nil, 0}, {[]int32{443, 8080}, 8080}, {[]int32{5432, 9000}, 5432}, {got, 80}} {
		if port := webPort(c.ports); port != c.want {
			t.Errorf("%v: %d, want %d", c.ports, port, c.want)
		}
	}
}
