package network

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func connect(t *testing.T, m *Manager, n int, ports ...Port) Connection {
	t.Helper()
	c, err := m.Connect(t.Context(), Container{ID: fmt.Sprintf("eni-c%d", n), TaskID: fmt.Sprintf("task%d", n), Ports: ports})
	must(t, err)
	return c
}

// published fails the test unless a server of the container at its port is reached by the host's port from namespace from,
// and returns the address that it saw.
func (c Connection) published(t *testing.T, from, address string, host uint16) string {
	t.Helper()
	peer, err := ask(t, from, address, strconv.Itoa(int(host)))
	if err != nil {
		t.Errorf("connect to %s:%d: %v", address, host, err)
	}
	return peer
}

// serveOn is serve on a port of the caller's choice.
func serveOn(t *testing.T, path, addr string, port uint16) {
	t.Helper()
	ln, err := ListenTCP(t.Context(), path, netip.AddrPortFrom(netip.MustParseAddr(addr), port).String())
	must(t, err)
	serveListener(t, ln)
}

func TestABridgeContainerTalksInEveryDirection(t *testing.T) {
	l := newLab(t)
	m := l.manager(t)
	a, b := connect(t, m, 0), connect(t, m, 1)
	one, two := a.Address.String(), b.Address.String()
	if one != "172.17.0.4" || two != "172.17.0.5" {
		t.Errorf("addresses are %s and %s", one, two)
	}
	reaches(t, a.NetNSPath, b.NetNSPath, two, one)
	reaches(t, l.host, a.NetNSPath, one, "172.17.0.3")
	reaches(t, a.NetNSPath, l.host, hostAddr, one)
	reaches(t, a.NetNSPath, l.internet, internetAddr, hostAddr)
	task := attach(t, m, eni(testVPC, 0))
	refused(t, task.NetNSPath, a.NetNSPath, one)
	refused(t, a.NetNSPath, task.NetNSPath, task.ENI.Address.String())
}

func TestPublishedPorts(t *testing.T) {
	l := newLab(t)
	m := l.manager(t)
	a := connect(t, m, 0, Port{Protocol: "tcp", Container: 80, Host: 8080}, Port{Protocol: "tcp", Container: 81}, Port{Protocol: "udp", Container: 80})
	b := connect(t, m, 1, Port{Protocol: "tcp", Container: 80})
	task := attach(t, m, eni(testVPC, 0))
	serveOn(t, a.NetNSPath, a.Address.String(), 80)
	serveOn(t, a.NetNSPath, a.Address.String(), 81)
	serveOn(t, b.NetNSPath, b.Address.String(), 80)
	if a.Ports[0].Host != 8080 || a.Ports[1].Host < 1024 || a.Ports[2].Host < 1024 || b.Ports[0].Host < 1024 || b.Ports[0].Host == a.Ports[1].Host {
		t.Fatalf("host ports are %v and %v", a.Ports, b.Ports)
	}
	check := func(t *testing.T) {
		t.Helper()
		for _, test := range []struct{ name, from, address, seenAs string }{
			{"localhost", l.host, "127.0.0.1", "172.17.0.3"},
			{"the host's address", l.host, hostAddr, hostAddr},
			{"elsewhere", l.internet, hostAddr, "192.0.2.1"},
			{"a task", task.NetNSPath, hostAddr, "172.17.0.3"},
			{"a task, by the host's address in its VPC", task.NetNSPath, "172.31.0.3", "172.17.0.3"},
			{"a neighbour", b.NetNSPath, hostAddr, "172.17.0.3"},
		} {
			if seen := a.published(t, test.from, test.address, 8080); seen != test.seenAs {
				t.Errorf("%s is seen as %q, want %s", test.name, seen, test.seenAs)
			}
		}
		a.published(t, l.internet, hostAddr, a.Ports[1].Host)
		b.published(t, l.internet, hostAddr, b.Ports[0].Host)
	}
	check(t)
	// A load balancer's socket on the loopback range has the same port.
	serveOn(t, l.host, "127.64.0.1", 8080)
	if seen, err := ask(t, l.host, "127.64.0.1", "8080"); seen != "127.0.0.1" {
		t.Errorf("the load balancer sees %q: %v", seen, err)
	}
	// Connecting again changes nothing; nor does another process, and it restores what is flushed.
	again := connect(t, m, 0, Port{Protocol: "tcp", Container: 80, Host: 8080}, Port{Protocol: "tcp", Container: 81}, Port{Protocol: "udp", Container: 80})
	if diff := cmp.Diff(a, again, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("(-first +again):\n%s", diff)
	}
	after := l.instance(t, m.cfg.Instance)
	must(t, after.restore(t.Context()))
	again = connect(t, after, 1, Port{Protocol: "tcp", Container: 80})
	if diff := cmp.Diff(b, again, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	command(t, l.host, "nft", "flush", "ruleset")
	must(t, after.restore(t.Context()), after.SetExits(testVPC.ID, []Exit{{task.ENI.Address, everywhere}}))
	check(t)
	must(t, after.Detach(t.Context(), "eni-c0"), after.Detach(t.Context(), "eni-c0"))
	if _, err := ask(t, l.host, "127.0.0.1", "8080"); err == nil {
		t.Error("the port of a container that is gone answers")
	}
	b.published(t, l.internet, hostAddr, b.Ports[0].Host)
}

func TestAPortThatIsTaken(t *testing.T) {
	l := newLab(t)
	m := l.manager(t)
	connect(t, m, 0, Port{Protocol: "tcp", Container: 80, Host: 8080})
	serveOn(t, l.host, "0.0.0.0", 8081)
	serveOn(t, l.host, hostAddr, 8082)
	serveOn(t, l.host, "127.0.0.1", 8083)
	serveOn(t, l.host, "127.64.0.1", 8084)
	for port, taken := range map[uint16]bool{8080: true, 8081: true, 8082: true, 8083: true, 8084: false, 8085: false} {
		c, err := m.Connect(t.Context(), Container{ID: fmt.Sprintf("eni-t%d", port), TaskID: "task", Ports: []Port{{Protocol: "tcp", Container: 80, Host: port}}})
		if errors.Is(err, ErrPortTaken) != taken || !taken && err != nil {
			t.Errorf("%d: %v, %v; want taken %v", port, c.Ports, err, taken)
		}
	}
	// The other protocol has ports of its own.
	connect(t, m, 1, Port{Protocol: "udp", Container: 80, Host: 8080})
	// A port is free again when its container is gone.
	must(t, m.Detach(t.Context(), "eni-c0"))
	connect(t, m, 2, Port{Protocol: "tcp", Container: 80, Host: 8080})
	// Twice in one container.
	_, err := m.Connect(t.Context(), Container{ID: "eni-twice", TaskID: "task", Ports: []Port{{Protocol: "tcp", Container: 80, Host: 9000}, {Protocol: "tcp", Container: 81, Host: 9000}}})
	if !errors.Is(err, ErrPortTaken) {
		t.Errorf("one host port for two: %v", err)
	}
}

func TestDynamicPortsComeFromTheKernelsRange(t *testing.T) {
	l := newLab(t)
	m := l.manager(t)
	must(t, apply(l.host, []setting{{"net/ipv4/ip_local_port_range", "40000\t40003"}}))
	serveOn(t, l.host, "0.0.0.0", 40001)
	got := map[uint16]bool{}
	for n := range 3 {
		got[connect(t, m, n, Port{Protocol: "tcp", Container: 80}).Ports[0].Host] = true
	}
	if diff := cmp.Diff(map[uint16]bool{40000: true, 40002: true, 40003: true}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := m.Connect(t.Context(), Container{ID: "eni-more", TaskID: "task", Ports: []Port{{Protocol: "tcp", Container: 80}}}); !errors.Is(err, ErrPortTaken) {
		t.Errorf("a port beyond the range: %v", err)
	}
	must(t, m.Detach(t.Context(), "eni-c1"))
	if port := connect(t, m, 4, Port{Protocol: "tcp", Container: 80}).Ports[0].Host; !got[port] {
		t.Errorf("port %d", port)
	}
}

func TestARangeOfPorts(t *testing.T) {
	l := newLab(t)
	m := l.manager(t)
	must(t, apply(l.host, []setting{{"net/ipv4/ip_local_port_range", "40000\t40009"}}))
	serveOn(t, l.host, "0.0.0.0", 40002)
	want := Port{Protocol: "tcp", Container: 8000, Count: 4}
	a := connect(t, m, 0, want)
	if a.Ports[0].Host != 40003 {
		t.Errorf("the range begins at %d", a.Ports[0].Host)
	}
	serveOn(t, a.NetNSPath, a.Address.String(), 8003)
	a.published(t, l.internet, hostAddr, 40006)
	if again := connect(t, l.instance(t, m.cfg.Instance), 0, want); again.Ports[0] != a.Ports[0] {
		t.Errorf("it was %v and is %v", a.Ports, again.Ports)
	}
	if c, err := m.Connect(t.Context(), Container{ID: "eni-more", TaskID: "task", Ports: []Port{want}}); !errors.Is(err, ErrPortTaken) {
		t.Errorf("a second range has %v: %v", c.Ports, err)
	}
	connect(t, m, 1, Port{Protocol: "tcp", Container: 8000, Count: 3})
}

func TestTwentyContainersAtOnce(t *testing.T) {
	l := newLab(t)
	m := l.manager(t)
	var wg sync.WaitGroup
	connections, errs := make([]Connection, 20), make([]error, 20)
	for n := range connections {
		wg.Go(func() {
			connections[n], errs[n] = m.Connect(t.Context(), Container{ID: fmt.Sprintf("eni-c%d", n), TaskID: "task", Ports: []Port{{Protocol: "tcp", Container: 80}}})
		})
	}
	wg.Wait()
	must(t, errs...)
	addresses, ports := map[netip.Addr]bool{}, map[uint16]bool{}
	for _, c := range connections {
		addresses[c.Address], ports[c.Ports[0].Host] = true, true
	}
	if len(addresses) != 20 || len(ports) != 20 {
		t.Errorf("%d addresses, %d ports", len(addresses), len(ports))
	}
	for n := range connections {
		wg.Go(func() { errs[n] = m.Detach(t.Context(), fmt.Sprintf("eni-c%d", n)) })
	}
	wg.Wait()
	must(t, errs...)
	waitForPorts(t, m, VPC{ID: bridgeVPC}, 0)
}

func TestTheBridgeAvoidsWhatTheHostHas(t *testing.T) {
	l := newLab(t)
	must(t, open(t, l.host).address(loopback, mustPrefix("172.17.0.1/16")))
	m := l.manager(t)
	if c := connect(t, m, 0); !mustPrefix("172.18.0.0/16").Contains(c.Address) {
		t.Errorf("address is %v", c.Address)
	}
}

func TestTheHostsNamespaceHasAName(t *testing.T) {
	l := newLab(t)
	m := l.manager(t)
	must(t, m.NameHost(), m.NameHost())
	serveOn(t, m.HostNetNSPath(), hostAddr, 8080)
	if seen, err := ask(t, l.internet, hostAddr, "8080"); seen != "192.0.2.1" {
		t.Errorf("seen as %q: %v", seen, err)
	}
	must(t, m.Purge(t.Context()))
	if isNamespace(m.HostNetNSPath()) {
		t.Error("the name is left")
	}
	if list, err := m.List(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("the list has %v: %v", list, err)
	}
}
