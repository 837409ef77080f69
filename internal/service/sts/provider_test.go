package sts_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	stsclient "github.com/aws/aws-sdk-go-v2/service/sts"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
	"berth.dev/berth/internal/wire/wiretest"
)

func TestGetCallerIdentity(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := w.GetCallerIdentity(t.Context(), &stsapi.GetCallerIdentityInput{}); err == nil {
		t.Error("a request without a caller was answered")
	}
	out, err := w.GetCallerIdentity(caller.With(t.Context(), root), &stsapi.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if *out.Account != "123456789012" || *out.Arn != "arn:aws:iam::123456789012:root" || *out.UserId != "123456789012" {
		t.Errorf("%s %s %s", *out.Account, *out.Arn, *out.UserId)
	}
}

func TestGetAccessKeyInfo(t *testing.T) {
	w := newWorld(t, nil)
	w.put(func(tx *store.Tx) { records.AccessKeys.Put(tx, &model.AccessKey{ID: "AKIAKNOWNKNOWNKNOWN2"}) })
	for key, want := range map[string]string{
		"AKIAKNOWNKNOWNKNOWN2": "OK", "ASIAANYTHINGATALL222": "OK",
		"AKIAOTHEROTHEROTHER2": "400 ValidationError: The access key ID AKIAOTHEROTHEROTHER2 is not one of this account.",
	} {
		out, err := w.GetAccessKeyInfo(t.Context(), &stsapi.GetAccessKeyInfoInput{AccessKeyId: &key})
		if said(err) != want || err == nil && *out.Account != "123456789012" {
			t.Errorf("%s: %s", key, said(err))
		}
	}
}

func assume(change func(*stsapi.AssumeRoleInput)) *stsapi.AssumeRoleInput {
	in := &stsapi.AssumeRoleInput{RoleArn: new(appRole), RoleSessionName: new("me")}
	if change != nil {
		change(in)
	}
	return in
}

func TestAssumeRole(t *testing.T) {
	w := newWorld(t, nil)
	ctx := caller.With(t.Context(), dev)
	out, err := w.AssumeRole(ctx, assume(func(in *stsapi.AssumeRoleInput) {
		in.DurationSeconds = new(int32(7200))
		in.Policy = new(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`)
		in.PolicyArns = []stsapi.PolicyDescriptorType{{Arn: new("arn:aws:iam::aws:policy/ReadOnlyAccess")}}
		in.Tags = []stsapi.Tag{{Key: new("team"), Value: new("blue")}, {Key: new("cost"), Value: new("7")}}
		in.TransitiveTagKeys = []string{"TEAM"}
		in.SourceIdentity = new("jane")
	}))
	if err != nil {
		t.Fatal(err)
	}
	if *out.AssumedRoleUser.Arn != "arn:aws:sts::123456789012:assumed-role/app/me" || *out.AssumedRoleUser.AssumedRoleId != "AROAAPP:me" ||
		*out.SourceIdentity != "jane" || *out.PackedPolicySize < 1 || *out.PackedPolicySize > 20 {
		t.Errorf("got %+v", out)
	}
	who := w.open(out.Credentials)
	s := who.Session
	if who.ARN != *out.AssumedRoleUser.Arn || who.UserID != "AROAAPP:me" || who.UserName != "" || s.RoleARN != appRole || s.RoleID != "AROAAPP" || s.Name != "me" ||
		s.Expires.Sub(w.now) != 2*time.Hour || len(s.Policies) != 1 || len(s.PolicyARNs) != 1 || s.Tags["team"] != "blue" || s.Tags["cost"] != "7" ||
		fmt.Sprint(s.TransitiveTags) != "[team]" || s.SourceIdentity != "jane" || s.Chained {
		t.Errorf("issued %+v %+v", who, s)
	}

	// From that session on: what is passed on cannot be changed.
	ctx = caller.With(t.Context(), who)
	out, err = w.AssumeRole(ctx, assume(func(in *stsapi.AssumeRoleInput) { in.Tags = []stsapi.Tag{{Key: new("cost"), Value: new("8")}} }))
	if err != nil {
		t.Fatal(err)
	}
	s = w.open(out.Credentials).Session
	if !s.Chained || s.SourceIdentity != "jane" || s.Tags["team"] != "blue" || s.Tags["cost"] != "8" || fmt.Sprint(s.TransitiveTags) != "[team]" ||
		len(s.Policies)+len(s.PolicyARNs) != 0 || s.Expires.Sub(w.now) != time.Hour {
		t.Errorf("chained %+v", s)
	}
	for want, change := range map[string]func(*stsapi.AssumeRoleInput){
		"400 ValidationError: The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.": func(in *stsapi.AssumeRoleInput) {
			in.DurationSeconds = new(int32(3601))
		},
		"400 ValidationError: One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.": func(in *stsapi.AssumeRoleInput) {
			in.Tags = []stsapi.Tag{{Key: new("Team"), Value: new("red")}}
		},
		"403 AccessDenied: The source identity of the calling session is jane and cannot be changed.": func(in *stsapi.AssumeRoleInput) {
			in.SourceIdentity = new("joe")
		},
	} {
		if _, err := w.AssumeRole(ctx, assume(change)); said(err) != want {
			t.Errorf("got  %s\nwant %s", said(err), want)
		}
	}
}

func TestAssumeRole_Refusals(t *testing.T) {
	w := newWorld(t, nil)
	var many []stsapi.PolicyDescriptorType
	for range 11 {
		many = append(many, stsapi.PolicyDescriptorType{Arn: new("arn:aws:iam::aws:policy/ReadOnlyAccess")})
	}
	for _, test := range []struct {
		name, want string
		change     func(*stsapi.AssumeRoleInput)
	}{
		{
			"longer than the role's", "400 ValidationError: The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
			func(in *stsapi.AssumeRoleInput) { in.DurationSeconds = new(int32(7201)) },
		},
		{
			"no such role", "403 AccessDenied: User: arn:aws:iam::123456789012:user/dev is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::123456789012:role/nobody",
			func(in *stsapi.AssumeRoleInput) { in.RoleArn = new("arn:aws:iam::123456789012:role/nobody") },
		},
		{
			"without its path", "403 AccessDenied: User: arn:aws:iam::123456789012:user/dev is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::123456789012:role/app",
			func(in *stsapi.AssumeRoleInput) { in.RoleArn = new("arn:aws:iam::123456789012:role/app") },
		},
		{
			"MFA", "403 AccessDenied: MultiFactorAuthentication failed, there are no MFA devices in Berth",
			func(in *stsapi.AssumeRoleInput) {
				in.SerialNumber, in.TokenCode = new("arn:aws:iam::123456789012:mfa/dev"), new("123456")
			},
		},
		{
			"contexts", "400 ValidationError: ProvidedContexts is not supported: Berth has no IAM Identity Center.",
			func(in *stsapi.AssumeRoleInput) { in.ProvidedContexts = []stsapi.ProvidedContext{{}} },
		},
		{
			"too many policies", "400 ValidationError: The number of session policy ARNs exceeds the limit of 10.",
			func(in *stsapi.AssumeRoleInput) { in.PolicyArns = many },
		},
		{
			"no such policy", "400 ValidationError: The session policy ARN arn:aws:iam::123456789012:policy/none does not exist.",
			func(in *stsapi.AssumeRoleInput) {
				in.PolicyArns = []stsapi.PolicyDescriptorType{{Arn: new("arn:aws:iam::123456789012:policy/none")}}
			},
		},
		{
			"one tag twice", "400 ValidationError: Duplicate tag keys found. Please note that Tag keys are case insensitive.",
			func(in *stsapi.AssumeRoleInput) {
				in.Tags = []stsapi.Tag{{Key: new("a"), Value: new("")}, {Key: new("A"), Value: new("")}}
			},
		},
		{
			"AWS's tags", "400 ValidationError: Tag keys that begin with aws: are reserved.",
			func(in *stsapi.AssumeRoleInput) { in.Tags = []stsapi.Tag{{Key: new("AWS:a"), Value: new("")}} },
		},
		{
			"to pass on what is not there", "400 ValidationError: The specified transitive tag key must be included in the requested tags.",
			func(in *stsapi.AssumeRoleInput) { in.TransitiveTagKeys = []string{"a"} },
		},
	} {
		if _, err := w.AssumeRole(caller.With(t.Context(), dev), assume(test.change)); said(err) != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.name, said(err), test.want)
		}
	}
	_, err := w.AssumeRole(caller.With(t.Context(), dev), assume(func(in *stsapi.AssumeRoleInput) { in.Policy = new(`{"Statement":`) }))
	if !strings.HasPrefix(said(err), "400 MalformedPolicyDocument: ") {
		t.Errorf("a damaged policy: %s", said(err))
	}
	_, err = w.AssumeRole(caller.With(t.Context(), dev), assume(func(in *stsapi.AssumeRoleInput) {
		for i := range 50 {
			in.Tags = append(in.Tags, stsapi.Tag{Key: new(fmt.Sprintf("key-%d", i*7919)), Value: new(strings.Repeat(fmt.Sprint(i*104729%99991), 50))})
		}
	}))
	if err != nil {
		t.Errorf("tags that pack well: %s", said(err))
	}
	_, err = w.AssumeRole(caller.With(t.Context(), dev), assume(func(in *stsapi.AssumeRoleInput) {
		random := uint64(1)
		for i := range 50 {
			var value strings.Builder
			for range 256 {
				random = random*6364136223846793005 + 1442695040888963407
				value.WriteByte('!' + byte(random>>33%90))
			}
			in.Tags = append(in.Tags, stsapi.Tag{Key: new(fmt.Sprint("key", i)), Value: new(value.String())})
		}
	}))
	if !strings.HasPrefix(said(err), "400 PackedPolicyTooLarge: Packed size of session tags consumes ") {
		t.Errorf("tags that do not: %s", said(err))
	}
}

// The authority lets root do everything; a role that does not trust the account
// is not for it either.
func TestAssumeRole_Root(t *testing.T) {
	w := newWorld(t, nil)
	for trust, want := range map[string]string{
		trusts: "OK",
		strings.Replace(trusts, `"AWS":"arn:aws:iam::123456789012:root"`, `"Service":"ecs-tasks.amazonaws.com"`, 1):   "403 AccessDenied: User: arn:aws:iam::123456789012:root is not authorized to perform: sts:AssumeRole on resource: " + appRole,
		strings.Replace(trusts, `"Effect"`, `"Condition":{"StringEquals":{"sts:ExternalId":"42"}},"Effect"`, 1):       "OK",
		strings.Replace(trusts, `"Effect"`, `"Condition":{"StringEquals":{"sts:RoleSessionName":"you"}},"Effect"`, 1): "403 AccessDenied: User: arn:aws:iam::123456789012:root is not authorized to perform: sts:AssumeRole on resource: " + appRole,
	} {
		w.role(trust, 3600)
		_, err := w.AssumeRole(caller.With(t.Context(), root), assume(func(in *stsapi.AssumeRoleInput) { in.ExternalId = new("42") }))
		if said(err) != want {
			t.Errorf("%s: %s", trust, said(err))
		}
	}
}

func TestGetSessionToken(t *testing.T) {
	w := newWorld(t, nil)
	for _, test := range []struct {
		who   caller.Identity
		asked *int32
		want  time.Duration
	}{
		{dev, nil, 12 * time.Hour},
		{dev, new(int32(900)), 15 * time.Minute},
		{dev, new(int32(129600)), 36 * time.Hour},
		{root, nil, time.Hour},
		{root, new(int32(43200)), time.Hour},
		{root, new(int32(900)), 15 * time.Minute},
	} {
		out, err := w.GetSessionToken(caller.With(t.Context(), test.who), &stsapi.GetSessionTokenInput{DurationSeconds: test.asked})
		if err != nil {
			t.Fatal(err)
		}
		who := w.open(out.Credentials)
		if who.ARN != test.who.ARN || who.UserID != test.who.UserID || who.UserName != test.who.UserName || who.Session.RoleARN != "" || who.Session.Expires.Sub(w.now) != test.want {
			t.Errorf("%s: issued %+v until %s", test.who.ARN, who, who.Session.Expires.Sub(w.now))
		}
		if _, err := w.GetSessionToken(caller.With(t.Context(), who), &stsapi.GetSessionTokenInput{}); said(err) != "403 AccessDenied: Cannot call GetSessionToken with session credentials" {
			t.Errorf("by a session: %s", said(err))
		}
	}
	_, err := w.GetSessionToken(caller.With(t.Context(), dev), &stsapi.GetSessionTokenInput{TokenCode: new("123456")})
	if said(err) != "403 AccessDenied: MultiFactorAuthentication failed, there are no MFA devices in Berth" {
		t.Error(said(err))
	}
}

func TestGetFederationToken(t *testing.T) {
	w := newWorld(t, nil)
	out, err := w.GetFederationToken(caller.With(t.Context(), dev), &stsapi.GetFederationTokenInput{Name: new("guest"), DurationSeconds: new(int32(900))})
	if err != nil {
		t.Fatal(err)
	}
	who := w.open(out.Credentials)
	if who.ARN != "arn:aws:sts::123456789012:federated-user/guest" || who.UserID != "123456789012:guest" || who.UserName != "dev" || len(who.Session.Policies) != 1 || out.PackedPolicySize != nil {
		t.Errorf("issued %+v %+v", who, who.Session)
	}
	text := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`
	out, err = w.GetFederationToken(caller.With(t.Context(), dev), &stsapi.GetFederationTokenInput{Name: new("guest"), Policy: &text})
	if err != nil || w.open(out.Credentials).Session.Policies[0] != text || *out.PackedPolicySize < 1 {
		t.Error(out, err)
	}
	if _, err := w.GetFederationToken(caller.With(t.Context(), root), &stsapi.GetFederationTokenInput{Name: new("guest")}); !strings.HasPrefix(said(err), "403 AccessDenied: ") {
		t.Error(said(err))
	}
}

// keys are a root user's and a user's for the gateway.
type keys struct{ w *world }

func (k keys) Credentials(_ context.Context, id, _ string) (sigv4.Credential, caller.Identity, error) {
	if id == root.AccessKeyID {
		return sigv4.Credential{SecretAccessKey: "secret"}, root, nil
	}
	return sigv4.Credential{}, caller.Identity{}, fault.New(fault.NotFound, "access key %s", id)
}

// AWS's client sends and understands it all.
func TestOfficialClient(t *testing.T) {
	w := newWorld(t, nil)
	door, err := gateway.New(gateway.Config{
		Services: []gateway.Service{{API: stsapi.API, Provider: w.Provider}}, Credentials: keys{w}, Region: "us-east-1", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(door)
	defer server.Close()
	client := stsclient.New(stsclient.Options{
		Region: "us-east-1", BaseEndpoint: &server.URL, HTTPClient: wiretest.Client(server.Client().Transport), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(root.AccessKeyID, "secret", ""),
	})
	made, err := client.AssumeRole(t.Context(), &stsclient.AssumeRoleInput{RoleArn: aws.String(appRole), RoleSessionName: aws.String("sdk")})
	if err != nil {
		t.Fatal(err)
	}
	if _, who, err := w.sessions.Open(*made.Credentials.AccessKeyId, *made.Credentials.SessionToken); err != nil || who.ARN != *made.AssumedRoleUser.Arn {
		t.Error(who.ARN, err)
	}
	token, err := client.GetSessionToken(t.Context(), &stsclient.GetSessionTokenInput{})
	if err != nil || token.Credentials.Expiration.IsZero() {
		t.Error(token, err)
	}
	info, err := client.GetAccessKeyInfo(t.Context(), &stsclient.GetAccessKeyInfoInput{AccessKeyId: token.Credentials.AccessKeyId})
	if err != nil || *info.Account != scope.AccountID {
		t.Error(info, err)
	}
	if _, err := client.GetFederationToken(t.Context(), &stsclient.GetFederationTokenInput{Name: aws.String("guest")}); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Error(err)
	}
}
