package audit_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/edge/audit"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/secretsmanagerapi"
	"berth.dev/berth/internal/wire/api/ssmapi"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/smithy"
)

var update = flag.Bool("update", false, "write the golden file")

const account = "123456789012"

var begin = time.Date(2026, 11, 22, 17, 0, 0, 123e6, time.UTC)

func operation(t testing.TB, api *smithy.Service, name string) *smithy.Operation {
	t.Helper()
	op, ok := api.Operation(name)
	if !ok {
		t.Fatalf("no operation %s", name)
	}
	return op
}

func root() caller.Identity {
	return caller.Identity{
		AccountID: account, ARN: "arn:aws:iam::" + account + ":root", UserID: account, AccessKeyID: "AKIAROOT",
		SourceIP: "127.0.0.1", UserAgent: "aws-cli/2", Region: "us-east-1", RequestID: "request",
	}
}

func session(role, name, service string) caller.Identity {
	return caller.Identity{
		AccountID: account, ARN: "arn:aws:sts::" + account + ":assumed-role/" + role + "/" + name, UserID: "AROA1:" + name, AccessKeyID: "ASIA1",
		Session:  &caller.Session{RoleARN: "arn:aws:iam::" + account + ":role/path/" + role, RoleID: "AROA1", Name: name, IssuedAt: begin.Add(-time.Hour)},
		SourceIP: "10.0.0.7", UserAgent: "boto3", Service: service,
	}
}

// The records of typical calls, as CloudTrail writes them.
func TestEvents(t *testing.T) {
	call := func(who caller.Identity, api *smithy.Service, op string, in, out smithy.Shape, code, message string) gateway.AuditRecord {
		return gateway.AuditRecord{
			Time: begin, RequestID: "request", Caller: who, Service: api, Operation: operation(t, api, op), SigningName: api.SigningName, Asked: op,
			Input: in, Output: out, ErrorCode: code, ErrorMessage: message,
		}
	}
	user := root()
	user.ARN, user.UserID, user.UserName = "arn:aws:iam::"+account+":user/dev/ann", "AIDA1", "ann"
	web := session("web", "s", "")
	web.Session.FederatedProvider, web.Session.SourceIdentity = "https://issuer.example", "ann"
	secure := call(root(), ssmapi.API, "PutParameter", &ssmapi.PutParameterInput{Name: new("/a"), Value: new("canary"), Type: "String", Overwrite: new(true)}, &ssmapi.PutParameterOutput{Version: new(int64(1))}, "", "")
	secure.TLS, secure.Host = &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256}, "berth:4566"
	var out bytes.Buffer
	for _, tt := range []struct {
		name string
		call gateway.AuditRecord
	}{
		{"a call that changes something, over TLS", secure},
		{"a call that reads, by a user", call(user, ecsapi.API, "DescribeTasks", &ecsapi.DescribeTasksInput{Cluster: new("c"), Tasks: []string{"t"}}, &ecsapi.DescribeTasksOutput{}, "", "")},
		{"an execution role", call(session("ecsTaskExecutionRole", "task", "ecs-tasks.amazonaws.com"), secretsmanagerapi.API, "GetSecretValue",
			&secretsmanagerapi.GetSecretValueInput{SecretId: new("db")}, &secretsmanagerapi.GetSecretValueOutput{SecretString: new("canary")}, "", "")},
		{"a denied call", call(session("ecsTaskRole", "task", ""), ecsapi.API, "RunTask", &ecsapi.RunTaskInput{TaskDefinition: new("t")}, nil, "AccessDeniedException", "User: x is not authorized")},
		{"a web identity's session", call(web, stsapi.API, "GetCallerIdentity", &stsapi.GetCallerIdentityInput{}, &stsapi.GetCallerIdentityOutput{}, "", "")},
		{"credentials given out", call(user, stsapi.API, "AssumeRole", &stsapi.AssumeRoleInput{RoleArn: new("arn:r"), RoleSessionName: new("s"), ExternalId: new("kept")},
			&stsapi.AssumeRoleOutput{Credentials: &stsapi.Credentials{AccessKeyId: new("ASIA2"), SecretAccessKey: new("canary"), SessionToken: new("canary"), Expiration: &begin}}, "", "")},
		{"a web identity", call(caller.Identity{SourceIP: "10.0.0.8", UserAgent: "sdk"}, stsapi.API, "AssumeRoleWithWebIdentity",
			&stsapi.AssumeRoleWithWebIdentityInput{RoleArn: new("arn:r"), RoleSessionName: new("s"), WebIdentityToken: new("canary")},
			&stsapi.AssumeRoleWithWebIdentityOutput{
				Provider: new("issuer.example"), Audience: new("app"), SubjectFromWebIdentityToken: new("repo:x"),
				Credentials: &stsapi.Credentials{AccessKeyId: new("ASIA3"), SecretAccessKey: new("canary"), SessionToken: new("canary"), Expiration: &begin},
			}, "", "")},
		{"an EC2 refusal", call(root(), ec2api.API, "DescribeVpcs", &ec2api.DescribeVpcsInput{VpcIds: []string{"vpc-1"}}, nil, "InvalidVpcID.NotFound", "none")},
		{"an operation that is not there", gateway.AuditRecord{Time: begin, RequestID: "request", Caller: root(), SigningName: "s3", Asked: "PutObject\n\"x\"", ErrorCode: "NotImplemented", ReadOnly: true}},
		{"a stranger", gateway.AuditRecord{
			Time: begin, RequestID: "request", Caller: caller.Identity{AccessKeyID: "AKIAX", SourceIP: "10.1.1.1"}, Service: ecsapi.API,
			Operation: operation(t, ecsapi.API, "RunTask"), ErrorCode: "UnrecognizedClientException", ErrorMessage: "The security token included in the request is invalid.", ReadOnly: true,
		}},
		{"a service of ours", call(caller.Identity{Service: "ecs.amazonaws.com"}, ecsapi.API, "ListClusters", &ecsapi.ListClustersInput{}, nil, "", "")},
	} {
		text := audit.Encode(account, "us-east-1", &tt.call)
		if strings.Contains(text, "canary") {
			t.Errorf("%s: a secret in %s", tt.name, text)
		}
		fmt.Fprintf(&out, "# %s\n", tt.name)
		if err := json.Indent(&out, []byte(text), "", "  "); err != nil {
			t.Fatalf("%s: %v: %s", tt.name, err, text)
		}
		out.WriteString("\n\n")
	}
	got := regexp.MustCompile(`"eventID": "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"`).ReplaceAll(out.Bytes(), []byte(`"eventID": "EVENT"`))
	const path = "testdata/events.golden"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s", got)
	}
}

// What a record may hold is bounded, whatever is sent.
func TestBounds(t *testing.T) {
	huge := strings.Repeat("\x01", 100_000)
	tags := make([]ecsapi.Tag, 1000)
	for i := range tags {
		tags[i] = ecsapi.Tag{Key: &huge, Value: &huge}
	}
	who := root()
	who.UserAgent, who.AccessKeyID = huge, huge
	text := audit.Encode(account, "us-east-1", &gateway.AuditRecord{
		Time: begin, Caller: who, Service: ecsapi.API, Operation: operation(t, ecsapi.API, "CreateCluster"),
		Input: &ecsapi.CreateClusterInput{ClusterName: new("x"), Tags: tags}, ErrorCode: "X", ErrorMessage: huge,
	})
	if len(text) > 64<<10 || !json.Valid([]byte(text)) {
		t.Errorf("a record of %d bytes", len(text))
	}
	if !strings.Contains(text, `"requestParameters":{"omitted":true,"reason":"requestParameters too large"}`) {
		t.Error(text[:2000])
	}
	long := strings.Repeat("ü", 5000)
	text = audit.Encode(account, "us-east-1", &gateway.AuditRecord{Time: begin, Caller: root(), Service: ecsapi.API, Operation: operation(t, ecsapi.API, "CreateCluster"), Input: &ecsapi.CreateClusterInput{ClusterName: &long}})
	var event struct{ RequestParameters struct{ ClusterName string } }
	if err := json.Unmarshal([]byte(text), &event); err != nil || event.RequestParameters.ClusterName != strings.Repeat("ü", 4096)+"…" {
		t.Errorf("%v: %d bytes of a long name", err, len(event.RequestParameters.ClusterName))
	}
}

func TestReads(t *testing.T) {
	for name, want := range map[string]bool{"GetParameter": true, "PutParameter": false, "LabelParameterVersion": false, "DescribeParameters": true} {
		if got := audit.Reads(operation(t, ssmapi.API, name)); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if !audit.Reads(nil) || !audit.Reads(operation(t, stsapi.API, "AssumeRole")) || audit.Reads(operation(t, ecsapi.API, "RunTask")) {
		t.Error("wrong")
	}
}
