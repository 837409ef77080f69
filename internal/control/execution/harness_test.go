package execution_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/control/execution"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/sessions"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/smithy"
)

var scope = arn.Scope{Region: "us-east-1", AccountID: "123456789012"}

const (
	taskID        = "0123456789abcdef0123456789abcdef"
	taskRole      = "arn:aws:iam::123456789012:role/ecsTaskRole"
	executionRole = "arn:aws:iam::123456789012:role/service/ecsTaskExecutionRole"
	executing     = "arn:aws:sts::123456789012:assumed-role/ecsTaskExecutionRole/" + taskID
	trust         = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	password      = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-password-AbCdEf"
	creds         = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-creds-GhIjKl"
	apiKey        = "arn:aws:ssm:us-east-1:123456789012:parameter/myapp/api-key"
)

// world is a store, services that answer from maps, and what was asked of them.
type world struct {
	t        *testing.T
	store    *store.Store
	sessions *sessions.Sessions
	*execution.Execution

	secrets    map[string]execution.SecretValue // by id, "|" and stage or version
	parameters map[string]string                // by name
	failure    error                            // of every call
	forbidden  map[string]bool                  // actions
	asked      []string
	who        caller.Identity // of the last call
}

// in gives a test a world in a bubble, so that its clock stands still.
func in(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	ring, err := keyring.Open(t.Context(), keyring.Config{File: filepath.Join(t.TempDir(), "master")})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s, err := store.Open(memkv.New(100), "/berth/", store.Options{CheckMutation: true}, records.All()...)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.Run(ctx) //nolint:errcheck // it ends with the test
		<-s.Ready()
		w := &world{t: t, store: s, sessions: sessions.New(ring), secrets: map[string]execution.SecretValue{}, parameters: map[string]string{}, forbidden: map[string]bool{}}
		w.Execution, err = execution.New(execution.Config{
			Store: s, Sessions: w.sessions, Scope: scope, API: w, Access: w, Log: slog.New(slog.DiscardHandler),
			RegistryHosts: []string{"registry.internal:5000"},
		})
		if err != nil {
			t.Fatal(err)
		}
		w.role("ecsTaskRole", "/", trust)
		w.role("ecsTaskExecutionRole", "/service/", trust)
		f(t, w)
	})
}

func (w *world) update(f func(tx *store.Tx)) {
	w.t.Helper()
	if _, err := w.store.Update(w.t.Context(), func(tx *store.Tx) error { f(tx); return nil }); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) role(name, path, trust string) {
	w.t.Helper()
	w.update(func(tx *store.Tx) {
		records.Roles.Put(tx, &model.Role{ID: "AROA" + strings.ToUpper(name), Name: name, Path: path, Trust: trust, MaxSessionDuration: 3600})
	})
}

// task registers a definition with both roles and returns a task of it.
func (w *world) task(change func(*model.TaskDefinition), containers ...model.ContainerDefinition) *model.Task {
	w.t.Helper()
	def := &model.TaskDefinition{
		Family: "app", Revision: 1, TaskRoleARN: taskRole, ExecutionRoleARN: executionRole,
		NetworkMode: "awsvpc", RequiresCompatibilities: []string{"FARGATE"}, CPU: "256", Memory: "512", ContainerDefinitions: containers,
	}
	if change != nil {
		change(def)
	}
	t := &model.Task{
		ID: taskID, ARN: "arn:aws:ecs:us-east-1:123456789012:task/default/" + taskID, Family: "app", Revision: 1, LaunchType: model.LaunchFargate,
		NetworkInterface: &model.NetworkInterface{ID: "eni-1", VPCID: "vpc-1", Address: "172.31.0.7"},
	}
	for _, c := range containers {
		t.Containers = append(t.Containers, model.TaskContainer{Name: c.Name, RuntimeID: taskID + "-" + c.Name})
	}
	w.update(func(tx *store.Tx) { records.TaskDefinitions.Put(tx, def) })
	return t
}

// GetSecretValue implements execution.API.
func (w *world) GetSecretValue(_ context.Context, who caller.Identity, id, stage, version string) (execution.SecretValue, error) {
	w.who = who
	w.asked = append(w.asked, strings.TrimRight("secret "+id+" "+stage+version, " "))
	if w.failure != nil {
		return execution.SecretValue{}, w.failure
	}
	if w.forbidden["secretsmanager:GetSecretValue"] {
		return execution.SecretValue{}, smithy.NewError(400, "AccessDeniedException", sentence(who, "secretsmanager:GetSecretValue", id))
	}
	v, ok := w.secrets[id+"|"+cmp.Or(stage+version, "AWSCURRENT")]
	if !ok {
		return v, smithy.NewError(400, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	}
	return v, nil
}

// GetParameters implements execution.API.
func (w *world) GetParameters(_ context.Context, who caller.Identity, names []string) (found []execution.Parameter, invalid []string, err error) {
	w.who = who
	w.asked = append(w.asked, "parameters "+strings.Join(names, " "))
	if len(names) > 10 {
		w.t.Errorf("%d parameters in one call", len(names))
	}
	if w.failure != nil {
		return nil, nil, w.failure
	}
	if w.forbidden["ssm:GetParameters"] {
		return nil, nil, smithy.NewError(400, "AccessDeniedException", sentence(who, "ssm:GetParameters", apiKey))
	}
	for _, id := range names {
		name := id
		if _, rest, isARN := strings.Cut(id, ":parameter"); isARN {
			name = rest
		}
		value, ok := w.parameters[name]
		if !ok {
			invalid = append(invalid, id)
			continue
		}
		found = append(found, execution.Parameter{Name: name, ARN: "arn:aws:ssm:us-east-1:123456789012:parameter/" + strings.TrimPrefix(name, "/"), Value: value})
	}
	slices.Reverse(found) // in no order that anybody may rely on
	return found, invalid, nil
}

// Check implements execution.Access.
func (w *world) Check(_ context.Context, who caller.Identity, action, resource string) error {
	w.who = who
	w.asked = append(w.asked, action+" "+resource)
	if w.failure != nil {
		return w.failure
	}
	if w.forbidden[action] {
		return fault.New(fault.Denied, "%s", sentence(who, action, resource))
	}
	return nil
}

func sentence(who caller.Identity, action, resource string) string {
	return fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s because no identity-based policy allows the %[2]s action", who.ARN, action, resource)
}

func (w *world) expectAsked(want ...string) {
	w.t.Helper()
	if !slices.Equal(w.asked, want) {
		w.t.Errorf("asked:\n%s\nwant:\n%s", strings.Join(w.asked, "\n"), strings.Join(want, "\n"))
	}
	w.asked = nil
}

// expectActing checks that the last call was the execution role's.
func (w *world) expectActing() {
	w.t.Helper()
	if w.who.ARN != executing || w.who.Service != "ecs-tasks.amazonaws.com" || w.who.SourceIP != "172.31.0.7" || w.who.SourceVPC != "vpc-1" ||
		w.who.Session == nil || w.who.Session.RoleARN != executionRole || !w.who.Session.Expires.After(time.Now()) {
		w.t.Errorf("called as %+v", w.who)
	}
}
