package secretref_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/secretref"
)

var scope = arn.Scope{Region: "us-east-1", AccountID: "123456789012"}

const (
	whole   = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-creds-AbCdEf"
	partial = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-creds"
	ssm     = "arn:aws:ssm:us-east-1:123456789012:parameter/"
)

func TestParse(t *testing.T) {
	secret := func(id string, edit func(*secretref.Ref)) secretref.Ref {
		r := secretref.Ref{Store: secretref.SecretsManager, ID: id, SecretID: id, ARN: id}
		if edit != nil {
			edit(&r)
		}
		return r
	}
	parameter := func(id, name, resource, secret string) secretref.Ref {
		return secretref.Ref{Store: secretref.ParameterStore, ID: id, Name: name, ARN: resource, SecretID: secret}
	}
	for _, tc := range []struct {
		valueFrom string
		want      secretref.Ref
	}{
		{whole, secret(whole, nil)},
		{partial, secret(partial, nil)},
		{whole + ":user::", secret(whole, func(r *secretref.Ref) { r.Key = "user" })},
		{partial + ":user::", secret(partial, func(r *secretref.Ref) { r.Key = "user" })},
		{whole + "::AWSPREVIOUS:", secret(whole, func(r *secretref.Ref) { r.Stage = "AWSPREVIOUS" })},
		{whole + ":::id", secret(whole, func(r *secretref.Ref) { r.VersionID = "id" })},
		{whole + ":user:AWSPREVIOUS:", secret(whole, func(r *secretref.Ref) { r.Key, r.Stage = "user", "AWSPREVIOUS" })},
		{whole + ":user::id", secret(whole, func(r *secretref.Ref) { r.Key, r.VersionID = "user", "id" })},
		{whole + ":::", secret(whole, nil)},
		{ssm + "myapp/api-key", parameter(ssm+"myapp/api-key", "/myapp/api-key", ssm+"myapp/api-key", "")},
		{ssm + "x", parameter(ssm+"x", "x", ssm+"x", "")},
		{"x", parameter("x", "x", ssm+"x", "")},
		{"/x", parameter("/x", "/x", ssm+"x", "")},
		{"/a/b.c_d-e", parameter("/a/b.c_d-e", "/a/b.c_d-e", ssm+"a/b.c_d-e", "")},
		{"/aws/reference/secretsmanager/db/creds", parameter("/aws/reference/secretsmanager/db/creds", "/aws/reference/secretsmanager/db/creds", ssm+"aws/reference/secretsmanager/db/creds", "db/creds")},
		{ssm + "aws/reference/secretsmanager/db", parameter(ssm+"aws/reference/secretsmanager/db", "/aws/reference/secretsmanager/db", ssm+"aws/reference/secretsmanager/db", "db")},
	} {
		got, err := secretref.Parse(tc.valueFrom, scope)
		if err != nil {
			t.Errorf("%s: %v", tc.valueFrom, err)
		} else if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.valueFrom, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct {
		valueFrom string
		want      error
	}{
		{"", secretref.ErrParameterName},
		{"name:user::", secretref.ErrParameterName},
		{"with space", secretref.ErrParameterName},
		{strings.Repeat("x", 2049), secretref.ErrParameterName},
		{ssm, secretref.ErrParameterName},
		{ssm + "x:3", secretref.ErrParameterName},
		{whole + ":user", secretref.ErrFields},
		{whole + ":user:", secretref.ErrFields},
		{whole + ":user:::", secretref.ErrFields},
		{whole + "::AWSPREVIOUS:id", secretref.ErrBoth},
		{"arn:aws:secretsmanager:us-east-1:123456789012:secret:", secretref.ErrForm},
		{"arn:aws:secretsmanager:us-east-1:123456789012:x", secretref.ErrForm},
		{"arn:aws:ssm:us-east-1:123456789012:document/x", secretref.ErrForm},
		{"arn:aws:s3:::bucket/key", secretref.ErrForm},
		{"arn:aws", secretref.ErrForm},
	} {
		if _, err := secretref.Parse(tc.valueFrom, scope); !errors.Is(err, tc.want) {
			t.Errorf("%.80s: got %v, want %v", tc.valueFrom, err, tc.want)
		}
	}
}

// A reference that is put together from its parts is read as these parts.
func TestParse_Parts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[A-Za-z0-9/_+=.@-]{1,20}`).Draw(t, "name")
		key := rapid.StringMatching(`[^:]{0,10}`).Draw(t, "key")
		stage := rapid.StringMatching(`[A-Za-z]{0,10}`).Draw(t, "stage")
		version := ""
		if stage == "" {
			version = rapid.StringMatching(`[a-z0-9-]{0,36}`).Draw(t, "version")
		}
		id := "arn:aws:secretsmanager:us-east-1:123456789012:secret:" + name
		got, err := secretref.Parse(id+":"+key+":"+stage+":"+version, scope)
		if err != nil {
			t.Fatal(err)
		}
		want := secretref.Ref{ID: id, SecretID: id, ARN: id, Key: key, Stage: stage, VersionID: version}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestMember(t *testing.T) {
	for _, tc := range []struct {
		secret, key, want string
		found             bool
	}{
		{`{"user":"a\"b","n":5}`, "user", `a"b`, true},
		{`{"n": 5 }`, "n", "5", true},
		{`{"o": {"a": [1, 2]}}`, "o", `{"a": [1, 2]}`, true},
		{`{"z": null}`, "z", "null", true},
		{`{"empty": ""}`, "empty", "", true},
		{`{"a": {"b": "c"}}`, "b", "", false},
		{`{"User": "x"}`, "user", "", false},
		{`["user"]`, "user", "", false},
		{`hunter2`, "user", "", false},
		{`null`, "user", "", false},
		{``, "user", "", false},
	} {
		if got, found := secretref.Member(tc.secret, tc.key); got != tc.want || found != tc.found {
			t.Errorf("%s of %s: got %q, %v", tc.key, tc.secret, got, found)
		}
	}
}

func TestNames(t *testing.T) {
	s := &model.Secret{Name: "db-creds", ARN: whole}
	odd := &model.Secret{Name: "db-creds-AbCdEf", ARN: whole + "-GhIjKl"}
	for _, tc := range []struct {
		id     string
		secret *model.Secret
		want   bool
	}{
		{"db-creds", s, true},
		{whole, s, true},
		{partial, s, true},
		{"db-creds-AbCdEf", s, false},
		{"db", s, false},
		{partial + "-AbCdEg", s, false},
		{strings.Replace(whole, "us-east-1", "eu-west-1", 1), s, false},
		{whole, odd, true},
		{"db-creds-AbCdEf", odd, true},
		{partial, odd, false},
	} {
		if got := secretref.Names(tc.id, tc.secret); got != tc.want {
			t.Errorf("%s names %s: %v", tc.id, tc.secret.Name, got)
		}
	}
	// Whatever names a secret has it among its candidates.
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[A-Za-z0-9/_+=.@-]{1,20}`).Draw(t, "name")
		base := "arn:aws:secretsmanager:us-east-1:123456789012:secret:" + name
		s := &model.Secret{Name: name, ARN: base + rapid.StringMatching(`-[A-Za-z0-9]{6}`).Draw(t, "ending")}
		for _, id := range []string{name, base, s.ARN} {
			found := false
			for _, c := range secretref.Candidates(id) {
				found = found || c == name
			}
			if !found || !secretref.Names(id, s) {
				t.Fatalf("%s does not find %s", id, s.ARN)
			}
		}
	})
	if got := secretref.Candidates("arn:aws:ecs:us-east-1:123456789012:task/x"); got != nil {
		t.Errorf("got %v", got)
	}
}

func TestVersion(t *testing.T) {
	s := &model.Secret{Stages: map[string]string{model.StageCurrent: "2", model.StagePrevious: "1"}}
	for _, tc := range []struct {
		ref  secretref.Ref
		want string
	}{
		{secretref.Ref{}, "2"},
		{secretref.Ref{Stage: model.StagePrevious}, "1"},
		{secretref.Ref{Stage: "other"}, ""},
		{secretref.Ref{VersionID: "1"}, "1"},
	} {
		if got := tc.ref.Version(s); got != tc.want {
			t.Errorf("%+v: got %s", tc.ref, got)
		}
	}
}
