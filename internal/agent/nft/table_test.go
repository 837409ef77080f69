package nft_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/nft"
)

// open returns a connection to a network namespace of the test's own.
func open(t *testing.T) *nft.Conn {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	path := filepath.Join(t.TempDir(), "netns")
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		done <- errors.Join(unix.Unshare(unix.CLONE_NEWNET), os.WriteFile(path, nil, 0o600),
			unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""))
	}()
	must(t, <-done)
	t.Cleanup(func() { must(t, unix.Unmount(path, unix.MNT_DETACH)) })
	conn, err := nft.Open(path)
	must(t, err)
	t.Cleanup(func() { must(t, conn.Close()) })
	return conn
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

var (
	peers = nft.Set{Name: "sg-peers", Kind: nft.Addresses}
	exits = nft.Set{Name: "exits", Kind: nft.Pairs}
	leads = nft.Set{Name: "leads", Kind: nft.AddressMap}
)

func table(comments ...string) nft.Table {
	t := nft.Table{Name: "test", Family: nftables.TableFamilyIPv4, Sets: []nft.Set{peers, exits, leads}, Chains: []nft.Chain{
		{Name: "in", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter, Drop: true},
	}}
	for _, c := range comments {
		t.Rules = append(t.Rules, nft.Rule{Chain: "in", Comment: c, Words: nft.All(nft.Protocol(6), nft.Ports(80, 90), nft.SourceIn(peers.Name), nft.Accept())})
	}
	return t
}

func address(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n / 256), byte(n)}) }

func TestATableIsWrittenOnce(t *testing.T) {
	conn := open(t)
	for _, step := range []struct {
		comments []string
		changed  bool
	}{{nil, true}, {nil, false}, {[]string{"a", "b"}, true}, {[]string{"a", "b"}, false}, {[]string{"b", "a"}, true}, {[]string{"a"}, true}, {nil, true}} {
		changed, err := conn.Write(table(step.comments...), nil)
		must(t, err)
		if changed != step.changed {
			t.Errorf("%v: changed %v, want %v", step.comments, changed, step.changed)
		}
		have, err := conn.Comments(table(), "in")
		must(t, err)
		if diff := cmp.Diff(step.comments, have); diff != "" {
			t.Errorf("comments (-want +got):\n%s", diff)
		}
	}
}

func TestSetsKeepTheirElements(t *testing.T) {
	conn := open(t)
	var many nft.Elements
	for n := range 5000 {
		many = append(many, nft.Address(address(n)))
	}
	count := func(want int) {
		t.Helper()
		have, err := conn.Elements(table(), peers)
		must(t, err)
		if len(have) != want {
			t.Errorf("%d elements, want %d", len(have), want)
		}
	}
	must(t, conn.Make(table("a"), map[string]nft.Elements{peers.Name: many}))
	count(5000)
	_, err := conn.Write(table("b"), nil) // says nothing of elements
	must(t, err)
	count(5000)
	must(t, conn.Update(table(), nft.Change{Set: peers, Remove: many[:4990], Add: nft.Elements{nft.Address(address(9000))}}))
	count(11)
	must(t, conn.Make(table("b"), map[string]nft.Elements{peers.Name: many[:7]}))
	count(7)
	without := table("c")
	without.Sets, without.Rules[0].Words = nil, nft.Accept()
	_, err = conn.Write(without, nil)
	must(t, err)
	_, err = conn.Write(table("c"), nil)
	must(t, err)
	count(0)
}

func TestEveryWordIsUnderstood(t *testing.T) {
	conn := open(t)
	nat := func(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority) nft.Chain {
		return nft.Chain{Name: name, Type: nftables.ChainTypeNAT, Hook: hook, Priority: priority}
	}
	one, all := netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("0.0.0.0/0")
	words := map[string][]nft.Words{
		"in": {
			nft.From("a"), nft.NotFrom("a"), nft.FromPrefix("a"), nft.NotFromPrefix("a"), nft.Drop(), nft.Known(), nft.Translated(), nft.IPv4(),
			nft.Source(one), nft.Source(all), nft.Destination(netip.MustParsePrefix("10.0.0.0/9")), nft.SourceIn(peers.Name), nft.DestinationIn(peers.Name),
			nft.PairIn(exits.Name), nft.All(nft.Protocol(17), nft.Ports(0, 65535)), nft.All(nft.Protocol(17), nft.Ports(9, 9)),
			nft.All(nft.Protocol(1), nft.ICMPType(8), nft.ICMPCode(0)), nft.DestinationIsLocal(), nft.Goto("other"),
		},
		"pre":  {nft.TranslateBy(leads.Name), nft.All(nft.Protocol(6), nft.TranslateTo(netip.MustParseAddrPort("10.0.0.1:80")))},
		"post": {nft.To("a"), nft.NotTo("a"), nft.ToPrefix("a"), nft.Masquerade()},
	}
	tb := table()
	tb.Chains = append(tb.Chains, nft.Chain{Name: "other"}, nat("pre", nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest),
		nat("post", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource))
	for chain, list := range words {
		for i, w := range list {
			tb.Rules = append(tb.Rules, nft.Rule{Chain: chain, Comment: fmt.Sprint(i), Words: w})
		}
	}
	must(t, conn.Make(tb, map[string]nft.Elements{
		exits.Name: {nft.Pair(address(1), all), nft.Pair(address(2), one), nft.Pair(address(2), netip.MustParsePrefix("10.0.0.8/29"))},
		leads.Name: {nft.Mapping(address(1), address(2))},
	}))
	for chain, list := range words {
		have, err := conn.Comments(tb, chain)
		must(t, err)
		if len(have) != len(list) {
			t.Errorf("%s has %d rules, want %d", chain, len(have), len(list))
		}
	}
}

func TestDelete(t *testing.T) {
	conn := open(t)
	for _, name := range []string{"berth-a", "berth-a-public", "berth-ab", "other"} {
		_, err := conn.Write(nft.Table{Name: name, Family: nftables.TableFamilyIPv4}, nil)
		must(t, err)
	}
	must(t, conn.Delete(nftables.TableFamilyIPv4, "berth-a"), conn.Delete(nftables.TableFamilyIPv4, "berth-a"))
	for name, want := range map[string]bool{"berth-a": false, "berth-a-public": false, "berth-ab": true, "other": true} {
		exists, err := conn.Exists(nft.Table{Name: name, Family: nftables.TableFamilyIPv4})
		must(t, err)
		if exists != want {
			t.Errorf("%s: exists %v, want %v", name, exists, want)
		}
	}
}
