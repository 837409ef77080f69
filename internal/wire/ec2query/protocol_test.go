package ec2query

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/smithy"
)

const declaration = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

func TestEncodeResponse(t *testing.T) {
	describe, _ := ec2api.API.Operation("DescribeVpcs")
	interfaces, _ := ec2api.API.Operation("DescribeNetworkInterfaces")
	void := &smithy.Operation{Name: "DeleteVpc", Output: &smithy.Schema{Kind: smithy.KindStructure}}
	const xmlns = ` xmlns="http://ec2.amazonaws.com/doc/2016-11-15"`
	for _, tt := range []struct {
		name string
		op   *smithy.Operation
		out  smithy.Shape
		want string
	}{
		{"void", void, nil, "<DeleteVpcResponse" + xmlns + "><requestId>id-1</requestId><return>true</return></DeleteVpcResponse>"},
		{"nothing set", describe, &ec2api.DescribeVpcsOutput{}, "<DescribeVpcsResponse" + xmlns + "><requestId>id-1</requestId></DescribeVpcsResponse>"},
		{"empty", describe, &ec2api.DescribeVpcsOutput{Vpcs: []ec2api.Vpc{}}, "<DescribeVpcsResponse" + xmlns + "><requestId>id-1</requestId><vpcSet></vpcSet></DescribeVpcsResponse>"},
		{
			"vpcs", describe, &ec2api.DescribeVpcsOutput{Vpcs: []ec2api.Vpc{{
				CidrBlock: new("10.0.0.0/16"), IsDefault: new(true), State: ec2api.VpcStateAvailable, VpcId: new("vpc-1"), Tags: []ec2api.Tag{{Key: new("Name"), Value: new("a&b")}},
			}}},
			"<DescribeVpcsResponse" + xmlns + "><requestId>id-1</requestId><vpcSet><item><isDefault>true</isDefault><tagSet><item><key>Name</key><value>a&amp;b</value></item></tagSet>" +
				"<vpcId>vpc-1</vpcId><state>available</state><cidrBlock>10.0.0.0/16</cidrBlock></item></vpcSet></DescribeVpcsResponse>",
		},
		{
			"timestamps have milliseconds", interfaces, &ec2api.DescribeNetworkInterfacesOutput{NetworkInterfaces: []ec2api.NetworkInterface{{
				Attachment: &ec2api.NetworkInterfaceAttachment{AttachTime: new(time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC))},
			}}},
			"<DescribeNetworkInterfacesResponse" + xmlns + "><requestId>id-1</requestId><networkInterfaceSet><item><attachment><attachTime>2026-11-22T07:00:00.000Z</attachTime></attachment></item>" +
				"</networkInterfaceSet></DescribeNetworkInterfacesResponse>",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			if err := EC2().EncodeResponse(w, ec2api.API, tt.op, tt.out, "id-1"); err != nil {
				t.Fatal(err)
			}
			check(t, w, 200, tt.want)
		})
	}
}

func TestEncodeError(t *testing.T) {
	for _, tt := range []struct {
		err    smithy.APIError
		status int
		want   string
	}{
		{
			smithy.NewError(400, "InvalidSubnetID.NotFound", "The subnet ID 'subnet-x' does not exist"), 400,
			"<Response><Errors><Error><Code>InvalidSubnetID.NotFound</Code><Message>The subnet ID &#39;subnet-x&#39; does not exist</Message></Error></Errors><RequestID>id-1</RequestID></Response>",
		},
		{
			EC2().UnknownOperation(nil, "Fly"), 400,
			"<Response><Errors><Error><Code>InvalidAction</Code><Message>The action Fly is not valid for this web service.</Message></Error></Errors><RequestID>id-1</RequestID></Response>",
		},
		{
			EC2().UnknownOperation(nil, ""), 400,
			"<Response><Errors><Error><Code>MissingAction</Code><Message>The request must contain the parameter Action</Message></Error></Errors><RequestID>id-1</RequestID></Response>",
		},
	} {
		t.Run(tt.err.ErrorCode(), func(t *testing.T) {
			w := httptest.NewRecorder()
			if err := EC2().EncodeError(w, nil, tt.err, "id-1"); err != nil {
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
	if w.Header().Get("Content-Type") != "text/xml;charset=UTF-8" || w.Header().Get("x-amzn-RequestId") != "id-1" {
		t.Errorf("headers %v", w.Header())
	}
}

func TestDecodeRequest(t *testing.T) {
	op, _ := ec2api.API.Operation("DescribeNetworkInterfaces")
	const params = "Action=DescribeNetworkInterfaces&Version=2016-11-15&DryRun=false&MaxResults=5&NetworkInterfaceId.1=eni-1&NetworkInterfaceId.2=eni-2" +
		"&Filter.1.Name=vpc-id&Filter.1.Value.1=vpc-1&Filter.1.Value.2=vpc-2"
	want := &ec2api.DescribeNetworkInterfacesInput{
		DryRun: new(false), MaxResults: new(int32(5)), NetworkInterfaceIds: []string{"eni-1", "eni-2"},
		Filters: []ec2api.Filter{{Name: new("vpc-id"), Values: []string{"vpc-1", "vpc-2"}}},
	}
	for _, tt := range []struct{ method, target, body string }{{http.MethodPost, "/", params}, {http.MethodGet, "/?" + params, ""}} {
		got, err := EC2().DecodeRequest(ec2api.API, op, httptest.NewRequest(tt.method, tt.target, nil), []byte(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(smithy.Shape(want), got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.method, diff)
		}
	}
	_, err := EC2().DecodeRequest(ec2api.API, op, httptest.NewRequest(http.MethodPost, "/", nil), []byte("MaxResults=many"))
	if err == nil || err.Error() != "InvalidParameterValue: Invalid value 'many' for MaxResults: must be an integer" {
		t.Errorf("got %v", err)
	}
}

func TestParameter(t *testing.T) {
	for want, m := range map[string]*smithy.Member{
		"Filter":     {Name: "Filters", Location: "Filter"},
		"DryRun":     {Name: "DryRun", Location: "dryRun"},
		"SubnetId":   {Name: "SubnetIds", Location: "SubnetId"},
		"QueryNamed": {Name: "X", Location: "y", QueryName: "QueryNamed"},
		"Plain":      {Name: "Plain"},
	} {
		if got := parameter(m); got != want {
			t.Errorf("%s: got %s, want %s", m.Name, got, want)
		}
	}
	if EC2().Name() != "ec2Query" {
		t.Errorf("name %s", EC2().Name())
	}
}
