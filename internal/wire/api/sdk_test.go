package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/logsapi"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/awsjson"
	"berth.dev/berth/internal/wire/awsquery"
	"berth.dev/berth/internal/wire/ec2query"
	"berth.dev/berth/internal/wire/smithy"
	"berth.dev/berth/internal/wire/smithy/smithytest"
	"berth.dev/berth/internal/wire/wiretest"
)

var services = []*smithy.Service{ec2api.API, ecsapi.API, logsapi.API, stsapi.API}

func protocolOf(svc *smithy.Service) smithy.Protocol {
	switch svc.Protocol {
	case "json":
		return awsjson.JSON11()
	case "ec2":
		return ec2query.EC2()
	}
	return awsquery.Query()
}

// answer is what a test's server does with a decoded input.
type answer func(op *smithy.Operation, in smithy.Shape) (smithy.Shape, error)

// gateway is the least that stands between HTTP and a provider.
func gateway(t testing.TB, respond answer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read body: %v", err)
			return
		}
		svc, name := route(r, body)
		if svc == nil {
			t.Errorf("no service for %v", r.Header)
			return
		}
		p := protocolOf(svc)
		fail := func(err error) {
			var apiErr smithy.APIError
			if !errors.As(err, &apiErr) {
				t.Errorf("%s: not an API error: %v", name, err)
				apiErr = smithy.NewError(500, "InternalFailure", "")
			}
			if err := p.EncodeError(w, svc, apiErr, "11111111-2222-4333-8444-555555555555"); err != nil {
				t.Errorf("encode error: %v", err)
			}
		}
		op, ok := svc.Operation(name)
		if !ok {
			fail(p.UnknownOperation(svc, name))
			return
		}
		in, err := p.DecodeRequest(svc, op, r, body)
		if err != nil {
			fail(err)
			return
		}
		out, err := respond(op, in)
		if err != nil {
			fail(err)
			return
		}
		if err := p.EncodeResponse(w, svc, op, out, "11111111-2222-4333-8444-555555555555"); err != nil {
			t.Errorf("encode response: %v", err)
		}
	})
}

func route(r *http.Request, body []byte) (*smithy.Service, string) {
	if prefix, name, ok := strings.Cut(r.Header.Get("X-Amz-Target"), "."); ok {
		return find(func(s *smithy.Service) bool { return s.TargetPrefix == prefix }), name
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, ""
	}
	return find(func(s *smithy.Service) bool { return s.APIVersion == form.Get("Version") }), form.Get("Action")
}

func find(match func(*smithy.Service) bool) *smithy.Service {
	if i := slices.IndexFunc(services, match); i >= 0 {
		return services[i]
	}
	return nil
}

// clients are AWS's own, pointed at a server.
type clients struct {
	ecs  *ecs.Client
	ec2  *ec2.Client
	logs *cloudwatchlogs.Client
	sts  *sts.Client
}

func dial(t testing.TB, respond answer) clients {
	server := httptest.NewServer(gateway(t, respond))
	t.Cleanup(server.Close)
	cfg := aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(server.URL),
		Credentials:  credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
		HTTPClient:   wiretest.Client(server.Client().Transport),
	}
	return clients{ecs.NewFromConfig(cfg), ec2.NewFromConfig(cfg), cloudwatchlogs.NewFromConfig(cfg), sts.NewFromConfig(cfg)}
}

// method is the SDK's method for an operation.
func (c clients) method(svc *smithy.Service, op string) reflect.Value {
	client := map[string]any{"ecs": c.ecs, "ec2": c.ec2, "logs": c.logs, "sts": c.sts}[svc.Name]
	return reflect.ValueOf(client).MethodByName(op)
}

// TestSDK sends random inputs of every operation with AWS's Go clients and
// answers random outputs: what arrives is what was sent, on both ways. Our
// structures have the SDK's field names, so JSON carries values between them.
func TestSDK(t *testing.T) {
	var received, reply atomic.Value
	c := dial(t, func(_ *smithy.Operation, in smithy.Shape) (smithy.Shape, error) {
		received.Store(smithytest.Tree(in))
		out, _ := reply.Load().(func() smithy.Shape)
		return out(), nil
	})
	for _, svc := range services {
		for _, op := range svc.Operations {
			t.Run(svc.Name+"/"+op.Name, func(t *testing.T) {
				method := c.method(svc, op.Name)
				rapid.Check(t, func(t *rapid.T) {
					in, out := op.NewInput(), op.NewOutput()
					sent := smithytest.Draw(t, op.Input)
					if err := errors.Join(smithytest.Fill(in, sent), smithytest.Fill(out, smithytest.Draw(t, op.Output))); err != nil {
						t.Fatal(err)
					}
					reply.Store(func() smithy.Shape { return out })
					sdkIn := reflect.New(method.Type().In(1).Elem())
					convert(t, in, sdkIn.Interface())
					results := method.Call([]reflect.Value{reflect.ValueOf(context.Background()), sdkIn})
					if err, _ := reflect.TypeAssert[error](results[1]); err != nil {
						t.Fatal(err)
					}
					got, _ := received.Load().(map[string]any)
					for _, m := range op.Input.Members {
						if m.Token && sent[m.Name] == nil {
							delete(got, m.Name)
						}
					}
					if diff := cmp.Diff(significant(sent), significant(got)); diff != "" {
						t.Fatalf("input: -sent +received:\n%s", diff)
					}
					var want, have any
					convert(t, out, &want)
					convert(t, results[0].Interface(), &have)
					if fields, ok := have.(map[string]any); ok {
						delete(fields, "ResultMetadata")
					}
					if diff := cmp.Diff(significant(want), significant(have), sameInstant); diff != "" {
						t.Fatalf("output: -sent +received:\n%s", diff)
					}
				})
			})
		}
	}
}

// sameInstant forgives the millisecond that the SDK loses: it cuts epoch seconds
// off where their nearest float64 lies below them.
var sameInstant = cmp.FilterValues(func(a, b string) bool {
	_, errA := time.Parse(time.RFC3339, a)
	_, errB := time.Parse(time.RFC3339, b)
	return errA == nil && errB == nil
}, cmp.Comparer(func(a, b string) bool {
	timeA, errA := time.Parse(time.RFC3339, a)
	timeB, errB := time.Parse(time.RFC3339, b)
	return errA == nil && errB == nil && timeA.Sub(timeB).Abs() <= time.Millisecond
}))

func convert(t *rapid.T, from, to any) {
	b, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	// A document, which the SDK has an interface for and a drawn one is always empty.
	b = bytes.ReplaceAll(b, []byte(`"HookDetails":{}`), []byte(`"HookDetails":null`))
	if err := json.Unmarshal(b, to); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
}

// significant drops zero values, which the SDK's structures cannot all tell
// from absent ones; codecs' own tests tell them. It returns nil for what has
// nothing left.
func significant(v any) any {
	switch v := v.(type) {
	case map[string]any:
		kept := map[string]any{}
		for name, e := range v {
			if e = significant(e); e != nil {
				kept[name] = e
			}
		}
		if len(kept) > 0 {
			return kept
		}
		return nil
	case []any:
		var kept []any
		for _, e := range v {
			if e = significant(e); e != nil {
				kept = append(kept, e)
			}
		}
		if len(kept) > 0 {
			return kept
		}
		return nil
	case time.Time, []byte:
		return v
	}
	if v == nil || reflect.ValueOf(v).IsZero() {
		return nil
	}
	return v
}
