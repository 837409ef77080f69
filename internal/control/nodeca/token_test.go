package nodeca_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/control/nodeca"
	"berth.dev/berth/internal/data/kv"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// gate is an authority with a store, in a bubble.
type gate struct {
	*testing.T
	*nodeca.Authority
	store *store.Store
	kv    kv.KV
}

func withGate(t *testing.T, f func(t *testing.T, g *gate)) {
	t.Helper()
	a := open(t, t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		g := &gate{T: t, Authority: a, kv: memkv.New(100)}
		var err error
		if g.store, err = store.Open(g.kv, "/berth/", store.Options{CheckMutation: true}, records.All()...); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go g.store.Run(ctx) //nolint:errcheck // it ends with the test
		<-g.store.Ready()
		f(t, g)
	})
}

func (g *gate) mint(ttl time.Duration, uses int) string {
	g.Helper()
	token, err := g.MintToken(g.Context(), g.store, ttl, uses)
	if err != nil {
		g.Fatal(err)
	}
	if token.CAHash != g.Token().CAHash {
		g.Error("the token names another authority")
	}
	return token.Secret
}

// join tries to join as node n.
func (g *gate) join(secret string, n int, remote bool) error {
	g.Helper()
	name := fmt.Sprintf("%032x", n)
	der, _ := request(g.T, name)
	cert, err := g.Admit(g.Context(), g.store, nodeca.Attempt{Secret: secret, Request: der, Remote: remote}, time.Now())
	if err != nil {
		if cert != nil {
			g.Error("a certificate beside an error")
		}
		return err
	}
	leaf, err := x509.ParseCertificate(cert)
	if err != nil || leaf.Subject.CommonName != name {
		g.Errorf("signed %v, %v", leaf, err)
	}
	return nil
}

func (g *gate) refused(what string, err error) {
	g.Helper()
	if !errors.Is(err, fault.Denied) {
		g.Errorf("%s: %v", what, err)
	}
}

func TestAdmit(t *testing.T) {
	withGate(t, func(t *testing.T, g *gate) {
		two, other := g.mint(time.Hour, 2), g.mint(time.Minute, 1)
		for n := range 2 {
			if err := g.join(two, n, true); err != nil {
				t.Error(err)
			}
		}
		g.refused("a third with a token for two", g.join(two, 3, true))
		time.Sleep(time.Minute)
		g.refused("after its time", g.join(other, 3, true))
		for name, secret := range map[string]string{
			"none": "", "the name alone": two[:10], "another secret": two[:10] + strings.Repeat("a", 32), "a longer one": two + "a", "another name": "aaaaaaaaaa" + two[10:],
		} {
			g.refused(name, g.join(secret, 3, true))
		}
		token, ok := records.JoinTokens.Get(g.store.Snapshot(), two[:10])
		if !ok || token.Uses != 0 || len(token.UsedBy) != 2 {
			t.Errorf("the record is %+v", token)
		}
	})
}

// A token does not make its bearer a node that is there already.
func TestAdmit_TakesNobodysPlace(t *testing.T) {
	withGate(t, func(t *testing.T, g *gate) {
		secret, later := g.mint(time.Hour, 9), g.mint(time.Hour, 9)
		if _, err := g.store.Update(t.Context(), func(tx *store.Tx) error {
			records.Instances.Put(tx, &model.Instance{ID: fmt.Sprintf("%032x", 7)})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		g.refused("the name of an instance", g.join(secret, 7, true))
		if err := g.join(secret, 8, true); err != nil {
			t.Fatal(err)
		}
		g.refused("a name that has joined, but has not come yet", g.join(secret, 8, true))
		g.refused("the same with another token", g.join(later, 8, true))
		if token, _ := records.JoinTokens.Get(g.store.Snapshot(), secret[:10]); token.Uses != 8 {
			t.Errorf("what was refused has taken uses: %d are left", token.Uses)
		}
	})
}

// The token of the server's own machine is good there only.
func TestAdmit_LocalToken(t *testing.T) {
	withGate(t, func(t *testing.T, g *gate) {
		for range 2 {
			if err := g.join(g.Token().Secret, 1, false); err != nil {
				t.Error(err)
			}
		}
		g.refused("from elsewhere", g.join(g.Token().Secret, 1, true))
		der, _ := request(t, "nobody")
		if _, err := g.Admit(t.Context(), g.store, nodeca.Attempt{Secret: g.mint(time.Hour, 1), Request: der, Remote: true}, time.Now()); !errors.Is(err, fault.Invalid) {
			t.Errorf("a name that is none: %v", err)
		}
	})
}

func TestMintToken(t *testing.T) {
	withGate(t, func(t *testing.T, g *gate) {
		for _, bad := range []struct {
			ttl  time.Duration
			uses int
		}{{0, 1}, {-time.Second, 1}, {nodeca.MaxTokenTTL + 1, 1}, {time.Hour, 0}, {time.Hour, nodeca.MaxTokenUses + 1}} {
			if _, err := g.MintToken(t.Context(), g.store, bad.ttl, bad.uses); !errors.Is(err, fault.Invalid) {
				t.Errorf("%v: %v", bad, err)
			}
		}
		secret := g.mint(time.Hour, 1)
		// What is stored does not let anybody in.
		all, err := g.kv.Range(t.Context(), kv.Query{Key: "/berth/", Prefix: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, pair := range all.Pairs {
			if bytes.Contains(pair.Value, []byte(secret[10:])) || strings.Contains(pair.Key, secret[10:]) {
				t.Errorf("%s has the secret", pair.Key)
			}
		}
		if len(all.Pairs) == 0 {
			t.Error("nothing is stored")
		}
		// A token is forgotten long after its end, when another is made.
		time.Sleep(31 * 24 * time.Hour)
		g.mint(time.Hour, 1)
		if records.JoinTokens.Has(g.store.Snapshot(), secret[:10]) {
			t.Error("it is still known")
		}
	})
}

func TestRenew(t *testing.T) {
	a := open(t, t.TempDir())
	der, _ := request(t, nodeID)
	if cert, err := a.Renew(nodeID, der, time.Now()); err != nil || len(cert) == 0 {
		t.Error(err)
	}
	if _, err := a.Renew(strings.Repeat("0b", 16), der, time.Now()); !errors.Is(err, fault.Denied) {
		t.Errorf("in another's name: %v", err)
	}
	if _, err := a.Renew(nodeID, []byte("nonsense"), time.Now()); !errors.Is(err, fault.Invalid) {
		t.Errorf("nonsense: %v", err)
	}
}
