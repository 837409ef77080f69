package network

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"

	"berth.dev/berth/internal/rules/ipam"
)

func TestClaimsDoNotOverlap(t *testing.T) {
	dir, used := t.TempDir()+"/ranges", []netip.Prefix{mustPrefix("172.31.8.0/24")}
	owners := make([]string, 20)
	got := make([]netip.Prefix, len(owners))
	errs := make([]error, len(owners))
	var wg sync.WaitGroup
	for i := range owners {
		owners[i] = t.TempDir()
		wg.Go(func() { got[i], errs[i] = ClaimRange(dir, owners[i], ipam.DefaultRanges(), used) })
	}
	wg.Wait()
	must(t, errs...)
	for i, p := range got {
		if slices.ContainsFunc(slices.Concat(got[i+1:], used), p.Overlaps) {
			t.Errorf("%v is not alone in %v", p, got)
		}
	}
}

func TestAClaimLastsAsLongAsItsOwner(t *testing.T) {
	dir, candidates := t.TempDir(), []netip.Prefix{mustPrefix("172.31.0.0/16"), mustPrefix("10.64.0.0/16")}
	claimed := func(owner, want string, used ...netip.Prefix) {
		t.Helper()
		got, err := ClaimRange(dir, owner, candidates, used)
		must(t, err)
		if got.String() != want {
			t.Errorf("got %v, want %s", got, want)
		}
	}
	first, second, third := t.TempDir(), t.TempDir(), t.TempDir()
	claimed(first, "172.31.0.0/16")
	claimed(first, "172.31.0.0/16", mustPrefix("172.31.0.0/16")) // its own route
	claimed(second, "10.64.0.0/16")
	if _, err := ClaimRange(dir, third, candidates, nil); !errors.Is(err, ErrNoRange) {
		t.Errorf("want ErrNoRange, got %v", err)
	}
	must(t, os.RemoveAll(first))
	claimed(third, "172.31.0.0/16")
	must(t, ReleaseRanges(dir, second), ReleaseRanges(dir, second), ReleaseRanges(dir+"/none", second))
	claimed(t.TempDir(), "10.64.0.0/16")
}

func TestHostRoutesHaveTheLocalNetworks(t *testing.T) {
	l := newLab(t)
	ranges, err := open(t, l.host).ranges()
	must(t, err)
	if want := mustPrefix("192.0.2.0/24"); !slices.Contains(ranges, want) {
		t.Errorf("%v lacks %v", ranges, want)
	}
	for _, p := range ranges {
		if p.Bits() == 0 {
			t.Errorf("the default route is in %v: nothing would be free", ranges)
		}
	}
	if _, err := HostRoutes(); err != nil {
		t.Error(err)
	}
}
