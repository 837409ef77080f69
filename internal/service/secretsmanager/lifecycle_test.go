package secretsmanager_test

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/keys"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

func TestCreateSecret_GetSecretValue(t *testing.T) {
	w := newWorld(t)
	token := ident.UUID()
	in := &sm.CreateSecretInput{
		Name: aws.String("app/db"), SecretString: aws.String("hunter2"), Description: aws.String("the database"), ClientRequestToken: &token,
		Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("data")}},
	}
	out, err := w.CreateSecret(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^arn:aws:secretsmanager:us-east-1:123456789012:secret:app/db-[A-Za-z0-9]{6}$`).MatchString(*out.ARN) || *out.Name != "app/db" || *out.VersionId != token {
		t.Errorf("%+v", out)
	}
	// The same call again does nothing, and another with its token is refused.
	if again, err := w.CreateSecret(t.Context(), in); err != nil || *again.ARN != *out.ARN || *again.VersionId != token {
		t.Errorf("%+v, %v", again, err)
	}
	in.SecretString = aws.String("other")
	if _, err := w.CreateSecret(t.Context(), in); said(err) != "ResourceExistsException: The operation failed because the secret app/db already exists." {
		t.Error(said(err))
	}
	partial := (*out.ARN)[:len(*out.ARN)-7]
	for _, id := range []string{"app/db", *out.ARN, partial} {
		got, err := w.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: &id})
		if err != nil {
			t.Fatal(err)
		}
		if *got.SecretString != "hunter2" || got.SecretBinary != nil || *got.ARN != *out.ARN || *got.VersionId != token || !got.CreatedDate.Equal(begin) ||
			!slices.Equal(got.VersionStages, []string{"AWSCURRENT"}) {
			t.Errorf("%s: %+v", id, got)
		}
	}
	described, err := w.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: &partial})
	if err != nil {
		t.Fatal(err)
	}
	if *described.Description != "the database" || len(described.Tags) != 1 || *described.Tags[0].Value != "data" || described.RotationEnabled != nil || described.KmsKeyId != nil ||
		!described.CreatedDate.Equal(begin) || described.DeletedDate != nil || described.NextRotationDate != nil {
		t.Errorf("%+v", described)
	}
	if v, _ := records.SecretVersions.Get(w.store.Snapshot(), "app/db|"+token); bytes.Contains(v.Sealed, []byte("hunter2")) {
		t.Error("the value is stored in clear")
	}
}

func TestCreateSecret_WithoutValue(t *testing.T) {
	w := newWorld(t)
	if out := w.create("empty", ""); out.VersionId != nil {
		t.Errorf("%+v", out)
	}
	_, err := w.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("empty")})
	if said(err) != "ResourceNotFoundException: Secrets Manager can't find the specified secret value for staging label: AWSCURRENT" {
		t.Error(said(err))
	}
	if stages := w.stages("empty"); stages != nil {
		t.Error(stages)
	}
	id := w.put("empty", "first", "AWSPENDING") // the first is current in any case
	if diff := cmp.Diff(map[string][]string{id: {"AWSCURRENT", "AWSPENDING"}}, w.stages("empty")); diff != "" {
		t.Error(diff)
	}
}

func TestSecretBinary(t *testing.T) {
	w := newWorld(t)
	data := []byte{0, 255, 10, 128}
	if _, err := w.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String("b"), SecretBinary: data}); err != nil {
		t.Fatal(err)
	}
	out, err := w.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("b")})
	if err != nil || !bytes.Equal(out.SecretBinary, data) || out.SecretString != nil {
		t.Errorf("%+v, %v", out, err)
	}
	// As text it is another value, though the bytes be the same.
	token := ident.UUID()
	if _, err := w.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: aws.String("b"), SecretBinary: []byte("x"), ClientRequestToken: &token}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: aws.String("b"), SecretString: aws.String("x"), ClientRequestToken: &token}); !strings.HasPrefix(said(err), "ResourceExistsException") {
		t.Error(said(err))
	}
	long := bytes.Repeat([]byte("x"), 65536)
	if _, err := w.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: aws.String("b"), SecretBinary: long}); err != nil {
		t.Error(err)
	}
}

func TestPutSecretValue(t *testing.T) {
	w := newWorld(t)
	first := *w.create("s", "1").VersionId
	w.after(time.Minute)
	token := ident.UUID()
	in := &sm.PutSecretValueInput{SecretId: aws.String("s"), SecretString: aws.String("2"), ClientRequestToken: &token}
	out, err := w.PutSecretValue(t.Context(), in)
	if err != nil || *out.VersionId != token || !slices.Equal(out.VersionStages, []string{"AWSCURRENT"}) {
		t.Fatalf("%+v, %v", out, err)
	}
	want := map[string][]string{first: {"AWSPREVIOUS"}, token: {"AWSCURRENT"}}
	if diff := cmp.Diff(want, w.stages("s")); diff != "" {
		t.Error(diff)
	}
	changed := w.secret("s").ChangedAt
	w.after(time.Minute)
	if again, err := w.PutSecretValue(t.Context(), in); err != nil || *again.VersionId != token || !w.secret("s").ChangedAt.Equal(changed) {
		t.Errorf("%+v, %v", again, err)
	}
	for choose, want := range map[string]func(*sm.GetSecretValueInput){
		"2": func(in *sm.GetSecretValueInput) { in.VersionStage = aws.String("AWSCURRENT") },
		"1": func(in *sm.GetSecretValueInput) { in.VersionStage = aws.String("AWSPREVIOUS") },
	} {
		if got := w.get("s", want); got != choose {
			t.Errorf("got %s instead of %s", got, choose)
		}
	}
	if got := w.get("s", func(in *sm.GetSecretValueInput) { in.VersionId, in.VersionStage = &first, aws.String("AWSPREVIOUS") }); got != "1" {
		t.Error(got)
	}
}

func TestUpdateSecretVersionStage(t *testing.T) {
	w := newWorld(t)
	first := *w.create("s", "1").VersionId
	second := w.put("s", "2", "AWSPENDING", "blue")
	move := func(label, from, to string) error {
		in := &sm.UpdateSecretVersionStageInput{SecretId: aws.String("s"), VersionStage: &label}
		if from != "" {
			in.RemoveFromVersionId = &from
		}
		if to != "" {
			in.MoveToVersionId = &to
		}
		_, err := w.UpdateSecretVersionStage(t.Context(), in)
		return err
	}
	check := func(want map[string][]string) {
		t.Helper()
		if diff := cmp.Diff(want, w.stages("s")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	check(map[string][]string{first: {"AWSCURRENT"}, second: {"AWSPENDING", "blue"}})
	if err := move("AWSCURRENT", first, second); err != nil {
		t.Fatal(err)
	}
	check(map[string][]string{first: {"AWSPREVIOUS"}, second: {"AWSCURRENT", "AWSPENDING", "blue"}})
	if err := move("blue", second, first); err != nil {
		t.Fatal(err)
	}
	if err := move("AWSPENDING", second, ""); err != nil {
		t.Fatal(err)
	}
	check(map[string][]string{first: {"AWSPREVIOUS", "blue"}, second: {"AWSCURRENT"}})
	if err := move("AWSCURRENT", second, first); err != nil { // back
		t.Fatal(err)
	}
	check(map[string][]string{first: {"AWSCURRENT", "blue"}, second: {"AWSPREVIOUS"}})
}

func TestUpdateSecret(t *testing.T) {
	w := newWorld(t)
	first := *w.create("s", "1").VersionId
	update := func(edit func(*sm.UpdateSecretInput)) *sm.UpdateSecretOutput {
		t.Helper()
		in := &sm.UpdateSecretInput{SecretId: aws.String("s")}
		edit(in)
		out, err := w.UpdateSecret(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := update(func(in *sm.UpdateSecretInput) { in.Description = aws.String("d") }); out.VersionId != nil {
		t.Errorf("%+v", out)
	}
	second := update(func(in *sm.UpdateSecretInput) { in.SecretString = aws.String("2") })
	if diff := cmp.Diff(map[string][]string{first: {"AWSPREVIOUS"}, *second.VersionId: {"AWSCURRENT"}}, w.stages("s")); diff != "" {
		t.Error(diff)
	}
	if d := w.secret("s").Description; d != "d" {
		t.Error(d)
	}
	_, err := w.UpdateSecret(t.Context(), &sm.UpdateSecretInput{SecretId: aws.String("s"), SecretString: aws.String("2"), ClientRequestToken: second.VersionId})
	if !strings.HasPrefix(said(err), "ResourceExistsException: You can't use ClientRequestToken") {
		t.Error(said(err)) // even with the same value
	}
}

// Another key seals the versions in use again, and no others.
func TestUpdateSecret_Key(t *testing.T) {
	w := newWorld(t)
	ids := []string{*w.create("s", "0").VersionId}
	for i := range 3 {
		w.after(time.Second)
		ids = append(ids, w.put("s", fmt.Sprint(i+1)))
	}
	ids = append(ids, w.put("s", "4", "AWSPENDING"))
	mine := ident.UUID()
	key := &model.KMSKey{ID: mine, ARN: w.keys.ARN("key/" + mine), Manager: model.KMSManagedByCustomer, Usage: model.KMSEncryptDecrypt, Spec: keys.SymmetricDefault, State: model.KMSKeyEnabled}
	material, err := w.keys.NewMaterial(mine, key.Spec, begin, false)
	if err != nil {
		t.Fatal(err)
	}
	key.Materials = []model.KMSMaterial{material}
	w.edit(func(tx *store.Tx) { records.KMSKeys.Put(tx, key) })
	if _, err := w.UpdateSecret(t.Context(), &sm.UpdateSecretInput{SecretId: aws.String("s"), KmsKeyId: &mine}); err != nil {
		t.Fatal(err)
	}
	list, err := w.ListSecretVersionIds(t.Context(), &sm.ListSecretVersionIdsInput{SecretId: aws.String("s"), IncludeDeprecated: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	sealedWith := map[string]bool{}
	for _, v := range list.Versions {
		sealedWith[*v.VersionId] = v.KmsKeyIds[0] == mine
	}
	want := map[string]bool{ids[0]: false, ids[1]: false, ids[2]: true, ids[3]: true, ids[4]: true}
	if diff := cmp.Diff(want, sealedWith); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i, id := range ids {
		if got := w.get("s", func(in *sm.GetSecretValueInput) { in.VersionId = &id }); got != fmt.Sprint(i) {
			t.Errorf("version %d is %s", i, got)
		}
	}
	w.refused.Store(&[]string{"kms:Decrypt on arn:aws:kms:us-east-1:123456789012:key/" + mine})
	if _, err := w.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("s")}); said(err) != "AccessDeniedException: Access to KMS is not allowed" {
		t.Error(said(err))
	}
	if _, err := w.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: aws.String("s"), SecretString: aws.String("x")}); said(err) != "AccessDeniedException: Access to KMS is not allowed" {
		t.Error(said(err))
	}
	w.refused.Store(nil)
	w.edit(func(tx *store.Tx) {
		if err := records.KMSKeys.Edit(tx, mine, func(k *model.KMSKey) error { k.State = model.KMSKeyDisabled; return nil }); err != nil {
			t.Error(err)
		}
	})
	if _, err := w.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("s")}); !strings.HasPrefix(said(err), "DecryptionFailure: Secrets Manager can't decrypt the protected secret text") {
		t.Error(said(err))
	}
	if _, err := w.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: aws.String("s"), SecretString: aws.String("x")}); !strings.HasPrefix(said(err), "EncryptionFailure: Secrets Manager can't encrypt the protected secret text") {
		t.Error(said(err))
	}
}

func TestDeleteSecret_RestoreSecret(t *testing.T) {
	w := newWorld(t)
	w.create("s", "1")
	out, err := w.DeleteSecret(t.Context(), &sm.DeleteSecretInput{SecretId: aws.String("s"), RecoveryWindowInDays: aws.Int64(7)})
	if err != nil || !out.DeletionDate.Equal(begin.AddDate(0, 0, 7)) {
		t.Fatalf("%+v, %v", out, err)
	}
	if described, err := w.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("s")}); err != nil || !described.DeletedDate.Equal(*out.DeletionDate) {
		t.Errorf("%+v, %v", described, err)
	}
	if list, err := w.ListSecrets(t.Context(), &sm.ListSecretsInput{}); err != nil || len(list.SecretList) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err := w.ListSecrets(t.Context(), &sm.ListSecretsInput{IncludePlannedDeletion: aws.Bool(true)}); err != nil || len(list.SecretList) != 1 || !list.SecretList[0].DeletedDate.Equal(begin) {
		t.Errorf("%+v, %v", list, err)
	}
	const marked = "InvalidRequestException: You can't perform this operation on the secret because it was marked for deletion."
	if _, err := w.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("s")}); said(err) != marked {
		t.Error(said(err))
	}
	if _, err := w.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String("s")}); said(err) != "InvalidRequestException: You can't create this secret because a secret with this name is already scheduled for deletion." {
		t.Error(said(err))
	}
	if _, err := w.RestoreSecret(t.Context(), &sm.RestoreSecretInput{SecretId: aws.String("s")}); err != nil {
		t.Fatal(err)
	}
	if got := w.get("s"); got != "1" {
		t.Error(got)
	}
	w.provider.Close()
	if _, err := w.DeleteSecret(t.Context(), &sm.DeleteSecretInput{SecretId: aws.String("s")}); err != nil || !w.secret("s").PurgeAt.Equal(begin.AddDate(0, 0, 30)) {
		t.Error(err)
	}
	w.after(31 * 24 * time.Hour) // nobody has removed it yet, but it is past being restored
	if _, err := w.RestoreSecret(t.Context(), &sm.RestoreSecretInput{SecretId: aws.String("s")}); said(err) != "ResourceNotFoundException: Secrets Manager can't find the specified secret." {
		t.Error(said(err))
	}
}

func TestDeleteSecret_Force(t *testing.T) {
	w := newWorld(t)
	first := w.create("s", "0")
	for i := range 150 { // more than a transaction can hold, and all of today
		w.put("s", fmt.Sprint(i))
	}
	force := &sm.DeleteSecretInput{SecretId: aws.String("s"), ForceDeleteWithoutRecovery: aws.Bool(true)}
	for range 2 { // a call that is repeated succeeds
		if out, err := w.DeleteSecret(t.Context(), force); err != nil || *out.Name != "s" || !out.DeletionDate.Equal(begin) {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	if n := records.SecretVersions.Len(w.store.Snapshot()); n != 0 {
		t.Errorf("%d versions are left", n)
	}
	if again := w.create("s", "new"); *again.ARN == *first.ARN {
		t.Error("the new secret has the ARN of the old one")
	}
	if _, err := w.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: first.ARN}); said(err) != "ResourceNotFoundException: Secrets Manager can't find the specified secret." {
		t.Error(said(err))
	}
}

func TestListSecretVersionIds(t *testing.T) {
	w := newWorld(t)
	ids := []string{*w.create("s", "0").VersionId}
	for i := range 4 {
		w.after(time.Second)
		ids = append(ids, w.put("s", fmt.Sprint(i+1)))
	}
	list := func(deprecated bool) (got []string) {
		in := &sm.ListSecretVersionIdsInput{SecretId: aws.String("s"), IncludeDeprecated: &deprecated, MaxResults: aws.Int32(2)}
		for {
			out, err := w.ListSecretVersionIds(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range out.Versions {
				if !slices.Equal(v.KmsKeyIds, []string{"DefaultEncryptionKey"}) || v.CreatedDate == nil {
					t.Errorf("%+v", v)
				}
				got = append(got, *v.VersionId)
			}
			if in.NextToken = out.NextToken; in.NextToken == nil {
				return got
			}
		}
	}
	if diff := cmp.Diff(ids, list(true)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(ids[3:], list(false)); diff != "" {
		t.Error(diff)
	}
}

// A hundred versions are kept, and more for a day.
func TestVersionsAreForgotten(t *testing.T) {
	w := newWorld(t)
	w.create("s", "x")
	for i := range 110 {
		w.after(time.Millisecond) // a version that is in use is among the newest
		w.put("s", fmt.Sprint(i))
	}
	if n := records.SecretVersions.Len(w.store.Snapshot()); n != 111 {
		t.Errorf("%d versions of today", n)
	}
	w.after(25 * time.Hour)
	w.put("s", "new")
	if n := records.SecretVersions.Len(w.store.Snapshot()); n != 100 {
		t.Errorf("%d versions of yesterday", n)
	}
	if w.get("s") != "new" || w.get("s", func(in *sm.GetSecretValueInput) { in.VersionStage = aws.String("AWSPREVIOUS") }) != "109" {
		t.Error("a version in use is gone")
	}
}

// Of concurrent calls each makes its own version, and one of them is current.
func TestConcurrentPuts(t *testing.T) {
	w := newWorld(t)
	first := *w.create("s", "first").VersionId
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if _, err := w.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: aws.String("s"), SecretString: aws.String(fmt.Sprint(i))}); err != nil {
				t.Error(err)
			}
		})
	}
	token := ident.UUID()
	for range 4 { // the same call, four times at once
		wg.Go(func() {
			if _, err := w.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: aws.String("s"), SecretString: aws.String("same"), ClientRequestToken: &token}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := records.SecretVersions.Len(w.store.Snapshot()); n != 18 {
		t.Errorf("%d versions", n)
	}
	s := w.secret("s")
	if s.Stages["AWSCURRENT"] == s.Stages["AWSPREVIOUS"] || s.Stages["AWSPREVIOUS"] == "" || s.Stages["AWSCURRENT"] == first || len(s.Stages) != 2 {
		t.Error(s.Stages)
	}
}

// Of concurrent creations of one name one wins.
func TestConcurrentCreations(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	outcomes := map[string]int{}
	for i := range 8 {
		wg.Go(func() {
			_, err := w.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String("s"), SecretString: aws.String(fmt.Sprint(i))})
			mu.Lock()
			defer mu.Unlock()
			outcomes[said(err)]++
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[string]int{"no error": 1, "ResourceExistsException: The operation failed because the secret s already exists.": 7}, outcomes); diff != "" {
		t.Error(diff)
	}
	if n := records.SecretVersions.Len(w.store.Snapshot()); n != 1 {
		t.Errorf("%d versions", n)
	}
}

// When a secret was read is told by the day, and written once a day.
func TestLastAccessedDate(t *testing.T) {
	w := newWorld(t)
	w.create("s", "1")
	w.get("s")
	w.provider.Close()
	s := w.secret("s")
	if s.AccessedOn == nil || !s.AccessedOn.Equal(s.AccessedOn.Truncate(24*time.Hour)) || !s.ChangedAt.Equal(begin) {
		t.Fatalf("%+v", s)
	}
	before := records.Secrets.Rev(w.store.Snapshot(), "s")
	for range 5 {
		w.get("s")
	}
	w.provider.Close()
	if after := records.Secrets.Rev(w.store.Snapshot(), "s"); after != before {
		t.Error("it was written again on the same day")
	}
	list, err := w.ListSecretVersionIds(t.Context(), &sm.ListSecretVersionIdsInput{SecretId: aws.String("s")})
	if err != nil || list.Versions[0].LastAccessedDate == nil {
		t.Errorf("%+v, %v", list, err)
	}
}
