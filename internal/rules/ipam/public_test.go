package ipam_test

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/rules/ipam"
)

func TestNextPublic(t *testing.T) {
	for _, test := range []struct {
		name, pool string
		inUse      []string
		hint, want string
	}{
		{"first", "127.64.3.0/24", nil, "", "127.64.3.1"},
		{"skips taken", "127.64.3.0/24", []string{"127.64.3.1"}, "", "127.64.3.2"},
		{"from the hint", "127.64.3.0/24", nil, "127.64.3.77", "127.64.3.77"},
		{"wraps before the last", "127.64.3.0/24", []string{"127.64.3.254"}, "127.64.3.254", "127.64.3.1"},
		{"hint elsewhere", "127.64.3.0/24", nil, "10.0.0.1", "127.64.3.1"},
		{"one address", "192.0.2.7/32", nil, "", "192.0.2.7"},
		{"one address, taken", "192.0.2.7/32", []string{"192.0.2.7"}, "", ""},
		{"two addresses", "192.0.2.6/31", []string{"192.0.2.6"}, "", "192.0.2.7"},
		{"four addresses", "192.0.2.4/30", []string{"192.0.2.5", "192.0.2.6"}, "", ""},
		{"not IPv4", "fd00::/64", nil, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var hint netip.Addr
			if test.hint != "" {
				hint = netip.MustParseAddr(test.hint)
			}
			taken := func(a netip.Addr) bool { return slices.Contains(test.inUse, a.String()) }
			got, ok := ipam.NextPublic(netip.MustParsePrefix(test.pool), taken, hint)
			if ok != (test.want != "") || ok && got.String() != test.want {
				t.Fatalf("got %v, %v; want %q", got, ok, test.want)
			}
		})
	}
	if got, ok := ipam.NextPublic(netip.Prefix{}, func(netip.Addr) bool { return false }, netip.Addr{}); ok {
		t.Errorf("no pool gave %v", got)
	}
}

// Wherever searches begin, a pool gives each of its addresses once.
func TestPoolIsUsedUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := drawPrefix(t, 24, 32)
		taken := map[netip.Addr]bool{}
		for {
			hint := ipam.Start(pool, rapid.Uint64().Draw(t, "seed"))
			if !pool.Contains(hint) {
				t.Fatalf("a search in %v begins at %v", pool, hint)
			}
			addr, ok := ipam.NextPublic(pool, func(a netip.Addr) bool { return taken[a] }, hint)
			if !ok {
				break
			}
			if taken[addr] || !pool.Contains(addr) {
				t.Fatalf("%v of %v, of which %d are taken", addr, pool, len(taken))
			}
			taken[addr] = true
		}
		want := 1 << (32 - pool.Bits())
		if want > 2 {
			want -= 2
		}
		if len(taken) != want {
			t.Fatalf("%v gave %d addresses, want %d", pool, len(taken), want)
		}
	})
}
