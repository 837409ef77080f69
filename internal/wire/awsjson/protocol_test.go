package awsjson

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/logsapi"
	"berth.dev/berth/internal/wire/smithy"
	"berth.dev/berth/internal/wire/smithy/smithytest"
)

func TestEncodeResponse(t *testing.T) {
	tests := []struct {
		name string
		out  smithy.Shape
		want string
	}{
		{"nothing", nil, `{}`},
		{"empty output", &ecsapi.TagResourceOutput{}, `{}`},
		{"absent members", &ecsapi.ListClustersOutput{}, `{}`},
		{"empty list", &ecsapi.ListClustersOutput{ClusterArns: []string{}}, `{"clusterArns":[]}`},
		{"list", &ecsapi.ListClustersOutput{ClusterArns: []string{"a", "b"}, NextToken: new("t")}, `{"clusterArns":["a","b"],"nextToken":"t"}`},
		{
			"zero scalars are present", &ecsapi.CreateClusterOutput{Cluster: &ecsapi.Cluster{RunningTasksCount: new(int32(0)), ClusterName: new("")}},
			`{"cluster":{"clusterName":"","runningTasksCount":0}}`,
		},
		{
			"structures in lists", &ecsapi.ListTagsForResourceOutput{Tags: []ecsapi.Tag{{Key: new("a"), Value: new("1")}, {}, {Key: new("b")}}},
			`{"tags":[{"key":"a","value":"1"},{},{"key":"b"}]}`,
		},
		{
			"maps in key order, strings escaped", &logsapi.ListTagsForResourceOutput{Tags: map[string]string{"b": "<&>", "a": "\"\\\n\x00é\u2028", "": "\xff"}},
			`{"tags":{"":"\ufffd","a":"\"\\\n\u0000é\u2028","b":"<&>"}}`,
		},
		{
			"empty map", &logsapi.ListTagsForResourceOutput{Tags: map[string]string{}}, `{"tags":{}}`,
		},
		{
			"timestamps", &ecsapi.StopTaskOutput{Task: &ecsapi.Task{
				CreatedAt: new(time.UnixMilli(1581968848921)), StartedAt: new(time.Unix(1581968848, 999)),
				StoppedAt: new(time.UnixMilli(1581968848020)), StoppingAt: new(time.UnixMilli(-1500)),
			}},
			`{"task":{"createdAt":1581968848.921,"startedAt":1581968848,"stoppedAt":1581968848.02,"stoppingAt":-1.5}}`,
		},
		{
			"enums", &ecsapi.StopTaskOutput{Task: &ecsapi.Task{LaunchType: ecsapi.LaunchTypeFargate}}, `{"task":{"launchType":"FARGATE"}}`,
		},
		{
			"longs", &logsapi.FilterLogEventsOutput{Events: []logsapi.FilteredLogEvent{{Timestamp: new(int64(-9007199254740993))}}},
			`{"events":[{"timestamp":-9007199254740993}]}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			if err := JSON11().EncodeResponse(w, ecsapi.API, nil, tt.out, "id-1"); err != nil {
				t.Fatal(err)
			}
			check(t, w, http.StatusOK, tt.want)
		})
	}
}

func TestEncodeError(t *testing.T) {
	tests := []struct {
		name   string
		err    smithy.APIError
		status int
		want   string
	}{
		{"modelled", &ecsapi.ClusterNotFoundException{Message: new("Cluster not found.")}, 400, `{"__type":"ClusterNotFoundException","message":"Cluster not found."}`},
		{"without message", &ecsapi.ClusterNotFoundException{}, 400, `{"__type":"ClusterNotFoundException"}`},
		{"message not in the model", &logsapi.ResourceNotFoundException{Message: new("gone")}, 400, `{"__type":"ResourceNotFoundException","message":"gone"}`},
		{
			"more members", &ecsapi.ConflictException{ResourceIds: []string{"a"}, Message: new("m")}, 400,
			`{"__type":"ConflictException","resourceIds":["a"],"message":"m"}`,
		},
		{
			"more members, message not in the model", &logsapi.InvalidSequenceTokenException{Message: new("m"), ExpectedSequenceToken: new("t")}, 400,
			`{"__type":"InvalidSequenceTokenException","expectedSequenceToken":"t","message":"m"}`,
		},
		{"the server's fault", &ecsapi.ServerException{Message: new("Service Unavailable. Please try again later.")}, 500, `{"__type":"ServerException","message":"Service Unavailable. Please try again later."}`},
		{"no model", smithy.NewError(403, "AccessDeniedException", "no"), 403, `{"__type":"AccessDeniedException","message":"no"}`},
		{"serialization", &smithy.SerializationError{Code: "SerializationException"}, 400, `{"__type":"SerializationException"}`},
		{"unknown operation", JSON11().UnknownOperation(nil, "X"), 400, `{"__type":"UnknownOperationException"}`},
		{"not implemented", smithy.NotImplemented("ecs", "RunTask"), 501, `{"__type":"NotImplemented","message":"ecs:RunTask is not implemented by this server"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			if err := JSON11().EncodeError(w, nil, tt.err, "id-1"); err != nil {
				t.Fatal(err)
			}
			check(t, w, tt.status, tt.want)
		})
	}
}

func check(t *testing.T, w *httptest.ResponseRecorder, status int, body string) {
	t.Helper()
	if w.Code != status {
		t.Errorf("status %d, want %d", w.Code, status)
	}
	if got := w.Body.String(); got != body {
		t.Errorf("body\n got %s\nwant %s", got, body)
	}
	if got := w.Header().Get("Content-Type"); got != "application/x-amz-json-1.1" {
		t.Errorf("Content-Type %q", got)
	}
	if got := w.Header().Get("x-amzn-RequestId"); got != "id-1" {
		t.Errorf("x-amzn-RequestId %q", got)
	}
}

func TestVersions(t *testing.T) {
	w := httptest.NewRecorder()
	if err := JSON10().EncodeResponse(w, nil, nil, nil, "x"); err != nil {
		t.Fatal(err)
	}
	if got := w.Header().Get("Content-Type"); got != "application/x-amz-json-1.0" || JSON10().Name() != "awsJson1_0" || JSON11().Name() != "awsJson1_1" {
		t.Errorf("Content-Type %q", got)
	}
}

// TestRoundTrip: every input and output in scope comes back from JSON as it was.
func TestRoundTrip(t *testing.T) {
	for _, svc := range []*smithy.Service{ecsapi.API, logsapi.API} {
		for _, op := range svc.Operations {
			for _, make := range []func() smithy.Shape{op.NewInput, op.NewOutput} {
				t.Run(svc.Name+"/"+make().Schema().Name, rapid.MakeCheck(func(t *rapid.T) {
					first, second := make(), make()
					if err := smithytest.Fill(first, smithytest.Draw(t, first.Schema())); err != nil {
						t.Fatal(err)
					}
					body := encode(first)
					if err := decode(body, "SerializationException", second); err != nil {
						t.Fatalf("%v: %s", err, body)
					}
					if diff := cmp.Diff(first, second); diff != "" {
						t.Fatalf("%s\n-sent +got:\n%s", body, diff)
					}
				}))
			}
		}
	}
}
