package awsquery

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/logsapi"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/smithy"
)

const declaration = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

// The protocol knows no service, so any service's shapes will do where STS has
// none of a kind.
func TestEncodeResponse(t *testing.T) {
	svc := &smithy.Service{XMLNamespace: "https://example.com/doc/"}
	wrapped, bare := &smithy.Operation{Name: "Do", ResultWrapper: "DoResult"}, &smithy.Operation{Name: "Do"}
	const before, after = `<DoResponse xmlns="https://example.com/doc/">`, `<ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></DoResponse>`
	identity, _ := stsapi.API.Operation("GetCallerIdentity")
	tests := []struct {
		name string
		svc  *smithy.Service
		op   *smithy.Operation
		out  smithy.Shape
		want string
	}{
		{
			"sts", stsapi.API, identity, &stsapi.GetCallerIdentityOutput{Account: new("123456789012"), Arn: new("arn:aws:iam::123456789012:root"), UserId: new("123456789012")},
			`<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><UserId>123456789012</UserId><Account>123456789012</Account>` +
				`<Arn>arn:aws:iam::123456789012:root</Arn></GetCallerIdentityResult><ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></GetCallerIdentityResponse>`,
		},
		{"no output, wrapped", svc, wrapped, nil, before + "<DoResult></DoResult>" + after},
		{"no output", svc, bare, nil, before + after},
		{"lists", svc, wrapped, &ecsapi.ListClustersOutput{ClusterArns: []string{"a<&>", "b"}}, before + "<DoResult><clusterArns><member>a&lt;&amp;&gt;</member><member>b</member></clusterArns></DoResult>" + after},
		{"empty list", svc, wrapped, &ecsapi.ListClustersOutput{ClusterArns: []string{}}, before + "<DoResult><clusterArns></clusterArns></DoResult>" + after},
		{"named elements", svc, wrapped, &ec2api.DescribeVpcsOutput{Vpcs: []ec2api.Vpc{{VpcId: new("v"), IsDefault: new(true)}}}, before + "<DoResult><vpcSet><item><isDefault>true</isDefault><vpcId>v</vpcId></item></vpcSet></DoResult>" + after},
		{
			"maps", svc, wrapped, &logsapi.ListTagsForResourceOutput{Tags: map[string]string{"b": "2", "a": "1"}},
			before + "<DoResult><tags><entry><key>a</key><value>1</value></entry><entry><key>b</key><value>2</value></entry></tags></DoResult>" + after,
		},
		{
			"timestamps", svc, wrapped, &ecsapi.StopTaskOutput{Task: &ecsapi.Task{
				CreatedAt: new(time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC)), StartedAt: new(time.Date(2026, 11, 22, 8, 0, 0, 123456789, time.FixedZone("", 3600))),
			}},
			before + "<DoResult><task><createdAt>2026-11-22T07:00:00Z</createdAt><startedAt>2026-11-22T07:00:00.123Z</startedAt></task></DoResult>" + after,
		},
		{"what XML cannot hold", svc, wrapped, &ecsapi.ListClustersOutput{NextToken: new("a\x00\xff\r\n")}, before + "<DoResult><nextToken>a\uFFFD\uFFFD&#xD;&#xA;</nextToken></DoResult>" + after},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			if err := Query().EncodeResponse(w, tt.svc, tt.op, tt.out, "id-1"); err != nil {
				t.Fatal(err)
			}
			check(t, w, 200, tt.want)
		})
	}
}

func TestEncodeError(t *testing.T) {
	const xmlns = ` xmlns="https://sts.amazonaws.com/doc/2011-06-15/"`
	for _, tt := range []struct {
		name   string
		svc    *smithy.Service
		err    smithy.APIError
		status int
		want   string
	}{
		{
			"client", stsapi.API, smithy.NewError(403, "AccessDenied", "no <way>"), 403,
			"<ErrorResponse" + xmlns + "><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no &lt;way&gt;</Message></Error><RequestId>id-1</RequestId></ErrorResponse>",
		},
		{
			"server", stsapi.API, smithy.NewError(500, "InternalFailure", ""), 500,
			"<ErrorResponse" + xmlns + "><Error><Type>Receiver</Type><Code>InternalFailure</Code><Message></Message></Error><RequestId>id-1</RequestId></ErrorResponse>",
		},
		{
			"no service", nil, Query().UnknownOperation(nil, ""), 400,
			"<ErrorResponse><Error><Type>Sender</Type><Code>MissingAction</Code><Message>The request must contain the parameter Action</Message></Error><RequestId>id-1</RequestId></ErrorResponse>",
		},
		{
			"unknown operation", stsapi.API, Query().UnknownOperation(stsapi.API, "Fly"), 400,
			"<ErrorResponse" + xmlns + "><Error><Type>Sender</Type><Code>InvalidAction</Code><Message>Could not find operation Fly for version 2011-06-15</Message></Error><RequestId>id-1</RequestId></ErrorResponse>",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			if err := Query().EncodeError(w, tt.svc, tt.err, "id-1"); err != nil {
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
	if diff := cmp.Diff(declaration+body, w.Body.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if w.Header().Get("Content-Type") != "text/xml" || w.Header().Get("x-amzn-RequestId") != "id-1" {
		t.Errorf("headers %v", w.Header())
	}
}

func TestDecodeRequest(t *testing.T) {
	op := &smithy.Operation{NewInput: func() smithy.Shape { return new(ecsapi.RunTaskInput) }, Codes: smithy.Codes{Malformed: "MalformedInput"}}
	const params = "Action=RunTask&cluster=c&count=2&tags.member.1.key=k&networkConfiguration.awsvpcConfiguration.subnets.member.1=s"
	want := &ecsapi.RunTaskInput{
		Cluster: new("c"), Count: new(int32(2)), Tags: []ecsapi.Tag{{Key: new("k")}},
		NetworkConfiguration: &ecsapi.NetworkConfiguration{AwsvpcConfiguration: &ecsapi.AwsVpcConfiguration{Subnets: []string{"s"}}},
	}
	post := httptest.NewRequest(http.MethodPost, "/", nil)
	get := httptest.NewRequest(http.MethodGet, "/?"+params, nil)
	for _, tt := range []struct {
		r    *http.Request
		body string
	}{{post, params}, {get, ""}} {
		got, err := Query().DecodeRequest(stsapi.API, op, tt.r, []byte(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(smithy.Shape(want), got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.r.Method, diff)
		}
	}
	_, err := Query().DecodeRequest(stsapi.API, op, post, []byte("count=many"))
	if err == nil || err.Error() != "MalformedInput: Invalid value 'many' for count: must be an integer" {
		t.Errorf("got %v", err)
	}
}

// TestParameter: a flattened list is named by its elements when they have a
// name.
func TestParameter(t *testing.T) {
	str := &smithy.Schema{Kind: smithy.KindString}
	for want, m := range map[string]*smithy.Member{
		"A":    {Name: "A", Target: str},
		"loc":  {Name: "A", Location: "loc", Target: str},
		"B":    {Name: "B", Target: &smithy.Schema{Kind: smithy.KindList, Elem: &smithy.Member{Name: "member", Location: "item", Target: str}}},
		"item": {Name: "C", Target: &smithy.Schema{Kind: smithy.KindList, Flattened: true, Elem: &smithy.Member{Name: "member", Location: "item", Target: str}}},
		"D":    {Name: "D", Target: &smithy.Schema{Kind: smithy.KindList, Flattened: true, Elem: &smithy.Member{Name: "member", Target: str}}},
	} {
		if got := parameter(m); got != want {
			t.Errorf("%s: got %s, want %s", m.Name, got, want)
		}
	}
	if strings.ToLower(Query().Name()) != "awsquery" {
		t.Errorf("name %s", Query().Name())
	}
}
