package authority_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/edge/authority"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/kmsapi"
	"berth.dev/berth/internal/wire/api/secretsmanagerapi"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
	wire "berth.dev/berth/internal/wire/smithy"
	"berth.dev/berth/internal/wire/wiretest"
)

var (
	scope = arn.Scope{Partition: "aws", Region: "eu-central-1", AccountID: "123456789012"}
	began = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

const (
	secretARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:db-AbCdEf"
	keyID     = "11111111-2222-3333-4444-555555555555"
	keyARN    = "arn:aws:kms:eu-central-1:123456789012:key/" + keyID
	appRole   = "arn:aws:iam::123456789012:role/team/app"
	limits    = "arn:aws:iam::123456789012:policy/limits"
)

// world is a store, an authority over it, and a gateway before services whose
// operations all succeed with nothing.
type world struct {
	t     testing.TB
	store *store.Store
	*authority.Authority
	door *gateway.Gateway
	who  map[string]caller.Identity // by access key
	url  string
}

func newWorld(t testing.TB) *world {
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
	<-s.Ready()
	w := &world{t: t, store: s}
	if w.Authority, err = authority.New(authority.Config{Store: s, Scope: scope, Now: func() time.Time { return began }}); err != nil {
		t.Fatal(err)
	}
	session := &caller.Session{RoleARN: appRole, RoleID: "AROAAPP", Name: "0123", IssuedAt: began.Add(-time.Hour), Expires: began.Add(time.Hour)}
	w.who = map[string]caller.Identity{
		"AKIAROOT": {AccountID: scope.AccountID, ARN: scope.Root(), UserID: scope.AccountID},
		"AKIADEV":  {AccountID: scope.AccountID, ARN: "arn:aws:iam::123456789012:user/dev", UserID: "AIDADEV", UserName: "dev"},
		"ASIAAPP":  {AccountID: scope.AccountID, ARN: "arn:aws:sts::123456789012:assumed-role/app/0123", UserID: "AROAAPP:0123", Session: session},
	}
	w.fill()
	cfg := gateway.Config{Credentials: w, Authorizer: w.Authority, Logger: slog.New(slog.DiscardHandler), Region: scope.Region}
	for _, api := range []*wire.Service{ecsapi.API, ec2api.API, stsapi.API, secretsmanagerapi.API, kmsapi.API} {
		cfg.Services = append(cfg.Services, gateway.Service{API: answering(api)})
	}
	if w.door, err = gateway.New(cfg); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(w.door)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// answering is api with operations that succeed with an empty output.
func answering(api *wire.Service) *wire.Service {
	changed := *api
	changed.Operations = nil
	for _, op := range api.Operations {
		operation := *op
		operation.Invoke = func(context.Context, any, wire.Shape) (wire.Shape, error) { return op.NewOutput(), nil }
		changed.Operations = append(changed.Operations, &operation)
	}
	return &changed
}

// Credentials implements gateway.CredentialStore.
func (w *world) Credentials(_ context.Context, id, token string) (sigv4.Credential, caller.Identity, error) {
	who, ok := w.who[id]
	if !ok {
		return sigv4.Credential{}, who, fault.New(fault.NotFound, "access key %s", id)
	}
	return sigv4.Credential{SecretAccessKey: "secret", SessionToken: token}, who, nil
}

// write changes the store.
func (w *world) write(change func(tx *store.Tx)) {
	w.t.Helper()
	if _, err := w.store.Update(context.Background(), func(tx *store.Tx) error { change(tx); return nil }); err != nil {
		w.t.Fatal(err)
	}
}

// fill puts what the tests speak of.
func (w *world) fill() {
	w.write(func(tx *store.Tx) {
		records.Users.Put(tx, &model.User{ID: "AIDADEV", Name: "dev", Path: "/", Tags: []model.Tag{{Key: "Team", Value: "blue"}}})
		records.Roles.Put(tx, &model.Role{
			ID: "AROAAPP", Name: "app", Path: "/team/", MaxSessionDuration: 3600,
			Trust: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`,
		})
		records.Families.Put(tx, &model.Family{Name: "web", LastRevision: 2})
		for revision := 1; revision <= 2; revision++ {
			records.TaskDefinitions.Put(tx, &model.TaskDefinition{
				Family: "web", Revision: revision, ARN: scope.TaskDefinition("web", revision),
				Status: model.TaskDefinitionActive, TaskRoleARN: appRole, CPU: "256", Memory: "512",
			})
		}
		records.Tasks.Put(tx, &model.Task{ID: taskID, ARN: scope.Task("prod", taskID), ClusterName: "prod", Tags: []model.Tag{{Key: "Team", Value: "blue"}}})
		records.Secrets.Put(tx, &model.Secret{Name: "db", ARN: secretARN})
		records.KMSKeys.Put(tx, &model.KMSKey{ID: keyID, ARN: keyARN, Policy: keyPolicy("kms:*")})
		records.KMSAliases.Put(tx, &model.KMSAlias{Name: "alias/app", KeyID: keyID})
	})
}

const taskID = "0123456789abcdef0123456789abcdef"

// keyPolicy lets the account's identity policies decide on some actions.
func keyPolicy(actions string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"%s","Resource":"*"}]}`, actions)
}

// statement makes a document of one statement: effect, action, resource and
// conditions as they are written.
func statement(effect, action, resource, condition string) string {
	if condition != "" {
		condition = `,"Condition":` + condition
	}
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"%s","Action":"%s","Resource":"%s"%s}]}`, effect, action, resource, condition)
}

// may gives the user dev inline policies.
func (w *world) may(documents ...string) {
	w.t.Helper()
	w.write(func(tx *store.Tx) {
		must(w.t, records.Users.Edit(tx, "dev", func(u *model.User) error {
			u.Inline = nil
			for i, d := range documents {
				u.Inline = append(u.Inline, model.InlinePolicy{Name: fmt.Sprint("p", i), Document: d})
			}
			return nil
		}))
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// as is the SDK's configuration of who has an access key.
func (w *world) as(key string) aws.Config {
	token := ""
	if key[:4] == "ASIA" {
		token = "token"
	}
	return aws.Config{
		Region: scope.Region, BaseEndpoint: &w.url, RetryMaxAttempts: 1,
		HTTPClient:  wiretest.Client(http.DefaultTransport),
		Credentials: credentials.NewStaticCredentialsProvider(key, "secret", token),
	}
}

// Calls that tests make, with the official SDK.
func describeTask(ctx context.Context, cfg aws.Config) error {
	_, err := ecs.NewFromConfig(cfg).DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: aws.String("prod"), Tasks: []string{taskID}})
	return err
}

func runTask(ctx context.Context, cfg aws.Config) error {
	_, err := ecs.NewFromConfig(cfg).RunTask(ctx, &ecs.RunTaskInput{Cluster: aws.String("prod"), TaskDefinition: aws.String("web")})
	return err
}

func deleteVPC(ctx context.Context, cfg aws.Config) error {
	_, err := ec2.NewFromConfig(cfg).DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: aws.String("vpc-1")})
	return err
}

func getSecret(ctx context.Context, cfg aws.Config) error {
	_, err := secretsmanager.NewFromConfig(cfg).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("db")})
	return err
}

func encrypt(ctx context.Context, cfg aws.Config) error {
	_, err := kms.NewFromConfig(cfg).Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String("alias/app"), Plaintext: []byte("x"), EncryptionContext: map[string]string{"Purpose": "test"}})
	return err
}

func assumeRole(ctx context.Context, cfg aws.Config) error {
	_, err := sts.NewFromConfig(cfg).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String(appRole), RoleSessionName: aws.String("me"), ExternalId: aws.String("42")})
	return err
}

func whoAmI(ctx context.Context, cfg aws.Config) error {
	_, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil)
	return err
}

// said is code and message of an error, as the SDK understood it.
func said(err error) string {
	api, ok := errors.AsType[smithy.APIError](err)
	switch {
	case err == nil:
		return "OK"
	case !ok:
		return err.Error()
	}
	return api.ErrorCode() + ": " + api.ErrorMessage()
}
