package kms_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// What is refused, and in which words. A mark says where the words are from:
// [LS] answers of AWS that LocalStack's snapshot tests recorded, [emu] the code
// of emulators (LocalStack, moto, local-kms), [TF] issues of Terraform's
// provider and of users, [doc] the developer guide, [GK] a code that AWS
// documents with a text that was not seen, [Berth] what is ours.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	key, other, mac, disabled, pending := w.key(), w.key(), w.key(hmac), w.key(), w.key()
	must[awskms.CreateAliasOutput](w)(w.kms.CreateAlias(ctx, &awskms.CreateAliasInput{AliasName: aws.String("alias/app"), TargetKeyId: key.KeyId}))
	must[awskms.CreateAliasOutput](w)(w.kms.CreateAlias(ctx, &awskms.CreateAliasInput{AliasName: aws.String("alias/mac"), TargetKeyId: mac.KeyId}))
	must[awskms.DisableKeyOutput](w)(w.kms.DisableKey(ctx, &awskms.DisableKeyInput{KeyId: disabled.KeyId}))
	must[awskms.ScheduleKeyDeletionOutput](w)(w.kms.ScheduleKeyDeletion(ctx, &awskms.ScheduleKeyDeletionInput{KeyId: pending.KeyId}))
	blob := must[awskms.EncryptOutput](w)(w.kms.Encrypt(ctx, &awskms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("v")})).CiphertextBlob

	hide := strings.NewReplacer(*key.KeyId, "<key>", *other.KeyId, "<other>", *mac.KeyId, "<mac>", *disabled.KeyId, "<disabled>", *pending.KeyId, "<pending>")
	var lines []string
	refuse := func(name, mark string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: not refused", name)
		}
		lines = append(lines, name+": "+hide.Replace(refusal(err))+" ["+mark+"]")
	}
	const absent = "11111111-2222-3333-4444-555555555555"

	describe := func(name string) error {
		_, err := w.kms.DescribeKey(ctx, &awskms.DescribeKeyInput{KeyId: &name})
		return err
	}
	refuse("no such key", "LS", describe(absent))
	refuse("no such key by ARN", "LS", describe("arn:aws:kms:us-east-1:123456789012:key/"+absent))
	refuse("no such multi-region key", "LS", describe("mrk-d3b95762d3b95762d3b95762d3b95762"))
	refuse("not a key id", "LS", describe("fake-key-id"))
	refuse("key of another region", "LS", describe("arn:aws:kms:ap-southeast-1:123456789012:key/"+*key.KeyId))
	refuse("no such alias", "TF", describe("alias/none"))
	refuse("no such alias by ARN", "TF", describe("arn:aws:kms:us-east-1:123456789012:alias/none"))
	refuse("no such alias of AWS", "GK", describe("alias/aws/none"))

	create := func(edit func(*awskms.CreateKeyInput)) error {
		in := &awskms.CreateKeyInput{}
		edit(in)
		_, err := w.kms.CreateKey(ctx, in)
		return err
	}
	refuse("two specs", "emu", create(func(in *awskms.CreateKeyInput) {
		in.KeySpec, in.CustomerMasterKeySpec = "SYMMETRIC_DEFAULT", "SYMMETRIC_DEFAULT"
	}))
	refuse("HMAC without usage", "LS", create(func(in *awskms.CreateKeyInput) { in.KeySpec = "HMAC_256" }))
	refuse("HMAC that encrypts", "GK", create(func(in *awskms.CreateKeyInput) { in.KeySpec, in.KeyUsage = "HMAC_256", "ENCRYPT_DECRYPT" }))
	refuse("symmetric that signs", "GK", create(func(in *awskms.CreateKeyInput) { in.KeyUsage = "SIGN_VERIFY" }))
	refuse("asymmetric", "Berth", create(func(in *awskms.CreateKeyInput) { in.KeySpec, in.KeyUsage = "RSA_2048", "SIGN_VERIFY" }))
	refuse("imported material", "Berth", create(func(in *awskms.CreateKeyInput) { in.Origin = "EXTERNAL" }))
	refuse("CloudHSM", "Berth", create(func(in *awskms.CreateKeyInput) { in.Origin = "AWS_CLOUDHSM" }))
	refuse("key store", "Berth", create(func(in *awskms.CreateKeyInput) { in.CustomKeyStoreId = aws.String("cks-1") }))
	refuse("external key", "Berth", create(func(in *awskms.CreateKeyInput) { in.XksKeyId = aws.String("x") }))
	refuse("multi-region", "Berth", create(func(in *awskms.CreateKeyInput) { in.MultiRegion = aws.Bool(true) }))
	tag := func(k string) types.Tag { return types.Tag{TagKey: &k, TagValue: aws.String("v")} }
	refuse("tag of AWS", "emu", create(func(in *awskms.CreateKeyInput) { in.Tags = []types.Tag{tag("AWS:x")} }))
	refuse("tag twice", "GK", create(func(in *awskms.CreateKeyInput) { in.Tags = []types.Tag{tag("a"), tag("a")} }))
	var many []types.Tag
	for i := range 51 {
		many = append(many, tag(fmt.Sprint(i)))
	}
	refuse("too many tags", "GK", create(func(in *awskms.CreateKeyInput) { in.Tags = many }))
	refuse("policy that is none", "GK", create(func(in *awskms.CreateKeyInput) { in.Policy = aws.String("x") }))
	refuse("policy of nobody", "TF", create(func(in *awskms.CreateKeyInput) {
		in.Policy = aws.String(statement(`{"AWS":"arn:aws:iam::123456789012:role/none"}`, "kms:*"))
	}))
	refuse("policy that locks out", "TF", create(func(in *awskms.CreateKeyInput) { in.Policy = aws.String(statement(`{"AWS":"`+alice+`"}`, "kms:*")) }))
	refuse("policy too long", "GK", create(func(in *awskms.CreateKeyInput) {
		in.Policy = aws.String(statement(`"*"`, "kms:*") + strings.Repeat(" ", 32768))
	}))

	// Aliases where only keys can be named.
	_, err := w.kms.GetKeyPolicy(ctx, &awskms.GetKeyPolicyInput{KeyId: aws.String("alias/app")})
	refuse("alias for a policy", "TF", err)
	_, err = w.kms.CreateGrant(ctx, &awskms.CreateGrantInput{KeyId: aws.String("arn:aws:kms:us-east-1:123456789012:alias/app"), GranteePrincipal: aws.String(app), Operations: []types.GrantOperation{"Decrypt"}})
	refuse("alias for a grant", "TF", err)
	_, err = w.kms.GetKeyPolicy(ctx, &awskms.GetKeyPolicyInput{KeyId: key.KeyId, PolicyName: aws.String("other")})
	refuse("another policy", "emu", err)
	_, err = w.kms.PutKeyPolicy(ctx, &awskms.PutKeyPolicyInput{KeyId: key.KeyId, PolicyName: aws.String("other"), Policy: aws.String(statement(`"*"`, "kms:*"))})
	refuse("putting another policy", "GK", err)

	alias := func(name, target string) error {
		_, err := w.kms.CreateAlias(ctx, &awskms.CreateAliasInput{AliasName: &name, TargetKeyId: &target})
		return err
	}
	refuse("alias without prefix", "LS", alias("app", *key.KeyId))
	refuse("alias of AWS", "emu", alias("alias/aws/x", *key.KeyId))
	refuse("alias with a colon", "emu", alias("alias/a:b", *key.KeyId))
	refuse("alias that is empty", "GK", alias("alias/", *key.KeyId))
	refuse("alias twice", "TF", alias("alias/app", *other.KeyId))
	refuse("alias of an alias", "emu", alias("alias/x", "alias/app"))
	refuse("alias of no key", "GK", alias("alias/x", absent))
	refuse("alias of a key that goes", "doc", alias("alias/x", *pending.KeyId))
	for i := range 50 {
		if err := alias(fmt.Sprint("alias/many", i), *other.KeyId); err != nil {
			t.Fatal(err)
		}
	}
	refuse("too many aliases", "GK", alias("alias/x", *other.KeyId))
	move := func(name, target string) error {
		_, err := w.kms.UpdateAlias(ctx, &awskms.UpdateAliasInput{AliasName: &name, TargetKeyId: &target})
		return err
	}
	refuse("moving no alias", "emu", move("alias/none", *key.KeyId))
	refuse("moving an alias to a key that goes", "doc", move("alias/app", *pending.KeyId))
	refuse("moving an alias to a key of another usage", "GK", move("alias/app", *mac.KeyId))
	refuse("moving an alias to a key with many", "GK", move("alias/app", *other.KeyId))
	_, err = w.kms.DeleteAlias(ctx, &awskms.DeleteAliasInput{AliasName: aws.String("alias/none")})
	refuse("deleting no alias", "emu", err)

	encrypt := func(edit func(*awskms.EncryptInput)) error {
		in := &awskms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("v")}
		edit(in)
		_, err := w.kms.Encrypt(ctx, in)
		return err
	}
	refuse("encrypting with a disabled key", "doc", encrypt(func(in *awskms.EncryptInput) { in.KeyId = disabled.KeyId }))
	refuse("encrypting with a key that goes", "doc", encrypt(func(in *awskms.EncryptInput) { in.KeyId = pending.KeyId }))
	refuse("encrypting with an HMAC key", "LS", encrypt(func(in *awskms.EncryptInput) { in.KeyId = aws.String("alias/mac") }))
	refuse("encrypting with another algorithm", "GK", encrypt(func(in *awskms.EncryptInput) { in.EncryptionAlgorithm = "RSAES_OAEP_SHA_256" }))
	refuse("encrypting too much", "LS", encrypt(func(in *awskms.EncryptInput) { in.Plaintext = make([]byte, 4097) }))

	decrypt := func(edit func(*awskms.DecryptInput)) error {
		in := &awskms.DecryptInput{CiphertextBlob: blob}
		edit(in)
		_, err := w.kms.Decrypt(ctx, in)
		return err
	}
	refuse("decrypting nothing", "GK", decrypt(func(in *awskms.DecryptInput) { in.CiphertextBlob = nil }))
	refuse("decrypting something", "GK", decrypt(func(in *awskms.DecryptInput) { in.CiphertextBlob = []byte("something") }))
	refuse("decrypting with a context", "LS", decrypt(func(in *awskms.DecryptInput) { in.EncryptionContext = map[string]string{"a": "1"} }))
	refuse("decrypting with another key", "GK", decrypt(func(in *awskms.DecryptInput) { in.KeyId = other.KeyId }))
	refuse("decrypting with an HMAC key", "LS", decrypt(func(in *awskms.DecryptInput) { in.KeyId = mac.KeyId }))
	refuse("decrypting with no key", "GK", decrypt(func(in *awskms.DecryptInput) { in.KeyId = aws.String(absent) }))
	refuse("decrypting for an enclave", "Berth", decrypt(func(in *awskms.DecryptInput) {
		in.Recipient = &types.RecipientInfo{AttestationDocument: []byte("x"), KeyEncryptionAlgorithm: "RSAES_OAEP_SHA_256"}
	}))
	refuse("decrypting without a ciphertext", "Berth", decrypt(func(in *awskms.DecryptInput) {
		in.DryRun, in.DryRunModifiers = aws.Bool(true), []types.DryRunModifierType{"IGNORE_CIPHERTEXT"}
	}))
	foreign := append([]byte{1}, make([]byte, 200)...) // of the form of ours, by a key that is not here
	refuse("decrypting what another Berth encrypted", "TF", decrypt(func(in *awskms.DecryptInput) { in.CiphertextBlob = foreign }))
	_, err = w.kms.ReEncrypt(ctx, &awskms.ReEncryptInput{CiphertextBlob: blob, DestinationKeyId: mac.KeyId})
	refuse("encrypting again with an HMAC key", "GK", err)
	_, err = w.kms.ReEncrypt(ctx, &awskms.ReEncryptInput{CiphertextBlob: blob, SourceKeyId: other.KeyId, DestinationKeyId: other.KeyId})
	refuse("encrypting again from another key", "GK", err)

	dataKey := func(edit func(*awskms.GenerateDataKeyInput)) error {
		in := &awskms.GenerateDataKeyInput{KeyId: key.KeyId}
		edit(in)
		_, err := w.kms.GenerateDataKey(ctx, in)
		return err
	}
	refuse("data key of no size", "GK", dataKey(func(*awskms.GenerateDataKeyInput) {}))
	refuse("data key of two sizes", "GK", dataKey(func(in *awskms.GenerateDataKeyInput) { in.KeySpec, in.NumberOfBytes = "AES_128", aws.Int32(16) }))
	refuse("data key of a disabled key", "doc", dataKey(func(in *awskms.GenerateDataKeyInput) { in.KeyId, in.KeySpec = disabled.KeyId, "AES_256" }))
	_, err = w.kms.GenerateRandom(ctx, &awskms.GenerateRandomInput{})
	refuse("random bytes of no number", "LS", err)
	_, err = w.kms.GenerateRandom(ctx, &awskms.GenerateRandomInput{NumberOfBytes: aws.Int32(1025)})
	refuse("too many random bytes", "LS", err)
	_, err = w.kms.GenerateRandom(ctx, &awskms.GenerateRandomInput{NumberOfBytes: aws.Int32(1), CustomKeyStoreId: aws.String("cks-1")})
	refuse("random bytes of a key store", "Berth", err)
	_, err = w.kms.GenerateMac(ctx, &awskms.GenerateMacInput{KeyId: key.KeyId, MacAlgorithm: "HMAC_SHA_256", Message: []byte("m")})
	refuse("MAC of a symmetric key", "LS", err)
	_, err = w.kms.GenerateMac(ctx, &awskms.GenerateMacInput{KeyId: mac.KeyId, MacAlgorithm: "HMAC_SHA_512", Message: []byte("m")})
	refuse("MAC of another length", "LS", err)
	_, err = w.kms.VerifyMac(ctx, &awskms.VerifyMacInput{KeyId: mac.KeyId, MacAlgorithm: "HMAC_SHA_256", Message: []byte("m"), Mac: []byte("x")})
	refuse("MAC that is wrong", "LS", err)

	_, err = w.kms.EnableKey(ctx, &awskms.EnableKeyInput{KeyId: pending.KeyId})
	refuse("enabling a key that goes", "doc", err)
	_, err = w.kms.DisableKey(ctx, &awskms.DisableKeyInput{KeyId: pending.KeyId})
	refuse("disabling a key that goes", "doc", err)
	_, err = w.kms.UpdateKeyDescription(ctx, &awskms.UpdateKeyDescriptionInput{KeyId: pending.KeyId, Description: aws.String("x")})
	refuse("describing a key that goes", "doc", err)
	_, err = w.kms.TagResource(ctx, &awskms.TagResourceInput{KeyId: pending.KeyId, Tags: []types.Tag{tag("a")}})
	refuse("tagging a key that goes", "doc", err)
	_, err = w.kms.UntagResource(ctx, &awskms.UntagResourceInput{KeyId: pending.KeyId, TagKeys: []string{"a"}})
	refuse("untagging a key that goes", "doc", err)
	_, err = w.kms.ScheduleKeyDeletion(ctx, &awskms.ScheduleKeyDeletionInput{KeyId: pending.KeyId})
	refuse("deleting a key that goes", "doc", err)
	_, err = w.kms.ScheduleKeyDeletion(ctx, &awskms.ScheduleKeyDeletionInput{KeyId: key.KeyId, PendingWindowInDays: aws.Int32(6)})
	refuse("deleting a key too soon", "GK", err)
	_, err = w.kms.CancelKeyDeletion(ctx, &awskms.CancelKeyDeletionInput{KeyId: key.KeyId})
	refuse("keeping a key that stays", "doc", err)
	_, err = w.kms.EnableKeyRotation(ctx, &awskms.EnableKeyRotationInput{KeyId: disabled.KeyId})
	refuse("rotating a disabled key", "doc", err)
	_, err = w.kms.EnableKeyRotation(ctx, &awskms.EnableKeyRotationInput{KeyId: mac.KeyId})
	refuse("rotating an HMAC key", "GK", err)
	_, err = w.kms.DisableKeyRotation(ctx, &awskms.DisableKeyRotationInput{KeyId: pending.KeyId})
	refuse("not rotating a key that goes", "doc", err)
	_, err = w.kms.ListKeyRotations(ctx, &awskms.ListKeyRotationsInput{KeyId: mac.KeyId})
	refuse("rotations of an HMAC key", "GK", err)
	for range 25 {
		must[awskms.RotateKeyOnDemandOutput](w)(w.kms.RotateKeyOnDemand(ctx, &awskms.RotateKeyOnDemandInput{KeyId: other.KeyId}))
	}
	_, err = w.kms.RotateKeyOnDemand(ctx, &awskms.RotateKeyOnDemandInput{KeyId: other.KeyId})
	refuse("rotating too often", "GK", err)

	grant := func(edit func(*awskms.CreateGrantInput)) error {
		in := &awskms.CreateGrantInput{KeyId: key.KeyId, GranteePrincipal: aws.String(app), Operations: []types.GrantOperation{"Decrypt"}}
		edit(in)
		_, err := w.kms.CreateGrant(ctx, in)
		return err
	}
	refuse("grant to nobody", "GK", grant(func(in *awskms.CreateGrantInput) {
		in.GranteePrincipal = aws.String("arn:aws:iam::123456789012:role/none")
	}))
	refuse("grant to a service", "GK", grant(func(in *awskms.CreateGrantInput) { in.GranteePrincipal = aws.String("sns.amazonaws.com") }))
	refuse("grant that nobody retires", "GK", grant(func(in *awskms.CreateGrantInput) {
		in.RetiringPrincipal = aws.String("arn:aws:iam::123456789012:user/none")
	}))
	refuse("grant to sign", "GK", grant(func(in *awskms.CreateGrantInput) { in.Operations = []types.GrantOperation{"Sign"} }))
	refuse("grant of nothing", "GK", grant(func(in *awskms.CreateGrantInput) { in.Operations = []types.GrantOperation{} }))
	refuse("grant of an HMAC key with a context", "GK", grant(func(in *awskms.CreateGrantInput) {
		in.KeyId, in.Operations = mac.KeyId, []types.GrantOperation{"GenerateMac"}
		in.Constraints = &types.GrantConstraints{EncryptionContextEquals: map[string]string{"a": "1"}}
	}))
	constrained := func(c types.GrantConstraints) error {
		return grant(func(in *awskms.CreateGrantInput) { in.Constraints = &c })
	}
	refuse("grant with a long context", "GK", constrained(types.GrantConstraints{EncryptionContextSubset: map[string]string{"a": strings.Repeat("x", 384)}}))
	pairs := map[string]string{}
	for i := range 9 {
		pairs[fmt.Sprint(i)] = ""
	}
	refuse("grant with a large context", "GK", constrained(types.GrantConstraints{EncryptionContextEquals: pairs}))
	refuse("grant on a disabled key", "doc", grant(func(in *awskms.CreateGrantInput) { in.KeyId = disabled.KeyId }))
	w.full(*other.KeyId)
	refuse("too many grants", "Berth", grant(func(in *awskms.CreateGrantInput) { in.KeyId = other.KeyId }))
	_, err = w.kms.RevokeGrant(ctx, &awskms.RevokeGrantInput{KeyId: key.KeyId, GrantId: aws.String("x")})
	refuse("revoking what is no grant", "GK", err)
	_, err = w.kms.RevokeGrant(ctx, &awskms.RevokeGrantInput{KeyId: key.KeyId, GrantId: aws.String(strings.Repeat("0", 64))})
	refuse("revoking no grant", "GK", err)
	_, err = w.kms.RetireGrant(ctx, &awskms.RetireGrantInput{})
	refuse("retiring nothing", "GK", err)
	_, err = w.kms.RetireGrant(ctx, &awskms.RetireGrantInput{GrantToken: aws.String("x"), KeyId: key.KeyId})
	refuse("retiring by token and key", "GK", err)
	_, err = w.kms.RetireGrant(ctx, &awskms.RetireGrantInput{GrantToken: aws.String("x")})
	refuse("retiring by no token", "GK", err)
	_, err = w.kms.ListRetirableGrants(ctx, &awskms.ListRetirableGrantsInput{RetiringPrincipal: aws.String("x")})
	refuse("grants that nobody retires", "GK", err)
	_, err = w.kms.ListKeys(ctx, &awskms.ListKeysInput{Marker: aws.String("x")})
	refuse("marker", "GK", err)
	must[awskms.DescribeKeyOutput](w)(w.kms.DescribeKey(ctx, &awskms.DescribeKeyInput{KeyId: pending.KeyId}))
	compareGolden(t, "testdata/errors.golden", lines)
}

// full gives a key as many grants as it can have.
func (w *world) full(id string) {
	w.Helper()
	if _, err := w.store.Update(w.Context(), func(tx *store.Tx) error {
		return records.KMSKeys.Edit(tx, id, func(k *model.KMSKey) error {
			k.Grants = make([]model.KMSGrant, 1000)
			return nil
		})
	}); err != nil {
		w.Fatal(err)
	}
}
