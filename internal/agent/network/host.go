package network

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// defaultMTU is that of the internet and of an AWS internet gateway.
const defaultMTU = 1500

// HostRoutes returns the IPv4 ranges that this host already reaches in some way: destinations of routes in every
// table but the default route, and its own addresses' networks. A VPC's range must overlap none of them.
func HostRoutes() ([]netip.Prefix, error) {
	host, err := openSpace("")
	if err != nil {
		return nil, err
	}
	defer host.close()
	return host.ranges()
}

func (s *space) ranges() ([]netip.Prefix, error) {
	routes, err := s.nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var ranges []netip.Prefix
	for _, r := range routes {
		if p := prefixOf(r.Dst); p.IsValid() && r.Type == unix.RTN_UNICAST {
			ranges = append(ranges, p)
		}
	}
	addrs, err := s.nl.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		ranges = append(ranges, prefixOf(a.IPNet).Masked())
	}
	slices.SortFunc(ranges, func(a, b netip.Prefix) int {
		return strings.Compare(a.String(), b.String())
	})
	return slices.Compact(ranges), nil
}

// enableForwarding lets the host route. The setting stays when Berth goes.
func (m *Manager) enableForwarding() error {
	return In(m.cfg.HostNetNS, func() error {
		const file = "/proc/sys/net/ipv4/ip_forward"
		have, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read kernel setting: %w", err)
		}
		if strings.TrimSpace(string(have)) == "1" {
			return nil
		}
		if err := os.WriteFile(file, []byte("1"), 0); err != nil {
			return fmt.Errorf("switch on forwarding: %w", err)
		}
		m.log.Info("switched on net.ipv4.ip_forward, which tasks need to leave the host; it stays on")
		return nil
	})
}

// mtu is for every link that Berth makes: what the host can send to the outside without breaking it up.
func (m *Manager) mtu() int {
	if m.cfg.MTU > 0 {
		return m.cfg.MTU
	}
	host, err := openSpace(m.cfg.HostNetNS)
	if err != nil {
		return defaultMTU
	}
	defer host.close()
	routes, err := host.nl.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return defaultMTU
	}
	for _, r := range routes {
		if prefixOf(r.Dst).IsValid() || r.LinkIndex == 0 {
			continue
		}
		if l, err := host.nl.LinkByIndex(r.LinkIndex); err == nil && l.Attrs().MTU > 0 {
			return min(l.Attrs().MTU, defaultMTU)
		}
	}
	return defaultMTU
}
