package secretsmanager_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/keys"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/secretsmanager"
	"berth.dev/berth/internal/wire/api/secretsmanagerapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
	"berth.dev/berth/internal/wire/wiretest"
)

var (
	scope = arn.Scope{Region: "us-east-1", AccountID: "123456789012"}
	begin = time.Date(2026, 3, 4, 13, 25, 0, 0, time.UTC)
)

// root knows one access key, that of the root user.
type root struct{}

func (root) Credentials(context.Context, string, string) (sigv4.Credential, caller.Identity, error) {
	return sigv4.Credential{SecretAccessKey: "secret"}, caller.Identity{AccountID: scope.AccountID, ARN: scope.Root(), UserID: scope.AccountID}, nil
}

// refusing allows everything but providers' questions about some actions.
type refusing struct {
	gateway.AllowRoot
	actions *atomic.Pointer[[]string] // "action on resource", the resource by its beginning
}

func (r refusing) Check(_ context.Context, action, resource string, _ map[string][]string) error {
	if refused := r.actions.Load(); refused != nil && slices.ContainsFunc(*refused, func(entry string) bool { return strings.HasPrefix(action+" on "+resource, entry) }) {
		return fault.New(fault.Denied, "User: x is not authorized to perform: %s on resource: %s", action, resource)
	}
	return nil
}

// world is a provider behind the real gateway, with AWS's client of it.
type world struct {
	*testing.T
	*sm.Client
	store    *store.Store
	keys     *keys.Keys
	provider *secretsmanager.Provider
	url      string
	now      *atomic.Pointer[time.Time]
	refused  *atomic.Pointer[[]string]
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, now: new(atomic.Pointer[time.Time]), refused: new(atomic.Pointer[[]string])}
	w.now.Store(&begin)
	s, err := store.Open(memkv.New(0), "/berth/", store.Options{CheckMutation: true, Now: func() time.Time { return *w.now.Load() }}, records.All()...)
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
	<-s.Ready()
	ring, err := keyring.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	w.store, w.keys = s, keys.New(keys.Config{Store: s, Ring: ring, Scope: scope})
	w.provider = secretsmanager.New(secretsmanager.Config{Store: s, Keys: w.keys, Scope: scope})
	t.Cleanup(w.provider.Close)
	door, err := gateway.New(gateway.Config{
		Services:    []gateway.Service{{API: secretsmanagerapi.API, Provider: w.provider}},
		Credentials: root{}, Region: scope.Region, Logger: slog.New(slog.DiscardHandler), Authorizer: refusing{actions: w.refused},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(door)
	t.Cleanup(server.Close)
	w.url = server.URL
	w.Client = sm.NewFromConfig(aws.Config{
		Region: scope.Region, BaseEndpoint: &server.URL, HTTPClient: wiretest.Client(server.Client().Transport), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIAROOT", "secret", ""),
	})
	return w
}

// after moves the clock.
func (w *world) after(d time.Duration) { w.now.Store(new(w.now.Load().Add(d))) }

func (w *world) create(name, value string) *sm.CreateSecretOutput {
	w.Helper()
	in := &sm.CreateSecretInput{Name: &name}
	if value != "" {
		in.SecretString = &value
	}
	out, err := w.CreateSecret(w.Context(), in)
	if err != nil {
		w.Fatal(err)
	}
	return out
}

func (w *world) put(id, value string, stages ...string) string {
	w.Helper()
	out, err := w.PutSecretValue(w.Context(), &sm.PutSecretValueInput{SecretId: &id, SecretString: &value, VersionStages: stages})
	if err != nil {
		w.Fatal(err)
	}
	return *out.VersionId
}

// get is the value of a version that is chosen by edit; the current one.
func (w *world) get(id string, edit ...func(*sm.GetSecretValueInput)) string {
	w.Helper()
	in := &sm.GetSecretValueInput{SecretId: &id}
	for _, e := range edit {
		e(in)
	}
	out, err := w.GetSecretValue(w.Context(), in)
	if err != nil {
		w.Fatal(err)
	}
	return *out.SecretString
}

// stages are a secret's labels by version.
func (w *world) stages(id string) map[string][]string {
	w.Helper()
	out, err := w.DescribeSecret(w.Context(), &sm.DescribeSecretInput{SecretId: &id})
	if err != nil {
		w.Fatal(err)
	}
	return out.VersionIdsToStages
}

func (w *world) secret(name string) *model.Secret {
	w.Helper()
	s, found := records.Secrets.Get(w.store.Snapshot(), name)
	if !found {
		w.Fatalf("there is no secret %s", name)
	}
	return s
}

func (w *world) edit(fn func(tx *store.Tx)) {
	w.Helper()
	if _, err := w.store.Update(w.Context(), func(tx *store.Tx) error { fn(tx); return nil }); err != nil {
		w.Fatal(err)
	}
}

// said is an error as users see it.
func said(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	if err == nil {
		return "no error"
	}
	return "internal: " + err.Error()
}
