package cli

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The execution role that AWS's console would make is made once, with what a
// task needs, and no other role is.
func TestRun_MakesTheExecutionRoleOfAWSsConsole(t *testing.T) {
	for _, test := range []struct {
		name, role string
		exists     bool
		made       []string
	}{
		{"missing", "arn:aws:iam::123456789012:role/ecsTaskExecutionRole", false, []string{"CreateRole", "AttachRolePolicy", "PutRolePolicy"}},
		{"there", "arn:aws:iam::123456789012:role/ecsTaskExecutionRole", true, nil},
		{"another", "arn:aws:iam::123456789012:role/mine", false, nil},
		{"none", "", false, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &fakeAWS{t: t}
			f.json = map[string]func(map[string]any) (any, error){
				// Whether the role is enough is not this test's question.
				"RegisterTaskDefinition": func(map[string]any) (any, error) { return nil, &refusal{"ClientException", "enough"} },
			}
			made := func(in url.Values) (string, error) {
				return "<Role><RoleName>" + in.Get("RoleName") + "</RoleName></Role>", nil
			}
			f.query = map[string]func(url.Values) (string, error){
				"GetRole": func(in url.Values) (string, error) {
					if test.exists {
						return made(in)
					}
					return "", &refusal{"NoSuchEntity", "The role with name ecsTaskExecutionRole cannot be found."}
				},
				"CreateRole": made, "AttachRolePolicy": made, "PutRolePolicy": made,
			}
			f.start()
			file := filepath.Join(t.TempDir(), "def.json")
			def, err := json.Marshal(map[string]any{"family": "x", "executionRoleArn": test.role, "containerDefinitions": []any{map[string]any{"name": "x", "image": "x", "secrets": []any{
				map[string]any{"name": "A", "valueFrom": "arn:aws:secretsmanager:us-east-1:123456789012:secret:db:password::"}, map[string]any{"name": "B", "valueFrom": "/a/b"},
			}}}})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, def, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, errOut, code := berth(t, "run", "-f", file); code != exitFailed || !strings.Contains(errOut, "enough") {
				t.Fatalf("exit code %d\n%s", code, errOut)
			}
			var calls []string
			for _, c := range f.changes() {
				if name, _, _ := strings.Cut(c, " "); name != "RegisterTaskDefinition" {
					calls = append(calls, name)
				}
			}
			if strings.Join(calls, " ") != strings.Join(test.made, " ") {
				t.Errorf("calls %q, want %q", calls, test.made)
			}
			if len(test.made) > 0 {
				policy, err := url.ParseQuery(f.called("PutRolePolicy"))
				if want := `{"Effect":"Allow","Action":["secretsmanager:GetSecretValue"],"Resource":["arn:aws:secretsmanager:us-east-1:123456789012:secret:db","arn:aws:secretsmanager:us-east-1:123456789012:secret:db-??????"]},` +
					`{"Effect":"Allow","Action":["ssm:GetParameters"],"Resource":["arn:aws:ssm:*:*:parameter/a/b"]}`; err != nil || !strings.Contains(policy.Get("PolicyDocument"), want) {
					t.Errorf("the role may %s, want %s", policy.Get("PolicyDocument"), want)
				}
				in, err := url.ParseQuery(f.called("CreateRole"))
				if err != nil || !strings.Contains(in.Get("AssumeRolePolicyDocument"), "ecs-tasks.amazonaws.com") {
					t.Errorf("nobody can assume the role: %v, %v", in, err)
				}
			}
		})
	}
}

func TestRoles_CreateAllowsWhatItSays(t *testing.T) {
	f := &fakeAWS{t: t}
	f.query = map[string]func(url.Values) (string, error){
		"CreateRole": func(url.Values) (string, error) {
			return "<Role><Arn>arn:aws:iam::123456789012:role/r</Arn></Role>", nil
		},
		"AttachRolePolicy": func(url.Values) (string, error) { return "", nil },
		"PutRolePolicy":    func(url.Values) (string, error) { return "", nil },
	}
	f.start()
	out, errOut, code := berth(t, "roles", "create", "r", "--policy", "arn:aws:iam::aws:policy/ReadOnlyAccess", "--allow", "s3:GetObject,s3:PutObject", "--on", "arn:aws:s3:::b/*")
	if code != exitOK || out != "arn:aws:iam::123456789012:role/r\n" {
		t.Fatalf("exit code %d, output %q\n%s", code, out, errOut)
	}
	in, err := url.ParseQuery(f.called("PutRolePolicy"))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":["arn:aws:s3:::b/*"]}]}`
	if got := in.Get("PolicyDocument"); got != want {
		t.Errorf("the policy is %s, want %s", got, want)
	}
	if in, err := url.ParseQuery(f.called("AttachRolePolicy")); err != nil || in.Get("PolicyArn") != "arn:aws:iam::aws:policy/ReadOnlyAccess" {
		t.Errorf("attached %v, %v", in, err)
	}
}

// A value comes from standard input, and is in no message.
func TestSecrets_Put(t *testing.T) {
	const value = "s3cr3t value"
	f := &fakeAWS{t: t}
	f.json = map[string]func(map[string]any) (any, error){
		"PutSecretValue": func(map[string]any) (any, error) { return nil, &refusal{"ResourceNotFoundException", "gone"} },
		"CreateSecret": func(in map[string]any) (any, error) {
			if in["SecretString"] != value {
				t.Errorf("the value is %q", in["SecretString"])
			}
			return map[string]any{"ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf"}, nil
		},
	}
	f.start()
	put := func(in string) (string, int) {
		var out, errOut strings.Builder
		code := Main(t.Context(), []string{"secrets", "put", "db"}, strings.NewReader(in), &out, &errOut)
		return out.String() + errOut.String(), code
	}
	if said, code := put(value + "\n"); code != exitOK || said != "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf\n" {
		t.Errorf("exit code %d: %s", code, said)
	}
	if said, code := put("\n"); code != exitMisuse || !strings.Contains(said, "empty") {
		t.Errorf("an empty value: exit code %d: %s", code, said)
	}
	if said, code := put(strings.Repeat("x", mostSecret+1)); code != exitMisuse || !strings.Contains(said, "65536") {
		t.Errorf("a value too long: exit code %d: %s", code, said)
	}
}

func TestAudit_ShowsWhatWasDenied(t *testing.T) {
	f := &fakeAWS{t: t}
	record := func(name, arn, code, message string, readOnly bool) map[string]any {
		text, err := json.Marshal(map[string]any{
			"eventTime": "2026-11-22T10:00:00Z", "eventSource": "ecs.amazonaws.com", "eventName": name, "readOnly": readOnly,
			"errorCode": code, "errorMessage": message, "userIdentity": map[string]any{"arn": arn},
		})
		if err != nil {
			t.Fatal(err)
		}
		return map[string]any{"EventId": name, "CloudTrailEvent": string(text)}
	}
	f.json = map[string]func(map[string]any) (any, error){"LookupEvents": func(map[string]any) (any, error) {
		return map[string]any{"Events": []any{ // newest first
			record("StopTask", "arn:aws:iam::123456789012:root", "", "", false),
			record("ListTasks", "arn:aws:sts::123456789012:assumed-role/web/0123", "AccessDeniedException", "User: … is not authorized", true),
			record("DescribeTasks", "arn:aws:iam::123456789012:root", "", "", true),
		}}, nil
	}}
	f.start()
	t.Setenv("TZ", "UTC")
	out, errOut, code := berth(t, "audit", "--denied")
	if code != exitOK || strings.Count(out, "\n") != 1 || !strings.Contains(out, "ecs:ListTasks  assumed-role/web/0123  ✗ AccessDeniedException: User: … is not authorized") {
		t.Errorf("exit code %d\n%s%s", code, out, errOut)
	}
	// Reads are left out, but for those that were denied.
	out, _, _ = berth(t, "audit")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 2 || !strings.Contains(lines[0], "ListTasks") || !strings.Contains(lines[1], "ecs:StopTask  root") {
		t.Errorf("the calls are\n%s", out)
	}
	out, _, _ = berth(t, "audit", "--reads", "--user", "root", "-o", "json")
	var records []map[string]any
	if err := json.Unmarshal([]byte(out), &records); err != nil || len(records) != 2 || records[0]["eventName"] != "DescribeTasks" {
		t.Errorf("%v\n%s", err, out)
	}
}
