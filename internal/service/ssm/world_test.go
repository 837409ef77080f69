package ssm_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
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
	"berth.dev/berth/internal/service/ssm"
	"berth.dev/berth/internal/wire/api/ssmapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
	"berth.dev/berth/internal/wire/wiretest"
)

var update = flag.Bool("update", false, "write the golden file")

const (
	account = "123456789012"
	region  = "us-east-1"
	rootARN = "arn:aws:iam::" + account + ":root"
)

// root knows one access key, that of the root user.
type root struct{}

func (root) Credentials(context.Context, string, string) (sigv4.Credential, caller.Identity, error) {
	return sigv4.Credential{SecretAccessKey: "secret"}, caller.Identity{AccountID: account, ARN: rootARN, UserID: account}, nil
}

// guard lets the caller do all but what it is told to refuse.
type guard struct {
	gateway.AllowRoot
	refused atomic.Pointer[string] // an action
}

func (g *guard) Check(_ context.Context, action, resource string, _ map[string][]string) error {
	if refused := g.refused.Load(); refused != nil && *refused == action {
		return fault.New(fault.Denied, "User: %s is not authorized to perform: %s on resource: %s", rootARN, action, resource)
	}
	return nil
}

// world is a provider behind the real gateway, with AWS's client of it.
type world struct {
	t     *testing.T
	store *store.Store
	keys  *keys.Keys
	ssm   *awsssm.Client
	guard *guard
	said  atomic.Pointer[string] // the last answer's body
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := store.Open(memkv.New(0), "/berth/", store.Options{}, records.All()...)
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
	scope := arn.Scope{Region: region, AccountID: account}
	k := keys.New(keys.Config{Store: s, Ring: ring, Scope: scope})
	w := &world{t: t, store: s, keys: k, guard: &guard{}}
	g, err := gateway.New(gateway.Config{
		Services:    []gateway.Service{{API: ssmapi.API, Provider: ssm.New(ssm.Config{Store: s, Keys: k, Tokens: tokens{}, Scope: scope})}},
		Credentials: root{}, Authorizer: w.guard, Region: region, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	w.ssm = awsssm.NewFromConfig(aws.Config{
		Region: region, BaseEndpoint: &server.URL, RetryMaxAttempts: 1,
		HTTPClient:  &http.Client{Transport: wiretest.Transport{RoundTripper: server.Client().Transport, Said: &w.said}},
		Credentials: credentials.NewStaticCredentialsProvider("AKIAROOT", "secret", ""),
	})
	return w
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

// put makes a parameter or its next version.
func (w *world) put(name string, kind types.ParameterType, value string, edit ...func(*awsssm.PutParameterInput)) *awsssm.PutParameterOutput {
	w.t.Helper()
	return must[awsssm.PutParameterOutput](w)(w.tryPut(name, kind, value, edit...))
}

func (w *world) tryPut(name string, kind types.ParameterType, value string, edit ...func(*awsssm.PutParameterInput)) (*awsssm.PutParameterOutput, error) {
	in := &awsssm.PutParameterInput{Name: &name, Type: kind, Value: &value}
	for _, e := range edit {
		e(in)
	}
	return w.ssm.PutParameter(w.t.Context(), in)
}

func overwrite(in *awsssm.PutParameterInput) { in.Overwrite = aws.Bool(true) }

// get is a parameter with its value in clear.
func (w *world) get(name string) *types.Parameter {
	w.t.Helper()
	return must[awsssm.GetParameterOutput](w)(w.ssm.GetParameter(w.t.Context(), &awsssm.GetParameterInput{Name: &name, WithDecryption: aws.Bool(true)})).Parameter
}

func (w *world) label(name string, version int64, labels ...string) *awsssm.LabelParameterVersionOutput {
	w.t.Helper()
	return must[awsssm.LabelParameterVersionOutput](w)(w.ssm.LabelParameterVersion(w.t.Context(), &awsssm.LabelParameterVersionInput{Name: &name, ParameterVersion: &version, Labels: labels}))
}

// secret makes a secret with two versions, the older of which has lost
// AWSCURRENT.
func (w *world) secret(name string, binary bool, values ...string) *model.Secret {
	w.t.Helper()
	s := &model.Secret{Name: name, ARN: "arn:aws:secretsmanager:" + region + ":" + account + ":secret:" + name + "-AbCdEf", Stages: map[string]string{}}
	for i, value := range values {
		v := &model.SecretVersion{SecretName: name, ID: "00000000-0000-4000-8000-00000000000" + string(rune('0'+i)), Binary: binary}
		sealed, key, err := w.keys.Seal(w.t.Context(), "secretsmanager", keys.SecretsManager, []byte(value), map[string]string{"SecretARN": s.ARN, "SecretVersionId": v.ID})
		if err != nil {
			w.t.Fatal(err)
		}
		v.Sealed, v.KMSKeyID = sealed, key
		if current, ok := s.Stages[model.StageCurrent]; ok {
			s.Stages[model.StagePrevious] = current
		}
		s.Stages[model.StageCurrent] = v.ID
		if _, err := w.store.Update(w.t.Context(), func(tx *store.Tx) error {
			v.CreatedAt = tx.Now()
			records.SecretVersions.Put(tx, v)
			records.Secrets.Put(tx, s)
			return nil
		}); err != nil {
			w.t.Fatal(err)
		}
	}
	return s
}

// refusal is the last answer as clients see it: its code and text.
func (w *world) refusal(err error) string {
	if err == nil {
		return "no error"
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		var body struct{ Message string }
		if err := json.Unmarshal([]byte(*w.said.Load()), &body); err == nil && api.ErrorMessage() == "" {
			return api.ErrorCode() + ": " + body.Message
		}
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	return err.Error()
}

// compareGolden holds the lines equal to the file's, which -update writes.
func compareGolden(t *testing.T, path string, lines []string) {
	t.Helper()
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
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
