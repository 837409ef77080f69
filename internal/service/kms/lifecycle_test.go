package kms_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/data/keys"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/model"
)

// CreateKey and DescribeKey answer what AWS answered LocalStack's tests.
func TestCreateKey(t *testing.T) {
	w := newWorld(t)
	for name, tc := range map[string]struct {
		edit func(*awskms.CreateKeyInput)
		want string
	}{
		"symmetric": {func(in *awskms.CreateKeyInput) { in.Description = aws.String("test key 123") }, `{"AWSAccountId":"123456789012","Arn":"ARN","CreationDate":0,` +
			`"CurrentKeyMaterialId":"MATERIAL","CustomerMasterKeySpec":"SYMMETRIC_DEFAULT","Description":"test key 123","Enabled":true,"EncryptionAlgorithms":["SYMMETRIC_DEFAULT"],"KeyId":"ID",` +
			`"KeyManager":"CUSTOMER","KeySpec":"SYMMETRIC_DEFAULT","KeyState":"Enabled","KeyUsage":"ENCRYPT_DECRYPT","MultiRegion":false,"Origin":"AWS_KMS"}`},
		"HMAC": {func(in *awskms.CreateKeyInput) { hmac(in); in.Description = aws.String("test key") }, `{"AWSAccountId":"123456789012","Arn":"ARN","CreationDate":0,` +
			`"CustomerMasterKeySpec":"HMAC_256","Description":"test key","Enabled":true,"KeyId":"ID","KeyManager":"CUSTOMER","KeySpec":"HMAC_256","KeyState":"Enabled",` +
			`"KeyUsage":"GENERATE_VERIFY_MAC","MacAlgorithms":["HMAC_SHA_256"],"MultiRegion":false,"Origin":"AWS_KMS"}`},
	} {
		key := w.key(tc.edit)
		w.describe(*key.KeyId)
		var answer struct{ KeyMetadata map[string]any }
		if err := json.Unmarshal([]byte(*w.said.Load()), &answer); err != nil {
			t.Fatal(err)
		}
		answer.KeyMetadata["CreationDate"], answer.KeyMetadata["KeyId"], answer.KeyMetadata["Arn"] = 0, "ID", "ARN"
		if id, ok := answer.KeyMetadata["CurrentKeyMaterialId"].(string); ok && len(id) == 64 {
			answer.KeyMetadata["CurrentKeyMaterialId"] = "MATERIAL"
		}
		got, err := json.Marshal(answer.KeyMetadata)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != tc.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, tc.want)
		}
		if *key.Arn != "arn:aws:kms:us-east-1:123456789012:key/"+*key.KeyId || !key.CreationDate.Equal(begin) {
			t.Errorf("%s: %s made %s", name, *key.Arn, key.CreationDate)
		}
	}
}

func TestEncryptDecrypt(t *testing.T) {
	w := newWorld(t)
	key := w.key()
	must[awskms.CreateAliasOutput](w)(w.kms.CreateAlias(t.Context(), &awskms.CreateAliasInput{AliasName: aws.String("alias/app"), TargetKeyId: key.KeyId}))
	aliasARN := strings.Replace(*key.Arn, "key/"+*key.KeyId, "alias/app", 1)
	with := map[string]string{"purpose": "test"}
	for _, name := range []string{*key.KeyId, *key.Arn, "alias/app", aliasARN} {
		secret := bytes.Repeat([]byte("s"), 4096) // the most that AWS takes
		out := must[awskms.EncryptOutput](w)(w.kms.Encrypt(t.Context(), &awskms.EncryptInput{KeyId: &name, Plaintext: secret, EncryptionContext: with}))
		if *out.KeyId != *key.Arn || out.EncryptionAlgorithm != types.EncryptionAlgorithmSpecSymmetricDefault {
			t.Errorf("%s: encrypted by %s with %s", name, *out.KeyId, out.EncryptionAlgorithm)
		}
		for _, keyID := range []*string{nil, &name} {
			got := must[awskms.DecryptOutput](w)(w.kms.Decrypt(t.Context(), &awskms.DecryptInput{CiphertextBlob: out.CiphertextBlob, EncryptionContext: with, KeyId: keyID}))
			if !bytes.Equal(got.Plaintext, secret) || *got.KeyId != *key.Arn || *got.KeyMaterialId != *w.describe(name).CurrentKeyMaterialId {
				t.Errorf("%s: decrypted %d bytes by %s", name, len(got.Plaintext), *got.KeyId)
			}
		}
		_, err := w.kms.Decrypt(t.Context(), &awskms.DecryptInput{CiphertextBlob: out.CiphertextBlob})
		if got := refusal(err); got != "InvalidCiphertextException: " {
			t.Errorf("without the context: %s", got)
		}
	}
}

// Where a request does not name the key, the provider asks for permission.
func TestDecrypt_asksForTheKeyOfTheCiphertext(t *testing.T) {
	w := newWorld(t)
	key, other := w.key(), w.key()
	with := map[string]string{"b": "2", "a": "1"}
	blob := must[awskms.EncryptOutput](w)(w.kms.Encrypt(t.Context(), &awskms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("v"), EncryptionContext: with})).CiphertextBlob
	decrypt := func() error {
		_, err := w.kms.Decrypt(t.Context(), &awskms.DecryptInput{CiphertextBlob: blob, EncryptionContext: with})
		return err
	}
	reencrypt := func() error {
		_, err := w.kms.ReEncrypt(t.Context(), &awskms.ReEncryptInput{CiphertextBlob: blob, SourceEncryptionContext: with, DestinationKeyId: other.KeyId})
		return err
	}
	for action, call := range map[string]func() error{"kms:Decrypt": decrypt, "kms:ReEncryptFrom": reencrypt} {
		if err := call(); err != nil {
			t.Fatal(err)
		}
		if got, want := <-w.guard.asked, action+" "+*key.Arn+" a,b"; got != want {
			t.Errorf("asked %q, want %q", got, want)
		}
		w.guard.refuse.Store(&action)
		const want = "AccessDeniedException: The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access."
		if got := refusal(call()); got != want {
			t.Errorf("%s refused: %s", action, got)
		}
		<-w.guard.asked
		w.guard.refuse.Store(nil)
	}
}

func TestReEncrypt(t *testing.T) {
	w := newWorld(t)
	from, to := w.key(), w.key()
	blob := must[awskms.EncryptOutput](w)(w.kms.Encrypt(t.Context(), &awskms.EncryptInput{KeyId: from.KeyId, Plaintext: []byte("v"), EncryptionContext: map[string]string{"a": "1"}})).CiphertextBlob
	out := must[awskms.ReEncryptOutput](w)(w.kms.ReEncrypt(t.Context(), &awskms.ReEncryptInput{
		CiphertextBlob: blob, SourceKeyId: from.KeyId, SourceEncryptionContext: map[string]string{"a": "1"}, DestinationKeyId: to.KeyId, DestinationEncryptionContext: map[string]string{"b": "2"},
	}))
	if *out.SourceKeyId != *from.Arn || *out.KeyId != *to.Arn || *out.SourceKeyMaterialId != *from.CurrentKeyMaterialId || *out.DestinationKeyMaterialId != *to.CurrentKeyMaterialId {
		t.Errorf("from %s to %s", *out.SourceKeyId, *out.KeyId)
	}
	got := must[awskms.DecryptOutput](w)(w.kms.Decrypt(t.Context(), &awskms.DecryptInput{CiphertextBlob: out.CiphertextBlob, EncryptionContext: map[string]string{"b": "2"}}))
	if string(got.Plaintext) != "v" || *got.KeyId != *to.Arn {
		t.Errorf("opened %q by %s", got.Plaintext, *got.KeyId)
	}
}

func TestGenerateDataKey(t *testing.T) {
	w := newWorld(t)
	key := w.key()
	with := map[string]string{"a": "1"}
	for _, tc := range []struct {
		spec types.DataKeySpec
		size *int32
		want int
	}{{types.DataKeySpecAes256, nil, 32}, {types.DataKeySpecAes128, nil, 16}, {"", aws.Int32(1), 1}, {"", aws.Int32(1024), 1024}} {
		out := must[awskms.GenerateDataKeyOutput](w)(w.kms.GenerateDataKey(t.Context(), &awskms.GenerateDataKeyInput{KeyId: key.KeyId, KeySpec: tc.spec, NumberOfBytes: tc.size, EncryptionContext: with}))
		got := must[awskms.DecryptOutput](w)(w.kms.Decrypt(t.Context(), &awskms.DecryptInput{CiphertextBlob: out.CiphertextBlob, EncryptionContext: with}))
		if len(out.Plaintext) != tc.want || !bytes.Equal(out.Plaintext, got.Plaintext) || *out.KeyId != *key.Arn || *out.KeyMaterialId != *key.CurrentKeyMaterialId {
			t.Errorf("%+v: %d bytes by %s", tc, len(out.Plaintext), *out.KeyId)
		}
		alone := must[awskms.GenerateDataKeyWithoutPlaintextOutput](w)(w.kms.GenerateDataKeyWithoutPlaintext(t.Context(), &awskms.GenerateDataKeyWithoutPlaintextInput{KeyId: key.KeyId, KeySpec: tc.spec, NumberOfBytes: tc.size, EncryptionContext: with}))
		again := must[awskms.DecryptOutput](w)(w.kms.Decrypt(t.Context(), &awskms.DecryptInput{CiphertextBlob: alone.CiphertextBlob, EncryptionContext: with}))
		if len(again.Plaintext) != tc.want || tc.want > 8 && bytes.Equal(again.Plaintext, got.Plaintext) {
			t.Errorf("%+v: without plaintext %d bytes", tc, len(again.Plaintext))
		}
	}
}

func TestGenerateRandom(t *testing.T) {
	w := newWorld(t)
	a := must[awskms.GenerateRandomOutput](w)(w.kms.GenerateRandom(t.Context(), &awskms.GenerateRandomInput{NumberOfBytes: aws.Int32(44)}))
	b := must[awskms.GenerateRandomOutput](w)(w.kms.GenerateRandom(t.Context(), &awskms.GenerateRandomInput{NumberOfBytes: aws.Int32(44)}))
	if len(a.Plaintext) != 44 || len(b.Plaintext) != 44 || bytes.Equal(a.Plaintext, b.Plaintext) {
		t.Errorf("%x and %x", a.Plaintext, b.Plaintext)
	}
}

func TestMAC(t *testing.T) {
	w := newWorld(t)
	for spec, size := range map[types.KeySpec]int{types.KeySpecHmac224: 28, types.KeySpecHmac256: 32, types.KeySpecHmac384: 48, types.KeySpecHmac512: 64} {
		key := w.key(func(in *awskms.CreateKeyInput) { in.KeySpec, in.KeyUsage = spec, types.KeyUsageTypeGenerateVerifyMac })
		algorithm := types.MacAlgorithmSpec(strings.Replace(string(spec), "HMAC_", "HMAC_SHA_", 1))
		out := must[awskms.GenerateMacOutput](w)(w.kms.GenerateMac(t.Context(), &awskms.GenerateMacInput{KeyId: key.KeyId, MacAlgorithm: algorithm, Message: []byte("message")}))
		if len(out.Mac) != size || *out.KeyId != *key.Arn || out.MacAlgorithm != algorithm {
			t.Errorf("%s: %d bytes by %s with %s", spec, len(out.Mac), *out.KeyId, out.MacAlgorithm)
		}
		verified := must[awskms.VerifyMacOutput](w)(w.kms.VerifyMac(t.Context(), &awskms.VerifyMacInput{KeyId: key.KeyId, MacAlgorithm: algorithm, Message: []byte("message"), Mac: out.Mac}))
		if !verified.MacValid {
			t.Errorf("%s: not valid", spec)
		}
	}
}

func TestAliases(t *testing.T) {
	w := newWorld(t)
	a, b := w.key(), w.key()
	name := aws.String("alias/app")
	must[awskms.CreateAliasOutput](w)(w.kms.CreateAlias(t.Context(), &awskms.CreateAliasInput{AliasName: name, TargetKeyId: a.Arn}))
	must[awskms.CreateAliasOutput](w)(w.kms.CreateAlias(t.Context(), &awskms.CreateAliasInput{AliasName: aws.String("alias/b"), TargetKeyId: b.KeyId}))
	later := begin.Add(time.Hour)
	w.clock.Store(&later)
	must[awskms.UpdateAliasOutput](w)(w.kms.UpdateAlias(t.Context(), &awskms.UpdateAliasInput{AliasName: name, TargetKeyId: b.KeyId}))
	if got := w.describe(*name); *got.KeyId != *b.KeyId {
		t.Errorf("the alias names %s", *got.KeyId)
	}
	list := func(key *string) (out []string) {
		pages := awskms.NewListAliasesPaginator(w.kms, &awskms.ListAliasesInput{KeyId: key, Limit: aws.Int32(1)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, alias := range page.Aliases {
				out = append(out, fmt.Sprint(*alias.AliasName, " ", *alias.AliasArn, " ", *alias.TargetKeyId == *b.KeyId, " ", alias.CreationDate.Sub(begin), " ", alias.LastUpdatedDate.Sub(begin)))
			}
		}
		return out
	}
	want := []string{
		"alias/app arn:aws:kms:us-east-1:123456789012:alias/app true 0s 1h0m0s",
		"alias/b arn:aws:kms:us-east-1:123456789012:alias/b true 0s 0s",
	}
	if diff := cmp.Diff(want, list(nil)); diff != "" {
		t.Errorf("all: (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(want, list(b.KeyId)); diff != "" {
		t.Errorf("of a key: (-want +got)\n%s", diff)
	}
	if got := list(a.KeyId); len(got) != 0 {
		t.Errorf("of the key that lost it: %q", got)
	}
	must[awskms.DeleteAliasOutput](w)(w.kms.DeleteAlias(t.Context(), &awskms.DeleteAliasInput{AliasName: name}))
	if got := list(nil); len(got) != 1 {
		t.Errorf("after the deletion: %q", got)
	}
}

func TestListKeys(t *testing.T) {
	w := newWorld(t)
	var want []string
	for range 3 {
		want = append(want, *w.key().KeyId)
	}
	slices.Sort(want)
	var got []string
	pages := awskms.NewListKeysPaginator(w.kms, &awskms.ListKeysInput{Limit: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range page.Keys {
			got = append(got, *key.KeyId)
			if *key.KeyArn != "arn:aws:kms:us-east-1:123456789012:key/"+*key.KeyId {
				t.Errorf("ARN %s", *key.KeyArn)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStates(t *testing.T) {
	w := newWorld(t)
	id := w.key().KeyId
	must[awskms.UpdateKeyDescriptionOutput](w)(w.kms.UpdateKeyDescription(t.Context(), &awskms.UpdateKeyDescriptionInput{KeyId: id, Description: aws.String("new")}))
	must[awskms.DisableKeyOutput](w)(w.kms.DisableKey(t.Context(), &awskms.DisableKeyInput{KeyId: id}))
	if got := w.describe(*id); got.KeyState != types.KeyStateDisabled || got.Enabled || *got.Description != "new" {
		t.Errorf("disabled: %+v", got)
	}
	must[awskms.EnableKeyOutput](w)(w.kms.EnableKey(t.Context(), &awskms.EnableKeyInput{KeyId: id}))
	if got := w.describe(*id); got.KeyState != types.KeyStateEnabled || !got.Enabled {
		t.Errorf("enabled: %+v", got)
	}
	out := must[awskms.ScheduleKeyDeletionOutput](w)(w.kms.ScheduleKeyDeletion(t.Context(), &awskms.ScheduleKeyDeletionInput{KeyId: id, PendingWindowInDays: aws.Int32(7)}))
	if *out.KeyId != *w.describe(*id).Arn || out.KeyState != types.KeyStatePendingDeletion || *out.PendingWindowInDays != 7 || !out.DeletionDate.Equal(begin.AddDate(0, 0, 7)) {
		t.Errorf("scheduled: %+v", out)
	}
	if got := w.describe(*id); got.KeyState != types.KeyStatePendingDeletion || got.Enabled || !got.DeletionDate.Equal(*out.DeletionDate) {
		t.Errorf("pending: %+v", got)
	}
	cancelled := must[awskms.CancelKeyDeletionOutput](w)(w.kms.CancelKeyDeletion(t.Context(), &awskms.CancelKeyDeletionInput{KeyId: id}))
	if got := w.describe(*id); *cancelled.KeyId != *got.Arn || got.KeyState != types.KeyStateDisabled || got.DeletionDate != nil {
		t.Errorf("cancelled: %+v", got)
	}
	if out := must[awskms.ScheduleKeyDeletionOutput](w)(w.kms.ScheduleKeyDeletion(t.Context(), &awskms.ScheduleKeyDeletionInput{KeyId: id})); *out.PendingWindowInDays != 30 {
		t.Errorf("unasked the window is %d days", *out.PendingWindowInDays)
	}
}

func TestRotation(t *testing.T) {
	w := newWorld(t)
	key := w.key()
	id := key.KeyId
	status := func() *awskms.GetKeyRotationStatusOutput {
		return must[awskms.GetKeyRotationStatusOutput](w)(w.kms.GetKeyRotationStatus(t.Context(), &awskms.GetKeyRotationStatusInput{KeyId: id}))
	}
	if got := status(); got.KeyRotationEnabled || got.NextRotationDate != nil || got.RotationPeriodInDays != nil {
		t.Errorf("at first %+v", got)
	}
	enable := func(days *int32) {
		must[awskms.EnableKeyRotationOutput](w)(w.kms.EnableKeyRotation(t.Context(), &awskms.EnableKeyRotationInput{KeyId: id, RotationPeriodInDays: days}))
	}
	enable(nil)
	later := begin.Add(time.Hour)
	w.clock.Store(&later)
	enable(nil) // the schedule goes on
	if got := status(); !got.KeyRotationEnabled || *got.RotationPeriodInDays != 365 || !got.NextRotationDate.Equal(begin.AddDate(0, 0, 365)) || *got.KeyId != *key.Arn {
		t.Errorf("enabled %+v", got)
	}
	enable(aws.Int32(90))
	if got := status(); *got.RotationPeriodInDays != 90 || !got.NextRotationDate.Equal(later.AddDate(0, 0, 90)) {
		t.Errorf("every 90 days %+v", got)
	}
	blob := must[awskms.EncryptOutput](w)(w.kms.Encrypt(t.Context(), &awskms.EncryptInput{KeyId: id, Plaintext: []byte("v")})).CiphertextBlob
	if out := must[awskms.RotateKeyOnDemandOutput](w)(w.kms.RotateKeyOnDemand(t.Context(), &awskms.RotateKeyOnDemandInput{KeyId: id})); *out.KeyId != *key.Arn {
		t.Errorf("rotated %s", *out.KeyId)
	}
	now := w.describe(*id)
	if *now.CurrentKeyMaterialId == *key.CurrentKeyMaterialId {
		t.Error("the material is the same")
	}
	if got := must[awskms.DecryptOutput](w)(w.kms.Decrypt(t.Context(), &awskms.DecryptInput{CiphertextBlob: blob})); string(got.Plaintext) != "v" || *got.KeyMaterialId != *key.CurrentKeyMaterialId {
		t.Errorf("an older ciphertext opens to %q by %s", got.Plaintext, *got.KeyMaterialId)
	}
	if got := status(); !got.NextRotationDate.Equal(later.AddDate(0, 0, 90)) {
		t.Errorf("the schedule changed: %+v", got)
	}
	list := func(what types.IncludeKeyMaterial) (out []string) {
		pages := awskms.NewListKeyRotationsPaginator(w.kms, &awskms.ListKeyRotationsInput{KeyId: id, IncludeKeyMaterial: what, Limit: aws.Int32(1)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Rotations {
				out = append(out, fmt.Sprint(*r.KeyMaterialId == *now.CurrentKeyMaterialId, r.KeyMaterialState, " ", r.RotationType, " ", r.RotationDate != nil && r.RotationDate.Equal(later)))
			}
		}
		return out
	}
	if diff := cmp.Diff([]string{"trueCURRENT ON_DEMAND true"}, list("")); diff != "" {
		t.Errorf("rotations: (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"falseNON_CURRENT  false", "trueCURRENT ON_DEMAND true"}, list(types.IncludeKeyMaterialAllKeyMaterial)); diff != "" {
		t.Errorf("materials: (-want +got)\n%s", diff)
	}
	must[awskms.ScheduleKeyDeletionOutput](w)(w.kms.ScheduleKeyDeletion(t.Context(), &awskms.ScheduleKeyDeletionInput{KeyId: id}))
	if got := status(); got.KeyRotationEnabled {
		t.Error("a key that waits for deletion rotates")
	}
	must[awskms.CancelKeyDeletionOutput](w)(w.kms.CancelKeyDeletion(t.Context(), &awskms.CancelKeyDeletionInput{KeyId: id}))
	if got := status(); !got.KeyRotationEnabled {
		t.Error("a key whose deletion was cancelled does not rotate any more")
	}
	must[awskms.EnableKeyOutput](w)(w.kms.EnableKey(t.Context(), &awskms.EnableKeyInput{KeyId: id}))
	must[awskms.DisableKeyRotationOutput](w)(w.kms.DisableKeyRotation(t.Context(), &awskms.DisableKeyRotationInput{KeyId: id}))
	if got := status(); got.KeyRotationEnabled || got.NextRotationDate != nil {
		t.Errorf("disabled %+v", got)
	}
	mac := w.key(hmac)
	if got := must[awskms.GetKeyRotationStatusOutput](w)(w.kms.GetKeyRotationStatus(t.Context(), &awskms.GetKeyRotationStatusInput{KeyId: mac.KeyId})); got.KeyRotationEnabled {
		t.Error("an HMAC key rotates")
	}
}

func TestTags(t *testing.T) {
	w := newWorld(t)
	tag := func(k, v string) types.Tag { return types.Tag{TagKey: &k, TagValue: &v} }
	id := w.key(func(in *awskms.CreateKeyInput) { in.Tags = []types.Tag{tag("b", "1")} }).KeyId
	must[awskms.TagResourceOutput](w)(w.kms.TagResource(t.Context(), &awskms.TagResourceInput{KeyId: id, Tags: []types.Tag{tag("a", ""), tag("b", "2"), tag("c", "3")}}))
	must[awskms.UntagResourceOutput](w)(w.kms.UntagResource(t.Context(), &awskms.UntagResourceInput{KeyId: id, TagKeys: []string{"c", "not there"}}))
	var got []string
	pages := awskms.NewListResourceTagsPaginator(w.kms, &awskms.ListResourceTagsInput{KeyId: id, Limit: aws.Int32(1)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range page.Tags {
			got = append(got, *tag.TagKey+"="+*tag.TagValue)
		}
	}
	if want := []string{"a=", "b=2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The key of a service is there when it is asked for, and nobody changes it.
func TestManagedKeys(t *testing.T) {
	w := newWorld(t)
	key := w.describe(keys.SSM)
	if key.KeyManager != types.KeyManagerTypeAws || *key.Description != "Default key that protects my SSM parameters when no other key is defined" {
		t.Errorf("%+v", key)
	}
	if got := w.describe(keys.SSM); *got.KeyId != *key.KeyId {
		t.Error("there are two")
	}
	if got := must[awskms.GetKeyRotationStatusOutput](w)(w.kms.GetKeyRotationStatus(t.Context(), &awskms.GetKeyRotationStatusInput{KeyId: key.KeyId})); !got.KeyRotationEnabled {
		t.Error("it does not rotate")
	}
	_, err := w.kms.ScheduleKeyDeletion(t.Context(), &awskms.ScheduleKeyDeletionInput{KeyId: key.KeyId})
	if got, want := refusal(err), "AccessDeniedException: User: "+rootARN+" is not authorized to perform: kms:ScheduleKeyDeletion on resource: "+*key.Arn+" because no resource-based policy allows the kms:ScheduleKeyDeletion action"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	_, err = w.kms.CreateAlias(t.Context(), &awskms.CreateAliasInput{AliasName: aws.String("alias/mine"), TargetKeyId: key.KeyId})
	if !strings.HasPrefix(refusal(err), "AccessDeniedException: ") {
		t.Errorf("an alias of a service's key: %v", err)
	}
}

// A dry run says that it would have succeeded, and nothing else happens.
func TestDryRun(t *testing.T) {
	w := newWorld(t)
	key, mac := w.key(), w.key(hmac)
	blob := must[awskms.EncryptOutput](w)(w.kms.Encrypt(t.Context(), &awskms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("v")})).CiphertextBlob
	tag := must[awskms.GenerateMacOutput](w)(w.kms.GenerateMac(t.Context(), &awskms.GenerateMacInput{KeyId: mac.KeyId, MacAlgorithm: "HMAC_SHA_256", Message: []byte("m")})).Mac
	grant := must[awskms.CreateGrantOutput](w)(w.kms.CreateGrant(t.Context(), &awskms.CreateGrantInput{KeyId: key.KeyId, GranteePrincipal: aws.String(app), Operations: []types.GrantOperation{"Decrypt"}}))
	dry := aws.Bool(true)
	for name, call := range map[string]func() error{
		"Encrypt": func() error {
			_, err := w.kms.Encrypt(t.Context(), &awskms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("v"), DryRun: dry})
			return err
		},
		"Decrypt": func() error {
			_, err := w.kms.Decrypt(t.Context(), &awskms.DecryptInput{CiphertextBlob: blob, DryRun: dry})
			return err
		},
		"ReEncrypt": func() error {
			_, err := w.kms.ReEncrypt(t.Context(), &awskms.ReEncryptInput{CiphertextBlob: blob, DestinationKeyId: key.KeyId, DryRun: dry})
			return err
		},
		"GenerateDataKey": func() error {
			_, err := w.kms.GenerateDataKey(t.Context(), &awskms.GenerateDataKeyInput{KeyId: key.KeyId, KeySpec: "AES_256", DryRun: dry})
			return err
		},
		"GenerateDataKeyWithoutPlaintext": func() error {
			_, err := w.kms.GenerateDataKeyWithoutPlaintext(t.Context(), &awskms.GenerateDataKeyWithoutPlaintextInput{KeyId: key.KeyId, KeySpec: "AES_256", DryRun: dry})
			return err
		},
		"GenerateMac": func() error {
			_, err := w.kms.GenerateMac(t.Context(), &awskms.GenerateMacInput{KeyId: mac.KeyId, MacAlgorithm: "HMAC_SHA_256", Message: []byte("m"), DryRun: dry})
			return err
		},
		"VerifyMac": func() error {
			_, err := w.kms.VerifyMac(t.Context(), &awskms.VerifyMacInput{KeyId: mac.KeyId, MacAlgorithm: "HMAC_SHA_256", Message: []byte("m"), Mac: tag, DryRun: dry})
			return err
		},
		"CreateGrant": func() error {
			_, err := w.kms.CreateGrant(t.Context(), &awskms.CreateGrantInput{KeyId: key.KeyId, GranteePrincipal: aws.String(alice), Operations: []types.GrantOperation{"Decrypt"}, DryRun: dry})
			return err
		},
		"RevokeGrant": func() error {
			_, err := w.kms.RevokeGrant(t.Context(), &awskms.RevokeGrantInput{KeyId: key.KeyId, GrantId: grant.GrantId, DryRun: dry})
			return err
		},
		"RetireGrant": func() error {
			_, err := w.kms.RetireGrant(t.Context(), &awskms.RetireGrantInput{GrantToken: grant.GrantToken, DryRun: dry})
			return err
		},
	} {
		if got := refusal(call()); got != "DryRunOperationException: The request would have succeeded, but the DryRun option is set." {
			t.Errorf("%s: %s", name, got)
		}
	}
	stored, ok := records.KMSKeys.Get(w.store.Snapshot(), *key.KeyId)
	if !ok || len(stored.Grants) != 1 || stored.State != model.KMSKeyEnabled {
		t.Errorf("the key is now %+v", stored)
	}
}
