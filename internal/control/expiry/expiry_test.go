package expiry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/control/expiry"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/keys"
	"berth.dev/berth/internal/data/kv"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// world is a store and the means to run the loop on it, in a bubble.
type world struct {
	t     *testing.T
	store *store.Store
	keys  *keys.Keys
	kv    *broken
	begin time.Time
	stop  func()
}

// broken is a kv whose writes fail while told to.
type broken struct {
	kv.KV
	fails atomic.Bool
}

var errBroken = errors.New("no quorum")

// Txn implements kv.KV.
func (b *broken) Txn(ctx context.Context, t kv.Txn) (kv.TxnResult, error) {
	if b.fails.Load() {
		return kv.TxnResult{}, errBroken
	}
	return b.KV.Txn(ctx, t)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, kv: &broken{KV: memkv.New(0)}, begin: time.Now()}
	s, err := store.Open(w.kv, "/berth/", store.Options{CheckMutation: true}, records.All()...)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	w.store, w.keys = s, keys.New(keys.Config{Store: s, Ring: ring, Scope: arn.Scope{Region: "us-east-1", AccountID: "123456789012"}})
	ctx, cancel := context.WithCancel(context.Background())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(ctx) })
	<-s.Ready()
	w.stop = func() {
		cancel()
		if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	return w
}

// run starts the loop; the result ends it.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- expiry.New(expiry.Config{Store: w.store, Keys: w.keys, Log: slog.New(slog.DiscardHandler)}).Run(ctx)
	}()
	return func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
}

func (w *world) write(fn func(*store.Tx) error) {
	w.t.Helper()
	if _, err := w.store.Update(context.Background(), fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) after(d time.Duration) *time.Time { return new(w.begin.Add(d)) }

// putKey stores a key with one material.
func (w *world) putKey(tx *store.Tx, id string, edit func(*model.KMSKey)) error {
	k := &model.KMSKey{ID: id, ARN: w.keys.ARN("key/" + id), Spec: keys.SymmetricDefault, Usage: model.KMSEncryptDecrypt, State: model.KMSKeyEnabled}
	m, err := w.keys.NewMaterial(id, k.Spec, w.begin, false)
	if err != nil {
		return err
	}
	k.Materials = []model.KMSMaterial{m}
	edit(k)
	records.KMSKeys.Put(tx, k)
	return nil
}

// expect compares what there is, in words.
func (w *world) expect(want ...string) {
	w.t.Helper()
	synctest.Wait()
	var got []string
	snap := w.store.Snapshot()
	for k := range records.KMSKeys.All(snap) {
		got = append(got, fmt.Sprintf("key %s", k.ID[:1]))
	}
	for a := range records.KMSAliases.All(snap) {
		got = append(got, "alias "+a.Name)
	}
	for s := range records.Secrets.All(snap) {
		got = append(got, "secret "+s.Name)
	}
	if n := records.SecretVersions.Len(snap); n > 0 {
		got = append(got, fmt.Sprintf("%d secret versions", n))
	}
	for p := range records.Parameters.All(snap) {
		got = append(got, "parameter "+p.Name)
	}
	if n := records.ParameterVersions.Len(snap); n > 0 {
		got = append(got, fmt.Sprintf("%d parameter versions", n))
	}
	for t := range records.JoinTokens.All(snap) {
		got = append(got, "token "+t.ID)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.t.Errorf("after %s there are %q, want %q", time.Since(w.begin), got, want)
	}
}

const (
	keyA = "aaaaaaaa-0000-4000-8000-000000000000"
	keyB = "bbbbbbbb-0000-4000-8000-000000000000"
	day  = 24 * time.Hour
)

// Everything goes at its date and not before, with all that is its own and
// nothing else.
func TestRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		defer w.run()()
		w.write(func(tx *store.Tx) error {
			for _, id := range []string{keyA, keyB} {
				if err := w.putKey(tx, id, func(k *model.KMSKey) {
					if id == keyA {
						k.State, k.DeletionDate = model.KMSKeyPendingDeletion, w.after(7*day)
					}
				}); err != nil {
					return err
				}
				for i := range 25 {
					records.KMSAliases.Put(tx, &model.KMSAlias{Name: fmt.Sprintf("alias/%s%02d", id[:1], i), KeyID: id})
				}
			}
			return nil
		})
		w.write(func(tx *store.Tx) error {
			records.Secrets.Put(tx, &model.Secret{Name: "db", PurgeAt: w.after(8 * day)})
			records.Secrets.Put(tx, &model.Secret{Name: "db2"})
			records.Parameters.Put(tx, &model.Parameter{Name: "/p", ExpiresAt: w.after(9 * day)})
			records.Parameters.Put(tx, &model.Parameter{Name: "/p/q"})
			for _, name := range []string{"db", "db2"} {
				records.SecretVersions.Put(tx, &model.SecretVersion{SecretName: name, ID: "v"})
			}
			for _, name := range []string{"/p", "/p/q"} {
				records.ParameterVersions.Put(tx, &model.ParameterVersion{ParameterName: name, Version: 1})
			}
			records.JoinTokens.Put(tx, &model.JoinToken{ID: "t", ExpiresAt: *w.after(10 * day)})
			return nil
		})
		for i := range 150 { // more than one transaction takes
			w.write(func(tx *store.Tx) error {
				records.SecretVersions.Put(tx, &model.SecretVersion{SecretName: "db", ID: fmt.Sprintf("v%03d", i)})
				records.ParameterVersions.Put(tx, &model.ParameterVersion{ParameterName: "/p", Version: int64(i + 2)})
				return nil
			})
		}
		var aliases []string
		for i := range 25 {
			aliases = append(aliases, fmt.Sprintf("alias alias/b%02d", i))
		}
		all := func(more ...string) []string { return append(slices.Clone(aliases), more...) }
		left := []string{"key b", "secret db2", "parameter /p/q", "token t"}
		with := func(more ...string) []string { return append(slices.Clone(left), more...) }

		time.Sleep(7*day - time.Nanosecond)
		before := all(with("key a", "secret db", "152 secret versions", "parameter /p", "152 parameter versions")...)
		for i := range 25 {
			before = append(before, fmt.Sprintf("alias alias/a%02d", i))
		}
		w.expect(before...)
		time.Sleep(time.Nanosecond)
		w.expect(all(with("secret db", "152 secret versions", "parameter /p", "152 parameter versions")...)...)
		time.Sleep(day)
		w.expect(all(with("1 secret versions", "parameter /p", "152 parameter versions")...)...)
		time.Sleep(day)
		w.expect(all(with("1 secret versions", "1 parameter versions")...)...)
		time.Sleep(day + 24*time.Hour - time.Nanosecond) // the token is remembered for a day
		w.expect(all(with("1 secret versions", "1 parameter versions")...)...)
		time.Sleep(time.Nanosecond)
		w.expect(all("key b", "secret db2", "parameter /p/q", "1 secret versions", "1 parameter versions")...)
	})
}

// Who thinks better of it keeps what he has.
func TestCancellation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		defer w.run()()
		w.write(func(tx *store.Tx) error {
			records.Secrets.Put(tx, &model.Secret{Name: "db", PurgeAt: w.after(7 * day)})
			records.Parameters.Put(tx, &model.Parameter{Name: "/p", ExpiresAt: w.after(7 * day)})
			return w.putKey(tx, keyA, func(k *model.KMSKey) {
				k.State, k.DeletionDate = model.KMSKeyPendingDeletion, w.after(7*day)
			})
		})
		time.Sleep(7*day - time.Second)
		w.write(func(tx *store.Tx) error {
			return errors.Join(
				records.Secrets.Edit(tx, "db", func(s *model.Secret) error { s.PurgeAt = nil; return nil }),
				records.Parameters.Edit(tx, "/p", func(p *model.Parameter) error { p.ExpiresAt = w.after(8 * day); return nil }),
				records.KMSKeys.Edit(tx, keyA, func(k *model.KMSKey) error {
					k.State, k.DeletionDate = model.KMSKeyDisabled, nil
					return nil
				}))
		})
		time.Sleep(day)
		w.expect("key a", "secret db", "parameter /p")
		time.Sleep(365 * day)
		w.expect("key a", "secret db")
	})
}

// rotations are the days after the beginning on which a key got material.
func (w *world) rotations(id string) string {
	k, ok := records.KMSKeys.Get(w.store.Snapshot(), id)
	if !ok {
		return "gone"
	}
	var days []string
	for _, m := range k.Materials[1:] {
		days = append(days, fmt.Sprint(m.CreatedAt.Sub(w.begin).Hours()/24))
	}
	next := "never"
	if k.NextRotation != nil {
		next = fmt.Sprint(k.NextRotation.Sub(w.begin).Hours() / 24)
	}
	return strings.Join(days, ",") + " then " + next
}

func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		stop := w.run()
		w.write(func(tx *store.Tx) error {
			if err := w.putKey(tx, keyB, func(*model.KMSKey) {}); err != nil {
				return err
			}
			return w.putKey(tx, keyA, func(k *model.KMSKey) {
				k.RotationEnabled, k.RotationDays, k.NextRotation = true, 90, w.after(90*day)
			})
		})
		sealed, _, err := w.keys.Seal(context.Background(), "", keyA, []byte("v"), nil)
		if err != nil {
			t.Fatal(err)
		}
		expect := func(want string) {
			t.Helper()
			synctest.Wait()
			if got := w.rotations(keyA); got != want {
				t.Errorf("after %v days: rotated on %s, want %s", time.Since(w.begin).Hours()/24, got, want)
			}
		}
		set := func(state string) {
			w.write(func(tx *store.Tx) error {
				return records.KMSKeys.Edit(tx, keyA, func(k *model.KMSKey) error { k.State = state; return nil })
			})
		}
		time.Sleep(90*day - time.Nanosecond)
		expect(" then 90")
		time.Sleep(time.Nanosecond)
		expect("90 then 180")
		time.Sleep(90 * day)
		expect("90,180 then 270")
		set(model.KMSKeyDisabled)
		time.Sleep(100 * day) // now 280
		expect("90,180 then 270")
		set(model.KMSKeyEnabled) // what was missed is done at once
		expect("90,180,280 then 360")
		stop()
		time.Sleep(220 * day) // now 500: two dates went by
		stop = w.run()
		expect("90,180,280,500 then 540")
		stop()
		if got := w.rotations(keyB); got != " then never" {
			t.Errorf("the other key rotated on %s", got)
		}
		if got, err := w.keys.Open(context.Background(), "", sealed, nil); err != nil || string(got) != "v" {
			t.Errorf("what the first material sealed opens to %q, %v", got, err)
		}
	})
}

// What cannot be written is tried again.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		w.write(func(tx *store.Tx) error {
			records.Secrets.Put(tx, &model.Secret{Name: "db", PurgeAt: w.after(day)})
			return nil
		})
		time.Sleep(2 * day)
		w.kv.fails.Store(true)
		defer w.run()()
		time.Sleep(time.Minute)
		w.expect("secret db")
		w.kv.fails.Store(false)
		time.Sleep(time.Second)
		w.expect()
	})
}

// However dates are set, moved and taken back, what is there is what is not
// due yet.
func TestDates(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type step struct {
			secret string
			in     int // hours from now; negative: never
			pause  time.Duration
		}
		steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
			return step{
				rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "secret"),
				rapid.IntRange(-1, 5).Draw(t, "in"),
				time.Duration(rapid.IntRange(0, 3).Draw(t, "pause")) * 30 * time.Minute,
			}
		}), 1, 20).Draw(rt, "steps")
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.stop()
			defer w.run()()
			dates := map[string]time.Time{}
			for _, s := range steps {
				secret := &model.Secret{Name: s.secret}
				dates[s.secret] = time.Time{}
				if s.in >= 0 {
					at := time.Now().Add(time.Duration(s.in) * time.Hour)
					secret.PurgeAt, dates[s.secret] = &at, at
				}
				w.write(func(tx *store.Tx) error { records.Secrets.Put(tx, secret); return nil })
				time.Sleep(s.pause)
				var want []string
				for name, at := range dates {
					if at.IsZero() || at.After(time.Now()) {
						want = append(want, "secret "+name)
					} else {
						delete(dates, name)
					}
				}
				w.expect(want...)
			}
		})
	})
}
