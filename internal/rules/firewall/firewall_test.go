package firewall_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/firewall"
)

func allow(protocol string, from, to int32, peer string) model.SecurityGroupRule {
	r := model.SecurityGroupRule{ID: "sgr-1", Protocol: protocol, FromPort: &from, ToPort: &to}
	if strings.HasPrefix(peer, "sg-") {
		r.GroupID = peer
	} else {
		r.CIDR = peer
	}
	return r
}

func tcp(port uint16, peer string) firewall.Packet {
	return firewall.Packet{Protocol: firewall.TCP, Port: port, Peer: netip.MustParseAddr(peer)}
}

func udp(port uint16, peer string) firewall.Packet {
	return firewall.Packet{Protocol: firewall.UDP, Port: port, Peer: netip.MustParseAddr(peer)}
}

func icmp(kind, code uint8, peer string) firewall.Packet {
	return firewall.Packet{Protocol: firewall.ICMP, Type: kind, Code: code, Peer: netip.MustParseAddr(peer)}
}

func TestWhatOneRuleAllows(t *testing.T) {
	everything := model.SecurityGroupRule{Protocol: "-1", CIDR: "0.0.0.0/0"}
	for _, test := range []struct {
		name   string
		rule   model.SecurityGroupRule
		packet firewall.Packet
		want   bool
	}{
		{"everything, TCP", everything, tcp(80, "8.8.8.8"), true},
		{"everything, ICMP", everything, icmp(8, 0, "8.8.8.8"), true},
		{"everything, GRE", everything, firewall.Packet{Protocol: 47, Peer: netip.MustParseAddr("8.8.8.8")}, true},
		{"every protocol ignores ports", allow("-1", 80, 80, "0.0.0.0/0"), tcp(81, "8.8.8.8"), true},
		{"the port", allow("tcp", 80, 80, "0.0.0.0/0"), tcp(80, "8.8.8.8"), true},
		{"another port", allow("tcp", 80, 80, "0.0.0.0/0"), tcp(81, "8.8.8.8"), false},
		{"another protocol", allow("tcp", 80, 80, "0.0.0.0/0"), udp(80, "8.8.8.8"), false},
		{"the first port of a range", allow("udp", 80, 90, "0.0.0.0/0"), udp(80, "8.8.8.8"), true},
		{"the last port of a range", allow("udp", 80, 90, "0.0.0.0/0"), udp(90, "8.8.8.8"), true},
		{"after a range", allow("udp", 80, 90, "0.0.0.0/0"), udp(91, "8.8.8.8"), false},
		{"no ports are all", model.SecurityGroupRule{Protocol: "tcp", CIDR: "0.0.0.0/0"}, tcp(65535, "8.8.8.8"), true},
		{"-1 ports are all", allow("tcp", -1, -1, "0.0.0.0/0"), tcp(0, "8.8.8.8"), true},
		{"a protocol by number", allow("6", 80, 80, "0.0.0.0/0"), tcp(80, "8.8.8.8"), true},
		{"in the range", allow("tcp", 80, 80, "10.0.0.0/8"), tcp(80, "10.255.255.255"), true},
		{"outside the range", allow("tcp", 80, 80, "10.0.0.0/8"), tcp(80, "11.0.0.0"), false},
		{"a range with host bits", allow("tcp", 80, 80, "10.0.0.9/8"), tcp(80, "10.1.1.1"), true},
		{"one address", allow("tcp", 80, 80, "10.0.0.9/32"), tcp(80, "10.0.0.9"), true},
		{"a member", allow("tcp", 80, 80, "sg-peers"), tcp(80, "10.0.0.1"), true},
		{"not a member", allow("tcp", 80, 80, "sg-peers"), tcp(80, "10.0.0.3"), false},
		{"a group of which nothing is known", allow("tcp", 80, 80, "sg-unknown"), tcp(80, "10.0.0.1"), false},
		{"every ICMP", allow("icmp", -1, -1, "0.0.0.0/0"), icmp(8, 0, "8.8.8.8"), true},
		{"the ICMP type", allow("icmp", 8, -1, "0.0.0.0/0"), icmp(8, 3, "8.8.8.8"), true},
		{"another ICMP type", allow("icmp", 8, -1, "0.0.0.0/0"), icmp(13, 0, "8.8.8.8"), false},
		{"the ICMP code", allow("icmp", 3, 4, "0.0.0.0/0"), icmp(3, 4, "8.8.8.8"), true},
		{"another ICMP code", allow("icmp", 3, 4, "0.0.0.0/0"), icmp(3, 1, "8.8.8.8"), false},
		{"every type has every code", allow("icmp", -1, 7, "0.0.0.0/0"), icmp(8, 0, "8.8.8.8"), true},
		{"an invalid range", allow("tcp", 80, 80, "10.0.0.0/33"), tcp(80, "10.0.0.1"), false},
		{"an IPv6 range", allow("tcp", 80, 80, "::/0"), tcp(80, "10.0.0.1"), false},
		{"ports the wrong way round", allow("tcp", 90, 80, "0.0.0.0/0"), tcp(85, "10.0.0.1"), false},
		{"an invalid protocol", allow("quic", 80, 80, "0.0.0.0/0"), tcp(80, "10.0.0.1"), false},
		{"an ICMP type that does not exist", allow("icmp", 256, 0, "0.0.0.0/0"), icmp(0, 0, "10.0.0.1"), false},
		{"a range and a group", model.SecurityGroupRule{Protocol: "-1", CIDR: "0.0.0.0/0", GroupID: "sg-peers"}, tcp(80, "10.0.0.1"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			peers := model.NodeSecurityGroup{ID: "sg-peers", Members: []string{"10.0.0.2", "10.0.0.1"}}
			in, missing := firewall.Compile([]string{"sg-a"}, map[string]model.NodeSecurityGroup{
				"sg-a": {ID: "sg-a", Ingress: []model.SecurityGroupRule{test.rule}}, "sg-peers": peers,
			})
			out, _ := firewall.Compile([]string{"sg-a"}, map[string]model.NodeSecurityGroup{
				"sg-a": {ID: "sg-a", Egress: []model.SecurityGroupRule{test.rule}}, "sg-peers": peers,
			})
			if len(missing) > 0 {
				t.Errorf("missing %v", missing)
			}
			if got := in.AllowsIn(test.packet); got != test.want {
				t.Errorf("in: %v, want %v", got, test.want)
			}
			if got := out.AllowsOut(test.packet); got != test.want {
				t.Errorf("out: %v, want %v", got, test.want)
			}
			if in.AllowsOut(test.packet) || out.AllowsIn(test.packet) {
				t.Error("a rule of one direction allows the other")
			}
		})
	}
}

func TestAnInterfaceWithoutGroupsIsOpen(t *testing.T) {
	r, missing := firewall.Compile(nil, nil)
	if !r.AllowsIn(tcp(1, "8.8.8.8")) || !r.AllowsOut(icmp(8, 0, "8.8.8.8")) || len(missing) > 0 {
		t.Errorf("%+v %v", r, missing)
	}
}

func TestWhatIsNotKnownIsMissingAndAllowsNothing(t *testing.T) {
	groups := map[string]model.NodeSecurityGroup{"sg-a": {Ingress: []model.SecurityGroupRule{allow("tcp", 80, 80, "0.0.0.0/0")}}}
	r, missing := firewall.Compile([]string{"sg-a", "sg-b"}, groups)
	if !slices.Equal(missing, []string{"sg-b"}) || !r.AllowsIn(tcp(80, "8.8.8.8")) || r.AllowsIn(tcp(81, "8.8.8.8")) {
		t.Errorf("%+v %v", r, missing)
	}
}

func TestInvalidRulesAreNamed(t *testing.T) {
	r, _ := firewall.Compile([]string{"sg-a"}, map[string]model.NodeSecurityGroup{
		"sg-a": {Ingress: []model.SecurityGroupRule{allow("quic", 80, 80, "0.0.0.0/0"), allow("tcp", 80, 80, "sg-b")}},
		"sg-b": {ID: "sg-b", Members: []string{"fe80::1", "nonsense", "10.0.0.1"}},
	})
	want := []string{`sg-b: member "fe80::1" is not an IPv4 address`, `sg-b: member "nonsense" is not an IPv4 address`, `sgr-1: protocol "quic" is not understood`}
	if diff := cmp.Diff(want, r.Invalid); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !r.AllowsIn(tcp(80, "10.0.0.1")) {
		t.Error("the member that is an address was dropped too")
	}
}

// world draws groups that refer to each other, few enough of everything for packets to meet rules.
func world(t *rapid.T) (mine []string, groups map[string]model.NodeSecurityGroup) {
	ids := []string{"sg-a", "sg-b", "sg-c"}
	peers := []string{"0.0.0.0/0", "10.0.0.0/30", "10.0.0.2/32", "10.0.0.4/31", "sg-a", "sg-b", "sg-c", "sg-gone"}
	rule := rapid.Custom(func(t *rapid.T) model.SecurityGroupRule {
		from := rapid.Int32Range(-1, 5).Draw(t, "from")
		to := rapid.Int32Range(-1, 5).Draw(t, "to")
		return allow(rapid.SampledFrom([]string{"-1", "tcp", "udp", "icmp", "6", "1", "47", "bad"}).Draw(t, "protocol"),
			from, to, rapid.SampledFrom(peers).Draw(t, "peer"))
	})
	groups = map[string]model.NodeSecurityGroup{}
	for _, id := range ids {
		groups[id] = model.NodeSecurityGroup{
			ID:      id,
			Ingress: rapid.SliceOfN(rule, 0, 4).Draw(t, id+" ingress"),
			Egress:  rapid.SliceOfN(rule, 0, 4).Draw(t, id+" egress"),
			Members: rapid.SliceOfN(rapid.SampledFrom(addresses), 0, 3).Draw(t, id+" members"),
		}
	}
	mine = rapid.SliceOfNDistinct(rapid.SampledFrom(ids), 1, 3, rapid.ID[string]).Draw(t, "mine")
	return mine, groups
}

var addresses = []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "192.0.2.1"}

func packet(t *rapid.T) firewall.Packet {
	p := firewall.Packet{
		Protocol: rapid.SampledFrom([]uint8{1, 6, 17, 47}).Draw(t, "protocol"),
		Peer:     netip.MustParseAddr(rapid.SampledFrom(addresses).Draw(t, "peer")),
	}
	switch p.Protocol {
	case 1:
		p.Type, p.Code = rapid.Uint8Range(0, 5).Draw(t, "type"), rapid.Uint8Range(0, 5).Draw(t, "code")
	case 6, 17:
		p.Port = rapid.Uint16Range(0, 6).Draw(t, "port")
	}
	return p
}

// allowed reads the groups as the guide does, rule by rule, without compiling anything.
func allowed(p firewall.Packet, mine []string, groups map[string]model.NodeSecurityGroup, rules func(model.NodeSecurityGroup) []model.SecurityGroupRule) bool {
	for _, id := range mine {
		for _, r := range rules(groups[id]) {
			if covers(r, p) && reaches(r, p, groups) {
				return true
			}
		}
	}
	return false
}

func covers(r model.SecurityGroupRule, p firewall.Packet) bool {
	number := map[string]uint8{"tcp": 6, "udp": 17, "icmp": 1}[r.Protocol]
	if n, err := strconv.Atoi(r.Protocol); err == nil && n > 0 {
		number = uint8(n)
	}
	switch {
	case r.Protocol == "-1":
		return true
	case number == 0 || number != p.Protocol:
		return false
	case number == 1:
		return *r.FromPort == -1 || *r.FromPort == int32(p.Type) && (*r.ToPort == -1 || *r.ToPort == int32(p.Code))
	case number == 6 || number == 17:
		first, last := *r.FromPort, *r.ToPort
		if last == -1 {
			last = 65535
		}
		return int32(p.Port) >= first && int32(p.Port) <= last
	}
	return true
}

func reaches(r model.SecurityGroupRule, p firewall.Packet, groups map[string]model.NodeSecurityGroup) bool {
	if r.GroupID != "" {
		return slices.Contains(groups[r.GroupID].Members, p.Peer.String())
	}
	return netip.MustParsePrefix(r.CIDR).Contains(p.Peer)
}

// TestARulesetAllowsWhatSomeRuleOfSomeGroupAllows is the definition of a security group.
func TestARulesetAllowsWhatSomeRuleOfSomeGroupAllows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mine, groups := world(t)
		r, missing := firewall.Compile(mine, groups)
		if len(missing) > 0 {
			t.Fatalf("missing %v", missing)
		}
		for range 20 {
			p := packet(t)
			in := allowed(p, mine, groups, func(g model.NodeSecurityGroup) []model.SecurityGroupRule { return g.Ingress })
			out := allowed(p, mine, groups, func(g model.NodeSecurityGroup) []model.SecurityGroupRule { return g.Egress })
			if r.AllowsIn(p) != in || r.AllowsOut(p) != out {
				t.Fatalf("%+v: in %v, want %v; out %v, want %v", p, r.AllowsIn(p), in, r.AllowsOut(p), out)
			}
		}
	})
}

// TestOrderDoesNotMatter: a control plane that lists the same rules in another order changes nothing in the kernel.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mine, groups := world(t)
		before, _ := firewall.Compile(mine, groups)
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for id, g := range groups {
			g.Ingress, g.Egress, g.Members = slices.Clone(g.Ingress), slices.Clone(g.Egress), slices.Clone(g.Members)
			random.Shuffle(len(g.Ingress), func(i, j int) { g.Ingress[i], g.Ingress[j] = g.Ingress[j], g.Ingress[i] })
			random.Shuffle(len(g.Egress), func(i, j int) { g.Egress[i], g.Egress[j] = g.Egress[j], g.Egress[i] })
			random.Shuffle(len(g.Members), func(i, j int) { g.Members[i], g.Members[j] = g.Members[j], g.Members[i] })
			groups[id] = g
		}
		random.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
		after, _ := firewall.Compile(mine, groups)
		if diff := cmp.Diff(before, after, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("(-before +after):\n%s", diff)
		}
	})
}

// TestMembersChangeNoRule: a change of membership is a change of Members only.
func TestMembersChangeNoRule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mine, groups := world(t)
		before, _ := firewall.Compile(mine, groups)
		for id, g := range groups {
			g.Members = rapid.SliceOfN(rapid.SampledFrom(addresses), 0, 3).Draw(t, id+" members later")
			groups[id] = g
		}
		after, _ := firewall.Compile(mine, groups)
		if !slices.Equal(before.Ingress, after.Ingress) || !slices.Equal(before.Egress, after.Egress) {
			t.Fatalf("%+v became %+v", before, after)
		}
		for id := range before.Members {
			if _, ok := after.Members[id]; !ok {
				t.Fatalf("%s is no set any more", id)
			}
		}
	})
}
