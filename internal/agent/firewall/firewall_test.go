package firewall_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	google "github.com/google/nftables"

	"berth.dev/berth/internal/agent/nft"
	"berth.dev/berth/internal/model"
)

// pair makes a server and a client whose groups let them talk: on port 80 because the client's group may.
func pair(t *testing.T) (l *lab, server, client station) {
	t.Helper()
	l = newLab(t)
	l.group("sg-server", rules(t, "tcp 80-80 sg-client"), nil)
	l.group("sg-client", nil, rules(t, "-1 0.0.0.0/0"))
	server, client = l.station(0, "sg-server"), l.station(1, "sg-client")
	listen(t, server.path, server.address, []uint16{80, 81}, nil)
	if got, err := probe(t, patience, client.path, "tcp", server.address, 80); err != nil || got != client.address {
		t.Fatalf("seen as %q: %v", got, err)
	}
	return l, server, client
}

func (s station) reaches(t *testing.T, to station, port uint16) func(time.Duration) bool {
	return func(wait time.Duration) bool {
		_, err := probe(t, wait, s.path, "tcp", to.address, port)
		return err == nil
	}
}

func not(f func(time.Duration) bool) func(time.Duration) bool {
	return func(wait time.Duration) bool { return !f(wait) }
}

func TestRulesChangeUnderAConnection(t *testing.T) {
	l, server, client := pair(t)
	open, err := connect(t, patience, client.path, "tcp", server.address, 80)
	must(t, err)
	defer open.Close()
	alive := func() {
		t.Helper()
		if got, err := open.ask(patience); err != nil || got != client.address {
			t.Fatalf("the connection that was open says %q: %v", got, err)
		}
	}
	alive()
	l.group("sg-server", rules(t, "tcp 81-81 sg-client"), nil)
	l.say()
	eventually(t, "port 81 opens", client.reaches(t, server, 81))
	eventually(t, "port 80 closes for new connections", not(client.reaches(t, server, 80)))
	alive()
	l.group("sg-client", nil, nil)
	l.say()
	eventually(t, "the client may not go out any more", not(client.reaches(t, server, 81)))
	alive()
	l.restart()
	l.group("sg-client", nil, rules(t, "-1 0.0.0.0/0"))
	l.group("sg-server", nil, nil)
	l.say()
	eventually(t, "nothing comes in any more", not(client.reaches(t, server, 81)))
	alive()
}

func TestMembersChange(t *testing.T) {
	l, server, client := pair(t)
	l.group("sg-other", nil, rules(t, "-1 0.0.0.0/0"))
	l.say()
	late := l.attach(3, "sg-other")
	l.say()
	must(t, l.fw.Ensure(t.Context(), late.id))
	if late.reaches(t, server, 80)(impatience) {
		t.Error("an interface outside the group gets in")
	}
	before := nftables(t, server.path)
	l.join(late.id, "sg-other", "sg-client")
	l.say()
	eventually(t, "the new member gets in", late.reaches(t, server, 80))
	l.join(client.id, "sg-other")
	l.say()
	eventually(t, "who left the group does not get in", not(client.reaches(t, server, 80)))
	if !late.reaches(t, server, 80)(patience) {
		t.Error("the new member is out again")
	}
	after := strings.ReplaceAll(nftables(t, server.path), late.address, client.address)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("more than elements changed (-before +after):\n%s", diff)
	}
}

func TestNothingPassesUntilTheGroupsAreKnown(t *testing.T) {
	l := newLab(t)
	l.group("sg-a", rules(t, "tcp 80-80 0.0.0.0/0"), nil)
	s := l.attach(0, "sg-a")
	listen(t, s.path, s.address, []uint16{80}, nil)
	reach := station{path: l.host}.reaches(t, s, 80)
	ctx, cancel := context.WithTimeout(t.Context(), impatience)
	defer cancel()
	if err := l.fw.Ensure(ctx, s.id); err == nil {
		t.Fatal("Ensure returned although nothing is known")
	}
	if reach(impatience) {
		t.Error("it was reached although nothing is known")
	}
	// The interface alone says nothing either; its groups come later.
	must(t, l.fw.ApplyInterfaces(t.Context(), raw(t, l.interfaces)), l.fw.ApplyGroups(t.Context(), nil))
	ensured := make(chan error, 1)
	go func() { ensured <- l.fw.Ensure(t.Context(), s.id) }()
	if reach(impatience) {
		t.Error("it was reached although its group is not known")
	}
	l.say()
	must(t, <-ensured)
	if !reach(patience) {
		t.Error("it is not reached although its group allows it")
	}
}

func TestANewAgentChangesNothing(t *testing.T) {
	l, server, client := pair(t)
	l.group("sg-all", rules(t, "-1 0.0.0.0/0"), rules(t, "icmp -1/-1 sg-all"))
	third := l.station(2, "sg-all", "sg-server")
	list := func() string {
		return nftables(t, server.path) + nftables(t, client.path) + nftables(t, third.path)
	}
	before := list()
	l.restart()
	for _, s := range []station{server, client, third} {
		must(t, l.fw.Ensure(t.Context(), s.id))
	}
	if diff := cmp.Diff(before, list()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	if !client.reaches(t, server, 80)(patience) {
		t.Error("the client is out")
	}
}

// TestANewAgentRepairs: rules that an earlier agent left, elements included, are made those of today.
func TestANewAgentRepairs(t *testing.T) {
	l, server, client := pair(t)
	l.stop()
	l.group("sg-server", rules(t, "tcp 81-81 sg-late", "tcp 80-80 sg-client"), nil)
	late := l.attach(2, "sg-late")
	l.group("sg-late", nil, rules(t, "-1 0.0.0.0/0"))
	l.join(client.id, "sg-late")
	l.restart()
	must(t, l.fw.Ensure(t.Context(), late.id))
	eventually(t, "the new rule is there", client.reaches(t, server, 81))
	eventually(t, "the old member is not", not(client.reaches(t, server, 80)))
}

func TestAnInterfaceThatComesBack(t *testing.T) {
	l, server, client := pair(t)
	must(t, l.net.Detach(t.Context(), client.id))
	again := l.attach(1, "sg-client")
	l.say()
	must(t, l.fw.Ensure(t.Context(), again.id))
	listen(t, again.path, again.address, []uint16{80}, nil)
	if !again.reaches(t, server, 80)(patience) {
		t.Error("it does not reach what it reached")
	}
	if (station{path: l.host}).reaches(t, again, 80)(impatience) {
		t.Error("it is not filtered")
	}
}

// TestErrorsOfConnectionsComeIn: a port that nobody listens on is refused at once through all filters, by an answer that no
// rule mentions.
func TestErrorsOfConnectionsComeIn(t *testing.T) {
	l, server, client := pair(t)
	l.group("sg-server", rules(t, "udp 53-53 sg-client"), nil)
	l.say()
	eventually(t, "ICMP errors come back", func(wait time.Duration) bool {
		_, err := probe(t, wait, client.path, "udp", server.address, 53)
		return err != nil && strings.Contains(err.Error(), "connection refused")
	})
}

func TestWhatDocumentsSayOfExitsAndPublicAddresses(t *testing.T) {
	l := newLab(t)
	l.group("sg-all", rules(t, "-1 0.0.0.0/0"), rules(t, "-1 0.0.0.0/0"))
	a := l.attach(0, "sg-all")
	const elsewhere = "192.0.2.10" // of the host, outside the VPC
	must(t, addAddress(l.host, elsewhere))
	listen(t, l.host, elsewhere, []uint16{80}, nil)
	listen(t, a.path, a.address, []uint16{80}, nil)
	leaves := a.reaches(t, station{address: elsewhere}, 80)
	entered := station{path: l.host}.reaches(t, station{address: "127.64.3.9"}, 80)
	set := func(internet bool, egress []string, public string) {
		i := l.interfaces[a.id]
		i.Internet, i.Egress, i.PublicAddress = internet, egress, public
		l.interfaces[a.id] = i
		l.say()
	}
	set(false, []string{"0.0.0.0/0"}, "")
	must(t, l.fw.Ensure(t.Context(), a.id))
	if leaves(impatience) || entered(impatience) {
		t.Error("it leaves or is entered")
	}
	set(true, []string{"0.0.0.0/0"}, "127.64.3.9")
	eventually(t, "it leaves", leaves)
	eventually(t, "its public address leads to it", entered)
	if seen, err := probe(t, patience, l.host, "tcp", "127.64.3.9", 80); seen != hostInVPC {
		t.Errorf("seen as %q: %v", seen, err)
	}
	l.restart()
	eventually(t, "it is still entered after a restart", entered)
	set(true, []string{"198.51.100.0/24"}, "")
	eventually(t, "it does not leave", not(leaves))
	eventually(t, "its public address is gone", not(entered))
	delete(l.interfaces, a.id)
	l.say()
}

// TestAnApplicationLoadBalancersPublicAddress is a socket on the host, and filtered like the interface.
func TestAnApplicationLoadBalancersPublicAddress(t *testing.T) {
	l := newLab(t)
	const public = "127.64.0.7"
	l.group("sg-lb", rules(t, "tcp 80-80 0.0.0.0/0", "tcp 81-81 sg-lb", "tcp 82-82 127.0.0.0/8", "tcp 83-83 10.0.0.0/8"), nil)
	a := l.attach(0, "sg-lb")
	i := l.interfaces[a.id]
	i.PublicAddress = public
	l.interfaces[a.id] = i
	eni := model.AssignedNetwork{NetworkInterface: model.NetworkInterface{ID: a.id, Address: a.address}}
	l.balancers["app/x/1"] = model.NodeLoadBalancer{Interfaces: []model.AssignedNetwork{eni}, LoadBalancer: model.LoadBalancer{
		ID: "app/x/1", Type: model.LoadBalancerApplication, VPCID: vpc.ID, SecurityGroups: []string{"sg-lb"}, PublicAddress: public,
	}}
	ports := []uint16{80, 81, 82, 83, 84}
	listen(t, l.host, public, ports, nil)
	listen(t, l.host, "127.64.0.8", ports, nil)
	l.say()
	must(t, l.fw.Ensure(t.Context(), a.id))
	check := func(want map[uint16]bool) {
		t.Helper()
		for port, passes := range want {
			wait := impatience
			if passes {
				wait = patience
			}
			if seen, err := probe(t, wait, l.host, "tcp", public, port); (err == nil) != passes {
				t.Errorf("port %d: seen as %q, %v; want %v", port, seen, err, passes)
			}
		}
		if _, err := probe(t, patience, l.host, "tcp", "127.64.0.8", 84); err != nil {
			t.Errorf("another address: %v", err)
		}
	}
	check(map[uint16]bool{80: true, 81: false, 82: true, 83: false, 84: false})
	l.group("sg-lb", rules(t, "tcp 84-84 0.0.0.0/0"), nil)
	l.say()
	host := station{path: l.host}
	eventually(t, "the new rule is in force", host.reaches(t, station{address: public}, 84))
	check(map[uint16]bool{80: false, 84: true})
	l.restart()
	check(map[uint16]bool{80: false, 84: true})
	delete(l.balancers, "app/x/1")
	delete(l.interfaces, a.id)
	l.say()
	eventually(t, "an address that is nobody's is not filtered", host.reaches(t, station{address: public}, 83))
}

// TestANetworkLoadBalancersAddress is translated in the VPC's namespace; its groups are asked before that.
func TestANetworkLoadBalancersAddress(t *testing.T) {
	l := newLab(t)
	l.group("sg-lb", rules(t, "tcp 80-80 sg-client", "tcp 81-81 0.0.0.0/0"), nil)
	l.group("sg-client", nil, rules(t, "-1 0.0.0.0/0"))
	l.group("sg-target", rules(t, "tcp 8080-8080 0.0.0.0/0"), nil)
	lb, client, target := l.attach(0, "sg-lb"), l.attach(1, "sg-client"), l.attach(2, "sg-target")
	listen(t, target.path, target.address, []uint16{8080}, nil)
	eni := model.AssignedNetwork{NetworkInterface: model.NetworkInterface{ID: lb.id, Address: lb.address}}
	balancer := model.NodeLoadBalancer{Interfaces: []model.AssignedNetwork{eni}, LoadBalancer: model.LoadBalancer{
		ID: "net/x/1", Type: model.LoadBalancerNetwork, VPCID: vpc.ID, SecurityGroups: []string{"sg-lb"}, PublicAddress: "127.64.0.9",
	}}
	l.balancers["net/x/1"] = balancer
	l.say()
	for _, s := range []station{lb, client, target} {
		must(t, l.fw.Ensure(t.Context(), s.id))
	}
	translate(t, l.net.VPCNetNSPath(vpc.ID), lb.address, netip.MustParseAddrPort(target.address+":8080"))
	through := func(path, address string, port uint16) func(time.Duration) bool {
		return station{path: path}.reaches(t, station{address: address}, port)
	}
	if seen, err := probe(t, patience, client.path, "tcp", lb.address, 80); seen != client.address {
		t.Errorf("the client is seen as %q: %v", seen, err)
	}
	if through(l.host, lb.address, 80)(impatience) || through(client.path, lb.address, 82)(impatience) {
		t.Error("what the groups do not allow passes")
	}
	if !through(l.host, lb.address, 81)(patience) || !through(l.host, "127.64.0.9", 81)(patience) {
		t.Error("what the groups allow does not pass")
	}
	l.restart()
	if through(l.host, lb.address, 80)(impatience) || !through(client.path, lb.address, 80)(patience) {
		t.Error("another agent filters otherwise")
	}
	// One without groups is not filtered.
	balancer.LoadBalancer.SecurityGroups = nil
	l.balancers["net/x/1"] = balancer
	l.join(lb.id)
	l.say()
	eventually(t, "without groups everything passes", through(l.host, lb.address, 82))
}

// translate does what a network load balancer does: every port of an address leads to a target.
func translate(t *testing.T, path, address string, to netip.AddrPort) {
	t.Helper()
	conn, err := nft.Open(path)
	must(t, err)
	_, err = conn.Write(nft.Table{
		Name: "berth-nlb", Family: google.TableFamilyIPv4,
		Chains: []nft.Chain{{Name: "prerouting", Type: google.ChainTypeNAT, Hook: google.ChainHookPrerouting, Priority: google.ChainPriorityNATDest}},
		Rules: []nft.Rule{{Chain: "prerouting", Comment: "all", Words: nft.All(
			nft.Destination(netip.PrefixFrom(netip.MustParseAddr(address), 32)), nft.Protocol(6), nft.TranslateTo(to))}},
	}, nil)
	must(t, err, conn.Close())
}

// TestNoPacketMeetsHalfOfTheRules replaces rules over and over while new flows come in that all of them allow: not one of
// their packets may be lost.
func TestNoPacketMeetsHalfOfTheRules(t *testing.T) {
	l, server, client := pair(t)
	listen(t, server.path, server.address, nil, []uint16{53})
	written := make(chan int, 1)
	done := make(chan struct{})
	go func() {
		defer close(written)
		for n := range 300 {
			l.group("sg-server", rules(t, "udp 53-53 sg-client", fmt.Sprintf("tcp %d-%d sg-writes%d", n+1, n+1, n%3)), nil)
			l.say()
			if err := l.fw.Ensure(t.Context(), server.id); err != nil { // which returns when it is written
				t.Error(err)
			}
			select {
			case <-done:
				return
			case written <- n:
			default: // the flows need not follow
			}
		}
	}()
	defer func() {
		close(done)
		for range written {
		}
	}()
	<-written // the first lets the flows in
	flows := 0
	for range written {
		for range 10 {
			if _, err := probe(t, patience, client.path, "udp", server.address, 53); err != nil {
				t.Fatalf("flow %d: %v", flows, err)
			}
			flows++
		}
	}
}

// TestManyRulesAndMembers: what AWS allows at the most fits.
func TestManyRulesAndMembers(t *testing.T) {
	l, server, client := pair(t)
	var many []string
	for n := range 1000 {
		many = append(many, fmt.Sprintf("tcp %d-%d 10.%d.%d.0/24", n+1000, n+1000, n/256, n%256))
	}
	l.group("sg-server", rules(t, append(many, "tcp 81-81 sg-client")...), nil)
	l.members("sg-client", func(all []string) []string {
		for n := range 5000 {
			all = append(all, netip.AddrFrom4([4]byte{172, 31, byte(64 + n/256), byte(n)}).String())
		}
		return all
	})
	l.say()
	must(t, l.fw.Ensure(t.Context(), server.id))
	if !client.reaches(t, server, 81)(patience) {
		t.Error("the last rule is not there")
	}
	l.members("sg-client", func(all []string) []string {
		return slices.DeleteFunc(all, func(a string) bool { return a != client.address })
	})
	l.say()
	must(t, l.fw.Ensure(t.Context(), server.id))
	if n := strings.Count(nftables(t, server.path), "172.31.64."); n > 0 {
		t.Errorf("%d members are left", n)
	}
}
