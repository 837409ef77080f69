package compose

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/taskspec"
)

var update = flag.Bool("update", false, "write the golden files")

func load(t *testing.T, dir string) *types.Project {
	t.Helper()
	p, err := Load(t.Context(), Source{Dir: filepath.Join("testdata", dir), Files: []string{filepath.Join("testdata", dir, "compose.yaml")}, Env: []string{"API_TOKEN=t0ken"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func convert(t *testing.T, dir string) *Conversion {
	t.Helper()
	out, err := Convert(load(t, dir), Options{Region: "us-east-1", ExecutionRoleARN: "arn:aws:iam::123456789012:role/ecsTaskExecutionRole"})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// shape is an SDK value in AWS's shape, without what is not set.
func shape(t *testing.T, v any) any {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return trimmed(out, true)
}

// trimmed renames members of structs; the SDK's begin in upper case, keys of
// users' maps are kept below the members that are such maps.
func trimmed(v any, rename bool) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, value := range v {
			if value == nil || value == "" || reflect.DeepEqual(value, []any{}) {
				continue
			}
			next := name
			if rename {
				next = string(unicode.ToLower(rune(name[0]))) + name[1:]
			}
			free := slices.Contains([]string{"DockerLabels", "Options", "DriverOpts", "Labels"}, name)
			out[next] = trimmed(value, rename && !free)
		}
		return out
	case []any:
		for i := range v {
			v[i] = trimmed(v[i], rename)
		}
	}
	return v
}

// The conversions of whole files, as they were looked through.
func TestConvert_Golden(t *testing.T) {
	here, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"minimal", "wordpress", "vote", "jobs", "limits", "secrets", "xecs", "every"} {
		t.Run(dir, func(t *testing.T) {
			c := convert(t, dir)
			var services []any
			for _, s := range c.Services {
				services = append(services, map[string]any{
					"name": s.Name, "level": s.Level, "after": s.After, "ports": s.Ports,
					"taskDefinition": shape(t, s.Definition), "service": shape(t, s.Create),
				})
			}
			var secrets, unmapped []string
			for _, s := range c.Secrets {
				secrets = append(secrets, s.Name)
			}
			for _, u := range c.Unmapped {
				unmapped = append(unmapped, u.String())
			}
			var got bytes.Buffer
			encoder := json.NewEncoder(&got)
			encoder.SetIndent("", "  ")
			encoder.SetEscapeHTML(false)
			if err := encoder.Encode(map[string]any{"services": services, "secrets": secrets, "unmapped": unmapped}); err != nil {
				t.Fatal(err)
			}
			text := strings.ReplaceAll(got.String(), here, "/here")
			file := filepath.Join("testdata", dir, "golden.json")
			if *update {
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), text); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Every definition that is made is one that RegisterTaskDefinition takes.
func TestConvert_ECSTakesIt(t *testing.T) {
	for _, dir := range []string{"minimal", "wordpress", "vote", "jobs", "limits", "secrets", "xecs", "every"} {
		for _, s := range convert(t, dir).Services {
			data, err := json.Marshal(shape(t, s.Definition))
			if err != nil {
				t.Fatal(err)
			}
			decoder := json.NewDecoder(bytes.NewReader(data))
			decoder.DisallowUnknownFields()
			var def model.TaskDefinition
			if err := decoder.Decode(&def); err != nil {
				t.Fatalf("%s %s: %v", dir, s.Name, err)
			}
			if err := taskspec.Validate(taskspec.Normalize(def)); err != nil {
				t.Errorf("%s %s: %v", dir, s.Name, err)
			}
		}
	}
}

// The same project gives the same documents and the same fingerprints.
func TestConvert_IsPure(t *testing.T) {
	first := convert(t, "every")
	for range 20 {
		again := convert(t, "every")
		if diff := cmp.Diff(shape(t, first.Services), shape(t, again.Services)); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(first.Unmapped, again.Unmapped); diff != "" {
			t.Fatal(diff)
		}
		a, err := Fingerprint(first.Services[0].Definition)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := Fingerprint(again.Services[0].Definition); err != nil || a != b {
			t.Fatalf("%s, %s, %v", a, b, err)
		}
	}
}

// What becomes of a service does not depend on which others are chosen.
func TestConvert_OfChosenServices(t *testing.T) {
	all := map[string]string{}
	for _, s := range convert(t, "jobs").Services {
		all[s.Name], _ = Fingerprint([]any{s.Definition, s.Create})
	}
	for name, want := range all {
		p, err := load(t, "jobs").WithSelectedServices([]string{name}, types.IgnoreDependencies)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Convert(p, Options{Region: "us-east-1", ExecutionRoleARN: "arn:aws:iam::123456789012:role/ecsTaskExecutionRole"})
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Services) != 1 {
			t.Fatalf("%d services", len(c.Services))
		}
		if got, _ := Fingerprint([]any{c.Services[0].Definition, c.Services[0].Create}); got != want {
			t.Errorf("%s alone is another", name)
		}
	}
}

// A document has no value of a secret; the value is read when it is asked for.
func TestSecrets(t *testing.T) {
	c := convert(t, "secrets")
	documents, err := json.Marshal(c.Services)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for i := range c.Secrets {
		s := &c.Secrets[i]
		if s.External {
			continue
		}
		if values[s.Name], err = s.Value(); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(documents, []byte(strings.TrimSpace(values[s.Name]))) {
			t.Errorf("the value of %s is in a document", s.Name)
		}
	}
	want := map[string]string{"vault/api_token": "t0ken", "vault/db_password": "hunter2\n", "vault/inline": "debug: 0\n"}
	if diff := cmp.Diff(want, values); diff != "" {
		t.Error(diff)
	}
	missing := Secret{path: "secrets.x", of: types.FileObjectConfig{File: filepath.Join(t.TempDir(), "none")}}
	if _, err := missing.Value(); err == nil || !strings.Contains(err.Error(), "secrets.x: ") {
		t.Error(err)
	}
}

func TestConvert_Refuses(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"no image":              {"services: {web: {command: a}}", "neither an image nor a build context"},
		"a size beyond Fargate": {"services: {web: {image: a, deploy: {resources: {limits: {cpus: '17'}}}}}", "services.web.deploy.resources: no size of Fargate holds 17408 CPU units"},
		"a name ECS has not":    {"services: {web.1: {image: a}}", "letters, digits, - and _"},
		"x-ecs of nothing":      {"services: {web: {image: a, x-ecs: {task: {}}}}", "services.web.x-ecs has no member task"},
		"x-ecs, a slip":         {"services: {web: {image: a, x-ecs: {taskDefinition: {memry: 1}}}}", "services.web.x-ecs.taskDefinition.memry: ECS has no such member"},
		"x-ecs, a deep slip":    {"services: {web: {image: a, x-ecs: {taskDefinition: {containerDefinitions: [{ulimits: [{nme: a}]}]}}}}", "containerDefinitions[0].ulimits"},
		"x-ecs, a wrong type":   {"x-ecs: [1]\nservices: {web: {image: a}}", "x-ecs is not {taskDefinition"},
		"published, a range":    {"services: {web: {image: a, ports: [{target: 80, published: 80-90}]}}", "is not one port"},
	} {
		file := filepath.Join(t.TempDir(), "compose.yaml")
		if err := os.WriteFile(file, []byte("name: p\n"+c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := Load(t.Context(), Source{Files: []string{file}})
		if err == nil {
			_, err = Convert(p, Options{Region: "us-east-1"})
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Project files: the override beside it, a name, profiles and env files.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"compose.yaml":          "include: [more.yaml]\nservices: {web: {image: 'nginx:${TAG}'}, debug: {image: busybox, profiles: [debug]}}",
		"compose.override.yaml": "services: {web: {environment: {A: b}}}",
		"more.yaml":             "services: {cache: {image: redis}}",
		".env":                  "TAG=1.0",
		"other.env":             "TAG=2.0",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := Load(t.Context(), Source{Dir: dir, Name: "named"})
	if err != nil {
		t.Fatal(err)
	}
	if web := p.Services["web"]; p.Name != "named" || len(p.Services) != 2 || web.Image != "nginx:1.0" || *web.Environment["A"] != "b" {
		t.Errorf("%s %+v", p.Name, p.Services)
	}
	p, err = Load(t.Context(), Source{Dir: dir, Profiles: []string{"debug"}, EnvFiles: []string{filepath.Join(dir, "other.env")}})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Services) != 3 || p.Services["web"].Image != "nginx:2.0" {
		t.Errorf("%+v", p.Services)
	}
	if _, err := Load(t.Context(), Source{Dir: t.TempDir()}); err == nil {
		t.Error("a directory without a compose file is a project")
	}
}

func TestFargateSize(t *testing.T) {
	for _, c := range []struct{ need, want size }{
		{size{}, size{256, 512}},
		{size{256, 513}, size{256, 1024}},
		{size{256, 1025}, size{256, 2048}},
		{size{256, 2049}, size{512, 3072}},
		{size{257, 0}, size{512, 1024}},
		{size{1024, 2048}, size{1024, 2048}},
		{size{768, 1145}, size{1024, 2048}},
		{size{16384, 122880}, size{16384, 122880}},
	} {
		if got, ok := fargateSize(c.need); got != c.want || !ok {
			t.Errorf("%v: %v, want %v", c.need, got, c.want)
		}
	}
	for _, need := range []size{{16385, 0}, {0, 122881}} {
		if got, ok := fargateSize(need); ok {
			t.Errorf("%v fits into %v", need, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		need := size{rapid.Int64Range(0, mostUnits).Draw(t, "cpu"), rapid.Int64Range(0, mostMemory).Draw(t, "memory")}
		got, ok := fargateSize(need)
		if !ok || got.cpu < need.cpu || got.memory < need.memory || !taskspec.FargateSizeExists(got.cpu, got.memory) {
			t.Fatalf("%v: %v", need, got)
		}
	})
}

// Steps of an update in percent give the same steps when ECS rounds them; with
// more than a hundred tasks, steps that are less than a percent larger.
func TestPercentages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.Int64Range(1, 200).Draw(t, "count")
		step := rapid.Uint64Range(1, 250).Draw(t, "step")
		want := min(int64(step), count)
		low, high := percentages(&types.UpdateConfig{Parallelism: &step, Order: "start-first"}, count)
		if low != 100 || !near(count*high/100-count, want, count) {
			t.Fatalf("start-first %d by %d: %d to %d%%", count, step, low, high)
		}
		low, high = percentages(&types.UpdateConfig{Parallelism: &step}, count)
		if needed := (count*low + 99) / 100; high != 100 || !near(count-needed, want, count) {
			t.Fatalf("stop-first %d by %d: %d to %d%%", count, step, low, high)
		}
	})
	if low, high := percentages(&types.UpdateConfig{Parallelism: new(uint64)}, 5); low != 0 || high != 100 {
		t.Errorf("all at once: %d to %d%%", low, high)
	}
}

func near(got, want, count int64) bool { return got >= want && got-want <= count/100 }

func TestSecondsOf(t *testing.T) {
	for d, want := range map[types.Duration]int64{0: 0, 1: 1, 1e9: 1, 1e9 + 1: 2, 90e9: 90} {
		if got := secondsOf(d); got != want {
			t.Errorf("%s: %d", d, got)
		}
	}
}

// Merging changes nothing that something else shares.
func TestMerge_SharesNothing(t *testing.T) {
	in := &ecs.CreateServiceInput{}
	w := &work{converter: &converter{}, s: &types.ServiceConfig{}}
	in.DeploymentConfiguration = w.rollout(1)
	before := in.DeploymentConfiguration
	document := map[string]any{"deploymentConfiguration": map[string]any{"deploymentCircuitBreaker": map[string]any{"enable": false}, "maximumPercent": 150}}
	if err := merge("x", reflect.ValueOf(in).Elem(), document); err != nil {
		t.Fatal(err)
	}
	after := in.DeploymentConfiguration
	if after.DeploymentCircuitBreaker.Enable || !after.DeploymentCircuitBreaker.Rollback || *after.MaximumPercent != 150 || *after.MinimumHealthyPercent != 100 {
		t.Errorf("%+v", after)
	}
	if !before.DeploymentCircuitBreaker.Enable || *before.MaximumPercent != 200 {
		t.Error("what was shared is changed")
	}
}
