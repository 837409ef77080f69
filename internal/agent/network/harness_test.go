package network

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(mainThreadElsewhere) != "" {
		leaveMainThread()
	}
	goleak.VerifyTestMain(m)
}

// A lab is a namespace that plays the host, with another behind it that plays the internet and knows no way back to
// any VPC. The real host's rules and settings are never touched.
type lab struct {
	host, internet string // paths
}

// Addresses of the lab.
const (
	hostAddr     = "192.0.2.10"
	internetAddr = "203.0.113.9"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
}

func random() string { return strings.ToLower(rand.Text()[:8]) }

func newLab(t *testing.T) lab {
	t.Helper()
	needRoot(t)
	l := lab{host: newNamespace(t, "host"), internet: newNamespace(t, "internet")}
	host, internet := open(t, l.host), open(t, l.internet)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "wan"
	must(t, host.nl.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "lan", PeerNamespace: netlink.NsFd(internet.ns)}))
	wan, lan := index(t, host, "wan"), index(t, internet, "lan")
	must(t, host.up(loopback), host.up(wan), internet.up(loopback), internet.up(lan))
	must(t, host.address(wan, netip.MustParsePrefix(hostAddr+"/24")),
		internet.address(lan, netip.MustParsePrefix("192.0.2.1/24")),
		internet.address(loopback, netip.MustParsePrefix(internetAddr+"/32")))
	subnet := ipNet(netip.MustParsePrefix("192.0.2.0/24"))
	must(t, host.route(netlink.Route{LinkIndex: wan, Dst: subnet, Scope: netlink.SCOPE_LINK}),
		internet.route(netlink.Route{LinkIndex: lan, Dst: subnet, Scope: netlink.SCOPE_LINK}),
		host.route(netlink.Route{LinkIndex: wan, Gw: net.ParseIP("192.0.2.1")}),
		host.awaitUp(t.Context(), wan), internet.awaitUp(t.Context(), lan))
	return l
}

func newNamespace(t *testing.T, role string) string {
	t.Helper()
	name := "lab-" + role + "-" + random()
	if _, err := ensureNamespace(name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, dropNamespace(name)) })
	return namespacePath(name)
}

// manager returns a Manager on the lab's host, purged at the end.
func (l lab) manager(t *testing.T) *Manager {
	t.Helper()
	m := l.instance(t, random())
	t.Cleanup(func() { must(t, m.Purge(context.WithoutCancel(t.Context()))) })
	return m
}

func (l lab) instance(t *testing.T, name string) *Manager {
	t.Helper()
	m, err := New(Config{Instance: name, HostNetNS: l.host, Resync: time.Hour})
	must(t, err)
	return m
}

func open(t *testing.T, path string) *space {
	t.Helper()
	s, err := openSpace(path)
	must(t, err)
	t.Cleanup(s.close)
	return s
}

func index(t *testing.T, s *space, name string) int {
	t.Helper()
	l, err := s.nl.LinkByName(name)
	must(t, err)
	return l.Attrs().Index
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

var testVPC = VPC{ID: "vpc-0a", CIDR: netip.MustParsePrefix("172.31.0.0/16")}

// eni is the nth interface of a VPC's second subnet.
func eni(v VPC, n int) ENI {
	base := v.CIDR.Addr().As4()
	base[2] += 16
	base[3] = byte(4 + n)
	addr := netip.AddrFrom4(base)
	subnet, _ := addr.Prefix(min(v.CIDR.Bits()+4, 28))
	return ENI{
		ID: fmt.Sprintf("eni-%s%d", strings.TrimPrefix(v.ID, "vpc-"), n), OwnerID: fmt.Sprintf("task%d", n), VPC: v, Subnet: subnet,
		Address: addr, MAC: net.HardwareAddr{2, 0, 0, 0, 0, byte(n)},
	}
}

// attach makes an interface that may leave its VPC for anywhere.
func attach(t *testing.T, m *Manager, e ENI) Attachment {
	t.Helper()
	a, err := m.Attach(t.Context(), e)
	must(t, err)
	m.host.Lock()
	exits := append(slices.Clone(m.exits[e.VPC.ID]), Exit{Address: e.Address, To: everywhere})
	m.host.Unlock()
	must(t, m.SetExits(e.VPC.ID, exits))
	return a
}

var everywhere = netip.MustParsePrefix("0.0.0.0/0")

// serve answers each TCP connection on addr in the namespace with the peer's address, and returns the port.
func serve(t *testing.T, path, addr string) string {
	t.Helper()
	ln, err := ListenTCP(t.Context(), path, net.JoinHostPort(addr, "0"))
	must(t, err)
	serveListener(t, ln)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}

func serveListener(t *testing.T, ln net.Listener) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			peer, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
			io.WriteString(conn, peer)
			conn.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
}

// ask connects from the namespace at path and returns what serve says: the address that the connection came from.
func ask(t *testing.T, path, addr, port string) (string, error) {
	t.Helper()
	return askWithin(t, 10*time.Second, path, addr, port)
}

func askWithin(t *testing.T, patience time.Duration, path, addr, port string) (string, error) {
	t.Helper()
	var conn net.Conn
	err := In(path, func() (err error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		conn, err = new(net.Dialer).DialContext(ctx, "tcp4", net.JoinHostPort(addr, port))
		return err
	})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	peer, err := io.ReadAll(conn)
	return string(peer), err
}

// reaches fails the test unless a server at addr in namespace to sees a connection from namespace from as peer.
func reaches(t *testing.T, from, to, addr, peer string) {
	t.Helper()
	got, err := ask(t, from, addr, serve(t, to, addr))
	if err != nil {
		t.Errorf("connect to %s: %v", addr, err)
	} else if got != peer {
		t.Errorf("connection to %s came from %s, want %s", addr, got, peer)
	}
}

// refused fails the test if a server at addr in namespace to can be reached from namespace from.
func refused(t *testing.T, from, to, addr string) {
	t.Helper()
	if peer, err := askWithin(t, time.Second, from, addr, serve(t, to, addr)); err == nil {
		t.Errorf("%s was reached, from %s", addr, peer)
	}
}

// command runs a program in a namespace and returns its output.
func command(t *testing.T, path string, args ...string) string {
	t.Helper()
	var out []byte
	err := In(path, func() (err error) {
		out, err = exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func needProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s on PATH", name)
	}
}

func mustPrefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// routeVia is a route to p by the gateway gw.
func routeVia(t *testing.T, s *space, p netip.Prefix, gw string) *netlink.Route {
	t.Helper()
	return routeThrough(t, s, "lan", p, gw)
}

func routeThrough(t *testing.T, s *space, link string, p netip.Prefix, gw string) *netlink.Route {
	t.Helper()
	return &netlink.Route{LinkIndex: index(t, s, link), Dst: ipNet(p), Gw: net.ParseIP(gw)}
}

// askFrom is ask with a source address of the caller's choice.
func askFrom(t *testing.T, path, source, addr, port string) (string, error) {
	t.Helper()
	var conn net.Conn
	err := In(path, func() (err error) {
		d := net.Dialer{Timeout: time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		conn, err = d.DialContext(t.Context(), "tcp4", net.JoinHostPort(addr, port))
		return err
	})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	peer, err := io.ReadAll(conn)
	return string(peer), err
}

// waitForPorts waits until the VPC's namespace has n ports. The kernel removes them some time after their namespaces,
// and says so.
func waitForPorts(t *testing.T, m *Manager, v VPC, n int) {
	t.Helper()
	vpc := open(t, namespacePath(m.namespaceName(v.ID)))
	updates, done := make(chan netlink.LinkUpdate, 1024), make(chan struct{})
	must(t, netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{Namespace: &vpc.ns}))
	defer func() {
		close(done)
		for range updates {
		}
	}()
	giveUp := time.After(time.Minute)
	for {
		enis, err := m.ports(namespacePath(m.namespaceName(v.ID)))
		must(t, err)
		if len(enis) == n {
			return
		}
		select {
		case <-updates:
		case <-giveUp:
			t.Fatalf("%d ports, want %d", len(enis), n)
		}
	}
}
