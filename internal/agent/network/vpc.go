package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routerSettings make a namespace a router that believes no source address but the true one. They are written as all
// and default, because the kernel copies some of them from the host into a new namespace and some not.
var routerSettings = []setting{
	{"net/ipv4/ip_forward", "1"},
	{"net/ipv4/conf/all/rp_filter", "1"},
	{"net/ipv4/conf/default/rp_filter", "1"},
	{"net/ipv4/conf/all/send_redirects", "0"},
	{"net/ipv4/conf/default/send_redirects", "0"},
	{"net/ipv6/conf/default/disable_ipv6", "1"},
}

// linkLocal is kept from leaving a task's namespace: on a cloud machine the host's own credentials answer there.
var linkLocal = netip.MustParsePrefix("169.254.0.0/16")

// ensureVPC makes the VPC's namespace and its way out, or returns quickly when this process has done so before.
func (m *Manager) ensureVPC(ctx context.Context, v VPC) error {
	m.host.Lock()
	defer m.host.Unlock()
	if ready, ok := m.ready[v.ID]; ok && isNamespace(namespacePath(m.namespaceName(v.ID))) {
		if ready != v {
			return fmt.Errorf("%s has the range %v here, not %v", v.ID, ready.CIDR, v.CIDR)
		}
		return nil
	}
	if err := m.buildVPC(ctx, v); err != nil {
		return err
	}
	vpcs, err := m.vpcs()
	if err != nil {
		return err
	}
	if err := m.writeHostRules(ctx, vpcs); err != nil {
		return err
	}
	m.ready[v.ID] = v
	return nil
}

// buildVPC completes what is missing of one VPC on this host, rules aside. The caller holds m.host.
func (m *Manager) buildVPC(ctx context.Context, v VPC) error {
	host, err := openSpace(m.cfg.HostNetNS)
	if err != nil {
		return err
	}
	defer host.close()
	if err := m.checkRange(host, v); err != nil {
		return err
	}
	if err := m.enableForwarding(); err != nil {
		return err
	}
	name := m.namespaceName(v.ID)
	created, err := ensureNamespace(name)
	if err != nil {
		return err
	}
	if err := apply(namespacePath(name), routerSettings); err != nil {
		return err
	}
	vpc, err := openSpace(namespacePath(name))
	if err != nil {
		return err
	}
	defer vpc.close()
	if err := vpc.alias(loopback, m.alias(v)); err != nil {
		return err
	}
	outer, inner, err := m.uplink(v, host, vpc)
	if err == nil {
		err = routeVPC(v, host, vpc, outer, inner)
	}
	if err == nil {
		err = routeHost(v, host, outer)
	}
	if err == nil {
		err = m.buildRouter(v)
	}
	if err == nil {
		err = errors.Join(host.awaitUp(ctx, outer), vpc.awaitUp(ctx, inner))
	}
	if err != nil && created {
		// A VPC that failed to come up must not look adopted to the next Run.
		err = errors.Join(err, m.deleteUplinks([]string{name}), dropNamespace(name))
	}
	return err
}

// uplink makes the pair of links between host and VPC and returns the indexes of its ends.
func (m *Manager) uplink(v VPC, host, vpc *space) (outer, inner int, err error) {
	name := m.uplinkName(v.ID)
	for range 2 {
		outside, err := host.link(name)
		if err != nil {
			return 0, 0, err
		}
		inside, err := vpc.link("uplink")
		if err != nil {
			return 0, 0, err
		}
		switch {
		case outside != nil && inside != nil:
			return outside.Attrs().Index, inside.Attrs().Index, host.alias(outside.Attrs().Index, m.alias(v))
		case outside != nil:
			if err := host.nl.LinkDel(outside); err != nil && !errors.Is(err, unix.ENODEV) {
				return 0, 0, fmt.Errorf("remove stale link %s: %w", name, err)
			}
		case inside != nil:
			return 0, 0, fmt.Errorf("uplink of %s leads elsewhere", v.ID)
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr, attrs.MTU = name, hardwareAddress(m.cfg.Instance, v.ID, "host"), m.mtu()
		pair := &netlink.Veth{
			LinkAttrs: attrs, PeerName: "uplink", PeerMTU: uint32(attrs.MTU),
			PeerHardwareAddr: hardwareAddress(m.cfg.Instance, v.ID, "router"), PeerNamespace: netlink.NsFd(vpc.ns),
		}
		if err := host.nl.LinkAdd(pair); err != nil && !errors.Is(err, unix.EEXIST) {
			return 0, 0, fmt.Errorf("make uplink %s: %w", name, err)
		}
	}
	return 0, 0, fmt.Errorf("uplink of %s disappeared while it was made", v.ID)
}

// routeVPC sets addresses and routes on the VPC's side. Interfaces' /32 routes win over the unreachable range, so a
// packet to an address that nobody has is refused here instead of circling between VPC and host.
func routeVPC(v VPC, host, vpc *space, outer, inner int) error {
	return errors.Join(
		vpc.up(loopback),
		vpc.address(loopback, single(gateway(v.CIDR))),
		host.address(outer, single(v.hostAddress())),
		host.up(outer),
		vpc.up(inner),
		vpc.route(netlink.Route{LinkIndex: inner, Dst: ipNet(single(v.hostAddress())), Scope: netlink.SCOPE_LINK}),
		vpc.route(netlink.Route{LinkIndex: inner, Gw: v.hostAddress().AsSlice()}),
		vpc.route(netlink.Route{Dst: ipNet(v.CIDR), Type: unix.RTN_UNREACHABLE}),
		vpc.route(netlink.Route{Dst: ipNet(linkLocal), Type: unix.RTN_UNREACHABLE}),
	)
}

// routeHost routes the VPC's range into it. The kernel refuses a second route to the same range, so of two instances
// that come at the same moment one gets the error.
func routeHost(v VPC, host *space, outer int) error {
	err := host.nl.RouteAdd(&netlink.Route{
		LinkIndex: outer, Dst: ipNet(v.CIDR), Gw: gateway(v.CIDR).AsSlice(),
		Src: v.hostAddress().AsSlice(), Flags: int(netlink.FLAG_ONLINK),
	})
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("route %v into %s: %w", v.CIDR, v.ID, err)
	}
	routes, err := host.nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: ipNet(v.CIDR)}, netlink.RT_FILTER_DST)
	if err != nil {
		return fmt.Errorf("list routes to %v: %w", v.CIDR, err)
	}
	if slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.LinkIndex == outer }) {
		return nil
	}
	return fmt.Errorf("%w: %v of %s is routed elsewhere", ErrRangeTaken, v.CIDR, v.ID)
}

// checkRange fails when a part of the VPC's range is routed to something else on this host. A wider route, a VPN's say,
// is no conflict: ours is more specific. (A range for a new VPC should avoid those too: HostRoutes has them.)
func (m *Manager) checkRange(host *space, v VPC) error {
	routes, err := host.nl.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		dst := prefixOf(r.Dst)
		if !dst.IsValid() || !v.CIDR.Overlaps(dst) || dst.Bits() < v.CIDR.Bits() {
			continue
		}
		by := fmt.Sprintf("link %d", r.LinkIndex)
		if l, err := host.nl.LinkByIndex(r.LinkIndex); err == nil {
			if l.Attrs().Name == m.uplinkName(v.ID) {
				continue
			}
			by = strings.TrimSpace(fmt.Sprintf("%s %s", l.Attrs().Name, l.Attrs().Alias))
		}
		return fmt.Errorf("%w: %v of %s overlaps the route to %v by %s", ErrRangeTaken, v.CIDR, v.ID, dst, by)
	}
	return nil
}

// vpcs lists the VPCs of this instance on the host, complete or not: those whose namespace says so, and those that this
// process knows. The caller holds m.host.
func (m *Manager) vpcs() ([]VPC, error) {
	names, err := namespaceNames(m.namespaceName("vpc-"))
	if err != nil {
		return nil, err
	}
	known := map[string]VPC{}
	for _, v := range m.ready {
		known[v.ID] = v
	}
	for _, name := range names {
		v, err := readVPC(namespacePath(name))
		if err != nil {
			m.log.Warn("VPC is not understood", "namespace", name, "error", err)
			continue
		}
		known[v.ID] = v
	}
	return slices.SortedFunc(maps.Values(known), func(a, b VPC) int { return strings.Compare(a.ID, b.ID) }), nil
}

// readVPC reads what a VPC's namespace says about itself: the alias of its loopback link, which nothing removes.
func readVPC(path string) (v VPC, err error) {
	vpc, err := openSpace(path)
	if err != nil {
		return VPC{}, err
	}
	defer vpc.close()
	lo, err := vpc.nl.LinkByIndex(loopback)
	if err != nil {
		return VPC{}, fmt.Errorf("find loopback: %w", err)
	}
	f := strings.Fields(lo.Attrs().Alias)
	if len(f) != 4 || f[0] != "berth" {
		return VPC{}, fmt.Errorf("alias %q does not describe a VPC", lo.Attrs().Alias)
	}
	v.ID = f[2]
	v.CIDR, err = netip.ParsePrefix(f[3])
	return v, err
}

// deleteUplinks deletes the host's ends of this instance's uplinks: those that say so, and those of the VPCs among the
// named namespaces, in case a crash left them without a description.
func (m *Manager) deleteUplinks(namespaces []string) error {
	host, err := openSpace(m.cfg.HostNetNS)
	if err != nil {
		return err
	}
	defer host.close()
	names := map[string]bool{}
	for _, ns := range namespaces {
		names[m.uplinkName(strings.TrimPrefix(ns, m.prefix()))] = true
	}
	links, err := host.nl.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, l := range links {
		ours := strings.HasPrefix(l.Attrs().Alias, "berth "+m.cfg.Instance+" ") || names[l.Attrs().Name]
		if !ours {
			continue
		}
		if err := host.nl.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("delete link %s: %w", l.Attrs().Name, err))
		}
	}
	return errors.Join(errs...)
}

// A setting is a file under /proc/sys and its value.
type setting struct{ file, value string }

// apply makes settings true in the network namespace at path. What is true already is not written: /proc/sys may be
// read-only where somebody else has prepared it.
func apply(path string, settings []setting) error {
	return In(path, func() error {
		for _, s := range settings {
			file := "/proc/sys/" + s.file
			have, err := os.ReadFile(file)
			if errors.Is(err, os.ErrNotExist) && strings.HasPrefix(s.file, "net/ipv6/") {
				continue // a kernel without IPv6
			}
			if err != nil {
				return fmt.Errorf("read kernel setting: %w", err)
			}
			if strings.TrimSpace(string(have)) == s.value {
				continue
			}
			if err := os.WriteFile(file, []byte(s.value), 0); err != nil {
				return fmt.Errorf("set kernel setting: %w", err)
			}
		}
		return nil
	})
}
