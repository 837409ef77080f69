package access

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/awsjson"
	"berth.dev/berth/internal/wire/awsquery"
	"berth.dev/berth/internal/wire/ec2query"
	"berth.dev/berth/internal/wire/smithy"
)

var scope = arn.Scope{Region: "us-east-1", AccountID: "123456789012"}

// world is what exists in the golden examples.
type world struct{}

func (world) Resolve(kind Kind, name string) (string, bool) {
	const iamARN = "arn:aws:iam::123456789012:"
	found := map[string]string{
		fmt.Sprint(Role, "appRole"):                  iamARN + "role/team/appRole",
		fmt.Sprint(Role, iamARN+"role/team/appRole"): iamARN + "role/team/appRole",
		fmt.Sprint(User, "dev"):                      iamARN + "user/people/dev",
		fmt.Sprint(Group, "ops"):                     iamARN + "group/ops",
		fmt.Sprint(Secret, "db"):                     "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf",
		fmt.Sprint(KMSKey, "alias/app"):              "arn:aws:kms:us-east-1:123456789012:key/1111",
		fmt.Sprint(KMSAlias, "alias/app"):            "arn:aws:kms:us-east-1:123456789012:key/1111",
		fmt.Sprint(KMSKey, "2222"):                   "arn:aws:kms:us-east-1:123456789012:key/2222",
		fmt.Sprint(InstanceProfile, "ecsInstance"):   iamARN + "instance-profile/ecsInstance",
	}[fmt.Sprint(kind, name)]
	return found, found != ""
}

func (world) Tags(resource string) []model.Tag {
	if strings.HasSuffix(resource, ":secret:db-AbCdEf") || strings.HasSuffix(resource, "task/prod/0123") {
		return []model.Tag{{Key: "Team", Value: "blue"}}
	}
	return nil
}

func (world) TaskDefinition(name string) (*model.TaskDefinition, bool) {
	if !strings.HasSuffix(name, "app") && !strings.HasSuffix(name, "app:7") {
		return nil, false
	}
	return &model.TaskDefinition{
		Family: "app", Revision: 7, ARN: scope.TaskDefinition("app", 7), CPU: "256", Memory: "512",
		TaskRoleARN: "appRole", ExecutionRoleARN: "arn:aws:iam::123456789012:role/exec",
		RequiresCompatibilities: []string{"FARGATE"},
		ContainerDefinitions:    []model.ContainerDefinition{{Name: "a"}, {Name: "b", Privileged: new(true)}},
	}, true
}

func (world) Boundary(resource string) string {
	if strings.HasSuffix(resource, ":user/people/dev") {
		return "arn:aws:iam::123456789012:policy/limits"
	}
	return ""
}

func (world) SecurityGroup(name string) (string, bool) { return "sg-1", name == "web" }

// decode reads an input as its service's clients send it: JSON, or a form.
func decode(t testing.TB, api *smithy.Service, op *smithy.Operation, input string) smithy.Shape {
	t.Helper()
	var protocol smithy.Protocol
	r := &http.Request{Method: "POST", URL: &url.URL{Path: "/"}, Header: http.Header{}}
	switch api.Protocol {
	case "json":
		protocol = awsjson.JSON11()
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	case "ec2":
		protocol = ec2query.EC2()
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	default:
		protocol = awsquery.Query()
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	in, err := protocol.DecodeRequest(api, op, r, []byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func find(t testing.TB, action string) (*smithy.Service, *smithy.Operation) {
	t.Helper()
	prefix, name, _ := strings.Cut(action, ":")
	for _, api := range apis {
		if api.SigningName == prefix {
			if op, ok := api.Operation(name); ok {
				return api, op
			}
		}
	}
	t.Fatalf("%s is not generated", action)
	return nil, nil
}

// The golden examples: an operation, its input as it is sent, and what its
// caller needs. Run with UPDATE_GOLDEN=1 to write them anew, and read the
// difference.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			for example := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
				out.WriteString(golden(t, example) + "\n")
			}
			got := strings.TrimSpace(out.String()) + "\n"
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(text) {
				t.Errorf("%s differs:\n%s", file, got)
			}
		})
	}
}

// golden renders an example: its comment and question as they are, the answer
// anew.
func golden(t *testing.T, example string) string {
	var out strings.Builder
	for line := range strings.Lines(example) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			out.WriteString(line + "\n")
			continue
		}
		action, input, _ := strings.Cut(line, " ")
		if strings.HasPrefix(line, "→") {
			continue
		}
		out.WriteString(line + "\n")
		api, op := find(t, action)
		checks, err := Checks(Query{
			Scope: scope, Service: api.SigningName, Operation: op.Name, Input: decode(t, api, op, input),
			Caller: "arn:aws:iam::123456789012:user/me",
		}, world{})
		if err != nil {
			t.Fatal(err)
		}
		if len(checks) == 0 {
			out.WriteString("→ nothing\n")
		}
		for _, c := range checks {
			out.WriteString("→ " + c.Action + " " + c.Resource)
			for _, k := range c.Keys {
				out.WriteString(" " + k.Name + "=" + strings.Join(k.Values, ","))
			}
			for _, tag := range c.Tags {
				out.WriteString(" [" + tag.Key + "=" + tag.Value + "]")
			}
			out.WriteString("\n")
		}
	}
	return out.String()
}

func TestNoRow(t *testing.T) {
	for _, q := range []Query{{Service: "ecs", Operation: "MakeCoffee"}, {Service: "s3", Operation: "GetObject"}} {
		if checks, err := Checks(q, world{}); err == nil {
			t.Errorf("%+v needs %v, want an error", q, checks)
		}
	}
}

// Property: whatever an input holds, making the checks neither fails nor asks
// for nothing where something is asked of an empty input; and no check has an
// empty resource.
func TestAnyInput(t *testing.T) {
	api, _ := find(t, "ecs:RunTask")
	rapid.Check(t, func(rt *rapid.T) {
		op := rapid.SampledFrom(api.Operations).Draw(rt, "operation")
		members := map[string]any{}
		text := rapid.SampledFrom([]string{"", "a", "app", "app:7", "arn:aws:ecs:us-east-1:123456789012:task/prod/0123", "/", ":", "a/b/c", "arn:"})
		for _, m := range op.Input.Members {
			switch m.Target.Kind {
			case smithy.KindString:
				members[m.Name] = text.Draw(rt, m.Name)
			case smithy.KindList:
				if m.Target.Elem.Target.Kind == smithy.KindString {
					members[m.Name] = rapid.SliceOfN(text, 0, 3).Draw(rt, m.Name)
				}
			}
		}
		body, err := json.Marshal(members)
		if err != nil {
			rt.Fatal(err)
		}
		checks, err := Checks(Query{Scope: scope, Service: "ecs", Operation: op.Name, Input: decode(t, api, op, string(body))}, world{})
		if err != nil {
			rt.Fatal(err)
		}
		own := slices.ContainsFunc(checks, func(c Check) bool { return c.Action == "ecs:"+op.Name })
		if !own || slices.ContainsFunc(checks, func(c Check) bool { return c.Resource == "" }) {
			rt.Fatalf("%s %s: %+v", op.Name, body, checks)
		}
	})
}
