package smithy_test

import (
	"errors"
	"strings"
	"testing"

	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/api/ecrapi"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/logsapi"
	"berth.dev/berth/internal/wire/smithy"
)

func TestValidate(t *testing.T) {
	const tagPattern = `([\p{L}\p{Z}\p{N}_.:/=+\-@]*)`
	tests := []struct {
		name string
		api  *smithy.Service
		op   string
		in   smithy.Shape
		code string
		want string // "" for no error
	}{
		{name: "nothing to say", api: ecsapi.API, op: "RunTask", in: &ecsapi.RunTaskInput{TaskDefinition: new("t")}},
		{
			name: "missing", api: ecsapi.API, op: "RunTask", in: &ecsapi.RunTaskInput{}, code: "InvalidParameterException",
			want: "1 validation error detected: Value null at 'taskDefinition' failed to satisfy constraint: Member must not be null",
		},
		{
			name: "missing, with the operation's own code", api: ecsapi.API, op: "RegisterTaskDefinition",
			in: &ecsapi.RegisterTaskDefinitionInput{}, code: "ClientException",
			want: "2 validation errors detected: Value null at 'family' failed to satisfy constraint: Member must not be null; " +
				"Value null at 'containerDefinitions' failed to satisfy constraint: Member must not be null",
		},
		{
			name: "the first member is missing, a list of structures is there", api: ecsapi.API, op: "TagResource", code: "InvalidParameterException",
			in:   &ecsapi.TagResourceInput{Tags: []ecsapi.Tag{{Key: new("k")}}},
			want: "1 validation error detected: Value null at 'resourceArn' failed to satisfy constraint: Member must not be null",
		},
		{
			name: "empty but present", api: ecsapi.API, op: "RegisterTaskDefinition",
			in: &ecsapi.RegisterTaskDefinitionInput{Family: new(""), ContainerDefinitions: []ecsapi.ContainerDefinition{}},
		},
		{
			name: "missing, deep", api: ecsapi.API, op: "RegisterTaskDefinition", code: "ClientException",
			in: &ecsapi.RegisterTaskDefinitionInput{Family: new("f"), ContainerDefinitions: []ecsapi.ContainerDefinition{
				{}, {Ulimits: []ecsapi.Ulimit{{Name: ecsapi.UlimitNameCore, SoftLimit: new(int32(1)), HardLimit: new(int32(1))}, {Name: ecsapi.UlimitNameCpu, SoftLimit: new(int32(1))}}},
			}},
			want: "1 validation error detected: Value null at 'containerDefinitions.2.member.ulimits.2.member.hardLimit' failed to satisfy constraint: Member must not be null",
		},
		{
			name: "string too short", api: ecsapi.API, op: "CreateCluster", code: "InvalidParameterException",
			in:   &ecsapi.CreateClusterInput{Tags: []ecsapi.Tag{{Key: new("")}}},
			want: "1 validation error detected: Value '' at 'tags.1.member.key' failed to satisfy constraint: Member must have length greater than or equal to 1",
		},
		{
			name: "pattern, whole value, and length in characters", api: ecsapi.API, op: "CreateCluster", code: "InvalidParameterException",
			in: &ecsapi.CreateClusterInput{Tags: []ecsapi.Tag{{Key: new(strings.Repeat("é", 128)), Value: new("ok\n!")}}},
			want: "1 validation error detected: Value 'ok\n!' at 'tags.1.member.value' failed to satisfy constraint: " +
				"Member must satisfy regular expression pattern: " + tagPattern,
		},
		{
			name: "one value, two violations", api: logsapi.API, op: "CreateLogGroup", code: "InvalidParameterException",
			in: &logsapi.CreateLogGroupInput{LogGroupName: new("")},
			want: "2 validation errors detected: Value '' at 'logGroupName' failed to satisfy constraint: Member must have length greater than or equal to 1; " +
				`Value '' at 'logGroupName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\.\-_/#A-Za-z0-9]+`,
		},
		{
			name: "range", api: logsapi.API, op: "DescribeLogGroups", code: "InvalidParameterException",
			in:   &logsapi.DescribeLogGroupsInput{Limit: new(int32(51))},
			want: "1 validation error detected: Value '51' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 50",
		},
		{
			name: "range, the other end", api: logsapi.API, op: "DescribeLogGroups", code: "InvalidParameterException",
			in:   &logsapi.DescribeLogGroupsInput{Limit: new(int32(0))},
			want: "1 validation error detected: Value '0' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1",
		},
		{
			name: "enum", api: logsapi.API, op: "DescribeLogStreams", code: "InvalidParameterException",
			in:   &logsapi.DescribeLogStreamsInput{LogGroupName: new("g"), OrderBy: "Age"},
			want: "1 validation error detected: Value 'Age' at 'orderBy' failed to satisfy constraint: Member must satisfy enum value set: [LogStreamName, LastEventTime]",
		},
		{
			name: "enum in a list", api: ecsapi.API, op: "DescribeTasks", code: "InvalidParameterException",
			in:   &ecsapi.DescribeTasksInput{Tasks: []string{"t"}, Include: []ecsapi.TaskField{"TAGS", "MORE"}},
			want: "1 validation error detected: Value '[TAGS, MORE]' at 'include' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [TAGS]]",
		},
		{
			name: "scalars in a list: all their rules", api: logsapi.API, op: "FilterLogEvents", code: "InvalidParameterException",
			in: &logsapi.FilterLogEventsInput{LogStreamNames: []string{"ok", "a:b"}},
			want: "1 validation error detected: Value '[ok, a:b]' at 'logStreamNames' failed to satisfy constraint: Member must satisfy constraint: " +
				"[Member must have length less than or equal to 512, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: [^:*]*]",
		},
		{
			name: "list too short", api: logsapi.API, op: "PutLogEvents", code: "InvalidParameterException",
			in:   &logsapi.PutLogEventsInput{LogGroupName: new("g"), LogStreamName: new("s"), LogEvents: []logsapi.InputLogEvent{}},
			want: "1 validation error detected: Value '[]' at 'logEvents' failed to satisfy constraint: Member must have length greater than or equal to 1",
		},
		{
			name: "list too long shows structures", api: logsapi.API, op: "UntagResource", code: "InvalidParameterException",
			in: &logsapi.UntagResourceInput{ResourceArn: new("arn"), TagKeys: make([]string, 51)},
			want: "2 validation errors detected: Value '[" + strings.Repeat(", ", 50) + "]' at 'tagKeys' failed to satisfy constraint: Member must have length less than or equal to 50; " +
				"Value '[" + strings.Repeat(", ", 50) + "]' at 'tagKeys' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 128, " +
				`Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: ^([\p{L}\p{Z}\p{N}_.:/=+\-@]+)$]`,
		},
		{
			name: "map keys and values", api: logsapi.API, op: "TagResource", code: "InvalidParameterException",
			in: &logsapi.TagResourceInput{ResourceArn: new("arn"), Tags: map[string]string{"b": "?", "!": "v"}},
			want: "2 validation errors detected: Value '{!=v, b=?}' at 'tags' failed to satisfy constraint: Map keys must satisfy constraint: [Member must have length less than or equal to 128, " +
				`Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: ^([\p{L}\p{Z}\p{N}_.:/=+\-@]+)$]; ` +
				"Value '{!=v, b=?}' at 'tags' failed to satisfy constraint: Map value must satisfy constraint: [Member must have length less than or equal to 256, " +
				`Member must satisfy regular expression pattern: ^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$]`,
		},
		{
			name: "a violation beside a missing member", api: logsapi.API, op: "CreateLogStream", code: "InvalidParameterException",
			in: &logsapi.CreateLogStreamInput{LogStreamName: new("a*")},
			want: "2 validation errors detected: Value 'a*' at 'logStreamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [^:*]*; " +
				"Value null at 'logGroupName' failed to satisfy constraint: Member must not be null",
		},
		{
			name: "EC2 range", api: ec2api.API, op: "DescribeVpcs", code: "InvalidParameterValue",
			in:   &ec2api.DescribeVpcsInput{MaxResults: new(int32(2000))},
			want: "Value ( 2000 ) for parameter maxResults is invalid. Expecting a value smaller than 1000.",
		},
		{
			name: "ECR length", api: ecrapi.API, op: "BatchDeleteImage", code: "InvalidParameterException",
			in:   &ecrapi.BatchDeleteImageInput{RepositoryName: new("app"), ImageIds: []ecrapi.ImageIdentifier{}},
			want: "Invalid parameter at 'imageIds' failed to satisfy constraint: 'Member must have length greater than or equal to 1'",
		},
		{
			name: "ECR pattern", api: ecrapi.API, op: "GetRepositoryPolicy", code: "InvalidParameterException",
			in: &ecrapi.GetRepositoryPolicyInput{RepositoryName: new("App")},
			want: "Invalid parameter at 'repositoryName' failed to satisfy constraint: " +
				`'must satisfy regular expression '[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*''`,
		},
		{
			name: "ECR pattern in a list", api: ecrapi.API, op: "GetAuthorizationToken", code: "InvalidParameterException",
			in:   &ecrapi.GetAuthorizationTokenInput{RegistryIds: []string{"12"}},
			want: "Invalid parameter at 'registryIds' failed to satisfy constraint: 'Member must satisfy constraint: [Member must satisfy regular expression pattern: [0-9]{12}]'",
		},
		{
			name: "ECR missing", api: ecrapi.API, op: "GetRepositoryPolicy", code: "InvalidParameterException",
			in:   &ecrapi.GetRepositoryPolicyInput{},
			want: "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'Member must not be null'",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			op, ok := tt.api.Operation(tt.op)
			if !ok {
				t.Fatalf("no operation %s", tt.op)
			}
			err := smithy.Validate(op, tt.in)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var got *smithy.ValidationError
			if !errors.As(err, &got) {
				t.Fatalf("got %v, want a ValidationError", err)
			}
			if got.ErrorMessage() != tt.want {
				t.Errorf("message\n got %s\nwant %s", got.ErrorMessage(), tt.want)
			}
			if got.ErrorCode() != tt.code || got.HTTPStatus() != 400 || got.Fault() != smithy.FaultClient {
				t.Errorf("got %s %d %v, want %s", got.ErrorCode(), got.HTTPStatus(), got.Fault(), tt.code)
			}
		})
	}
}

// TestValidateLimits: a hostile request does not get a hostile answer.
func TestValidateLimits(t *testing.T) {
	op, _ := ecsapi.API.Operation("CreateCluster")
	tags := make([]ecsapi.Tag, 50)
	for i := range tags {
		tags[i].Key = new(strings.Repeat("!", 1<<20))
	}
	err := smithy.Validate(op, &ecsapi.CreateClusterInput{Tags: tags})
	var got *smithy.ValidationError
	if !errors.As(err, &got) {
		t.Fatalf("got %v", err)
	}
	if len(got.Violations) != 10 || !strings.HasPrefix(got.ErrorMessage(), "10 validation errors detected: ") {
		t.Errorf("%d violations", len(got.Violations))
	}
	if n := len(got.ErrorMessage()); n > 20_000 {
		t.Errorf("message has %d bytes", n)
	}
}

func TestSensitiveIsNotRepeated(t *testing.T) {
	secret := &smithy.Schema{Name: "Secret", Kind: smithy.KindString, Sensitive: true, Bounds: smithy.Bounds{HasMin: true, Min: 100}}
	doc := &smithy.Schema{Name: "Doc", Kind: smithy.KindStructure, Members: []*smithy.Member{{Name: "Password", Target: secret}}}
	op := &smithy.Operation{Input: doc, Codes: smithy.Codes{Violation: "ValidationError"}}
	err := smithy.Validate(op, document{doc, "hunter2"})
	if err == nil || strings.Contains(err.Error(), "hunter2") ||
		err.Error() != "ValidationError: 1 validation error detected: Value at 'password' failed to satisfy constraint: Member must have length greater than or equal to 100" {
		t.Errorf("got %v", err)
	}
}

// document is a shape with one string.
type document struct {
	schema *smithy.Schema
	value  string
}

func (d document) Schema() *smithy.Schema { return d.schema }

func (d document) Serialize(s smithy.ShapeSerializer) { s.WriteString(d.schema.Members[0], d.value) }

func (d document) Deserialize(r smithy.ShapeDeserializer) error {
	return r.ReadStruct(d.schema, func(*smithy.Member) error { return nil })
}
