package sts_test

import (
	"testing"

	"berth.dev/berth/internal/service/sts"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/caller"
)

func TestGetCallerIdentity(t *testing.T) {
	p := sts.New(sts.Config{})
	if _, err := p.GetCallerIdentity(t.Context(), &stsapi.GetCallerIdentityInput{}); err == nil {
		t.Error("a request without a caller was answered")
	}
	ctx := caller.With(t.Context(), caller.Identity{AccountID: "123456789012", ARN: "arn:aws:iam::123456789012:root", UserID: "123456789012"})
	out, err := p.GetCallerIdentity(ctx, &stsapi.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if *out.Account != "123456789012" || *out.Arn != "arn:aws:iam::123456789012:root" || *out.UserId != "123456789012" {
		t.Errorf("%s %s %s", *out.Account, *out.Arn, *out.UserId)
	}
}
