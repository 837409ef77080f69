package servicediscovery_test

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/servicediscovery"
	"berth.dev/berth/internal/wire/api/servicediscoveryapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
	"berth.dev/berth/internal/wire/wiretest"
)

var update = flag.Bool("update", false, "write the golden file")

const (
	account = "123456789012"
	region  = "us-east-1"
)

// root knows one access key, that of the root user.
type root struct{}

func (root) Credentials(context.Context, string, string) (sigv4.Credential, caller.Identity, error) {
	return sigv4.Credential{SecretAccessKey: "secret"},
		caller.Identity{AccountID: account, ARN: "arn:aws:iam::" + account + ":root", UserID: account}, nil
}

// world is a provider behind the real gateway, with AWS's client of it.
type world struct {
	t     *testing.T
	store *store.Store
	sd    *sd.Client
	hosts chan string // that requests were sent to
	now   *atomic.Pointer[time.Time]
}

// newWorld has the VPCs vpc-1 and vpc-2. The client finds the gateway under
// any host name, as if all of them resolved.
func newWorld(t *testing.T, options ...func(*sd.Options)) *world {
	t.Helper()
	now := new(atomic.Pointer[time.Time])
	s, err := store.Open(memkv.New(0), "/berth/", store.Options{Now: func() time.Time {
		if at := now.Load(); at != nil {
			return *at
		}
		return time.Now()
	}}, records.All()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	if _, err := s.Update(ctx, func(tx *store.Tx) error {
		records.VPCs.Put(tx, &model.VPC{ID: "vpc-1", CIDR: "10.0.0.0/16"})
		records.VPCs.Put(tx, &model.VPC{ID: "vpc-2", CIDR: "10.1.0.0/16"})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(gateway.Config{
		Services: []gateway.Service{{
			API:      servicediscoveryapi.API,
			Provider: servicediscovery.New(servicediscovery.Config{Store: s, Scope: arn.Scope{Region: region, AccountID: account}}),
		}},
		Credentials: root{}, Region: region, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	hosts := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-hosts:
		default:
		}
		hosts <- r.Host
		g.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, at.Host)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	client := sd.NewFromConfig(aws.Config{
		Region: region, BaseEndpoint: aws.String("http://berth.test:" + at.Port()), RetryMaxAttempts: 1,
		HTTPClient:  wiretest.Client(transport),
		Credentials: credentials.NewStaticCredentialsProvider("AKIAROOT", "secret", ""),
	}, options...)
	return &world{t: t, store: s, sd: client, hosts: hosts, now: now}
}

// plainHost keeps the client from putting "data-" before the host.
func plainHost(o *sd.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("plainHost",
			func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
				return next.HandleInitialize(smithyhttp.DisableEndpointHostPrefix(ctx, true), in)
			}), middleware.Before)
	})
}

// must is what a call answers that has to succeed.
func must[T any](w *world) func(out *T, err error) *T {
	return func(out *T, err error) *T {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
		return out
	}
}

// done is the operation that a call began, which has ended well.
func (w *world) done(id *string) *types.Operation {
	w.t.Helper()
	op := must[sd.GetOperationOutput](w)(w.sd.GetOperation(w.t.Context(), &sd.GetOperationInput{OperationId: id})).Operation
	if op.Status != types.OperationStatusSuccess {
		w.t.Fatalf("operation %s is %s: %s", *id, op.Status, aws.ToString(op.ErrorMessage))
	}
	return op
}

func (w *world) privateNamespace(name, vpc string) string {
	w.t.Helper()
	out := must[sd.CreatePrivateDnsNamespaceOutput](w)(w.sd.CreatePrivateDnsNamespace(w.t.Context(),
		&sd.CreatePrivateDnsNamespaceInput{Name: &name, Vpc: &vpc}))
	return w.done(out.OperationId).Targets["NAMESPACE"]
}

func (w *world) httpNamespace(name string) string {
	w.t.Helper()
	out := must[sd.CreateHttpNamespaceOutput](w)(w.sd.CreateHttpNamespace(w.t.Context(), &sd.CreateHttpNamespaceInput{Name: &name}))
	return w.done(out.OperationId).Targets["NAMESPACE"]
}

func (w *world) service(in sd.CreateServiceInput) *types.Service {
	w.t.Helper()
	return must[sd.CreateServiceOutput](w)(w.sd.CreateService(w.t.Context(), &in)).Service
}

func (w *world) register(service, id string, attributes ...string) {
	w.t.Helper()
	out := must[sd.RegisterInstanceOutput](w)(w.sd.RegisterInstance(w.t.Context(),
		&sd.RegisterInstanceInput{ServiceId: &service, InstanceId: &id, Attributes: pairs(attributes...)}))
	w.done(out.OperationId)
}

// pairs makes a map of names and values; never nil, which the client refuses.
func pairs(all ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(all); i += 2 {
		m[all[i]] = all[i+1]
	}
	return m
}

func dnsRecords(kinds ...types.RecordType) *types.DnsConfig {
	config := &types.DnsConfig{DnsRecords: []types.DnsRecord{}}
	for _, kind := range kinds {
		config.DnsRecords = append(config.DnsRecords, types.DnsRecord{Type: kind, TTL: aws.Int64(60)})
	}
	return config
}

// refusal is an error as clients see it: its code and text.
func refusal(err error) string {
	if err == nil {
		return "no error"
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	return err.Error()
}

// compareGolden holds the lines equal to the file's, which -update writes.
func compareGolden(t *testing.T, path string, lines []string) {
	t.Helper()
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
