package secretsmanager_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// library has four secrets, made a minute after each other.
func library(t *testing.T) *world {
	w := newWorld(t)
	for _, s := range []struct{ name, description, key, value string }{
		{"prod/db", "The Database of prod", "team", "data"}, {"prod/api-key", "key of the API", "Team", "web"}, {"dev/db", "another database", "stage", "dev"}, {"mail", "", "team", "web"},
	} {
		if _, err := w.CreateSecret(t.Context(), &sm.CreateSecretInput{
			Name: &s.name, Description: &s.description, SecretString: aws.String("value of " + s.name),
			Tags: []types.Tag{{Key: &s.key, Value: &s.value}},
		}); err != nil {
			t.Fatal(err)
		}
		w.after(time.Minute)
	}
	return w
}

func filter(key types.FilterNameStringType, values ...string) types.Filter {
	return types.Filter{Key: key, Values: values}
}

func TestListSecrets(t *testing.T) {
	w := library(t)
	if _, err := w.UpdateSecret(t.Context(), &sm.UpdateSecretInput{SecretId: aws.String("prod/db"), Description: aws.String("The Database of prod")}); err != nil {
		t.Fatal(err)
	}
	made := []string{"prod/db", "prod/api-key", "dev/db", "mail"}
	for _, tc := range []struct {
		name string
		in   sm.ListSecretsInput
		want []string
	}{
		{"all, oldest first", sm.ListSecretsInput{}, made},
		{"pages", sm.ListSecretsInput{MaxResults: aws.Int32(1)}, made},
		{"pages downwards", sm.ListSecretsInput{MaxResults: aws.Int32(3), SortOrder: types.SortOrderTypeDesc}, []string{"mail", "dev/db", "prod/api-key", "prod/db"}},
		{"by name", sm.ListSecretsInput{SortBy: types.SortByTypeName}, []string{"dev/db", "mail", "prod/api-key", "prod/db"}},
		{"by change", sm.ListSecretsInput{SortBy: types.SortByTypeLastChangedDate}, []string{"prod/api-key", "dev/db", "mail", "prod/db"}},
		{"by access", sm.ListSecretsInput{SortBy: types.SortByTypeLastAccessedDate}, []string{"dev/db", "mail", "prod/api-key", "prod/db"}},
		{"name", sm.ListSecretsInput{Filters: []types.Filter{filter("name", "prod/", "mail")}}, []string{"prod/db", "prod/api-key", "mail"}},
		{"name has a case", sm.ListSecretsInput{Filters: []types.Filter{filter("name", "Prod")}}, nil},
		{"not the name", sm.ListSecretsInput{Filters: []types.Filter{filter("name", "!prod/", "!mail")}}, []string{"dev/db"}},
		{"description has none", sm.ListSecretsInput{Filters: []types.Filter{filter("description", "the database")}}, []string{"prod/db"}},
		{"tag key", sm.ListSecretsInput{Filters: []types.Filter{filter("tag-key", "team")}}, []string{"prod/db", "mail"}},
		{"tag key and value", sm.ListSecretsInput{Filters: []types.Filter{filter("tag-key", "team"), filter("tag-value", "we")}}, []string{"mail"}},
		{"all attributes, by word", sm.ListSecretsInput{Filters: []types.Filter{filter("all", "DATA another")}}, []string{"dev/db"}},
		{"replicas", sm.ListSecretsInput{Filters: []types.Filter{filter("primary-region", "us-east-1")}}, nil},
		{"other services'", sm.ListSecretsInput{Filters: []types.Filter{filter("owning-service", "rds")}}, nil},
	} {
		var got []string
		for {
			out, err := w.ListSecrets(t.Context(), &tc.in)
			if err != nil {
				t.Fatalf("%s: %v", tc.name, err)
			}
			for _, s := range out.SecretList {
				got = append(got, *s.Name)
				if len(s.SecretVersionsToStages) != 1 || s.ARN == nil || len(s.Tags) != 1 {
					t.Errorf("%+v", s)
				}
			}
			if tc.in.NextToken = out.NextToken; out.NextToken == nil {
				break
			}
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestBatchGetSecretValue(t *testing.T) {
	w := library(t)
	if _, err := w.DeleteSecret(t.Context(), &sm.DeleteSecretInput{SecretId: aws.String("mail")}); err != nil {
		t.Fatal(err)
	}
	w.create("empty", "")
	w.refused.Store(&[]string{"secretsmanager:GetSecretValue on " + w.secret("dev/db").ARN})
	out, err := w.BatchGetSecretValue(t.Context(), &sm.BatchGetSecretValueInput{SecretIdList: []string{"prod/db", "dev/db", "none", "mail", "empty"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.SecretValues) != 1 || *out.SecretValues[0].SecretString != "value of prod/db" || !slices.Equal(out.SecretValues[0].VersionStages, []string{"AWSCURRENT"}) {
		t.Errorf("%+v", out.SecretValues)
	}
	want := []types.APIErrorType{
		{
			SecretId: aws.String("dev/db"), ErrorCode: aws.String("AccessDeniedException"),
			Message: aws.String("User: x is not authorized to perform: secretsmanager:GetSecretValue on resource: " + w.secret("dev/db").ARN),
		},
		{SecretId: aws.String("none"), ErrorCode: aws.String("ResourceNotFoundException"), Message: aws.String("Secrets Manager can't find the specified secret.")},
		{
			SecretId: aws.String("mail"), ErrorCode: aws.String("InvalidRequestException"),
			Message: aws.String("You can't perform this operation on the secret because it was marked for deletion."),
		},
		{
			SecretId: aws.String("empty"), ErrorCode: aws.String("ResourceNotFoundException"),
			Message: aws.String("Secrets Manager can't find the specified secret value for staging label: AWSCURRENT"),
		},
	}
	if diff := cmp.Diff(want, out.Errors, cmpopts.IgnoreUnexported(types.APIErrorType{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var got []string
	in := &sm.BatchGetSecretValueInput{Filters: []types.Filter{filter("name", "prod/")}, MaxResults: aws.Int32(1)}
	for {
		out, err := w.BatchGetSecretValue(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range out.SecretValues {
			got = append(got, *v.SecretString)
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	if diff := cmp.Diff([]string{"value of prod/db", "value of prod/api-key"}, got); diff != "" {
		t.Error(diff)
	}
	w.refused.Store(&[]string{"secretsmanager:ListSecrets"})
	if _, err := w.BatchGetSecretValue(t.Context(), in); !strings.HasPrefix(said(err), "AccessDeniedException") {
		t.Error(said(err))
	}
}

func TestTagResource_UntagResource(t *testing.T) {
	w := newWorld(t)
	w.create("s", "")
	tag := func(key, value string) types.Tag { return types.Tag{Key: &key, Value: &value} }
	if _, err := w.TagResource(t.Context(), &sm.TagResourceInput{SecretId: aws.String("s"), Tags: []types.Tag{tag("a", "1"), tag("b", "2")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.TagResource(t.Context(), &sm.TagResourceInput{SecretId: aws.String("s"), Tags: []types.Tag{tag("a", "3"), tag("c", "")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.UntagResource(t.Context(), &sm.UntagResourceInput{SecretId: aws.String("s"), TagKeys: []string{"b", "none"}}); err != nil {
		t.Fatal(err)
	}
	out, err := w.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("s")})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]types.Tag{tag("a", "3"), tag("c", "")}, out.Tags, cmpopts.IgnoreUnexported(types.Tag{})); diff != "" {
		t.Error(diff)
	}
}

func TestGetRandomPassword(t *testing.T) {
	w := newWorld(t)
	const punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
	for _, tc := range []struct {
		name       string
		in         sm.GetRandomPasswordInput
		length     int
		has, hasNo []string // sets of characters
	}{
		{"as it is", sm.GetRandomPasswordInput{}, 32, []string{"abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", punctuation}, []string{" "}},
		{
			"short with each kind",
			sm.GetRandomPasswordInput{PasswordLength: aws.Int64(5), IncludeSpace: aws.Bool(true)},
			5,
			[]string{"abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", punctuation, " "},
			nil,
		},
		{
			"numbers only",
			sm.GetRandomPasswordInput{PasswordLength: aws.Int64(4096), ExcludeLowercase: aws.Bool(true), ExcludeUppercase: aws.Bool(true), ExcludePunctuation: aws.Bool(true), ExcludeCharacters: aws.String("01")},
			4096,
			[]string{"2", "3", "4", "5", "6", "7", "8", "9"},
			[]string{"01", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", punctuation},
		},
		{"short without each kind", sm.GetRandomPasswordInput{PasswordLength: aws.Int64(1), RequireEachIncludedType: aws.Bool(false)}, 1, nil, nil},
		{"a kind that is excluded wholly is not required", sm.GetRandomPasswordInput{PasswordLength: aws.Int64(3), ExcludeCharacters: aws.String(punctuation)}, 3, []string{"0123456789"}, []string{punctuation}},
	} {
		seen := map[string]bool{}
		for range 5 {
			out, err := w.GetRandomPassword(t.Context(), &tc.in)
			if err != nil {
				t.Fatalf("%s: %v", tc.name, err)
			}
			p := *out.RandomPassword
			seen[p] = true
			if len(p) != tc.length {
				t.Errorf("%s: %d characters", tc.name, len(p))
			}
			for _, set := range tc.has {
				if !strings.ContainsAny(p, set) {
					t.Errorf("%s: %q has none of %q", tc.name, p, set)
				}
			}
			for _, set := range tc.hasNo {
				if strings.ContainsAny(p, set) {
					t.Errorf("%s: %q has some of %q", tc.name, p, set)
				}
			}
		}
		if tc.length > 4 && len(seen) != 5 {
			t.Errorf("%s: a password came twice", tc.name)
		}
	}
}

const ownPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"secretsmanager:GetSecretValue","Resource":"*"}]}`

func TestResourcePolicies(t *testing.T) {
	w := newWorld(t)
	w.create("s", "1")
	get := func() *string {
		t.Helper()
		out, err := w.GetResourcePolicy(t.Context(), &sm.GetResourcePolicyInput{SecretId: aws.String("s")})
		if err != nil {
			t.Fatal(err)
		}
		return out.ResourcePolicy
	}
	if p := get(); p != nil {
		t.Error(*p)
	}
	put := func(text string, block bool) error {
		_, err := w.PutResourcePolicy(t.Context(), &sm.PutResourcePolicyInput{SecretId: aws.String("s"), ResourcePolicy: &text, BlockPublicPolicy: &block})
		return err
	}
	if err := put(ownPolicy, true); err != nil || *get() != ownPolicy {
		t.Fatal(err, get())
	}
	for _, tc := range []struct {
		name, principal, condition string
		public                     bool
	}{
		{"everybody", `"*"`, "", true},
		{"everybody of AWS", `{"AWS":"*"}`, "", true},
		{"everybody, under a condition", `"*"`, `,"Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}`, false},
		{"another account", `{"AWS":"arn:aws:iam::999999999999:root"}`, "", false},
	} {
		text := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":` + tc.principal + `,"Action":"secretsmanager:Get*","Resource":"*"` + tc.condition + `}]}`
		if got := said(put(text, true)); strings.HasPrefix(got, "PublicPolicyException") != tc.public || !tc.public && got != "no error" {
			t.Errorf("%s: %s", tc.name, got)
		}
		if err := put(text, false); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		out, err := w.ValidateResourcePolicy(t.Context(), &sm.ValidateResourcePolicyInput{SecretId: aws.String("s"), ResourcePolicy: &text})
		if err != nil || out.PolicyValidationPassed == tc.public || (len(out.ValidationErrors) > 0) != tc.public {
			t.Errorf("%s: %+v, %v", tc.name, out, err)
		}
	}
	if _, err := w.DeleteResourcePolicy(t.Context(), &sm.DeleteResourcePolicyInput{SecretId: aws.String("s")}); err != nil {
		t.Fatal(err)
	}
	if p := get(); p != nil {
		t.Error(*p)
	}
}
