package keys_test

import (
	"errors"
	"testing"

	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/keys"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

func TestReseal(t *testing.T) {
	w := newWorld(t)
	ring, err := keyring.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	old, err := ring.Seal([]byte("sealed before"), keyring.AccessKey("AKIASEALED"))
	if err != nil {
		t.Fatal(err)
	}
	w.write(func(tx *store.Tx) error {
		records.AccessKeys.Put(tx, &model.AccessKey{ID: "AKIACLEAR", Clear: "secret"})
		records.AccessKeys.Put(tx, &model.AccessKey{ID: "AKIASEALED", Sealed: old})
		records.Certificates.Put(tx, &model.Certificate{ARN: "arn:c", Clear: "PEM"})
		return nil
	})
	for range 2 { // and again: there is nothing left to do
		if err := keys.Reseal(t.Context(), w.store, ring); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[string]string{"AKIACLEAR": "secret", "AKIASEALED": "sealed before"} {
			k, _ := records.AccessKeys.Get(w.store.Snapshot(), id)
			if got, err := ring.Open(k.Sealed, keyring.AccessKey(id)); err != nil || string(got) != want || k.Clear != "" {
				t.Errorf("%s has %q sealed, %q in clear, %v", id, got, k.Clear, err)
			}
		}
		c, _ := records.Certificates.Get(w.store.Snapshot(), "arn:c")
		if got, err := ring.Open(c.SealedKey, keyring.CertificateKey("arn:c")); err != nil || string(got) != "PEM" || c.Clear != "" {
			t.Errorf("the certificate has %q sealed, %q in clear, %v", got, c.Clear, err)
		}
	}
}

func TestReseal_refusesAnotherMasterKey(t *testing.T) {
	ring, err := keyring.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	other, err := keyring.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	seal := func(purpose string) []byte {
		sealed, err := other.Seal([]byte("v"), purpose)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	for name, put := range map[string]func(*world){
		"access key": func(w *world) {
			w.write(func(tx *store.Tx) error {
				records.AccessKeys.Put(tx, &model.AccessKey{ID: "AKIA", Sealed: seal(keyring.AccessKey("AKIA"))})
				return nil
			})
		},
		"certificate": func(w *world) {
			w.write(func(tx *store.Tx) error {
				records.Certificates.Put(tx, &model.Certificate{ARN: "arn:c", SealedKey: seal(keyring.CertificateKey("arn:c"))})
				return nil
			})
		},
		"KMS key": func(w *world) { w.put("") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write(func(tx *store.Tx) error {
				records.AccessKeys.Put(tx, &model.AccessKey{ID: "AKIACLEAR", Clear: "secret"})
				return nil
			})
			put(w)
			if err := keys.Reseal(t.Context(), w.store, ring); !errors.Is(err, keys.ErrOtherKeyring) {
				t.Errorf("%v, want ErrOtherKeyring", err)
			}
			if k, _ := records.AccessKeys.Get(w.store.Snapshot(), "AKIACLEAR"); k.Clear != "secret" {
				t.Error("something was sealed with the wrong key")
			}
		})
	}
}
