package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/nft"
)

// A Port of a container is published on the host.
type Port struct {
	Protocol  string // tcp or udp
	Container uint16
	// Host is the port of every address of the host; zero asks for a free one.
	Host uint16
	// Count is how many consecutive ports this stands for; zero is one. They have consecutive ports of the host.
	Count uint16
}

// each returns the ports that p stands for, one by one.
func (p Port) each() []Port {
	out := make([]Port, max(1, p.Count))
	for i := range out {
		out[i] = Port{Protocol: p.Protocol, Container: p.Container + uint16(i), Host: p.Host + uint16(i)}
	}
	return out
}

// A published port leads to a container. The kernel's rules are the only record of them: each carries its description.
type published struct {
	Port
	to  netip.Addr
	eni string
}

// String describes it for the comment of its rule; parsePublished reads it back.
func (p published) String() string {
	return fmt.Sprintf("%s %d to %s:%d of %s", p.Protocol, p.Host, p.to, p.Container, p.eni)
}

func parsePublished(comment string) (p published, ok bool) {
	f := strings.Fields(comment)
	if len(f) != 6 || f[2] != "to" || f[4] != "of" {
		return published{}, false
	}
	host, err1 := strconv.ParseUint(f[1], 10, 16)
	to, err2 := netip.ParseAddrPort(f[3])
	p = published{Port: Port{Protocol: f[0], Host: uint16(host), Container: to.Port()}, to: to.Addr(), eni: f[5]}
	return p, errors.Join(err1, err2) == nil
}

const portsPurpose = "ports"

// portsTable leads ports of the host to containers. Of the loopback range only 127.0.0.1 is the host's: the rest has public
// addresses with sockets of their own.
//
//	raw:         iifname "berth*" ip daddr 127.0.0.0/8 drop
//	prerouting:  goto published                              likewise output
//	published:   ip daddr 127.0.0.1 goto mapped
//	             ip daddr 127.0.0.0/8 return
//	             fib daddr type local goto mapped
//	mapped:      tcp dport <port> dnat to <container>:<port>
//	postrouting: ip saddr 127.0.0.0/8 oifname "berth*" masquerade
//	             ip saddr <range> oifname <uplink> masquerade        to a neighbour by the host's port, and back
func (m *Manager) portsTable(v VPC, all []published) nft.Table {
	if len(all) == 0 {
		return nft.Table{Family: nftables.TableFamilyIPv4}
	}
	hook := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) nft.Chain {
		return nft.Chain{Name: name, Type: kind, Hook: hook, Priority: priority}
	}
	uplink := m.uplinkName(v.ID)
	t := nft.Table{
		Family: nftables.TableFamilyIPv4,
		Chains: []nft.Chain{
			hook("raw", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw),
			hook("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest),
			hook("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest),
			hook("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource),
			{Name: "published"},
			{Name: "mapped"},
		},
		Rules: []nft.Rule{
			{Chain: "raw", Comment: "loopback is the host's own", Words: nft.All(nft.FromPrefix("berth"), nft.Destination(loopbackRange), nft.Drop())},
			{Chain: "prerouting", Comment: "from elsewhere", Words: nft.Goto("published")},
			{Chain: "output", Comment: "from the host", Words: nft.Goto("published")},
			{Chain: "published", Comment: "localhost", Words: nft.All(nft.Destination(single(localhost)), nft.Goto("mapped"))},
			{Chain: "published", Comment: "public addresses are not meant", Words: nft.All(nft.Destination(loopbackRange), nft.Accept())},
			{Chain: "published", Comment: "every address of the host", Words: nft.All(nft.DestinationIsLocal(), nft.Goto("mapped"))},
			{Chain: "postrouting", Comment: "answers find the way", Words: nft.All(nft.Source(loopbackRange), nft.ToPrefix("berth"), nft.Masquerade())},
			{Chain: "postrouting", Comment: v.CIDR.String() + " meets itself", Words: nft.All(nft.Source(v.CIDR), nft.To(uplink), nft.Masquerade())},
		},
	}
	for _, p := range all {
		t.Rules = append(t.Rules, nft.Rule{Chain: "mapped", Comment: p.String(), Words: nft.All(
			nft.Protocol(protocolNumber(p.Protocol)), nft.Ports(p.Host, p.Host), nft.TranslateTo(netip.AddrPortFrom(p.to, p.Container)))})
	}
	return t
}

var localhost = netip.MustParseAddr("127.0.0.1")

func protocolNumber(name string) uint8 {
	if name == "udp" {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

// publish leads host ports to a container's, and returns them all with the ports that they have. The caller holds m.bridge.
func (m *Manager) publish(ctx context.Context, e ENI, want []Port) ([]Port, error) {
	m.host.Lock()
	defer m.host.Unlock()
	before, err := m.publishedPorts()
	if err != nil {
		return nil, err
	}
	own := func(p published) bool { return p.eni == e.ID }
	var have []published
	for _, p := range before {
		if own(p) && p.to == e.Address {
			have = append(have, p)
		}
	}
	others := slices.DeleteFunc(slices.Clone(before), own)
	ports := slices.Clone(want)
	for i := range ports {
		if err := m.assign(ctx, &ports[i], have, others); err != nil {
			return nil, err
		}
		for _, p := range ports[i].each() {
			others = append(others, published{Port: p, to: e.Address, eni: e.ID})
		}
	}
	if slices.Equal(others, before) {
		return ports, nil
	}
	return ports, m.writePorts(e.VPC, others)
}

// assign gives a port the host port that it had, the one that it asks for, or a free one.
func (m *Manager) assign(ctx context.Context, p *Port, have, others []published) error {
	for _, h := range have {
		had := Port{Protocol: p.Protocol, Container: p.Container, Host: h.Host, Count: p.Count}
		kept := func(q Port) bool {
			return !mapped(others, q) && slices.ContainsFunc(have, func(x published) bool { return x.Port == q })
		}
		if (p.Host == 0 || p.Host == h.Host) && all(had, kept) {
			p.Host = h.Host
			return nil
		}
	}
	addresses, err := m.hostAddresses()
	if err != nil {
		return err
	}
	free := func(q Port) bool { return !mapped(others, q) && m.unused(ctx, q, addresses) }
	if p.Host != 0 {
		if !all(*p, free) {
			return fmt.Errorf("bind for 0.0.0.0:%d failed: %w", p.Host, ErrPortTaken)
		}
		return nil
	}
	first, last := m.dynamicPorts()
	for range int(last) - int(first) + 1 {
		if m.nextPort < first || int(m.nextPort)+int(max(1, p.Count))-1 > int(last) {
			m.nextPort = first
		}
		candidate := *p
		candidate.Host = m.nextPort
		m.nextPort++ // wraps to 0 after 65535, which is before first
		if all(candidate, free) {
			m.nextPort = candidate.Host + max(1, p.Count)
			*p = candidate
			return nil
		}
	}
	return fmt.Errorf("no free port between %d and %d: %w", first, last, ErrPortTaken)
}

func all(p Port, is func(Port) bool) bool {
	return !slices.ContainsFunc(p.each(), func(q Port) bool { return !is(q) })
}

func mapped(all []published, p Port) bool {
	return slices.ContainsFunc(all, func(x published) bool { return x.Protocol == p.Protocol && x.Host == p.Host })
}

// unused reports whether no socket of the host has the port. It is tried on each address that would be led away, and not on
// all at once: a load balancer may have the same port on an address of its own.
func (m *Manager) unused(ctx context.Context, p Port, addresses []netip.Addr) bool {
	for _, a := range addresses {
		at := netip.AddrPortFrom(a, p.Host).String()
		var socket interface{ Close() error }
		var err error
		if p.Protocol == "udp" {
			socket, err = ListenUDP(ctx, m.cfg.HostNetNS, at)
		} else {
			socket, err = ListenTCP(ctx, m.cfg.HostNetNS, at)
		}
		if err != nil {
			return false
		}
		socket.Close() //nolint:errcheck // it was never used
	}
	return true
}

// hostAddresses are 127.0.0.1 and the host's addresses outside the loopback range and Berth's own links.
func (m *Manager) hostAddresses() ([]netip.Addr, error) {
	addresses := []netip.Addr{localhost}
	err := In(m.cfg.HostNetNS, func() error {
		links, err := net.Interfaces()
		if err != nil {
			return err
		}
		for _, l := range links {
			if strings.HasPrefix(l.Name, "berth") {
				continue
			}
			addrs, err := l.Addrs()
			if err != nil {
				return err
			}
			for _, a := range addrs {
				if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
					addresses = append(addresses, p.Addr())
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list addresses of the host: %w", err)
	}
	return addresses, nil
}

// dynamicPorts is the range that the kernel takes ports from for outgoing connections, as ECS's agent does; Docker's own
// range when that cannot be read (behaviour/networking-lb-discovery.md §1).
func (m *Manager) dynamicPorts() (first, last uint16) {
	first, last = 49153, 65535
	_ = In(m.cfg.HostNetNS, func() error { // the default stands
		data, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
		if err != nil {
			return err
		}
		var low, high uint16
		if _, err := fmt.Sscan(string(data), &low, &high); err != nil || low == 0 || low > high {
			return err
		}
		first, last = low, high
		return nil
	})
	return first, last
}

// unpublish takes away the ports of an interface, if it has any.
func (m *Manager) unpublish(eniID string) error {
	m.host.Lock()
	defer m.host.Unlock()
	all, err := m.publishedPorts()
	if err != nil {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(all), func(p published) bool { return p.eni == eniID })
	if len(rest) == len(all) {
		return nil
	}
	v, err := readVPC(m.VPCNetNSPath(bridgeVPC))
	if err != nil {
		return err
	}
	return m.writePorts(v, rest)
}

// publishedPorts are those of this host, as an earlier process or this one left them. The caller holds m.host.
func (m *Manager) publishedPorts() ([]published, error) {
	if m.publishes != nil {
		return m.publishes, nil
	}
	found := []published{}
	err := m.onHost(func(host *nft.Conn) error {
		comments, err := host.Comments(nft.Table{Name: m.tableName(portsPurpose), Family: nftables.TableFamilyIPv4}, "mapped")
		for _, c := range comments {
			if p, ok := parsePublished(c); ok {
				found = append(found, p)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	m.publishes = found
	return found, nil
}

// writePorts makes the published ports those given. The caller holds m.host.
func (m *Manager) writePorts(v VPC, all []published) error {
	if err := m.keepTable(portsPurpose, m.portsTable(v, all), nil); err != nil {
		return err
	}
	m.publishes = all
	return m.openLoopback([]VPC{v})
}

// keepPorts takes the ports that an earlier process published into care. The caller holds m.host.
func (m *Manager) keepPorts(vpcs []VPC) error {
	i := slices.IndexFunc(vpcs, func(v VPC) bool { return v.ID == bridgeVPC })
	if i < 0 || m.publishes != nil {
		return nil
	}
	all, err := m.publishedPorts()
	if err != nil || len(all) == 0 {
		return err
	}
	return m.writePorts(vpcs[i], all)
}
