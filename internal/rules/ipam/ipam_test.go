package ipam_test

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/rules/ipam"
)

func prefixes(ss ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range ss {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

func TestChooseRange(t *testing.T) {
	for _, test := range []struct {
		name             string
		candidates, used []netip.Prefix
		want             string
	}{
		{"nothing used", prefixes("172.31.0.0/16", "10.64.0.0/16"), nil, "172.31.0.0/16"},
		{"same range used", prefixes("172.31.0.0/16", "10.64.0.0/16"), prefixes("172.31.0.0/16"), "10.64.0.0/16"},
		{"a part used", prefixes("172.31.0.0/16", "10.64.0.0/16"), prefixes("172.31.255.252/30"), "10.64.0.0/16"},
		{"inside a used one", prefixes("10.64.0.0/16", "172.31.0.0/16"), prefixes("10.0.0.0/8"), "172.31.0.0/16"},
		{"neighbour used", prefixes("172.31.0.0/16"), prefixes("172.30.0.0/16", "172.32.0.0/16"), "172.31.0.0/16"},
		{"host bits are masked", prefixes("172.31.4.9/16"), nil, "172.31.0.0/16"},
		{"invalid is skipped", []netip.Prefix{{}, netip.MustParsePrefix("10.64.0.0/16")}, nil, "10.64.0.0/16"},
		{"none left", prefixes("10.64.0.0/16"), prefixes("10.64.3.0/24"), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := ipam.ChooseRange(test.candidates, test.used)
			if ok != (test.want != "") {
				t.Fatalf("found = %v, want %q", ok, test.want)
			}
			if ok && got.String() != test.want {
				t.Fatalf("got %v, want %s", got, test.want)
			}
		})
	}
}

func TestDefaultRangesStartWithAWSsAndDoNotOverlap(t *testing.T) {
	ranges := ipam.DefaultRanges()
	if ranges[0].String() != "172.31.0.0/16" {
		t.Errorf("first is %v", ranges[0])
	}
	for i, a := range ranges {
		if slices.ContainsFunc(ranges[i+1:], a.Overlaps) {
			t.Errorf("%v overlaps a later range", a)
		}
	}
}

func TestSubnetRanges(t *testing.T) {
	for _, test := range []struct {
		vpc  string
		n    int
		want []netip.Prefix
	}{
		{"172.31.0.0/16", 3, prefixes("172.31.0.0/20", "172.31.16.0/20", "172.31.32.0/20")},
		{"10.1.2.0/24", 2, prefixes("10.1.2.0/28", "10.1.2.16/28")},
		{"10.1.2.0/27", 4, prefixes("10.1.2.0/28", "10.1.2.16/28")},
		{"10.1.2.0/28", 3, prefixes("10.1.2.0/28")},
		{"10.1.2.0/29", 3, nil},
		{"255.255.0.0/16", 1, prefixes("255.255.0.0/20")},
		{"172.31.0.0/16", 0, nil},
		{"fd00::/56", 3, nil},
	} {
		got := ipam.SubnetRanges(netip.MustParsePrefix(test.vpc), test.n)
		if diff := cmp.Diff(test.want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("%s in %d (-want +got):\n%s", test.vpc, test.n, diff)
		}
	}
}

func TestSubnetRangesLieInTheVPCAndDoNotOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vpc := drawPrefix(t, 8, 28)
		subnets := ipam.SubnetRanges(vpc, rapid.IntRange(1, 40).Draw(t, "n"))
		if len(subnets) == 0 {
			t.Fatalf("%v has no subnet", vpc)
		}
		for i, s := range subnets {
			if s != s.Masked() || s.Bits() < vpc.Bits() || !vpc.Contains(s.Addr()) {
				t.Fatalf("%v is not a subnet of %v", s, vpc)
			}
			if slices.ContainsFunc(subnets[i+1:], s.Overlaps) {
				t.Fatalf("%v overlaps another of %v", s, subnets)
			}
		}
	})
}

func TestNextAddress(t *testing.T) {
	subnet := netip.MustParsePrefix("10.0.1.0/28") // assignable: .4 to .14
	in := func(ss ...string) func(netip.Addr) bool {
		return func(a netip.Addr) bool { return slices.Contains(ss, a.String()) }
	}
	all := func(netip.Addr) bool { return true }
	for _, test := range []struct {
		name   string
		subnet netip.Prefix
		inUse  func(netip.Addr) bool
		hint   string
		want   string
	}{
		{"first", subnet, in(), "", "10.0.1.4"},
		{"reserved hint", subnet, in(), "10.0.1.2", "10.0.1.4"},
		{"skips taken", subnet, in("10.0.1.4", "10.0.1.5"), "", "10.0.1.6"},
		{"from the hint", subnet, in(), "10.0.1.9", "10.0.1.9"},
		{"wraps", subnet, in("10.0.1.14"), "10.0.1.14", "10.0.1.4"},
		{"broadcast hint", subnet, in(), "10.0.1.15", "10.0.1.4"},
		{"hint elsewhere", subnet, in(), "10.9.9.9", "10.0.1.4"},
		{"hint of another family", subnet, in(), "fd00::1", "10.0.1.4"},
		{"full", subnet, all, "", ""},
		{"too small", netip.MustParsePrefix("10.0.1.0/30"), in(), "", ""},
		{"end of the space", netip.MustParsePrefix("255.255.255.240/28"), in(), "255.255.255.254", "255.255.255.254"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var hint netip.Addr
			if test.hint != "" {
				hint = netip.MustParseAddr(test.hint)
			}
			got, ok := ipam.NextAddress(test.subnet, test.inUse, hint)
			if ok != (test.want != "") || ok && got.String() != test.want {
				t.Fatalf("got %v, %v; want %q", got, ok, test.want)
			}
		})
	}
}

// TestSubnetFillsExactly gives addresses until none is left and checks each against the definition.
func TestSubnetFillsExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		subnet := drawPrefix(t, 24, 28)
		taken := map[netip.Addr]bool{}
		var hint netip.Addr
		for {
			addr, ok := ipam.NextAddress(subnet, func(a netip.Addr) bool { return taken[a] }, hint)
			if !ok {
				break
			}
			if taken[addr] {
				t.Fatalf("%v given twice", addr)
			}
			if !ipam.Assignable(subnet, addr) || addr == ipam.Gateway(subnet) {
				t.Fatalf("%v of %v is AWS's", addr, subnet)
			}
			taken[addr] = true
			hint = rapid.SampledFrom([]netip.Addr{{}, addr, addr.Next()}).Draw(t, "hint")
		}
		if want := 1<<(32-subnet.Bits()) - 5; len(taken) != want || ipam.Capacity(subnet) != want {
			t.Fatalf("%v held %d, Capacity says %d, want %d", subnet, len(taken), ipam.Capacity(subnet), want)
		}
	})
}

func TestMACIsLocalUnicastAndStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.String().Draw(t, "id")
		mac, err := net.ParseMAC(ipam.MAC(id))
		if err != nil {
			t.Fatal(err)
		}
		if mac[0]&1 != 0 || mac[0]&2 == 0 || mac[0] > 0x0e {
			t.Fatalf("%v is not like EC2's", mac)
		}
		if ipam.MAC(id) != mac.String() {
			t.Fatalf("second call differs")
		}
	})
	if ipam.MAC("eni-1") == ipam.MAC("eni-2") {
		t.Error("two ids, one address")
	}
}

func drawPrefix(t *rapid.T, minBits, maxBits int) netip.Prefix {
	octets := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address")
	return netip.PrefixFrom(netip.AddrFrom4([4]byte(octets)), rapid.IntRange(minBits, maxBits).Draw(t, "bits")).Masked()
}
