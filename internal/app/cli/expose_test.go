package cli

import (
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

// A service that has a load balancer and a name keeps them when it gets more,
// and nothing is sent when nothing is new.
func TestSurroundings_KeepWhatThereIs(t *testing.T) {
	of := func(arns ...string) []types.LoadBalancer {
		var all []types.LoadBalancer
		for _, arn := range arns {
			all = append(all, types.LoadBalancer{TargetGroupArn: aws.String(arn)})
		}
		return all
	}
	for name, c := range map[string]struct{ file, has, wanted, want []string }{
		"nothing wanted":         {nil, []string{"a"}, nil, nil},
		"the first":              {nil, nil, []string{"b"}, []string{"b"}},
		"another":                {nil, []string{"a"}, []string{"b"}, []string{"a", "b"}},
		"the same":               {nil, []string{"a"}, []string{"a"}, nil},
		"the file's stays":       {[]string{"c"}, []string{"a"}, []string{"b"}, []string{"c", "b"}},
		"the file says it":       {[]string{"b"}, []string{"a"}, []string{"b"}, []string{"b"}},
		"the file leaves it out": {[]string{"c"}, []string{"b"}, []string{"b"}, []string{"c", "b"}},
	} {
		s := &surroundings{}
		if len(c.wanted) > 0 {
			s.balancer = &of(c.wanted...)[0]
		}
		if a, b := asJSON(t, of(c.want...)), asJSON(t, s.balancers(of(c.file...), of(c.has...))); a != b {
			t.Errorf("%s: %s", name, cmp.Diff(a, b))
		}
	}
}
