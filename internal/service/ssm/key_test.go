package ssm_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/service/kms"
	"berth.dev/berth/internal/wire/api/kmsapi"
)

// A customer's key: who reads needs it, and it must be of use.
func TestSecureString_CustomerKey(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	k := kms.New(kms.Config{Store: w.store, Keys: w.keys, Scope: arn.Scope{Region: region, AccountID: account}})
	made, err := k.CreateKey(ctx, &kmsapi.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	id := *made.KeyMetadata.KeyId
	if _, err := k.CreateAlias(ctx, &kmsapi.CreateAliasInput{AliasName: new("alias/mine"), TargetKeyId: &id}); err != nil {
		t.Fatal(err)
	}
	byAlias := func(in *awsssm.PutParameterInput) { in.KeyId = aws.String("alias/mine") }
	w.put("/k", types.ParameterTypeSecureString, "canary", byAlias)
	w.put("/k", types.ParameterTypeSecureString, "canary-2", overwrite) // with the same key
	if got := w.get("/k"); *got.Value != "canary-2" {
		t.Errorf("%+v", got)
	}
	described := must[awsssm.DescribeParametersOutput](w)(w.ssm.DescribeParameters(ctx, &awsssm.DescribeParametersInput{})).Parameters[0]
	if *described.KeyId != "alias/mine" { // as it was named
		t.Errorf("%s", *described.KeyId)
	}
	read := func() error {
		_, err := w.ssm.GetParameters(ctx, &awsssm.GetParametersInput{Names: []string{"/k"}, WithDecryption: aws.Bool(true)})
		return err
	}
	w.guard.refused.Store(aws.String("kms:Decrypt"))
	if got, want := w.refusal(read()), "AccessDeniedException: User: "+rootARN+" is not authorized to perform: kms:Decrypt on resource: "+*made.KeyMetadata.Arn; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, err := w.ssm.GetParameters(ctx, &awsssm.GetParametersInput{Names: []string{"/k"}}); err != nil {
		t.Errorf("the ciphertext needs no key: %v", err)
	}
	w.guard.refused.Store(aws.String("kms:Encrypt"))
	if _, err := w.tryPut("/k", types.ParameterTypeSecureString, "canary-3", overwrite); !strings.HasPrefix(w.refusal(err), "AccessDeniedException: ") || strings.Contains(w.refusal(err), "canary") {
		t.Errorf("%v", err)
	}
	w.guard.refused.Store(nil)
	if _, err := k.DisableKey(ctx, &kmsapi.DisableKeyInput{KeyId: &id}); err != nil {
		t.Fatal(err)
	}
	if got, want := w.refusal(read()), "InvalidKeyId: Invalid keyId alias/mine: "+*made.KeyMetadata.Arn+" is disabled."; got != want { // [GK]
		t.Errorf("got %s, want %s", got, want)
	}
}

// A parameter that expires can be seen to, and loses nothing until it does.
func TestGetParameterHistory_Policies(t *testing.T) {
	w := newWorld(t)
	const expiration = `[{"Type":"Expiration","Version":"1.0","Attributes":{"Timestamp":"2099-12-02T21:34:33.000Z"}}]`
	w.put("/p", types.ParameterTypeString, "v", func(in *awsssm.PutParameterInput) {
		in.Policies, in.Tier, in.DataType = aws.String(expiration), types.ParameterTierIntelligentTiering, aws.String("text")
	})
	out := must[awsssm.GetParameterHistoryOutput](w)(w.ssm.GetParameterHistory(t.Context(), &awsssm.GetParameterHistoryInput{Name: aws.String("/p")}))
	if h := out.Parameters[0]; len(h.Policies) != 1 || h.Tier != types.ParameterTierAdvanced || *h.LastModifiedUser != rootARN || *h.DataType != "text" {
		t.Errorf("%+v", h)
	}
}
