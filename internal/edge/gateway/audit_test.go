package gateway_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
)

func newDiscardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// auditor keeps records for tests to read.
type auditor struct {
	mu      sync.Mutex
	records []gateway.AuditRecord
	alive   []bool // whether the context was still good
}

func (a *auditor) Record(ctx context.Context, r gateway.AuditRecord) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.records = append(a.records, r)
	_, bounded := ctx.Deadline()
	a.alive = append(a.alive, ctx.Err() == nil && bounded)
}

func (a *auditor) all() []gateway.AuditRecord {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.records)
}

// Every request is recorded once, whatever became of it.
func TestAudit(t *testing.T) {
	list := jsonCall(ecsapi.API, "ListClusters", `{"maxResults":7}`)
	with := func(q request, change func(*request)) request { change(&q); return q }
	succeeds := func(cfg *gateway.Config) {
		for i := range cfg.Services {
			cfg.Services[i].API = answeringEmpty(cfg.Services[i].API)
		}
	}
	for _, tc := range []struct {
		name    string
		request request
		want    string // service:operation code read-only input output
	}{
		{"read", list, "ecs:ListClusters  read in out"},
		{"change", jsonCall(ecsapi.API, "DeleteCluster", `{"cluster":"c"}`), "ecs:DeleteCluster  changed in out"},
		{"not valid", jsonCall(ecsapi.API, "DeleteCluster", `{}`), "ecs:DeleteCluster InvalidParameterException read in"},
		{"not decoded", with(list, func(q *request) { q.body = []byte("{") }), "ecs:ListClusters SerializationException read"},
		{"denied", with(list, func(q *request) { q.key = userKey }), "ecs:ListClusters AccessDeniedException read in"},
		{"unknown key", with(list, func(q *request) { q.key = "AKIANOBODY" }), "ecs:ListClusters UnrecognizedClientException read"},
		{"unsigned", with(list, func(q *request) { q.unsigned = true }), "ecs: MissingAuthenticationTokenException read"},
		{"no such operation", jsonCall(ecsapi.API, "MakeCoffee", "{}"), "ecs:MakeCoffee UnknownOperationException read"},
		{"not here", request{method: "GET", target: "http://h/bucket/key", service: "s3"}, "s3: NotImplemented read"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := &auditor{}
			d := open(t, func(cfg *gateway.Config) { succeeds(cfg); cfg.Auditor = a })
			got := d.send(t, tc.request)
			all := a.all()
			if len(all) != 1 {
				t.Fatalf("%d records, want one", len(all))
			}
			r := all[0]
			name := r.SigningName
			if r.Service != nil {
				name = r.Service.SigningName
			}
			var text strings.Builder
			text.WriteString(name + ":" + r.Asked + " " + r.ErrorCode)
			for _, word := range []struct {
				is   bool
				word string
			}{{r.ReadOnly, " read"}, {!r.ReadOnly, " changed"}, {r.Input != nil, " in"}, {r.Output != nil, " out"}} {
				if word.is {
					text.WriteString(word.word)
				}
			}
			if text.String() != tc.want {
				t.Errorf("%q, want %q", text.String(), tc.want)
			}
			if !a.alive[0] || r.RequestID != got.header.Get("x-amzn-RequestId") || r.Caller.RequestID != r.RequestID ||
				r.Caller.SourceIP != "192.0.2.1" || !r.Time.Equal(now) || r.TLS != nil || r.Host == "" {
				t.Errorf("record %+v", r)
			}
			if (r.Caller.ARN == "") != (r.ErrorCode == "UnrecognizedClientException" || r.ErrorCode == "MissingAuthenticationTokenException") {
				t.Errorf("caller %+v", r.Caller)
			}
		})
	}
}

// What was done is recorded before the answer leaves, and even when the client
// has left.
func TestAuditComesFirst(t *testing.T) {
	w := httptest.NewRecorder()
	recorded := false
	d := open(t, func(cfg *gateway.Config) {
		cfg.Services[0].API = answeringEmpty(cfg.Services[0].API)
		cfg.Auditor = auditFunc(func(ctx context.Context, r gateway.AuditRecord) {
			if recorded = true; w.Body.Len() > 0 || ctx.Err() != nil {
				t.Errorf("the answer is out already, or there is no time left: %v", ctx.Err())
			}
		})
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.ServeHTTP(w, jsonCall(ecsapi.API, "ListClusters", "{}").build(t).WithContext(ctx))
	if !recorded {
		t.Error("nothing is recorded")
	}
}

type auditFunc func(context.Context, gateway.AuditRecord)

func (f auditFunc) Record(ctx context.Context, r gateway.AuditRecord) { f(ctx, r) }

// The inner door authorizes, validates, performs and records as the outer does.
func TestInnerDoor(t *testing.T) {
	a := &auditor{}
	var seen caller.Identity
	d := open(t, func(cfg *gateway.Config) {
		cfg.Auditor = a
		listing(func(ctx context.Context, in *ecsapi.ListClustersInput) (*ecsapi.ListClustersOutput, error) {
			seen, _ = caller.From(ctx)
			if in.NextToken != nil {
				panic("leaked")
			}
			if _, ok := ctx.Deadline(); !ok {
				t.Error("a provider works without a deadline")
			}
			return &ecsapi.ListClustersOutput{ClusterArns: []string{"c"}}, caller.Check(ctx, "kms:Decrypt", "key", nil)
		})(cfg)
	})
	root := caller.Identity{AccountID: "123456789012", ARN: "arn:aws:iam::123456789012:root", Service: "ecs-tasks.amazonaws.com"}
	user := caller.Identity{AccountID: "123456789012", ARN: "arn:aws:iam::123456789012:user/dev"}
	for _, tc := range []struct {
		name, operation string
		who             caller.Identity
		in              *ecsapi.ListClustersInput
		want            string
	}{
		{"done", "ListClusters", root, &ecsapi.ListClustersInput{}, ""},
		{"denied", "ListClusters", user, &ecsapi.ListClustersInput{}, "AccessDeniedException: User: arn:aws:iam::123456789012:user/dev is not authorized to perform: ecs:ListClusters on resource: * because no identity-based policy allows the ecs:ListClusters action"},
		{"panic", "ListClusters", root, &ecsapi.ListClustersInput{NextToken: new("x")}, "InternalFailure: The request processing has failed because of an unknown error, exception or failure."},
		{"no operation", "MakeCoffee", root, nil, "NotImplemented: ecs:MakeCoffee is not implemented by this server"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := len(a.all())
			out, err := d.Call(t.Context(), tc.who, ecsapi.API, tc.operation, tc.in)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tc.want || (err == nil) != (out != nil) {
				t.Errorf("%v, %s\nwant %s", out, got, tc.want)
			}
			all := a.all()
			if len(all) != before+1 || all[before].Caller.ARN != tc.who.ARN || all[before].RequestID == "" || (all[before].ErrorCode == "") != (err == nil) {
				t.Errorf("records %+v", all[before:])
			}
		})
	}
	if seen.ARN != root.ARN || seen.Service != root.Service || seen.RequestID == "" {
		t.Errorf("the provider saw %+v", seen)
	}
}

// refusing allows operations and refuses what providers ask.
type refusing struct{ gateway.AllowRoot }

func (refusing) Check(_ context.Context, action, resource string, _ map[string][]string) error {
	return fault.New(fault.Denied, "User: u is not authorized to perform: %s on resource: %s", action, resource)
}

// A refusal that a provider hears is worded as its service does, without what
// was wrapped around it.
func TestProviderIsRefused(t *testing.T) {
	d := open(t, func(cfg *gateway.Config) {
		cfg.Authorizer = refusing{}
		listing(func(ctx context.Context, _ *ecsapi.ListClustersInput) (*ecsapi.ListClustersOutput, error) {
			return nil, fmt.Errorf("open the value: %w", caller.Check(ctx, "kms:Decrypt", "key/1", nil))
		})(cfg)
	})
	wantFailure(t, d.send(t, jsonCall(ecsapi.API, "ListClusters", "{}")), "json", 400, "AccessDeniedException", "User: u is not authorized to perform: kms:Decrypt on resource: key/1")
	if lines := d.log.lines("ERROR"); len(lines) != 0 {
		t.Errorf("a refusal is logged as our failure: %v", lines)
	}
}

// A connection that is a tunnel brings its source, and temporary credentials
// their token.
func TestSourceAndToken(t *testing.T) {
	var token string
	store := credentialFunc(func(id, sent string) (sigv4.Credential, caller.Identity, error) {
		token = sent
		_, who, _ := keys{}.Credentials(t.Context(), rootKey, "")
		return sigv4.Credential{SecretAccessKey: secret, SessionToken: sent}, who, nil
	})
	var who caller.Identity
	d := open(t, func(cfg *gateway.Config) {
		cfg.Credentials = store
		provide(stsapi.API, tellsWho{f: func(ctx context.Context) { who, _ = caller.From(ctx) }})(cfg)
	})
	q := formCall(stsapi.API, "GetCallerIdentity", "")
	q.token = "the token"
	r := q.build(t)
	r.Header.Set("User-Agent", "probe/1")
	d.do(t, r.WithContext(gateway.WithSource(t.Context(), gateway.Source{Address: "10.0.0.7", VPC: "vpc-1"})))
	if token != "the token" || who.SourceIP != "10.0.0.7" || who.SourceVPC != "vpc-1" || who.UserAgent != "probe/1" || who.Region != "eu-central-1" || who.Secure {
		t.Errorf("token %q, caller %+v", token, who)
	}
}

// tellsWho is an STS that tells a test who asks.
type tellsWho struct {
	stsapi.Unimplemented
	f func(ctx context.Context)
}

func (p tellsWho) GetCallerIdentity(ctx context.Context, _ *stsapi.GetCallerIdentityInput) (*stsapi.GetCallerIdentityOutput, error) {
	p.f(ctx)
	return &stsapi.GetCallerIdentityOutput{}, nil
}

func (p tellsWho) AssumeRoleWithWebIdentity(ctx context.Context, _ *stsapi.AssumeRoleWithWebIdentityInput) (*stsapi.AssumeRoleWithWebIdentityOutput, error) {
	p.f(ctx)
	return &stsapi.AssumeRoleWithWebIdentityOutput{}, nil
}

// anybody allows everything to everybody.
type anybody struct{}

func (anybody) Authorize(context.Context, gateway.Access) error                  { return nil }
func (anybody) Check(context.Context, string, string, map[string][]string) error { return nil }

// A web identity signs nothing: its token is what speaks for it. Nothing else
// is done without a signature.
func TestWebIdentity(t *testing.T) {
	var who *caller.Identity
	d := open(t, func(cfg *gateway.Config) {
		cfg.Authorizer = anybody{}
		provide(stsapi.API, tellsWho{f: func(ctx context.Context) { id, _ := caller.From(ctx); who = &id }})(cfg)
	})
	q := formCall(stsapi.API, "AssumeRoleWithWebIdentity", "&RoleArn=arn:aws:iam::123456789012:role/r&RoleSessionName=me&WebIdentityToken=token")
	q.unsigned = true
	if got := d.send(t, q); got.status != 200 || who == nil || who.ARN != "" || who.SourceIP != "192.0.2.1" {
		t.Fatalf("%s, caller %+v", got, who)
	}
	for name, other := range map[string]request{
		"another operation": formCall(stsapi.API, "GetCallerIdentity", ""),
		"another service":   formCall(ec2api.API, "AssumeRoleWithWebIdentity", ""),
	} {
		other.unsigned = true
		if got := d.send(t, other); got.status != 403 || !strings.Contains(got.body, "MissingAuthenticationToken") {
			t.Errorf("%s: %s", name, got)
		}
	}
	q.body = append(q.body, strings.Repeat("x", 64<<10)...)
	if got := d.send(t, q); got.status != 413 {
		t.Errorf("%.200s", got)
	}
}
