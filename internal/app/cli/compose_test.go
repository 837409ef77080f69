package cli

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"
)

const aProject = `
name: shop
services:
  db:
    image: postgres:17
    ports: ["5432:5432"]
    healthcheck: {test: ["CMD", "pg_isready"]}
    secrets: [password]
  migrate:
    image: shop:1
    depends_on: {db: {condition: service_healthy}}
  web:
    image: shop:1
    ports: ["80:8000", "8080:8000"]
    depends_on:
      migrate: {condition: service_completed_successfully}
      cache: {condition: service_started}
    stop_signal: SIGQUIT
  cache:
    image: redis:8
secrets:
  password: {file: password.txt}
`

func composeFile(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"compose.yaml": text, "password.txt": "hunter2"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "compose.yaml")
}

// up runs berth compose up, which must succeed, and returns what it changed
// and printed.
func (h *aHome) up(t *testing.T, file string, args ...string) (calls []string, out, errOut string) {
	t.Helper()
	h.order, h.calls = nil, nil
	out, errOut, code := berth(t, append([]string{"compose", "-f", file, "up"}, args...)...)
	if code != exitOK {
		t.Fatalf("exit code %d: %s\n%s", code, out, errOut)
	}
	for _, c := range h.changes() {
		name, _, _ := strings.Cut(c, " ")
		calls = append(calls, name)
	}
	return calls, out, errOut
}

func TestComposeUp_InOrder(t *testing.T) {
	h := newHome(t)
	_, out, errOut := h.up(t, composeFile(t, aProject))
	if want := []string{"shop-cache", "shop-db", "shop-migrate", "shop-web"}; !slices.Equal(h.order, want) {
		t.Errorf("order %q, want %q", h.order, want)
	}
	if want := "tcp://127.20.0.1:5432/\nhttp://127.20.0.1/\nhttp://127.20.0.1:8080/\n"; out != want {
		t.Errorf("output %q, want %q", out, want)
	}
	golden(t, "compose-up", errOut)
	web, db := h.live["shop-web"], h.live["shop-db"]
	if len(web.LoadBalancers) != 1 || aws.ToString(web.LoadBalancers[0].TargetGroupArn) != "shop-web-8000" || len(web.ServiceRegistries) != 1 {
		t.Errorf("%+v", web)
	}
	if got := web.NetworkConfiguration.AwsvpcConfiguration.SecurityGroups; !slices.Equal(got, []string{"sg-open"}) {
		t.Errorf("security groups %q", got)
	}
	want := map[string]string{"shop-web 80": "shop-web-8000", "shop-web 8080": "shop-web-8000", "shop-db-tcp 5432": "shop-db-5432-tcp"}
	if diff := cmp.Diff(want, h.balancers); diff != "" {
		t.Error(diff)
	}
	def := h.definitions["shop-db"][0]
	if got := aws.ToString(def.ContainerDefinitions[0].Secrets[0].ValueFrom); got != secretARN("shop/password") {
		t.Errorf("the secret is %s", got)
	}
	if got := aws.ToString(def.ExecutionRoleArn); got != "arn:aws:iam::123456789012:role/ecsTaskExecutionRole" {
		t.Errorf("the execution role is %s", got)
	}
	if policy := h.role[executionRole]["shop"]; !strings.Contains(policy, secretARN("shop/password")) {
		t.Errorf("the role may not read the secret: %s", policy)
	}
	if len(db.LoadBalancers) != 1 || !db.EnableExecuteCommand {
		t.Errorf("%+v", db)
	}
	for _, c := range h.changes() {
		if strings.Contains(c, "hunter2") && !strings.HasPrefix(c, "CreateSecret ") && !strings.HasPrefix(c, "PutSecretValue ") {
			t.Errorf("the secret's value is in %s", c)
		}
	}
}

// Again, nothing is changed; and then only what changed.
func TestComposeUp_Again(t *testing.T) {
	h := newHome(t)
	file := composeFile(t, aProject)
	h.up(t, file)
	if calls, _, errOut := h.up(t, file); len(calls) > 0 || strings.Count(errOut, "unchanged") != 3 || !strings.Contains(errOut, "shop-migrate:1 has run with success") {
		t.Errorf("the same again: %q\n%s", calls, errOut)
	}

	calls, _, _ := h.up(t, composeFile(t, strings.ReplaceAll(aProject, "shop:1", "shop:2")))
	if want := []string{"RegisterTaskDefinition", "RunTask", "TagResource", "RegisterTaskDefinition", "UpdateService", "TagResource"}; !slices.Equal(calls, want) {
		t.Errorf("another image: %q, want %q", calls, want)
	}
	if s := h.live["shop-web"]; lastPart(*s.TaskDefinition) != "shop-web:2" {
		t.Errorf("shop-web runs %s", *s.TaskDefinition)
	}

	more := strings.ReplaceAll(aProject, "shop:1", "shop:2") + "  other: {file: password.txt}\n"
	more = strings.Replace(more, "image: redis:8", "image: redis:8\n    scale: 2", 1)
	more = strings.Replace(more, `"80:8000", `, "", 1)
	calls, _, _ = h.up(t, composeFile(t, more))
	if want := []string{"UpdateService", "TagResource", "UpdateService", "TagResource", "DeleteListener"}; !slices.Equal(calls, want) {
		t.Errorf("two replicas and a port less: %q, want %q", calls, want)
	}
	if s := h.live["shop-cache"]; s.DesiredCount != 2 {
		t.Errorf("shop-cache has %d", s.DesiredCount)
	}

	// Somebody scaled it; the file says two.
	h.live["shop-cache"].DesiredCount = 5
	h.up(t, composeFile(t, more))
	if s := h.live["shop-cache"]; s.DesiredCount != 2 {
		t.Errorf("shop-cache has %d", s.DesiredCount)
	}

	h.secrets["shop/password"] = "another"
	if calls, _, _ := h.up(t, composeFile(t, more)); !slices.Equal(calls, []string{"PutSecretValue"}) {
		t.Errorf("another value: %q", calls)
	}
	if calls, _, _ := h.up(t, composeFile(t, more), "--force-recreate"); !slices.Contains(calls, "RunTask") || !slices.Contains(calls, "UpdateService") || slices.Contains(calls, "RegisterTaskDefinition") {
		t.Errorf("all anew: %q", calls)
	}
}

// Services that left the file are told, and removed when that is asked for,
// with what was made around them.
func TestComposeUp_Orphans(t *testing.T) {
	h := newHome(t)
	h.up(t, composeFile(t, aProject))
	less := composeFile(t, "name: shop\nservices: {cache: {image: redis:8, environment: {LOCALDOMAIN: shop.local}}}")
	calls, _, errOut := h.up(t, less)
	if len(calls) > 0 || !strings.Contains(errOut, "shop-web is not in the file any more and runs on") {
		t.Errorf("%q\n%s", calls, errOut)
	}
	h.up(t, less, "--remove-orphans")
	if got := slices.Sorted(maps.Keys(h.live)); !slices.Equal(got, []string{"shop-cache"}) || len(h.balancers) > 0 {
		t.Errorf("there are %q and %v", got, h.balancers)
	}
	if _, errOut, code := berth(t, "compose", "-p", "shop", "down"); code != exitOK || len(h.live) > 0 {
		t.Errorf("exit code %d, there are %v\n%s", code, h.live, errOut)
	}
}

func TestComposeUp_Refuses(t *testing.T) {
	h := newHome(t)
	file := composeFile(t, aProject)
	h.exits["shop-migrate"] = 3
	_, errOut, code := berth(t, "compose", "-f", file, "up")
	if code != exitFailed || !strings.Contains(errOut, "shop-migrate: 1 of 1 tasks failed") || h.live["shop-web"] != nil {
		t.Errorf("a task failed: exit code %d: %s", code, errOut)
	}
	h.exits["shop-migrate"], h.failing["shop-cache"] = 0, true
	_, errOut, code = berth(t, "compose", "-f", file, "up", "--force-recreate")
	if code != exitUndeployed || !strings.Contains(errOut, "the deployment of shop-cache:1 failed") || h.live["shop-web"] != nil {
		t.Errorf("a deployment failed: exit code %d: %s", code, errOut)
	}
	h.failing["shop-cache"] = false
	h.live["shop-cache"].LaunchType = types.LaunchTypeEc2
	if _, errOut, code = berth(t, "compose", "-f", file, "up"); code != exitFailed || !strings.Contains(errOut, "launch type EC2 instead of FARGATE, which no update changes") {
		t.Errorf("another launch type: exit code %d: %s", code, errOut)
	}
	h.up(t, file, "--force-recreate")
	if got := h.live["shop-cache"].LaunchType; got != types.LaunchTypeFargate {
		t.Errorf("launch type %s", got)
	}
	h.calls = nil
	for want, text := range map[string]string{
		"services.web.x-ecs has no member":   "services: {web: {image: a, x-ecs: {x: {}}}}",
		"the external secret s is not there": "services: {web: {image: a, secrets: [s]}}\nsecrets: {s: {external: true}}",
	} {
		if _, errOut, code := berth(t, "compose", "-f", composeFile(t, "name: p\n"+text), "up"); code != exitFailed || !strings.Contains(errOut, want) || len(h.changes()) > 0 {
			t.Errorf("exit code %d, %q: %s", code, h.changes(), errOut)
		}
	}
	if _, errOut, code := berth(t, "compose", "-f", file, "up", "nobody"); code != exitMisuse || !strings.Contains(errOut, "no service nobody") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

// What is converted is what `berth deploy -f` reads, and asks nobody.
func TestComposeConvert(t *testing.T) {
	file := composeFile(t, aProject)
	out, errOut, code := berth(t, "compose", "-f", file, "convert", "web")
	if code != exitOK || !strings.Contains(errOut, "services.web.stop_signal: ECS sends") {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	var all struct {
		Services []struct{ Name string }
		Unmapped []struct{ Path, Reason string }
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all.Services) != 4 || len(all.Unmapped) == 0 {
		t.Errorf("%v: %s", err, out)
	}
	dir := filepath.Join(t.TempDir(), "ecs")
	if out, errOut, code := berth(t, "compose", "-f", file, "convert", "-o", dir); code != exitOK || out != "" {
		t.Fatalf("exit code %d: %s%s", code, out, errOut)
	}
	o := &order{}
	for _, name := range []string{"web.taskdef.json", "web.service.json"} {
		if err := o.add(&environment{}, filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if aws.ToString(o.def.Family) != "shop-web" || aws.ToString(o.spec.ServiceName) != "shop-web" {
		t.Errorf("%+v", o)
	}
	if _, err := os.Stat(filepath.Join(dir, "migrate.service.json")); !os.IsNotExist(err) {
		t.Errorf("a service that runs once has a service: %v", err)
	}
}

func TestShortName(t *testing.T) {
	long := strings.Repeat("project", 5)
	for _, c := range []struct{ name, suffix, want string }{{"shop-web", "-80", "shop-web-80"}, {"a_b", "", "a-b"}} {
		if got := shortName(c.name, c.suffix); got != c.want {
			t.Errorf("%s%s: %s", c.name, c.suffix, got)
		}
	}
	a, b := shortName(long+"-web", "-8000-tcp"), shortName(long+"-api", "-8000-tcp")
	if a == b || len(a) > balancerNameLimit || !strings.HasSuffix(a, "-8000-tcp") {
		t.Errorf("%s and %s", a, b)
	}
}
