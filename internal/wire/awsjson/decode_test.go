package awsjson

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/logsapi"
	"berth.dev/berth/internal/wire/smithy"
)

func TestDecode(t *testing.T) {
	tests := []struct {
		name string
		body string
		in   smithy.Shape
		want smithy.Shape
	}{
		{"empty body", "", &ecsapi.ListClustersInput{}, &ecsapi.ListClustersInput{}},
		{"white space", " \n", &ecsapi.ListClustersInput{}, &ecsapi.ListClustersInput{}},
		{"empty object", "{}", &ecsapi.ListClustersInput{}, &ecsapi.ListClustersInput{}},
		{"null document", "null", &ecsapi.ListClustersInput{}, &ecsapi.ListClustersInput{}},
		{
			"scalars", `{"maxResults": 10, "nextToken": "a\u00e9\"\\"}`,
			&ecsapi.ListClustersInput{}, &ecsapi.ListClustersInput{MaxResults: new(int32(10)), NextToken: new(`aé"\`)},
		},
		{
			"unknown members, at any depth, are ignored",
			`{"cluster":"c","bogus":{"x":[1,{}]},"tags":[{"key":"k","value":"v","color":"red"}],"taskDefinition":"t"}`,
			&ecsapi.RunTaskInput{},
			&ecsapi.RunTaskInput{Cluster: new("c"), TaskDefinition: new("t"), Tags: []ecsapi.Tag{{Key: new("k"), Value: new("v")}}},
		},
		{"names are case-sensitive", `{"Cluster":"c"}`, &ecsapi.RunTaskInput{}, &ecsapi.RunTaskInput{}},
		{"null is absent", `{"cluster":null,"tags":null,"overrides":null}`, &ecsapi.RunTaskInput{}, &ecsapi.RunTaskInput{}},
		{"the last duplicate wins", `{"cluster":"a","cluster":"b"}`, &ecsapi.RunTaskInput{}, &ecsapi.RunTaskInput{Cluster: new("b")}},
		{"also when it is null", `{"cluster":"a","cluster":null}`, &ecsapi.RunTaskInput{}, &ecsapi.RunTaskInput{}},
		{
			"duplicates do not mix", `{"tags":[{"key":"a"}],"tags":[{"value":"b"}]}`,
			&ecsapi.RunTaskInput{}, &ecsapi.RunTaskInput{Tags: []ecsapi.Tag{{Value: new("b")}}},
		},
		{"an empty list is present", `{"tags":[]}`, &ecsapi.RunTaskInput{}, &ecsapi.RunTaskInput{Tags: []ecsapi.Tag{}}},
		{"null elements are dropped", `{"tasks":["a",null,"b"]}`, &ecsapi.DescribeTasksInput{}, &ecsapi.DescribeTasksInput{Tasks: []string{"a", "b"}}},
		{"enums are strings", `{"launchType":"BOGUS"}`, &ecsapi.RunTaskInput{}, &ecsapi.RunTaskInput{LaunchType: "BOGUS"}},
		{"booleans", `{"enableECSManagedTags":true}`, &ecsapi.RunTaskInput{}, &ecsapi.RunTaskInput{EnableECSManagedTags: new(true)}},
		{"a whole float is an integer", `{"count":1.0}`, &ecsapi.RunTaskInput{}, &ecsapi.RunTaskInput{Count: new(int32(1))}},
		{"a fraction is cut off", `{"count":-1.9}`, &ecsapi.RunTaskInput{}, &ecsapi.RunTaskInput{Count: new(int32(-1))}},
		{"an exponent counts", `{"count":1.2e1}`, &ecsapi.RunTaskInput{}, &ecsapi.RunTaskInput{Count: new(int32(12))}},
		{"largest integer", `{"count":2147483647}`, &ecsapi.RunTaskInput{}, &ecsapi.RunTaskInput{Count: new(int32(2147483647))}},
		{
			"longs keep all digits", `{"logGroupName":"g","startTime":9223372036854775807,"endTime":-9223372036854775808}`,
			&logsapi.FilterLogEventsInput{},
			&logsapi.FilterLogEventsInput{LogGroupName: new("g"), StartTime: new(int64(9223372036854775807)), EndTime: new(int64(-9223372036854775808))},
		},
		{
			"maps", `{"containerDefinitions":[{"dockerLabels":{"b":"2","a":"1","n":null}}]}`,
			&ecsapi.RegisterTaskDefinitionInput{},
			&ecsapi.RegisterTaskDefinitionInput{ContainerDefinitions: []ecsapi.ContainerDefinition{{DockerLabels: map[string]string{"a": "1", "b": "2"}}}},
		},
		{
			"nested structures", `{"networkConfiguration":{"awsvpcConfiguration":{"subnets":["s"],"assignPublicIp":"ENABLED"}}}`,
			&ecsapi.RunTaskInput{},
			&ecsapi.RunTaskInput{NetworkConfiguration: &ecsapi.NetworkConfiguration{AwsvpcConfiguration: &ecsapi.AwsVpcConfiguration{
				Subnets: []string{"s"}, AssignPublicIp: ecsapi.AssignPublicIpEnabled,
			}}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := decode([]byte(tt.body), "SerializationException", tt.in); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, tt.in); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestDecodeTime(t *testing.T) {
	for body, want := range map[string]time.Time{
		"1581968848":       time.Unix(1581968848, 0),
		"1581968848.921":   time.UnixMilli(1581968848921),
		"1.581968848921E9": time.UnixMilli(1581968848921),
		"1581968848.9214":  time.UnixMilli(1581968848921),
		"0":                time.Unix(0, 0),
		"-0.5":             time.UnixMilli(-500),
	} {
		task := &ecsapi.Task{}
		if err := decode([]byte(`{"createdAt":`+body+`}`), "", task); err != nil {
			t.Errorf("%s: %v", body, err)
		} else if !task.CreatedAt.Equal(want) {
			t.Errorf("%s = %v, want %v", body, task.CreatedAt, want)
		}
	}
}

func TestDecodeRefusals(t *testing.T) {
	run, list := &ecsapi.RunTaskInput{}, &ecsapi.DescribeTasksInput{}
	register, task := &ecsapi.RegisterTaskDefinitionInput{}, &ecsapi.Task{}
	tests := []struct {
		name, body string
		in         smithy.Shape
		want       string
	}{
		{"number for a string", `{"cluster":5}`, run, "NUMBER_VALUE can not be converted to a String"},
		{"true for a string", `{"cluster":true}`, run, "TRUE_VALUE can not be converted to a String"},
		{"false for a string", `{"cluster":false}`, run, "FALSE_VALUE can not be converted to a String"},
		{"list for a string", `{"cluster":[]}`, run, "Start of list found where not expected"},
		{"object for a string", `{"cluster":{}}`, run, "Start of structure or map found where not expected."},
		{"string for an integer", `{"count":"1"}`, run, "STRING_VALUE can not be converted to an Integer"},
		{"integer overflow", `{"count":2147483648}`, run, "NUMBER_VALUE can not be converted to an Integer"},
		{"integer underflow", `{"count":-2147483649}`, run, "NUMBER_VALUE can not be converted to an Integer"},
		{"huge exponent", `{"count":1e999999999}`, run, "NUMBER_VALUE can not be converted to an Integer"},
		{"long overflow", `{"startTime":9223372036854775808}`, &logsapi.FilterLogEventsInput{}, "NUMBER_VALUE can not be converted to a Long"},
		{"long overflow by exponent", `{"startTime":1e19}`, &logsapi.FilterLogEventsInput{}, "NUMBER_VALUE can not be converted to a Long"},
		{"string for a boolean", `{"enableECSManagedTags":"true"}`, run, "STRING_VALUE can not be converted to a Boolean"},
		{"number for a boolean", `{"enableECSManagedTags":1}`, run, "NUMBER_VALUE can not be converted to a Boolean"},
		{"string for a timestamp", `{"createdAt":"2026-01-01T00:00:00Z"}`, task, "STRING_VALUE can not be converted to milliseconds since epoch"},
		{"timestamp out of range", `{"createdAt":1e300}`, task, "NUMBER_VALUE can not be converted to milliseconds since epoch"},
		{"string for a list", `{"tasks":"a"}`, list, "Expected list or null"},
		{"object for a list", `{"tasks":{}}`, list, "Start of structure or map found where not expected."},
		{"string for a structure", `{"overrides":"a"}`, run, "Expected null"},
		{"list for a structure", `{"overrides":[]}`, run, "Start of list found where not expected"},
		{"string for a map", `{"containerDefinitions":[{"dockerLabels":"a"}]}`, register, "Expected map or null"},
		{"list for a map", `{"containerDefinitions":[{"dockerLabels":[]}]}`, register, "Start of list found where not expected"},
		{"deep inside", `{"containerDefinitions":[{},{"environment":[{"name":1}]}]}`, register, "NUMBER_VALUE can not be converted to a String"},
		{"first in the model's order", `{"taskDefinition":1,"cluster":true}`, run, "TRUE_VALUE can not be converted to a String"},
		{"document is a list", `[]`, run, "Start of list found where not expected"},
		{"document is a string", `"x"`, run, "Expected null"},
		{"no JSON", `Action=RunTask`, run, ""},
		{"cut off", `{"cluster":"a"`, run, ""},
		{"two documents", `{} {}`, run, ""},
		{"garbage after the document", `{}x`, run, ""},
		{"not UTF-8 outside a string", "{\xff}", run, ""},
		{"too deep", strings.Repeat(`{"overrides":`, 65) + strings.Repeat("}", 65), run, ""},
		{"too many values", `{"tasks":[` + strings.Repeat(`"",`, maxValues) + `""]}`, list, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := decode([]byte(tt.body), "SerializationException", tt.in)
			var refusal *smithy.SerializationError
			if !errors.As(err, &refusal) {
				t.Fatalf("got %v, want a SerializationError", err)
			}
			if refusal.Message != tt.want || refusal.Code != "SerializationException" || refusal.HTTPStatus() != 400 {
				t.Errorf("got %q (%s, %d), want %q", refusal.Message, refusal.Code, refusal.HTTPStatus(), tt.want)
			}
		})
	}
}

// FuzzDecode: whatever the bytes, decoding ends without a panic, with a shape
// or a SerializationError, and what was decoded survives a round trip.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"containerDefinitions":[{"name":"a","memory":128,"dockerLabels":{"a":"b"}}],"family":"f"}`,
		`{"tags":[{"key":null}],"volumes":[[]]}`, `{"family":1e5}`, `{"a":"\ud800"}`, "[[[[", `{"family":"\u0000"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		in := &ecsapi.RegisterTaskDefinitionInput{}
		if err := decode(body, "SerializationException", in); err != nil {
			if _, ok := errors.AsType[*smithy.SerializationError](err); !ok {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		again := &ecsapi.RegisterTaskDefinitionInput{}
		if err := decode(encode(in), "", again); err != nil {
			t.Fatalf("decode what we encoded: %v", err)
		}
		if diff := cmp.Diff(in, again); diff != "" {
			t.Errorf("-first +second:\n%s", diff)
		}
	})
}
