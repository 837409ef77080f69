package api

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"berth.dev/berth/internal/wire/api/acmapi"
	"berth.dev/berth/internal/wire/api/cloudtrailapi"
	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/api/ecrapi"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/elbv2api"
	"berth.dev/berth/internal/wire/api/iamapi"
	"berth.dev/berth/internal/wire/api/kmsapi"
	"berth.dev/berth/internal/wire/api/logsapi"
	"berth.dev/berth/internal/wire/api/secretsmanagerapi"
	"berth.dev/berth/internal/wire/api/servicediscoveryapi"
	"berth.dev/berth/internal/wire/api/ssmapi"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/smithy"
)

// served are all services: a stranger can send a body to any of them.
var served = []*smithy.Service{
	acmapi.API, cloudtrailapi.API, ec2api.API, ecrapi.API, ecsapi.API, elbv2api.API, iamapi.API, kmsapi.API, logsapi.API,
	secretsmanagerapi.API, servicediscoveryapi.API, ssmapi.API, stsapi.API,
}

// FuzzRequest decodes any body as the input of any operation, as the gateway
// does before it knows whether the body means anything. It must not panic, nor
// must the checks of the model's constraints; and what was decoded is the
// input of that operation.
func FuzzRequest(f *testing.F) {
	type route struct {
		service   *smithy.Service
		operation *smithy.Operation
	}
	var routes []route
	for _, s := range served {
		for _, op := range s.Operations {
			routes = append(routes, route{s, op})
		}
	}
	for i, r := range routes {
		if r.service.Protocol == "json" {
			f.Add(uint16(i), []byte(`{}`))
			f.Add(uint16(i), []byte(`{"name":"x","tags":[{"key":"k","value":null}],"SecretId":1e400,"MaxResults":"1"}`))
			continue
		}
		f.Add(uint16(i), []byte("Action="+r.operation.Name+"&Version="+r.service.APIVersion))
		f.Add(uint16(i), []byte("Action="+r.operation.Name+"&Filter.1.Name=a&Filter.1.Value.1=b&Tags.member.999999999.Key=k&MaxItems=-1"))
	}
	f.Fuzz(func(t *testing.T, n uint16, body []byte) {
		r := routes[int(n)%len(routes)]
		request := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		in, err := protocolOf(r.service).DecodeRequest(r.service, r.operation, request, body)
		if err != nil {
			return
		}
		if in.Schema() != r.operation.Input {
			t.Fatalf("%s was decoded as %s", r.operation.Name, in.Schema().Name)
		}
		_ = smithy.Validate(r.operation, in) // that it ends is all that is asked
	})
}
