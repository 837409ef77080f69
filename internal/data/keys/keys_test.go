package keys_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/keys"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/caller"
)

const account = "123456789012"

type world struct {
	testing.TB
	*keys.Keys
	store *store.Store
}

func newWorld(t testing.TB) *world {
	t.Helper()
	s, err := store.Open(memkv.New(0), "/berth/", store.Options{CheckMutation: true}, records.All()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	<-s.Ready()
	ring, err := keyring.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	return &world{TB: t, store: s, Keys: keys.New(keys.Config{Store: s, Ring: ring, Scope: arn.Scope{Region: "us-east-1", AccountID: account}})}
}

// put makes a customer key with an alias.
func (w *world) put(alias string, edit ...func(*model.KMSKey)) *model.KMSKey {
	w.Helper()
	id := ident.UUID()
	key := &model.KMSKey{ID: id, ARN: w.ARN("key/" + id), Manager: model.KMSManagedByCustomer, Usage: model.KMSEncryptDecrypt, Spec: keys.SymmetricDefault, State: model.KMSKeyEnabled}
	for _, e := range edit {
		e(key)
	}
	key.Materials = []model.KMSMaterial{w.material(key)}
	w.write(func(tx *store.Tx) error {
		records.KMSKeys.Put(tx, key)
		if alias != "" {
			records.KMSAliases.Put(tx, &model.KMSAlias{Name: alias, KeyID: id})
		}
		return nil
	})
	return key
}

func (w *world) material(key *model.KMSKey) model.KMSMaterial {
	w.Helper()
	m, err := w.NewMaterial(key.ID, key.Spec, time.Unix(0, 0), false)
	if err != nil {
		w.Fatal(err)
	}
	return m
}

func (w *world) write(fn func(*store.Tx) error) {
	w.Helper()
	if _, err := w.store.Update(w.Context(), fn); err != nil {
		w.Fatal(err)
	}
}

func (w *world) edit(key *model.KMSKey, fn func(*model.KMSKey)) {
	w.Helper()
	w.write(func(tx *store.Tx) error {
		return records.KMSKeys.Edit(tx, key.ID, func(k *model.KMSKey) error { fn(k); return nil })
	})
}

func TestSealOpen(t *testing.T) {
	w := newWorld(t)
	key, other := w.put("alias/mine"), w.put("")
	contexts := rapid.MapOf(rapid.StringN(0, 6, -1), rapid.StringN(0, 6, -1))
	rapid.Check(t, func(t *rapid.T) {
		plaintext := rapid.SliceOf(rapid.Byte()).Draw(t, "plaintext")
		with := contexts.Draw(t, "context")
		name := rapid.SampledFrom([]string{key.ID, key.ARN, "alias/mine", w.ARN("alias/mine")}).Draw(t, "name")
		sealed, id, err := w.Seal(t.Context(), "ssm", name, plaintext, with)
		if err != nil || id != key.ID {
			t.Fatalf("sealed by %s, %v; want %s", id, err, key.ID)
		}
		if len(plaintext) >= 8 && bytes.Contains(sealed, plaintext) {
			t.Fatal("the plaintext is in what was sealed")
		}
		// AWS takes 6,144 bytes back, and 4,096 may go in.
		if overhead := len(sealed) - len(plaintext); overhead > 6144-4096 {
			t.Fatalf("sealing adds %d bytes", overhead)
		}
		got, err := w.Open(t.Context(), "ssm", sealed, maps.Clone(with))
		if err != nil || !bytes.Equal(got, plaintext) {
			t.Fatalf("opened %q, %v; want %q", got, err, plaintext)
		}
		if rapid.Bool().Draw(t, "rotate") {
			w.edit(key, func(k *model.KMSKey) { k.Materials = append(k.Materials, w.material(k)) })
			if got, err := w.Open(t.Context(), "ssm", sealed, with); err != nil || !bytes.Equal(got, plaintext) {
				t.Fatalf("after a rotation opened %q, %v; want %q", got, err, plaintext)
			}
		}
		refused := func(why string, sealed []byte, with map[string]string) {
			if got, err := w.Open(t.Context(), "ssm", sealed, with); !errors.Is(err, keys.ErrInvalidCiphertext) || fault.ClassOf(err) != fault.Invalid {
				t.Fatalf("%s: %q, %v; want ErrInvalidCiphertext", why, got, err)
			}
		}
		if another := contexts.Draw(t, "another context"); !maps.Equal(another, with) {
			refused("another context", sealed, another)
		}
		changed := bytes.Clone(sealed)
		at := rapid.IntRange(0, len(sealed)-1).Draw(t, "byte")
		changed[at] ^= byte(1 << rapid.IntRange(0, 7).Draw(t, "bit"))
		refused(fmt.Sprintf("byte %d changed", at), changed, with)
		refused("cut", sealed[:rapid.IntRange(0, len(sealed)-1).Draw(t, "cut")], with)
		// A blob that names another key: the id is after the version.
		renamed, _, err := w.Seal(t.Context(), "", other.ID, plaintext, with)
		if err != nil {
			t.Fatal(err)
		}
		refused("another key's name on it", slices.Concat(renamed[:17], sealed[17:]), with)
		refused("another key's head on it", slices.Concat(renamed[:49], sealed[49:]), with)
	})
}

// Pairs of the context cannot be moved between names and values.
func TestContext_unambiguous(t *testing.T) {
	w := newWorld(t)
	w.put("alias/mine")
	contexts := []map[string]string{
		nil, {"": ""}, {"a": ""}, {"": "a"}, {"a": "b"}, {"ab": ""}, {"a": "bc", "d": "e"}, {"a": "b", "cd": "e"}, {"a": "b", "c": "de"}, {"a\x00b": "c"}, {"a": "b\x00c"},
	}
	for _, sealing := range contexts {
		sealed, _, err := w.Seal(t.Context(), "", "alias/mine", []byte("v"), sealing)
		if err != nil {
			t.Fatal(err)
		}
		for _, opening := range contexts {
			if _, err := w.Open(t.Context(), "", sealed, opening); (err == nil) != maps.Equal(sealing, opening) {
				t.Errorf("sealed with %q, opened with %q: %v", sealing, opening, err)
			}
		}
	}
}

// A material serves its own key and generation only, whoever writes the record.
func TestMaterial_isBound(t *testing.T) {
	w := newWorld(t)
	key, other := w.put("alias/mine"), w.put("alias/other")
	sealed, _, err := w.Seal(t.Context(), "", "alias/mine", []byte("v"), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.edit(other, func(k *model.KMSKey) { k.Materials[0].Sealed = key.Materials[0].Sealed })
	if _, _, err := w.Seal(t.Context(), "", "alias/other", []byte("v"), nil); !errors.Is(err, keyring.ErrSealed) {
		t.Errorf("a stolen material encrypts: %v", err)
	}
	w.edit(key, func(k *model.KMSKey) { k.Materials[0].ID = ident.Hex(64) })
	if _, err := w.Open(t.Context(), "", sealed, nil); !errors.Is(err, keys.ErrInvalidCiphertext) {
		t.Errorf("a generation that is gone decrypts: %v", err)
	}
	if _, _, err := w.Seal(t.Context(), "", "alias/mine", []byte("v"), nil); !errors.Is(err, keyring.ErrSealed) {
		t.Errorf("a renamed material encrypts: %v", err)
	}
}

func TestStates(t *testing.T) {
	w := newWorld(t)
	key := w.put("alias/mine")
	sealed, _, err := w.Seal(t.Context(), "", "alias/mine", []byte("v"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		state string
		want  error
		text  string
	}{
		{model.KMSKeyDisabled, keys.ErrDisabled, key.ARN + " is disabled."},
		{model.KMSKeyPendingDeletion, keys.ErrPendingDeletion, key.ARN + " is pending deletion."},
		{model.KMSKeyEnabled, nil, ""},
	} {
		w.edit(key, func(k *model.KMSKey) { k.State = tc.state })
		_, _, sealing := w.Seal(t.Context(), "ssm", "alias/mine", []byte("v"), nil)
		_, opening := w.Open(t.Context(), "ssm", sealed, nil)
		for _, err := range []error{sealing, opening} {
			if !errors.Is(err, tc.want) || err != nil && (err.Error() != tc.text || fault.ClassOf(err) != fault.Conflict) {
				t.Errorf("%s: %v, want %q", tc.state, err, tc.text)
			}
		}
	}
	w.put("alias/mac", func(k *model.KMSKey) { k.Spec, k.Usage = "HMAC_256", model.KMSGenerateVerifyMAC })
	if _, _, err := w.Seal(t.Context(), "ssm", "alias/mac", []byte("v"), nil); !errors.Is(err, keys.ErrInvalidUsage) || !strings.HasSuffix(err.Error(), " key usage is GENERATE_VERIFY_MAC which is not valid for Encrypt.") {
		t.Errorf("a key for message authentication encrypts: %v", err)
	}
	w.write(func(tx *store.Tx) error { records.KMSKeys.Delete(tx, key.ID); return nil })
	if _, err := w.Open(t.Context(), "ssm", sealed, nil); !errors.Is(err, keys.ErrInvalidCiphertext) {
		t.Errorf("a key that is gone decrypts: %v", err)
	}
}

func TestFind(t *testing.T) {
	w := newWorld(t)
	key := w.put("alias/mine")
	const absent = "11111111-2222-3333-4444-555555555555"
	for name, want := range map[string]string{
		key.ID: "", key.ARN: "", "alias/mine": "", w.ARN("alias/mine"): "",
		absent:                                 "Key '" + w.ARN("key/"+absent) + "' does not exist",
		w.ARN("key/" + absent):                 "Key '" + w.ARN("key/"+absent) + "' does not exist",
		"mrk-d3b95762d3b95762d3b95762d3b95762": "Key '" + w.ARN("key/mrk-d3b95762d3b95762d3b95762d3b95762") + "' does not exist",
		"mine":                                 "Invalid keyId 'mine'",
		"":                                     "Invalid keyId ''",
		w.ARN("key/mine"):                      "Invalid keyId 'mine'",
		"alias/other":                          "Alias " + w.ARN("alias/other") + " is not found.",
		w.ARN("alias/other"):                   "Alias " + w.ARN("alias/other") + " is not found.",
		keys.SSM:                               "Alias " + w.ARN(keys.SSM) + " is not found.", // Find makes none
		strings.Replace(key.ARN, "us-east-1", "eu-west-1", 1): "Invalid arn eu-west-1",
		strings.Replace(key.ARN, account, "210987654321", 1):  "Key '" + strings.Replace(key.ARN, account, "210987654321", 1) + "' does not exist",
		"arn:aws:kms:us-east-1:210987654321:alias/mine":       "Alias arn:aws:kms:us-east-1:210987654321:alias/mine is not found.",
		"arn:aws:ssm:us-east-1:" + account + ":key/" + key.ID: "Invalid arn arn:aws:ssm:us-east-1:" + account + ":key/" + key.ID,
		w.ARN("grant/x"): "Invalid arn " + w.ARN("grant/x"),
		"arn:aws":        "Invalid arn arn:aws",
	} {
		got, err := w.Find(w.store.Snapshot(), name)
		switch {
		case want == "" && (err != nil || got.ID != key.ID):
			t.Errorf("%q: %v, %v", name, got, err)
		case want != "" && (!errors.Is(err, keys.ErrNotFound) || err.Error() != want || fault.ClassOf(err) != fault.NotFound):
			t.Errorf("%q: %v, want %q", name, err, want)
		}
	}
}

func TestEnsure(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	ids := make([]string, 8)
	for i := range ids {
		wg.Go(func() {
			name := keys.SecretsManager
			if i%2 == 1 {
				name = w.ARN(name)
			}
			id, err := w.Ensure(t.Context(), name)
			if err != nil {
				t.Error(err)
			}
			ids[i] = id
		})
	}
	wg.Wait()
	if len(slices.Compact(ids)) != 1 {
		t.Errorf("all at once made %q", ids)
	}
	sealed, id, err := w.Seal(t.Context(), "secretsmanager", keys.SecretsManager, []byte("v"), nil)
	if err != nil || id != ids[0] {
		t.Errorf("sealed by %s, %v; want %s", id, err, ids[0])
	}
	if got, err := w.Open(t.Context(), "secretsmanager", sealed, nil); err != nil || string(got) != "v" {
		t.Errorf("opened %q, %v", got, err)
	}
	key, err := w.Find(w.store.Snapshot(), keys.SecretsManager)
	if err != nil {
		t.Fatal(err)
	}
	if key.Manager != model.KMSManagedByAWS || key.NextRotation == nil || !key.NextRotation.Equal(key.CreatedAt.AddDate(0, 0, 365)) {
		t.Errorf("made %+v", key)
	}
	for _, part := range []string{`"kms:CallerAccount" : "` + account + `"`, `"secretsmanager.us-east-1.amazonaws.com"`, `"arn:aws:iam::` + account + `:root"`} {
		if !strings.Contains(key.Policy, part) {
			t.Errorf("the policy has no %s:\n%s", part, key.Policy)
		}
	}
	if _, err := w.Ensure(t.Context(), "alias/aws/nothing"); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("a key was made for nothing: %v", err)
	}
}

// guard notes what is asked and refuses some of it.
type guard struct {
	asked  []question
	refuse string
}

type question struct {
	Action, Resource string
	Keys             map[string][]string
}

var errRefused = fault.New(fault.Denied, "not authorized")

func (g *guard) Check(_ context.Context, action, resource string, conditions map[string][]string) error {
	g.asked = append(g.asked, question{action, resource, conditions})
	if action == g.refuse {
		return errRefused
	}
	return nil
}

func TestCaller_isAsked(t *testing.T) {
	w := newWorld(t)
	key := w.put("alias/mine")
	conditions := func(service string) map[string][]string {
		return map[string][]string{
			"kms:ViaService": {service + ".us-east-1.amazonaws.com"}, "kms:CallerAccount": {account}, "kms:EncryptionAlgorithm": {"SYMMETRIC_DEFAULT"},
			"kms:EncryptionContextKeys": {"A", "b"}, "kms:EncryptionContext:A": {"1"}, "kms:EncryptionContext:b": {"2"},
		}
	}
	with := map[string]string{"b": "2", "A": "1"}
	for _, tc := range []struct {
		service, name string
		seal, open    []string
	}{
		{"secretsmanager", "alias/mine", []string{"kms:GenerateDataKey", "kms:Decrypt"}, []string{"kms:Decrypt"}},
		{"ssm", "alias/mine", []string{"kms:Encrypt"}, []string{"kms:Decrypt"}},
		{"ssm", keys.SSM, nil, nil},
		{"secretsmanager", keys.SecretsManager, nil, nil},
		{"", "alias/mine", nil, nil},
	} {
		g := &guard{}
		ctx := caller.WithGuard(caller.With(t.Context(), caller.Identity{AccountID: account}), g)
		want := func(actions []string) (questions []question) {
			for _, a := range actions {
				questions = append(questions, question{a, key.ARN, conditions(tc.service)})
			}
			return questions
		}
		sealed, _, err := w.Seal(ctx, tc.service, tc.name, []byte("v"), with)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want(tc.seal), g.asked); diff != "" {
			t.Errorf("%s seals with %s: (-want +got)\n%s", tc.service, tc.name, diff)
		}
		g.asked = nil
		if _, err := w.Open(ctx, tc.service, sealed, with); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want(tc.open), g.asked); diff != "" {
			t.Errorf("%s opens with %s: (-want +got)\n%s", tc.service, tc.name, diff)
		}
		for _, action := range tc.seal {
			g.refuse = action
			if _, _, err := w.Seal(ctx, tc.service, tc.name, []byte("v"), with); !errors.Is(err, errRefused) {
				t.Errorf("%s seals without %s: %v", tc.service, action, err)
			}
		}
		if len(tc.open) > 0 {
			g.refuse = "kms:Decrypt"
			if _, err := w.Open(ctx, tc.service, sealed, with); !errors.Is(err, errRefused) {
				t.Errorf("%s opens without kms:Decrypt: %v", tc.service, err)
			}
			w.edit(key, func(k *model.KMSKey) { k.State = model.KMSKeyDisabled })
			if _, err := w.Open(ctx, tc.service, sealed, with); !errors.Is(err, errRefused) {
				t.Errorf("who may not use the key learns its state: %v", err)
			}
			w.edit(key, func(k *model.KMSKey) { k.State = model.KMSKeyEnabled })
		}
	}
}

func TestMAC(t *testing.T) {
	w := newWorld(t)
	for spec, size := range map[string]int{"HMAC_224": 28, "HMAC_256": 32, "HMAC_384": 48, "HMAC_512": 64} {
		key := w.put("", func(k *model.KMSKey) { k.Spec, k.Usage = spec, model.KMSGenerateVerifyMAC })
		tag, err := w.MAC(key, []byte("message"))
		if err != nil || len(tag) != size {
			t.Fatalf("%s: %d bytes, %v; want %d", spec, len(tag), err, size)
		}
		changed := bytes.Clone(tag)
		changed[0] ^= 1
		for _, tc := range []struct {
			message string
			tag     []byte
			want    bool
		}{{"message", tag, true}, {"massage", tag, false}, {"message", changed, false}, {"message", tag[:len(tag)-1], false}, {"message", nil, false}} {
			if got, err := w.VerifyMAC(key, []byte(tc.message), tc.tag); err != nil || got != tc.want {
				t.Errorf("%s: %q with %x is %v, %v", spec, tc.message, tc.tag, got, err)
			}
		}
	}
	if _, err := w.MAC(w.put(""), []byte("message")); err == nil {
		t.Error("a key for encryption authenticates")
	}
	if _, err := w.NewMaterial(ident.UUID(), "RSA_2048", time.Now(), false); err == nil {
		t.Error("an RSA key was made")
	}
}

// What a secret of usual length costs.
func BenchmarkOpen(b *testing.B) {
	w := newWorld(b)
	with := map[string]string{"SecretARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-a1b2c3", "SecretVersionId": ident.UUID()}
	sealed, _, err := w.Seal(b.Context(), "secretsmanager", keys.SecretsManager, []byte("correct horse battery staple"), with)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Open(b.Context(), "secretsmanager", sealed, with); err != nil {
			b.Fatal(err)
		}
	}
}
