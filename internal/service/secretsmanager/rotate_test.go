package secretsmanager_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

const rotator = "arn:aws:ecs:us-east-1:123456789012:task-definition/rotate"

// withRotator has a task definition that rotates, and a secret.
func withRotator(t *testing.T) *world {
	w := newWorld(t)
	w.edit(func(tx *store.Tx) {
		records.Families.Put(tx, &model.Family{Name: "rotate", LastRevision: 2})
		for revision, status := range map[int]string{1: model.TaskDefinitionActive, 2: model.TaskDefinitionInactive} {
			records.TaskDefinitions.Put(tx, &model.TaskDefinition{
				Family: "rotate", Revision: revision, ARN: scope.TaskDefinition("rotate", revision), Status: status,
				TaskRoleARN: "arn:aws:iam::123456789012:role/rotator", ContainerDefinitions: []model.ContainerDefinition{{Name: "a"}},
			})
		}
	})
	w.create("s", "1")
	return w
}

func (w *world) rotate(edit ...func(*sm.RotateSecretInput)) (*sm.RotateSecretOutput, error) {
	w.Helper()
	in := &sm.RotateSecretInput{SecretId: aws.String("s"), RotationLambdaARN: aws.String(rotator), RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)}}
	for _, e := range edit {
		e(in)
	}
	return w.RotateSecret(w.Context(), in)
}

func TestRotateSecret(t *testing.T) {
	w := withRotator(t)
	token := ident.UUID()
	withToken := func(in *sm.RotateSecretInput) { in.ClientRequestToken = &token }
	for range 2 { // a call that is repeated asks for nothing more
		out, err := w.rotate(withToken)
		if err != nil || *out.VersionId != token {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	out, err := w.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("s")})
	if err != nil || !*out.RotationEnabled || *out.RotationLambdaARN != rotator || *out.RotationRules.AutomaticallyAfterDays != 30 || out.RotationRules.Duration != nil || out.LastRotatedDate != nil {
		t.Fatalf("%+v, %v", out, err)
	}
	if want := time.Date(2026, 4, 3, 23, 59, 59, 0, time.UTC); !out.NextRotationDate.Equal(want) {
		t.Errorf("the next is until %v", out.NextRotationDate)
	}
	if _, err := w.rotate(); said(err) != "InvalidRequestException: A previous rotation isn't complete. That rotation will be reattempted." {
		t.Error(said(err))
	}
	cancelled, err := w.CancelRotateSecret(t.Context(), &sm.CancelRotateSecretInput{SecretId: aws.String("s")})
	if err != nil || *cancelled.VersionId != token {
		t.Fatalf("%+v, %v", cancelled, err)
	}
	out, err = w.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("s")})
	if err != nil || *out.RotationEnabled || *out.RotationLambdaARN != rotator || out.NextRotationDate != nil {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestRotateSecret_Later(t *testing.T) {
	w := withRotator(t)
	later := func(in *sm.RotateSecretInput) {
		in.RotateImmediately = aws.Bool(false)
		in.RotationRules = &types.RotationRulesType{ScheduleExpression: aws.String("cron(0 8 1 * ? *)"), Duration: aws.String("3h")}
	}
	for range 2 { // the rules can be set again while nothing is in progress
		if out, err := w.rotate(later); err != nil || out.VersionId != nil {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	list, err := w.ListSecrets(t.Context(), &sm.ListSecretsInput{})
	if err != nil {
		t.Fatal(err)
	}
	s := list.SecretList[0]
	if *s.RotationRules.ScheduleExpression != "cron(0 8 1 * ? *)" || *s.RotationRules.Duration != "3h" || s.RotationRules.AutomaticallyAfterDays != nil ||
		!s.NextRotationDate.Equal(time.Date(2026, 4, 1, 11, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", s)
	}
	if r := w.secret("s").Rotation; r.VersionID != "" {
		t.Errorf("%+v", r)
	}
}

// A new value by hand counts as a rotation, of a schedule by days.
func TestPutSecretValue_CountsAsRotation(t *testing.T) {
	w := withRotator(t)
	if _, err := w.rotate(func(in *sm.RotateSecretInput) { in.RotateImmediately = aws.Bool(false) }); err != nil {
		t.Fatal(err)
	}
	w.after(10 * 24 * time.Hour)
	w.put("s", "pending", "AWSPENDING")
	if next := w.secret("s").Rotation.NextAt; !next.Equal(time.Date(2026, 4, 3, 0, 0, 0, 0, time.UTC)) {
		t.Error(next)
	}
	w.put("s", "new")
	if next := w.secret("s").Rotation.NextAt; !next.Equal(time.Date(2026, 4, 13, 0, 0, 0, 0, time.UTC)) {
		t.Error(next)
	}
}

// Who lets a task run must be allowed to run it with its roles.
func TestRotateSecret_Authorisation(t *testing.T) {
	w := withRotator(t)
	for _, refused := range []string{"ecs:RunTask on arn:aws:ecs:us-east-1:123456789012:task-definition/rotate:1", "iam:PassRole on arn:aws:iam::123456789012:role/rotator"} {
		w.refused.Store(&[]string{refused})
		if _, err := w.rotate(); !strings.HasPrefix(said(err), "AccessDeniedException: User: x is not authorized to perform: "+strings.Fields(refused)[0]) {
			t.Errorf("%s: %s", refused, said(err))
		}
	}
	if w.secret("s").Rotation != nil {
		t.Error("it was written all the same")
	}
}
