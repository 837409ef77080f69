package firewall_test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"

	"berth.dev/berth/internal/agent/firewall"
	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// impatience is how long a probe that must not be answered is waited for, patience one that must.
	impatience = 400 * time.Millisecond
	patience   = 10 * time.Second
)

var vpc = network.VPC{ID: "vpc-0a", CIDR: netip.MustParsePrefix("172.31.0.0/16")}

// hostInVPC is what interfaces see the host as.
const hostInVPC = "172.31.0.3"

// A lab is a namespace that plays the host, a network on it, and a control plane that says what a test says.
type lab struct {
	t    testing.TB
	host string // path
	net  *network.Manager
	name string // the instance

	interfaces map[string]model.NodeInterface
	groups     map[string]model.NodeSecurityGroup
	balancers  map[string]model.NodeLoadBalancer
	fw         *firewall.Firewall
	stop       func()
}

func newLab(t testing.TB) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	l := &lab{
		t: t, host: newNamespace(t), name: strings.ToLower(rand.Text()[:8]),
		interfaces: map[string]model.NodeInterface{}, groups: map[string]model.NodeSecurityGroup{}, balancers: map[string]model.NodeLoadBalancer{},
	}
	var err error
	l.net, err = network.New(network.Config{Instance: l.name, HostNetNS: l.host, MTU: 1500, Resync: time.Hour})
	must(t, err)
	t.Cleanup(func() { must(t, l.net.Purge(context.WithoutCancel(t.Context()))) })
	l.start()
	t.Cleanup(func() { l.stop() })
	return l
}

// start begins a firewall that has heard of nothing yet.
func (l *lab) start() {
	l.fw = firewall.New(firewall.Config{Network: l.net})
	ctx, cancel := context.WithCancel(context.WithoutCancel(l.t.Context()))
	done := make(chan error, 1)
	fw := l.fw
	go func() { done <- fw.Run(ctx) }()
	l.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			l.t.Error(err)
		}
	})
}

// restart is what an agent that ends and comes back does.
func (l *lab) restart() {
	l.stop()
	l.start()
	l.t.Cleanup(l.stop)
	l.say()
}

// say sends all documents.
func (l *lab) say() {
	l.t.Helper()
	must(l.t, l.fw.ApplyGroups(l.t.Context(), raw(l.t, l.groups)), l.fw.ApplyInterfaces(l.t.Context(), raw(l.t, l.interfaces)),
		l.fw.ApplyLoadBalancers(l.t.Context(), raw(l.t, l.balancers)))
}

func raw[T any](t testing.TB, docs map[string]T) map[string]json.RawMessage {
	t.Helper()
	out := map[string]json.RawMessage{}
	for key, doc := range docs {
		body, err := json.Marshal(doc)
		must(t, err)
		out[key] = body
	}
	return out
}

// group makes or replaces a group.
func (l *lab) group(id string, ingress, egress []model.SecurityGroupRule) {
	g := l.groups[id]
	g.ID, g.VPCID, g.Ingress, g.Egress = id, vpc.ID, ingress, egress
	l.groups[id] = g
}

// join sets the groups of an interface, with what that means for members.
func (l *lab) join(id string, groups ...string) {
	i := l.interfaces[id]
	for _, g := range i.GroupIDs {
		l.members(g, func(all []string) []string {
			return slices.DeleteFunc(all, func(a string) bool { return a == i.Address })
		})
	}
	i.GroupIDs = groups
	l.interfaces[id] = i
	for _, g := range groups {
		l.members(g, func(all []string) []string { return append(all, i.Address) })
	}
}

func (l *lab) members(group string, change func([]string) []string) {
	g := l.groups[group]
	g.ID, g.Members = group, change(slices.Clone(g.Members))
	slices.Sort(g.Members)
	l.groups[group] = g
}

// A station is an attached interface.
type station struct {
	id, address, path string
}

// attach makes the nth interface, in groups, without waiting for its filter.
func (l *lab) attach(n int, groups ...string) station {
	l.t.Helper()
	address := netip.AddrFrom4([4]byte{172, 31, 16, byte(4 + n)})
	e := network.ENI{
		ID: fmt.Sprintf("eni-%d", n), OwnerID: fmt.Sprintf("task%d", n), VPC: vpc, Subnet: netip.MustParsePrefix("172.31.16.0/20"),
		Address: address, MAC: net.HardwareAddr{2, 0, 0, 0, 0, byte(n)},
	}
	a, err := l.net.Attach(l.t.Context(), e)
	must(l.t, err)
	l.interfaces[e.ID] = model.NodeInterface{ID: e.ID, VPCID: vpc.ID, SubnetCIDR: "172.31.16.0/20", Address: address.String()}
	l.join(e.ID, groups...)
	return station{e.ID, address.String(), a.NetNSPath}
}

// station is attach, and then waits until the interface is filtered.
func (l *lab) station(n int, groups ...string) station {
	l.t.Helper()
	s := l.attach(n, groups...)
	l.say()
	must(l.t, l.fw.Ensure(l.t.Context(), s.id))
	return s
}

func newNamespace(t testing.TB) string {
	t.Helper()
	name := "lab-host-" + strings.ToLower(rand.Text()[:8])
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err == nil {
			_, err = netns.NewNamed(name)
		}
		if err == nil {
			err = netns.Set(home)
		}
		if err == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	must(t, <-done)
	t.Cleanup(func() { must(t, netns.DeleteNamed(name)) })
	path := "/run/netns/" + name
	must(t, network.In(path, func() error {
		lo, err := netlink.LinkByName("lo")
		return errors.Join(err, netlink.LinkSetUp(lo))
	}))
	return path
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// A rule for a test: "tcp 80-81 0.0.0.0/0", "icmp 8/-1 sg-a", "-1 sg-a".
func rule(t testing.TB, text string) model.SecurityGroupRule {
	t.Helper()
	f := strings.Fields(text)
	r := model.SecurityGroupRule{ID: text, Protocol: f[0]}
	if peer := f[len(f)-1]; strings.HasPrefix(peer, "sg-") {
		r.GroupID = peer
	} else {
		r.CIDR = peer
	}
	if len(f) == 3 {
		var from, to int32
		format := "%d-%d"
		if f[0] == "icmp" {
			format = "%d/%d"
		}
		if _, err := fmt.Sscanf(f[1], format, &from, &to); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		r.FromPort, r.ToPort = &from, &to
	}
	return r
}

func rules(t testing.TB, texts ...string) []model.SecurityGroupRule {
	t.Helper()
	var out []model.SecurityGroupRule
	for _, text := range texts {
		out = append(out, rule(t, text))
	}
	return out
}

// listen answers on TCP and UDP ports in a namespace: with the address that it sees, for as long as the peer likes.
func listen(t testing.TB, path, address string, tcp, udp []uint16) {
	t.Helper()
	var open []io.Closer
	var wg sync.WaitGroup
	for _, port := range tcp {
		ln, err := network.ListenTCP(t.Context(), path, netip.AddrPortFrom(netip.MustParseAddr(address), port).String())
		must(t, err)
		open = append(open, ln)
		wg.Go(func() { accept(ln) })
	}
	for _, port := range udp {
		conn, err := network.ListenUDP(t.Context(), path, netip.AddrPortFrom(netip.MustParseAddr(address), port).String())
		must(t, err)
		open = append(open, conn)
		wg.Go(func() {
			buffer := make([]byte, 64)
			for {
				_, from, err := conn.ReadFrom(buffer)
				if err != nil {
					return
				}
				peer, _, _ := net.SplitHostPort(from.String())
				conn.WriteTo([]byte(peer), from) // what is lost is the prober's to miss
			}
		})
	}
	t.Cleanup(func() {
		for _, c := range open {
			c.Close()
		}
		wg.Wait()
	})
}

// accept answers every line of every connection with the peer's address.
func accept(ln net.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		conns = append(conns, conn)
		wg.Go(func() {
			peer, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
			one := make([]byte, 1)
			for {
				if _, err := conn.Read(one); err != nil {
					return
				}
				if _, err := io.WriteString(conn, peer+"\n"); err != nil {
					return
				}
			}
		})
	}
}

// A flow is a connection that stays open.
type flow struct{ net.Conn }

// connect opens a TCP connection from a namespace, or a connected UDP socket.
func connect(t testing.TB, wait time.Duration, path, protocol, address string, port uint16) (flow, error) {
	t.Helper()
	var conn net.Conn
	err := network.In(path, func() (err error) {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		conn, err = new(net.Dialer).DialContext(ctx, protocol+"4", netip.AddrPortFrom(netip.MustParseAddr(address), port).String())
		return err
	})
	return flow{conn}, err
}

// ask sends one byte and returns the address that the other side sees.
func (f flow) ask(wait time.Duration) (string, error) {
	if err := f.SetDeadline(time.Now().Add(wait)); err != nil {
		return "", err
	}
	if _, err := f.Write([]byte{'?'}); err != nil {
		return "", err
	}
	buffer := make([]byte, 64)
	n, err := f.Read(buffer)
	return strings.TrimSpace(string(buffer[:n])), err
}

// probe asks once and returns the address that the other side sees, or an error when nobody answers.
func probe(t testing.TB, wait time.Duration, path, protocol, address string, port uint16) (string, error) {
	t.Helper()
	f, err := connect(t, wait, path, protocol, address, port)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return f.ask(wait)
}

// ping sends an ICMP request of the given type, 8 or 13, and waits for its answer.
func ping(t testing.TB, wait time.Duration, path, address string, kind byte) error {
	t.Helper()
	var conn net.PacketConn
	err := network.In(path, func() (err error) {
		conn, err = new(net.ListenConfig).ListenPacket(t.Context(), "ip4:icmp", "0.0.0.0")
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	var mark [4]byte
	rand.Read(mark[:])
	packet := make([]byte, 20) // long enough for both types
	packet[0] = kind
	copy(packet[4:8], mark[:])
	binary.BigEndian.PutUint16(packet[2:4], checksum(packet))
	if _, err := conn.WriteTo(packet, &net.IPAddr{IP: net.ParseIP(address)}); err != nil {
		return err
	}
	answer := map[byte]byte{8: 0, 13: 14}[kind]
	buffer := make([]byte, 256)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return err
		}
		if n >= 8 && buffer[0] == answer && [4]byte(buffer[4:8]) == mark && from.String() == address {
			return nil
		}
	}
}

func checksum(data []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(data); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(data[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// eventually repeats what a change of documents must make true, or untrue.
func eventually(t testing.TB, what string, done func(wait time.Duration) bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if done(impatience) {
			return
		}
	}
	t.Errorf("%s: not within %v", what, patience)
}

// nftables lists the rules of a namespace, with their handles: a rule that is written again has another.
func nftables(t testing.TB, path string) string {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft on PATH")
	}
	var out []byte
	must(t, network.In(path, func() (err error) {
		out, err = exec.CommandContext(t.Context(), "nft", "-a", "list", "ruleset").CombinedOutput()
		return err
	}))
	return string(out)
}

// addAddress gives a namespace an address of its own.
func addAddress(path, address string) error {
	return network.In(path, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(lo, &netlink.Addr{IPNet: netlink.NewIPNet(net.ParseIP(address))})
	})
}
