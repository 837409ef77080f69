package kms_test

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
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
	"berth.dev/berth/internal/service/kms"
	"berth.dev/berth/internal/wire/api/kmsapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
	"berth.dev/berth/internal/wire/wiretest"
)

var update = flag.Bool("update", false, "write the golden file")

const (
	account = "123456789012"
	region  = "us-east-1"
	rootARN = "arn:aws:iam::" + account + ":root"
	alice   = "arn:aws:iam::" + account + ":user/alice"
	app     = "arn:aws:iam::" + account + ":role/service/app"
	session = "arn:aws:sts::" + account + ":assumed-role/app/s"
)

// people knows the access keys ROOT, ALICE and SESSION.
type people struct{}

// Credentials implements gateway.CredentialStore.
func (people) Credentials(_ context.Context, accessKeyID, _ string) (sigv4.Credential, caller.Identity, error) {
	who := caller.Identity{AccountID: account, ARN: rootARN, UserID: account}
	switch accessKeyID {
	case "ALICE":
		who.ARN, who.UserName, who.UserID = alice, "alice", "AIDA"
	case "SESSION":
		who.ARN, who.UserID, who.Session = session, "AROA:s", &caller.Session{RoleARN: app, Name: "s"}
	}
	return sigv4.Credential{SecretAccessKey: "secret"}, who, nil
}

// guard allows all operations, and refuses providers one action.
type guard struct {
	refuse atomic.Pointer[string]
	asked  chan string // what providers asked, when there is room
}

// Authorize implements gateway.Authorizer.
func (g *guard) Authorize(context.Context, gateway.Access) error { return nil }

// Check implements caller.Guard.
func (g *guard) Check(_ context.Context, action, resource string, conditions map[string][]string) error {
	select {
	case g.asked <- action + " " + resource + " " + strings.Join(conditions["kms:EncryptionContextKeys"], ","):
	default:
	}
	if refused := g.refuse.Load(); refused != nil && *refused == action {
		return fault.New(fault.Denied, "User: x is not authorized to perform: %s on resource: %s", action, resource)
	}
	return nil
}

// world is a provider behind the real gateway, with AWS's client of it. It has
// the user alice and the role app.
type world struct {
	*testing.T
	store  *store.Store
	keys   *keys.Keys
	kms    *awskms.Client // root's
	guard  *guard
	clock  *atomic.Pointer[time.Time]
	client func(accessKey string) *awskms.Client
	said   atomic.Pointer[string] // the last answer's body
}

var begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, guard: &guard{asked: make(chan string, 1)}, clock: new(atomic.Pointer[time.Time])}
	w.clock.Store(&begin)
	s, err := store.Open(memkv.New(0), "/berth/", store.Options{Now: func() time.Time { return *w.clock.Load() }, CheckMutation: true}, records.All()...)
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
		records.Users.Put(tx, &model.User{Name: "alice", Path: "/"})
		records.Roles.Put(tx, &model.Role{Name: "app", Path: "/service/"})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	scope := arn.Scope{Region: region, AccountID: account}
	w.store, w.keys = s, keys.New(keys.Config{Store: s, Ring: ring, Scope: scope})
	g, err := gateway.New(gateway.Config{
		Services:    []gateway.Service{{API: kmsapi.API, Provider: kms.New(kms.Config{Store: s, Keys: w.keys, Scope: scope})}},
		Credentials: people{}, Authorizer: w.guard, Region: region, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	w.client = func(accessKey string) *awskms.Client {
		return awskms.NewFromConfig(aws.Config{
			Region: region, BaseEndpoint: &server.URL, RetryMaxAttempts: 1,
			HTTPClient:  &http.Client{Transport: wiretest.Transport{RoundTripper: server.Client().Transport, Said: &w.said}},
			Credentials: credentials.NewStaticCredentialsProvider(accessKey, "secret", ""),
		})
	}
	w.kms = w.client("ROOT")
	return w
}

// must is what a call answers that has to succeed.
func must[T any](w *world) func(out *T, err error) *T {
	return func(out *T, err error) *T {
		w.Helper()
		if err != nil {
			w.Fatal(err)
		}
		return out
	}
}

// key makes a key.
func (w *world) key(edit ...func(*awskms.CreateKeyInput)) *types.KeyMetadata {
	w.Helper()
	in := &awskms.CreateKeyInput{}
	for _, e := range edit {
		e(in)
	}
	return must[awskms.CreateKeyOutput](w)(w.kms.CreateKey(w.Context(), in)).KeyMetadata
}

func hmac(in *awskms.CreateKeyInput) {
	in.KeySpec, in.KeyUsage = types.KeySpecHmac256, types.KeyUsageTypeGenerateVerifyMac
}

// describe is a key as it is now.
func (w *world) describe(name string) *types.KeyMetadata {
	w.Helper()
	return must[awskms.DescribeKeyOutput](w)(w.kms.DescribeKey(w.Context(), &awskms.DescribeKeyInput{KeyId: &name})).KeyMetadata
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
