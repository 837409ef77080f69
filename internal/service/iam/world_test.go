package iam_test

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	iamclient "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/iam"
	"berth.dev/berth/internal/wire/api/iamapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
	"berth.dev/berth/internal/wire/wiretest"
)

var update = flag.Bool("update", false, "write the golden file")

const (
	account = "123456789012"
	rootKey = "AKIAROOTROOTROOTROOT"
	// sessionKey is of a session of the role Deploy.
	sessionKey = "ASIASESSIONSESSION22"

	executionPolicy = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
	readOnly        = "arn:aws:iam::aws:policy/ReadOnlyAccess"

	trustTasks = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	allowLogs  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["logs:PutLogEvents"],"Resource":"*"}]}`
)

var scope = arn.Scope{Region: "us-east-1", AccountID: account}

// world is a provider behind the real gateway, which lets everybody do
// everything, with AWS's client of it.
type world struct {
	*testing.T
	*iamclient.Client // the root user's
	store             *store.Store
	ring              *keyring.Keyring
	url               string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := store.Open(memkv.New(0), "/berth/", store.Options{CheckMutation: true}, records.All()...)
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
	ring, err := keyring.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, store: s, ring: ring}
	g, err := gateway.New(gateway.Config{
		Services:    []gateway.Service{{API: iamapi.API, Provider: iam.New(iam.Config{Store: s, Scope: scope, Ring: ring})}},
		Credentials: w, Authorizer: allowAll{}, Region: scope.Region, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	w.url = server.URL
	w.Client = w.as(rootKey, "secret")
	return w
}

// as is a client that signs with a key.
func (w *world) as(id, secret string) *iamclient.Client {
	return iamclient.NewFromConfig(aws.Config{
		Region: scope.Region, BaseEndpoint: &w.url, RetryMaxAttempts: 1,
		HTTPClient:  wiretest.Client(http.DefaultTransport),
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, ""),
	})
}

// Credentials implements gateway.CredentialStore: the root user's key, the
// session's, and the keys that the provider made, as it sealed them.
func (w *world) Credentials(_ context.Context, id, _ string) (sigv4.Credential, caller.Identity, error) {
	switch id {
	case rootKey:
		return sigv4.Credential{SecretAccessKey: "secret"}, caller.Identity{AccountID: account, ARN: scope.Root(), UserID: account}, nil
	case sessionKey:
		return sigv4.Credential{SecretAccessKey: "secret"}, caller.Identity{
			AccountID: account, ARN: "arn:aws:sts::" + account + ":assumed-role/Deploy/ci", UserID: "AROA:ci",
			Session: &caller.Session{RoleARN: "arn:aws:iam::" + account + ":role/Deploy", Name: "ci"},
		}, nil
	}
	key, ok := records.AccessKeys.Get(w.store.Snapshot(), id)
	if !ok || key.Inactive {
		return sigv4.Credential{}, caller.Identity{}, fault.New(fault.NotFound, "no such key")
	}
	secret, err := w.ring.Open(key.Sealed, keyring.AccessKey(id))
	if err != nil {
		return sigv4.Credential{}, caller.Identity{}, err
	}
	who := caller.Identity{AccountID: account, ARN: key.PrincipalARN, UserID: account}
	if u, ok := records.Users.Get(w.store.Snapshot(), model.FoldName(key.UserName)); ok {
		who = caller.Identity{AccountID: account, ARN: "arn:aws:iam::" + account + ":user" + u.Path + u.Name, UserID: u.ID, UserName: u.Name}
	}
	return sigv4.Credential{SecretAccessKey: string(secret)}, who, nil
}

// allowAll is an authorizer and a guard that refuses to pass one role.
type allowAll struct{}

// Authorize implements gateway.Authorizer.
func (allowAll) Authorize(context.Context, gateway.Access) error { return nil }

// Check implements caller.Guard: nobody passes a role called Guarded.
func (allowAll) Check(_ context.Context, action, resource string, keys map[string][]string) error {
	if action == "iam:PassRole" && strings.HasSuffix(resource, "/Guarded") && slices.Equal(keys["iam:passedtoservice"], []string{"ec2.amazonaws.com"}) {
		return fault.New(fault.Denied, "not authorized to perform: %s on resource: %s", action, resource)
	}
	return nil
}

// must fails the test on an error.
func must[T any](w *world) func(T, error) T {
	return func(out T, err error) T {
		w.Helper()
		if err != nil {
			w.Fatal(err)
		}
		return out
	}
}

// ok fails the test on the error of a call whose answer says nothing.
func ok[T any](w *world) func(T, error) {
	return func(_ T, err error) {
		w.Helper()
		if err != nil {
			w.Fatal(err)
		}
	}
}

// role makes a role that tasks may assume.
func (w *world) role(name string, edit ...func(*iamclient.CreateRoleInput)) {
	w.Helper()
	in := &iamclient.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(trustTasks)}
	for _, e := range edit {
		e(in)
	}
	ok[*iamclient.CreateRoleOutput](w)(w.CreateRole(w.Context(), in))
}

func (w *world) user(name string) {
	w.Helper()
	ok[*iamclient.CreateUserOutput](w)(w.CreateUser(w.Context(), &iamclient.CreateUserInput{UserName: &name}))
}

func (w *world) group(name string) {
	w.Helper()
	ok[*iamclient.CreateGroupOutput](w)(w.CreateGroup(w.Context(), &iamclient.CreateGroupInput{GroupName: &name}))
}

// policy makes a managed policy and returns its ARN.
func (w *world) policy(name, document string) string {
	w.Helper()
	out := must[*iamclient.CreatePolicyOutput](w)(w.CreatePolicy(w.Context(), &iamclient.CreatePolicyInput{PolicyName: &name, PolicyDocument: &document}))
	return *out.Policy.Arn
}

// said is an error as its golden file has it.
func said(err error) string {
	if err == nil {
		return "no error"
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	return err.Error()
}

// wants fails the test unless err says what it should.
func (w *world) wants(err error, want string) {
	w.Helper()
	if got := said(err); got != want {
		w.Errorf("got  %s\nwant %s", got, want)
	}
}

// compareGolden holds text equal to a file's, which -update writes.
func compareGolden(t *testing.T, path, got string) {
	t.Helper()
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
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

// recent reports whether a time is of this test, in whole seconds.
func recent(at *time.Time) bool {
	return at != nil && time.Since(*at) < time.Minute && at.Nanosecond() == 0
}
