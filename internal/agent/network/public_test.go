package network

import (
	"net/netip"
	"testing"
)

// TestWhoHasNoExitStaysInside: a subnet without a route to a gateway has no internet.
func TestWhoHasNoExitStaysInside(t *testing.T) {
	l := newLab(t)
	m := l.manager(t)
	a, err := m.Attach(t.Context(), eni(testVPC, 0))
	must(t, err)
	b := attach(t, m, eni(testVPC, 1))
	one, two, host := a.ENI.Address.String(), b.ENI.Address.String(), testVPC.hostAddress().String()

	inside := func(t *testing.T) {
		t.Helper()
		reaches(t, a.NetNSPath, b.NetNSPath, two, one)
		reaches(t, b.NetNSPath, a.NetNSPath, one, two)
		reaches(t, l.host, a.NetNSPath, one, host)
		reaches(t, a.NetNSPath, l.host, host, one)
		reaches(t, b.NetNSPath, l.internet, internetAddr, hostAddr)
	}
	inside(t)
	refused(t, a.NetNSPath, l.internet, internetAddr)
	refused(t, a.NetNSPath, l.host, hostAddr)

	// A route to a part of the world leads only there.
	exits := []Exit{{b.ENI.Address, everywhere}, {a.ENI.Address, mustPrefix("203.0.113.0/24")}, {a.ENI.Address, mustPrefix("203.0.113.8/29")}}
	must(t, m.SetExits(testVPC.ID, exits))
	reaches(t, a.NetNSPath, l.internet, internetAddr, hostAddr)
	refused(t, a.NetNSPath, l.host, hostAddr)

	// What goes away ends for new connections.
	must(t, m.SetExits(testVPC.ID, exits[:1]))
	refused(t, a.NetNSPath, l.internet, internetAddr)
	inside(t)

	// A new process leaves the exits as they are until it is told.
	after := l.instance(t, m.cfg.Instance)
	must(t, after.restore(t.Context()))
	inside(t)
	refused(t, a.NetNSPath, l.internet, internetAddr)
}

func TestAPublicAddressLeadsToTheInterface(t *testing.T) {
	for _, test := range []struct{ name, public, seenAs string }{
		{"on the loopback range", "127.64.3.7", "172.31.0.3"},
		{"an address of the host", "192.0.2.77", "192.0.2.77"}, // which the kernel then chooses for the client too
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t)
			m := l.manager(t)
			if test.public[0] != '1' || test.public[:3] != "127" {
				must(t, open(t, l.host).address(loopback, mustPrefix(test.public+"/32")))
			}
			a, b := attach(t, m, eni(testVPC, 0)), attach(t, m, eni(testVPC, 1))
			public := netip.MustParseAddr(test.public)
			port := serve(t, a.NetNSPath, a.ENI.Address.String())
			asks := func(t *testing.T) {
				t.Helper()
				if got, err := ask(t, l.host, test.public, port); err != nil || got != test.seenAs {
					t.Errorf("seen as %q, %v; want %s", got, err, test.seenAs)
				}
			}
			refuses := func(t *testing.T) {
				t.Helper()
				if got, err := ask(t, l.host, test.public, port); err == nil {
					t.Errorf("reached, as %s", got)
				}
			}
			refuses(t)
			must(t, m.SetPublic(map[netip.Addr]netip.Addr{public: a.ENI.Address}))
			asks(t)
			if test.public == "192.0.2.77" {
				if got, err := ask(t, l.internet, test.public, port); err != nil || got != "192.0.2.1" {
					t.Errorf("from elsewhere: seen as %q, %v", got, err)
				}
			}
			// Another VPC's uplink comes later.
			attach(t, m, eni(VPC{ID: "vpc-0b", CIDR: mustPrefix("10.64.0.0/16")}, 0))
			asks(t)
			// Another program flushes everything; a new process restores only what it was told.
			command(t, l.host, "nft", "flush", "ruleset")
			must(t, m.restore(t.Context()))
			asks(t)
			after := l.instance(t, m.cfg.Instance)
			must(t, after.restore(t.Context()))
			asks(t)
			must(t, after.SetPublic(map[netip.Addr]netip.Addr{public: b.ENI.Address}))
			refuses(t)
			must(t, after.SetPublic(map[netip.Addr]netip.Addr{public: a.ENI.Address}))
			asks(t)
			must(t, after.SetPublic(nil))
			refuses(t)
		})
	}
}

// TestPublicAddressesOpenNoLoopback: what lets answers reach 127.0.0.1 must not let tasks reach it.
func TestPublicAddressesOpenNoLoopback(t *testing.T) {
	l := newLab(t)
	m := l.manager(t)
	a := attach(t, m, eni(testVPC, 0))
	must(t, m.SetPublic(map[netip.Addr]netip.Addr{netip.MustParseAddr("127.64.3.7"): a.ENI.Address}))
	needProgram(t, "ip")
	// The VPC's namespace with all protections gone, as a privileged attacker would want it: only the host is in the way.
	vpc := m.VPCNetNSPath(testVPC.ID)
	must(t, apply(vpc, []setting{{"net/ipv4/conf/uplink/route_localnet", "1"}}))
	for _, own := range []string{"127.0.0.0/8", "127.0.0.1/32"} {
		command(t, vpc, "ip", "route", "del", "local", own, "dev", "lo", "table", "local")
	}
	router := open(t, vpc)
	must(t, router.nl.RouteReplace(routeThrough(t, router, "uplink", mustPrefix("127.0.0.99/32"), testVPC.hostAddress().String())))
	port := serve(t, l.host, "127.0.0.99")
	if peer, err := askFrom(t, vpc, "172.31.0.1", "127.0.0.99", port); err == nil {
		t.Errorf("the host's loopback was reached, as %s", peer)
	}
}
