package gateway_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/logsapi"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/smithy"
)

// ecsProvider is a provider whose ListClusters is given by a test.
type ecsProvider struct {
	ecsapi.Unimplemented
	list func(context.Context, *ecsapi.ListClustersInput) (*ecsapi.ListClustersOutput, error)
}

func (p ecsProvider) ListClusters(ctx context.Context, in *ecsapi.ListClustersInput) (*ecsapi.ListClustersOutput, error) {
	return p.list(ctx, in)
}

func listing(f func(context.Context, *ecsapi.ListClustersInput) (*ecsapi.ListClustersOutput, error)) func(*gateway.Config) {
	return provide(ecsapi.API, ecsProvider{list: f})
}

func failing(err error) func(*gateway.Config) {
	return listing(func(context.Context, *ecsapi.ListClustersInput) (*ecsapi.ListClustersOutput, error) { return nil, err })
}

func TestAnswersAndTellsTheProviderWhoAsks(t *testing.T) {
	var who caller.Identity
	d := open(t, listing(func(ctx context.Context, in *ecsapi.ListClustersInput) (*ecsapi.ListClustersOutput, error) {
		who, _ = caller.From(ctx)
		if _, ok := ctx.Deadline(); !ok {
			t.Error("a provider works without a deadline")
		}
		return &ecsapi.ListClustersOutput{ClusterArns: []string{"arn:aws:ecs:eu-central-1:123456789012:cluster/default"}}, nil
	}))
	got := d.send(t, jsonCall(ecsapi.API, "ListClusters", "{}"))
	if got.status != 200 || !strings.Contains(got.body, `"clusterArns":["arn:aws:ecs:eu-central-1:123456789012:cluster/default"]`) {
		t.Fatal(got)
	}
	want := caller.Identity{
		AccountID: "123456789012", ARN: "arn:aws:iam::123456789012:root", UserID: "123456789012",
		AccessKeyID: rootKey, SourceIP: "192.0.2.1", Host: "localhost:4566", Region: "eu-central-1", RequestID: got.header.Get("x-amzn-RequestId"),
	}
	if who != want {
		t.Fatalf("caller %+v, want %+v", who, want)
	}
}

func TestRefusals(t *testing.T) {
	list := jsonCall(ecsapi.API, "ListClusters", "{}")
	identity := formCall(stsapi.API, "GetCallerIdentity", "")
	vpcs := formCall(ec2api.API, "DescribeVpcs", "")
	with := func(q request, change func(*request)) request { change(&q); return q }
	const (
		served   = ". This endpoint serves: ec2, ecs, logs, sts. To reach "
		away     = " elsewhere, give its client an endpoint of its own, such as by AWS_ENDPOINT_URL_<SERVICE>."
		invalid  = "The security token included in the request is invalid."
		mismatch = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	)
	for _, tc := range []struct {
		name     string
		request  request
		protocol string
		status   int
		code     string
		message  string
	}{
		{"json: no signature", with(list, func(q *request) { q.unsigned = true }), "json", 400, "MissingAuthenticationTokenException", "Missing Authentication Token"},
		{"query: no signature", with(identity, func(q *request) { q.unsigned = true }), "query", 403, "MissingAuthenticationToken", "Request is missing Authentication Token"},
		{"ec2: no signature", request{method: "GET", target: "http://h/?Action=DescribeVpcs&Version=2016-11-15", unsigned: true}, "ec2", 403, "MissingAuthenticationToken", "*"},
		{"nothing at all", request{method: "GET", unsigned: true}, "json", 400, "MissingAuthenticationTokenException", "*"},
		{"a browser's preflight", request{method: "OPTIONS", unsigned: true}, "json", 400, "MissingAuthenticationTokenException", "*"},
		{"healthz is only for reading", request{target: "http://h/healthz", unsigned: true}, "json", 400, "MissingAuthenticationTokenException", "*"},
		{"json: unknown key", with(list, func(q *request) { q.key = "AKIANOBODY" }), "json", 400, "UnrecognizedClientException", invalid},
		{"query: unknown key", with(identity, func(q *request) { q.key = "AKIANOBODY" }), "query", 403, "InvalidClientTokenId", invalid},
		{"ec2: unknown key", with(vpcs, func(q *request) { q.key = "AKIANOBODY" }), "ec2", 401, "AuthFailure", "AWS was not able to validate the provided access credentials"},
		{"wrong region", with(list, func(q *request) { q.region = "us-east-1" }), "json", 400, "InvalidSignatureException", "Credential should be scoped to a valid region, not 'us-east-1'."},
		{"wrong service", with(list, func(q *request) { q.service = "logs" }), "json", 400, "InvalidSignatureException", "Credential should be scoped to correct service: 'ecs'."},
		{"key store away", with(list, func(q *request) { q.key = "AKIAAWAY" }), "json", 500, "InternalFailure", "*"},
		{
			"json: not root", with(list, func(q *request) { q.key = userKey }), "json", 400, "AccessDeniedException",
			"User: arn:aws:iam::123456789012:user/dev is not authorized to perform: ecs:ListClusters on resource: * because no identity-based policy allows the ecs:ListClusters action",
		},
		{"query: not root", with(identity, func(q *request) { q.key = userKey }), "query", 403, "AccessDenied", "*"},
		{
			"ec2: not root", with(vpcs, func(q *request) { q.key = userKey }), "ec2", 403, "UnauthorizedOperation",
			"You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/dev is not authorized to perform: ec2:DescribeVpcs on resource: * because no identity-based policy allows the ec2:DescribeVpcs action",
		},
		{"json: unknown operation", jsonCall(ecsapi.API, "MakeCoffee", "{}"), "json", 400, "UnknownOperationException", ""},
		{"json: operation of another service", jsonCall(ecsapi.API, "PutLogEvents", "{}"), "json", 400, "UnknownOperationException", ""},
		{"json: no target", with(list, func(q *request) { q.amzTarget = "" }), "json", 400, "UnknownOperationException", ""},
		{"json: other path", with(list, func(q *request) { q.target = "http://h/other" }), "json", 400, "UnknownOperationException", ""},
		{"json: GET", with(list, func(q *request) { q.method = "GET" }), "json", 400, "UnknownOperationException", ""},
		{
			"json: unknown service",
			request{contentType: "application/x-amz-json-1.0", amzTarget: "DynamoDB_20120810.ListTables", body: []byte("{}"), service: "dynamodb"},
			"json", 501, "NotImplemented", "Berth does not have dynamodb" + served + "dynamodb" + away,
		},
		{
			"json: unknown service, not signed well",
			request{contentType: "application/x-amz-json-1.0", amzTarget: "DynamoDB_20120810.ListTables", service: "dynamodb", key: "AKIANOBODY"},
			"json", 400, "UnrecognizedClientException", invalid,
		},
		{
			"query: unknown service",
			request{contentType: formType, body: []byte("Action=ListUsers&Version=2010-05-08"), service: "iam", region: "us-east-1"},
			"query", 501, "NotImplemented", "Berth does not have iam" + served + "iam" + away,
		},
		{"rest: unknown service", request{method: "GET", target: "http://h/2015-03-31/functions/", service: "lambda"}, "json", 501, "NotImplemented", "Berth does not have lambda" + served + "lambda" + away},
		{"query: unknown action", formCall(stsapi.API, "MakeCoffee", ""), "query", 400, "InvalidAction", "*"},
		{"ec2: unknown action", formCall(ec2api.API, "MakeCoffee", ""), "ec2", 400, "InvalidAction", "The action MakeCoffee is not valid for this web service."},
		{"query: no action", with(identity, func(q *request) { q.body = []byte("Version=2011-06-15") }), "query", 400, "MissingAction", "*"},
		{"query: other version", with(identity, func(q *request) { q.body = []byte("Action=GetCallerIdentity&Version=1999-01-01") }), "query", 400, "InvalidAction", "Could not find operation GetCallerIdentity for version 1999-01-01"},
		{"not implemented", list, "json", 501, "NotImplemented", "*"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := open(t, nil)
			wantFailure(t, d.send(t, tc.request), tc.protocol, tc.status, tc.code, tc.message)
		})
	}
	t.Run("altered body", func(t *testing.T) {
		d := open(t, nil)
		r := list.build(t)
		r.Body = io.NopCloser(strings.NewReader(`[]`))
		wantFailure(t, d.do(t, r), "json", 400, "InvalidSignatureException", mismatch)
	})
}

func TestRoutes(t *testing.T) {
	for name, q := range map[string]request{
		"target":                     jsonCall(ecsapi.API, "ListClusters", ""),
		"other target":               jsonCall(logsapi.API, "DescribeLogGroups", "{}"),
		"json 1.0 sent to a 1.1":     {contentType: "application/x-amz-json-1.0", amzTarget: ecsapi.API.TargetPrefix + ".ListClusters", service: "ecs"},
		"version":                    formCall(ec2api.API, "DescribeVpcs", ""),
		"no version, by scope":       {contentType: formType, body: []byte("Action=DescribeVpcs"), service: "ec2"},
		"in the query":               {method: "GET", target: "http://h/?Action=GetCallerIdentity&Version=2011-06-15", service: "sts"},
		"global service's us-east-1": {contentType: formType, body: []byte("Action=GetCallerIdentity&Version=2011-06-15"), service: "sts", region: "us-east-1"},
		"empty path":                 {contentType: formType, target: "http://h", body: []byte("Action=GetCallerIdentity&Version=2011-06-15"), service: "sts"},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, nil)
			if got := d.send(t, q); got.status != http.StatusNotImplemented {
				t.Fatalf("%s, want that it reaches the provider", got)
			}
		})
	}
}

// What a provider's trouble was is in the log, once, and never in the answer.
func TestInternalFailure(t *testing.T) {
	const leak = "password at 10.0.0.7"
	cause := errors.New(leak)
	const message = "The request processing has failed because of an unknown error, exception or failure."
	for _, tc := range []struct {
		name   string
		change func(*gateway.Config)
		stack  bool
	}{
		{"error", failing(fault.Wrap(fault.NotFound, cause, "read the cluster")), false},
		{"panic", listing(func(context.Context, *ecsapi.ListClustersInput) (*ecsapi.ListClustersOutput, error) { panic(cause) }), true},
		{"panic with an error that clients may see", listing(func(context.Context, *ecsapi.ListClustersInput) (*ecsapi.ListClustersOutput, error) {
			panic(smithy.NewError(400, "Nice", leak))
		}), true},
		{"wrong provider", provide(ecsapi.API, struct{ leak string }{leak}), false},
		{"a deadline that is not ours", failing(errors.Join(cause, context.DeadlineExceeded)), false},
		{"authorizer", func(cfg *gateway.Config) { cfg.Authorizer = undecided{cause} }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := open(t, tc.change)
			got := d.send(t, jsonCall(ecsapi.API, "ListClusters", "{}"))
			wantFailure(t, got, "json", 500, "InternalFailure", message)
			if strings.Contains(got.body, leak) {
				t.Fatalf("the answer tells %s", got)
			}
			lines := d.log.lines("ERROR")
			if len(lines) != 1 || lines[0]["request_id"] != got.header.Get("x-amzn-RequestId") || lines[0]["operation"] != "ListClusters" {
				t.Fatalf("error lines %v, want one with the request id", lines)
			}
			if tc.name != "wrong provider" && !strings.Contains(lines[0]["error"].(string), leak) {
				t.Fatalf("the log does not tell the cause: %v", lines[0])
			}
			if stack, _ := lines[0]["stack"].(string); strings.Contains(stack, "gateway_test.go") != tc.stack {
				t.Fatalf("stack %q, want one: %t", stack, tc.stack)
			}
		})
	}
}

type undecided struct{ error }

func (u undecided) Check(context.Context, string, string, map[string][]string) error { return u.error }

func (u undecided) Authorize(context.Context, gateway.Access) error { return u.error }

func TestProviderErrorKeepsItsCode(t *testing.T) {
	d := open(t, failing(errors.Join(errors.New("tried twice"), smithy.NewError(400, "ClusterNotFoundException", "Cluster not found."))))
	wantFailure(t, d.send(t, jsonCall(ecsapi.API, "ListClusters", "{}")), "json", 400, "ClusterNotFoundException", "Cluster not found.")
	if lines := d.log.lines("ERROR"); len(lines) != 0 {
		t.Fatalf("a client's mistake is logged as ours: %v", lines)
	}
}

func TestClientGoesAway(t *testing.T) {
	d := open(t, listing(func(ctx context.Context, _ *ecsapi.ListClustersInput) (*ecsapi.ListClustersOutput, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := jsonCall(ecsapi.API, "ListClusters", "{}").build(t).WithContext(ctx)
	if got := d.do(t, r); got.status != 500 {
		t.Fatalf("%s: an answer that nobody reads must not look like success", got)
	}
	if lines := append(d.log.lines("ERROR"), d.log.lines("WARN")...); len(lines) != 0 {
		t.Fatalf("it is nobody's fault: %v", lines)
	}
}

// The order matters to the one who may not call: validation tells him nothing.
func TestAuthorizedBeforeValidated(t *testing.T) {
	d := open(t, nil)
	q := formCall(ec2api.API, "DescribeVpcs", "&MaxResults=1")
	wantFailure(t, d.send(t, q), "ec2", 400, "InvalidParameterValue", "*")
	q.key = userKey
	wantFailure(t, d.send(t, q), "ec2", 403, "UnauthorizedOperation", "*")
}

// unread fails the test when anybody reads it.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body is read")
	return 0, io.EOF
}

func (unread) Close() error { return nil }

func TestBodyLimit(t *testing.T) {
	limited := func(cfg *gateway.Config) { cfg.Services[0].MaxBody = 1000 }
	big := jsonCall(ecsapi.API, "ListClusters", `{"nextToken":"`+strings.Repeat("x", 2000)+`"}`)
	t.Run("announced", func(t *testing.T) {
		d := open(t, limited)
		r := big.build(t)
		r.Body = unread{t}
		got := d.do(t, r)
		wantFailure(t, got, "json", 413, "RequestEntityTooLargeException", "The request body is longer than the 1000 bytes that this service reads.")
		if got.header.Get("Connection") != "close" {
			t.Error("the connection stays open for a body that nobody will read")
		}
	})
	t.Run("not announced", func(t *testing.T) {
		d := open(t, limited)
		r := big.build(t)
		endless := &counting{}
		r.ContentLength, r.Body = -1, endless
		wantFailure(t, d.do(t, r), "json", 413, "RequestEntityTooLargeException", "*")
		if endless.n > 10000 {
			t.Errorf("read %d bytes", endless.n)
		}
	})
	t.Run("query", func(t *testing.T) {
		d := open(t, nil)
		wantFailure(t, d.send(t, formCall(stsapi.API, "GetCallerIdentity", "&X="+strings.Repeat("x", 1<<20))), "query", 413, "RequestEntityTooLarge", "*")
	})
	t.Run("logs take more", func(t *testing.T) {
		d := open(t, nil)
		if got := d.send(t, jsonCall(logsapi.API, "DescribeLogGroups", `{"unknown":"`+strings.Repeat(`\u001b`, 1<<20)+`"}`)); got.status != http.StatusNotImplemented {
			t.Fatalf("%.200s", got)
		}
	})
	t.Run("not read without a signature", func(t *testing.T) {
		d := open(t, nil)
		q := jsonCall(ecsapi.API, "ListClusters", "{}")
		q.unsigned = true
		r := q.build(t)
		r.Body = unread{t}
		wantFailure(t, d.do(t, r), "json", 400, "MissingAuthenticationTokenException", "*")
	})
	t.Run("broken off", func(t *testing.T) {
		d := open(t, nil)
		r := jsonCall(ecsapi.API, "ListClusters", "{}").build(t)
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader("{"), broken{}))
		wantFailure(t, d.do(t, r), "json", 400, "SerializationException", "*")
	})
}

type counting struct{ n int }

func (c *counting) Read(b []byte) (int, error) { c.n += len(b); return len(b), nil }
func (*counting) Close() error                 { return nil }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestProbes(t *testing.T) {
	var notReady error
	registry := prometheus.NewRegistry()
	d := open(t, func(cfg *gateway.Config) {
		cfg.Ready = func() error { return notReady }
		cfg.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metrics") })
		cfg.Registerer = registry
	})
	get := func(path, from string) string {
		r := httptest.NewRequest("GET", path, nil)
		r.RemoteAddr = from
		r.Header.Set("X-Forwarded-For", "127.0.0.1")
		return strings.TrimSpace(d.do(t, r).String())
	}
	for _, tc := range []struct{ path, from, want string }{
		{"/healthz", "192.0.2.1:1", "200 ok"},
		{"/readyz", "192.0.2.1:1", "200 ok"},
		{"/metrics", "127.0.0.1:1", "200 metrics"},
		{"/metrics", "[::1]:1", "200 metrics"},
		{"/metrics", "[::ffff:127.0.0.1]:1", "200 metrics"},
		{"/metrics", "192.0.2.1:1", "403 metrics are for this machine only"},
		{"/metrics", "[fe80::1%eth0]:1", "403 metrics are for this machine only"},
		{"/metrics", "@", "403 metrics are for this machine only"},
	} {
		if got := get(tc.path, tc.from); got != tc.want {
			t.Errorf("%s from %s: %s, want %s", tc.path, tc.from, got, tc.want)
		}
	}
	notReady = errors.New("no node has joined yet")
	if got := get("/readyz", "192.0.2.1:1"); got != "503 no node has joined yet" {
		t.Error(got)
	}
	if got := get("/healthz", "192.0.2.1:1"); got != "200 ok" {
		t.Error(got)
	}
}

func TestMetricsAndAudit(t *testing.T) {
	registry := prometheus.NewRegistry()
	d := open(t, func(cfg *gateway.Config) {
		cfg.Registerer = registry
		provide(ecsapi.API, ecsProvider{list: func(context.Context, *ecsapi.ListClustersInput) (*ecsapi.ListClustersOutput, error) { return nil, nil }})(cfg)
	})
	d.send(t, jsonCall(ecsapi.API, "ListClusters", "{}"))
	d.send(t, jsonCall(ecsapi.API, "ListClusters", "{"))
	d.send(t, request{amzTarget: "Stranger.DoIt", contentType: "application/x-amz-json-1.1", service: "stranger"})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var series strings.Builder
			series.WriteString(family.GetName())
			for _, label := range m.GetLabel() { // by name: code, operation, service
				series.WriteString(" " + label.GetValue())
			}
			got[series.String()] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	want := map[string]float64{
		"berth_gateway_requests_total OK ListClusters ecs":                     1,
		"berth_gateway_requests_total SerializationException ListClusters ecs": 1,
		"berth_gateway_requests_total NotImplemented unknown unknown":          1,
		"berth_gateway_request_duration_seconds ListClusters ecs":              2,
		"berth_gateway_request_duration_seconds unknown unknown":               1,
	}
	if !maps.Equal(got, want) {
		t.Errorf("metrics %v, want %v", got, want)
	}
	var audit []map[string]any
	for _, line := range append(d.log.lines("INFO"), d.log.lines("DEBUG")...) {
		if line["msg"] == "api call" {
			audit = append(audit, line)
		}
	}
	if len(audit) != 3 {
		t.Fatalf("audit lines: %v", audit)
	}
	for _, line := range audit {
		if line["caller"] != "arn:aws:iam::123456789012:root" || line["access_key_id"] != rootKey || line["source_ip"] != "192.0.2.1" || line["request_id"] == nil {
			t.Errorf("audit line %v", line)
		}
	}
	if _, err := gateway.New(gateway.Config{Credentials: keys{}, Logger: slog.New(slog.DiscardHandler), Registerer: registry}); err == nil {
		t.Error("a second gateway registered the same metrics")
	}
}

func TestNewRefusesServicesThatCannotBeToldApart(t *testing.T) {
	for name, services := range map[string][]gateway.Service{
		"same target":  {{API: ecsapi.API}, {API: ecsapi.API}},
		"same version": {{API: stsapi.API}, {API: stsapi.API}},
		"no codec":     {{API: &smithy.Service{Name: "s3", Protocol: "rest-xml"}}},
	} {
		if _, err := gateway.New(gateway.Config{Services: services, Credentials: keys{}, Logger: slog.New(slog.DiscardHandler)}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A client that announces a body and does not send it gets its refusal at once,
// over a real connection with the server's own settings.
func TestSlowBodyWithoutSignature(t *testing.T) {
	d := open(t, nil)
	server := gateway.Server("127.0.0.1:0", d, slog.New(slog.DiscardHandler))
	listener, err := net.Listen("tcp", server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	defer func() {
		_ = server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// Only a watchdog: a server that waits for the body gives up after its
	// ReadTimeout, and would then answer all the same.
	if err := conn.SetDeadline(time.Now().Add(server.ReadTimeout * 2 / 3)); err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\nX-Amz-Target: "+ecsapi.API.TargetPrefix+".ListClusters\r\n\r\n{")
	if err != nil {
		t.Fatal(err)
	}
	// The connection stays open for writing: if the server waited for the body,
	// this would not return.
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") || !strings.Contains(string(answer), "MissingAuthenticationTokenException") {
		t.Fatalf("%q, %v", answer, err)
	}
}

// unwritable is an output whose serializer is broken.
type unwritable struct{ smithy.Shape }

func (unwritable) Serialize(smithy.ShapeSerializer) { panic("unwritable") }

func TestPanicOfAnEncoder(t *testing.T) {
	d := open(t, func(cfg *gateway.Config) {
		api := answeringEmpty(ecsapi.API)
		for _, op := range api.Operations {
			op.Invoke = func(context.Context, any, smithy.Shape) (smithy.Shape, error) { return unwritable{op.NewOutput()}, nil }
		}
		cfg.Services[0].API = api
	})
	wantFailure(t, d.send(t, jsonCall(ecsapi.API, "ListClusters", "{}")), "json", 500, "InternalFailure", "*")
	if lines := d.log.lines("ERROR"); len(lines) != 1 || lines[0]["msg"] != "request panicked" {
		t.Fatalf("error lines %v", lines)
	}
}
